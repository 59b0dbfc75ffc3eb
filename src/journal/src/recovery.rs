//! Reading the log: what a group finds when its node starts, and decrees later on.
//!
//! At the start only what is behind the hint is loaded; of what is before it, the last [`VERIFIED_SLOTS`] decrees are
//! verified, since a crash can only have touched the end. Damage further back is found where it is read, at the latest
//! when the node replays the log, which then calls [`Recovered::end_chosen_before`].

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use synod_types::{AppNdx, Ballot, Decree, Recovered, Slot};

use crate::record::{self, Assembly, Damaged};
use crate::store::{Store, StoreError};
use crate::tally::Tally;

/// Decrees up to the hint that are verified when the journal is opened.
pub const VERIFIED_SLOTS: u64 = 256;

/// Slots that are verified at a time.
pub const VERIFIED_AT_A_TIME: usize = 64;

/// Why a group is not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The promise is there and damaged. It must not be forgotten, so the node must not come up.
    #[error(
        "the promise of application {0} is damaged; replace the node by a new one: this one must not forget what it promised"
    )]
    DamagedPromise(AppNdx),
    /// The hint is there and damaged; without it the whole log would have to be loaded.
    #[error("the record of what is chosen in application {0} is damaged; replace the node by a new one")]
    DamagedHint(AppNdx),
    /// It is not known any more where the log begins.
    #[error(
        "the record of where the log of application {0} begins is damaged; replace the node by a new one"
    )]
    DamagedCut(AppNdx),
    /// What the log holds is not what it held when it was written last. What is gone may be a promise.
    #[error(
        "the log of application {0} has lost records that were durable: its disk is not to be trusted; replace the node by a \
         new one (synod member replace): this one must not forget what it promised"
    )]
    Incomplete(AppNdx),
    /// The log ends before where it had come to.
    #[error(
        "the log of application {app} has lost its end: it holds {found} writes, and {expected} were durable; replace the node \
         by a new one (synod member replace): this one must not forget what it promised"
    )]
    LostEnd {
        /// Which.
        app: AppNdx,
        /// The number of the last write that is there.
        found: u64,
        /// The number of a write that was there.
        expected: u64,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why decrees are not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record of the first slot that was asked for is damaged.
    #[error("the journal's record of slot {slot} of application {app} is damaged")]
    Damaged {
        /// The application.
        app: AppNdx,
        /// The slot.
        slot: Slot,
    },
    /// The store cannot be read.
    #[error("cannot read the journal: {0}")]
    Store(#[from] StoreError),
    /// Too many reads wait already.
    #[error("too many reads of the journal are waiting; try again later")]
    Busy,
    /// The journal was closed, or stopped after an error.
    #[error("the journal has stopped")]
    Stopped,
}

/// What is in a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
enum InSlot {
    Nothing,
    Damaged,
    Accepted { ballot: Ballot, decree: Decree, bytes: usize },
}

/// Reads what the store holds of `app`, and what that comes to.
///
/// # Errors
/// [`RecoveryError`].
pub fn recover(store: &mut dyn Store, app: AppNdx) -> Result<(Recovered, Tally), RecoveryError> {
    let promised = match readable(store, &record::promised_key(app), RecoveryError::DamagedPromise(app))? {
        None => Ballot::ZERO,
        Some(value) => {
            record::decode_promised(app, &value).map_err(|_| RecoveryError::DamagedPromise(app))?
        }
    };
    let cut = cut(store, app)?;
    let hint = hint(store, app)?.max(cut);
    let tally = Tally::recover(store, app, hint, cut)?;
    let chosen = last_readable(store, app, cut, hint)?;
    let mut recovered = Recovered { promised, cut, chosen, known: hint, ..Recovered::default() };
    if chosen < hint {
        recovered.damaged_through = hint;
    }
    for slot in accepted_behind(store, app, hint)? {
        match read_slot(store, app, slot)? {
            InSlot::Accepted { ballot: Ballot::CHOSEN, .. } if slot == recovered.chosen.next() => {
                recovered.chosen = slot;
            }
            InSlot::Accepted { ballot, decree, .. } => {
                recovered.accepted.insert(slot, (ballot, decree));
            }
            // A later part without the first one is a record that lost its head.
            InSlot::Damaged | InSlot::Nothing => {
                tracing::error!(%app, %slot, "the journal's record of this slot is damaged");
                recovered.damaged_through = slot;
            }
        }
    }
    Ok((recovered, tally))
}

/// How much of a log is known to be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Every slot up to here was cut off.
    pub cut: Slot,
    /// Every slot up to here is chosen, whether its record can be read or not.
    pub chosen: Slot,
    /// Slots behind it in which something was accepted, of which nobody can tell here whether it was chosen.
    pub behind: u64,
    /// The last slot in which something was accepted or is known to be chosen.
    pub last: Slot,
}

/// Tells what is known to be chosen: up to the hint, and behind it what this node learned as chosen.
///
/// # Errors
/// [`RecoveryError::DamagedHint`], [`RecoveryError::DamagedCut`]; [`RecoveryError::Store`].
pub fn known(store: &mut dyn Store, app: AppNdx) -> Result<Known, RecoveryError> {
    let cut = cut(store, app)?;
    let mut chosen = hint(store, app)?.max(cut);
    let (mut behind, mut last) = (0, chosen);
    for slot in accepted_behind(store, app, chosen)? {
        last = slot;
        match read_slot(store, app, slot)? {
            InSlot::Accepted { ballot: Ballot::CHOSEN, .. } if slot == chosen.next() => chosen = slot,
            InSlot::Accepted { .. } | InSlot::Damaged | InSlot::Nothing => behind += 1,
        }
    }
    Ok(Known { cut, chosen, behind, last })
}

/// Reads decrees from `from` up to `up_to`, in order, and stops before a hole, before a damaged record, and before the
/// decree with which they would be more than `bytes_max` bytes; the first one comes whatever its size.
///
/// # Errors
/// [`ReadError::Damaged`] if the first one is damaged.
pub fn read(
    store: &mut dyn Store,
    app: AppNdx,
    from: Slot,
    up_to: Slot,
    bytes_max: usize,
) -> Result<Vec<(Slot, Ballot, Decree)>, ReadError> {
    let mut decrees = Vec::new();
    let mut bytes_sum = 0;
    for slot in (from.0..=up_to.0).map(Slot) {
        match read_slot(store, app, slot)? {
            InSlot::Accepted { ballot, decree, bytes } => {
                bytes_sum += bytes;
                if bytes_sum > bytes_max && !decrees.is_empty() {
                    break;
                }
                decrees.push((slot, ballot, decree));
            }
            InSlot::Damaged if decrees.is_empty() => {
                tracing::error!(%app, %slot, "the journal's record of this slot is damaged");
                return Err(ReadError::Damaged { app, slot });
            }
            InSlot::Nothing | InSlot::Damaged => break,
        }
    }
    Ok(decrees)
}

/// What of a log cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unreadable {
    /// The promise.
    Promise,
    /// The hint on what is chosen.
    Chosen,
    /// Where the log begins.
    Cut,
    /// The record of a slot.
    Slot(Slot),
}

/// What came of verifying a stretch of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Bytes of records that were read.
    pub bytes: u64,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Where to go on; `None`: this was the end.
    pub next: Option<Slot>,
}

/// Reads what the store holds of `app` from slot `from` on, and says what of it is not as it was written. The log is to hold
/// every slot behind its beginning up to `chosen`. Stops after [`VERIFIED_AT_A_TIME`] slots, or where `bytes_max` bytes were
/// read. From slot 0 on, promise, hint and beginning are read as well.
///
/// # Errors
/// [`StoreError`] if the store cannot tell.
pub fn verify(
    store: &mut dyn Store,
    app: AppNdx,
    from: Slot,
    chosen: Slot,
    bytes_max: u64,
) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    if from == Slot(0) {
        let promise = (Unreadable::Promise, record::promised_key(app));
        let landmarks =
            [(Unreadable::Chosen, record::chosen_key(app)), (Unreadable::Cut, record::cut_key(app))];
        for (what, key) in [promise].into_iter().chain(landmarks) {
            match store.read(&key) {
                Ok(None) => {}
                Ok(Some(value)) if record::decode_part(&key, &value).is_ok() => {
                    verified.bytes += u64::try_from(value.len()).unwrap_or(u64::MAX);
                }
                Ok(Some(_)) | Err(StoreError::Corrupt(_)) => verified.unreadable.push(what),
                Err(why) => return Err(why),
            }
        }
    }
    // Where the beginning cannot be read it is written anew before the next time.
    let begin = cut(store, app).unwrap_or(chosen);
    let mut slot = from.max(begin.next());
    let mut slots = BTreeSet::new();
    slots.extend((slot.0..=chosen.0).map(Slot).take(VERIFIED_AT_A_TIME));
    if slots.len() < VERIFIED_AT_A_TIME {
        let key = record::accepted_key(app, slot.max(chosen.next()), 0);
        store.scan_keys(&key, &record::accepted_end(app), &mut |key| {
            slots.extend(record::slot_of(key));
            if slots.len() < VERIFIED_AT_A_TIME { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    let is_last = slots.len() < VERIFIED_AT_A_TIME;
    for next in slots {
        if verified.bytes >= bytes_max {
            verified.next = Some(next);
            return Ok(verified);
        }
        slot = next;
        match read_slot(store, app, slot)? {
            InSlot::Accepted { bytes, .. } => verified.bytes += u64::try_from(bytes).unwrap_or(u64::MAX),
            InSlot::Nothing | InSlot::Damaged => verified.unreadable.push(Unreadable::Slot(slot)),
        }
    }
    verified.next = (!is_last).then(|| slot.next());
    Ok(verified)
}

/// The last slot that the store remembers as chosen.
pub(crate) fn hint(store: &mut dyn Store, app: AppNdx) -> Result<Slot, RecoveryError> {
    match readable(store, &record::chosen_key(app), RecoveryError::DamagedHint(app))? {
        None => Ok(Slot(0)),
        Some(value) => record::decode_chosen(app, &value).map_err(|_| RecoveryError::DamagedHint(app)),
    }
}

/// The last slot that was cut off.
pub(crate) fn cut(store: &mut dyn Store, app: AppNdx) -> Result<Slot, RecoveryError> {
    match readable(store, &record::cut_key(app), RecoveryError::DamagedCut(app))? {
        None => Ok(Slot(0)),
        Some(value) => record::decode_cut(app, &value).map_err(|_| RecoveryError::DamagedCut(app)),
    }
}

/// The value at a key without which nothing goes; `damaged` if the store cannot give it.
fn readable(
    store: &mut dyn Store,
    key: &[u8],
    damaged: RecoveryError,
) -> Result<Option<Vec<u8>>, RecoveryError> {
    match store.read(key) {
        Err(StoreError::Corrupt(why)) => {
            tracing::error!(%why, "the log cannot be read");
            Err(damaged)
        }
        read => Ok(read?),
    }
}

/// The slots behind `slot` in which something was accepted, in their order.
fn accepted_behind(store: &mut dyn Store, app: AppNdx, slot: Slot) -> Result<BTreeSet<Slot>, StoreError> {
    let mut slots = BTreeSet::new();
    let from = record::accepted_key(app, slot.next(), 0);
    store.scan_keys(&from, &record::accepted_end(app), &mut |key| {
        slots.extend(record::slot_of(key));
        ControlFlow::Continue(())
    })?;
    Ok(slots)
}

/// The slot before the first of the last ones behind `cut` up to `hint` that cannot be read, or `hint`.
fn last_readable(store: &mut dyn Store, app: AppNdx, cut: Slot, hint: Slot) -> Result<Slot, StoreError> {
    let first = hint.0.saturating_sub(VERIFIED_SLOTS).max(cut.0) + 1;
    for slot in first..=hint.0 {
        let what = match read_slot(store, app, Slot(slot))? {
            InSlot::Accepted { .. } => continue,
            InSlot::Damaged => "damaged",
            InSlot::Nothing => "missing",
        };
        tracing::error!(%app, %slot, chosen = %hint, "the journal's record of this chosen slot is {what}");
        return Ok(Slot(slot - 1));
    }
    Ok(hint)
}

fn read_slot(store: &mut dyn Store, app: AppNdx, slot: Slot) -> Result<InSlot, StoreError> {
    let key = record::accepted_key(app, slot, 0);
    let assembled = match store.read(&key) {
        Ok(None) => return Ok(InSlot::Nothing),
        Ok(Some(value)) => assemble(store, app, slot, &key, &value),
        Err(why) => Err(why),
    };
    Ok(match assembled {
        Ok(Ok((ballot, decree, bytes))) => InSlot::Accepted { ballot, decree, bytes },
        Ok(Err(Damaged)) | Err(StoreError::Corrupt(_)) => InSlot::Damaged,
        Err(why) => return Err(why),
    })
}

fn assemble(
    store: &mut dyn Store,
    app: AppNdx,
    slot: Slot,
    first_key: &[u8],
    first_value: &[u8],
) -> Result<Result<(Ballot, Decree, usize), Damaged>, StoreError> {
    let first = match record::decode_part(first_key, first_value) {
        Ok(first) => first,
        Err(damaged) => return Ok(Err(damaged)),
    };
    let mut assembly = Assembly::new(&first);
    for part in 1..first.parts {
        let key = record::accepted_key(app, slot, part);
        let Some(value) = store.read(&key)? else { return Ok(Err(Damaged)) };
        if let Err(damaged) = record::decode_part(&key, &value).and_then(|part| assembly.push(&part)) {
            return Ok(Err(damaged));
        }
    }
    Ok(assembly.finish())
}
