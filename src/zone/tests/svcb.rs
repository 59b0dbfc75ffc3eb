//! The test vectors of RFC 9460 D.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use synod_zone::{Name, Rtype, rdata};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn good_data() {
    let com = "03 666f6f 07 6578616d706c65 03 636f6d 00";
    let org = "03 666f6f 07 6578616d706c65 03 6f7267 00";
    for (text, wire) in [
        ("0 foo.example.com.", format!("0000 {com}")),
        ("1 .", "0001 00".to_owned()),
        ("16 foo.example.com. port=53", format!("0010 {com} 0003 0002 0035")),
        ("1 foo.example.com. key667=hello", format!("0001 {com} 029b 0005 68656c6c6f")),
        (r#"1 foo.example.com. key667="hello\210qoo""#, format!("0001 {com} 029b 0009 68656c6c6fd2716f6f")),
        (
            r#"1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1""#,
            format!("0001 {com} 0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001"),
        ),
        (
            r#"1 example.com. ipv6hint="2001:db8:122:344::192.0.2.33""#,
            "0001 07 6578616d706c65 03 636f6d 00 0006 0010 20010db8012203440000 0000c0000221".to_owned(),
        ),
        (
            "16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
            format!("0010 {org} 0000 0004 0001 0004 0001 0009 02 6832 05 68332d3139 0004 0004 c0000201"),
        ),
        (
            r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
            format!("0010 {org} 0001 000c 08 665c6f6f2c626172 02 6832"),
        ),
        (
            r"16 foo.example.org. alpn=f\\\092oo\092,bar,h2",
            format!("0010 {org} 0001 000c 08 665c6f6f2c626172 02 6832"),
        ),
        // Not among the vectors: by its number, a key takes the bytes of the wire.
        (r#"1 . key3="\000\053" key1=\002h2"#, "0001 00 0001 0003 02 6832 0003 0002 0035".to_owned()),
    ] {
        let rdata = rdata::parse(Rtype::SVCB, text.as_bytes(), &Name::root())
            .unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(rdata, bytes(&wire), "{text}");
        let printed = rdata::display(Rtype::SVCB, &rdata).to_string();
        assert_eq!(
            rdata::parse(Rtype::SVCB, printed.as_bytes(), &Name::root()).as_ref(),
            Ok(&rdata),
            "{printed}"
        );
    }
}

#[test]
fn bad_data() {
    for text in [
        "1 foo.example.com. ( key123=abc key123=def )",
        "1 foo.example.com. mandatory",
        "1 foo.example.com. alpn",
        "1 foo.example.com. port",
        "1 foo.example.com. ipv4hint",
        "1 foo.example.com. ipv6hint",
        "1 foo.example.com. no-default-alpn=abc",
        "1 foo.example.com. mandatory=key123",
        "1 foo.example.com. mandatory=mandatory",
        "1 foo.example.com. ( mandatory=key123,key123 key123=abc )",
        // Not among the vectors.
        "1 foo.example.com. key65535=abc",
        "1 foo.example.com. key3=1",
        "1 foo.example.com. ech",
        r#"1 foo.example.com. dohpath="\255""#,
        r#"1 foo.example.com. alpn="h2,""#,
        r#"1 foo.example.com. alpn="\\h2""#,
        "1 foo.example.com. tls-supported-groups=29,65536",
        "1",
        "foo.example.com.",
    ] {
        assert!(rdata::parse(Rtype::SVCB, text.as_bytes(), &Name::root()).is_err(), "{text}");
    }
    for wire in [
        // Keys out of order, twice, a value cut off, a key cut off, a value of the wrong length.
        "0001 00 0004 0004 c0000201 0003 0002 0035",
        "0001 00 0003 0002 0035 0003 0002 0035",
        "0001 00 0003 0002 00",
        "0001 00 0003 00",
        "0001 00 0003 0003 003500",
        "0001 00 0001 0003 05 6832",
        "0001 00 0001 0001 00",
        "0001 00 0001 0000",
        "0001 00 0000 0002 0001",
        "0001 00 ffff 0000",
    ] {
        assert!(rdata::validate(Rtype::SVCB, &bytes(wire)).is_err(), "{wire}");
    }
}
