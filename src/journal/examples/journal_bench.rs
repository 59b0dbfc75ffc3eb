//! What durability costs: `cargo run --release -p synod-journal --example journal_bench [DIR]`.
//!
//! Each round appends some records, one append each, and waits until all are durable: the first starts a sync at once,
//! and what queues meanwhile shares the next one. Beside sled: the same journal on
//! memory (what is left without a disk), and a plain file with its space written beforehand, one write and one
//! `sync_data` a round (what the disk can do). Then many records in a row, for throughput, size and the time to open.

use std::error::Error;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use synod_journal::{Journal, JournalError, MemoryStore, Stamp};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, Decree, Digest, NodeId, Record, SignedCommand, Slot, TimeMs,
};

const APP: AppNdx = AppNdx(1);
const LONG_RUN: u64 = 200_000;
const LONG_RUN_STEP: u64 = 20_000;
const LONG_RUN_AT_A_TIME: u64 = 16;

fn decree(bytes: usize) -> Decree {
    let body = (0..bytes).map(|at| u8::try_from((at * 31) % 251).expect("below 251")).collect::<Vec<u8>>();
    let command = SignedCommand { body: body.into(), signature: Vec::new().into(), key: Vec::new().into() };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands: vec![command] }))
}

fn stop(error: JournalError) {
    eprintln!("{error}");
    std::process::exit(1);
}

fn open(dir: &Path) -> Result<Journal, Box<dyn Error>> {
    let stamp = Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) };
    Ok(Journal::open(dir, stamp, &[APP], stop)?.0)
}

/// Appends `slots`, one append each, and waits for the last.
fn append(journal: &Journal, slots: Range<u64>, decree: &Decree) -> Result<(), mpsc::RecvError> {
    let (sender, receiver) = mpsc::channel();
    let last = slots.end - 1;
    for slot in slots {
        let sender = sender.clone();
        let done = move || {
            if slot == last {
                // The main thread waits for it, unless it is gone.
                let _ = sender.send(());
            }
        };
        let (slot, ballot, decree) = (Slot(slot), Ballot::CHOSEN, decree.clone());
        journal.append(vec![Record::Accepted { app: APP, slot, ballot, decree }], Box::new(done));
    }
    receiver.recv()
}

fn report(store: &str, count: u64, bytes: usize, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_micros();
    println!("{store:<8} {count:>4} x {bytes:>6} bytes   p50 {:>6} us   p99 {:>6} us", at(50), at(99));
}

fn measure(rounds: u64, mut round: impl FnMut(u64) -> Result<(), Box<dyn Error>>) -> Vec<Duration> {
    let timed = |ndx| {
        let start = Instant::now();
        round(ndx).unwrap_or_else(|error| panic!("{error}"));
        start.elapsed()
    };
    (0..rounds).map(timed).collect()
}

fn plain(dir: &Path, rounds: u64, bytes: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let path = dir.join("plain");
    fs::write(&path, vec![0; usize::try_from(rounds * bytes)?])?;
    let file = File::options().write(true).open(&path)?;
    file.sync_all()?;
    let data = vec![7; usize::try_from(bytes)?];
    let times = measure(rounds, |ndx| {
        file.write_all_at(&data, ndx * bytes)?;
        Ok(file.sync_data()?)
    });
    fs::remove_file(path)?;
    Ok(times)
}

fn resident_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(base)?;
    for (count, bytes, rounds) in
        [(1, 700, 3000), (16, 700, 600), (64, 700, 200), (256, 700, 100), (1, 65_536, 300)]
    {
        let size = count * u64::try_from(bytes)?;
        let decree = decree(bytes);
        report("plain", count, bytes, plain(dir.path(), rounds, size)?);
        let on_sled = open(&dir.path().join(format!("{count}-{bytes}")))?;
        let (in_memory, _) = Journal::on_store(Box::new(MemoryStore::new()), &[APP], stop)?;
        for (name, journal) in [("memory", in_memory), ("sled", on_sled)] {
            let round = |ndx| Ok(append(&journal, ndx * count + 1..(ndx + 1) * count + 1, &decree)?);
            report(name, count, bytes, measure(rounds, round));
            journal.close();
        }
    }

    println!("\n{LONG_RUN} records of 700 bytes, {LONG_RUN_AT_A_TIME} at a time:");
    let data = dir.path().join("long");
    let journal = open(&data)?;
    let decree = decree(700);
    let at_a_time = usize::try_from(LONG_RUN_AT_A_TIME)?;
    for first in (1..=LONG_RUN).step_by(usize::try_from(LONG_RUN_STEP)?) {
        let start = Instant::now();
        for slot in (first..first + LONG_RUN_STEP).step_by(at_a_time) {
            append(&journal, slot..slot + LONG_RUN_AT_A_TIME, &decree)?;
            let hint = Record::Chosen { app: APP, slot: Slot(slot + LONG_RUN_AT_A_TIME - 1) };
            journal.append(vec![hint], Box::new(|| {}));
        }
        println!(
            "{:>7} records   {:>6} a second   file {:>4} MiB   resident {:>4} MiB",
            first + LONG_RUN_STEP - 1,
            u128::from(LONG_RUN_STEP) * 1_000_000 / start.elapsed().as_micros(),
            fs::metadata(data.join("log/db"))?.len() >> 20,
            resident_mib().unwrap_or_default(),
        );
    }
    let close = Instant::now();
    journal.close();
    println!("closed in {} ms", close.elapsed().as_millis());
    for _ in 0..2 {
        let start = Instant::now();
        let journal = open(&data)?;
        let opened = start.elapsed();
        let mut from = Slot(1);
        while from.0 <= LONG_RUN {
            let read = journal.read_blocking(APP, from, Slot(LONG_RUN), 1 << 20)?;
            from = read.last().ok_or("a record is missing")?.0.next();
        }
        let replayed = start.elapsed() - opened;
        println!("opened in {} ms, all read in {} ms", opened.as_millis(), replayed.as_millis());
        journal.close();
    }
    Ok(())
}
