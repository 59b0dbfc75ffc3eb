//! The one thread that writes. It takes all that queued while it synced, writes it in order, syncs once, and only then
//! says so, in order.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use synod_types::{AppNdx, Slot};

use crate::head::Head;
use crate::journal::{Fatal, JournalError};
use crate::memory_store::MemoryStore;
use crate::pace::SyncPace;
use crate::queue::{Queue, Read, Verify, Work};
use crate::rebuilding;
use crate::record::{self, Entry};
use crate::recovery::{self, ReadError};
use crate::stamp::DataDir;
use crate::store::Store;
use crate::tally::Tallies;
use crate::watch::Watch;

/// Entries that are removed along with one commit.
const TRIM_ENTRIES_MAX: usize = 128;

/// Owns the store.
pub struct Writer {
    /// Where everything goes.
    pub store: Box<dyn Store>,
    /// What the log holds.
    pub tallies: Tallies,
    /// Where it is written down how far it has come.
    pub head: Option<Head>,
    /// The lock on the data directory, if there is one: given back behind the store.
    pub data_dir: Option<DataDir>,
    /// Where work comes from.
    pub queue: Arc<Queue>,
    /// Who sees to it that each call of the store ends.
    pub watch: Arc<Watch>,
    /// How long its syncs take.
    pub pace: Arc<SyncPace>,
    /// Whom to tell when it is over before its time.
    pub fatal: Arc<Fatal>,
    /// The applications that were opened.
    pub apps: Vec<AppNdx>,
    /// Logs of which something may be left that was cut off: up to where.
    pub trimming: BTreeMap<AppNdx, Slot>,
}

impl Writer {
    /// Works until the queue is closed and empty, or until the first error.
    pub fn run(self) {
        let (queue, watch, fatal) = (self.queue.clone(), self.watch.clone(), self.fatal.clone());
        // After an error the store is left as it is: its drop would write and sync once more.
        let mut writer = ManuallyDrop::new(self);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            writer.work()?;
            if !writer.queue.has_ended() {
                drop(ManuallyDrop::into_inner(writer));
            }
            Ok(())
        }));
        watch.end();
        match outcome {
            Ok(Ok(())) => {
                queue.end();
            }
            Ok(Err(error)) => fatal.raise(error),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
                fatal.raise(JournalError::Panicked(text.to_owned()));
            }
        }
    }

    fn work(&mut self) -> Result<(), JournalError> {
        while let Some(works) = self.next() {
            self.commit(works)?;
        }
        if self.queue.has_ended() { Ok(()) } else { self.make_durable() }
    }

    fn next(&self) -> Option<Vec<Work>> {
        if self.trimming.is_empty() { self.queue.take() } else { self.queue.take_now() }
    }

    /// Removes some of what was cut off. Says whether anything was removed.
    fn trim(&mut self) -> Result<bool, JournalError> {
        let Some(log) = self.trimming.first_entry() else { return Ok(false) };
        let (from, before) = record::accepted_through(*log.key(), *log.get());
        let removed = self.watch.observe(|| self.store.truncate(&from, &before, TRIM_ENTRIES_MAX));
        let is_removed = removed.map_err(JournalError::Write)? > 0;
        if !is_removed {
            log.remove();
        }
        Ok(is_removed)
    }

    fn commit(&mut self, works: Vec<Work>) -> Result<(), JournalError> {
        let mut dones = Vec::new();
        let mut bytes = 0;
        let mut is_to_sync = false;
        // A later hint of an application makes the earlier ones superfluous.
        let mut hints = BTreeMap::new();
        let mut cuts = Vec::new();
        for work in works {
            match work {
                Work::Append(append) => {
                    bytes += append.bytes();
                    if !append.entries.is_empty() {
                        is_to_sync = true;
                        // A fact is newer than a hint that waits for its place.
                        append.entries.iter().for_each(|entry| drop(hints.remove(&entry.key)));
                        self.write(append.entries)?;
                    }
                    cuts.extend(append.cuts);
                    hints.extend(append.hints.into_iter().map(|hint| (hint.key, hint.value)));
                    dones.push(append.done);
                }
                Work::Read(read) => self.read(read),
                Work::Verify(verify) => self.verify(verify),
            }
            self.rebuild_if_corrupt()?;
        }
        // A hint comes after what it is about, by itself: it needs no company in the log, only to be no earlier.
        for (key, value) in hints {
            self.write(vec![Entry { key, value }])?;
        }
        is_to_sync |= self.trim()?;
        if is_to_sync {
            let pace = Arc::clone(&self.pace);
            let (synced, took) = pace.measure(|| self.make_durable());
            synced?;
            metrics::histogram!("synod_journal_sync_seconds").record(took);
        }
        self.trimming.extend(cuts);
        // It may have been given up meanwhile, as stalled.
        if !self.queue.has_ended() {
            for done in dones {
                done();
            }
            self.queue.release(bytes);
        }
        Ok(())
    }

    fn write(&mut self, mut entries: Vec<Entry>) -> Result<(), JournalError> {
        self.tallies.seal(&mut entries);
        self.watch.observe(|| self.store.append(entries)).map_err(JournalError::Write)
    }

    fn make_durable(&mut self) -> Result<(), JournalError> {
        self.watch.observe(|| self.store.make_durable()).map_err(JournalError::Sync)?;
        let Some(head) = &mut self.head else { return Ok(()) };
        let written = self.watch.observe(|| head.write(self.tallies.numbers()));
        written.map_err(|why| JournalError::Write(why.into()))
    }

    fn read(&mut self, read: Read) {
        let Read { app, from, up_to, bytes_max, reply } = read;
        reply(self.watch.observe(|| recovery::read(&mut *self.store, app, from, up_to, bytes_max)));
    }

    fn verify(&mut self, verify: Verify) {
        let Verify { app, from, chosen, bytes_max, reply } = verify;
        let verified =
            self.watch.observe(|| recovery::verify(&mut *self.store, app, from, chosen, bytes_max));
        reply(verified.map_err(ReadError::Store));
    }

    /// Makes the log anew where it was found that a part of it takes no entries any more, before one has to go there. That
    /// takes as long as it takes, and is not watched.
    fn rebuild_if_corrupt(&mut self) -> Result<(), JournalError> {
        let Some(data_dir) = self.data_dir.as_mut().filter(|_| self.store.is_corrupt()) else {
            return Ok(());
        };
        let store = std::mem::replace(&mut self.store, Box::new(MemoryStore::new()));
        self.store = rebuilding::rebuild(store, data_dir, &self.apps).map_err(JournalError::Write)?;
        Ok(())
    }
}
