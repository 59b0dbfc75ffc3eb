//! The learner: which decrees are chosen, in slot order, and catching up from the others' logs.
//!
//! A node learns that everything up to a slot is chosen from the leader. What it accepted under that leader's ballot
//! is then the chosen decree; anything else it fetches, from whichever node has it.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::{AppNdx, Ballot, Configuration, Epoch, GroupMessage, NodeId, Record, Slot};

use crate::acceptor::Acceptor;
use crate::broken::{Broken, Fault};
use crate::event::PersistNdx;
use crate::outbox::Outbox;

/// Ticks without progress after which a node that is behind asks another for decrees.
const STALLED_TICKS: u32 = 2;
/// Ticks after which an unanswered question is put to the next node.
const CATCH_UP_TICKS: u32 = 25;

/// One group's learner.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Learner {
    /// Every slot up to here was handed out as chosen.
    chosen: Slot,
    /// The highest claim of a leader: its ballot, and up to where everything is chosen.
    claim: (Ballot, Slot),
    /// Everything up to here is chosen, as this node knew before it started.
    recovered: Slot,
    /// How far each other node has chosen, as far as it told.
    peers: BTreeMap<NodeId, Slot>,
    /// Whom this node asked for decrees.
    asked: Option<NodeId>,
    waited: u32,
    hint: Hint,
}

/// How far the journal is told that everything is chosen: only over slots whose decrees are durable here.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Hint {
    /// Durable when this persist is.
    pending: Option<(PersistNdx, Slot)>,
    durable: Slot,
    written: Slot,
}

impl Learner {
    /// Everything up to `chosen` was recovered from the journal, which had known that everything up to `known` is chosen.
    pub fn new(chosen: Slot, known: Slot) -> Learner {
        Learner {
            chosen,
            recovered: known,
            claim: (Ballot::ZERO, Slot(0)),
            peers: BTreeMap::new(),
            asked: None,
            waited: 0,
            hint: Hint { pending: None, durable: chosen, written: chosen },
        }
    }

    /// Every slot up to here was handed out as chosen.
    pub fn chosen(&self) -> Slot {
        self.chosen
    }

    /// How far anybody is known to have chosen.
    pub fn known(&self) -> Slot {
        self.peers.values().copied().max().unwrap_or_default().max(self.chosen).max(self.recovered)
    }

    /// The other nodes that have everything up to `slot`.
    pub fn ahead_of(&self, slot: Slot) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.iter().filter(move |(_, chosen)| **chosen >= slot).map(|(&node, _)| node)
    }

    /// The leader of `ballot` says that everything up to `chosen` is chosen.
    pub fn on_claim(&mut self, ballot: Ballot, chosen: Slot) {
        if (ballot, chosen) > self.claim {
            self.claim = (ballot, chosen);
        }
        self.on_peer(ballot.node, chosen);
    }

    /// Another node has everything up to `chosen`.
    pub fn on_peer(&mut self, node: NodeId, chosen: Slot) {
        let known = self.peers.entry(node).or_default();
        *known = chosen.max(*known);
    }

    /// Another node has everything up to `chosen`, and that is needed at once.
    pub fn on_ahead(&mut self, node: NodeId, chosen: Slot, out: &mut Outbox<'_>) {
        self.on_peer(node, chosen);
        if self.asked.is_none() && chosen > self.chosen {
            self.ask_node(node, out);
        }
    }

    /// Only these are there.
    pub fn forget_strangers(&mut self, others: &BTreeSet<NodeId>) {
        self.peers.retain(|node, _| others.contains(node));
        self.asked = self.asked.filter(|node| others.contains(node));
    }

    /// Hands out what is chosen next, as far as there is no hole, and up to the decree that ends `epoch`, if that is among
    /// it: then who decides from there on is returned.
    pub fn advance(
        &mut self,
        epoch: Epoch,
        acceptor: &mut Acceptor,
        out: &mut Outbox<'_>,
        broken: Broken,
    ) -> Option<Configuration> {
        let (ballot, claimed) = self.claim;
        if claimed > self.chosen {
            acceptor.mark_chosen_under(ballot, claimed, broken);
        }
        let (before, mut sealed) = (self.chosen, None);
        while sealed.is_none() {
            let slot = self.chosen.next();
            if let Some(decree) = acceptor.take_chosen(slot) {
                sealed = decree.seals(epoch).cloned();
                out.chosen(slot, decree);
            } else if !(broken.is(Fault::ApplyOverHole) && slot < claimed && acceptor.held(slot).is_none()) {
                break;
            }
            self.chosen = slot;
        }
        if self.chosen > before {
            self.waited = 0;
            self.hint.pending.get_or_insert((out.last_persist(), self.chosen));
        }
        sealed
    }

    /// The record that everything up to here is chosen, for where it is more than a hint.
    pub fn take_record(&mut self, app: AppNdx) -> Record {
        self.hint.written = self.chosen;
        Record::Chosen { app, slot: self.chosen }
    }

    /// The hint that was written last, to be written once more.
    pub fn repeat_hint(&mut self, app: AppNdx) -> Record {
        self.hint.written = self.hint.written.max(self.hint.durable);
        Record::Chosen { app, slot: self.hint.written }
    }

    /// A snapshot, durable here, has everything up to `slot`.
    pub fn leap_to(&mut self, slot: Slot) {
        self.chosen = slot;
        self.waited = 0;
        self.hint = Hint { pending: None, durable: slot, ..self.hint };
    }

    /// Everything up to this persist is durable.
    pub fn on_durable(&mut self, up_to: PersistNdx, last_persist: PersistNdx) {
        if let Some((_, slot)) = self.hint.pending.take_if(|(ndx, _)| *ndx <= up_to) {
            self.hint.durable = slot;
            if self.chosen > slot {
                self.hint.pending = Some((last_persist, self.chosen));
            }
        }
    }

    /// The hint to write along with other records, if there is a new one.
    pub fn take_hint(&mut self, app: AppNdx) -> Option<Record> {
        let due = self.hint.durable > self.hint.written;
        self.hint.written = self.hint.durable.max(self.hint.written);
        due.then_some(Record::Chosen { app, slot: self.hint.written })
    }

    /// Asks for decrees if this node is behind and stays so. `leader` is asked last.
    pub fn on_tick(&mut self, leader: Option<NodeId>, out: &mut Outbox<'_>) {
        if self.peers.values().all(|&chosen| chosen <= self.chosen) {
            self.asked = None;
            self.waited = 0;
            return;
        }
        self.waited += 1;
        let patience = if self.asked.is_some() { CATCH_UP_TICKS } else { STALLED_TICKS };
        if self.waited >= patience {
            self.ask(leader, out);
        }
    }

    /// Asks a node that is ahead: the next one behind the one that was asked last, so that a dead one is passed over, and
    /// the leader, which has enough to do, behind all others.
    pub fn ask(&mut self, leader: Option<NodeId>, out: &mut Outbox<'_>) {
        let ahead = self.peers.iter().filter(|(_, chosen)| **chosen > self.chosen).map(|(&node, _)| node);
        let (mut donors, last): (Vec<NodeId>, Vec<NodeId>) = ahead.partition(|&node| Some(node) != leader);
        donors.extend(last);
        let asked = donors.iter().position(|&donor| Some(donor) == self.asked);
        let next = asked.map_or(0, |place| place + 1);
        if let Some(&donor) = donors.get(next).or(donors.first()) {
            self.ask_node(donor, out);
        }
    }

    /// Asks `from`, which has just answered, for more, if it has more.
    pub fn ask_on(&mut self, from: NodeId, out: &mut Outbox<'_>) {
        if self.peers.get(&from).is_some_and(|&chosen| chosen > self.chosen) {
            self.ask_node(from, out);
        } else {
            self.asked = None;
        }
    }

    fn ask_node(&mut self, donor: NodeId, out: &mut Outbox<'_>) {
        self.asked = Some(donor);
        self.waited = 0;
        out.send(donor, GroupMessage::CatchUpRequest { from: self.chosen.next() });
    }
}
