//! Writing messages: compression, limits, and taking back.

#![expect(clippy::unwrap_used, reason = "what is written here is read again, or the test has failed")]

mod dig;

use dig::Message;
use synod_dns::message::{Case, Full, NameTable, Owner, Section, Writer};
use synod_zone::{Name, Rtype};

fn wire(text: &str) -> Vec<u8> {
    Name::parse(text).unwrap().as_wire().to_vec()
}

/// A message written so, and read again.
fn written(case: Case, limit: usize, write: impl FnOnce(&mut Writer<'_>)) -> (Vec<u8>, Message) {
    let mut out = vec![];
    let mut table: NameTable = NameTable::new();
    let mut writer = Writer::new(&mut out, &mut table, case, limit);
    write(&mut writer);
    writer.header(7, 0x8400);
    let message = Message::read(&out).unwrap();
    (out, message)
}

fn ns(writer: &mut Writer<'_>, owner: &str, host: &str) -> Result<usize, Full> {
    writer.record(Section::Answer, Owner::Named(&wire(owner)), Rtype::NS, 5, &wire(host))
}

#[test]
fn a_name_that_stands_there_is_pointed_to_and_so_is_its_end() {
    let (bytes, message) = written(Case::Ignored, 512, |writer| {
        writer.question(&[&wire("www.example.com")[..], &[0, 2, 0, 1]].concat());
        ns(writer, "example.com", "ns1.example.com").unwrap();
        ns(writer, "example.com", "ns2.example.com").unwrap();
        ns(writer, "example.com", "ns1.example.com").unwrap();
    });
    // A header, a question, then a pointer and ten fixed bytes for each.
    assert_eq!(bytes.len(), 12 + 21 + (12 + 6) + (12 + 6) + (12 + 2));
    let hosts: Vec<String> = message.answer.iter().map(ToString::to_string).collect();
    assert_eq!(
        hosts,
        [
            "example.com. 5 IN NS ns1.example.com.",
            "example.com. 5 IN NS ns2.example.com.",
            "example.com. 5 IN NS ns1.example.com.",
        ]
    );
}

#[test]
fn an_answer_takes_the_case_of_the_question_and_a_transfer_keeps_its_own() {
    let write = |writer: &mut Writer<'_>| {
        writer.question(&[&wire("Example.COM")[..], &[0, 2, 0, 1]].concat());
        ns(writer, "example.com", "NS.example.com").unwrap();
        ns(writer, "example.com", "ns.example.com").unwrap();
    };
    let (small, message) = written(Case::Ignored, 512, write);
    assert_eq!(message.answer[1].to_string(), "Example.COM. 5 IN NS NS.Example.COM.");
    let (large, message) = written(Case::Kept, 512, write);
    assert_eq!(message.answer[0].to_string(), "example.com. 5 IN NS NS.example.com.");
    assert_eq!(message.answer[1].to_string(), "example.com. 5 IN NS ns.example.com.");
    assert!(small.len() < large.len());
}

#[test]
fn names_in_types_that_are_younger_than_compression_are_written_out() {
    let (bytes, _) = written(Case::Ignored, 512, |writer| {
        ns(writer, "example.com", "ns.example.com").unwrap();
        let srv = [&[0, 0, 0, 0, 0, 53][..], &wire("ns.example.com")].concat();
        writer.record(Section::Answer, Owner::Named(&wire("example.com")), Rtype::SRV, 5, &srv).unwrap();
        writer
            .record(
                Section::Answer,
                Owner::Named(&wire("example.com")),
                Rtype::DNAME,
                5,
                &wire("ns.example.com"),
            )
            .unwrap();
    });
    assert_eq!(bytes.windows(16).filter(|window| *window == wire("ns.example.com")).count(), 2);
}

#[test]
fn what_does_not_fit_leaves_the_message_as_it_was() {
    let (bytes, message) = written(Case::Ignored, 78, |writer| {
        ns(writer, "example.com", "ns.example.com").unwrap();
        let len = writer.len();
        assert_eq!(ns(writer, "other.example", "a-long-name.other.example"), Err(Full));
        assert_eq!(writer.len(), len);
        // Nothing points to what was taken back.
        ns(writer, "example.com", "other.").unwrap();
        let large = writer.record(Section::Answer, Owner::Named(&[0]), Rtype::TXT, 5, &[0; 60]);
        assert_eq!(large, Err(Full));
    });
    assert!(bytes.len() <= 78);
    assert_eq!(message.answer.len(), 2);
    assert_eq!(message.answer[1].to_string(), "example.com. 5 IN NS other.");
}

#[test]
fn no_pointer_leads_beyond_its_fourteen_bits() {
    let (bytes, message) = written(Case::Kept, 65_535, |writer| {
        for host in 0.. {
            // What is new at the end of the message comes again, there and far from its start.
            let owner = format!("h{host}.zone{}.example.com", host / 2);
            if ns(writer, &owner, &format!("ns.{owner}")).is_err() {
                break;
            }
        }
    });
    assert!(bytes.len() > 65_000);
    for (host, record) in message.answer.iter().enumerate() {
        let owner = format!("h{host}.zone{}.example.com.", host / 2);
        assert_eq!(record.to_string(), format!("{owner} 5 IN NS ns.{owner}"));
    }
}

#[test]
fn the_longest_names_are_written_and_found_again() {
    let deepest = ["a"; 127].join(".");
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let (bytes, message) = written(Case::Ignored, 65_535, |writer| {
        for name in [&deepest, &longest, &deepest, &longest, "."] {
            ns(writer, name, name).unwrap();
        }
    });
    assert_eq!(bytes.len(), 12 + 2 * (255 + 10 + 2) + 2 * (2 + 10 + 2) + (1 + 10 + 1));
    assert_eq!(message.answer[3].owner, Name::parse(&longest).unwrap());
}
