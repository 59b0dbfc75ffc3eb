//! What the journal keeps. A record that is durable is never forgotten, and nothing that depends on a record
//! leaves the node before the record is durable.

use std::collections::BTreeMap;

use crate::configuration::Configuration;
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
    /// Everything up to `slot` is in a snapshot that this node has: what was accepted there is needed no longer, and
    /// goes in time.
    Cut {
        /// The group.
        app: AppNdx,
        /// The last slot that is cut off.
        slot: Slot,
    },
}

impl Record {
    /// The group that it is about.
    pub fn app(&self) -> AppNdx {
        match self {
            Record::Promised { app, .. }
            | Record::Accepted { app, .. }
            | Record::Chosen { app, .. }
            | Record::Cut { app, .. } => *app,
        }
    }
}

/// What a group finds in the journal when the node starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Recovered {
    /// The promise.
    pub promised: Ballot,
    /// Every slot up to here was cut off: a snapshot has it. 0: nothing was.
    pub cut: Slot,
    /// The journal does not say so yet: the node ended between a snapshot and the record of the cut. What it says of later slots
    /// is not to be durable before that is, or it would look as if slots had been lost.
    pub cut_is_due: bool,
    /// Every slot up to here is chosen, and its decree, if it is behind `cut`, can be read from the journal. A damaged or
    /// missing decree ends this prefix; what is behind it is learned again from the other nodes.
    pub chosen: Slot,
    /// What was accepted behind `chosen` and can be read (of what was once known as chosen, nothing needs to be
    /// here).
    pub accepted: BTreeMap<Slot, (Ballot, Decree)>,
    /// In the slots behind `chosen` up to this one, what is not in `accepted` may have been accepted and lost to
    /// damage. Never to be taken for "nothing". 0: nothing is damaged.
    pub damaged_through: Slot,
    /// Every slot up to here was once known as chosen. What is behind `chosen` up to here is damaged or missing, or stands
    /// behind such a one.
    pub known: Slot,
    /// Who decides in the slots behind `chosen`, as the decrees up to there say. `None`: as genesis says. It is in no record
    /// of its own: whoever applies the chosen decrees finds it.
    pub configuration: Option<Configuration>,
}

impl Recovered {
    /// What is chosen ends before `slot`, whose record, one of the chosen ones, cannot be read: it is learned again from the
    /// other nodes. Of a slot that was cut off it is the snapshot that cannot be read.
    ///
    /// # Panics
    /// If `slot` is not among the chosen ones.
    pub fn end_chosen_before(&mut self, slot: Slot) {
        assert!(Slot(0) < slot && slot <= self.chosen, "{slot} is not among the recovered slots");
        self.damaged_through = self.damaged_through.max(self.chosen);
        self.known = self.known.max(self.chosen);
        self.chosen = Slot(slot.0 - 1);
    }

    /// A snapshot has everything up to `slot`, which may be more than the journal knows as chosen.
    pub fn begin_behind(&mut self, slot: Slot) {
        if slot <= self.chosen {
            return;
        }
        self.chosen = slot;
        // The log does not reach the snapshot.
        (self.cut, self.cut_is_due) = (slot, true);
        self.accepted = self.accepted.split_off(&slot.next());
        while let Some((Ballot::CHOSEN, _)) = self.accepted.get(&self.chosen.next()) {
            self.chosen = self.chosen.next();
            self.accepted.remove(&self.chosen);
        }
    }
}
