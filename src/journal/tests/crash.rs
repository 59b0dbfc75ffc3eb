//! A process that writes and is killed: what it reported as durable is there when the journal is opened again.
//!
//! The writer is this test binary again, started for its one ignored test.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use synod_journal::journal::OpenError;
use synod_journal::stamp::StampError;
use synod_journal::{Journal, Stamp};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, Decree, Digest, NodeId, Record, Recovered, SignedCommand, Slot, TimeMs,
};

const APPS: [AppNdx; 2] = [AppNdx(1), AppNdx(2)];
const DIR: &str = "SYNOD_JOURNAL_TEST_DIR";

fn open(dir: &Path) -> Result<(Journal, BTreeMap<AppNdx, Recovered>), OpenError> {
    let stamp = Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) };
    Journal::open(dir, stamp, &APPS, |error| panic!("{error}"))
}

fn ballot(number: u64) -> Ballot {
    Ballot { number, ..Ballot::ZERO }
}

/// The decree of a slot: small ones, and every seventh in several parts. Its bytes tell slots and ballots apart.
fn decree(slot: u64, number: u64) -> Decree {
    let size = if slot.is_multiple_of(7) { 60_000 } else { 300 };
    let body = [slot.to_be_bytes(), number.to_be_bytes()].concat().repeat(size / 16);
    let command = SignedCommand { body: body.into(), signature: vec![].into(), key: vec![].into() };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(slot), commands: vec![command] }))
}

fn accepted(app: AppNdx, slot: u64, number: u64) -> Record {
    Record::Accepted { app, slot: Slot(slot), ballot: ballot(number), decree: decree(slot, number) }
}

#[test]
#[ignore = "the writer that the test below starts and kills"]
fn writer() {
    let Some(dir) = env::var_os(DIR) else { return };
    let (journal, recovered) = open(Path::new(&dir)).unwrap();
    let number = recovered.values().map(|recovered| recovered.promised.number).max().unwrap() + 1;
    let next = |app| {
        let recovered: &Recovered = &recovered[&app];
        recovered.accepted.keys().next_back().copied().unwrap_or(recovered.chosen).0 + 1
    };
    let firsts = APPS.map(next);
    for step in 0.. {
        for (app, first) in APPS.into_iter().zip(firsts) {
            let slot = first + step;
            let mut records = vec![accepted(app, slot, number)];
            if step == 0 {
                records.insert(0, Record::Promised { app, ballot: ballot(number) });
            }
            if step % 5 == 4 {
                // Accepted once more, in the same breath as its successor.
                records.push(accepted(app, slot - 1, number));
                records.push(Record::Chosen { app, slot: Slot(slot - 2) });
            }
            let done = move || println!("durable {} {slot} {number}", app.0);
            journal.append(records, Box::new(done));
        }
        while journal.waiting_bytes() > 1 << 20 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_was_reported_as_durable_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut promised = 0;
    for round in 0..8 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .env(DIR, &data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut reported: BTreeMap<AppNdx, (u64, u64)> = BTreeMap::new();
        let mut note = |line: &str| {
            let Some((_, fields)) = line.split_once("durable ") else { return false };
            let fields: Vec<u64> = fields.split(' ').map_while(|field| field.parse().ok()).collect();
            // The kill may cut the last line short.
            if let [app, slot, number] = fields[..] {
                reported.insert(AppNdx(u32::try_from(app).unwrap()), (slot, number));
            }
            true
        };
        let mut count = 0;
        while count < 20 + 60 * round {
            count += u32::from(note(&output.next().expect("the writer goes on until it is killed").unwrap()));
        }
        if round == 0 {
            assert!(matches!(open(&data), Err(OpenError::Stamp(StampError::InUse(_)))));
        }
        child.kill().unwrap();
        let rest: Vec<String> = output.map_while(Result::ok).collect();
        let complete = rest.len().saturating_sub(1);
        for line in &rest[..complete] {
            note(line);
        }
        child.wait().unwrap();

        let (journal, recovered) = open(&data).unwrap();
        for (app, (slot, number)) in reported {
            let recovered = &recovered[&app];
            assert_eq!(recovered.damaged_through, Slot(0));
            assert!(recovered.promised >= ballot(number), "round {round}: a promise was forgotten");
            assert!(number > promised || round == 0);
            promised = promised.max(number - 1);
            let mut from = Slot(1);
            while from.0 <= slot {
                let read = journal.read_blocking(app, from, Slot(slot), 1 << 20).unwrap();
                assert!(!read.is_empty(), "round {round}: slot {from} of {slot} is missing");
                for (slot, ballot, found) in read {
                    assert_eq!(found, decree(slot.0, ballot.number));
                    from = slot.next();
                }
            }
            for (slot, (ballot, found)) in &recovered.accepted {
                assert_eq!(*found, decree(slot.0, ballot.number));
            }
        }
    }
}
