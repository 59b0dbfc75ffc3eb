//! Whose data directory this is. A node that came up on another node's log would break that node's promises.
//!
//! The file `stamp` is written and synced before anything else is in the directory, and names the cluster and the node.
//! The file `lock` is locked as long as a process has the directory open.
//!
//! ```text
//! synod data directory, format 2
//! cluster 64 hex digits
//! node 64 hex digits
//! log creating | created | moving
//! crc32 8 hex digits, over the lines above
//! ```
//!
//! **The format** is that of everything in the directory that names no version of its own: where files are, and what is in the
//! small ones beside the log. A program that changes any of it writes the next number; it reads all earlier ones, and an older
//! program refuses what it does not know. The first line and the last one stay as they are for ever, so that it can.
//!
//! "creating" is what a crash leaves while the log is made: nothing was ever promised on it. Once it says "created", a
//! log that is missing is a loss, and the node must not come up as if it had never promised anything. "moving" says that a whole
//! copy in `log.new` takes the place of the log, which goes to `log.damaged` ([`crate::rebuilding`]).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use synod_types::{ClusterId, NodeId};

use crate::failpoint::{Point, reach, sync_path};

/// The first line but for the number behind it.
const FIRST_LINE: &str = "synod data directory, format ";
/// The format that this program writes. It reads the ones before: in format 1 the log had no [`crate::bulk`].
const FORMAT: u32 = 2;
pub(crate) const STAMP: &str = "stamp";
const STAMP_NEW: &str = "stamp.new";
pub(crate) const LOCK: &str = "lock";
pub(crate) const LOG: &str = "log";
const HEAD: &str = "log-head";
const COPY: &str = "log.new";
const ASIDE: &str = "log.damaged";

/// Whose directory it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Why a data directory is not opened.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// Another process holds the lock.
    #[error("the data directory {} is in use by another process; stop it, or give this node another data_dir", .0.display())]
    InUse(PathBuf),
    /// The stamp names another cluster.
    #[error("the data directory {} belongs to cluster {found}, and this node is of cluster {expected}; check data_dir and genesis", .dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// What the stamp says.
        found: ClusterId,
        /// What the configuration says.
        expected: ClusterId,
    },
    /// The stamp names another node.
    #[error("the data directory {} belongs to node {found}, and this is node {expected}; check data_dir and the node's key", .dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// What the stamp says.
        found: NodeId,
        /// What the configuration says.
        expected: NodeId,
    },
    /// The directory has what this program does not know.
    #[error("the data directory {} has format {found}, and this program reads formats up to {FORMAT}: install a newer program on this node, and start it again", .dir.display())]
    UnknownFormat {
        /// The directory.
        dir: PathBuf,
        /// What the stamp says.
        found: u32,
    },
    /// The stamp is there and cannot be understood.
    #[error("the stamp of the data directory {} is damaged; restore the file, or replace the node by a new one with an empty data_dir", .0.display())]
    Unreadable(PathBuf),
    /// There is data, and no stamp says whose.
    #[error("the directory {} holds {found:?} and no stamp, so it is not a data directory or its stamp was lost; give this node an empty data_dir, or restore the stamp", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// The stamp says that there is a log.
    #[error("the data directory {} has lost its log; restore it, or replace the node by a new one: this one must not forget what it promised", .0.display())]
    LogLost(PathBuf),
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
}

/// A data directory that is this node's, locked until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    stamp: Stamp,
    phase: Phase,
    _lock: File,
}

/// What the stamp says of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Creating,
    Created,
    Moving,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::Creating, Phase::Created, Phase::Moving];

    fn word(self) -> &'static str {
        match self {
            Phase::Creating => "creating",
            Phase::Created => "created",
            Phase::Moving => "moving",
        }
    }
}

impl DataDir {
    /// Locks `dir` and checks its stamp; makes both where there is no directory or an empty one.
    ///
    /// # Errors
    /// [`StampError`].
    pub fn open(dir: &Path, stamp: Stamp) -> Result<DataDir, StampError> {
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| StampError::Io { what, path, source }
        };
        reach(Point::DirCreate).and_then(|()| fs::create_dir_all(dir)).map_err(io("create", dir))?;
        let lock_path = dir.join(LOCK);
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = reach(Point::LockOpen).and_then(|()| open()).map_err(io("create", &lock_path))?;
        reach(Point::Lock).map_err(io("lock", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StampError::InUse(dir.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        let path = dir.join(STAMP);
        let mut data_dir = DataDir { dir: dir.to_path_buf(), stamp, phase: Phase::Creating, _lock: lock };
        match reach(Point::StampRead).and_then(|()| fs::read(&path)) {
            Ok(bytes) => {
                let (found, phase, format) = read(&bytes, dir)?;
                data_dir.phase = phase;
                data_dir.check(found)?;
                // Before anything is written that an older program would not know.
                if format < FORMAT {
                    data_dir.write().map_err(io("write", &path))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(found) = first_stranger(dir).map_err(io("read", dir))? {
                    return Err(StampError::Missing { dir: dir.to_path_buf(), found });
                }
                data_dir.write().map_err(io("write", &path))?;
            }
            Err(source) => return Err(io("read", &path)(source)),
        }
        // Also where an earlier start made the directory and came no further.
        if data_dir.phase == Phase::Creating {
            let parent = reach(Point::ParentFind).and_then(|()| dir.canonicalize());
            let parent = parent.map_err(io("read", dir))?;
            let parent = parent.parent().unwrap_or(dir);
            sync_path(parent, [Point::ParentOpen, Point::ParentSync]).map_err(io("sync", parent))?;
        }
        Ok(data_dir)
    }

    /// Where the log is.
    pub fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// Where it stands how far the log has come.
    pub fn head(&self) -> PathBuf {
        self.dir.join(HEAD)
    }

    /// Makes the directory's names durable.
    ///
    /// # Errors
    /// [`StampError::Io`].
    pub fn sync(&self) -> Result<(), StampError> {
        let synced = sync_path(&self.dir, [Point::DirOpen, Point::DirSync]);
        synced.map_err(|source| StampError::Io { what: "sync", path: self.dir.clone(), source })
    }

    /// Removes what a first start has left that was cut short: parts of a log that may be torn, on which nothing was promised.
    ///
    /// # Errors
    /// [`StampError::Io`].
    pub fn clear_unfinished_log(&self) -> Result<(), StampError> {
        if self.phase == Phase::Creating { remove(self.log(), Point::LogClear) } else { Ok(()) }
    }

    /// Where a copy of the log is made.
    pub fn copy(&self) -> PathBuf {
        self.dir.join(COPY)
    }

    /// Removes a copy of the log that was not finished.
    ///
    /// # Errors
    /// [`StampError::Io`].
    pub fn clear_unfinished_copy(&self) -> Result<(), StampError> {
        remove(self.copy(), Point::CopyClear)
    }

    /// Puts the copy, which is whole and durable, in the log's place. A crash on the way is gone on from at the next start. What
    /// was there stays aside, in place of what was there before.
    ///
    /// # Errors
    /// [`StampError::Io`].
    pub fn move_copy(&mut self) -> Result<(), StampError> {
        self.set_phase(Phase::Moving)?;
        self.finish_move()
    }

    fn finish_move(&mut self) -> Result<(), StampError> {
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| StampError::Io { what, path, source }
        };
        let (copy, log, aside) = (self.copy(), self.log(), self.dir.join(ASIDE));
        let is_there = |path: &Path| reach(Point::MoveFind).and_then(|()| path.try_exists());
        if is_there(&copy).map_err(io("find", &copy))? {
            if is_there(&log).map_err(io("find", &log))? {
                remove(aside.clone(), Point::MoveClear)?;
                let moved = reach(Point::MoveAside).and_then(|()| fs::rename(&log, &aside));
                moved.map_err(io("rename", &log))?;
            }
            reach(Point::MoveIn).and_then(|()| fs::rename(&copy, &log)).map_err(io("rename", &copy))?;
        }
        self.sync()?;
        self.set_phase(Phase::Created)
    }

    fn set_phase(&mut self, phase: Phase) -> Result<(), StampError> {
        self.phase = phase;
        let path = self.dir.join(STAMP);
        self.write().map_err(|source| StampError::Io { what: "write", path, source })
    }

    /// Notes, durably, that the log exists; from now on it is a loss if it does not.
    ///
    /// # Errors
    /// [`StampError::Io`].
    pub fn log_was_created(&mut self) -> Result<(), StampError> {
        if self.phase == Phase::Creating { self.set_phase(Phase::Created) } else { Ok(()) }
    }

    fn check(&mut self, found: Stamp) -> Result<(), StampError> {
        let (dir, expected) = (self.dir.clone(), self.stamp);
        if found.cluster != expected.cluster {
            return Err(StampError::OtherCluster { dir, found: found.cluster, expected: expected.cluster });
        }
        if found.node != expected.node {
            return Err(StampError::OtherNode { dir, found: found.node, expected: expected.node });
        }
        match self.phase {
            Phase::Creating => return Ok(()),
            Phase::Created => {}
            Phase::Moving => self.finish_move()?,
        }
        let path = self.log().join("db");
        match reach(Point::LogFind).and_then(|()| path.try_exists()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StampError::LogLost(dir)),
            // It may well be there.
            Err(source) => Err(StampError::Io { what: "find", path, source }),
        }
    }

    /// A whole new file takes the old one's place, so that a crash leaves one of the two.
    fn write(&self) -> io::Result<()> {
        let new = self.dir.join(STAMP_NEW);
        reach(Point::StampCreate)?;
        let mut file = File::create(&new)?;
        reach(Point::StampWrite)?;
        file.write_all(&encode(self.stamp, self.phase, FORMAT))?;
        reach(Point::StampSync)?;
        file.sync_all()?;
        reach(Point::StampRename)?;
        fs::rename(&new, self.dir.join(STAMP))?;
        sync_path(&self.dir, [Point::DirOpen, Point::DirSync])
    }
}

/// Removes a directory with all that is in it, if it is there.
fn remove(path: PathBuf, point: Point) -> Result<(), StampError> {
    match reach(point).and_then(|()| fs::remove_dir_all(&path)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StampError::Io { what: "remove", path, source })
        }
        _ => Ok(()),
    }
}

/// Something in `dir` that does not stem from a first start that was cut short.
fn first_stranger(dir: &Path) -> io::Result<Option<String>> {
    reach(Point::DirList)?;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != LOCK && name != STAMP_NEW {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn encode(stamp: Stamp, phase: Phase, format: u32) -> Vec<u8> {
    let log = phase.word();
    let lines = format!("{FIRST_LINE}{format}\ncluster {}\nnode {}\nlog {log}\n", stamp.cluster, stamp.node);
    sealed(&lines)
}

/// Lines with the last one behind them.
fn sealed(lines: &str) -> Vec<u8> {
    format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes())).into_bytes()
}

/// Whose directory it is, what there is of its log, and in which format, as these bytes of its stamp say.
pub(crate) fn read(bytes: &[u8], dir: &Path) -> Result<(Stamp, Phase, u32), StampError> {
    let dir = dir.to_path_buf();
    match decode(bytes) {
        Some(Found::Stamp(found, phase, format)) => Ok((found, phase, format)),
        Some(Found::UnknownFormat(found)) => Err(StampError::UnknownFormat { dir, found }),
        None => Err(StampError::Unreadable(dir)),
    }
}

/// What a stamp says.
enum Found {
    /// Whose directory it is, what there is of its log, and in which format.
    Stamp(Stamp, Phase, u32),
    /// It is whole, and of a format that this program does not know.
    UnknownFormat(u32),
}

/// Reads a stamp; `None`: it is damaged.
fn decode(bytes: &[u8]) -> Option<Found> {
    let text = std::str::from_utf8(bytes).ok()?;
    // Before anything is believed, the number too: damage is no newer format.
    let lines = &text[..text.rfind("crc32 ")?];
    if sealed(lines) != bytes {
        return None;
    }
    let format = lines.lines().next()?.strip_prefix(FIRST_LINE)?.parse().ok()?;
    if !(1..=FORMAT).contains(&format) {
        return Some(Found::UnknownFormat(format));
    }
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let stamp = Stamp { cluster: field("cluster")?.parse().ok()?, node: field("node")?.parse().ok()? };
    let log = field("log")?;
    let phase = Phase::ALL.into_iter().find(|phase| phase.word() == log)?;
    // What is not exactly what would have been written is damaged.
    (encode(stamp, phase, format) == bytes).then_some(Found::Stamp(stamp, phase, format))
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    fn stamp(cluster: u8, node: u8) -> Stamp {
        Stamp { cluster: ClusterId(Digest([cluster; 32])), node: NodeId(Digest([node; 32])) }
    }

    fn error(dir: &Path, stamp: Stamp) -> String {
        DataDir::open(dir, stamp).unwrap_err().to_string()
    }

    #[test]
    fn only_its_own_node_opens_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        drop(DataDir::open(&dir, stamp(1, 2)).unwrap());
        drop(DataDir::open(&dir, stamp(1, 2)).unwrap());

        let text = error(&dir, stamp(3, 2));
        assert!(text.contains(&"01".repeat(32)) && text.contains(&"03".repeat(32)), "{text}");
        let text = error(&dir, stamp(1, 4));
        assert!(text.contains(&"02".repeat(32)) && text.contains(&"04".repeat(32)), "{text}");
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = DataDir::open(dir.path(), stamp(1, 2)).unwrap();
        assert!(matches!(DataDir::open(dir.path(), stamp(1, 2)), Err(StampError::InUse(_))));
        drop(open);
        DataDir::open(dir.path(), stamp(1, 2)).unwrap();
    }

    #[test]
    fn a_damaged_stamp_is_no_stamp_at_all() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), stamp(1, 2)).unwrap());
        let path = dir.path().join(STAMP);
        let whole = fs::read(&path).unwrap();
        let mut damages: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
        damages.extend((0..whole.len()).map(|at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            flipped
        }));
        damages.push([&whole[..], b"more"].concat());
        for damaged in damages {
            fs::write(&path, &damaged).unwrap();
            let opened = DataDir::open(dir.path(), stamp(1, 2));
            assert!(matches!(opened, Err(StampError::Unreadable(_))), "{damaged:?}");
        }
    }

    #[test]
    fn the_stamp_is_golden_and_a_newer_one_is_refused_by_its_number() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for (format, phase) in
            [1, FORMAT].into_iter().flat_map(|format| Phase::ALL.map(|phase| (format, phase)))
        {
            let name = format!("stamp-{format}-{}", phase.word());
            synod_golden::holds_file(golden.join(&name), &encode(stamp(1, 2), phase, format));
            let kept = fs::read(golden.join(&name)).unwrap();
            let Some(Found::Stamp(found, then, written)) = decode(&kept) else {
                panic!("{name} is not read")
            };
            assert_eq!((found, then, written), (stamp(1, 2), phase, format));
        }
        let dir = tempfile::tempdir().unwrap();
        let newer = sealed("synod data directory, format 7\nwhatever comes then\n");
        fs::write(dir.path().join(STAMP), newer).unwrap();
        let text = error(dir.path(), stamp(1, 2));
        assert!(
            text.contains("has format 7, and this program reads formats up to 2: install a newer"),
            "{text}"
        );
    }

    #[test]
    fn an_older_format_is_read_and_is_this_ones_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STAMP), encode(stamp(1, 2), Phase::Creating, 1)).unwrap();
        drop(DataDir::open(dir.path(), stamp(1, 2)).unwrap());
        let now = fs::read(dir.path().join(STAMP)).unwrap();
        assert_eq!(now, encode(stamp(1, 2), Phase::Creating, FORMAT));
    }

    #[test]
    fn data_without_a_stamp_is_refused_and_a_first_start_cut_short_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), "").unwrap();
        fs::write(dir.path().join(STAMP_NEW), "to").unwrap();
        drop(DataDir::open(dir.path(), stamp(1, 2)).unwrap());

        fs::create_dir(dir.path().join(LOG)).unwrap();
        fs::write(dir.path().join(LOG).join("conf"), "to").unwrap();
        let open = DataDir::open(dir.path(), stamp(1, 2)).unwrap();
        open.clear_unfinished_log().unwrap();
        open.clear_unfinished_log().unwrap();
        assert!(!dir.path().join(LOG).exists());
        drop(open);
        fs::create_dir(dir.path().join(LOG)).unwrap();
        fs::remove_file(dir.path().join(STAMP)).unwrap();
        assert!(matches!(DataDir::open(dir.path(), stamp(1, 2)), Err(StampError::Missing { .. })));
    }

    #[test]
    fn a_lost_log_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut open = DataDir::open(dir.path(), stamp(1, 2)).unwrap();
        open.log_was_created().unwrap();
        drop(open);
        assert!(matches!(DataDir::open(dir.path(), stamp(1, 2)), Err(StampError::LogLost(_))));
    }
}
