//! Records of chosen slots that this node's journal cannot give any more. Each is asked for by itself, of one node after the
//! other, until one gives it, or all have said that their logs do not give it either.
//!
//! A search is only ever for a slot that is known to be chosen: of any other slot, nobody owes this node anything.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::{GroupMessage, NodeId, Slot};

use crate::outbox::Outbox;

/// Slots that are searched at a time; what else is damaged is found again later.
pub const SEARCHES_MAX: usize = 256;
/// Ticks after which an unanswered question is put to the next node.
const ASK_TICKS: u32 = 25;
/// Ticks between two rounds of asking everybody.
const ROUND_TICKS: u32 = 250;
/// Rounds in which everybody has to have said no before this node gives up on a slot without which it cannot come further:
/// time for the others to keep as a snapshot what their states still have of it.
const NEEDED_ROUNDS: u32 = 6;

/// One group's searches.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Mending {
    searches: BTreeMap<Slot, Search>,
    /// Records that were found.
    found: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Search {
    /// Whether this node's state lacks the slot.
    is_needed: bool,
    /// Whom this node asked last.
    asked: Option<NodeId>,
    /// Who has said in this round that its log does not give it.
    denied: BTreeSet<NodeId>,
    /// Rounds in which everybody said so.
    rounds: u32,
    /// Ticks until the next node is asked, or the next round begins.
    ticks_left: u32,
}

impl Mending {
    /// Searches at the start of a node: the slots behind `chosen` up to `known` are chosen, and the first of them could not
    /// be read. Catching up is given a while to bring it along with the others.
    pub fn new(chosen: Slot, known: Slot) -> Mending {
        let mut mending = Mending::default();
        if known > chosen {
            mending.searches.insert(chosen.next(), Search::new(true));
        }
        mending
    }

    /// How many slots are searched.
    pub fn count(&self) -> usize {
        self.searches.len()
    }

    /// How many records were found since the node started.
    pub fn found_count(&self) -> u64 {
        self.found
    }

    /// The first slot that is searched.
    pub fn first(&self) -> Option<Slot> {
        self.searches.keys().next().copied()
    }

    /// Begins to search, unless that is under way or too much is searched already.
    pub fn begin(&mut self, slot: Slot, is_needed: bool, donors: &BTreeSet<NodeId>, out: &mut Outbox<'_>) {
        if self.searches.len() < SEARCHES_MAX && !self.searches.contains_key(&slot) {
            let mut search = Search::new(is_needed);
            search.go_on(slot, donors, out);
            self.searches.insert(slot, search);
        }
    }

    /// A node's log does not give the slot.
    pub fn on_denied(&mut self, from: NodeId, slot: Slot, donors: &BTreeSet<NodeId>, out: &mut Outbox<'_>) {
        let Some(search) = self.searches.get_mut(&slot) else { return };
        search.denied.insert(from);
        if search.asked == Some(from) {
            search.go_on(slot, donors, out);
        }
    }

    /// The slots that are searched, up to this one.
    pub fn through(&self, slot: Slot) -> Vec<Slot> {
        self.searches.range(..=slot).map(|(&slot, _)| slot).collect()
    }

    /// The record is here. Says whether it was searched.
    pub fn found(&mut self, slot: Slot) -> bool {
        let was_searched = self.searches.remove(&slot).is_some();
        self.found += u64::from(was_searched);
        was_searched
    }

    /// Nothing up to `slot` is needed any more.
    pub fn forget_through(&mut self, slot: Slot) {
        self.searches = self.searches.split_off(&slot.next());
    }

    /// A tick passed; everything up to `chosen` is in this node's state. `donors` says who may have a slot. Returns the slots
    /// that nobody has, and whether they are needed.
    pub fn on_tick(
        &mut self,
        chosen: Slot,
        donors: impl Fn(Slot) -> BTreeSet<NodeId>,
        out: &mut Outbox<'_>,
    ) -> Vec<(Slot, bool)> {
        // What came by another way was written on it.
        self.searches.retain(|&slot, search| !search.is_needed || slot > chosen);
        let mut lost = Vec::new();
        for (&slot, search) in &mut self.searches {
            search.ticks_left = search.ticks_left.saturating_sub(1);
            if search.ticks_left > 0 {
                continue;
            }
            let donors = donors(slot);
            if search.is_over(&donors) {
                search.rounds += 1;
                search.denied.clear();
                if search.rounds >= if search.is_needed { NEEDED_ROUNDS } else { 1 } {
                    lost.push((slot, search.is_needed));
                    continue;
                }
            }
            search.go_on(slot, &donors, out);
        }
        for (slot, _) in &lost {
            self.searches.remove(slot);
        }
        lost
    }
}

impl Search {
    fn new(is_needed: bool) -> Search {
        Search { is_needed, asked: None, denied: BTreeSet::new(), rounds: 0, ticks_left: ROUND_TICKS }
    }

    /// Whether everybody has said no.
    fn is_over(&self, donors: &BTreeSet<NodeId>) -> bool {
        donors.iter().all(|donor| self.denied.contains(donor))
    }

    /// Asks the next node behind the one that was asked last, of those that have not said no.
    fn go_on(&mut self, slot: Slot, donors: &BTreeSet<NodeId>, out: &mut Outbox<'_>) {
        let left = || donors.iter().copied().filter(|donor| !self.denied.contains(donor));
        let next = left().find(|&donor| Some(donor) > self.asked).or_else(|| left().next());
        if let Some(donor) = next {
            self.asked = Some(donor);
            self.ticks_left = ASK_TICKS;
            out.send(donor, GroupMessage::RecordRequest { slot });
        } else {
            self.ticks_left = if self.is_needed { ROUND_TICKS } else { 1 };
        }
    }
}
