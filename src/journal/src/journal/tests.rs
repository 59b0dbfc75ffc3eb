//! The journal as its users see it, on memory, on disks that fail, and on sled.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use synod_types::limits::JOURNAL_READS_MAX;
use synod_types::{Batch, ClusterId, Digest, NodeId, SignedCommand, TimeMs};

use super::*;
use crate::memory_store::MemoryStore;
use crate::record::Entry;

const APP: AppNdx = AppNdx(7);
const LIMIT: Duration = Duration::from_secs(60);

fn stamp() -> Stamp {
    Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) }
}

fn ballot(number: u64) -> Ballot {
    Ballot { number, ..Ballot::ZERO }
}

fn decree(bytes: usize) -> Decree {
    let command = SignedCommand { body: vec![5; bytes].into(), ..empty_command() };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(9), commands: vec![command] }))
}

fn empty_command() -> SignedCommand {
    SignedCommand { body: Vec::new().into(), signature: Vec::new().into(), key: Vec::new().into() }
}

fn accepted(slot: u64, number: u64, bytes: usize) -> Record {
    Record::Accepted { app: APP, slot: Slot(slot), ballot: ballot(number), decree: decree(bytes) }
}

fn learned(slot: u64) -> Record {
    Record::Accepted { app: APP, slot: Slot(slot), ballot: Ballot::CHOSEN, decree: decree(10) }
}

fn chosen(slot: u64) -> Record {
    Record::Chosen { app: APP, slot: Slot(slot) }
}

fn open(dir: &Path) -> (Journal, Recovered) {
    let (journal, mut recovered) = Journal::open(dir, stamp(), &[APP], |error| panic!("{error}"))
        .unwrap_or_else(|error| panic!("{error}"));
    (journal, recovered.remove(&APP).unwrap())
}

/// Appends and waits.
fn append(journal: &Journal, records: Vec<Record>) {
    let (sender, receiver) = mpsc::channel();
    journal.append(records, Box::new(move || sender.send(()).unwrap()));
    receiver.recv_timeout(LIMIT).unwrap();
}

fn slots(read: Result<Vec<(Slot, Ballot, Decree)>, ReadError>) -> Vec<u64> {
    read.unwrap().into_iter().map(|(slot, ..)| slot.0).collect()
}

/// Changes the log behind the journal's back.
fn tamper(dir: &Path, change: impl FnOnce(&mut dyn Store)) {
    let mut store = SledStore::open(&dir.join("log")).unwrap();
    change(&mut store);
    store.make_durable().unwrap();
}

fn flip(store: &mut dyn Store, key: Vec<u8>) {
    let mut value = store.read(&key).unwrap().unwrap();
    *value.last_mut().unwrap() ^= 1;
    store.append(vec![Entry { key, value }]).unwrap();
}

#[test]
fn what_was_appended_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered, Recovered::default());
    append(&journal, vec![Record::Promised { app: APP, ballot: ballot(3) }, accepted(1, 3, 700)]);
    append(&journal, vec![accepted(2, 3, 200_000), chosen(1), accepted(4, 3, 10)]);
    append(&journal, vec![accepted(2, 4, 100), Record::Promised { app: APP, ballot: ballot(4) }]);
    journal.close();

    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.promised, recovered.chosen), (ballot(4), Slot(1)));
    let expected = [(Slot(2), (ballot(4), decree(100))), (Slot(4), (ballot(3), decree(10)))];
    assert_eq!(recovered.accepted, expected.into());
    assert_eq!(recovered.damaged_through, Slot(0));
    assert_eq!(slots(journal.read_blocking(APP, Slot(1), Slot(9), usize::MAX)), [1, 2]);
}

#[test]
fn applications_do_not_see_each_other() {
    let other = AppNdx(8);
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, vec![accepted(1, 3, 10), Record::Promised { app: other, ballot: ballot(5) }]);
    let record = Record::Accepted { app: other, slot: Slot(1), ballot: ballot(5), decree: Decree::Noop };
    append(&journal, vec![record]);
    drop(journal);
    let (_journal, recovered) = Journal::open(dir.path(), stamp(), &[APP, other], |_| {}).unwrap();
    assert_eq!(recovered[&APP].accepted, [(Slot(1), (ballot(3), decree(10)))].into());
    assert_eq!(recovered[&other].accepted, [(Slot(1), (ballot(5), Decree::Noop))].into());
    assert_eq!((recovered[&APP].promised, recovered[&other].promised), (Ballot::ZERO, ballot(5)));
}

#[test]
fn entries_known_as_chosen_extend_the_hint() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, vec![learned(1), learned(2), learned(3), chosen(1), learned(5)]);
    drop(journal);
    let (_journal, recovered) = open(dir.path());
    assert_eq!(recovered.chosen, Slot(3));
    assert_eq!(recovered.accepted.into_keys().collect::<Vec<_>>(), [Slot(5)]);
}

#[test]
fn a_read_stops_at_holes_and_at_its_size_and_gives_one_decree_at_least() {
    let (journal, _) = Journal::on_store(Box::new(MemoryStore::new()), &[], |_| {}).unwrap();
    append(&journal, [1, 2, 3, 5].map(|slot| accepted(slot, 1, 1000)).to_vec());
    let read = |from, up_to, max| slots(journal.read_blocking(APP, Slot(from), Slot(up_to), max));
    assert_eq!(read(1, 9, usize::MAX), [1, 2, 3]);
    assert_eq!(read(2, 2, usize::MAX), [2]);
    assert_eq!(read(1, 9, 2500), [1, 2]);
    assert_eq!(read(1, 9, 0), [1]);
    assert_eq!(read(4, 9, usize::MAX), [0; 0]);
}

#[test]
fn a_damaged_record_is_damaged_and_never_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, vec![learned(1), learned(2), learned(3), chosen(3)]);
    append(&journal, vec![accepted(4, 1, 10), accepted(5, 1, 100_000), accepted(6, 1, 100_000)]);
    drop(journal);

    // Behind what is chosen: a flipped bit, a lost part, a lost head.
    tamper(dir.path(), |store| flip(store, record::accepted_key(APP, Slot(4), 0)));
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.chosen, recovered.damaged_through), (Slot(3), Slot(4)));
    assert_eq!(recovered.accepted.into_keys().collect::<Vec<_>>(), [Slot(5), Slot(6)]);
    assert_eq!(slots(journal.read_blocking(APP, Slot(1), Slot(9), usize::MAX)), [1, 2, 3]);
    let read = journal.read_blocking(APP, Slot(4), Slot(9), usize::MAX);
    assert!(matches!(read, Err(ReadError::Damaged { app: APP, slot: Slot(4) })));
    drop(journal);
    for (slot, part) in [(5, 3), (6, 0)] {
        let key = record::accepted_key(APP, Slot(slot), part);
        tamper(dir.path(), |store| {
            assert_eq!(store.truncate(&key, &[&key[..], &[0]].concat(), 1).unwrap(), 1);
        });
        assert_eq!(open(dir.path()).1.damaged_through, Slot(slot));
    }

    // Among what is chosen.
    tamper(dir.path(), |store| flip(store, record::accepted_key(APP, Slot(2), 0)));
    let (_journal, recovered) = open(dir.path());
    assert_eq!((recovered.chosen, recovered.damaged_through), (Slot(1), Slot(6)));
}

#[test]
fn a_hint_beyond_what_is_there_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, vec![learned(1), learned(2), chosen(9), accepted(10, 1, 10)]);
    drop(journal);
    let (_journal, recovered) = open(dir.path());
    assert_eq!((recovered.chosen, recovered.damaged_through), (Slot(2), Slot(9)));
    assert_eq!(recovered.accepted.into_keys().collect::<Vec<_>>(), [Slot(10)]);
}

#[test]
fn damage_that_replay_finds_ends_what_is_chosen() {
    let mut recovered = Recovered { chosen: Slot(5000), ..Recovered::default() };
    recovered.end_chosen_before(Slot(12));
    assert_eq!((recovered.chosen, recovered.damaged_through), (Slot(11), Slot(5000)));
}

#[test]
fn a_damaged_promise_or_hint_keeps_the_node_down() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    append(&journal, vec![Record::Promised { app: APP, ballot: ballot(3) }, learned(1), chosen(1)]);
    drop(journal);
    tamper(dir.path(), |store| flip(store, record::chosen_key(APP)));
    let opened = Journal::open(dir.path(), stamp(), &[APP], |_| {});
    assert!(matches!(opened, Err(OpenError::Recovery(RecoveryError::DamagedHint(APP)))));
    tamper(dir.path(), |store| flip(store, record::promised_key(APP)));
    let opened = Journal::open(dir.path(), stamp(), &[APP], |_| {});
    assert!(matches!(opened, Err(OpenError::Recovery(RecoveryError::DamagedPromise(APP)))));
}

#[test]
fn a_log_in_use_or_of_another_node_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let opened = Journal::open(dir.path(), stamp(), &[APP], |_| {});
    assert!(matches!(opened, Err(OpenError::Stamp(StampError::InUse(_)))));
    journal.close();
    let other = Stamp { node: NodeId(Digest([9; 32])), ..stamp() };
    let opened = Journal::open(dir.path(), other, &[APP], |_| {});
    assert!(matches!(opened, Err(OpenError::Stamp(StampError::OtherNode { .. }))));
}

#[test]
fn a_file_of_the_log_that_makes_no_sense_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("log/conf"), [0xff; 40]).unwrap();
    let opened = Journal::open(dir.path(), stamp(), &[APP], |_| {});
    assert!(matches!(opened, Err(OpenError::Log { .. })));
}

/// What a store under test does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Go,
    Fail,
    Panic,
}

/// Memory that tells of every write and sync, and waits to be told how it goes.
struct Steered {
    memory: MemoryStore,
    events: Sender<&'static str>,
    steps: Receiver<Step>,
}

impl Steered {
    fn step(&self, event: &'static str) -> Result<(), StoreError> {
        // Whoever watches may have seen enough.
        let _ = self.events.send(event);
        match self.steps.recv().unwrap_or(Step::Go) {
            Step::Go => Ok(()),
            Step::Fail => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            Step::Panic => panic!("the store panics"),
        }
    }
}

impl Store for Steered {
    fn append(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.step("write")?;
        self.memory.append(entries)
    }
    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.step("sync")
    }
    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.read(key)
    }
    fn scan_keys(
        &mut self,
        from: &[u8],
        before: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.memory.scan_keys(from, before, visit)
    }
    fn truncate(&mut self, from: &[u8], before: &[u8], entries_max: usize) -> Result<usize, StoreError> {
        self.memory.truncate(from, before, entries_max)
    }
}

/// A journal on a steered store, and what it says.
struct Bench {
    journal: Journal,
    steps: Sender<Step>,
    events: Receiver<&'static str>,
    done: (Sender<u32>, Receiver<u32>),
    fatal: Receiver<JournalError>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_patience(Patience::DEFAULT)
    }

    fn with_patience(patience: Patience) -> Bench {
        let (event_sender, events) = mpsc::channel();
        let (steps, step_receiver) = mpsc::channel();
        let (fatal_sender, fatal) = mpsc::channel();
        let store = Steered { memory: MemoryStore::new(), events: event_sender, steps: step_receiver };
        let on_fatal: OnFatal = Box::new(move |error| fatal_sender.send(error).unwrap());
        let (journal, _) = Journal::start(Box::new(store), None, &[], on_fatal, patience).unwrap();
        Bench { journal, steps, events, done: mpsc::channel(), fatal }
    }

    fn append(&self, number: u32, records: Vec<Record>) {
        let done = self.done.0.clone();
        let report = move || {
            // Tests that end early do not listen.
            let _ = done.send(number);
        };
        self.journal.append(records, Box::new(report));
    }

    fn expect(&self, event: &'static str, step: Step) {
        assert_eq!(self.events.recv_timeout(LIMIT), Ok(event));
        self.steps.send(step).unwrap();
    }

    fn expect_done(&self, number: u32) {
        assert_eq!(self.done.1.recv_timeout(LIMIT), Ok(number));
    }

    fn expect_fatal(&self) -> JournalError {
        let error = self.fatal.recv_timeout(LIMIT).unwrap();
        assert!(self.done.1.try_recv().is_err(), "something was reported as durable");
        error
    }
}

#[test]
fn what_queues_during_a_sync_shares_the_next_one() {
    let bench = Bench::new();
    bench.append(1, vec![accepted(1, 1, 10)]);
    bench.expect("write", Step::Go);
    assert_eq!(bench.events.recv_timeout(LIMIT), Ok("sync"));
    for number in 2..=4 {
        bench.append(number, vec![accepted(number.into(), 1, 10)]);
    }
    assert!(bench.done.1.try_recv().is_err(), "reported before it was durable");
    bench.steps.send(Step::Go).unwrap();
    bench.expect_done(1);
    for event in ["write", "write", "write", "sync"] {
        assert!(bench.done.1.try_recv().is_err(), "reported before it was durable");
        bench.expect(event, Step::Go);
    }
    for number in 2..=4 {
        bench.expect_done(number);
    }
    drop(bench.steps);
}

#[test]
fn a_hint_costs_no_sync_and_its_done_keeps_its_place() {
    let bench = Bench::new();
    bench.append(1, vec![chosen(1)]);
    bench.expect("write", Step::Go);
    bench.expect_done(1);
    bench.append(2, vec![accepted(2, 1, 10), chosen(2)]);
    bench.expect("write", Step::Go);
    bench.expect("write", Step::Go);
    assert_eq!(bench.events.recv_timeout(LIMIT), Ok("sync"));
    bench.append(3, vec![chosen(2)]);
    bench.append(4, vec![chosen(3)]);
    bench.append(5, vec![]);
    bench.steps.send(Step::Go).unwrap();
    // Of the hints of one application only the last is written.
    bench.expect("write", Step::Go);
    for number in 2..=5 {
        bench.expect_done(number);
    }
    drop(bench.steps);
}

#[test]
fn a_read_sees_earlier_appends_before_they_are_durable() {
    let bench = Bench::new();
    bench.append(1, vec![accepted(1, 1, 10)]);
    assert_eq!(bench.events.recv_timeout(LIMIT), Ok("write"));
    bench.append(2, vec![accepted(2, 1, 10)]);
    let (sender, receiver) = mpsc::channel();
    let reply: Reply = Box::new(move |read| sender.send(slots(read)).unwrap());
    bench.journal.read(APP, Slot(1), Slot(9), usize::MAX, reply);
    bench.append(3, vec![accepted(3, 1, 10)]);
    bench.steps.send(Step::Go).unwrap();
    bench.expect("sync", Step::Go);
    bench.expect_done(1);
    bench.expect("write", Step::Go);
    assert_eq!(receiver.recv_timeout(LIMIT), Ok(vec![1, 2]));
    drop(bench.steps);
}

#[test]
fn a_failed_write_or_sync_stops_the_journal_for_good() {
    for failing in ["write", "sync"] {
        for step in [Step::Fail, Step::Panic] {
            let bench = Bench::new();
            bench.append(1, vec![accepted(1, 1, 10)]);
            bench.expect("write", Step::Go);
            bench.expect("sync", Step::Go);
            bench.expect_done(1);

            bench.append(2, vec![accepted(2, 1, 10)]);
            if failing == "sync" {
                bench.expect("write", Step::Go);
            }
            assert_eq!(bench.events.recv_timeout(LIMIT), Ok(failing));
            bench.append(3, vec![accepted(3, 1, 10)]);
            bench.steps.send(step).unwrap();
            match (bench.expect_fatal(), failing, step) {
                (error @ JournalError::Write(_), "write", Step::Fail)
                | (error @ JournalError::Sync(_), "sync", Step::Fail) => {
                    assert!(error.to_string().contains("the disk is full"), "{error}");
                }
                (JournalError::Panicked(text), _, Step::Panic) => assert_eq!(text, "the store panics"),
                other => panic!("{other:?}"),
            }
            bench.append(4, vec![accepted(4, 1, 10)]);
            let read = bench.journal.read_blocking(APP, Slot(1), Slot(1), 1);
            assert!(matches!(read, Err(ReadError::Stopped)));
            bench.journal.close();
            assert!(bench.events.try_recv().is_err(), "the store was used after its error");
            assert!(bench.done.1.try_recv().is_err(), "something was reported as durable");
            assert_eq!(bench.fatal.recv_timeout(LIMIT).err(), Some(RecvTimeoutError::Disconnected));
        }
    }
}

#[test]
fn a_disk_that_does_not_answer_is_fatal() {
    let bench = Bench::with_patience(Patience { tick: Duration::from_millis(1), ticks_max: 3 });
    bench.append(1, vec![accepted(1, 1, 10)]);
    bench.expect("write", Step::Go);
    assert!(matches!(bench.expect_fatal(), JournalError::Stalled { .. }));
    bench.journal.close();
    // It answers after all; nobody is told any more.
    drop(bench.steps);
    drop(bench.journal);
    drop(bench.done.0);
    assert_eq!(bench.done.1.recv_timeout(LIMIT), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_disk_that_is_slow_each_time_answers() {
    let patience = Patience { tick: Duration::from_millis(200), ticks_max: 3 };
    let bench = Bench::with_patience(patience);
    bench.append(1, vec![accepted(1, 1, 10)]);
    assert_eq!(bench.events.recv_timeout(LIMIT), Ok("write"));
    // All of these are one commit, which takes longer than any call may.
    for slot in 2..=6 {
        bench.append(2, vec![accepted(slot, 1, 10)]);
    }
    bench.steps.send(Step::Go).unwrap();
    bench.expect("sync", Step::Go);
    bench.expect_done(1);
    for _ in 2..=6 {
        assert_eq!(bench.events.recv_timeout(LIMIT), Ok("write"));
        assert!(bench.fatal.recv_timeout(patience.total() / 2).is_err(), "the disk answers");
        bench.steps.send(Step::Go).unwrap();
    }
    bench.expect("sync", Step::Go);
    bench.expect_done(2);
}

#[test]
fn reads_beyond_the_limit_are_refused() {
    let bench = Bench::new();
    bench.append(1, vec![accepted(1, 1, 10)]);
    assert_eq!(bench.events.recv_timeout(LIMIT), Ok("write"));
    let (sender, receiver) = mpsc::channel();
    for _ in 0..=JOURNAL_READS_MAX {
        let sender = sender.clone();
        let reply: Reply = Box::new(move |read| sender.send(matches!(read, Err(ReadError::Busy))).unwrap());
        bench.journal.read(APP, Slot(1), Slot(1), 1, reply);
    }
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [true]);
    drop(bench.steps);
    let answered = (0..JOURNAL_READS_MAX).map(|_| receiver.recv_timeout(LIMIT));
    assert!(answered.into_iter().all(|busy| busy == Ok(false)));
}

#[test]
fn closing_makes_durable_what_was_appended_and_takes_nothing_more() {
    let bench = Bench::new();
    bench.append(1, vec![accepted(1, 1, 10)]);
    bench.append(2, vec![chosen(1)]);
    drop(bench.steps);
    bench.journal.close();
    assert_eq!(bench.done.1.try_iter().collect::<Vec<_>>(), [1, 2]);
    bench.journal.append(vec![accepted(2, 1, 10)], Box::new(|| panic!("appended after the end")));
    assert_eq!(bench.events.try_iter().last(), Some("sync"));
}
