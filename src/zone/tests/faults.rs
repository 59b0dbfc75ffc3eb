//! What is said of bad files: the place, and words that help.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use synod_zone::{FAULTS_MAX, Name, Zone, zone_file};

fn origin() -> Name {
    "example.org".parse().unwrap()
}

/// The faults of a file, one a line.
fn faults(text: &[u8]) -> String {
    zone_file::parse(text, &origin()).map_or_else(|faults| faults.to_string(), |_| "none".to_owned())
}

#[test]
fn syntax_is_refused_with_its_place() {
    let ends = "the record ends here; expected";
    let wants_type = "a record type, or a TTL or IN in front of it";
    for (text, fault) in [
        ("x 1 A 1.2.3", "line 1, column 7: `1.2.3` is not an IPv4 address, as in 192.0.2.1".to_owned()),
        ("x 1 A", format!("line 1, column 6: {ends} an IPv4 address, as in 192.0.2.1")),
        ("x 1 A ; 1.2.3.4\n", format!("line 1, column 16: {ends} an IPv4 address, as in 192.0.2.1")),
        ("x 1 A 1.2.3.4 5", "line 1, column 15: `5` is one too many; expected the end of the record".into()),
        ("\n\nx", format!("line 3, column 2: {ends} {wants_type}")),
        ("x 1", format!("line 1, column 4: {ends} {wants_type}")),
        ("x 1 IN", format!("line 1, column 7: {ends} {wants_type}")),
        ("x 1 IN IN A 1.2.3.4", format!("line 1, column 8: `IN` is not {wants_type}")),
        ("x 1 2 A 1.2.3.4", format!("line 1, column 5: `2` is not {wants_type}")),
        ("x 1 \"A\" 1.2.3.4", format!("line 1, column 5: the quoted string `A` is not {wants_type}")),
        ("x 1h30 A 1.2.3.4", "line 1, column 3: `1h30` is not a TTL: a number of seconds, perhaps with units as in 1h30m".into()),
        ("x 2147483648 A 1.2.3.4", "line 1, column 3: `2147483648` is too long; a TTL has at most 2147483647 s".into()),
        ("x A 1.2.3.4", "line 1, column 3: the record has no TTL; give it one, or put a line like `$TTL 3600` at the top".into()),
        ("x 1 CH A 1.2.3.4", "line 1, column 5: `CH` is not the class IN, which is the only one here".into()),
        ("x 1 ANY 1.2.3.4", "line 1, column 5: `ANY` is not a type of records; it stands in questions and messages only".into()),
        (" 1 A 1.2.3.4", "line 1, column 2: the line begins with a blank, which repeats an owner, and there is none before it".into()),
        ("a..b 1 A 1.2.3.4", "line 1, column 1: `a..b` is not a name: an empty label: two dots in a row, or one in front".into()),
        ("x 1 NS a\\300", "line 1, column 8: `a\\300` is not a name: a backslash is followed by three digits up to 255, or by one character that is no digit".into()),
        ("\"x\" 1 A 1.2.3.4", "line 1, column 1: the quoted string `x` is not a name".into()),
        ("x 1 NULL abc", "line 1, column 10: `abc` is not the generic form, as in \\# 2 abcd, which is the only one of NULL".into()),
        ("x 1 TYPE65280", format!("line 1, column 14: {ends} the generic form, as in \\# 2 abcd, which is the only one of TYPE65280")),
        ("x 1 TYPE65280 \\# 3 abcd", "line 1, column 18: the data has 2 bytes, not 3".into()),
        ("x 1 TYPE65280 \\# 2 abc d e", "line 1, column 26: a hexadecimal digit is missing: they come in pairs".into()),
        ("x 1 TYPE65280 \\# 2 abcx", "line 1, column 20: `abcx` is not bytes of the data in hexadecimal digits".into()),
        ("x 1 MX \\# 3 000a02", "line 1, column 8: this is no data of MX: a name in it is not valid: the bytes end inside the name".into()),
        ("x 1 A \\# 5 0102030405", "line 1, column 7: this is no data of A: there are bytes behind its last field".into()),
        ("x 1 TXT \"abc\n", "line 1, column 9: this quoted string does not end in its line".into()),
        ("x 1 TXT a\\", "line 1, column 10: a backslash is followed by the character that it stands before, or by three digits".into()),
        ("x 1 TXT \"\\2\"", "line 1, column 9: `\\2` is no escape: expected three digits up to 255, or one other character".into()),
        ("x 1 TXT (a\nb", "line 1, column 9: this parenthesis is not closed in the rest of the file".into()),
        ("x 1 TXT a)", "line 1, column 10: this parenthesis was not opened".into()),
        ("@ 1 SOA ns ho ( 1 2 3 4 5\n@ 1 NS ns\n", "line 2, column 1: `@` is one too many; expected the end of the record; the parenthesis of line 1 is still open".into()),
        ("x 1 TXT a\u{1}b", "line 1, column 10: a control byte; a zone file is text, in which it is written \\001".into()),
        ("x 1 DS 1 8 1 abcd", "line 1, column 14: the data that begins here is not valid: a digest of this kind has another length".into()),
        ("x 1 OPENPGPKEY AQ", "line 1, column 16: the base64 is cut off: its characters come in fours, padded with =".into()),
        ("x 1 OPENPGPKEY AR==", "line 1, column 16: `AR==` is not bytes in base64".into()),
        ("x 1 SVCB 1 . alpn=h2 alpn=h3", "line 1, column 22: `alpn=h3` is the second of its key".into()),
        ("x 1 SVCB 1 . ALPN=h2", "line 1, column 14: `ALPN=h2` is not a parameter: a key in lower case, as alpn or key667, perhaps = and its value".into()),
        ("x 1 SVCB 1 .  mandatory=port", "line 1, column 15: the data that begins here is not valid: each mandatory key needs its parameter".into()),
        ("x 1 LOC 51 30 N 0 7", format!("line 1, column 20: {ends} a longitude, as in 0 7 39.6 W")),
        ("x 1 NSEC a", format!("line 1, column 11: {ends} a record type")),
        ("$ORIGIN a b", "line 1, column 11: `b` is one too many; expected the end of the record".into()),
        ("$INCLUDE f", "line 1, column 1: a zone is one file here: put the included file's text in the place of $INCLUDE".into()),
        ("$FOO", "line 1, column 1: `$FOO` is not a directive: $ORIGIN, $TTL or $GENERATE. An owner with a $ is written \\$".into()),
        ("$GENERATE 0-65536 x$ 1 A 1.2.3.4", "line 1, column 11: one $GENERATE has at most 65536 steps".into()),
        ("$GENERATE 1-2 ${x} 1 A 1.2.3.4", "line 1, column 15: `${x}` is not as in ${offset,width,base}, with a width up to 127 and a base of d, o, x, X, n or N".into()),
        ("$GENERATE 1-2 x$ 1 A 1.2 3.$", "line 1, column 26: `3.$` is not the end of the record; data of several words stands in quotes".into()),
        ("\n$GENERATE 1-300 x$ 1 A 1.2.3.$ ; too far", "line 2, column 1: `1.2.3.256` is not an IPv4 address, as in 192.0.2.1".into()),
        ("$GENERATE 1-2 $$GENERATE 1 A 1.2.3.$", "none".into()),
        ("\u{feff}x 1 A 1.2.3.4", "line 1, column 1: a byte order mark, which is no part of a zone file; save it as UTF-8 without one".into()),
        // Columns are characters, whatever their bytes are.
        ("x 1 TXT \"\u{e4}\u{f6}\u{fc}\" )", "line 1, column 15: this parenthesis was not opened".into()),
        ("x 1 TXT \u{e4} \"", "line 1, column 11: this quoted string does not end in its line".into()),
    ] {
        assert_eq!(faults(text.as_bytes()), fault, "{text}");
        assert!(fault.len() <= 256);
    }
}

#[test]
fn reading_goes_on_behind_a_fault() {
    let text = "\
$TTL 60
a A 1.2.3
  TXT ( \"x\" ;
     2 ) 3 ) 4
b MX mail
  AAAA ::1
bad..name A 1.2.3.4
  A 1.2.3.4
c A 1.2.3.4
$TTL 99999999999
";
    assert_eq!(
        faults(text.as_bytes()),
        "line 2, column 5: `1.2.3` is not an IPv4 address, as in 192.0.2.1\n\
         line 4, column 12: this parenthesis was not opened\n\
         line 5, column 6: `mail` is not a number up to 65535\n\
         line 7, column 1: `bad..name` is not a name: an empty label: two dots in a row, or one in front\n\
         line 8, column 3: the line begins with a blank, which repeats an owner, and there is none before it\n\
         line 10, column 6: `99999999999` is not a TTL: a number of seconds, perhaps with units as in 1h30m"
    );
    let many = "x 1 A x\n".repeat(100);
    assert_eq!(zone_file::parse(many.as_bytes(), &origin()).unwrap_err().all().len(), FAULTS_MAX);
}

#[test]
fn zones_are_refused_with_their_lines() {
    let text = "\
$TTL 300
@ NS ns1
ns1 A 192.0.2.1
www CNAME ns1
www A 192.0.2.2
d DNAME other.test.
d DNAME another.test.
x.d TXT hidden
sub NS ns.sub
x.sub TXT hidden
other.test. A 192.0.2.1
_state TXT x
deep SOA ns1 host 1 2 3 4 5
w CNAME ns1
w CNAME ns2
@ NS none
";
    let why = Zone::load(&origin(), text.as_bytes()).err().unwrap();
    assert_eq!(
        why.to_string(),
        "no SOA record at the zone's name, `example.org.`\n\
         line 5: `www.example.org.` has a CNAME beside A, the first of them in line 4; an alias has no other data\n\
         line 7: `d.example.org.` has another DNAME in line 6; there is one at most\n\
         line 8: `x.d.example.org.` TXT is below the DNAME of `d.example.org.`, where nothing may be (RFC 6672 2.4)\n\
         line 9: the server `ns.sub.example.org.` of `sub.example.org.` has no A or AAAA record here: without this \
         glue nobody gets there\n\
         line 10: `x.sub.example.org.` TXT is below the delegation of `sub.example.org.`; only A and AAAA may be, as \
         glue\n\
         line 11: `other.test.` is not in the zone; take it out, or set $ORIGIN right\n\
         line 12: `_state.example.org.` is reserved: the server itself answers there, with the stateNdx; take it out\n\
         line 13: a SOA at `deep.example.org.`; the only one of this zone stands at `example.org.`\n\
         line 15: `w.example.org.` has another CNAME in line 14; there is one at most\n\
         line 16: the server `none.example.org.` of `example.org.` has no A or AAAA record; add one, or name another \
         server"
    );
    assert_eq!(why.first().line, 0);
}

#[test]
fn texts_fit_into_a_refusal_however_long_the_names() {
    let label = "l".repeat(63);
    let name = format!("{label}.{label}.{label}");
    let text = format!(
        "$TTL 1\n{name} CNAME a\n{name} A 1.2.3.4\nsub.{name} NS ns.sub.{name}\n{name}.{name} A 1.2.3.4"
    );
    let faults = zone_file::parse(text.as_bytes(), &origin()).unwrap_err();
    assert!(faults.all().iter().all(|fault| fault.to_string().len() <= 256), "{faults}");
    let text = text.rsplit_once('\n').unwrap().0;
    let faults = Zone::load(&origin(), text.as_bytes()).err().unwrap();
    assert!(
        faults.all().len() > 2 && faults.all().iter().all(|fault| fault.to_string().len() <= 256),
        "{faults}"
    );
}

#[test]
fn one_line_of_nothing_but_faults_takes_no_longer_than_another() {
    let fault = faults(format!("x 1 TXT {}", ")".repeat(500_000)).as_bytes());
    assert_eq!(fault, "line 1, column 9: this parenthesis was not opened");
    let fault = faults(format!("x 1 TXT {}", "\u{1} ".repeat(500_000)).as_bytes());
    assert_eq!(fault, "line 1, column 9: a control byte; a zone file is text, in which it is written \\001");
    let fault = faults(format!("x 1 SVCB 1 . {}", "key99 ".repeat(100_000)).as_bytes());
    assert!(fault.ends_with("the data of one record has at most 65535 bytes"), "{fault}");
}

#[test]
fn limits_are_faults() {
    let large = vec![b';'; zone_file::ZONE_FILE_BYTES_MAX + 1];
    assert_eq!(faults(&large), "the file has 67108865 bytes; a zone file has at most 67108864");
    assert_eq!(faults(&large[1..]), "none");
    // Short names that stand for long ones.
    let label = "l".repeat(63);
    let mut long = format!("$TTL 1\n$ORIGIN {label}.{label}.{label}.\n");
    long.push_str("a NS a\n");
    long.push_str(&" NS a\n".repeat(zone_file::ZONE_WIRE_BYTES_MAX / 380));
    let fault = faults(long.as_bytes());
    assert!(
        fault.ends_with("column 2: a zone has at most 4194304 records, and 268435456 bytes in wire form"),
        "{fault}"
    );
    assert_eq!(fault.lines().count(), 1);
    let long = format!("$ORIGIN {label}.{label}.{label}.\nx 1 HIP 1 00 AA== {}", "a ".repeat(100_000));
    let fault = faults(long.as_bytes());
    assert!(fault.ends_with("the data of one record has at most 65535 bytes"), "{fault}");
    let wide = "${0,127}".repeat(9);
    let fault = faults(format!("$GENERATE 0-65535 x 1 TXT {wide}").as_bytes());
    assert!(fault.ends_with("` is not a string of at most 255 bytes; make it several strings"), "{fault}");
    let fault = faults(format!("$GENERATE 0-65535 x 1 CAA \"0 a {wide}\"").as_bytes());
    assert!(fault.ends_with("what $GENERATE makes is longer than 67108864 bytes in all"), "{fault}");
}

#[test]
fn a_record_that_fits_into_no_message_is_a_fault() {
    use synod_zone::check::ANSWERED_BYTES_MAX;
    for (bytes, fits) in
        [(ANSWERED_BYTES_MAX - 1, true), (ANSWERED_BYTES_MAX, true), (ANSWERED_BYTES_MAX + 1, false)]
    {
        let text = format!(
            "@ 1 SOA a b 1 1 1 1 1\n@ 1 NS n.elsewhere.\nx 1 TYPE65280 \\# {bytes} {}",
            "ab".repeat(bytes)
        );
        assert_eq!(Zone::load(&origin(), text.as_bytes()).is_ok(), fits, "{bytes} bytes");
    }
}
