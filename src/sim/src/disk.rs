//! A node's disk: what is durable, what was only written, and what a crash makes of the difference.
//!
//! Writes are made durable in groups: everything that was written while a sync ran goes with the next one. At a crash
//! any subset of what was not synced is lost, without regard to its order; a write may also be torn, which leaves a
//! record that is there and damaged. What was synced stays, unless a fault plan damages it on purpose.

use synod_paxos::PersistNdx;
use synod_types::limits::CATCH_UP_BYTES_MAX;
use synod_types::{AppNdx, Ballot, Decree, Message, NodeId, Record, Recovered, Slot};

use crate::random::Random;

/// One [`synod_paxos::Effect::Persist`].
#[derive(Clone, Debug)]
pub struct Write {
    /// Its number.
    pub ndx: PersistNdx,
    /// What to append.
    pub records: Vec<Record>,
    /// What may be sent when it is durable.
    pub unlocks: Vec<(NodeId, Message)>,
}

/// What a disk holds in a slot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Entry {
    /// Nothing.
    #[default]
    Empty,
    /// A decree that was accepted under a ballot.
    Held(Ballot, Decree),
    /// A record that does not match its checksum.
    Damaged,
}

/// One group's records.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The last promise.
    pub promised: Ballot,
    /// The last hint.
    pub chosen: Slot,
    /// Up to here it was cut off.
    pub cut: Slot,
    /// Whether the promise cannot be read.
    pub promise_is_damaged: bool,
    entries: Vec<Entry>,
}

/// A machine's snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last slot that it contains.
    pub applied: Slot,
    /// What the machine wrote.
    pub bytes: Vec<u8>,
}

/// How much of what was not synced a crash takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashLoss {
    /// All of it.
    Everything,
    /// Nothing: only the process died.
    Nothing,
    /// Each write with this chance, and with it all behind it; each lost write is torn with that. A log that misses a write in its
    /// middle is none that opens (`synod_journal::tally`): its node has lost its disk, which is a fault of its own.
    Some {
        /// With how many of 1,000 writes the loss begins.
        lost_per_mille: u64,
        /// How many of 1,000 lost writes leave a damaged record.
        torn_per_mille: u64,
    },
}

/// One node's disk.
#[derive(Clone, Debug)]
pub struct Disk {
    durable: Vec<Image>,
    written: Vec<Image>,
    snapshots: Vec<Option<Snapshot>>,
    syncing: Vec<Write>,
    waiting: Vec<Write>,
    /// Everything that became durable, in order, as far as it was not lost since.
    log: Vec<Vec<Record>>,
    /// How many of these there are at least, as is written down beside the log.
    head: usize,
}

impl Image {
    /// What is in `slot`.
    pub fn entry(&self, slot: Slot) -> &Entry {
        place(slot).and_then(|place| self.entries.get(place)).unwrap_or(&Entry::Empty)
    }

    /// The slots behind `after` with what is in them.
    pub fn entries_behind(&self, after: Slot) -> impl Iterator<Item = (Slot, &Entry)> {
        let first = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.entries.len());
        (after.0 + 1..).map(Slot).zip(&self.entries[first..])
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        let place = place(slot).expect("decrees are in slots from 1 on");
        if place >= self.entries.len() {
            self.entries.resize(place + 1, Entry::Empty);
        }
        &mut self.entries[place]
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Promised { ballot, .. } => {
                self.promised = *ballot;
                self.promise_is_damaged = false;
            }
            Record::Accepted { slot, ballot, decree, .. } => {
                *self.entry_mut(*slot) = Entry::Held(*ballot, decree.clone());
            }
            Record::Chosen { slot, .. } => self.chosen = *slot,
            Record::Cut { slot, .. } => {
                self.cut = *slot;
                let cut = usize::try_from(slot.0).expect("few slots").min(self.entries.len());
                self.entries[..cut].fill(Entry::Empty);
            }
        }
    }
}

/// Where a slot is in a list that begins with slot 1.
fn place(slot: Slot) -> Option<usize> {
    usize::try_from(slot.0.checked_sub(1)?).ok()
}

/// Where an application is in lists that begin with application 1.
pub fn group(app: AppNdx) -> usize {
    usize::try_from(app.0).expect("few applications").checked_sub(1).expect("applications count from 1")
}

impl Disk {
    /// An empty disk for `groups` groups.
    pub fn new(groups: usize) -> Disk {
        Disk {
            durable: vec![Image::default(); groups],
            written: vec![Image::default(); groups],
            snapshots: vec![None; groups],
            syncing: Vec::new(),
            waiting: Vec::new(),
            log: Vec::new(),
            head: 0,
        }
    }

    /// What survives every crash.
    pub fn durable(&self, app: AppNdx) -> &Image {
        &self.durable[group(app)]
    }

    /// Appends a write; it is durable after the sync that follows.
    pub fn write(&mut self, write: Write) {
        for record in &write.records {
            self.written[group(record.app())].take(record);
        }
        self.waiting.push(write);
    }

    /// Starts a sync of everything that waits. Says whether there is one to run now.
    pub fn start_sync(&mut self) -> bool {
        let start = self.syncing.is_empty() && !self.waiting.is_empty();
        if start {
            std::mem::swap(&mut self.syncing, &mut self.waiting);
        }
        start
    }

    /// The sync is through: its writes are durable, and the caller sends what they unlock.
    pub fn finish_sync(&mut self) -> Vec<Write> {
        let writes = std::mem::take(&mut self.syncing);
        for record in writes.iter().flat_map(|write| &write.records) {
            self.durable[group(record.app())].take(record);
        }
        self.log.extend(writes.iter().map(|write| write.records.clone()));
        self.head = self.log.len();
        writes
    }

    /// Keeps a machine's snapshot, durable at once.
    pub fn keep_snapshot(&mut self, app: AppNdx, snapshot: Snapshot) {
        self.snapshots[group(app)] = Some(snapshot);
    }

    /// Whether the log, from where it begins or behind the last snapshot, durably holds a decree in each slot up to this one.
    pub fn is_whole(&self, app: AppNdx, slot: Slot) -> bool {
        let image = self.durable(app);
        let begin = self.snapshot(app).map_or(image.cut, |snapshot| snapshot.applied.max(image.cut));
        (begin.next().0..=slot.0).all(|slot| matches!(image.entry(Slot(slot)), Entry::Held(..)))
    }

    /// The snapshot is lost, or cannot be read any more. Says whether there was one.
    pub fn lose_snapshot(&mut self, app: AppNdx) -> bool {
        self.snapshots[group(app)].take().is_some()
    }

    /// The last snapshot.
    pub fn snapshot(&self, app: AppNdx) -> Option<&Snapshot> {
        self.snapshots[group(app)].as_ref()
    }

    /// The node stopped, in the middle of everything. `may_damage` is asked before a record is damaged. Returns what
    /// survived of the writes that were not synced.
    pub fn crash(
        &mut self,
        loss: CrashLoss,
        random: &mut Random,
        mut may_damage: impl FnMut(AppNdx, Slot) -> bool,
    ) -> Vec<Write> {
        let (mut survived, mut is_over) = (Vec::new(), false);
        let unsynced: Vec<Write> = self.syncing.drain(..).chain(self.waiting.drain(..)).collect();
        for write in unsynced {
            let (lost, torn) = match loss {
                CrashLoss::Everything => (true, false),
                CrashLoss::Nothing => (false, false),
                CrashLoss::Some { lost_per_mille, torn_per_mille } => {
                    (random.chance(lost_per_mille), random.chance(torn_per_mille))
                }
            };
            let lost = lost || is_over;
            is_over |= lost;
            if !lost {
                for record in &write.records {
                    self.durable[group(record.app())].take(record);
                }
                self.log.push(write.records.clone());
                survived.push(write);
            } else if torn {
                for record in &write.records {
                    if let Record::Accepted { app, slot, .. } = record
                        && may_damage(*app, *slot)
                    {
                        *self.durable[group(*app)].entry_mut(*slot) = Entry::Damaged;
                    }
                }
            }
        }
        self.written = self.durable.clone();
        survived
    }

    /// Damages the record of a slot, durable or not. Says whether there was one.
    pub fn damage(&mut self, app: AppNdx, slot: Slot) -> bool {
        let there = matches!(self.durable(app).entry(slot), Entry::Held(..));
        if there {
            *self.durable[group(app)].entry_mut(slot) = Entry::Damaged;
            *self.written[group(app)].entry_mut(slot) = Entry::Damaged;
        }
        there
    }

    /// Damages the promise of a group, if there is one.
    pub fn damage_promise(&mut self, app: AppNdx) -> bool {
        let there = self.durable(app).promised > Ballot::ZERO;
        self.durable[group(app)].promise_is_damaged |= there;
        self.written[group(app)].promise_is_damaged |= there;
        there
    }

    /// The last `writes` that were durable are gone, as if they had never been. Only for a node that is down. Says whether
    /// there was anything.
    pub fn lose_end(&mut self, writes: usize) -> bool {
        let kept = self.log.len().saturating_sub(writes);
        let is_lost = kept < self.log.len();
        self.log.truncate(kept);
        self.durable.fill(Image::default());
        for record in self.log.iter().flatten() {
            self.durable[group(record.app())].take(record);
        }
        self.written = self.durable.clone();
        is_lost
    }

    /// Whether the log has lost its end.
    pub fn has_lost_its_end(&self) -> bool {
        self.log.len() < self.head
    }

    /// What is in a slot, durable or not.
    pub fn written(&self, app: AppNdx) -> &Image {
        &self.written[group(app)]
    }

    /// Whether the record of any slot is damaged.
    pub fn is_damaged(&self) -> bool {
        self.durable.iter().any(|image| image.entries.contains(&Entry::Damaged))
    }

    /// The last slot of which anything is durable.
    pub fn last_slot(&self, app: AppNdx) -> Slot {
        Slot(u64::try_from(self.durable(app).entries.len()).expect("few slots"))
    }

    /// What a node that starts finds, as the journal reads it.
    pub fn recover(&self, app: AppNdx) -> Recovered {
        let image = self.durable(app);
        let readable = |slot| matches!(image.entry(slot), Entry::Held(..));
        let hint = image.chosen.max(image.cut);
        let mut chosen = image.cut;
        while chosen < hint && readable(chosen.next()) {
            chosen = chosen.next();
        }
        let whole = chosen == hint;
        while whole && matches!(image.entry(chosen.next()), Entry::Held(Ballot::CHOSEN, _)) {
            chosen = chosen.next();
        }
        let (promised, cut) = (image.promised, image.cut);
        let mut recovered =
            Recovered { promised, cut, chosen, known: hint.max(chosen), ..Recovered::default() };
        if !whole {
            recovered.damaged_through = hint;
        }
        for (slot, entry) in image.entries_behind(chosen) {
            match entry {
                // What is known as chosen and stands behind damage is not asked for again.
                Entry::Held(ballot, decree) => {
                    let ballot = if slot > hint { *ballot } else { Ballot::CHOSEN };
                    recovered.accepted.insert(slot, (ballot, decree.clone()));
                }
                Entry::Damaged => recovered.damaged_through = recovered.damaged_through.max(slot),
                Entry::Empty => {}
            }
        }
        recovered
    }

    /// Decrees from `from` up to at most `up_to`, as many as fit into a message, as far as they can be read.
    pub fn read_log(&self, app: AppNdx, from: Slot, up_to: Slot) -> Vec<Decree> {
        let mut decrees = Vec::new();
        let mut bytes = 0;
        for slot in (from.0..=up_to.0).map(Slot) {
            let Entry::Held(_, decree) = self.written[group(app)].entry(slot) else { break };
            bytes += decree.len();
            if !decrees.is_empty() && bytes > CATCH_UP_BYTES_MAX {
                break;
            }
            decrees.push(decree.clone());
        }
        decrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppNdx = AppNdx(1);

    fn accept(ndx: u64, slot: u64, number: u64) -> Write {
        let ballot = Ballot { number, ..Ballot::ZERO };
        let record = Record::Accepted { app: APP, slot: Slot(slot), ballot, decree: Decree::Noop };
        Write { ndx: PersistNdx(ndx), records: vec![record], unlocks: Vec::new() }
    }

    #[test]
    fn what_is_written_during_a_sync_goes_with_the_next() {
        let mut disk = Disk::new(1);
        disk.write(accept(1, 1, 1));
        assert!(disk.start_sync());
        disk.write(accept(2, 2, 1));
        disk.write(accept(3, 3, 1));
        assert!(!disk.start_sync(), "one sync at a time");
        assert_eq!(disk.finish_sync().len(), 1);
        assert!(disk.start_sync());
        assert_eq!(disk.finish_sync().len(), 2);
        assert!(!disk.start_sync());
    }

    #[test]
    fn a_crash_takes_only_what_was_not_synced() {
        let mut disk = Disk::new(1);
        disk.write(accept(1, 1, 1));
        disk.start_sync();
        disk.finish_sync();
        disk.write(accept(2, 2, 1));
        assert_eq!(disk.read_log(APP, Slot(1), Slot(2)).len(), 2);
        let survived = disk.crash(CrashLoss::Everything, &mut Random::new(1), |_, _| true);
        assert!(survived.is_empty());
        assert_eq!(disk.read_log(APP, Slot(1), Slot(2)).len(), 1);
        assert_eq!(disk.recover(APP).accepted.keys().copied().collect::<Vec<_>>(), [Slot(1)]);
    }

    #[test]
    fn a_torn_write_is_there_and_damaged() {
        let mut disk = Disk::new(1);
        disk.write(accept(1, 4, 1));
        let loss = CrashLoss::Some { lost_per_mille: 1000, torn_per_mille: 1000 };
        disk.crash(loss, &mut Random::new(1), |_, _| true);
        assert_eq!(disk.recover(APP).damaged_through, Slot(4));
    }

    fn chosen_through(slots: &[u64], hint: u64) -> Disk {
        let mut disk = Disk::new(1);
        let accepted = |slot: &u64| Record::Accepted {
            app: APP,
            slot: Slot(*slot),
            ballot: Ballot::CHOSEN,
            decree: Decree::Noop,
        };
        let mut records: Vec<_> = slots.iter().map(accepted).collect();
        records.push(Record::Chosen { app: APP, slot: Slot(hint) });
        disk.write(Write { ndx: PersistNdx(1), records, unlocks: Vec::new() });
        disk.start_sync();
        disk.finish_sync();
        disk
    }

    #[test]
    fn entries_known_as_chosen_extend_the_hint() {
        let recovered = chosen_through(&[1, 2, 4], 1).recover(APP);
        assert_eq!(recovered.chosen, Slot(2));
        assert_eq!(recovered.accepted.len(), 1);
    }

    #[test]
    fn damage_ends_the_chosen_prefix() {
        let mut disk = chosen_through(&[1, 2, 3, 4], 3);
        assert!(disk.damage(APP, Slot(2)));
        let recovered = disk.recover(APP);
        assert_eq!((recovered.chosen, recovered.damaged_through), (Slot(1), Slot(3)));
        // What stands behind it may be what another node lacks.
        assert_eq!(recovered.accepted.into_keys().collect::<Vec<_>>(), [Slot(3), Slot(4)]);
    }
}
