//! How long a large zone file takes: `cargo run --release -p synod-zone --example speed -- [RECORDS]`, and how long files
//! take that were made to take long: `... -- worst`.
//!
//! The large file is that of the DNS benchmark: hosts with an A record, a quarter of them with AAAA, a tenth with an alias.

#![expect(clippy::unwrap_used, reason = "an example may stop where it is surprised")]

use std::fmt::Write;
use std::time::Instant;

use synod_zone::{Name, Zone, check, diff, zone_file};

fn main() {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("worst") {
        return worst();
    }
    let records: u32 = argument.map_or(1_000_000, |records| records.parse().unwrap());
    let origin: Name = "example.com".parse().unwrap();
    let text = text(records);
    println!("{} bytes", text.len());

    let file = timed("parse", || zone_file::parse(text.as_bytes(), &origin)).unwrap();
    println!("{} records", file.records.len());
    assert_eq!(timed("check", || check(&origin, &file.records, &file.lines)), []);
    let mut printed = String::new();
    timed("print", || zone_file::print(&origin, &file.records, &mut printed)).unwrap();
    assert!(timed("diff with itself", || diff(&file.records, &file.records)).is_empty());
    let records = file.records.clone();
    timed("build", || Zone::build(&origin, records)).unwrap();
    drop(file);
    timed("load (parse, check, build)", || Zone::load(&origin, text.as_bytes())).unwrap();
}

/// Files of the largest size, each of one thing over and over.
fn worst() {
    let label = "l".repeat(63);
    let deep = "d.".repeat(100);
    let long_origin = format!("$ORIGIN {label}.{label}.{label}.example.com.\n");
    let soa = "$TTL 1\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n";
    let generated: String = (0..8).map(|at| format!("$GENERATE 0-65535 a$.{at} NS b$.{at}\n")).collect();
    for (what, begin, over_and_over) in [
        ("deep delegations", &*format!("{soa}$ORIGIN {deep}example.com.\n{generated}"), ";"),
        ("newlines", soa, "\n"),
        ("parentheses", soa, "("),
        ("closing parentheses", "x 1 TXT ", ")"),
        ("backslashes", "x 1 TXT ", "\\"),
        ("control bytes", "x 1 TXT ", "\x01"),
        ("one word", "x 1 ", "a"),
        ("one number", "x 1 MX ", "1"),
        ("one time", "x ", "1s"),
        ("one string", "x 1 TXT \"", "a"),
        ("one comment", soa, ";"),
        ("quotes", "x 1 TXT ", "\""),
        ("words", "x 1 TXT ", "a "),
        ("types", "x 1 NSEC . ", "A "),
        ("parameters", "x 1 SVCB 1 . ", "key99 "),
        ("servers", "x 1 HIP 1 00 AA== ", "a "),
        ("hexadecimal digits", "x 1 TLSA 1 1 1 ", "a"),
        ("base64", "x 1 OPENPGPKEY ", "aaaa "),
        ("faults", "", "x\n"),
        ("short records", soa, " NS .\n"),
        ("short addresses", soa, " A 1.1.1.1\n"),
        ("long names", &format!("{soa}{long_origin}"), "a NS a\n"),
        ("deep names", &format!("{soa}$ORIGIN {deep}example.com.\n"), "a NS b\nb NS a\n"),
        ("origins", soa, "$ORIGIN a\n$ORIGIN example.com.\na A 1.1.1.1\n"),
        ("generated records", soa, "$GENERATE 0-65535 a$ A 1.1.1.1\n"),
        ("generated glue", &format!("{soa}sub NS ns1\n"), "$GENERATE 0-65535 a$.sub NS a$\n"),
        ("generated delegations", soa, "$GENERATE 0-65535 a$ NS b$\n"),
    ] {
        let mut text = begin.to_owned();
        text.push_str(
            &over_and_over.repeat((zone_file::ZONE_FILE_BYTES_MAX - text.len()) / over_and_over.len()),
        );
        let origin: Name = "example.com".parse().unwrap();
        let said = match timed(what, || Zone::load(&origin, text.as_bytes())) {
            Ok(zone) => format!("{} records", zone.record_count()),
            Err(faults) => faults.first().to_string(),
        };
        println!("    {said}");
    }
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = run();
    println!("{what}: {} ms", begin.elapsed().as_millis());
    result
}

fn text(records: u32) -> String {
    let mut text =
        "$TTL 300\n@ IN SOA ns1 hostmaster 1 3600 600 86400 300\n@ IN NS ns1\nns1 IN A 192.0.2.1\n"
            .to_owned();
    let (mut count, mut host) = (3, 0);
    while count < records {
        writeln!(text, "h{host} IN A 10.{}.{}.{}", host >> 16 & 255, host >> 8 & 255, host & 255).unwrap();
        count += 1;
        if host % 4 == 0 && count < records {
            writeln!(text, "h{host} IN AAAA 2001:db8::{:x}:{:x}", host >> 16, host & 0xffff).unwrap();
            count += 1;
        }
        if host % 10 == 0 && count < records {
            writeln!(text, "c{host} IN CNAME h{host}").unwrap();
            count += 1;
        }
        host += 1;
    }
    text
}
