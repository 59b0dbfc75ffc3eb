//! Phase 2: a leader proposes, counts votes, and keeps a bounded number of slots open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use synod_types::limits::{
    BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, PIPELINE_BYTES_MAX, PROPOSAL_QUEUE_BYTES_MAX,
    PROPOSAL_QUEUE_COMMANDS_MAX,
};
use synod_types::{Ballot, Batch, Decree, NodeId, SignedCommand, Slot, TimeMs};

use crate::broken::Broken;
use crate::quorum::{Members, Votes};
use crate::reads::Reads;

/// A node that leads: a quorum promised its ballot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Leader {
    /// The ballot under which it leads.
    pub ballot: Ballot,
    /// The last slot that was chosen before its term, as far as the promises tell.
    pub inherited: Slot,
    /// The slot of the no-op that opens its term. Reads wait for it: once it is chosen, everything is known that was
    /// chosen before the term.
    pub barrier: Slot,
    /// The first slot that it has not proposed in.
    pub next: Slot,
    /// Proposed and not chosen.
    pub open: BTreeMap<Slot, Open>,
    /// The last chosen slot that it told the others of.
    pub announced: Slot,
    /// Linearizable reads.
    pub reads: Reads,
}

/// A slot that waits for votes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Open {
    /// Who accepted, durably.
    pub votes: Votes,
    /// Ticks since the Accept was sent last.
    pub waited: u32,
    bytes: usize,
}

impl Leader {
    /// At the start of a term: slots up to `inherited` are chosen, nothing is proposed yet.
    pub fn new(ballot: Ballot, inherited: Slot, barrier: Slot) -> Leader {
        Leader {
            ballot,
            inherited,
            barrier,
            next: inherited.next(),
            open: BTreeMap::new(),
            announced: Slot::default(),
            reads: Reads::default(),
        }
    }

    /// Opens the next slot for a decree of `bytes` bytes.
    pub fn open_next(&mut self, bytes: usize) -> Slot {
        let slot = self.next;
        self.next = slot.next();
        self.open.insert(slot, Open { bytes, ..Open::default() });
        slot
    }

    /// Whether another decree may be proposed now.
    pub fn has_room(&self, slots_max: usize) -> bool {
        self.open.len() < slots_max
            && self.open.values().map(|open| open.bytes).sum::<usize>() < PIPELINE_BYTES_MAX
    }

    /// Nothing up to `chosen` is open any more.
    pub fn close_through(&mut self, chosen: Slot) {
        while let Some(open) = self.open.first_entry().filter(|open| *open.key() <= chosen) {
            open.remove();
        }
    }

    /// Counts a vote. Says whether the slot is chosen by it; it is then no longer open.
    pub fn on_vote(&mut self, from: NodeId, slot: Slot, members: &Members, broken: Broken) -> bool {
        let Some(open) = self.open.get_mut(&slot) else { return false };
        open.votes.add(from);
        let chosen = members.is_met(&open.votes, broken);
        if chosen {
            self.open.remove(&slot);
        }
        chosen
    }
}

/// Commands that wait for a slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Proposals {
    queue: VecDeque<SignedCommand>,
    bytes: usize,
    now: TimeMs,
}

impl Proposals {
    /// Takes commands into the queue; gives back those for which there is no room.
    pub fn push(&mut self, commands: Vec<SignedCommand>, now: TimeMs) -> Vec<SignedCommand> {
        self.now = self.now.max(now);
        let mut refused = Vec::new();
        for command in commands {
            let full = self.queue.len() >= PROPOSAL_QUEUE_COMMANDS_MAX
                || self.bytes + command.len() > PROPOSAL_QUEUE_BYTES_MAX;
            if full {
                refused.push(command);
            } else {
                self.bytes += command.len();
                self.queue.push_back(command);
            }
        }
        refused
    }

    /// Batches never go back in time behind `time`, which an earlier leader used.
    pub fn not_before(&mut self, time: TimeMs) {
        self.now = self.now.max(time);
    }

    /// The next decree, as full as the limits allow.
    pub fn next_batch(&mut self) -> Option<Decree> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        while let Some(command) = self.queue.front() {
            let fits = commands.is_empty() || bytes + command.len() <= BATCH_BYTES_MAX;
            if !fits || commands.len() == BATCH_COMMANDS_MAX {
                break;
            }
            bytes += command.len();
            commands.extend(self.queue.pop_front());
        }
        self.bytes -= bytes;
        (!commands.is_empty()).then(|| Decree::Batch(Arc::new(Batch { time: self.now, commands })))
    }

    /// Everything that waits; the queue is empty afterwards.
    pub fn drain(&mut self) -> Vec<SignedCommand> {
        self.bytes = 0;
        std::mem::take(&mut self.queue).into()
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}
