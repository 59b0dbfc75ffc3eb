//! What the journal keeps. A record that is durable is never forgotten, and nothing that depends on a record
//! leaves the node before the record is durable.

use std::collections::BTreeMap;

use crate::decree::Decree;
use crate::ids::{AppNdx, Ballot, Slot};

/// One fact about one group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
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
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Recovered {
    /// The promise.
    pub promised: Ballot,
    /// Every slot up to here is chosen, and its decree can be read from the journal. A damaged or missing decree
    /// ends this prefix; what is behind it is learned again from the other nodes.
    pub chosen: Slot,
    /// What was accepted behind `chosen` and can be read (of what was once known as chosen, nothing needs to be
    /// here).
    pub accepted: BTreeMap<Slot, (Ballot, Decree)>,
    /// In the slots behind `chosen` up to this one, what is not in `accepted` may have been accepted and lost to
    /// damage. Never to be taken for "nothing". 0: nothing is damaged.
    pub damaged_through: Slot,
}
