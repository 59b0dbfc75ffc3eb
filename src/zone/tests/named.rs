//! Beside BIND: `named-compilezone` reads the same files to the same bytes, and `named-checkzone` gives the same verdicts
//! but for a list of reasons. Without these programs the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use synod_zone::{Name, Record, Rtype, check, rdata, zone_file};

const EVERY_TYPE: &str = include_str!("zones/every-type.zone");

fn origin() -> Name {
    "example.org".parse().unwrap()
}

/// Runs a program of BIND on `file`; none if it is not installed.
fn run(program: &str, arguments: &[&str], file: &Path) -> Option<Output> {
    // Without the network: names elsewhere are not looked up.
    let output = Command::new(program).args(arguments).arg("example.org").arg(file).output();
    if output.is_err() {
        eprintln!(
            "SKIPPED: {program} is not installed (apt-get install bind9-utils), and nothing was compared"
        );
    }
    output.ok()
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

type Records = BTreeSet<(Name, Rtype, u32, Vec<u8>)>;

/// Records with names in data in lower case, and each RRset with the TTL of its first record.
fn comparable<'a>(records: impl IntoIterator<Item = &'a Record>) -> Records {
    let mut ttls = BTreeMap::new();
    let of = |record: &'a Record| {
        let Record { owner, rtype, rdata, ttl } = record;
        let ttl = *ttls.entry((owner, *rtype)).or_insert(*ttl);
        (owner.clone(), *rtype, ttl, rdata::canonical(*rtype, rdata).into_owned())
    };
    records.into_iter().map(of).collect()
}

/// What named-compilezone makes of a file.
fn compiled(name: &str, text: &str) -> Option<Records> {
    let source = write(&format!("{name}.zone"), text);
    let raw = source.with_extension("raw");
    let raw_text = raw.to_str().unwrap();
    let unchecked = ["-i", "none", "-k", "ignore", "-n", "ignore", "-r", "ignore", "-m", "ignore"];
    let output =
        run("named-compilezone", &[&unchecked[..], &["-F", "raw", "-o", raw_text]].concat(), &source)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(comparable(&read_raw(&fs::read(&raw).unwrap())))
}

/// Reads BIND's raw format: a header, then RRsets, each with its length, class, type, covered type, TTL, number of
/// records, owner and data.
fn read_raw(mut bytes: &[u8]) -> Vec<Record> {
    fn take<const LEN: usize>(bytes: &mut &[u8]) -> [u8; LEN] {
        let (taken, rest) = bytes.split_first_chunk().unwrap();
        *bytes = rest;
        *taken
    }
    let (format, version): ([u8; 4], [u8; 4]) = (take(&mut bytes), take(&mut bytes));
    assert_eq!((u32::from_be_bytes(format), u32::from_be_bytes(version)), (2, 1));
    let _: [u8; 16] = take(&mut bytes);
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let _: [u8; 6] = take(&mut bytes);
        let rtype = Rtype(u16::from_be_bytes(take(&mut bytes)));
        let _: [u8; 2] = take(&mut bytes);
        let (ttl, count) = (u32::from_be_bytes(take(&mut bytes)), u32::from_be_bytes(take(&mut bytes)));
        let mut counted = || {
            let len = usize::from(u16::from_be_bytes(take(&mut bytes)));
            let (taken, rest) = bytes.split_at(len);
            bytes = rest;
            taken
        };
        let owner = Name::from_wire(counted()).unwrap();
        for _ in 0..count {
            records.push(Record { owner: owner.clone(), rtype, ttl, rdata: counted().to_vec().into() });
        }
    }
    records
}

#[test]
fn every_type_is_read_to_the_same_bytes() {
    let file = zone_file::parse(EVERY_TYPE.as_bytes(), &origin()).unwrap_or_else(|faults| panic!("{faults}"));
    let ours = comparable(&file.records);
    let Some(theirs) = compiled("every-type", EVERY_TYPE) else { return };
    let list = |records: &Records, others: &Records| {
        records.difference(others).map(|record| format!("{record:?}\n")).collect::<String>()
    };
    assert!(ours == theirs, "only ours:\n{}only theirs:\n{}", list(&ours, &theirs), list(&theirs, &ours));
    assert_eq!(ours.len(), file.records.len());
}

#[test]
fn what_is_printed_is_read_to_the_same_bytes() {
    let file = zone_file::parse(EVERY_TYPE.as_bytes(), &origin()).unwrap();
    let mut printed = String::new();
    zone_file::print(&origin(), &file.records, &mut printed).unwrap();
    if let Some(theirs) = compiled("every-type-printed", &printed) {
        assert!(comparable(&file.records) == theirs);
    }
}

/// What both programs say of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// Bad here, and good for named-checkzone.
    Stricter,
}

use Verdict::{Bad, Good, Stricter};

/// Additions to a zone that is good without them.
const ADDITIONS: &[(Verdict, &str)] = &[
    (Good, ""),
    // SOA.
    (Bad, "@ SOA ns1 host 2 2 3 4 5"),
    (Good, "@ SOA ns1 host 1 2 3 4 5"),
    // The last one is taken there.
    (Stricter, "@ SOA NS1 host 1 2 3 4 5"),
    (Bad, "sub SOA ns1 host 1 2 3 4 5"),
    // CNAME.
    (Bad, "x CNAME a\nx A 192.0.2.1"),
    (Bad, "x A 192.0.2.1\nx CNAME a"),
    (Bad, "x CNAME a\nx CNAME b"),
    (Good, "x CNAME a\nX CNAME A"),
    (
        Good,
        "x CNAME a\nx NSEC y CNAME\nx RRSIG CNAME 8 3 5 20380101000000 20200101000000 1 @ AAAA\nx KEY 256 3 8 AAAA",
    ),
    (Bad, "@ CNAME a"),
    (Bad, "x CNAME a\nx DNAME b"),
    (Bad, "x CNAME a\nx TYPE65280 \\# 0"),
    (Good, "x CNAME x"),
    // DNAME.
    (Bad, "x DNAME a\nx DNAME b"),
    (Good, "x DNAME a\nx A 192.0.2.1"),
    (Good, "x DNAME a\nx NS ns1"),
    // Nothing may be below a DNAME (RFC 6672 2.4).
    (Stricter, "x DNAME a\ny.x A 192.0.2.1"),
    // Delegations.
    (Good, "sub NS ns.sub\nns.sub A 192.0.2.1"),
    (Good, "sub NS ns.sub\nns.sub A 192.0.2.1\nother.sub AAAA ::1"),
    (Good, "sub NS ns1\nsub DS 1 8 99 ab"),
    (Good, "sub NS ns1\nsub TXT x"),
    // Data below a delegation is never answered.
    (Stricter, "sub NS ns1\nx.sub TXT x"),
    (Stricter, "sub NS ns1\nx.sub CNAME y"),
    (Stricter, "sub NS ns1\nsub.sub NS ns1"),
    // Nobody gets to these servers.
    (Stricter, "sub NS ns.sub"),
    (Stricter, "sub NS none"),
    (Good, "sub NS ns.sibling\nsibling NS ns1"),
    (Good, "sub NS alias\nalias CNAME ns1"),
    (Bad, "@ NS none"),
    (Bad, "@ NS alias\nalias CNAME ns1"),
    (Bad, "@ NS x.d\nd DNAME a"),
    (Good, "@ NS x.w\n*.w A 192.0.2.1"),
    (Good, "@ NS ns.sub\nsub NS ns1"),
    (Bad, "@ NS e\nx.e A 192.0.2.1"),
    (Good, "@ NS elsewhere.test."),
    // Mail and services may point nowhere.
    (Good, "x MX 10 none"),
    (Good, "x SRV 1 2 3 none"),
    (Good, "x MX 10 alias\nalias CNAME ns1"),
    // Outside the zone: ignored there.
    (Stricter, "other.test. A 192.0.2.1"),
    (Stricter, "org. A 192.0.2.1"),
    // TTLs.
    (Good, "x 1 A 192.0.2.1\nx 2 A 192.0.2.2"),
    (Good, "x 2147483647 A 192.0.2.1"),
    // Taken for 0 there.
    (Stricter, "x 2147483648 A 192.0.2.1"),
    (Bad, "x 1h30 A 192.0.2.1"),
    (Good, "x 1h30m A 192.0.2.1"),
    // The server answers there itself.
    (Stricter, "_state TXT x"),
    (Stricter, "x._STATE A 192.0.2.1"),
    (Good, "_state.x TXT x"),
    // Syntax.
    (Bad, "x A 192.0.2.256"),
    (Bad, "x A 192.0.2"),
    (Bad, "x A 192.0.2.1 192.0.2.2"),
    (Bad, "x AAAA 192.0.2.1"),
    (Bad, "x AAAA 1:2:3:4:5:6:7"),
    (Bad, "x MX ns1"),
    (Bad, "x MX 65536 ns1"),
    (Bad, "x MX \"1\" ns1"),
    (Bad, "x CNAME \"a\""),
    (Bad, "x NOSUCHTYPE a"),
    (Bad, "x CH A 192.0.2.1"),
    (Bad, "x AXFR a"),
    (Bad, "x TYPE200 \\# 0"),
    (Bad, "x TYPE65280 \\# 2 ab"),
    (Bad, "x TYPE65280 \\# 1 abc"),
    (Bad, "x TYPE65280 ab"),
    (Bad, "x A \\# 3 c00002"),
    (Bad, "x TXT \\# 2 05 41"),
    (Bad, "x TXT"),
    (Bad, "x TXT \"not closed"),
    (Bad, "x TXT \\256"),
    (Bad, "x TXT \"\\256\""),
    (Bad, "x TXT ( a"),
    (Bad, "x TXT a )"),
    (Bad, "a..b A 192.0.2.1"),
    (Bad, ".a A 192.0.2.1"),
    (Bad, "x DS 1 8 1 abcd"),
    (Bad, "x DS 1 8 2 abcd"),
    (Good, "x DS 1 8 99 abcd"),
    (Bad, "x SSHFP 1 1 abcd"),
    (Bad, "x OPENPGPKEY AB=="),
    (Bad, "x OPENPGPKEY AB"),
    (Bad, "x OPENPGPKEY A*=="),
    (Bad, "x TLSA 3 1 1 abc"),
    (Bad, "x TLSA 3 1 1"),
    (Bad, "x CAA 0 iss-ue x"),
    (Bad, "x EUI48 00-00-5e-00-53"),
    (Bad, "x LOC 91 N 0 W 0"),
    (Bad, "x LOC 51 60 N 0 W 0"),
    (Bad, "x APL 3:1.2.3.4/5"),
    (Bad, "x APL 1:1.2.3.4/33"),
    (Bad, "x SVCB 1 . no-default-alpn"),
    (Bad, "x SVCB 1 . mandatory=port"),
    (Bad, "x SVCB 1 . mandatory=mandatory"),
    (Bad, "x SVCB 1 . port=1 port=2"),
    (Bad, "x SVCB 1 . port=65536"),
    (Bad, "x SVCB 1 . key03=x"),
    (Bad, "x SVCB 1 . key3=1"),
    (Good, "x SVCB 1 . key3=\"\\000\\053\""),
    (Bad, "x SVCB 1 . key65536=x"),
    (Bad, "x SVCB 1 . ipv4hint=192.0.2"),
    (Bad, "x SVCB 1 . alpn=\"\""),
    (Bad, "x SVCB 1 . \"alpn=h2\""),
    (Bad, "x NSEC3 1 0 0 abc 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR"),
    (Bad, "x NSEC3 1 0 0 - !"),
    (Bad, "x RRSIG A 8 2 300 20231301000000 20200101000000 1 @ AAAA"),
    (Bad, "$ORIGIN"),
    (Bad, "$ORIGIN a..b"),
    (Bad, "$TTL x"),
    (Bad, "$NOSUCH x"),
    (Bad, "$INCLUDE /nonexistent"),
    (Bad, "$GENERATE 3-1 x$ A 192.0.2.$"),
    (Bad, "$GENERATE 250-300 x$ A 192.0.2.$"),
    (Good, "$GENERATE 1-20/2 x$ A 192.0.2.$"),
    (Good, "$ORIGIN sub.example.org.\n@ A 192.0.2.1"),
];

#[test]
fn verdicts_are_the_same() {
    for (at, (expected, addition)) in ADDITIONS.iter().enumerate() {
        let text = format!("$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n{addition}\n");
        let faults = match zone_file::parse(text.as_bytes(), &origin()) {
            Ok(file) => check(&origin(), &file.records, &file.lines),
            Err(faults) => faults.all().to_vec(),
        };
        assert_eq!(faults.is_empty(), *expected == Good, "{addition}: {faults:?}");
        let source = write(&format!("verdict-{at}.zone"), &text);
        let Some(output) = run("named-checkzone", &["-i", "local"], &source) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), *expected != Bad, "{addition}: {said}");
    }
}

#[test]
fn zones_without_what_every_zone_has_are_bad() {
    let soa = "@ 300 SOA ns1 host 1 2 3 4 5\n";
    let (ns, a) = ("@ 300 NS ns1\n", "ns1 300 A 192.0.2.1\n");
    for (at, (text, faults)) in [
        (String::new(), 2),
        (format!("{ns}{a}"), 1),
        (format!("{soa}{a}"), 1),
        (format!("{soa}{ns}"), 1),
        (format!("{a}{ns}{soa}"), 0),
        ("garbage".to_owned(), 1),
    ]
    .iter()
    .enumerate()
    {
        let found = match zone_file::parse(text.as_bytes(), &origin()) {
            Ok(file) => check(&origin(), &file.records, &file.lines),
            Err(faults) => faults.all().to_vec(),
        };
        assert_eq!(found.len(), *faults, "{text}: {found:?}");
        let source = write(&format!("bare-{at}.zone"), text);
        let Some(output) = run("named-checkzone", &["-i", "local"], &source) else { return };
        assert_eq!(
            output.status.success(),
            *faults == 0,
            "{text}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
