//! Phase 1: a candidate gathers promises and finds out what it has to propose.

use std::collections::BTreeMap;

use synod_types::message::AcceptedSlot;
use synod_types::{Ballot, Decree, NodeId, Slot};

use crate::broken::{Broken, Fault};
use crate::quorum::{Members, Votes};

/// A node that stands for leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Candidate {
    /// The ballot under which it stands.
    pub ballot: Ballot,
    /// Whether its own promise is durable.
    pub own_is_durable: bool,
    /// Ticks since it asked last.
    pub waited: u32,
    promises: BTreeMap<NodeId, Promise>,
}

/// What one acceptor reported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// Every slot up to here is chosen, and the acceptor has it.
    pub chosen: Slot,
    /// Behind `chosen` up to here, what is not in `accepted` is unknown.
    pub damaged_through: Slot,
    /// What it holds behind `chosen`.
    pub accepted: Vec<AcceptedSlot>,
}

/// What a quorum's promises oblige a new leader to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// Every slot up to here is chosen; no decree is proposed there.
    pub chosen: Slot,
    /// What to propose in the slots behind it, one after the other; holes are filled with no-ops.
    pub decrees: Vec<Decree>,
}

impl Candidate {
    /// Nobody promised yet.
    pub fn new(ballot: Ballot) -> Candidate {
        Candidate { ballot, own_is_durable: false, waited: 0, promises: BTreeMap::new() }
    }

    /// A promise arrived; a repeated one replaces the earlier, since the acceptor may have learned more.
    pub fn on_promise(&mut self, from: NodeId, promise: Promise) {
        self.promises.insert(from, promise);
    }

    /// Asks anew: who promised before and has gone may be the only one that has some decree.
    pub fn forget_promises(&mut self) {
        self.promises.clear();
    }

    /// The obligations, once a quorum promised and no slot is unclear.
    ///
    /// Nothing is proposed behind a decree that ends the epoch: who decides there is not this leader's to say.
    pub fn takeover(&self, members: &Members, broken: Broken) -> Option<Takeover> {
        if !members.is_met(&self.promises.keys().copied().collect(), broken) {
            return None;
        }
        let promises = self.promises.values();
        let chosen = promises.clone().map(|promise| promise.chosen).max().unwrap_or_default();
        let mut highest: BTreeMap<Slot, &AcceptedSlot> = BTreeMap::new();
        for accepted in promises.clone().flat_map(|promise| &promise.accepted) {
            let best = highest.entry(accepted.slot).or_insert(accepted);
            let better = if broken.is(Fault::TakeoverLowestBallot) {
                accepted.ballot < best.ballot
            } else {
                accepted.ballot > best.ballot
            };
            if better {
                *best = accepted;
            }
        }
        if broken.is(Fault::TakeoverForgetsAccepted) {
            highest.clear();
        }
        let damaged_through = promises.map(|promise| promise.damaged_through).max().unwrap_or_default();
        let last = highest.keys().next_back().copied().unwrap_or_default().max(damaged_through);
        let mut decrees = Vec::new();
        let mut slot = chosen;
        while slot < last {
            slot = slot.next();
            let best = highest.get(&slot).copied();
            if slot <= damaged_through && !self.is_clear(slot, best, members, broken) {
                return None;
            }
            decrees.push(best.map_or(Decree::Noop, |accepted| accepted.decree.clone()));
        }
        Self::end_at_seal(chosen, &mut decrees, &highest, members, broken);
        Some(Takeover { chosen, decrees })
    }

    /// Ends the decrees behind the first one that ends the epoch. One that was passed over is none: a later leader of this
    /// epoch, which proposed further on, had found out that it cannot have been chosen.
    fn end_at_seal(
        chosen: Slot,
        decrees: &mut Vec<Decree>,
        highest: &BTreeMap<Slot, &AcceptedSlot>,
        members: &Members,
        broken: Broken,
    ) {
        let mut slot = chosen;
        for n in 0..decrees.len() {
            slot = slot.next();
            let Some(sealed) = highest.get(&slot).filter(|held| held.decree.seals(members.epoch()).is_some())
            else {
                continue;
            };
            let passes =
                |held: &&AcceptedSlot| held.ballot.epoch == members.epoch() && held.ballot > sealed.ballot;
            let is_passed = highest.range(slot.next()..).any(|(_, held)| passes(held));
            if is_passed && !broken.is(Fault::TakeoverRevivesSeal) {
                decrees[n] = Decree::Noop;
            } else if !broken.is(Fault::TakeoverPassesSeal) {
                return decrees.truncate(n + 1);
            }
        }
    }

    /// Whether the reports of a slot suffice although some acceptor's record may be damaged: the decree is known to be
    /// chosen, or a quorum knows what it accepted there.
    fn is_clear(&self, slot: Slot, best: Option<&AcceptedSlot>, members: &Members, broken: Broken) -> bool {
        let known = |promise: &Promise| {
            slot > promise.damaged_through || promise.accepted.iter().any(|accepted| accepted.slot == slot)
        };
        let reports: Votes =
            self.promises.iter().filter(|(_, promise)| known(promise)).map(|(&node, _)| node).collect();
        best.is_some_and(|accepted| accepted.ballot == Ballot::CHOSEN)
            || members.is_met(&reports, broken)
            || broken.is(Fault::DamageIsEmpty)
    }
}
