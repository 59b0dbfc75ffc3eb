//! Every record that hickory-proto reads from text, this crate reads to the same bytes.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::BTreeSet;

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use hickory_proto::serialize::txt::Parser;
use synod_zone::{Name, Rtype, rdata, zone_file};

/// Types and data that both read; between them all types that hickory-proto 0.26 reads from text.
const RECORDS: &[(&str, &str)] = &[
    ("A", "192.0.2.1"),
    ("A", "0.0.0.0"),
    ("A", "255.255.255.255"),
    ("AAAA", "::"),
    ("AAAA", "::1"),
    ("AAAA", "2001:DB8::8:800:200c:417a"),
    ("AAAA", "1:2:3:4:5:6:7:8"),
    ("AAAA", "1::"),
    ("AAAA", "::ffff:192.0.2.1"),
    ("AAAA", "64:ff9b::192.0.2.33"),
    ("ANAME", "target.example."),
    ("CAA", "0 issue \"ca.example.net\""),
    ("CAA", "0 issue \"ca.example.net; account=230123\""),
    ("CAA", "128 issuewild \";\""),
    ("CAA", "0 iodef \"mailto:security@example.com\""),
    ("CAA", "0 iodef \"https://iodef.example.com/\""),
    ("CERT", "1 12179 3 AQIDBAUGBwg="),
    ("CERT", "65535 0 8 dGVzdA=="),
    ("CNAME", "target.example."),
    ("CNAME", "."),
    ("CNAME", "UPPER.example."),
    ("CSYNC", "66 3 A NS AAAA"),
    ("CSYNC", "4294967295 0 TXT MX SOA"),
    ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    ("DS", "60485 RSASHA1 1 2BB183AF5F22588179A5 3B0A98631FAD1A292118"),
    ("DS", "2371 13 2 1F987CC6583E92DF0890718C42A2EB6A8B5E2A4F8C2B0D9B5A1F7E6D5C4B3A29"),
    ("DS", "1 253 99 ab"),
    ("HINFO", "CPU OS"),
    ("HINFO", "\"RFC8482\" \"\""),
    ("HINFO", "\"a b\" \"c;d\""),
    ("HTTPS", "1 . alpn=h2,h3"),
    ("HTTPS", "0 pool.svc.example."),
    ("MX", "10 mail.example."),
    ("MX", "0 ."),
    ("MX", "65535 a.b.c.d.e.f.g.example."),
    ("NAPTR", "100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z3950._tcp.gatech.edu."),
    ("NAPTR", "100 10 \"U\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" ."),
    ("NAPTR", "65535 65535 \"\" \"\" \"\" ."),
    ("NS", "ns1.example."),
    ("NS", "a.very.long.name.of.many.labels.0.1.2.3.4.5.6.7.8.9.example."),
    ("OPENPGPKEY", "dGVzdCBrZXkgb2Ygc29tZSBsZW5ndGg="),
    ("PTR", "host.example."),
    ("SMIMEA", "3 1 1 8CE14CBE1FAFAE9FB25845D335E0E416BC2FAE02E8746DC06DA59C1F9382"),
    ("SMIMEA", "0 0 0 d2abde24 0d7cd3ee"),
    ("SOA", "ns1.example. hostmaster.example. 2026010101 3600 600 86400 300"),
    ("SOA", "ns1.example. host\\.master.example. 4294967295 1h 10m 1d 5m"),
    ("SOA", "ns1.example. hostmaster.example. 1 1w1d1h1m1s 0 2147483647 3H"),
    ("SRV", "10 60 5060 bigbox.example."),
    ("SRV", "0 0 0 ."),
    ("SSHFP", "2 1 123456789abcdef67890123456789abcdef67890"),
    ("SSHFP", "4 2 a87f1b687ac0e57d2a081a2f282672334d90ed316d2b818ca9580ea384d92401"),
    ("SVCB", "1 svc4.example. port=8004"),
    ("SVCB", "16 foo.example. mandatory=alpn,ipv4hint alpn=h2,h3-19 ipv4hint=192.0.2.1"),
    ("SVCB", "1 foo.example. port=53 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1,2001:db8::53:1"),
    ("SVCB", "1 foo.example. alpn=h2 ech=AEP+DQA/AAAgACB58Q=="),
    ("SVCB", "1 foo.example. key667=hello"),
    ("SVCB", "1 . alpn=dot no-default-alpn"),
    ("TLSA", "3 1 1 8CE14CBE1FAFAE9FB25845D335E0E416BC2FAE02E8746DC06DA59C1F9382"),
    ("TLSA", "0 0 0 d2abde24 0d7cd3ee"),
    ("TXT", "word"),
    ("TXT", "\"\""),
    ("TXT", "\"\" \"\" \"\""),
    ("TXT", "two words"),
    ("TXT", "\"quoted; with ( signs ) and \\\" quote\""),
    ("TXT", "\"v=spf1 include:_spf.example.com ~all\""),
];

fn wire(data: &RData) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = BinEncoder::new(&mut out);
    encoder.set_canonical_form(true);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).unwrap();
    out
}

#[test]
fn data_is_read_alike() {
    let root = Name::root();
    let long = format!("\"{}\"", "x".repeat(255));
    let many = format!("{long} {long} {long} \"rest\"");
    let long_name = format!("{0}.{0}.{0}.{1}.", "l".repeat(63), "m".repeat(61));
    let more =
        [("TXT", &*long), ("TXT", &many), ("CNAME", &long_name), ("PTR", &long_name), ("NS", &long_name)];
    for (rtype, text) in RECORDS.iter().chain(&more) {
        let theirs: RecordType = rtype.parse().unwrap();
        let read = RData::try_from_str(theirs, text).unwrap_or_else(|why| panic!("{rtype} {text}: {why}"));
        let ours: Rtype = rtype.parse().unwrap();
        assert_eq!(ours.0, u16::from(theirs), "{rtype}");
        let rdata =
            rdata::parse(ours, text.as_bytes(), &root).unwrap_or_else(|why| panic!("{rtype} {text}: {why}"));
        let theirs = wire(&read);
        // hickory-proto may write names in lower case.
        assert_eq!(rdata::canonical(ours, &rdata), rdata::canonical(ours, &theirs), "{rtype} {text}");
        assert_eq!(rdata::validate(ours, &rdata), Ok(()), "{rtype} {text}");
    }
}

#[test]
fn whole_files_are_read_alike() {
    let text = "\
$TTL 1h
$ORIGIN example.org.
@   IN SOA ns1 hostmaster (
        2026010101 ; serial
        1h 10m     ; refresh, retry
        1w 5m )    ; expire, minimum
    IN NS ns1
    IN NS ns2.other.test.
ns1 IN A 192.0.2.1
    300 IN AAAA 2001:db8::1
www 60 IN CNAME example.org.
@   IN MX 10 mail
mail A 192.0.2.3
*.wild IN TXT \"any\" thing
$ORIGIN sub.example.org.
@ NS ns
ns A 192.0.2.4
_sip._tcp SRV 1 2 5060 ns
$TTL 5
last TXT \"a\" ( b
  c )
";
    let origin: Name = "example.org".parse().unwrap();
    let parser = Parser::new(text, None, Some(origin.to_string().parse().unwrap()));
    let (_, sets) = parser.parse().unwrap();
    let records = sets.values().flat_map(|set| set.records_without_rrsigs());
    let theirs: BTreeSet<_> = records
        .map(|record| {
            let name = Name::parse(&record.name.to_string()).unwrap();
            (name, u16::from(record.record_type()), record.ttl, wire(&record.data))
        })
        .collect();
    let file = zone_file::parse(text.as_bytes(), &origin).unwrap();
    let ours: BTreeSet<_> = file
        .records
        .iter()
        .map(|record| (record.owner.clone(), record.rtype.0, record.ttl, record.rdata.to_vec()))
        .collect();
    assert_eq!((ours.len(), file.records.len()), (13, 13));
    assert_eq!(ours, theirs);
}
