//! Where the disk can fail on purpose: each call of the operating system or of sled that opens, reads, writes, renames or syncs
//! has a point of its own in front of it.
//!
//! Without the feature `failpoints`, which nothing enables but who asks for it, there is only the list of their names, and
//! [`reach`] is nothing. With it, the environment variable `FAILPOINTS` says what happens where, in the words of the crate
//! `fail`: `journal::sync=37*off->return` lets 37 syncs pass, and fails the next ones;
//! `journal::sync=40*sleep(120)->off` makes 40 of them take 120 ms more. What a file says for which [`FILE`] gives the path
//! is in force as soon as it is there, and as long.

use std::fs::File;
use std::io;
use std::path::Path;

/// The environment variable with the path of a file that says the same as `FAILPOINTS`, and may be replaced at any time.
pub const FILE: &str = "FAILPOINTS_FILE";

/// When a point is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// When a data directory is made.
    Founding,
    /// When the journal is opened; `get` and those of bulk also when something is read later.
    Opening,
    /// While it works; most of them also when it is opened.
    Working,
    /// Only where a crash or a page of unusual size left files behind.
    Rare,
    /// Only when entries are removed.
    Removing,
    /// When somebody looks into the log of a node that does not run.
    Looking,
}

macro_rules! points {
    ($($stage:ident { $($point:ident $name:literal,)+ })+) => {
        /// A place where the disk can fail.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[expect(missing_docs, reason = "their names say it")]
        pub enum Point { $($($point,)+)+ }

        impl Point {
            /// All there are.
            pub const ALL: &[Point] = &[$($(Point::$point,)+)+];

            /// What `FAILPOINTS` calls it.
            pub fn name(self) -> &'static str {
                match self { $($(Point::$point => concat!("journal::", $name),)+)+ }
            }

            /// When it is reached.
            pub fn stage(self) -> Stage {
                match self { $($(Point::$point)|+ => Stage::$stage,)+ }
            }
        }
    };
}

points! {
    Founding {
        DirList "dir-list",
        ParentFind "parent-find",
        ParentOpen "parent-open",
        ParentSync "parent-sync",
        StampCreate "stamp-create",
        StampWrite "stamp-write",
        StampSync "stamp-sync",
        StampRename "stamp-rename",
        DirOpen "dir-open",
        DirSync "dir-sync",
        LogClear "log-clear",
    }
    Opening {
        DirCreate "dir-create",
        LockOpen "lock-open",
        Lock "lock",
        StampRead "stamp-read",
        LogFind "log-find",
        CopyClear "copy-clear",
        LogDirCreate "log-dir-create",
        ReleaseOpen "release-open",
        ReleaseLock "release-lock",
        ReleaseUnlock "release-unlock",
        SnapshotsList "snapshots-list",
        SledOpen "sled-open",
        LogOpen "log-open",
        HeadOpen "head-open",
        HeadRead "head-read",
        HeadSync "head-sync",
        ConfOpen "conf-open",
        ConfSync "conf-sync",
        LogSync "log-sync",
        LogDirOpen "log-dir-open",
        LogDirSync "log-dir-sync",
        BulkDirCreate "bulk-dir-create",
        BulkList "bulk-list",
        BulkOpen "bulk-open",
        BulkRead "bulk-read",
        Scan "scan",
        Get "get",
    }
    Working {
        HeadWrite "head-write",
        AheadLength "ahead-length",
        AheadRead "ahead-read",
        AheadWrite "ahead-write",
        BulkCreate "bulk-create",
        BulkWrite "bulk-write",
        BulkSync "bulk-sync",
        BulkDirOpen "bulk-dir-open",
        BulkDirSync "bulk-dir-sync",
        Insert "insert",
        Batch "batch",
        Flush "flush",
        BlobsList "blobs-list",
        Sync "sync",
    }
    Rare {
        SnapshotRemove "snapshot-remove",
        BlobOpen "blob-open",
        BlobSync "blob-sync",
        BlobDirOpen "blob-dir-open",
        BlobDirSync "blob-dir-sync",
        MoveFind "move-find",
        MoveClear "move-clear",
        MoveAside "move-aside",
        MoveIn "move-in",
    }
    Removing {
        RemoveScan "remove-scan",
        Remove "remove",
        BulkRemove "bulk-remove",
    }
    Looking {
        LookStampRead "look-stamp-read",
        LookLogFind "look-log-find",
        LookLockOpen "look-lock-open",
        LookLock "look-lock",
        CopyDirCreate "copy-dir-create",
        CopyList "copy-list",
        CopyKind "copy-kind",
        CopyFile "copy-file",
    }
}

/// What an error says that was made here.
pub fn text(point: Point) -> String {
    format!("failpoint {}", point.name())
}

/// Makes a file or a directory durable, and passes the one point to open it and the other one to sync it.
pub(crate) fn sync_path(path: &Path, [open, sync]: [Point; 2]) -> io::Result<()> {
    reach(open)?;
    let file = File::open(path)?;
    reach(sync)?;
    file.sync_all()
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reach(_point: Point) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use enabled::*;

#[cfg(feature = "failpoints")]
mod enabled {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use std::{env, fs, mem, thread};

    use fail::FailScenario;

    use super::*;

    /// How often the file is looked at.
    const LOOK_AGAIN: Duration = Duration::from_millis(5);

    static REACHED: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];
    static FAILED: AtomicU64 = AtomicU64::new(0);

    /// Passes the point, sooner or later, or fails there.
    #[expect(clippy::as_conversions, reason = "a variant's place among all of them")]
    pub(crate) fn reach(point: Point) -> io::Result<()> {
        REACHED[point as usize].fetch_add(1, Ordering::SeqCst);
        fail::fail_point!(point.name(), |_| {
            FAILED.fetch_add(1, Ordering::SeqCst);
            tracing::error!("{} fails on purpose", text(point));
            Err(io::Error::other(text(point)))
        });
        Ok(())
    }

    /// How often this process has reached a point.
    #[expect(clippy::as_conversions, reason = "a variant's place among all of them")]
    pub fn reached(point: Point) -> u64 {
        REACHED[point as usize].load(Ordering::SeqCst)
    }

    /// How often any of them has failed in this process.
    pub fn failed() -> u64 {
        FAILED.load(Ordering::SeqCst)
    }

    /// Does what the environment says, for as long as this process lives.
    ///
    /// # Panics
    /// If it is nothing that can be done.
    pub fn obey_environment() {
        // Dropped, it would forget all.
        mem::forget(FailScenario::setup());
        let Some(path) = env::var_os(FILE).map(PathBuf::from) else { return };
        let mut said = String::new();
        obey(&path, &mut said);
        let follow = move || loop {
            thread::sleep(LOOK_AGAIN);
            obey(&path, &mut said);
        };
        thread::Builder::new().name("failpoints".to_owned()).spawn(follow).expect("there is a thread");
    }

    /// Does what the file says, if that is something else than before; of a file that is not there, nothing.
    fn obey(path: &PathBuf, said: &mut String) {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text == *said {
            return;
        }
        for (name, _) in fail::list() {
            fail::remove(name);
        }
        for (name, actions) in text.trim().split(';').filter_map(|point| point.split_once('=')) {
            fail::cfg(name.trim(), actions).unwrap_or_else(|why| panic!("{name}={actions}: {why}"));
        }
        *said = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
