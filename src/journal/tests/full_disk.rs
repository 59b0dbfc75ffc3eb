//! A disk that fills up: the journal stops with a clear error, and nothing that it reported as durable is lost.
//!
//! Needs a file system of its own: run it as root with `cargo test -p synod-journal -- --ignored full_disk`.

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;

use synod_journal::{Journal, JournalError, Stamp};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, Decree, Digest, NodeId, Record, SignedCommand, Slot, TimeMs,
};

const APP: AppNdx = AppNdx(1);
const DIR: &str = "SYNOD_JOURNAL_TEST_DIR";

fn stamp() -> Stamp {
    Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) }
}

fn decree(slot: u64) -> Decree {
    let body = slot.to_be_bytes().repeat(2000);
    let command = SignedCommand { body: body.into(), signature: vec![].into(), key: vec![].into() };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(slot), commands: vec![command] }))
}

/// A small file system in memory, as long as it lives.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn new(at: &Path) -> Mount<'_> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).status();
        assert!(status.expect("mount can be run").success(), "mounting takes root");
        Mount(at)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.expect("umount can be run").success());
    }
}

#[test]
#[ignore = "the writer that the test below starts"]
fn writer() {
    let Some(dir) = env::var_os(DIR) else { return };
    let (sender, receiver) = mpsc::channel();
    let on_fatal = move |error| sender.send(error).unwrap();
    let (journal, _) = Journal::open(Path::new(&dir), stamp(), &[APP], on_fatal).unwrap();
    for slot in 1.. {
        let record =
            Record::Accepted { app: APP, slot: Slot(slot), ballot: Ballot::CHOSEN, decree: decree(slot) };
        let (done, is_done) = mpsc::channel();
        journal.append(vec![record], Box::new(move || done.send(()).unwrap()));
        if is_done.recv().is_err() {
            break;
        }
        println!("durable {slot}");
    }
    let error = receiver.recv().unwrap();
    assert!(matches!(error, JournalError::Write(_) | JournalError::Sync(_)), "{error:?}");
    println!("fatal {error}");
}

#[test]
#[ignore = "mounts a file system, which takes root"]
fn full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let _mount = Mount::new(dir.path());
    let data = dir.path().join("data");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(DIR, &data)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let fatal = text.lines().find(|line| line.starts_with("fatal ")).expect("the journal stops");
    assert!(fatal.contains("the disk is full"), "{fatal}");
    let durable: Vec<u64> =
        text.lines().filter_map(|line| line.split_once("durable ")?.1.parse().ok()).collect();
    assert!(durable.len() > 100);

    // Opened where there is room, as one would after freeing some.
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(&data).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    let (journal, recovered) = Journal::open(&copy.path().join("data"), stamp(), &[APP], |_| {}).unwrap();
    assert!(recovered[&APP].chosen.0 >= *durable.last().unwrap());
    for slot in durable {
        let read = journal.read_blocking(APP, Slot(slot), Slot(slot), usize::MAX).unwrap();
        assert_eq!(read, [(Slot(slot), Ballot::CHOSEN, decree(slot))]);
    }
}
