//! Messages that are no queries, or not quite: none may harm, and who sent it hears what is wrong with it.

#![expect(clippy::unwrap_used, reason = "what is sent here is answered, or the test has failed")]

mod dig;

use dig::{Ask, Message, Served};
use synod_dns::{Identity, Reply, Transport};
use synod_zone::Rtype;

const ZONE: &str =
    "$ORIGIN example.com.\n$TTL 300\n@ SOA ns1 hostmaster 7 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
const OPT: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

/// What is said to these bytes: the answer's first line, or that there is none.
fn say(query: &[u8]) -> String {
    let mut zones = Served::default();
    zones.add(dig::zone(ZONE).unwrap());
    let mut said = [Transport::Udp, Transport::Stream].map(|transport| {
        match dig::ask(&dig::source(&zones), &Identity::default(), transport, query) {
            Ok(message) => {
                assert_eq!(message.id.to_be_bytes(), query[..2], "whose answer is this?");
                message.to_string().lines().next().unwrap().to_owned()
            }
            Err(reply) => format!("{reply:?}"),
        }
    });
    assert_eq!(said[0], said[1], "the transport makes no difference");
    std::mem::take(&mut said[0])
}

fn query() -> Vec<u8> {
    Ask::new("ns1.example.com", Rtype::A).bytes()
}

/// The query with other counts in its header and more behind it.
fn with(counts: [u8; 4], behind: &[&[u8]]) -> Vec<u8> {
    let mut query = query();
    for (at, count) in [5, 7, 9, 11].into_iter().zip(counts) {
        query[at] = count;
    }
    query.extend(behind.concat());
    query
}

/// A message of these bytes behind a header with one question.
fn asking(question: &[u8]) -> Vec<u8> {
    [&[9, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], question].concat()
}

/// A record whose owner points to the question.
fn record(rtype: u8, rdata: &[u8]) -> Vec<u8> {
    let len = u8::try_from(rdata.len()).unwrap();
    [&[0xc0, 12, 0, rtype, 0, 1, 0, 0, 0, 5, 0, len], rdata].concat()
}

#[test]
fn what_is_no_query_is_not_answered() {
    assert_eq!(say(&[]), "Silence");
    assert_eq!(say(&query()[..11]), "Silence");
    let mut response = query();
    response[2] |= 0x80;
    assert_eq!(say(&response), "Silence");
}

#[test]
fn a_message_that_ends_too_soon_is_malformed() {
    let query = [query(), OPT.to_vec()].concat();
    assert_eq!(query[11], 0);
    let mut query = query;
    query[11] = 1;
    assert_eq!(say(&query), "NOERROR aa");
    // Nothing but the header comes back while the question is not whole.
    for end in 12..33 {
        assert_eq!(say(&query[..end]), "FORMERR no-question", "{end} bytes");
    }
    for end in 33..query.len() {
        assert_eq!(say(&query[..end]), "FORMERR", "{end} bytes");
    }
}

#[test]
fn a_query_has_one_question() {
    assert_eq!(say(&with([0, 0, 0, 0], &[])), "FORMERR no-question");
    assert_eq!(say(&with([0, 0, 0, 1], &[OPT])), "FORMERR no-question");
    assert_eq!(say(&with([2, 0, 0, 0], &[&query()[12..]])), "FORMERR no-question");
    assert_eq!(say(&with([255, 0, 0, 0], &[])), "FORMERR no-question");
}

#[test]
fn the_question_is_a_name_without_compression() {
    let behind = [0, 1, 0, 1];
    assert_eq!(say(&asking(&[&b"\x03ns1\xc0\x0c"[..], &behind].concat())), "FORMERR no-question", "a loop");
    assert_eq!(
        say(&asking(&[&b"\x03ns1\xc0\x00"[..], &behind].concat())),
        "FORMERR no-question",
        "the header"
    );
    assert_eq!(say(&asking(&[&b"\x03ns1\xc0\x20"[..], &behind].concat())), "FORMERR no-question", "forwards");
    assert_eq!(say(&asking(&[&b"\x03ns1\xc0"[..]].concat())), "FORMERR no-question", "half a pointer");
    for kind in [0x40, 0x41, 0x7f, 0x80, 0xbf] {
        assert_eq!(say(&asking(&[&[kind][..], &[b'a'; 200], &[0], &behind].concat())), "FORMERR no-question");
    }
    let label = [&[63][..], &[b'a'; 63]].concat();
    assert_eq!(
        say(&asking(&[&label.repeat(4)[..], &[0], &behind].concat())),
        "FORMERR no-question",
        "257 bytes"
    );
    let longest = [&label.repeat(3)[..], &[61], &[b'a'; 61], &[0], &behind].concat();
    assert_eq!(say(&asking(&longest)), "REFUSED", "255 bytes");
    let deepest = [&[1, b'a'].repeat(127)[..], &[0], &behind].concat();
    assert_eq!(say(&asking(&deepest)), "REFUSED", "127 labels");
}

#[test]
fn a_query_has_no_answers() {
    assert_eq!(say(&with([1, 1, 0, 0], &[&record(1, &[192, 0, 2, 9])])), "FORMERR");
    assert_eq!(say(&with([1, 0, 1, 0], &[&record(1, &[192, 0, 2, 9])])), "FORMERR");
}

#[test]
fn what_else_is_in_the_additional_section_is_passed_over_if_it_is_whole() {
    let other = record(1, &[192, 0, 2, 9]);
    assert_eq!(say(&with([1, 0, 0, 1], &[&other])), "NOERROR aa");
    assert_eq!(say(&with([1, 0, 0, 2], &[&other, OPT])), "NOERROR aa");
    assert_eq!(say(&with([1, 0, 0, 2], &[OPT, &other])), "NOERROR aa");
    assert_eq!(say(&with([1, 0, 0, 2], &[&other])), "FORMERR", "one is missing");
    assert_eq!(say(&with([1, 0, 0, 1], &[&other[..other.len() - 1]])), "FORMERR", "one is cut short");
    let mut forwards = other.clone();
    forwards[..2].copy_from_slice(&[0xc0, 33]);
    assert_eq!(say(&with([1, 0, 0, 1], &[&forwards])), "FORMERR", "its owner points to itself");
    forwards[..2].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(say(&with([1, 0, 0, 1], &[&forwards])), "FORMERR", "its owner points beyond the end");
    forwards[..2].copy_from_slice(&[0xc0, 0]);
    assert_eq!(say(&with([1, 0, 0, 1], &[&forwards])), "FORMERR", "its owner points into the header");
    assert_eq!(say(&with([1, 0, 0, 0], &[b"whatever"])), "NOERROR aa", "what no count counts");
}

#[test]
fn there_is_one_opt_at_the_root_with_whole_options() {
    assert_eq!(say(&with([1, 0, 0, 2], &[OPT, OPT])), "FORMERR");
    let owned = [&[1, b'a'], OPT].concat();
    assert_eq!(say(&with([1, 0, 0, 1], &[&owned])), "FORMERR");
    let pointing = [&[0xc0, 28], &OPT[1..]].concat();
    assert_eq!(say(&with([1, 0, 0, 1], &[&pointing])), "FORMERR");
    let options = |options: &[u8]| {
        let len = u8::try_from(options.len()).unwrap();
        [&OPT[..10], &[len], options].concat()
    };
    for broken in [&[0][..], &[0, 3, 0], &[0, 3, 0, 1], &[0, 3, 0, 0, 0], &[0, 3, 255, 255, 1, 2, 3]] {
        assert_eq!(say(&with([1, 0, 0, 1], &[&options(broken)])), "FORMERR", "{broken:?}");
    }
    assert_eq!(say(&with([1, 0, 0, 1], &[&options(&[0, 3, 0, 1, 0, 0, 3, 0, 0])])), "NOERROR aa");
    // Broken options are worse than an unknown version.
    let mut both = options(&[0]);
    both[6] = 1;
    assert_eq!(say(&with([1, 0, 0, 1], &[&both])), "FORMERR");
}

#[test]
fn other_opcodes_are_not_implemented_whatever_follows() {
    for opcode in 1..16 {
        let mut query = query();
        query[2] = opcode << 3;
        assert_eq!(say(&query), format!("NOTIMP opcode{opcode}"));
        query.truncate(12);
        assert_eq!(say(&query), format!("NOTIMP opcode{opcode} no-question"));
        query[5] = 0;
        assert_eq!(say(&query), format!("NOTIMP opcode{opcode} no-question"));
    }
}

#[test]
fn a_signature_of_a_key_that_is_not_known_is_told_so() {
    let algorithm = b"\x0bhmac-sha256\0";
    let rdata = [&algorithm[..], &[0, 0, 1, 2, 3, 4, 1, 44, 0, 2, 99, 98, 0x12, 0x34, 0, 0, 0, 0]].concat();
    let tsig = |owner: &[u8], class: u8| {
        let len = u8::try_from(rdata.len()).unwrap();
        [owner, &[0, 250, 0, class, 0, 0, 0, 0, 0, len], &rdata].concat()
    };
    let key = tsig(b"\x03key\0", 255);
    let mut zones = Served::default();
    zones.add(dig::zone(ZONE).unwrap());
    let signed = with([1, 0, 0, 1], &[&key]);
    let told = dig::ask(&dig::source(&zones), &Identity::default(), Transport::Udp, &signed).unwrap();
    assert_eq!(told.rcode_text(), "NOTAUTH");
    let [tsig_told] = &told.additional[..] else { panic!("{told}") };
    assert_eq!(
        (tsig_told.owner.to_string().as_str(), tsig_told.rtype, tsig_told.class),
        ("key.", Rtype::TSIG, 255)
    );
    // The same time, no signature, the query's number, BADKEY.
    let expected = [&algorithm[..], &[0, 0, 1, 2, 3, 4, 1, 44, 0, 0, 0x12, 0x34, 0, 17, 0, 0]].concat();
    assert_eq!(tsig_told.rdata, expected);

    assert_eq!(say(&with([1, 0, 0, 2], &[OPT, &key])), "NOTAUTH");
    assert_eq!(say(&with([1, 0, 0, 2], &[&key, OPT])), "FORMERR", "it is the last record");
    assert_eq!(say(&with([1, 0, 0, 1], &[&tsig(b"\x03key\0", 1)])), "FORMERR", "its class is ANY");
    assert_eq!(say(&with([1, 0, 0, 1], &[&tsig(&[0xc0, 12], 255)])), "FORMERR", "its name is written out");
    // Names so long that saying them again is more than a datagram holds.
    let label = [&[63][..], &[b'a'; 63]].concat();
    let longest = [&label.repeat(3)[..], &[61], &[b'a'; 61], &[0]].concat();
    let signed = [&asking(&[&longest[..], &[0, 1, 0, 1]].concat())[..], &tsig(&longest, 255)].concat();
    let mut signed = signed;
    signed[11] = 1;
    let told = dig::ask(&dig::source(&zones), &Identity::default(), Transport::Udp, &signed).unwrap();
    assert_eq!((told.rcode_text().as_str(), told.len <= 512), ("NOTAUTH", true));
}

#[test]
fn a_transport_can_refuse_what_it_was_asked() {
    let mut out = vec![1, 2, 3];
    let query = with([1, 0, 0, 1], &[OPT]);
    assert_eq!(
        synod_dns::answer::refuse(Transport::Stream, &query, synod_dns::message::Rcode::REFUSED, &mut out),
        Reply::Send
    );
    assert_eq!(Message::read(&out).unwrap().to_string(), "REFUSED\nedns version 0 udp 1232\n");
    assert_eq!(
        synod_dns::answer::refuse(
            Transport::Stream,
            &query[..20],
            synod_dns::message::Rcode::REFUSED,
            &mut out
        ),
        Reply::Send
    );
    assert_eq!(Message::read(&out).unwrap().to_string(), "REFUSED no-question\n");
    let silence =
        synod_dns::answer::refuse(Transport::Udp, &[], synod_dns::message::Rcode::REFUSED, &mut out);
    assert_eq!((silence, out.len()), (Reply::Silence, 0));
}

/// Every byte of some queries replaced by some others: whatever that means, the answer is a message within its limit.
#[test]
fn one_wrong_byte_does_no_harm() {
    let mut zones = Served::default();
    zones.add(dig::zone(ZONE).unwrap());
    let mut options = Ask::new("x.ns1.example.com", Rtype::MX);
    options.edns = Some((1232, 0, vec![0, 3, 0, 0, 0, 19, 0, 0]));
    let mut ixfr = Ask::new("example.com", Rtype::IXFR);
    ixfr.serial = Some(6);
    for ask in [options, ixfr] {
        let query = ask.bytes();
        for at in 2..query.len() {
            for byte in [0, 1, 2, 12, 41, 63, 64, 127, 128, 191, 192, 250, 255] {
                let mut query = query.clone();
                query[at] = byte;
                for transport in [Transport::Udp, Transport::Stream] {
                    let told = dig::ask(&dig::source(&zones), &Identity::default(), transport, &query);
                    assert!(told.is_err() || told.is_ok_and(|told| told.len <= 1232));
                }
            }
        }
    }
}
