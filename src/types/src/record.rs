//! What the journal keeps. A record that is durable is never forgotten, and nothing that depends on a record
//! leaves the node before the record is durable.

use std::collections::{BTreeMap, BTreeSet};

use crate::decree::Decree;
use crate::ids::{AppNdx, Ballot, Slot};

/// One fact about one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The acceptor promised `ballot`; replaces an earlier promise.
    Promised {
        /// The group.
        app: AppNdx,
        /// What was promised.
        ballot: Ballot,
    },
    /// The acceptor accepted `decree` in `slot` under `ballot` ([`Ballot::CHOSEN`]: it learned it as chosen);
    /// replaces what it accepted there before.
    Accepted {
        /// The group.
        app: AppNdx,
        /// The slot.
        slot: Slot,
        /// Under which ballot.
        ballot: Ballot,
        /// The value.
        decree: Decree,
    },
    /// Every slot up to `slot` is chosen, and the journal holds the chosen decree of each. A hint that saves
    /// asking after a restart: losing it is harmless, so nothing waits for it.
    Chosen {
        /// The group.
        app: AppNdx,
        /// The last chosen slot.
        slot: Slot,
    },
}

/// What a group finds in the journal when the node starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The promise.
    pub promised: Ballot,
    /// Every slot up to here is chosen; the decrees are read from the journal.
    pub chosen: Slot,
    /// What was accepted behind `chosen`.
    pub accepted: BTreeMap<Slot, (Ballot, Decree)>,
    /// Slots whose record is there and damaged, also at or before `chosen`.
    pub damaged: BTreeSet<Slot>,
}
