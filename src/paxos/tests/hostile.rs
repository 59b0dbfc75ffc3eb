//! A member that sends whatever it likes: numbers at the edges of their types, ballots, slots and votes that nobody gave.
//!
//! Paxos promises neither progress nor agreement with such a member (docs/THREATS.md), and this asks for neither. No
//! message may stop another node, or make it work or keep more than the message itself is worth.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use synod_paxos::{Config, Core, Effect, Event};
use synod_types::message::{AcceptedSlot, GroupBeat};
use synod_types::{
    AppNdx, Ballot, Batch, Certificate, Checkpoint, Configuration, ContentKey, Decree, Digest, Epoch,
    GroupMessage, Message, NodeId, SignedCommand, Slot, StateNdx, TimeMs,
};

const APP: AppNdx = AppNdx(1);
/// What one event may make a node do; an honest leader's pipeline and all its retries are far below.
const EFFECTS_MAX: usize = 20_000;

fn node(i: u8) -> NodeId {
    NodeId(Digest([i; 32]))
}

/// Draws what a hostile member sends.
struct Hostile {
    random: StdRng,
    /// Ballots that were seen in honest messages, which are the ones that hurt.
    ballots: Vec<Ballot>,
}

impl Hostile {
    fn number(&mut self) -> u64 {
        let near = self.random.random_range(0..6_u64);
        match self.random.random_range(0..6) {
            0 => u64::MAX - near,
            1 => 1_u64.wrapping_shl(self.random.random_range(0..64)).wrapping_add(near),
            2 => (1 << 63) - 3 + near,
            _ => near,
        }
    }

    fn slot(&mut self) -> Slot {
        Slot(self.number())
    }

    fn epoch(&mut self) -> Epoch {
        if self.random.random_ratio(3, 4) { Epoch(0) } else { Epoch(self.number()) }
    }

    fn ballot(&mut self) -> Ballot {
        match self.random.random_range(0..8) {
            0 => Ballot::CHOSEN,
            1 => Ballot::ZERO,
            2..=4 => self.ballots.choose(&mut self.random).copied().unwrap_or_default(),
            5 => Ballot { epoch: self.epoch(), number: self.number(), priority: u32::MAX, node: node(3) },
            _ => {
                let priority = *[0, 1, u32::MAX - 1, u32::MAX].choose(&mut self.random).unwrap();
                let node = node(self.random.random_range(0..5));
                Ballot { epoch: self.epoch(), number: self.number(), priority, node }
            }
        }
    }

    fn decree(&mut self) -> Decree {
        if self.random.random_ratio(1, 3) {
            return Decree::Noop;
        }
        if self.random.random_ratio(1, 4) {
            let members = (0..self.random.random_range(0..17)).map(|_| node(self.random.random_range(0..20)));
            let members = members.collect();
            return Decree::Seal(Arc::new(Configuration { epoch: self.epoch(), members }));
        }
        let command =
            |i: u8| SignedCommand { body: vec![i; 10].into(), signature: vec![].into(), key: vec![].into() };
        let commands = (0..self.random.random_range(0..3)).map(command).collect();
        Decree::Batch(Arc::new(Batch { term: self.ballot(), time: TimeMs(self.number()), commands }))
    }

    fn accepted(&mut self) -> Vec<AcceptedSlot> {
        (0..self.random.random_range(0..4))
            .map(|_| AcceptedSlot { slot: self.slot(), ballot: self.ballot(), decree: self.decree() })
            .collect()
    }

    fn message(&mut self) -> Message {
        let (ballot, slot, chosen) = (self.ballot(), self.slot(), self.slot());
        let message = match self.random.random_range(0..18) {
            0 => return Message::Heartbeat { round: self.number() },
            1 | 2 => {
                let happy = self.random.random_ratio(1, 4);
                let beat = GroupBeat { app: APP, ballot: self.ballot(), leader: ballot, happy, chosen };
                // The rounds of a node count from 1 here.
                let round = self.random.random_range(0..400);
                return Message::HeartbeatReply {
                    round,
                    groups: vec![beat; usize::from(self.random.random_ratio(9, 10))],
                };
            }
            3 => GroupMessage::Prepare { ballot, from: slot },
            4 | 5 => {
                let damaged_through = if self.random.random_ratio(1, 2) { Slot(0) } else { self.slot() };
                GroupMessage::Promise { ballot, chosen, damaged_through, accepted: self.accepted() }
            }
            6 => GroupMessage::Accept { ballot, slot, decree: self.decree(), chosen },
            7 => GroupMessage::Accepted { ballot, slot },
            8 => GroupMessage::Nack { ballot, promised: self.ballot() },
            9 => GroupMessage::Learn { ballot, chosen },
            10 => GroupMessage::CatchUpRequest { from: slot },
            11 => {
                let decrees = (0..self.random.random_range(0..4)).map(|_| self.decree()).collect();
                GroupMessage::CatchUp { from: slot, decrees }
            }
            12 => GroupMessage::ReadIndexRequest { read: self.number() },
            13 => GroupMessage::ReadIndex { read: self.number(), index: slot },
            14 => GroupMessage::Confirm { ballot, round: self.number() },
            15 => GroupMessage::HandOver { ballot, chosen },
            16 => GroupMessage::Confirmed { ballot, round: self.number() },
            17 => GroupMessage::RecordRequest { slot },
            18 => GroupMessage::Unreadable { slot },
            _ => {
                let (state_ndx, chain) = (StateNdx(self.number()), Digest([0; 32]));
                let index = ContentKey(chain);
                let checkpoint = Checkpoint { app: APP, slot, state_ndx, chain, index };
                GroupMessage::Snapshot { certificate: Certificate { checkpoint, signatures: Vec::new() } }
            }
        };
        Message::Group { app: APP, message }
    }
}

/// Two honest nodes and a hostile member of three, which hears everything that is sent to it.
fn play(seed: u64) {
    let mut hostile = Hostile { random: StdRng::seed_from_u64(seed), ballots: Vec::new() };
    let members: Vec<_> = (1..=3).map(node).collect();
    let core = |&id: &NodeId| (id, Core::new(Config::new(id, members.clone(), vec![APP]), BTreeMap::new()));
    let mut nodes: BTreeMap<NodeId, Core> = members[..2].iter().map(core).collect();
    let receivers = [node(1), node(2)];
    let mut inbox: Vec<(NodeId, Event)> = Vec::new();
    for turn in 0..600 {
        for id in [node(1), node(2)] {
            if turn % 2 == 0 {
                inbox.push((id, Event::Tick));
            }
            if hostile.random.random_ratio(1, 3) {
                inbox.push((id, Event::Message { from: node(3), message: hostile.message() }));
            }
        }
        if turn % 50 == 0 {
            let commands =
                vec![SignedCommand { body: vec![9].into(), signature: vec![].into(), key: vec![].into() }];
            inbox.push((node(1), Event::Propose { app: APP, commands, now: TimeMs(turn) }));
        }
        // What honest nodes say to each other arrives, but not for ever in one turn.
        for (to, event) in std::mem::take(&mut inbox) {
            let mut effects = Vec::new();
            nodes.get_mut(&to).unwrap().step(event, &mut effects);
            assert!(effects.len() <= EFFECTS_MAX, "one event led to {} effects", effects.len());
            for effect in effects {
                let sent = match effect {
                    Effect::Persist { ndx, unlocks, .. } => {
                        inbox.push((to, Event::Durable { up_to: ndx }));
                        unlocks
                    }
                    Effect::Send { to, message } => vec![(to, message)],
                    _ => Vec::new(),
                };
                for (receiver, message) in sent {
                    hostile.hears(&message);
                    // A forged end of an epoch may have named others.
                    if receivers.contains(&receiver) {
                        inbox.push((receiver, Event::Message { from: to, message }));
                    }
                }
            }
        }
        assert!(inbox.len() < EFFECTS_MAX);
    }
}

impl Hostile {
    fn hears(&mut self, message: &Message) {
        if let Message::Group {
            message: GroupMessage::Prepare { ballot, .. } | GroupMessage::Accept { ballot, .. },
            ..
        } = message
            && !self.ballots.contains(ballot)
        {
            self.ballots.push(*ballot);
        }
    }
}

#[test]
fn no_message_of_a_member_stops_a_node_or_makes_it_work_without_end() {
    for seed in 0..1_000 {
        play(seed);
    }
}
