//! Entries on disk, in sled 0.34. What it takes to get from sled what it does not promise by itself:
//!
//! - **Durability.** `flush()` ends in `sync_file_range`, which neither empties the disk's cache nor writes metadata.
//!   So: the background flush is off, [`SledStore::make_durable`] flushes and then calls `sync_data` on a handle of its
//!   own on sled's file, and only then returns.
//! - **Blobs.** A message larger than a quarter of a segment goes into a file of its own under `blobs/`, which sled never
//!   syncs. A leaf of the tree holds at most 17 values, 20 for a moment after a merge; with parts of
//!   [`PART_BYTES`](crate::record::PART_BYTES) the largest page stays below that quarter. `make_durable` looks all the
//!   same, and syncs what it finds.
//! - **Pages.** A value is written anew with its page, some five times. So what comes in large writes lies in [`Bulk`], and sled
//!   has the places. That takes another sync in front of sled's, which small writes need not wait for.
//! - **Creation.** sled syncs neither `conf` nor a directory: [`SledStore::open`] does.
//! - **A crash while opening** can leave a torn `snap.*.generating`, which sled would take for its newest snapshot and
//!   refuse to open forever. `open` removes it; sled renames it only when it is complete.
//! - **Damage.** A page that is not what was written gives none of its entries and takes no new ones, while all others do.
//!   [`SledStore`] remembers that it met one, and [`crate::rebuilding`] makes the log anew without it.
//! - **Panics.** sled asserts on files that make no sense. `open` turns that into an error.
//!
//! A single entry is written by `insert`: one message, whole by its own checksum. Several take `apply_batch`, which
//! costs a second write to the disk. Which entries share a batch is the caller's to say, and most appends have one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::bulk::{Bulk, Place};
use crate::failpoint::{Point, reach, sync_path};
use crate::record::Entry;
use crate::space_ahead;
use crate::store::{Store, StoreError};

/// Bytes of a segment of sled's log. Part of the format: sled refuses another size.
pub const SEGMENT_BYTES: usize = 2 << 20;
/// Bytes of pages that sled keeps in memory.
pub const CACHE_BYTES: u64 = 64 << 20;

/// Bytes of one append from which on its large values go to [`Bulk`].
const BULK_BYTES_MIN: usize = 32 << 10;

/// How often, and after which wait, a lock is tried that a closed database may still hold.
const RELEASE_TRIES: u32 = 400;
const RELEASE_WAIT: Duration = Duration::from_millis(5);

/// A sled database and a second handle on its file.
pub struct SledStore {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
    bulk: Bulk,
    /// Appends with values in bulk that are not durable, and all later ones: not to be in sled before they are.
    waiting: Vec<Vec<Entry>>,
    segment_bytes: u64,
    /// Whether a page could not be read.
    is_corrupt: bool,
    /// Whether sled has nothing of its own to write: true from a flush until the next call that may write, and even a
    /// read may split a page.
    settled: bool,
}

impl SledStore {
    /// Opens the database in `dir`, and creates it where there is none.
    ///
    /// # Errors
    /// [`StoreError`]; a database that another process has open is one.
    pub fn open(dir: &Path) -> Result<SledStore, StoreError> {
        SledStore::open_sized(dir, SEGMENT_BYTES)
    }

    fn open_sized(dir: &Path, segment_bytes: usize) -> Result<SledStore, StoreError> {
        reach(Point::LogDirCreate)?;
        fs::create_dir_all(dir)?;
        wait_for_release(&dir.join("db"))?;
        remove_unfinished_snapshots(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(CACHE_BYTES)
            .segment_size(segment_bytes)
            .flush_every_ms(None);
        reach(Point::SledOpen)?;
        let db = panic::catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| StoreError::Broken("sled panicked while it opened its files".to_owned()))??;
        reach(Point::LogOpen)?;
        let file = OpenOptions::new().read(true).write(true).open(dir.join("db"))?;
        let blobs = dir.join("blobs");
        let segment_bytes = u64::try_from(segment_bytes).expect("at most 16 MiB");
        let bulk = Bulk::open(dir.join("bulk"))?;
        let (waiting, is_corrupt, settled) = (Vec::new(), false, false);
        let mut store = SledStore { db, file, blobs, bulk, waiting, segment_bytes, is_corrupt, settled };
        panic::catch_unwind(AssertUnwindSafe(|| store.count_places()))
            .map_err(|_| StoreError::Broken("sled panicked while it read its files".to_owned()))?;
        store.sync()?;
        sync_path(&dir.join("conf"), [Point::ConfOpen, Point::ConfSync])?;
        reach(Point::LogSync)?;
        store.file.sync_all()?;
        for dir in [&store.blobs, store.bulk.dir(), dir, dir.parent().unwrap_or(dir)] {
            sync_path(dir, [Point::LogDirOpen, Point::LogDirSync])?;
        }
        Ok(store)
    }

    /// Finds out which files of bulk are needed.
    fn count_places(&mut self) {
        if self.bulk.is_empty() {
            return;
        }
        for entry in self.db.iter() {
            match entry {
                Ok((key, value)) => {
                    Place::decode(&key, &value).into_iter().for_each(|place| self.bulk.count(place));
                }
                Err(why) => {
                    // Who needs what is there will meet it, and have the log made anew.
                    tracing::warn!(%why, "a part of the log cannot be read; its large values stay until it is made anew");
                    return self.bulk.give_up_counting();
                }
            }
        }
    }

    /// Puts into sled what waited for its bulk to be durable.
    fn insert_waiting(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.bulk.sync()?;
        std::mem::take(&mut self.waiting).into_iter().try_for_each(|entries| self.insert(entries))
    }

    fn insert(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if std::mem::take(&mut self.settled) {
            space_ahead::extend(&self.file, self.segment_bytes)?;
        }
        if entries.len() == 1 {
            for Entry { key, value } in entries {
                reach(Point::Insert)?;
                let before = self.db.insert(&key, value)?;
                self.release(&key, before);
            }
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for Entry { key, value } in entries {
            if !self.bulk.is_empty() {
                match self.db.get(&key) {
                    Ok(before) => self.release(&key, before),
                    // That is for the batch to say, if it has to go there.
                    Err(sled::Error::Corruption { .. }) => {}
                    Err(why) => return Err(why.into()),
                }
            }
            batch.insert(key, value);
        }
        reach(Point::Batch)?;
        self.db.apply_batch(batch)?;
        Ok(())
    }

    /// This value is at this key no more.
    fn release(&mut self, key: &[u8], before: Option<sled::IVec>) {
        let place = before.and_then(|before| Place::decode(key, &before));
        place.into_iter().for_each(|place| self.bulk.release(place));
    }

    /// Why something could not be read.
    fn unread(&mut self, why: sled::Error) -> StoreError {
        let why = StoreError::from(why);
        self.is_corrupt |= matches!(why, StoreError::Corrupt(_));
        why
    }

    /// Makes durable what is in sled.
    fn sync(&mut self) -> Result<(), StoreError> {
        reach(Point::Flush)?;
        self.db.flush()?;
        self.sync_blobs()?;
        reach(Point::Sync)?;
        self.file.sync_data()?;
        self.settled = true;
        Ok(())
    }

    /// Makes every blob durable, and says how many there are. None, unless the sizes above are wrong; to be sure costs
    /// the reading of an empty directory.
    fn sync_blobs(&self) -> io::Result<usize> {
        let mut count = 0;
        reach(Point::BlobsList)?;
        for blob in fs::read_dir(&self.blobs)? {
            sync_path(&blob?.path(), [Point::BlobOpen, Point::BlobSync])?;
            count += 1;
        }
        if count > 0 {
            tracing::warn!(count, "the log has pages outside its file; each is synced by itself");
            sync_path(&self.blobs, [Point::BlobDirOpen, Point::BlobDirSync])?;
        }
        Ok(count)
    }
}

/// Waits, for a limited time, until sled's lock on its file is free. A database that was closed in this process is let
/// go by sled's own threads, a moment later; one that is open is for sled to refuse.
fn wait_for_release(db: &Path) -> io::Result<()> {
    for _ in 0..RELEASE_TRIES {
        let file = match reach(Point::ReleaseOpen).and_then(|()| File::open(db)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        reach(Point::ReleaseLock)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(RELEASE_WAIT),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {
                reach(Point::ReleaseUnlock)?;
                return file.unlock();
            }
        }
    }
    Ok(())
}

impl Store for SledStore {
    fn append(&mut self, mut entries: Vec<Entry>) -> Result<(), StoreError> {
        let is_large = entries.iter().map(Entry::len).sum::<usize>() >= BULK_BYTES_MIN;
        let is_in_bulk = is_large && self.bulk.take(&mut entries)?;
        if !is_in_bulk && self.waiting.is_empty() {
            return self.insert(entries);
        }
        self.waiting.push(entries);
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.insert_waiting()?;
        self.sync()?;
        // Not before somebody has found the log to be whole, and writes to it.
        Ok(self.bulk.remove_unused()?)
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.insert_waiting()?;
        self.settled = false;
        reach(Point::Get)?;
        let value = match self.db.get(key) {
            Ok(Some(value)) => value,
            Ok(None) => return Ok(None),
            Err(why) => return Err(self.unread(why)),
        };
        let Some(place) = Place::decode(key, &value) else { return Ok(Some(value.to_vec())) };
        // Of a place that leads nowhere nothing is left, and that is no record: it reads as a damaged one.
        Ok(Some(self.bulk.read(place)?.unwrap_or_default()))
    }

    fn scan_keys(
        &mut self,
        from: &[u8],
        before: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.insert_waiting()?;
        self.settled = false;
        reach(Point::Scan)?;
        for entry in self.db.range(from..before) {
            let key = match entry {
                Ok((key, _)) => key,
                Err(why) => return Err(self.unread(why)),
            };
            if visit(&key).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn is_corrupt(&self) -> bool {
        self.is_corrupt
    }

    fn truncate(&mut self, from: &[u8], before: &[u8], entries_max: usize) -> Result<usize, StoreError> {
        self.insert_waiting()?;
        self.settled = false;
        let mut count = 0;
        reach(Point::RemoveScan)?;
        for entry in self.db.range(from..before).take(entries_max) {
            reach(Point::Remove)?;
            let (key, _) = entry?;
            let before = self.db.remove(&key)?;
            self.release(&key, before);
            count += 1;
        }
        Ok(count)
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        match error {
            sled::Error::Io(error) => StoreError::Io(error),
            error @ sled::Error::Corruption { .. } => StoreError::Corrupt(error.to_string()),
            other => StoreError::Broken(other.to_string()),
        }
    }
}

fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    reach(Point::SnapshotsList)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            reach(Point::SnapshotRemove)?;
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::record::PART_BYTES;

    fn entry(ndx: u32, bytes: usize) -> Entry {
        let key = [&[3, 0, 0, 0, 7][..], &ndx.to_be_bytes()].concat();
        let value = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Entry { key, value }
    }

    fn blobs(dir: &Path) -> usize {
        fs::read_dir(dir.join("blobs")).unwrap().count()
    }

    #[test]
    fn no_page_of_full_parts_becomes_a_blob() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let full = PART_BYTES + 64;
        for ndx in 0..150 {
            store.append(vec![entry(ndx, full)]).unwrap();
            assert_eq!(blobs(dir.path()), 0);
        }
        for first in (150..400).step_by(50) {
            store.append((first..first + 50).map(|ndx| entry(ndx, full)).collect()).unwrap();
            assert_eq!(blobs(dir.path()), 0);
        }
        // Into the middle of full pages, then removals, which merge pages.
        for ndx in (0..400).rev() {
            store.append(vec![entry(ndx, full + 1)]).unwrap();
        }
        for ndx in (0..400).filter(|ndx| ndx % 9 != 0) {
            store.truncate(&entry(ndx, 0).key, &entry(ndx + 1, 0).key, 1).unwrap();
            store.read(&entry(ndx / 2, 0).key).unwrap();
            assert_eq!(blobs(dir.path()), 0);
        }
        store.make_durable().unwrap();
        assert_eq!(store.sync_blobs().unwrap(), 0);
    }

    #[test]
    fn a_blob_would_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open_sized(dir.path(), 64 << 10).unwrap();
        store.append(vec![entry(1, 20 << 10)]).unwrap();
        store.make_durable().unwrap();
        assert!(blobs(dir.path()) > 0);
        assert_eq!(store.sync_blobs().unwrap(), blobs(dir.path()));
    }

    /// The files in bulk.
    fn bulk(dir: &Path) -> BTreeSet<PathBuf> {
        fs::read_dir(dir.join("bulk")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// A large write with entries of so many bytes.
    fn large(from: u32, bytes: &[usize]) -> Vec<Entry> {
        (from..).zip(bytes).map(|(ndx, &bytes)| entry(ndx, bytes)).collect()
    }

    #[test]
    fn large_writes_are_read_as_they_were_in_order_with_small_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.append(vec![entry(1, PART_BYTES)]).unwrap();
        assert_eq!(bulk(dir.path()).len(), 0, "small as a whole");
        store.append((0..4000).map(|ndx| entry(10_000 + ndx, 20)).collect()).unwrap();
        assert_eq!(bulk(dir.path()).len(), 0, "each of them small");
        store.append(large(1, &[PART_BYTES, PART_BYTES, 100])).unwrap();
        assert_eq!(bulk(dir.path()).len(), 1);
        assert!(store.db.get(entry(2, 0).key).unwrap().is_none(), "a place before what is there is durable");
        store.append(vec![entry(2, 7)]).unwrap();
        let expected = [entry(1, PART_BYTES), entry(2, 7), entry(3, 100)];
        let check = |store: &mut SledStore| {
            for Entry { key, value } in &expected {
                assert_eq!(store.read(key).unwrap().as_ref(), Some(value));
            }
        };
        check(&mut store);
        store.make_durable().unwrap();
        drop(store);
        let mut store = SledStore::open(dir.path()).unwrap();
        check(&mut store);
        // A process never writes to what another one has left.
        store.append(large(4, &[PART_BYTES, PART_BYTES])).unwrap();
        assert_eq!(bulk(dir.path()).len(), 2);
        check(&mut store);
    }

    #[test]
    fn a_file_of_bulk_goes_when_nothing_is_left_in_it_and_the_store_is_durable_without() {
        let dir = tempfile::tempdir().unwrap();
        let four = [PART_BYTES; 4];
        let mut lives = Vec::new();
        for life in 0..3 {
            let mut store = SledStore::open(dir.path()).unwrap();
            store.append(large(4 * life, &four)).unwrap();
            store.make_durable().unwrap();
            lives.push(bulk(dir.path()));
        }
        let [_, two, all] = &lives[..] else { unreachable!() };
        let third: BTreeSet<PathBuf> = all.difference(two).cloned().collect();
        let mut store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.truncate(&entry(0, 0).key, &entry(3, 0).key, 9).unwrap(), 3);
        store.make_durable().unwrap();
        assert_eq!(bulk(dir.path()), *all, "one is left");
        // The last of the first file is replaced, and the second file's are, one of them alone and the others together.
        store.append(vec![entry(3, 10)]).unwrap();
        store.append(vec![entry(4, 10)]).unwrap();
        store.append(large(5, &[10, 10, 10])).unwrap();
        assert_eq!(bulk(dir.path()), *all);
        store.make_durable().unwrap();
        assert_eq!(bulk(dir.path()), third);
        for (ndx, bytes) in [(3, 10), (4, 10), (7, 10), (8, PART_BYTES), (11, PART_BYTES)] {
            assert_eq!(store.read(&entry(ndx, 0).key).unwrap(), Some(entry(ndx, bytes).value));
        }
        // What a crash leaves: a file without a place.
        drop(store);
        fs::write(dir.path().join("bulk/0000000000000009"), "torn").unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        assert_eq!(bulk(dir.path()).len(), third.len() + 1);
        store.make_durable().unwrap();
        assert_eq!(bulk(dir.path()), third);
    }

    #[test]
    fn a_place_that_leads_nowhere_is_told_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.append(large(0, &[PART_BYTES; 4])).unwrap();
        store.make_durable().unwrap();
        drop(store);
        let path = bulk(dir.path()).pop_first().unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(u64::try_from(3 * PART_BYTES).unwrap()).unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let damaged = |store: &mut SledStore, ndx| {
            let Entry { key, value } = entry(ndx, PART_BYTES);
            let read = store.read(&key).unwrap().expect("it is not taken for nothing");
            assert!(read != value && crate::record::decode_part(&key, &read).is_err());
        };
        assert_eq!(store.read(&entry(2, 0).key).unwrap(), Some(entry(2, PART_BYTES).value));
        damaged(&mut store, 3);
        drop(store);
        fs::remove_file(&path).unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        (0..4).for_each(|ndx| damaged(&mut store, ndx));
        store.append(large(0, &[PART_BYTES; 4])).unwrap();
        store.make_durable().unwrap();
        assert_eq!(store.read(&entry(3, 0).key).unwrap(), Some(entry(3, PART_BYTES).value));
        assert_eq!(bulk(dir.path()).len(), 1);
    }

    #[test]
    fn a_full_file_of_bulk_is_followed_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let each = vec![PART_BYTES; 128];
        let writes: u32 = 20;
        for n in 0..writes {
            store.append(large(128 * n, &each)).unwrap();
        }
        store.make_durable().unwrap();
        assert_eq!(bulk(dir.path()).len(), 2);
        for ndx in (0..128 * writes).step_by(100) {
            assert_eq!(store.read(&entry(ndx, 0).key).unwrap(), Some(entry(ndx, PART_BYTES).value));
        }
    }

    #[test]
    fn a_snapshot_torn_while_opening_does_not_keep_the_log_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.append(vec![entry(1, 10)]).unwrap();
        store.make_durable().unwrap();
        drop(store);
        fs::write(dir.path().join("snap.FFFFFFFFFFFFFFFF.generating"), "torn").unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.read(&entry(1, 0).key).unwrap(), Some(entry(1, 10).value));
    }

    #[test]
    fn files_that_make_no_sense_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        drop(SledStore::open(dir.path()).unwrap());
        for file in fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                fs::write(file, [0x5a; 100]).unwrap();
            }
        }
        assert!(SledStore::open(dir.path()).is_err());
    }

    #[test]
    fn truncation_goes_in_bounded_steps_and_no_further_than_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.append((0..50).map(|ndx| entry(ndx, 10)).collect()).unwrap();
        let (from, before) = (entry(0, 0).key, entry(40, 0).key);
        let steps: Vec<usize> = (0..3).map(|_| store.truncate(&from, &before, 25).unwrap()).collect();
        assert_eq!(steps, [25, 15, 0]);
        assert_eq!(store.read(&entry(39, 0).key).unwrap(), None);
        assert_eq!(store.read(&entry(40, 0).key).unwrap(), Some(entry(40, 10).value));
    }
}
