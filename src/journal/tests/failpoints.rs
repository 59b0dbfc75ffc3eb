//! A disk that fails at any one call: nothing that was lost was ever reported as durable, the error says what failed, and what
//! is left opens again with all that was reported.
//!
//! ```text
//! cargo test -p synod-journal --features failpoints --test failpoints
//! ```

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use fail::FailScenario;
use synod_journal::failpoint::{self, Point, Stage, failed, reached};
use synod_journal::sled_store::SledStore;
use synod_journal::store::Store as _;
use synod_journal::{Journal, JournalError, Stamp, StoppedLog, record};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, Decree, Digest, NodeId, Record, Recovered, SignedCommand, Slot, TimeMs,
};

const APP: AppNdx = AppNdx(1);
/// Of this one everything is removed in the end, behind the journal's back; so nobody asks for it again.
const REMOVED: AppNdx = AppNdx(2);
const LIMIT: Duration = Duration::from_secs(60);

fn stamp() -> Stamp {
    Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) }
}

fn ballot(number: u64) -> Ballot {
    Ballot { number, ..Ballot::ZERO }
}

/// The decree of a slot; of each third one in several parts, and in bulk.
fn decree(slot: u64) -> Decree {
    let body = slot.to_be_bytes().repeat(if slot.is_multiple_of(3) { 8_000 } else { 30 });
    let command = SignedCommand { body: body.into(), signature: vec![].into(), key: vec![].into() };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(slot), commands: vec![command] }))
}

fn accepted(app: AppNdx, slot: u64) -> Record {
    Record::Accepted { app, slot: Slot(slot), ballot: ballot(slot), decree: decree(slot) }
}

/// What a journal reported as durable.
#[derive(Default)]
struct Told {
    promised: u64,
    slots: Vec<u64>,
}

/// A journal that is open, and why it stops.
struct Open {
    journal: Journal,
    recovered: BTreeMap<AppNdx, Recovered>,
    fatal: Receiver<JournalError>,
}

impl Open {
    fn at(dir: &Path) -> Result<Open, String> {
        let (sender, fatal) = mpsc::channel();
        let on_fatal = move |why| sender.send(why).unwrap();
        let (journal, recovered) =
            Journal::open(dir, stamp(), &[APP], on_fatal).map_err(|why| why.to_string())?;
        Ok(Open { journal, recovered, fatal })
    }

    /// Appends, and notes what is durable then.
    fn append(&self, records: Vec<Record>, told: &mut Told) -> Result<(), String> {
        let slots = records.iter().filter_map(|record| match record {
            Record::Accepted { app: APP, slot, .. } => Some(slot.0),
            _ => None,
        });
        let slots: Vec<u64> = slots.collect();
        let promised = records.iter().filter_map(|record| match record {
            Record::Promised { ballot, .. } => Some(ballot.number),
            _ => None,
        });
        let promised = promised.max().unwrap_or_default();
        let (done, is_done) = mpsc::channel();
        self.journal.append(records, Box::new(move || done.send(failed()).unwrap()));
        let before = failed();
        match is_done.recv_timeout(LIMIT) {
            Ok(now) => assert_eq!(now, before, "reported as durable although its disk had failed"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(self
                    .fatal
                    .recv_timeout(LIMIT)
                    .expect("a journal that stops says why")
                    .to_string());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the journal hangs"),
        }
        told.slots.extend(slots);
        told.promised = told.promised.max(promised);
        Ok(())
    }

    /// Reads what there is of these slots.
    fn read(&self, from: u64, up_to: u64) -> Result<Vec<(Slot, Decree)>, String> {
        let read = self.journal.read_blocking(APP, Slot(from), Slot(up_to), usize::MAX);
        let read = read.map_err(|why| why.to_string())?;
        Ok(read.into_iter().map(|(slot, _, decree)| (slot, decree)).collect())
    }

    fn close(self) -> Result<(), String> {
        drop(self.journal);
        match self.fatal.recv_timeout(LIMIT) {
            Ok(why) => Err(why.to_string()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the journal does not close"),
        }
    }
}

/// Everything that a journal does in its life; the error with which it ends early.
fn live(dir: &Path, told: &mut Told) -> Result<(), String> {
    let open = Open::at(dir)?;
    open.append(vec![accepted(APP, 1)], told)?;
    open.append(vec![Record::Promised { app: APP, ballot: ballot(7) }, accepted(APP, 2)], told)?;
    open.append(vec![accepted(APP, 3), accepted(REMOVED, 1), accepted(REMOVED, 2)], told)?;
    open.append(vec![accepted(APP, 4), Record::Chosen { app: APP, slot: Slot(3) }], told)?;
    let blob = dir.join("log/blobs/unusual");
    fs::write(&blob, "a page").unwrap();
    open.append(vec![accepted(APP, 5)], told)?;
    fs::remove_file(blob).unwrap();
    assert_eq!(open.read(1, 9)?.len(), 5);
    open.close()?;

    fs::write(dir.join("log/snap.FFFFFFFFFFFFFFFF.generating"), "torn").unwrap();
    let open = Open::at(dir)?;
    assert_eq!(open.recovered[&APP].chosen, Slot(3));
    open.append(vec![accepted(APP, 6)], told)?;
    assert_eq!(open.read(1, 9)?.len(), 6);
    open.close()?;

    // The machine stopped when a copy was about to take the log's place.
    copy(&dir.join("log"), &dir.join("log.new"));
    let stamp = fs::read_to_string(dir.join("stamp")).unwrap();
    let lines = stamp.rsplit_once("crc32").unwrap().0.replace("log created", "log moving");
    let crc = crc32fast::hash(lines.as_bytes());
    fs::write(dir.join("stamp"), format!("{lines}crc32 {crc:08x}\n")).unwrap();
    let open = Open::at(dir)?;
    assert_eq!(open.read(1, 9)?.len(), 6);
    open.append(vec![accepted(REMOVED, 3)], told)?;
    open.close()?;
    assert!(dir.join("log.damaged").exists() && !dir.join("log.new").exists());

    let mut store = SledStore::open(&dir.join("log")).map_err(|why| why.to_string())?;
    let from = record::accepted_key(REMOVED, Slot(1), 0);
    let removed = store.truncate(&from, &record::accepted_end(REMOVED), 9).map_err(|why| why.to_string())?;
    assert_eq!(removed, 2 + 4, "small ones, and the parts of a large one");
    let bulk = || fs::read_dir(dir.join("log/bulk")).unwrap().count();
    let before = bulk();
    store.make_durable().map_err(|why| why.to_string())?;
    assert_eq!(bulk(), before - 1);
    drop(store);

    let scratch = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut log = loop {
        match StoppedLog::copy(dir, scratch.path()).map_err(|why| why.to_string()) {
            // The journal's thread has told that it ends, and lets go of its directory a moment later.
            Err(why) if why.contains("is in use") && begun.elapsed() < LIMIT => std::thread::yield_now(),
            copied => break copied?,
        }
    };
    assert_eq!(log.known(APP).map_err(|why| why.to_string())?.chosen, Slot(3));
    let read = log.read(APP, Slot(1), Slot(3), usize::MAX).map_err(|why| why.to_string())?;
    assert_eq!(read.len(), 3);
    Ok(())
}

/// The life of a new journal, with all that is left of it.
fn new_life(told: &mut Told) -> (Result<(), String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let lived = live(&dir.path().join("data"), told);
    (lived, dir)
}

/// How often each point is reached in a life in which nothing fails.
fn reaches() -> BTreeMap<Point, u64> {
    let before: Vec<u64> = Point::ALL.iter().map(|point| reached(*point)).collect();
    assert_eq!(new_life(&mut Told::default()).0, Ok(()));
    Point::ALL.iter().zip(before).map(|(point, before)| (*point, reached(*point) - before)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn each_point_is_reached_in_the_life_of_a_journal() {
    // Whoever has it is alone with all points.
    let _alone = FailScenario::setup();
    let missed: Vec<Point> =
        reaches().into_iter().filter(|(_, times)| *times == 0).map(|one| one.0).collect();
    assert_eq!(missed, []);
}

#[test]
fn whatever_call_fails_nothing_that_was_reported_is_lost() {
    let _alone = FailScenario::setup();
    let mut lives = 0;
    for (point, times) in reaches() {
        for n in 0..times {
            let what = format!("{}, after {n} times", point.name());
            fail::cfg(point.name(), &format!("{n}*off->1*return->off")).unwrap();
            let (before, mut told) = (failed(), Told::default());
            let (lived, dir) = new_life(&mut told);
            fail::remove(point.name());
            if failed() == before {
                // sled lets go of its files in the background, and so a life looks at them a little more or less often than another.
                assert_eq!(lived, Ok(()), "{what}");
                continue;
            }
            assert_eq!(failed(), before + 1, "{what}");
            let why = lived.expect_err(&what);
            assert!(why.contains(&failpoint::text(point)), "{what}: {why}");
            let is_working = why.contains("this node stops; see to its disk, then start it again");
            let may_work = [Stage::Working, Stage::Rare].contains(&point.stage());
            assert!(!is_working || may_work, "{what}: {why}");

            // What failed in this process has its files open for ever, as a process has that stops.
            let kept = dir.path().join("kept");
            if dir.path().join("data").exists() {
                copy(&dir.path().join("data"), &kept);
            }
            let open = Open::at(&kept).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(open.recovered[&APP].damaged_through, Slot(0), "{what}");
            assert!(open.recovered[&APP].promised.number >= told.promised, "{what}");
            for slot in &told.slots {
                assert_eq!(open.read(*slot, *slot), Ok(vec![(Slot(*slot), decree(*slot))]), "{what}");
            }
            open.append(vec![accepted(APP, 8)], &mut told).unwrap();
            open.close().unwrap();
            lives += 1;
        }
    }
    println!("{lives} lives");
    assert!(lives > 2 * Point::ALL.len());
}

#[test]
fn a_directory_whose_name_was_not_synced_is_synced_by_the_next_start() {
    let _alone = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fail::cfg(Point::ParentSync.name(), "1*return->off").unwrap();
    let why = Open::at(&data).map(|_| ()).unwrap_err();
    assert!(why.contains(&failpoint::text(Point::ParentSync)), "{why}");
    for syncs in [1, 0] {
        let before = reached(Point::ParentSync);
        Open::at(&data).unwrap().close().unwrap();
        assert_eq!(reached(Point::ParentSync) - before, syncs);
    }
}
