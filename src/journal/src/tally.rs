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

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use synod_types::{AppNdx, Slot};

use crate::record::{self, Entry, Seal};
use crate::recovery::{RecoveryError, VERIFIED_SLOTS};
use crate::store::{Store, StoreError};

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
            if entries
                .iter()
                .all(|entry| record::app_of(&entry.key) != Some(app) || !tally.counts(&entry.key))
            {
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
    pub fn recover(
        store: &mut dyn Store,
        app: AppNdx,
        hint: Slot,
        cut: Slot,
    ) -> Result<Tally, RecoveryError> {
        let mut tally = Tally { hint, cut, ..Tally::default() };
        let mut keys = vec![record::promised_key(app), record::chosen_key(app), record::cut_key(app)];
        let (mut newest, mut is_whole) = (Seal::default(), true);
        // A damaged page holds up a scan. So up to the hint slots are looked at one by one, and behind it there must be none.
        let mut slots: BTreeSet<Slot> = (tally.bound().next().0..=hint.0).map(Slot).collect();
        let from = record::accepted_key(app, hint.max(tally.bound()).next(), 0);
        store.scan_keys(&from, &record::accepted_end(app), &mut |key| {
            slots.extend(record::slot_of(key));
            ControlFlow::Continue(())
        })?;
        for slot in slots {
            // Of an earlier record in this slot, which had more parts, the last ones may still be there.
            let parts = match store.read(&record::accepted_key(app, slot, 0)) {
                Ok(Some(value)) => record::parts_of(&value),
                Ok(None) => 0,
                Err(StoreError::Corrupt(_)) => 1,
                Err(why) => return Err(why.into()),
            };
            is_whole &= parts > 0 || slot <= hint;
            keys.extend((0..parts).map(|part| record::accepted_key(app, slot, part)));
        }
        for key in keys {
            let value = match store.read(&key) {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(StoreError::Corrupt(_)) => {
                    is_whole = false;
                    continue;
                }
                Err(why) => return Err(why.into()),
            };
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
            self.remove(&from, &before);
        }
        if let Some(slot) = record::slot_of(&entry.key) {
            self.remove(
                &record::accepted_key(app, slot, part.parts),
                &record::accepted_key(app, slot.next(), 0),
            );
        }
        if self.counts(&entry.key) {
            self.put(entry.key.clone(), digest);
        }
    }

    fn remove(&mut self, from: &[u8], before: &[u8]) {
        let range = (Bound::Included(from), Bound::Excluded(before));
        let past: Vec<_> = self.digests.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect();
        for key in past {
            if let Some(digest) = self.digests.remove(&key) {
                self.sum = self.sum.wrapping_sub(term(&key, digest));
            }
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

#[cfg(test)]
mod tests {
    use synod_types::{Ballot, Batch, Decree, Record, SignedCommand, TimeMs};

    use super::*;
    use crate::memory_store::MemoryStore;
    use crate::recovery::recover;

    const APP: AppNdx = AppNdx(7);

    fn accepted(slot: u64, number: u64, bytes: usize) -> Record {
        let command =
            SignedCommand { body: vec![5; bytes].into(), signature: vec![].into(), key: vec![].into() };
        let batch = Batch { term: Ballot::ZERO, time: TimeMs(number), commands: vec![command] };
        let ballot = Ballot { number, ..Ballot::ZERO };
        Record::Accepted { app: APP, slot: Slot(slot), ballot, decree: Decree::Batch(batch.into()) }
    }

    /// Everything that changes what counts: hints and cuts, a smaller record in place of a larger one, one from long ago.
    fn writes() -> Vec<Vec<Record>> {
        let mut writes =
            vec![vec![Record::Promised { app: APP, ballot: Ballot { number: 3, ..Ballot::ZERO } }]];
        for slot in 1..=400 {
            let bytes = if slot % 50 == 0 { 40_000 } else { 20 };
            writes.push(vec![accepted(slot, 3, bytes)]);
            if slot % 7 == 0 {
                writes.push(vec![Record::Chosen { app: APP, slot: Slot(slot - 5) }]);
            }
            if slot % 100 == 0 {
                writes.push(vec![accepted(slot, 4, 20), accepted(slot + 1, 4, 40_000)]);
                writes.push(vec![accepted(2, 4, 30), accepted(slot / 2, 5, 9)]);
                writes.push(vec![Record::Cut { app: APP, slot: Slot(slot / 4) }]);
            }
        }
        writes
    }

    fn write(store: &mut MemoryStore, tallies: &mut Tallies, records: &[Record]) {
        let mut entries: Vec<Entry> = records.iter().flat_map(record::encode).collect();
        tallies.seal(&mut entries);
        store.append(entries).unwrap();
    }

    #[test]
    fn what_is_recovered_is_what_was_counted() {
        let (mut store, mut tallies) = (MemoryStore::new(), Tallies::default());
        for (n, records) in writes().iter().enumerate() {
            write(&mut store, &mut tallies, records);
            let (_, found) = recover(&mut store, APP).unwrap_or_else(|why| panic!("write {n}: {why}"));
            assert_eq!((found.number, found.sum), (tallies.0[&APP].number, tallies.0[&APP].sum), "write {n}");
            if n % 11 == 0 {
                tallies = Tallies::new(BTreeMap::from([(APP, found)]));
            }
        }
    }

    #[test]
    fn any_write_that_is_lost_is_missed() {
        let writes = writes();
        let (mut stores, mut tallies) = (vec![MemoryStore::new()], Tallies::default());
        for records in &writes {
            let mut store = stores.last().unwrap().clone();
            write(&mut store, &mut tallies, records);
            stores.push(store);
        }
        let mut noticed = 0;
        for lost in writes.len() - 200..writes.len() - 1 {
            // As if this write had never been, and all later ones had.
            let (mut store, mut counted) = (MemoryStore::new(), Tallies::default());
            for (n, records) in writes.iter().enumerate() {
                let mut entries: Vec<Entry> = records.iter().flat_map(record::encode).collect();
                counted.seal(&mut entries);
                if n != lost {
                    store.append(entries).unwrap();
                }
            }
            let before = recover(&mut stores.last().unwrap().clone(), APP).unwrap().0;
            match recover(&mut store, APP) {
                Err(RecoveryError::Incomplete(APP)) => noticed += 1,
                Err(why) => panic!("write {lost}: {why}"),
                // What was written again since is not missed.
                Ok((found, _)) => assert_eq!(found, before, "write {lost}"),
            }
        }
        assert!(noticed > 100, "{noticed}");
    }
}
