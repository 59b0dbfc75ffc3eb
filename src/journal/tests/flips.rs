//! A data directory in which one byte is another one: every byte that is in use, one at a time. The log is then refused with a
//! reason, or what was reported as durable is there, or it is told as damaged and can be written anew. It is never silently
//! something else.
//!
//! ```text
//! cargo test --release -p synod-journal --test flips -- --ignored --nocapture      every byte of small logs: some minutes
//! ```

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{panic, thread};

use synod_journal::journal::OpenError;
use synod_journal::recovery::RecoveryError;
use synod_journal::{Journal, ReadError, Stamp};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, Decree, Digest, NodeId, Record, Recovered, SignedCommand, Slot, TimeMs,
};

const APPS: [AppNdx; 2] = [AppNdx(1), AppNdx(2)];
/// Of the bytes that are not in use, so many are flipped in each file.
const UNUSED_TRIED: usize = 40;
const LIMIT: Duration = Duration::from_secs(60);

fn stamp() -> Stamp {
    Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) }
}

fn ballot(number: u64) -> Ballot {
    Ballot { number, ..Ballot::ZERO }
}

fn decree(app: AppNdx, slot: u64, number: u64) -> Decree {
    // A long log has large ones, and some in several parts, of which the second half are in bulk.
    let times =
        if slot % 100 == 50 { 800 + 800 * usize::from(slot > 300) } else { 2 + 40 * usize::from(slot > 9) };
    let body =
        [u64::from(app.0).to_be_bytes(), slot.to_be_bytes(), number.to_be_bytes()].concat().repeat(times);
    let command = SignedCommand { body: body.into(), signature: vec![].into(), key: vec![].into() };
    Decree::Batch(Arc::new(Batch { term: ballot(number), time: TimeMs(slot), commands: vec![command] }))
}

fn append(journal: &Journal, records: Vec<Record>) -> Result<(), String> {
    let (done, is_done) = mpsc::channel();
    journal.append(records, Box::new(move || done.send(()).unwrap()));
    is_done.recv_timeout(LIMIT).map_err(|why| why.to_string())
}

fn accepted(app: AppNdx, slot: u64, number: u64) -> Record {
    let decree = decree(app, slot, number);
    Record::Accepted { app, slot: Slot(slot), ballot: ballot(number), decree }
}

/// What a node does in its life, all of it acknowledged.
fn live(dir: &Path, life: Life) {
    let open = || Journal::open(dir, stamp(), &APPS, |why| panic!("{why}")).unwrap().0;
    let mut journal = open();
    for app in APPS {
        append(&journal, vec![Record::Promised { app, ballot: ballot(3) }]).unwrap();
        for slot in 1..=life.slots() {
            append(&journal, vec![accepted(app, slot, 3)]).unwrap();
        }
    }
    for _ in 0..life.restarts() {
        drop(journal);
        journal = open();
    }
    for app in APPS {
        let again = accepted(app, life.slots() - 1, 7);
        append(&journal, vec![Record::Promised { app, ballot: ballot(7) }, again]).unwrap();
        append(&journal, vec![Record::Cut { app, slot: life.cut() }]).unwrap();
        append(&journal, vec![accepted(app, life.slots(), 3), Record::Chosen { app, slot: life.chosen() }])
            .unwrap();
        append(&journal, vec![Record::Promised { app, ballot: ballot(8) }]).unwrap();
    }
    for _ in 0..life.restarts() {
        drop(journal);
        journal = open();
    }
    drop(journal);
}

/// How the directory came to be as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// Everything stands behind what the store below noted of itself.
    Young,
    /// And here before that, in one page.
    Old,
    /// In many pages, most of them never written again.
    Long,
}

impl Life {
    fn slots(self) -> u64 {
        if self == Life::Long { 700 } else { 9 }
    }

    fn restarts(self) -> u64 {
        if self == Life::Young { 0 } else { 1 }
    }

    fn chosen(self) -> Slot {
        Slot(self.slots() - 3)
    }

    fn cut(self) -> Slot {
        Slot(2)
    }

    /// Under which ballot a slot was accepted last.
    fn number_of(self, slot: u64) -> u64 {
        if slot == self.slots() - 1 { 7 } else { 3 }
    }
}

/// What came of one flip.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// Not opened, or not read: the operator is told.
    Refused(&'static str),
    /// Records are told as damaged, and were written anew.
    Mended,
    /// Everything is there.
    Nothing,
}

fn refused(why: &OpenError) -> Outcome {
    Outcome::Refused(match why {
        OpenError::Stamp(_) => "stamp",
        OpenError::Log { .. } => "log",
        OpenError::Head { .. } => "head",
        OpenError::Recovery(RecoveryError::DamagedPromise(_)) => "promise",
        OpenError::Recovery(RecoveryError::DamagedHint(_)) => "hint",
        OpenError::Recovery(RecoveryError::DamagedCut(_)) => "cut",
        OpenError::Recovery(RecoveryError::Incomplete(_)) => "incomplete",
        OpenError::Recovery(RecoveryError::LostEnd { .. }) => "lost its end",
        OpenError::Recovery(RecoveryError::Store(_)) => "structure",
        OpenError::Thread(why) => panic!("{why}"),
    })
}

/// Opens what is there, and holds it against what was acknowledged.
fn look(dir: &Path, life: Life) -> Result<Outcome, String> {
    let (journal, recovered) = match Journal::open(dir, stamp(), &APPS, |_| {}) {
        Ok(open) => open,
        Err(why) => return Ok(refused(&why)),
    };
    let mut missing = Vec::new();
    for app in APPS {
        match compare(&journal, app, &recovered[&app], life)? {
            Ok(slots) => missing.extend(slots.into_iter().map(|slot| (app, slot))),
            Err(outcome) => return Ok(outcome),
        }
    }
    if missing.is_empty() {
        return Ok(Outcome::Nothing);
    }
    // What the other nodes give.
    let records: Vec<Record> = missing
        .iter()
        .map(|&(app, slot)| {
            let (ballot, decree) = (Ballot::CHOSEN, decree(app, slot.0, life.number_of(slot.0)));
            Record::Accepted { app, slot, ballot, decree }
        })
        .collect();
    append(&journal, records)?;
    drop(journal);
    let (journal, recovered) =
        Journal::open(dir, stamp(), &APPS, |_| {}).map_err(|why| format!("not opened when mended: {why}"))?;
    for app in APPS {
        match compare(&journal, app, &recovered[&app], life)? {
            Ok(slots) if slots.is_empty() => {}
            other => return Err(format!("mended, application {app} lacks {other:?}")),
        }
    }
    Ok(Outcome::Mended)
}

/// The slots that are told as damaged; an error if anything is silently not as it was.
fn compare(
    journal: &Journal,
    app: AppNdx,
    found: &Recovered,
    life: Life,
) -> Result<Result<Vec<Slot>, Outcome>, String> {
    let differs = |what: String| Err(format!("application {app}: {what}"));
    if found.promised != ballot(8) || found.cut != life.cut() {
        return differs(format!("promised {:?}, cut {}", found.promised, found.cut));
    }
    if found.chosen > Slot(life.slots()) || found.chosen < life.cut() {
        return differs(format!("chosen {}", found.chosen));
    }
    let mut missing = Vec::new();
    for slot in (life.cut().0 + 1..=life.slots()).map(Slot) {
        let expected = decree(app, slot.0, life.number_of(slot.0));
        // Whatever is read at all has to be right.
        let read = match journal.read_blocking(app, slot, slot, usize::MAX) {
            Ok(read) => read.into_iter().next(),
            Err(ReadError::Damaged { .. }) => None,
            Err(ReadError::Store(_)) => return Ok(Err(Outcome::Refused("structure, when read"))),
            Err(ReadError::Stopped) => return Ok(Err(Outcome::Refused("panic, when read"))),
            Err(ReadError::Busy) => return differs("busy".to_owned()),
        };
        if let Some((_, _, decree)) = &read
            && *decree != expected
        {
            return differs(format!("slot {slot} is another decree"));
        }
        let is_held = found.accepted.get(&slot).is_some_and(|(_, decree)| *decree == expected);
        match read {
            Some((_, held, _)) => {
                let is_right = held == ballot(life.number_of(slot.0)) || held == Ballot::CHOSEN;
                if !is_right || (slot > found.chosen.max(found.known) && !is_held) {
                    return differs(format!("slot {slot} is held under {held:?}, reported: {is_held}"));
                }
            }
            None if is_held => return differs(format!("slot {slot} is reported and cannot be read")),
            // Told as damaged, or missed by whoever applies what is chosen.
            None if slot <= found.damaged_through || slot <= found.chosen => missing.push(slot),
            None => return differs(format!("slot {slot} is silently gone")),
        }
    }
    Ok(Ok(missing))
}

/// A directory's files, as far as they are not zero at their ends.
struct Image(BTreeMap<PathBuf, (Vec<u8>, u64)>);

impl Image {
    fn of(dir: &Path) -> Image {
        let mut files = BTreeMap::new();
        let mut left = vec![PathBuf::new()];
        while let Some(below) = left.pop() {
            for entry in fs::read_dir(dir.join(&below)).unwrap().map(Result::unwrap) {
                let path = below.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    left.push(path);
                } else {
                    let mut bytes = fs::read(dir.join(&path)).unwrap();
                    let len = u64::try_from(bytes.len()).unwrap();
                    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
                    files.insert(path, (bytes, len));
                }
            }
        }
        Image(files)
    }

    /// The bytes to flip: all before the zeros at a file's end but those in long stretches of zeros before that, and of the
    /// zeros a sample.
    fn places(&self) -> Vec<(&Path, usize)> {
        let mut places = Vec::new();
        for (path, (bytes, len)) in &self.0 {
            let mut used = BTreeSet::new();
            for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                // What lies between is a number with leading zeros, or the end of one.
                used.extend(at.saturating_sub(16)..=at + 16);
            }
            let len = usize::try_from(*len).unwrap();
            used.extend((0..len).step_by((len / UNUSED_TRIED).max(1)));
            places.extend(used.into_iter().filter(|at| *at < len).map(|at| (path.as_path(), at)));
        }
        places
    }

    fn write(&self, dir: &Path, flipped: Option<(&Path, usize, u8)>) {
        for (path, (bytes, len)) in &self.0 {
            let path_there = dir.join(path);
            fs::create_dir_all(path_there.parent().unwrap()).unwrap();
            let mut file = File::create(&path_there).unwrap();
            file.write_all(bytes).unwrap();
            file.set_len(*len).unwrap();
            if let Some((flipped, at, mask)) = flipped
                && flipped == path
            {
                let byte = bytes.get(at).copied().unwrap_or_default() ^ mask;
                file.write_all_at(&[byte], u64::try_from(at).unwrap()).unwrap();
            }
        }
        fs::create_dir_all(dir.join("log/blobs")).unwrap();
    }
}

/// Flips every `step`-th of the places, with each of the masks, on two threads.
fn flip_all(life: Life, step: usize, masks: &[u8]) -> BTreeMap<(String, Outcome), usize> {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), life);
    let image = Image::of(dir.path());
    let whole = tempfile::tempdir().unwrap();
    image.write(whole.path(), None);
    assert_eq!(look(whole.path(), life), Ok(Outcome::Nothing), "{life:?}: nothing is flipped");

    let places = image.places();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(path, at)) = places.get(turn * step) else { return };
            for &mask in masks {
                let dir = tempfile::tempdir().unwrap();
                image.write(dir.path(), Some((path, at, mask)));
                let looked = panic::catch_unwind(|| look(dir.path(), life));
                match looked.unwrap_or_else(|_| Err("it panics".to_owned())) {
                    Ok(outcome) => {
                        // A snapshot's name is another one each time.
                        let name = path.to_string_lossy().into_owned();
                        let name = if name.contains("snap") { "log/snap".to_owned() } else { name };
                        *outcomes.lock().unwrap().entry((name, outcome)).or_default() += 1;
                    }
                    Err(why) => failures
                        .lock()
                        .unwrap()
                        .push(format!("{} byte {at} ^ {mask:#x}: {why}", path.display())),
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let outcomes = outcomes.into_inner().unwrap();
    println!("{life:?}: {} of {} places", places.len().div_ceil(step), places.len());
    for ((file, outcome), count) in &outcomes {
        println!("{count:>7}  {file}: {outcome:?}");
    }
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{life:?}: {} silent: {:#?}",
        failures.len(),
        &failures[..failures.len().min(40)]
    );
    outcomes
}

#[test]
#[ignore = "some minutes: every byte, one bit of it and all of it"]
fn every_flipped_byte_is_noticed() {
    for life in [Life::Young, Life::Old] {
        flip_all(life, 1, &[0x01, 0xff]);
    }
    let outcomes = flip_all(Life::Long, 4_001, &[0x10]);
    assert!(outcomes.keys().any(|(_, outcome)| *outcome == Outcome::Mended), "nothing was mended");
}

#[test]
fn a_flipped_byte_is_noticed() {
    for life in [Life::Young, Life::Old] {
        flip_all(life, 61, &[0x10]);
    }
    let outcomes = flip_all(Life::Long, 60_013, &[0x10]);
    assert!(outcomes.keys().any(|(_, outcome)| *outcome == Outcome::Mended), "nothing was mended");
}
