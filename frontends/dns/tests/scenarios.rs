//! What is asked and what is answered, as text: every file in `scenarios` is a set of zones and queries to them.
//!
//! ```text
//! # Lines that begin with # are for the reader.
//! zone                                 lines of a zone file follow, up to an empty line
//! ask NAME TYPE [WORD…]                the answer follows, as far as messages differ, up to an empty line
//! ```
//!
//! The words: `stream` (instead of datagrams), `edns` or `edns=SIZE`, `version=N` (of EDNS), `do`, `nsid`, `zoneversion`,
//! `option=CODE:HEX`, `class=N`, `opcode=N`, `rd`, `ad`, `cd`, `z`, `serial=N` (of an IXFR), `stale` (the state is too old), `unknown` (nobody knows how old).
//!
//! `SCENARIOS=write cargo test -p synod-dns --test scenarios` writes the answers into the files, for a person to read.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read is a failed test")]

mod dig;

use std::path::{Path, PathBuf};

use dig::{Ask, Served};
use synod_dns::{Freshness, Identity, Reply, Source, Transport};
use synod_types::StateNdx;
use synod_zone::Rtype;

#[test]
fn every_scenario_ends_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the scenarios are missing");
    let mut differing = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let played = play(&written);
        if std::env::var("SCENARIOS").is_ok_and(|wish| wish == "write") {
            std::fs::write(&file, &played).unwrap();
        } else if let Some(difference) = difference(&written, &played) {
            differing.push_str(&format!("{}\n{difference}\n", file.display()));
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

/// The same text with the answers that are given now.
fn play(text: &str) -> String {
    let mut zones = Served::default();
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        played.push_str(line);
        played.push('\n');
        if line == "zone" {
            let mut file = String::new();
            while let Some(line) = lines.next_if(|line| !line.is_empty()) {
                file.push_str(line);
                file.push('\n');
            }
            zones.add(dig::zone(&file).unwrap_or_else(|error| panic!("{file}{error}")));
            played.push_str(&file);
        } else if line.starts_with("ask ") {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
            played.push_str(&answer(&zones, line));
        }
    }
    played
}

fn answer(zones: &Served, line: &str) -> String {
    let mut words = line.split_whitespace().skip(1);
    let (name, rtype) = (words.next().unwrap(), words.next().unwrap());
    let mut ask = Ask::new(name, rtype.parse::<Rtype>().unwrap());
    let mut source = Source { zones, state_ndx: StateNdx(1_234_567), freshness: Freshness::Fresh };
    let mut transport = Transport::Udp;
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u16>().unwrap();
        match word {
            "stream" => transport = Transport::Stream,
            "stale" => source.freshness = Freshness::Stale,
            "unknown" => source.freshness = Freshness::Unknown,
            "edns" if value.is_empty() => edns(&mut ask).0 = 1232,
            "edns" => edns(&mut ask).0 = number(),
            "version" => edns(&mut ask).1 |= u32::from(number()) << 16,
            "do" => edns(&mut ask).1 |= 0x8000,
            "nsid" => edns(&mut ask).2.extend([0, 3, 0, 0]),
            "zoneversion" => edns(&mut ask).2.extend([0, 19, 0, 0]),
            "option" => edns(&mut ask).2.extend(option(value)),
            "class" => ask.qclass = number(),
            "opcode" => ask.flags |= number() << 11,
            "rd" => ask.flags |= 0x0100,
            "z" => ask.flags |= 0x0040,
            "ad" => ask.flags |= 0x0020,
            "cd" => ask.flags |= 0x0010,
            "serial" => ask.serial = Some(value.parse().unwrap()),
            other => panic!("no such word: {other}"),
        }
    }
    let identity = Identity {
        version: "synod 1.2.3".to_owned(),
        hostname: "node-1".to_owned(),
        nsid: b"node-1".to_vec(),
    };
    match dig::ask(&source, &identity, transport, &ask.bytes()) {
        Ok(message) => {
            assert_eq!((message.id, message.flags & 0x8000), (0x1234, 0x8000), "{line}");
            let is_asked = |question: &(synod_zone::Name, u16, u16)| {
                question.0.as_wire() == ask.name && (question.1, question.2) == (ask.qtype, ask.qclass)
            };
            assert!(message.question.as_ref().is_none_or(is_asked), "{line}: the question is another one");
            let limit = if transport == Transport::Udp { ask.udp_limit() } else { 65_535 };
            assert!(message.len <= limit, "{line}: {} bytes", message.len);
            message.to_string()
        }
        Err(Reply::Transfer(zone)) => format!("transfer of {zone}\n"),
        Err(reply) => format!("{reply:?}\n"),
    }
}

fn edns(ask: &mut Ask) -> &mut (u16, u32, Vec<u8>) {
    ask.edns.get_or_insert((1232, 0, vec![]))
}

fn option(text: &str) -> Vec<u8> {
    let (code, hex) = text.split_once(':').unwrap_or((text, ""));
    let value: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let mut option = code.parse::<u16>().unwrap().to_be_bytes().to_vec();
    option.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    option.extend(value);
    option
}

/// The first line in which the two differ, with those before it back to the query.
fn difference(written: &str, played: &str) -> Option<String> {
    if written == played {
        return None;
    }
    let (mut ours, mut theirs) = (played.lines(), written.lines());
    let mut since = Vec::new();
    loop {
        let (our, their) = (ours.next(), theirs.next());
        if our != their {
            let rest: Vec<&str> = our.into_iter().chain(ours.take_while(|line| !line.is_empty())).collect();
            let expected: Vec<&str> =
                their.into_iter().chain(theirs.take_while(|line| !line.is_empty())).collect();
            let since = since.join("\n");
            return Some(format!("{since}\n- {}\n+ {}", expected.join("\n- "), rest.join("\n+ ")));
        }
        let line = our?;
        if line.starts_with("ask ") {
            since.clear();
        }
        since.push(line);
    }
}
