//! A log made anew of all that can be read of it, where a part of it can be neither read nor written any more.
//!
//! The store below keeps several entries in a page. Where one is damaged its entries are gone, and none can take their place.
//! Records of slots that are chosen can be had from the other nodes. So all else is copied into a new log; in place of each
//! record that is lost there is a value that reads as damaged, since damage is never taken for nothing. Then the copy takes the
//! log's place, and what was the log is kept aside, as `log.damaged`, until the next time.
//!
//! What no other node can give is not left out: without the promise, the hint, where the log begins, or anything behind the
//! hint, there is no copy, and the node stays down.

use std::ops::ControlFlow;

use synod_types::{AppNdx, Slot};

use crate::record::{self, Entry};
use crate::recovery::{self, RecoveryError};
use crate::sled_store::SledStore;
use crate::stamp::DataDir;
use crate::store::{Store, StoreError};

/// Bytes that are copied in one write, about.
const WRITE_BYTES: usize = 256 << 10;

/// Makes the log in `data_dir` anew without what cannot be read of `apps`, which are all that there are.
///
/// # Errors
/// [`StoreError`]: something that no other node has cannot be read, or the disk fails. The log is still there then, or its copy
/// takes its place at the next start.
pub fn rebuild(
    mut store: Box<dyn Store>,
    data_dir: &mut DataDir,
    apps: &[AppNdx],
) -> Result<Box<dyn Store>, StoreError> {
    let stamped = |why: crate::stamp::StampError| StoreError::Broken(why.to_string());
    tracing::error!(
        "a part of the log is damaged: the log is made anew, and what is lost is asked of the other nodes"
    );
    data_dir.clear_unfinished_copy().map_err(stamped)?;
    let mut copy = Copy { to: SledStore::open(&data_dir.copy())?, entries: Vec::new(), bytes: 0, lost: 0 };
    for &app in apps {
        copy.copy(&mut *store, app).map_err(|why| match why {
            RecoveryError::Store(why) => why,
            why => StoreError::Broken(why.to_string()),
        })?;
    }
    copy.write()?;
    copy.to.make_durable()?;
    let lost = copy.lost;
    drop(copy);
    drop(store);
    data_dir.move_copy().map_err(stamped)?;
    let store = SledStore::open(&data_dir.log())?;
    tracing::warn!(lost, "the log is whole again but for lost records, which the other nodes have");
    Ok(Box::new(store))
}

struct Copy {
    to: SledStore,
    /// To be written.
    entries: Vec<Entry>,
    bytes: usize,
    /// Records that were left out.
    lost: usize,
}

impl Copy {
    fn copy(&mut self, store: &mut dyn Store, app: AppNdx) -> Result<(), RecoveryError> {
        for key in [record::promised_key(app), record::chosen_key(app), record::cut_key(app)] {
            if let Some(value) = store.read(&key)? {
                self.take(Entry { key, value })?;
            }
        }
        let cut = recovery::cut(store, app)?;
        let hint = recovery::hint(store, app)?.max(cut);
        for slot in (cut.next().0..=hint.0).map(Slot) {
            for entry in record_of(store, app, slot)? {
                self.lost += usize::from(entry.value.is_empty());
                self.take(entry)?;
            }
        }
        let mut keys = Vec::new();
        let from = record::accepted_key(app, hint.next(), 0);
        store.scan_keys(&from, &record::accepted_end(app), &mut |key| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in keys {
            if let Some(value) = store.read(&key)? {
                self.take(Entry { key, value })?;
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry) -> Result<(), StoreError> {
        self.bytes += entry.len();
        self.entries.push(entry);
        if self.bytes >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() { Ok(()) } else { self.to.append(entries) }
    }
}

/// The entries of a record as they are; one that reads as damaged in place of a record of which a part is lost, and none of one
/// that is not there.
fn record_of(store: &mut dyn Store, app: AppNdx, slot: Slot) -> Result<Vec<Entry>, StoreError> {
    let (mut entries, mut part, mut parts) = (Vec::new(), 0, 1);
    while part < parts {
        let key = record::accepted_key(app, slot, part);
        match store.read(&key) {
            Ok(Some(value)) => {
                parts = record::parts_of(&value);
                entries.push(Entry { key, value });
            }
            Ok(None) if part == 0 => return Ok(entries),
            Ok(None) | Err(StoreError::Corrupt(_)) => {
                return Ok(vec![Entry { key: record::accepted_key(app, slot, 0), value: Vec::new() }]);
            }
            Err(why) => return Err(why),
        }
        part += 1;
    }
    Ok(entries)
}
