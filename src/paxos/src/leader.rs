//! Phase 2: a leader proposes, counts votes, and keeps a bounded number of slots open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use synod_types::limits::{
    BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, PIPELINE_BYTES_MAX, PROPOSAL_QUEUE_BYTES_MAX,
    PROPOSAL_QUEUE_COMMANDS_MAX,
};
use synod_types::{Ballot, Batch, Decree, NodeId, SignedCommand, Slot, TimeMs};

use crate::broken::{Broken, Fault};
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
    /// Whether it has proposed to end the epoch: it proposes nothing behind that.
    pub is_sealed: bool,
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
            is_sealed: false,
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
        !self.is_sealed
            && self.open.len() < slots_max
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

/// Commands that wait for a slot, and a tick.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Proposals {
    /// In the order in which they came, each with the time at which it came; without a command it is a tick.
    queue: VecDeque<(TimeMs, Option<SignedCommand>)>,
    /// Of the commands in there.
    bytes: usize,
    now: TimeMs,
    /// Whether a tick is in there.
    ticks: bool,
}

impl Proposals {
    /// Takes commands into the queue; gives back those for which there is no room.
    pub fn push(&mut self, commands: Vec<SignedCommand>, now: TimeMs) -> Vec<SignedCommand> {
        self.now = self.now.max(now);
        let mut refused = Vec::new();
        for command in commands {
            let full = self.waiting() >= PROPOSAL_QUEUE_COMMANDS_MAX
                || self.bytes + command.len() > PROPOSAL_QUEUE_BYTES_MAX;
            if full {
                refused.push(command);
            } else {
                self.bytes += command.len();
                self.queue.push_back((self.now, Some(command)));
            }
        }
        refused
    }

    /// Takes a tick into the queue, unless one waits there already.
    pub fn push_tick(&mut self, now: TimeMs, broken: Broken) {
        self.now = self.now.max(now);
        if std::mem::replace(&mut self.ticks, true) {
            return;
        }
        if broken.is(Fault::TickOvertakes) {
            self.queue.push_front((self.now, None));
        } else {
            self.queue.push_back((self.now, None));
        }
    }

    /// The next decree of `term`: commands, as many as the limits allow, or the tick. Its time is that at which the last
    /// of them came. What waited long for a slot has not become late by that, and a tick ends nothing that a command which
    /// came before it keeps alive.
    pub fn next_batch(&mut self, term: Ballot, broken: Broken) -> Option<Decree> {
        let (mut time, first) = self.queue.pop_front()?;
        let mut commands: Vec<SignedCommand> = first.into_iter().collect();
        let mut bytes = commands.iter().map(SignedCommand::len).sum::<usize>();
        self.ticks &= !commands.is_empty();
        while !commands.is_empty()
            && commands.len() < BATCH_COMMANDS_MAX
            && let Some((came, Some(command))) = self.queue.front()
            && bytes + command.len() <= BATCH_BYTES_MAX
        {
            (time, bytes) = (*came, bytes + command.len());
            commands.extend(self.queue.pop_front().and_then(|(_, command)| command));
        }
        self.bytes -= bytes;
        if broken.is(Fault::TimeOfProposal) && !commands.is_empty() {
            time = self.now;
        }
        Some(Decree::Batch(Arc::new(Batch { term, time, commands })))
    }

    /// Every command that waits. Nothing does afterwards, and no time has passed: the next term begins with its own clock.
    pub fn drain(&mut self) -> Vec<SignedCommand> {
        let queue = std::mem::take(self).queue;
        queue.into_iter().filter_map(|(_, command)| command).collect()
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.queue.len() - usize::from(self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    const TERM: Ballot = Ballot { number: 3, node: NodeId(Digest([7; 32])), ..Ballot::ZERO };

    fn command(bytes: usize) -> SignedCommand {
        SignedCommand { body: vec![1; bytes].into(), signature: vec![].into(), key: vec![].into() }
    }

    /// Everything that waits, as it will be proposed: how many commands at what time.
    fn batches(proposals: &mut Proposals) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| proposals.next_batch(TERM, Broken::NOT))
            .map(|decree| match decree {
                Decree::Batch(batch) => (batch.commands.len(), batch.time.0),
                Decree::Noop | Decree::Seal(_) => panic!("nobody proposed a no-op"),
            })
            .collect()
    }

    #[test]
    fn a_tick_keeps_its_place_and_its_time() {
        let mut proposals = Proposals::default();
        proposals.push(vec![command(1)], TimeMs(10));
        proposals.push(vec![command(1)], TimeMs(20));
        proposals.push_tick(TimeMs(30), Broken::NOT);
        proposals.push(vec![command(1)], TimeMs(40));
        proposals.push_tick(TimeMs(50), Broken::NOT);
        assert_eq!(proposals.waiting(), 3);
        // The second tick would have added nothing.
        assert_eq!(batches(&mut proposals), [(2, 20), (0, 30), (1, 40)]);
        proposals.push_tick(TimeMs(60), Broken::NOT);
        assert_eq!(batches(&mut proposals), [(0, 60)]);
    }

    #[test]
    fn a_batch_has_the_time_at_which_its_last_command_came() {
        let mut proposals = Proposals::default();
        proposals.push(vec![command(BATCH_BYTES_MAX)], TimeMs(10));
        proposals.push(vec![command(1)], TimeMs(20));
        proposals.push(vec![command(1); BATCH_COMMANDS_MAX], TimeMs(15));
        assert_eq!(batches(&mut proposals), [(1, 10), (BATCH_COMMANDS_MAX, 20), (1, 20)]);
    }

    #[test]
    fn what_is_drained_is_gone_with_the_tick() {
        let mut proposals = Proposals::default();
        proposals.push(vec![command(1), command(2)], TimeMs(10));
        proposals.push_tick(TimeMs(20), Broken::NOT);
        assert_eq!(proposals.drain(), [command(1), command(2)]);
        assert_eq!((proposals.waiting(), batches(&mut proposals).len()), (0, 0));
        proposals.push_tick(TimeMs(15), Broken::NOT);
        assert_eq!(batches(&mut proposals), [(0, 15)]);
    }
}
