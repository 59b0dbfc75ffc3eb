//! Files that are good, what they say, and that what is printed says the same.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use synod_zone::rdata::{Field, Part};
use synod_zone::{Name, Record, Rtype, check, diff, rdata, zone_file};

fn origin() -> Name {
    "example.org".parse().unwrap()
}

/// The records of a file, each as its line.
fn lines(text: &str) -> Vec<String> {
    let file =
        zone_file::parse(text.as_bytes(), &origin()).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    assert_eq!(file.records.len(), file.lines.len());
    file.records.iter().map(Record::to_string).collect()
}

#[test]
fn owners_ttls_and_classes_come_from_where_they_should() {
    for (text, expected) in [
        ("", vec![]),
        ("\n ; only\n;comments\n\t\n", vec![]),
        ("x 1 A 1.2.3.4", vec!["x.example.org. 1 IN A 1.2.3.4"]),
        ("X.Test. in 1H a 1.2.3.4\r\n", vec!["X.Test. 3600 IN A 1.2.3.4"]),
        (
            "x 1 IN A 1.2.3.4\nx IN 2 A 1.2.3.4\nx class1 A 1.2.3.4",
            vec![
                "x.example.org. 1 IN A 1.2.3.4",
                "x.example.org. 2 IN A 1.2.3.4",
                "x.example.org. 2 IN A 1.2.3.4",
            ],
        ),
        // $TTL goes before the last TTL; without both a SOA's own minimum is there.
        (
            "$TTL 5\nx 1 A 1.2.3.4\n A 1.2.3.5\n$TTL 6\n A 1.2.3.6",
            vec![
                "x.example.org. 1 IN A 1.2.3.4",
                "x.example.org. 5 IN A 1.2.3.5",
                "x.example.org. 6 IN A 1.2.3.6",
            ],
        ),
        (
            "@ SOA a b 1 2 3 4 77\n 9 A 1.2.3.4\n A 1.2.3.5",
            vec![
                "example.org. 77 IN SOA a.example.org. b.example.org. 1 2 3 4 77",
                "example.org. 9 IN A 1.2.3.4",
                "example.org. 77 IN A 1.2.3.5",
            ],
        ),
        (
            "x 8 A 1.2.3.4\n@ SOA a. b. 1 2 3 4 77",
            vec!["x.example.org. 8 IN A 1.2.3.4", "example.org. 8 IN SOA a. b. 1 2 3 4 77"],
        ),
        (
            "x 1 A 1.2.3.4\n$ORIGIN sub\n A 1.2.3.5\n@ A 1.2.3.6\n$ORIGIN .\nx A 1.2.3.7\n@ A 1.2.3.8\n. A 1.2.3.9",
            vec![
                "x.example.org. 1 IN A 1.2.3.4",
                "x.example.org. 1 IN A 1.2.3.5",
                "sub.example.org. 1 IN A 1.2.3.6",
                "x. 1 IN A 1.2.3.7",
                ". 1 IN A 1.2.3.8",
                ". 1 IN A 1.2.3.9",
            ],
        ),
        ("(x 1\n A\n1.2.3.4)", vec!["x.example.org. 1 IN A 1.2.3.4"]),
        ("x 1 TXT (a)(b)\"c\"\"d\"e;f", vec!["x.example.org. 1 IN TXT \"a\" \"b\" \"c\" \"d\" \"e\""]),
        ("\\097\\.\\\\ 1 TXT \\097\\\"", vec!["a\\.\\\\.example.org. 1 IN TXT \"a\\\"\""]),
        (
            "1 1 A 1.2.3.4\nA A 1.2.3.4\nIN A 1.2.3.4",
            vec![
                "1.example.org. 1 IN A 1.2.3.4",
                "A.example.org. 1 IN A 1.2.3.4",
                "IN.example.org. 1 IN A 1.2.3.4",
            ],
        ),
        (
            "$GENERATE 1-2 h$ 1 MX \"$ m$\"\nx 1 A 1.2.3.4\n$GENERATE 3-3 h$ TXT $\n A 1.2.3.5",
            vec![
                "h1.example.org. 1 IN MX 1 m1.example.org.",
                "h2.example.org. 1 IN MX 2 m2.example.org.",
                "x.example.org. 1 IN A 1.2.3.4",
                "h3.example.org. 1 IN TXT \"3\"",
                "x.example.org. 1 IN A 1.2.3.5",
            ],
        ),
    ] {
        assert_eq!(lines(text), expected, "{text}");
    }
}

#[test]
fn records_know_their_lines() {
    let text = "$TTL 1\n\na A 1.2.3.4\n  TXT (\n x\n y )\n\n$GENERATE 1-2 g$ A 1.2.3.$\nb A 1.2.3.4";
    assert_eq!(zone_file::parse(text.as_bytes(), &origin()).unwrap().lines, [3, 4, 8, 8, 9]);
}

#[test]
fn printed_files_say_the_same() {
    let text = include_str!("zones/every-type.zone");
    let file = zone_file::parse(text.as_bytes(), &origin()).unwrap();
    assert_eq!(check(&origin(), &file.records, &file.lines), []);
    for around in [origin(), Name::root(), "odd.example.org".parse().unwrap()] {
        let mut printed = String::new();
        zone_file::print(&around, &file.records, &mut printed).unwrap();
        assert!(
            !printed.contains("\\#") || printed.matches("\\#").count() == 3,
            "only what has no form is generic"
        );
        let again = zone_file::parse(printed.as_bytes(), &Name::root()).unwrap();
        assert_eq!(again.records, file.records);
        assert!(diff(&again.records, &file.records).is_empty());
    }
    for record in &file.records {
        let generic: String = record.rdata.iter().map(|byte| format!("{byte:02x}")).collect();
        let generic = format!("\\# {} {generic}", record.rdata.len());
        assert_eq!(rdata::parse(record.rtype, generic.as_bytes(), &Name::root()).as_ref(), Ok(&record.rdata));
    }
}

/// Every type with a form, and one without.
fn types() -> Vec<Rtype> {
    (0..=u16::MAX).map(Rtype).filter(|rtype| rdata::layout(*rtype).is_some() || rtype.0 == 65280).collect()
}

fn name() -> BoxedStrategy<Vec<u8>> {
    let label = vec(any::<u8>(), 1..=20);
    let labels = vec(label, 0..=5);
    labels
        .prop_map(|labels| {
            let mut wire: Vec<u8> = Vec::new();
            for label in labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label);
            }
            wire.push(0);
            wire
        })
        .boxed()
}

/// Bytes behind their number.
fn counted(bytes: impl Strategy<Value = Vec<u8>> + 'static) -> BoxedStrategy<Vec<u8>> {
    bytes.prop_map(|bytes| [&[u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat()).boxed()
}

fn joined(parts: BoxedStrategy<Vec<u8>>, max: usize) -> BoxedStrategy<Vec<u8>> {
    vec(parts, 0..=max).prop_map(|parts| parts.concat()).boxed()
}

/// Valid bytes of one field; of those that depend on others, some kinds.
fn field(field: Field) -> BoxedStrategy<Vec<u8>> {
    let bytes = |len: usize| vec(any::<u8>(), len..=len).boxed();
    let string = || counted(prop_oneof![vec(any::<u8>(), 0..=20), vec(any::<u8>(), 255..=255)]);
    match field {
        Field::CompressibleName | Field::Name => name(),
        Field::U8 | Field::Algorithm | Field::Scheme => bytes(1),
        Field::U16 | Field::Type | Field::CertificateType => bytes(2),
        Field::U32 | Field::Seconds | Field::Time | Field::Ipv4 => bytes(4),
        Field::Ipv6 => prop_oneof![bytes(16), vec(prop_oneof![Just(0), any::<u8>()], 16..=16)].boxed(),
        Field::Groups | Field::Eui64 => bytes(8),
        Field::Eui48 => bytes(6),
        Field::String => string(),
        Field::OptionalString => prop_oneof![Just(Vec::new()), string()].boxed(),
        Field::Strings => (string(), joined(string(), 3)).prop_map(|(a, b)| [a, b].concat()).boxed(),
        Field::Text | Field::OptionalBase64 | Field::DashBase64 => vec(any::<u8>(), 0..=300).boxed(),
        Field::NonEmptyText | Field::Hex | Field::Base64 | Field::Nsap => vec(any::<u8>(), 1..=300).boxed(),
        Field::Digest | Field::Fingerprint | Field::ZoneDigest => {
            prop_oneof![bytes(20), bytes(32), bytes(48), bytes(64)].boxed()
        }
        Field::Tag => counted("[a-zA-Z0-9]{1,30}".prop_map(String::into_bytes)),
        Field::Salt => string(),
        Field::HashedName => counted(vec(any::<u8>(), 1..=255)),
        Field::Types | Field::OptionalTypes => {
            let block = (any::<u8>(), vec(any::<u8>(), 0..=31), 1_u8..)
                .prop_map(|(number, octets, last)| {
                    let len = u8::try_from(octets.len() + 1).unwrap();
                    [&[number, len], &octets[..], &[last]].concat()
                })
                .boxed();
            joined(block, 2)
        }
        Field::Prefixes => {
            let prefix = |family: u8, bits: u8| {
                let octets = vec(1_u8.., 0..=usize::from(bits / 8));
                (0..=bits, octets, any::<bool>())
                    .prop_map(move |(len, octets, negated)| {
                        let count = u8::try_from(octets.len()).unwrap() | u8::from(negated) << 7;
                        [&[0, family, len, count], &octets[..]].concat()
                    })
                    .boxed()
            };
            joined(prop_oneof![prefix(1, 32), prefix(2, 128)].boxed(), 4)
        }
        Field::Services => (any::<u8>(), vec(any::<u8>(), 0..=40), 1_u8..)
            .prop_map(|(protocol, octets, last)| [&[protocol], &octets[..], &[last]].concat())
            .boxed(),
        Field::Location => {
            let precision = || (0_u8..=9, 0_u8..=9).prop_map(|(digit, power)| digit << 4 | power);
            let angle = |degrees: u32| {
                let reach = degrees * 3_600_000;
                (1_u32 << 31) - reach..=(1_u32 << 31) + reach
            };
            ([precision(), precision(), precision()], angle(90), angle(180), any::<u32>())
                .prop_map(|(precisions, latitude, longitude, altitude)| {
                    let numbers = [latitude, longitude, altitude].map(u32::to_be_bytes).concat();
                    [&[0], &precisions[..], &numbers].concat()
                })
                .boxed()
        }
        Field::Params => {
            let param = |key: u16, value: BoxedStrategy<Vec<u8>>| {
                let value = value.prop_map(move |value| {
                    let len = u16::try_from(value.len()).unwrap();
                    [&key.to_be_bytes(), &len.to_be_bytes(), &value[..]].concat()
                });
                prop_oneof![Just(Vec::new()), value].boxed()
            };
            let id = counted(vec(any::<u8>(), 1..=20));
            let ids = (id.clone(), joined(id, 3)).prop_map(|(a, b)| [a, b].concat()).boxed();
            let utf8 = "\\PC{1,20}".prop_map(String::into_bytes).boxed();
            let params = [
                param(0, prop_oneof![Just(vec![0, 3]), Just(vec![0, 1, 0, 4, 1, 0])].boxed()),
                param(1, ids),
                param(2, Just(Vec::new()).boxed()),
                param(3, bytes(2)),
                param(4, vec(bytes(4), 1..=3).prop_map(|list| list.concat()).boxed()),
                param(5, vec(any::<u8>(), 1..=50).boxed()),
                param(6, vec(bytes(16), 1..=3).prop_map(|list| list.concat()).boxed()),
                param(7, utf8),
                param(8, Just(Vec::new()).boxed()),
                param(9, vec(bytes(2), 1..=3).prop_map(|list| list.concat()).boxed()),
                param(256, vec(any::<u8>(), 0..=50).boxed()),
                param(65534, vec(any::<u8>(), 0..=300).boxed()),
            ];
            params.prop_map(|params| params.concat()).boxed()
        }
        Field::Gateway => prop_oneof![Just(Vec::new()), bytes(4), bytes(16), name()].boxed(),
        Field::Relay => (prop_oneof![Just(0_u8), 128_u8..132, 0_u8..4], field_of_gateway())
            .prop_map(|(kind, gateway)| [&[kind], &gateway[..]].concat())
            .boxed(),
        Field::HostIdentity => {
            (any::<u8>(), vec(any::<u8>(), 1..=255), vec(any::<u8>(), 1..=300), joined(name(), 3))
                .prop_map(|(algorithm, tag, key, servers)| {
                    let tag_len = u8::try_from(tag.len()).unwrap();
                    let key_len = u16::try_from(key.len()).unwrap().to_be_bytes();
                    [&[tag_len, algorithm], &key_len[..], &tag, &key, &servers].concat()
                })
                .boxed()
        }
    }
}

fn field_of_gateway() -> BoxedStrategy<Vec<u8>> {
    field(Field::Gateway)
}

/// Data of a type, mostly valid.
fn data(rtype: Rtype) -> BoxedStrategy<Vec<u8>> {
    match rdata::layout(rtype) {
        Some(fields) => {
            let fields: Vec<_> = fields.iter().map(|of| field(*of)).collect();
            let data = fields.prop_map(|fields| fields.concat());
            data.prop_map(move |mut data| {
                if rtype == Rtype::IPSECKEY {
                    // The gateway's type, of which there are four.
                    data[1] %= 4;
                }
                data
            })
            .boxed()
        }
        None => vec(any::<u8>(), 0..=300).boxed(),
    }
}

#[test]
fn data_of_every_type_reads_back() {
    let mut runner = TestRunner::deterministic();
    for rtype in types() {
        let data = data(rtype);
        let mut valid = 0;
        for _ in 0..100 {
            let rdata = data.new_tree(&mut runner).unwrap().current();
            // What is not valid is written in the generic form, which does not read back.
            if rdata::validate(rtype, &rdata).is_err() {
                assert!(rdata::display(rtype, &rdata).to_string().starts_with("\\# "));
                continue;
            }
            valid += 1;
            let text = rdata::display(rtype, &rdata).to_string();
            let read = rdata::parse(rtype, text.as_bytes(), &origin());
            assert_eq!(read.as_deref(), Ok(&rdata[..]), "{rtype} {text}");
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");

            let parts = rdata::parts(rtype, &rdata).map(|part| match part {
                Part::Bytes(bytes) | Part::Name(bytes) => bytes,
            });
            assert_eq!(parts.collect::<Vec<_>>().concat(), rdata, "{rtype} {text}");
            for name in rdata::names(rtype, &rdata) {
                Name::from_wire(name).unwrap();
            }
            let upper = rdata::canonical(rtype, &rdata);
            assert!(rdata::is_same(rtype, &rdata, &upper), "{rtype} {text}");
            // Cut off or with more behind it, it is another valid record or none, and never a panic.
            for end in (0..rdata.len()).step_by(5) {
                let cut = &rdata[..end];
                let text = rdata::display(rtype, cut).to_string();
                if rdata::validate(rtype, cut).is_ok() {
                    assert_eq!(
                        rdata::parse(rtype, text.as_bytes(), &origin()).as_deref(),
                        Ok(cut),
                        "{rtype} {text}"
                    );
                }
                assert!(rdata::names(rtype, cut).count() + rdata::parts(rtype, cut).count() < 100);
            }
        }
        assert!(valid >= 10, "{rtype}: only {valid} of 100 were valid");
    }
}

/// Words that make up files.
fn word() -> impl Strategy<Value = String> {
    let types: Vec<String> = types().iter().map(Rtype::to_string).collect();
    prop_oneof![
        3 => Just(" ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => prop::sample::select(vec!["(", ")", "\"", ";", "\\", "\\#", "@", "$TTL", "$ORIGIN", "$GENERATE", "$", "."])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["IN", "1h", "0", "-", "AAAA", "1-3", "${0,3,n}", "1.2.3.4", "::1", "alpn=h2"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(types),
        1 => "[a-z0-9.]{1,8}",
        1 => "\\PC{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_is_read_again_from_what_is_printed(words in vec(word(), 0..60), start in any::<bool>()) {
        let start = if start { "$TTL 1\nx A 1.2.3.4\n" } else { "" };
        read_and_print((start.to_owned() + &words.concat()).as_bytes());
    }

    #[test]
    fn bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        read_and_print(&bytes);
    }
}

fn read_and_print(text: &[u8]) {
    match zone_file::parse(text, &origin()) {
        Ok(file) => {
            check(&origin(), &file.records, &file.lines);
            let mut printed = String::new();
            zone_file::print(&origin(), &file.records, &mut printed).unwrap();
            let again = zone_file::parse(printed.as_bytes(), &origin()).unwrap();
            assert_eq!(again.records, file.records);
        }
        Err(faults) => assert!(faults.all().iter().all(|fault| fault.to_string().len() <= 256)),
    }
}

#[test]
fn the_rules_of_names_in_messages() {
    // Only types of RFC 1035 may be compressed (RFC 3597 4).
    let compressed =
        |rtype: &Rtype| rdata::layout(*rtype).is_some_and(|fields| fields.contains(&Field::CompressibleName));
    let numbers: Vec<u16> = types().iter().filter(|rtype| compressed(rtype)).map(|rtype| rtype.0).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15]);
    let soa = rdata::parse(Rtype::SOA, b"ns host 1 2 3 4 5", &origin()).unwrap();
    let (ns, host): (Name, Name) = ("ns.example.org".parse().unwrap(), "host.example.org".parse().unwrap());
    let parts: Vec<_> = rdata::parts(Rtype::SOA, &soa).collect();
    assert_eq!(parts[..2], [Part::Name(ns.as_wire()), Part::Name(host.as_wire())]);
    assert!(matches!(parts[2..], [Part::Bytes(numbers)] if numbers.len() == 20));
    let mx = rdata::parse(Rtype::MX, b"10 ns", &origin()).unwrap();
    let parts: Vec<_> = rdata::parts(Rtype::MX, &mx).collect();
    assert_eq!(parts, [Part::Bytes(&[0, 10]), Part::Name(ns.as_wire())]);
    let srv = rdata::parse(Rtype::SRV, b"1 2 3 ns", &origin()).unwrap();
    assert_eq!(rdata::parts(Rtype::SRV, &srv).collect::<Vec<_>>(), [Part::Bytes(&srv)]);
    assert_eq!(rdata::names(Rtype::SRV, &srv).collect::<Vec<_>>(), [ns.as_wire()]);
    assert_eq!(rdata::names(Rtype::TXT, b"\x01a").count(), 0);
}

#[test]
fn names_are_in_canonical_order() {
    // RFC 4034 6.1.
    let texts = [
        "example",
        "a.example",
        "yljkjljk.a.example",
        "Z.a.example",
        "zABC.a.EXAMPLE",
        "z.example",
        "\\001.z.example",
        "*.z.example",
        "\\200.z.example",
    ];
    let names: Vec<Name> = texts.iter().map(|text| text.parse().unwrap()).collect();
    for (a, left) in names.iter().enumerate() {
        for (b, right) in names.iter().enumerate() {
            assert_eq!(left.cmp(right), a.cmp(&b), "{left} {right}");
            assert_eq!(left.to_lowercase() == *right, a == b);
        }
    }
    let mut records: Vec<Record> = names
        .iter()
        .map(|name| Record { owner: name.clone(), rtype: Rtype::A, ttl: 1, rdata: vec![1, 2, 3, 4].into() })
        .collect();
    records.reverse();
    let owners: Vec<Name> = diff(&[], &records).added.into_iter().map(|record| record.owner).collect();
    assert_eq!(owners, names);
}
