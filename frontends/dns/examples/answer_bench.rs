//! How long one answer takes, and what a record costs in memory: no sockets, one thread.
//!
//! ```text
//! bench/dns-compare --data /tmp/dns-data              # writes example.zone and queries
//! cargo run --release -p synod-dns --example answer_bench -- /tmp/dns-data
//! ```
//!
//! A query is a name and a type on a line, as `dnsperf` takes them. They are asked over datagrams, first without EDNS as
//! `dnsperf` does, then with it.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use synod_dns::{Freshness, Identity, Reply, Source, Transport, answer};
use synod_types::StateNdx;
use synod_zone::{Name, Rtype, Zone, Zones, zone_file};

/// Rounds over all queries; the fastest counts.
const ROUNDS: usize = 10;

struct OneZone(Vec<u8>, Zone);

impl Zones for OneZone {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        (origin == self.0).then_some(&self.1)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: answer_bench DIR, which has example.zone and queries")?;
    let text = std::fs::read(Path::new(&dir).join("example.zone"))?;
    let begin = Instant::now();
    let file = zone_file::parse(&text, &Name::parse("example.com")?)?;
    let parsed = begin.elapsed();
    let soa = file.records.iter().find(|record| record.rtype == Rtype::SOA).ok_or("no SOA")?;
    let origin = soa.owner.to_lowercase();
    let begin = Instant::now();
    let zone = Zone::build(&origin, file.records)?;
    let (records, bytes) = (zone.record_count(), zone.memory_bytes());
    println!("{records} records: parsed in {parsed:.0?}, built in {:.0?}", begin.elapsed());
    println!("{bytes} bytes, {} a record", bytes / records);

    let zones = OneZone(origin.as_wire().to_vec(), zone);
    let source = Source { zones: &zones, state_ndx: StateNdx(7), freshness: Freshness::Fresh };
    let text = std::fs::read_to_string(Path::new(&dir).join("queries"))?;
    for edns in [false, true] {
        let queries = text.lines().map(|line| query(line, edns)).collect::<Result<Vec<_>, _>>()?;
        report(&source, &queries, if edns { "all, with EDNS" } else { "all" });
        let mut kinds: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
        for (line, query) in text.lines().zip(queries) {
            kinds.entry(kind(line)).or_default().push(query);
        }
        for (kind, queries) in kinds {
            report(&source, &queries, kind);
        }
    }
    Ok(())
}

fn kind(line: &str) -> &'static str {
    match line.as_bytes() {
        [b'n', ..] => "  NXDOMAIN",
        [b'c', ..] => "  CNAME and A",
        [.., b'O', b'A'] => "  SOA",
        [.., b'A', b'A', b'A'] => "  AAAA or NODATA",
        _ => "  A",
    }
}

fn query(line: &str, edns: bool) -> Result<Vec<u8>, Box<dyn Error>> {
    let (name, rtype) = line.split_once(' ').ok_or("a query is a name and a type")?;
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    query.extend(Name::parse(name)?.as_wire());
    query.extend(rtype.parse::<Rtype>().map_err(|_| "an unknown type")?.0.to_be_bytes());
    query.extend([0, 1]);
    if edns {
        query.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    }
    Ok(query)
}

fn report(source: &Source<'_>, queries: &[Vec<u8>], what: &str) {
    let identity = Identity::default();
    let mut out = Vec::with_capacity(4096);
    let mut best = Duration::MAX;
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        bytes = 0;
        let begin = Instant::now();
        for query in queries {
            assert_eq!(answer(source, &identity, Transport::Udp, black_box(query), &mut out), Reply::Send);
            bytes += black_box(&out).len();
        }
        best = best.min(begin.elapsed());
    }
    let count = u32::try_from(queries.len()).unwrap_or(u32::MAX).max(1);
    println!("{what}: {:?} an answer, {} bytes", best / count, bytes / queries.len().max(1));
}
