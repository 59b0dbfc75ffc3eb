//! What three of BIND, NSD, Knot and PowerDNS agree on, this server says, too.
//!
//! The cases are those that the Ferret project made and ran (MIT licence): small zones that are valid but odd, and a
//! query for each that an abstract name server found worth asking.

#![expect(clippy::unwrap_used, reason = "the cases are well-formed, or the test has failed")]

mod dig;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;

use dig::{Ask, Served, Told};
use flate2::read::GzDecoder;
use serde_json::Value;
use synod_dns::{Identity, Transport};
use synod_zone::{Name, Rtype, zone_file};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/dns/ferret-valid.jsonl.gz");
/// Servers that have to agree.
const AGREEMENT: usize = 3;
/// Queries on which they do, in the file that this test knows.
const QUERIES_MIN: usize = 6_000;

#[test]
fn what_three_name_servers_agree_on() {
    if !Path::new(CASES).exists() {
        eprintln!("SKIPPED: no cases at {CASES}");
        return;
    }
    let file = BufReader::new(GzDecoder::new(std::fs::File::open(CASES).unwrap()));
    let (mut asked, mut failures) = (0, Vec::new());
    for line in file.lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let zone = dig::zone(case["zone"].as_str().unwrap());
        let mut zones = Served::default();
        zones.add(zone.unwrap_or_else(|error| panic!("case {}: {error}", case["id"])));
        for query in case["queries"].as_array().unwrap() {
            let responses = query["responses"].as_array().unwrap();
            let agreed = responses.iter().find(|told| told["servers"].as_array().unwrap().len() >= AGREEMENT);
            let Some(expected) = agreed else { continue };
            for transport in [Transport::Udp, Transport::Stream] {
                if let Err(difference) = compare(&zones, query, expected, transport) {
                    failures.push(format!(
                        "case {} over {transport:?}\n{}{difference}",
                        case["id"], case["zone"]
                    ));
                }
            }
            asked += 1;
        }
    }
    assert!(asked >= QUERIES_MIN, "only {asked} queries");
    let shown: String = failures.iter().take(10).flat_map(|failure| [failure.as_str(), "\n"]).collect();
    assert!(failures.is_empty(), "{} answers of {asked} differ; some of them:\n\n{shown}", failures.len());
}

fn compare(zones: &Served, query: &Value, expected: &Value, transport: Transport) -> Result<(), String> {
    let (name, qtype) = (query["name"].as_str().unwrap(), query["type"].as_str().unwrap());
    let mut ask = Ask::new(name, qtype.parse::<Rtype>().unwrap());
    ask.edns = Some((1232, 0, vec![]));
    let told = dig::ask(&dig::source(zones), &Identity::default(), transport, &ask.bytes()).unwrap();

    let flags: Vec<&str> =
        expected["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    let is_same = told.rcode_text() == expected["rcode"].as_str().unwrap()
        && told.is_authoritative() == flags.contains(&"AA")
        && told.is_truncated() == flags.contains(&"TC")
        && set(&told.answer) == records(&expected["answer"])
        && set(&told.authority) == records(&expected["authority"]);
    if is_same {
        return Ok(());
    }
    let mut text = format!("{name} {qtype}\nthey say {expected}\nwe say ");
    writeln!(text, "{told}").unwrap();
    Err(text)
}

type Keys = BTreeSet<(Vec<u8>, u16, u16, u32, Vec<u8>)>;

fn set(section: &[Told]) -> Keys {
    section.iter().map(Told::key).collect()
}

fn records(lines: &Value) -> Keys {
    let lines: String =
        lines.as_array().unwrap().iter().flat_map(|line| [line.as_str().unwrap(), "\n"]).collect();
    let file = zone_file::parse(lines.as_bytes(), &Name::root()).unwrap();
    file.records.iter().map(|record| Told::of(record).key()).collect()
}
