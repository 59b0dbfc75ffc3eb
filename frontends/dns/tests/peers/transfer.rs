//! A real NSD and a real Knot as secondaries of this server: each takes a zone of 100,000 records by AXFR, and then gives
//! exactly these records itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use synod_dns::{Answers, DnsConfig, DnsServer, Freshness, Source};
use synod_types::StateNdx;
use synod_zone::{Name, Zone, Zones, zone_file};

use crate::messages;
use crate::servers::{self, Role};

const ORIGIN: &str = "large.test.";
const AXFR: u16 = 252;
const SOA: u16 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsd_and_knot_take_a_large_zone() {
    if !(servers::is_installed("nsd") && servers::is_installed("knotd")) {
        eprintln!("SKIPPED: nsd and knotd are not installed (Debian: apt-get install nsd knot)");
        return;
    }
    let origin = Name::parse(ORIGIN).unwrap();
    let file = zone_file::parse(large_zone().as_bytes(), &origin).unwrap();
    let zone = Arc::new(Zone::build(&origin, file.records).unwrap());
    assert_eq!(zone.record_count(), 100_000);

    let mut config = DnsConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.transfer_to = vec!["127.0.0.1/32".parse().unwrap()];
    let server = DnsServer::start(config, Arc::new(One { origin, zone })).await.unwrap();
    let primary = server.addr();
    let compared = tokio::task::spawn_blocking(move || {
        let ours = transferred(primary).expect("the zone is here");
        assert_eq!(ours.len(), 100_000);
        let dir = tempfile::tempdir().unwrap();
        let role = Role::Secondary { origins: &[ORIGIN], primary };
        for mut peer in
            [servers::nsd(&dir.path().join("nsd"), &role), servers::knot(&dir.path().join("knot"), &role)]
        {
            peer.until_it_serves([ORIGIN.to_owned()].into_iter());
            // NSD goes on in a new process when it has a zone; the old one may still take connections.
            let deadline = Instant::now() + Duration::from_secs(60);
            let theirs = loop {
                assert!(Instant::now() < deadline, "{} does not give the zone", peer.name);
                match transferred(peer.addr) {
                    Some(theirs) => break theirs,
                    None => std::thread::yield_now(),
                }
            };
            assert!(theirs == ours, "{} has {} records, or others than we gave", peer.name, theirs.len());
        }
    });
    compared.await.unwrap();
    server.close().await;
}

/// 100,000 records of many types, the SOA once among them.
fn large_zone() -> String {
    let mut text = format!(
        "$TTL 300\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\n@ MX 10 ns1\n\
         *.wild TXT \"w\"\nsub NS ns.sub\nns.sub A 192.0.2.9\nd DNAME {ORIGIN}\n"
    );
    for n in 0..33_330 {
        let (high, low) = (n / 250, n % 250);
        write!(
            text,
            "H{n} A 10.0.{high}.{low}\nh{n} TXT \"{}\"\nsrv{n} SRV 1 2 {} h{n}\n",
            "x".repeat(n % 200),
            n % 60_000
        )
        .unwrap();
    }
    text + "a CAA 0 issue \"ca.example\"\nb TYPE65280 \\# 2 abcd\n"
}

/// Every record of the zone, as the server at this address gives it by AXFR, with how often; the SOA once. `None`: it does
/// not have the zone, or is about to end.
fn transferred(addr: SocketAddr) -> Option<BTreeMap<String, usize>> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let query = messages::query(77, ORIGIN, AXFR, None, false);
    let mut framed = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed).ok()?;
    let (mut records, mut soas) = (BTreeMap::new(), 0);
    while soas < 2 {
        let mut len = [0; 2];
        stream.read_exact(&mut len).ok()?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut bytes).ok()?;
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.id, 77);
        if u16::from(message.metadata.response_code) != 0 {
            return None;
        }
        assert!(!message.answers.is_empty());
        for record in &message.answers {
            assert!(soas < 2, "a record behind the second SOA");
            if u16::from(record.record_type()) == SOA {
                soas += 1;
            }
            if soas < 2 {
                *records.entry(messages::line(record)).or_default() += 1;
            }
        }
    }
    Some(records)
}

/// A server with one zone.
struct One {
    origin: Name,
    zone: Arc<Zone>,
}

impl Zones for One {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        (origin == self.origin.as_wire()).then_some(&self.zone)
    }
}

impl Answers for One {
    fn look(&self, look: &mut dyn FnMut(&Source<'_>)) {
        look(&Source { zones: self, state_ndx: StateNdx(1), freshness: Freshness::Fresh });
    }

    fn zone(&self, origin: &Name) -> Option<Arc<Zone>> {
        (*origin == self.origin).then(|| Arc::clone(&self.zone))
    }
}
