//! The handle on the journal: opening, appending, reading, closing.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;
use std::{fs, io};

use synod_types::{AppNdx, Ballot, Decree, Record, Recovered, Slot};

use crate::head::Head;
use crate::pace::SyncPace;
use crate::queue::{Append, Done, Queue, Read, Reply, Verify, VerifyReply};
use crate::rebuilding;
use crate::record;
use crate::recovery::{self, ReadError, RecoveryError};
use crate::sled_store::SledStore;
use crate::stamp::{DataDir, Stamp, StampError};
use crate::store::{Store, StoreError};
use crate::tally::Tallies;
use crate::watch::{Patience, Watch};
use crate::writer::Writer;

/// Why the journal is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory is not this node's, or not free.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// The log cannot be opened.
    #[error(
        "cannot open the log {}: {source}; where its files are damaged, replace the node by a new one (synod member replace): \
         this one must not forget what it promised",
        .path.display()
    )]
    Log {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: StoreError,
    },
    /// Where it stands how far the log has come.
    #[error("cannot open {}: {source}", .path.display())]
    Head {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A group cannot be recovered.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The operating system gives no thread.
    #[error("cannot start the journal's threads: {0}")]
    Thread(#[source] io::Error),
}

/// Why the journal has stopped for good. The node must stop as well: it can promise nothing any more. Everything that
/// was reported as durable is.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A record could not be written.
    #[error("cannot write the journal: {0}; this node stops; see to its disk, then start it again")]
    Write(#[source] StoreError),
    /// What was written could not be made durable.
    #[error("cannot make the journal durable: {0}; this node stops; see to its disk, then start it again")]
    Sync(#[source] StoreError),
    /// The disk does not answer.
    #[error(
        "the journal's disk has not answered for {seconds} s; this node stops; see to its disk, then start it again"
    )]
    Stalled {
        /// For how long.
        seconds: u64,
    },
    /// The writer panicked: a fault of the program, or of files that make no sense to the store.
    #[error("the journal's writer panicked: {0}; this node stops; report this, with the log")]
    Panicked(String),
}

/// The durable log. Clones share one writer; the last one to be dropped closes it.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
    writer: ThreadId,
    /// Where the log is, if it is on disk.
    log: Option<PathBuf>,
    pace: Arc<SyncPace>,
}

impl Journal {
    /// Opens the journal in the data directory `dir`, which is made where it is missing, and reads what it holds of
    /// `apps`. `on_fatal` is called at most once, by a thread of the journal, if it stops before it is closed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        dir: &Path,
        stamp: Stamp,
        apps: &[AppNdx],
        on_fatal: impl FnOnce(JournalError) + Send + 'static,
    ) -> Result<(Journal, BTreeMap<AppNdx, Recovered>), OpenError> {
        let mut data_dir = DataDir::open(dir, stamp)?;
        data_dir.clear_unfinished_log()?;
        data_dir.clear_unfinished_copy()?;
        let path = data_dir.log();
        let store = SledStore::open(&path).map_err(|source| OpenError::Log { path, source })?;
        data_dir.log_was_created()?;
        Journal::start(Box::new(store), Some(data_dir), apps, Box::new(on_fatal), Patience::DEFAULT)
    }

    /// A journal on another store: for tests, and to measure what the disk costs.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn on_store(
        store: Box<dyn Store>,
        apps: &[AppNdx],
        on_fatal: impl FnOnce(JournalError) + Send + 'static,
    ) -> Result<(Journal, BTreeMap<AppNdx, Recovered>), OpenError> {
        Journal::start(store, None, apps, Box::new(on_fatal), Patience::DEFAULT)
    }

    fn start(
        mut store: Box<dyn Store>,
        mut data_dir: Option<DataDir>,
        apps: &[AppNdx],
        on_fatal: OnFatal,
        patience: Patience,
    ) -> Result<(Journal, BTreeMap<AppNdx, Recovered>), OpenError> {
        let (mut recovered, mut tallies) = read_back(&mut *store, apps)?;
        if let Some(data_dir) = data_dir.as_mut().filter(|_| store.is_corrupt()) {
            let path = data_dir.log();
            let rebuilt = rebuilding::rebuild(store, data_dir, apps);
            store = rebuilt.map_err(|source| OpenError::Log { path, source })?;
            (recovered, tallies) = read_back(&mut *store, apps)?;
        }
        let head = data_dir.as_ref().map(|dir| open_head(dir, &tallies)).transpose()?;
        let trimming = recovered.iter().filter(|(_, found)| found.cut > Slot(0));
        let trimming = trimming.map(|(&app, found)| (app, found.cut)).collect();
        let queue = Arc::new(Queue::default());
        let watch = Arc::new(Watch::default());
        let pace = Arc::new(SyncPace::default());
        let fatal = Arc::new(Fatal { queue: queue.clone(), on_fatal: Mutex::new(Some(on_fatal)) });
        let log = data_dir.as_ref().map(DataDir::log);
        let writer = Writer {
            store,
            tallies,
            head,
            data_dir,
            apps: apps.to_vec(),
            queue: queue.clone(),
            watch: watch.clone(),
            pace: pace.clone(),
            fatal: fatal.clone(),
            trimming,
        };
        // The watch goes first: if there is no thread for the writer, it ends with the watch's last owner below.
        let watching = watch.clone();
        let watcher = thread::Builder::new().name("journal-watch".to_owned()).spawn(move || {
            if watching.is_stalled(patience) {
                fatal.raise(JournalError::Stalled { seconds: patience.total().as_secs() });
            }
        });
        watcher.map_err(OpenError::Thread)?;
        let writer = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run());
        let writer = writer.map_err(|error| {
            watch.end();
            OpenError::Thread(error)
        })?;
        Ok((Journal(Arc::new(Handle { queue, writer: writer.thread().id(), log, pace })), recovered))
    }

    /// Queues `records`, and calls `done` when they are durable: all or none of them, and after every earlier append.
    /// A [`Record::Chosen`] is a hint: it is written with the others and synced with the next ones; records that only
    /// hint cost no sync. Beside a [`Record::Promised`] it is a fact like others. When a [`Record::Cut`] is durable, what it cuts off is removed, little by little.
    ///
    /// Returns at once as long as less than [`JOURNAL_QUEUE_BYTES_MAX`](synod_types::limits::JOURNAL_QUEUE_BYTES_MAX)
    /// waits for the disk, and waits for the disk otherwise; [`Journal::waiting_bytes`] tells beforehand. Not to be
    /// called from a `done` or a reply, which the writer runs. Once the journal was closed or has stopped, `done` is
    /// dropped without being called.
    pub fn append(&self, records: Vec<Record>, done: Done) {
        let promises = records.iter().any(|record| matches!(record, Record::Promised { .. }));
        let (hints, facts): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|record| !promises && matches!(record, Record::Chosen { .. }));
        let cuts = facts.iter().filter_map(|record| match record {
            Record::Cut { app, slot } => Some((*app, *slot)),
            _ => None,
        });
        let cuts = cuts.collect();
        let encode = |records: Vec<&Record>| records.into_iter().flat_map(record::encode).collect();
        self.0.queue.append(Append { entries: encode(facts), hints: encode(hints), cuts, done });
    }

    /// Bytes of records that are not durable yet.
    pub fn waiting_bytes(&self) -> usize {
        self.0.queue.bytes()
    }

    /// How long a sync takes now: on average, or the one that is under way, if it has taken longer already.
    pub fn sync_time(&self) -> Duration {
        self.0.pace.now()
    }

    /// Bytes of all files of the log; what vanishes meanwhile does not count.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0.log.as_deref().map_or(0, bytes_below)
    }

    /// Reads decrees from slot `from` up to `up_to`, in order, behind every earlier append (durable or not), and gives
    /// them to `reply`, which the writer runs. Stops before a hole, before a damaged record, and before the decree with
    /// which they would be more than `bytes_max` bytes; the first one comes whatever its size. A damaged record is
    /// [`ReadError::Damaged`] when it is the first.
    pub fn read(&self, app: AppNdx, from: Slot, up_to: Slot, bytes_max: usize, reply: Reply) {
        self.0.queue.read(Read { app, from, up_to, bytes_max, reply });
    }

    /// Reads the next stretch of an application's log from slot `from` on, all that is in it, and gives `reply` what cannot be
    /// read; see [`recovery::verify`]. `reply` is run by the writer.
    pub fn verify(&self, app: AppNdx, from: Slot, chosen: Slot, bytes_max: u64, reply: VerifyReply) {
        self.0.queue.verify(Verify { app, from, chosen, bytes_max, reply });
    }

    /// [`Journal::read`], waiting for the answer: for replay at the start. Not to be called from a `done` or a reply.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_blocking(
        &self,
        app: AppNdx,
        from: Slot,
        up_to: Slot,
        bytes_max: usize,
    ) -> Result<Vec<(Slot, Ballot, Decree)>, ReadError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let reply = move |result| {
            // Who asked waits below, unless its thread is gone.
            let _ = sender.send(result);
        };
        self.read(app, from, up_to, bytes_max, Box::new(reply));
        receiver.recv().unwrap_or(Err(ReadError::Stopped))
    }

    /// Takes in nothing more, makes everything durable that was appended, and returns when the data directory is free
    /// again; after an error, returns when the journal has given up.
    pub fn close(&self) {
        self.0.close();
    }
}

/// What the store holds. The store asserts over files that make no sense; here that is an error.
fn read_back(
    store: &mut dyn Store,
    apps: &[AppNdx],
) -> Result<(BTreeMap<AppNdx, Recovered>, Tallies), RecoveryError> {
    let read = || {
        let (mut recovered, mut tallies) = (BTreeMap::new(), BTreeMap::new());
        for &app in apps {
            let (found, tally) = recovery::recover(store, app)?;
            recovered.insert(app, found);
            tallies.insert(app, tally);
        }
        Ok((recovered, Tallies::new(tallies)))
    };
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(StoreError::Broken("sled panicked while it read its files".to_owned()).into())
    })
}

/// Holds the log against how far it had come.
fn open_head(dir: &DataDir, tallies: &Tallies) -> Result<Head, OpenError> {
    let path = dir.head();
    let io = |source| OpenError::Head { path: path.clone(), source };
    let mut head = Head::open(&path).map_err(io)?;
    if head.is_empty() && tallies.numbers().any(|(_, number)| number > 0) {
        tracing::warn!(file = %path.display(), "it is not known any more how far the log had come: whether its end is there was not verified");
    }
    for (app, found) in tallies.numbers() {
        let expected = head.number(app);
        if found < expected {
            return Err(RecoveryError::LostEnd { app, found, expected }.into());
        }
    }
    head.make_durable().map_err(io)?;
    dir.sync()?;
    Ok(head)
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes_below(&entry.path()),
        Ok(file) => file.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

impl Handle {
    fn close(&self) {
        self.queue.close();
        // The last handle may go with a `done`, on the writer itself, which ends by itself then.
        if thread::current().id() != self.writer {
            self.queue.wait_for_end();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

type OnFatal = Box<dyn FnOnce(JournalError) + Send>;

/// Stops the journal for good, once.
pub(crate) struct Fatal {
    queue: Arc<Queue>,
    on_fatal: Mutex<Option<OnFatal>>,
}

impl Fatal {
    /// Drops what waits, and tells the node.
    pub(crate) fn raise(&self, error: JournalError) {
        let on_fatal = self.on_fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.queue.end();
        if let Some(on_fatal) = on_fatal {
            tracing::error!(%error, "the journal has stopped");
            on_fatal(error);
        }
    }
}

#[cfg(test)]
mod tests;
