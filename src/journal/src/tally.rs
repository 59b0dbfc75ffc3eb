//! What a log has to hold, so that it is noticed when the store below has lost something and says nothing.
//!
//! The store finds its end by itself when it is opened: where it cannot read on, there it ends, or it leaves out what it cannot
//! read. After a power loss that is right, and after a flipped byte it may be what this node has promised. So each write has a
//! number, by application, and every value says in which write it came, and what the log held behind that write: the
//! **tally**, a sum over the promise, the hint, where the log begins, and all that was accepted in the last
//! [`VERIFIED_SLOTS`] slots up to the hint and behind it. These are the records that are read at the start anyway. The newest
//! of them says what all of them have to come to; and how far the numbers have come at least stands beside the log
//! ([`crate::head`]).
//!
//! A value that is damaged by itself tells so. What stands further back than the tally goes is missing where it is read, or
//! leads to another state than the others', which is noticed as every divergence is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use synod_types::{AppNdx, Slot};

use crate::record::{self, Entry, Seal};
use crate::recovery::{RecoveryError, VERIFIED_SLOTS};
use crate::store::Store;

/// The tallies of all applications.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tallies(BTreeMap<AppNdx, Tally>);

/// One application's tally.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// The number of the last write.
    number: u64,
    sum: u64,
    /// What is in the sum: the digest at each key.
    digests: BTreeMap<Vec<u8>, u32>,
    hint: Slot,
    cut: Slot,
    /// The hint and the cut as they were written last, to be written again where a write would be in no sum.
    landmarks: BTreeMap<Vec<u8>, Entry>,
}

impl Tallies {
    /// With what was found when the log was opened.
    pub fn new(found: BTreeMap<AppNdx, Tally>) -> Tallies {
        Tallies(found)
    }

    /// Numbers the entries of one write, all of one application or of several, and adds what the log holds behind them. They
    /// may become more by one an application.
    pub fn seal(&mut self, entries: &mut Vec<Entry>) {
        let mut seals: BTreeMap<AppNdx, Seal> = BTreeMap::new();
        let mut again = Vec::new();
        for entry in &*entries {
            let Some(app) = record::app_of(&entry.key) else { continue };
            seals.entry(app).or_default();
            self.0.entry(app).or_default().take(entry);
        }
        for (&app, seal) in &mut seals {
            let tally = self.0.entry(app).or_default();
            if entries.iter().all(|entry| record::app_of(&entry.key) != Some(app) || !tally.counts(&entry.key)) {
                again.extend(tally.landmarks.values().next().cloned());
            }
            tally.number += 1;
            *seal = Seal { number: tally.number, tally: tally.sum };
        }
        entries.append(&mut again);
        for entry in entries {
            if let Some(seal) = record::app_of(&entry.key).and_then(|app| seals.get(&app)) {
                record::seal(entry, *seal);
            }
        }
    }

    /// The number of each application's last write.
    pub fn numbers(&self) -> impl Iterator<Item = (AppNdx, u64)> + '_ {
        self.0.iter().map(|(&app, tally)| (app, tally.number))
    }
}

impl Tally {
    /// Reads what the store holds of `app` as far as it counts, and holds it against what the newest write said.
    ///
    /// # Errors
    /// [`RecoveryError::Incomplete`] if something is missing; [`RecoveryError::Store`].
    pub fn recover(store: &mut dyn Store, app: AppNdx, hint: Slot, cut: Slot) -> Result<Tally, RecoveryError> {
        let mut tally = Tally { hint, cut, ..Tally::default() };
        let mut keys = vec![record::promised_key(app), record::chosen_key(app), record::cut_key(app)];
        let from = record::accepted_key(app, tally.bound().next(), 0);
        store.scan_keys(&from, &record::accepted_end(app), &mut |key| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        let (mut newest, mut is_whole) = (Seal::default(), true);
        for key in keys {
            let Some(value) = store.read(&key)? else { continue };
            let Ok(part) = record::decode_part(&key, &value) else {
                is_whole = false;
                continue;
            };
            newest = part.seal.filter(|seal| seal.number > newest.number).unwrap_or(newest);
            tally.put(key.clone(), part.digest);
            if record::slot_of(&key).is_none() && key != record::promised_key(app) {
                let value = record::unseal(&key, &value);
                tally.landmarks.insert(key.clone(), Entry { key, value });
            }
        }
        tally.number = newest.number;
        // A damaged value would have to be in the sum, and nobody knows with what.
        if is_whole && newest.number > 0 && newest.tally != tally.sum {
            return Err(RecoveryError::Incomplete(app));
        }
        Ok(tally)
    }

    /// The number of the last write.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Slots up to here do not count.
    fn bound(&self) -> Slot {
        Slot(self.hint.max(self.cut).0.saturating_sub(VERIFIED_SLOTS)).max(self.cut)
    }

    fn counts(&self, key: &[u8]) -> bool {
        record::slot_of(key).is_none_or(|slot| slot > self.bound())
    }

    fn take(&mut self, entry: &Entry) {
        let Ok(part) = record::decode_part(&entry.key, &entry.value) else { return };
        let digest = part.digest;
        let app = record::app_of(&entry.key).unwrap_or_default();
        if entry.key == record::chosen_key(app) {
            self.hint = record::decode_chosen(app, &entry.value).unwrap_or_default();
        } else if entry.key == record::cut_key(app) {
            self.cut = record::decode_cut(app, &entry.value).unwrap_or_default();
        }
        if record::slot_of(&entry.key).is_none() && entry.key != record::promised_key(app) {
            self.landmarks.insert(entry.key.clone(), entry.clone());
            let (from, before) = record::accepted_through(app, self.bound());
            let past: Vec<_> = self.digests.range(from..before).map(|(key, _)| key.clone()).collect();
            for key in past {
                if let Some(digest) = self.digests.remove(&key) {
                    self.sum = self.sum.wrapping_sub(term(&key, digest));
                }
            }
        }
        if self.counts(&entry.key) {
            self.put(entry.key.clone(), digest);
        }
    }

    fn put(&mut self, key: Vec<u8>, digest: u32) {
        self.sum = self.sum.wrapping_add(term(&key, digest));
        if let Some(before) = self.digests.insert(key.clone(), digest) {
            self.sum = self.sum.wrapping_sub(term(&key, before));
        }
    }
}

/// What a value with this digest adds at this key. The mixing is the finalizer of MurmurHash3: without it, sums of checksums,
/// which are linear, could come out alike.
fn term(key: &[u8], digest: u32) -> u64 {
    let mut term = u64::from(crc32fast::hash(key)) << 32 | u64::from(digest);
    term = (term ^ term >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    term = (term ^ term >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    term ^ term >> 33
}
