//! The acceptor: what this node promised and accepted ("Paxos Made Simple", section 2.2).
//!
//! It never accepts under a ballot below its promise, never lowers its promise, and every answer that says so is
//! unlocked by the record that makes it true after a crash.

use std::collections::BTreeMap;

use synod_types::limits::{ACCEPTED_BYTES_MAX, ACCEPTED_SLOTS_MAX};
use synod_types::message::AcceptedSlot;
use synod_types::{Ballot, Decree, Slot};

use crate::broken::{Broken, Fault};

/// One group's acceptor. It holds only what is behind the last slot that this node applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acceptor {
    promised: Ballot,
    accepted: BTreeMap<Slot, (Ballot, Decree)>,
    accepted_bytes: usize,
    damaged_through: Slot,
}

/// What an acceptor makes of an Accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// Accepted; to be made durable.
    New,
    /// It had accepted the same before; the record is on its way or durable already.
    Repeated,
    /// It promised a higher ballot.
    Refused,
    /// Too far ahead of what it applied. It is as if the message had been lost.
    OutOfReach,
}

impl Acceptor {
    /// With what the journal recovered.
    pub fn new(
        promised: Ballot,
        accepted: BTreeMap<Slot, (Ballot, Decree)>,
        damaged_through: Slot,
    ) -> Acceptor {
        let accepted_bytes = accepted.values().map(|(_, decree)| decree.len()).sum();
        Acceptor { promised, accepted, accepted_bytes, damaged_through }
    }

    /// The highest ballot that was promised.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// Raises the promise. Says whether it was raised, which must be made durable.
    pub fn promise(&mut self, ballot: Ballot) -> bool {
        let raised = ballot > self.promised;
        self.promised = self.promised.max(ballot);
        raised
    }

    /// Accepts `decree` in `slot` unless a higher ballot was promised. `applied` is the last slot that this node
    /// needs no more votes for.
    pub fn accept(
        &mut self,
        applied: Slot,
        slot: Slot,
        ballot: Ballot,
        decree: Decree,
        broken: Broken,
    ) -> Acceptance {
        if ballot < self.promised && !broken.is(Fault::PromiseNotKept) {
            return Acceptance::Refused;
        }
        match self.accepted.get(&slot) {
            Some(&(held, _)) if held == ballot || held == Ballot::CHOSEN => return Acceptance::Repeated,
            Some((_, held)) => self.accepted_bytes -= held.len(),
            None => {
                let next = slot == applied.next();
                let full = self.accepted_bytes + decree.len() > ACCEPTED_BYTES_MAX;
                if !next && (full || slot.0 > applied.0.saturating_add(ACCEPTED_SLOTS_MAX)) {
                    return Acceptance::OutOfReach;
                }
            }
        }
        self.put(slot, ballot, decree);
        Acceptance::New
    }

    /// Takes a decree that is known to be chosen. Says whether that must be made durable.
    pub fn learn(&mut self, slot: Slot, decree: &Decree) -> bool {
        match self.accepted.get_mut(&slot) {
            Some((ballot, held)) if held == decree => {
                *ballot = Ballot::CHOSEN;
                false
            }
            held => {
                self.accepted_bytes -= held.map_or(0, |(_, decree)| decree.len());
                self.put(slot, Ballot::CHOSEN, decree.clone());
                true
            }
        }
    }

    fn put(&mut self, slot: Slot, ballot: Ballot, decree: Decree) {
        self.accepted_bytes += decree.len();
        self.accepted.insert(slot, (ballot, decree));
    }

    /// What is in `slot` is chosen, whatever else this node may hear.
    pub fn mark_chosen(&mut self, slot: Slot) {
        if let Some((ballot, _)) = self.accepted.get_mut(&slot) {
            *ballot = Ballot::CHOSEN;
        }
    }

    /// Marks as chosen what was accepted under `ballot` in the slots up to `chosen`: under one ballot a slot has
    /// one value.
    pub fn mark_chosen_under(&mut self, ballot: Ballot, chosen: Slot, broken: Broken) {
        for (_, (held, _)) in self.accepted.range_mut(..=chosen) {
            if *held == ballot || broken.is(Fault::LearnAnyBallot) {
                *held = Ballot::CHOSEN;
            }
        }
    }

    /// Takes out the decree of `slot` if it is known to be chosen.
    pub fn take_chosen(&mut self, slot: Slot) -> Option<Decree> {
        if self.accepted.get(&slot)?.0 != Ballot::CHOSEN {
            return None;
        }
        let (_, decree) = self.accepted.remove(&slot)?;
        self.accepted_bytes -= decree.len();
        Some(decree)
    }

    /// A snapshot has everything up to `slot`.
    pub fn forget_through(&mut self, slot: Slot) {
        let behind = self.accepted.split_off(&slot.next());
        let forgotten = std::mem::replace(&mut self.accepted, behind);
        self.accepted_bytes -= forgotten.values().map(|(_, decree)| decree.len()).sum::<usize>();
    }

    /// Takes its own decree as a leader, whatever it holds already. Says whether that must be made durable.
    ///
    /// # Panics
    /// If a higher ballot was promised: this node does not lead.
    pub fn propose(&mut self, slot: Slot, ballot: Ballot, decree: &Decree) -> bool {
        assert!(ballot >= self.promised, "{ballot:?} proposes after a promise to {:?}", self.promised);
        match self.accepted.get(&slot) {
            Some((Ballot::CHOSEN, _)) => return false,
            held => self.accepted_bytes -= held.map_or(0, |(_, decree)| decree.len()),
        }
        self.put(slot, ballot, decree.clone());
        true
    }

    /// What phase 1 has to report of the slots behind `chosen`.
    pub fn accepted_behind(&self, chosen: Slot) -> Vec<AcceptedSlot> {
        let behind = self.accepted.range(chosen.next()..);
        behind
            .map(|(&slot, (ballot, decree))| AcceptedSlot { slot, ballot: *ballot, decree: decree.clone() })
            .collect()
    }

    /// Up to which slot damage makes "nothing accepted" unreliable.
    pub fn damaged_through(&self) -> Slot {
        self.damaged_through
    }

    /// What is held in `slot`, and under which ballot.
    pub fn accepted_in(&self, slot: Slot) -> Option<(Ballot, &Decree)> {
        self.accepted.get(&slot).map(|(ballot, decree)| (*ballot, decree))
    }

    /// The decree that is held in `slot`.
    pub fn held(&self, slot: Slot) -> Option<&Decree> {
        self.accepted.get(&slot).map(|(_, decree)| decree)
    }
}
