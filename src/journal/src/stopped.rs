//! The log of a node that does not run, for who looks into it and must not touch it.
//!
//! sled has no way to open its files without writing to them. So they are copied, under the locks that keep a node from
//! starting meanwhile, and the copy is opened. In the data directory itself nothing is ever created or written.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use synod_types::{AppNdx, Ballot, Decree, Slot};

use crate::failpoint::{Point, reach};
use crate::recovery::{self, Known, ReadError, RecoveryError};
use crate::sled_store::SledStore;
use crate::stamp::{self, Stamp, StampError};
use crate::store::{Store, StoreError};

/// Why a log is not opened.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// A process has it open.
    #[error(
        "the data directory {} is in use; stop its node first, or read the log of the running node over its readers' port",
        .0.display()
    )]
    InUse(PathBuf),
    /// There is no data directory, or not this program's.
    #[error("{} is not the data directory of a node: there is no {what} in it", .dir.display())]
    NotOne {
        /// Where one was expected.
        dir: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// Its stamp is there and damaged.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The log's files make no sense.
    #[error("cannot open the log in {}: {source}", .dir.display())]
    Log {
        /// The data directory.
        dir: PathBuf,
        /// Why not.
        source: StoreError,
    },
}

/// A copy of the log of a node that does not run.
pub struct StoppedLog {
    stamp: Stamp,
    store: SledStore,
}

impl StoppedLog {
    /// Copies the log in the data directory `dir` into `scratch`, an empty directory, and opens the copy.
    ///
    /// # Errors
    /// [`StoppedError`].
    pub fn copy(dir: &Path, scratch: &Path) -> Result<StoppedLog, StoppedError> {
        let stamp = match reach(Point::LookStampRead).and_then(|()| fs::read(dir.join(stamp::STAMP))) {
            Ok(bytes) => stamp::read(&bytes, dir)?.0,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(StoppedError::NotOne { dir: dir.to_owned(), what: stamp::STAMP });
            }
            Err(source) => {
                return Err(StoppedError::Io { what: "read", path: dir.join(stamp::STAMP), source });
            }
        };
        let (log, db) = (dir.join(stamp::LOG), dir.join(stamp::LOG).join("db"));
        match reach(Point::LookLogFind).and_then(|()| db.try_exists()) {
            Ok(true) => {}
            Ok(false) => return Err(StoppedError::NotOne { dir: dir.to_owned(), what: stamp::LOG }),
            Err(source) => return Err(StoppedError::Io { what: "find", path: db, source }),
        }
        let _node = lock(dir, &dir.join(stamp::LOCK))?;
        let _sled = lock(dir, &db)?;
        copy_files(&log, scratch)?;
        let store =
            SledStore::open(scratch).map_err(|source| StoppedError::Log { dir: dir.to_owned(), source })?;
        Ok(StoppedLog { stamp, store })
    }

    /// Whose log it is.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// How much of an application's log is known to be chosen, and how much is not.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub fn known(&mut self, app: AppNdx) -> Result<Known, RecoveryError> {
        self.guarded(|store| Ok(recovery::known(store, app)))?
    }

    /// See [`Journal::read`](crate::Journal::read).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &mut self,
        app: AppNdx,
        from: Slot,
        up_to: Slot,
        bytes_max: usize,
    ) -> Result<Vec<(Slot, Ballot, Decree)>, ReadError> {
        self.guarded(|store| Ok(recovery::read(store, app, from, up_to, bytes_max)))?
    }

    /// sled asserts over files that make no sense; here that is an error.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let store = &mut self.store;
        panic::catch_unwind(AssertUnwindSafe(|| work(store)))
            .unwrap_or_else(|_| Err(StoreError::Broken("sled panicked while it read its files".to_owned())))
    }
}

/// Takes the lock that a node holds on a file. One that is not there cannot be held: this may be a copy.
fn lock(dir: &Path, path: &Path) -> Result<Option<File>, StoppedError> {
    let io = |what, source| StoppedError::Io { what, path: path.to_owned(), source };
    let file = match reach(Point::LookLockOpen).and_then(|()| File::open(path)) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(io("open", why)),
    };
    reach(Point::LookLock).map_err(|why| io("lock", why))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoppedError::InUse(dir.to_owned())),
        Err(TryLockError::Error(why)) => Err(io("lock", why)),
    }
}

/// Copies the files of a directory, and of the directories in it.
fn copy_files(from: &Path, to: &Path) -> Result<(), StoppedError> {
    let io = |what, path: &Path, source| StoppedError::Io { what, path: path.to_owned(), source };
    reach(Point::CopyDirCreate).and_then(|()| fs::create_dir_all(to)).map_err(|why| io("create", to, why))?;
    let entries = reach(Point::CopyList).and_then(|()| fs::read_dir(from));
    for entry in entries.map_err(|why| io("read", from, why))? {
        let entry = entry.map_err(|why| io("read", from, why))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = reach(Point::CopyKind).and_then(|()| entry.file_type());
        if kind.map_err(|why| io("read", &source, why))?.is_dir() {
            copy_files(&source, &target)?;
        } else {
            let copied = reach(Point::CopyFile).and_then(|()| fs::copy(&source, &target));
            copied.map_err(|why| io("copy", &source, why))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use synod_types::{ClusterId, Digest, NodeId, Record};

    use super::*;
    use crate::Journal;

    const APP: AppNdx = AppNdx(7);
    const STAMP: Stamp = Stamp { cluster: ClusterId(Digest([1; 32])), node: NodeId(Digest([2; 32])) };

    fn accepted(slot: u64, ballot: Ballot) -> Record {
        Record::Accepted { app: APP, slot: Slot(slot), ballot, decree: Decree::Noop }
    }

    fn written(dir: &Path, records: Vec<Record>) -> Journal {
        let (journal, _) = Journal::open(dir, STAMP, &[APP], |why| panic!("{why}")).unwrap();
        journal.append(records, Box::new(|| {}));
        journal
    }

    /// Every file below a directory, with its bytes and the time when it was last changed.
    fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let mut files = BTreeMap::new();
        let mut left = vec![dir.to_owned()];
        while let Some(path) = left.pop() {
            let changed = path.metadata().unwrap().modified().unwrap();
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                files.insert(path, (Vec::new(), changed));
            } else {
                files.insert(path.clone(), (fs::read(path).unwrap(), changed));
            }
        }
        files
    }

    #[test]
    fn what_is_chosen_is_read_and_no_byte_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let ballot = Ballot { number: 1, ..Ballot::ZERO };
        let mut records: Vec<Record> = (1..=5).map(|slot| accepted(slot, ballot)).collect();
        records.push(Record::Chosen { app: APP, slot: Slot(3) });
        // Behind the hint: slot 4 may or may not be chosen; what a node learned as chosen is.
        written(dir.path(), records).close();
        let before = contents(dir.path());
        assert!(before.len() > 4, "{:?}", before.keys());
        let scratch = tempfile::tempdir().unwrap();
        let mut log = StoppedLog::copy(dir.path(), scratch.path()).unwrap();
        assert_eq!(log.stamp(), STAMP);
        assert_eq!(
            log.known(APP).unwrap(),
            Known { cut: Slot(0), chosen: Slot(3), behind: 2, last: Slot(5) }
        );
        assert_eq!(
            log.known(AppNdx(9)).unwrap(),
            Known { cut: Slot(0), chosen: Slot(0), behind: 0, last: Slot(0) }
        );
        let slots: Vec<Slot> =
            log.read(APP, Slot(1), Slot(3), 1 << 20).unwrap().into_iter().map(|(slot, ..)| slot).collect();
        assert_eq!(slots, [Slot(1), Slot(2), Slot(3)]);
        drop(log);
        assert_eq!(contents(dir.path()), before);
    }

    #[test]
    fn what_was_learned_as_chosen_needs_no_hint() {
        let dir = tempfile::tempdir().unwrap();
        let mut records: Vec<Record> = (1..=4).map(|slot| accepted(slot, Ballot::CHOSEN)).collect();
        records.push(accepted(6, Ballot::CHOSEN));
        written(dir.path(), records).close();
        let scratch = tempfile::tempdir().unwrap();
        let mut log = StoppedLog::copy(dir.path(), scratch.path()).unwrap();
        assert_eq!(
            log.known(APP).unwrap(),
            Known { cut: Slot(0), chosen: Slot(4), behind: 1, last: Slot(6) }
        );
    }

    #[test]
    fn a_running_node_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = written(dir.path(), vec![accepted(1, Ballot::CHOSEN)]);
        let scratch = tempfile::tempdir().unwrap();
        let refused = StoppedLog::copy(dir.path(), scratch.path()).err().unwrap();
        assert!(matches!(refused, StoppedError::InUse(_)), "{refused}");
        assert!(refused.to_string().contains("stop its node first"), "{refused}");
        journal.close();
        drop(journal);
        StoppedLog::copy(dir.path(), scratch.path()).unwrap();
    }

    #[test]
    fn what_is_no_data_directory_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let said = || StoppedLog::copy(dir.path(), scratch.path()).err().unwrap().to_string();
        assert!(said().contains("there is no stamp in it"), "{}", said());
        fs::write(dir.path().join("stamp"), "torn").unwrap();
        assert!(said().contains("damaged"), "{}", said());
        written(&dir.path().join("data"), Vec::new()).close();
        fs::copy(dir.path().join("data/stamp"), dir.path().join("stamp")).unwrap();
        assert!(said().contains("there is no log in it"), "{}", said());
        assert!(!dir.path().join("lock").exists(), "nothing is created");
    }
}
