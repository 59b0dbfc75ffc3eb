//! Writing an archive: one node, one directory, a segment after the other.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_types::limits::CONTENT_DISK_RESERVE_BYTES;
use synod_types::{AppNdx, ClusterId, Decree, Slot};
use tracing::error;

use crate::folder::{self, DAMAGED, NEW, Named};
use crate::segment::{Pages, SegmentError, Writing};

/// Bytes of pages after which a segment ends: what is read at a time, and what is written again after an error.
const SEGMENT_BYTES: usize = 64 << 20;

/// Why an archive does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another node of this one, writes to it.
    #[error("the archive {} is in use: each node has one of its own; see archive.dir", .0.display())]
    InUse(PathBuf),
    /// It is another cluster's.
    #[error("the archive {} is of cluster {found}, and this node is of cluster {expected}; see archive.dir", dir.display())]
    OtherCluster {
        /// The archive.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// A segment cannot be read, which says nothing of what is in it.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The operating system refused.
    #[error("cannot open the archive {}: {source}", dir.display())]
    Io {
        /// The archive.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why not everything was archived. What was until then is durable, and counts.
#[derive(Debug, thiserror::Error)]
pub enum AppendError<E> {
    /// What is to be archived cannot be read.
    #[error("slot {slot} cannot be read: {why}")]
    Read {
        /// The first slot that cannot.
        slot: Slot,
        /// Why not.
        why: E,
    },
    /// The disk has no room for it.
    #[error("the disk of {} has {free} bytes free, of which {reserve} are left to others", dir.display())]
    Full {
        /// The archive.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes of these that the archive does not use.
        reserve: u64,
    },
    /// The disk refused.
    #[error("cannot write to {}: {source}", dir.display())]
    Io {
        /// The archive.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was closed.
    #[error("the archive is closed")]
    Closed,
}

/// What is archived of an application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// The last slot; 0: none is.
    pub last: Slot,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// The archive of one node. Every call may be made from any thread, and waits for the disk.
pub struct Archive {
    dir: PathBuf,
    cluster: ClusterId,
    reserve_bytes: u64,
    state: Mutex<State>,
}

struct State {
    /// `None`: closed.
    lock: Option<File>,
    held: BTreeMap<AppNdx, Held>,
}

impl Archive {
    /// Opens the archive in `dir`, which is made where it is missing. Removes what was not finished, and renames the last segment
    /// of an application if it is damaged: what is in it is then archived again, if the log still has it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, cluster: ClusterId) -> Result<Archive, OpenError> {
        Archive::open_with(dir, cluster, CONTENT_DISK_RESERVE_BYTES)
    }

    /// The same, leaving so many bytes of the disk free.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(dir: &Path, cluster: ClusterId, reserve_bytes: u64) -> Result<Archive, OpenError> {
        let io = |source| OpenError::Io { dir: dir.to_owned(), source };
        create_dir(dir).map_err(io)?;
        let lock = File::create(dir.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => OpenError::InUse(dir.to_owned()),
            TryLockError::Error(why) => io(why),
        })?;
        let mut held = BTreeMap::new();
        for app in folder::apps(dir).map_err(io)? {
            remove_unfinished(&folder::of_app(dir, app)).map_err(io)?;
            held.insert(app, look(dir, cluster, app)?);
        }
        let state = Mutex::new(State { lock: Some(lock), held });
        Ok(Archive { dir: dir.to_owned(), cluster, reserve_bytes, state })
    }

    /// What is archived of an application. Waits for who appends.
    pub fn held(&self, app: AppNdx) -> Held {
        self.state().held.get(&app).copied().unwrap_or_default()
    }

    /// Archives the slots of `app` from `from` up to `up_to`, durably. `read` gives the decrees of the next slots from the one
    /// on that it is told, one at least.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append<E>(
        &self,
        app: AppNdx,
        from: Slot,
        up_to: Slot,
        mut read: impl FnMut(Slot) -> Result<Vec<(Slot, Decree)>, E>,
    ) -> Result<(), AppendError<E>> {
        let mut state = self.state();
        if state.lock.is_none() {
            return Err(AppendError::Closed);
        }
        let io = |source| AppendError::Io { dir: self.dir.clone(), source };
        create_dir(&folder::of_app(&self.dir, app)).map_err(io)?;
        let mut next = from;
        while next <= up_to {
            self.check_room()?;
            let mut segment = Writing::begin(&self.dir, self.cluster, app, next).map_err(io)?;
            let mut unread = None;
            while next <= up_to && segment.bytes < SEGMENT_BYTES && unread.is_none() {
                match read(next) {
                    Ok(mut decrees) => {
                        decrees.retain(|(slot, _)| *slot <= up_to);
                        let last = decrees.last().expect("one decree at least was asked for").0;
                        segment.put(decrees).map_err(io)?;
                        next = last.next();
                    }
                    Err(why) => unread = Some(AppendError::Read { slot: next, why }),
                }
            }
            if let Some((last, bytes)) = segment.finish().map_err(io)? {
                let held = state.held.entry(app).or_default();
                held.last = held.last.max(last);
                held.bytes += bytes;
            }
            if let Some(unread) = unread {
                return Err(unread);
            }
        }
        Ok(())
    }

    /// Gives the directory back, once nobody appends any more.
    pub fn close(&self) {
        self.state().lock = None;
    }

    fn check_room<E>(&self) -> Result<(), AppendError<E>> {
        let room = rustix::fs::statvfs(&self.dir)
            .map_err(|why| AppendError::Io { dir: self.dir.clone(), source: why.into() })?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let segment = u64::try_from(SEGMENT_BYTES).expect("it is small");
        if free < self.reserve_bytes.saturating_add(segment) {
            return Err(AppendError::Full { dir: self.dir.clone(), free, reserve: self.reserve_bytes });
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left no segment behind that is not whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a directory, and its name durable.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == NEW) {
            fs::remove_file(&path)?;
        }
    }
    // A segment may have got its name without this being durable.
    File::open(folder)?.sync_all()
}

/// What is there of an application. Its last segment is verified, since all that follows goes on behind it.
fn look(dir: &Path, cluster: ClusterId, app: AppNdx) -> Result<Held, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    let mut segments = folder::list(dir, app).map_err(io)?;
    segments.sort_by_key(|named| named.last);
    while let Some(named) = segments.last() {
        match first_cluster(named, app) {
            Ok(found) if found != cluster => {
                return Err(OpenError::OtherCluster { dir: dir.to_owned(), found, expected: cluster });
            }
            Ok(_) => break,
            Err(why @ SegmentError::Io { .. }) => return Err(why.into()),
            Err(why @ SegmentError::Damaged { .. }) => {
                let aside = PathBuf::from(format!("{}.{DAMAGED}", named.path.display()));
                fs::rename(&named.path, &aside).map_err(io)?;
                error!(%app, %why, aside = %aside.display(), "the last segment of the archive is damaged; what the log still \
                    has of it is archived again");
                segments.pop();
            }
        }
    }
    let mut held = Held { last: segments.last().map_or(Slot(0), |named| named.last), bytes: 0 };
    for named in &segments {
        held.bytes += named.path.metadata().map_err(io)?.len();
    }
    Ok(held)
}

fn first_cluster(named: &Named, app: AppNdx) -> Result<ClusterId, SegmentError> {
    let page = Pages::open(named, app)?.next()?;
    let nothing = || SegmentError::Damaged {
        path: named.path.clone(),
        slot: named.first,
        why: "there is nothing in it".to_owned(),
    };
    page.map(|page| page.cluster).ok_or_else(nothing)
}

#[cfg(test)]
mod tests;
