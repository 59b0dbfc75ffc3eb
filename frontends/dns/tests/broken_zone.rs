//! A zone that was published and cannot be answered from: its names fail, and the zone above does not answer for them.

use synod_dns::{Freshness, Identity, Reply, Source, Transport, answer};
use synod_types::StateNdx;
use synod_zone::zone::Served;
use synod_zone::{Name, Zone, Zones, zone_file};

/// `example.` is whole; `broken.example.` is not.
struct Two(Zone);

impl Zones for Two {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        (origin == b"\x07example\0").then_some(&self.0)
    }

    fn served(&self, origin: &[u8]) -> Option<Served<'_>> {
        if origin == b"\x06broken\x07example\0" {
            return Some(Served::Broken);
        }
        self.zone(origin).map(Served::Whole)
    }
}

#[test]
fn the_names_of_a_broken_zone_fail_and_no_others() {
    let origin = Name::parse("example.").unwrap();
    let text = format!(
        "@ 60 SOA ns host 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\na CNAME x.broken\n* A 192.0.2.2\nbroken NS ns.broken\n\
         broken DS 1 8 2 {}\n",
        "aa".repeat(32)
    );
    let file = zone_file::parse(text.as_bytes(), &origin).unwrap();
    let zones = Two(Zone::build(&origin, file.records).unwrap());
    let (a, ds, axfr) = (1, 43, 252);
    for (name, qtype, transport, rcode) in [
        ("x.broken.example.", a, Transport::Udp, 2),
        ("broken.example.", a, Transport::Udp, 2),
        ("BROKEN.example.", axfr, Transport::Stream, 2),
        ("broken.example.", ds, Transport::Udp, 0),
        ("x.example.", a, Transport::Udp, 0),
        ("a.example.", a, Transport::Udp, 0),
        ("example.", a, Transport::Udp, 0),
        ("elsewhere.", a, Transport::Udp, 5),
    ] {
        let mut query = b"\0\x01\0\0\0\x01\0\0\0\0\0\0".to_vec();
        query.extend_from_slice(Name::parse(name).unwrap().as_wire());
        query.extend_from_slice(&[0, qtype, 0, 1]);
        let source = Source { zones: &zones, state_ndx: StateNdx(3), freshness: Freshness::Fresh };
        let mut out = Vec::new();
        assert_eq!(answer(&source, &Identity::default(), transport, &query, &mut out), Reply::Send, "{name}");
        assert_eq!(out[3] & 15, rcode, "{name} TYPE{qtype}");
    }
}
