//! Model checking: every reachable state of one group in one slot, with the protocol's own code.
//!
//! Three acceptors, two of which stand for leader, each under one ballot; every message may be lost, delayed, repeated
//! and reordered; a node may crash whenever it has written something or not, and loses any subset of what it had not
//! synced. One candidate comes with a decree that it alone accepted under an earlier ballot, the other with nothing but
//! the no-op that opens its term, so that there is something to disagree on.
//!
//! To keep the states countable, a node takes no message while it writes (all interleavings with slow disks are the
//! seeds' business), and what concerns a leader's further slots is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use stateright::{Checker, Model, Property};
use synod_paxos::broken::Broken;
use synod_paxos::{Effect, Group, GroupConfig, Outbox, PersistNdx};
use synod_sim::trace::{node_id, node_index};
use synod_types::{
    AppNdx, Ballot, Batch, Configuration, Decree, GroupMessage, Message, Record, Recovered, SignedCommand,
    Slot, TimeMs,
};

const APP: AppNdx = AppNdx(1);
const SLOT: Slot = Slot(1);
const NODES: usize = 3;
const CANDIDATES: usize = 2;

/// A cluster and everything that is under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    nodes: Vec<Arc<Node>>,
    /// Whatever was sent may arrive at any time, any number of times: from, to, what.
    network: BTreeSet<Arc<Envelope>>,
    /// What was handed out as chosen anywhere, ever.
    chosen: BTreeSet<Vec<u8>>,
    crashes_left: u8,
    learners: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Node {
    group: Group,
    durable: Recovered,
    pending: Vec<Pending>,
    last_persist: PersistNdx,
    stood: bool,
}

/// Written and not synced.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    ndx: PersistNdx,
    records: Vec<Record>,
    unlocks: BTreeSet<Arc<Envelope>>,
}

/// A message on its way, ordered by its encoding.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Envelope {
    from: usize,
    to: usize,
    message: GroupMessage,
    encoded: Vec<u8>,
}

impl PartialOrd for Envelope {
    fn partial_cmp(&self, other: &Envelope) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Envelope {
    fn cmp(&self, other: &Envelope) -> std::cmp::Ordering {
        (self.from, self.to, &self.encoded).cmp(&(other.from, other.to, &other.encoded))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    Stand(usize),
    Deliver(Arc<Envelope>),
    Sync(usize),
    /// Stops a node and starts it; of what it had not synced, the writes in the mask survive.
    Crash(usize, u32),
}

/// How much of the world there is.
struct OneSlot {
    crashes: u8,
    /// Whether what a leader tells about chosen slots arrives, and catch-up with it.
    learners: bool,
}

fn command(name: &'static [u8]) -> Decree {
    let command =
        SignedCommand { body: name.into(), signature: Bytes::new(), key: Bytes::from_static(b"client") };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands: vec![command] }))
}

fn ballot(number: u64, node: usize) -> Ballot {
    let priority = u32::try_from(node).expect("three nodes");
    Ballot { number, priority, node: node_id(node), ..Ballot::ZERO }
}

fn new_group(node: usize, recovered: Recovered) -> Group {
    let genesis = Configuration::genesis((0..NODES).map(node_id).collect());
    let config = GroupConfig {
        retry_ticks: 25,
        read_ticks: 50,
        spread_rounds: u32::MAX,
        pipeline_slots: 1,
        first_number: 0,
        broken: Broken::NOT,
    };
    Group::new(APP, node_id(node), &genesis, config, recovered)
}

/// Only this slot is looked at.
fn concerns_slot(message: &GroupMessage, learners: bool) -> bool {
    match message {
        GroupMessage::Accept { slot, .. } | GroupMessage::Accepted { slot, .. } => *slot == SLOT,
        GroupMessage::Learn { .. } | GroupMessage::CatchUpRequest { .. } => learners,
        _ => true,
    }
}

fn concerns_slot_record(record: &Record) -> bool {
    !matches!(record, Record::Accepted { slot, .. } if *slot != SLOT)
}

impl Node {
    fn recover(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Promised { ballot, .. } => self.durable.promised = *ballot,
                Record::Accepted { slot, ballot, decree, .. } => {
                    self.durable.accepted.insert(*slot, (*ballot, decree.clone()));
                }
                Record::Chosen { slot, .. } => self.durable.chosen = *slot,
                Record::Cut { .. } => {}
            }
        }
    }

    /// What a start finds, in the journal's form.
    fn recovered(&self) -> Recovered {
        let mut recovered = self.durable.clone();
        while let Some((Ballot::CHOSEN, _)) = recovered.accepted.get(&recovered.chosen.next()) {
            recovered.chosen = recovered.chosen.next();
        }
        recovered.accepted = recovered.accepted.split_off(&recovered.chosen.next());
        recovered
    }
}

impl State {
    fn step(&mut self, node: usize, act: impl FnOnce(&mut Group, &mut Outbox<'_>)) {
        let mut effects = Vec::new();
        let at = Arc::make_mut(&mut self.nodes[node]);
        let before = at.last_persist;
        act(&mut at.group, &mut Outbox::new(APP, &mut effects, &mut at.last_persist));
        for effect in effects {
            self.perform(node, before, effect);
        }
    }

    fn perform(&mut self, node: usize, before: PersistNdx, effect: Effect) {
        let learners = self.learners;
        match effect {
            Effect::Send { to, message } => {
                self.network.extend(envelope(node, node_index(to), message, learners))
            }
            Effect::Persist { ndx, mut records, unlocks } => {
                records.retain(concerns_slot_record);
                let unlocks = unlocks
                    .into_iter()
                    .filter_map(|(to, message)| envelope(node, node_index(to), message, learners));
                let at = Arc::make_mut(&mut self.nodes[node]);
                if !records.is_empty() {
                    at.pending.push(Pending { ndx, records, unlocks: unlocks.collect() });
                    return;
                }
                // Nothing to write: a repeated answer, which goes with what is being written, or now. It takes no
                // number, or else repeated messages would count up without end.
                match at.pending.last_mut() {
                    Some(pending) => pending.unlocks.extend(unlocks),
                    None => self.network.extend(unlocks),
                }
                if at.pending.iter().all(|pending| pending.ndx <= before) {
                    at.last_persist = before;
                }
            }
            Effect::Chosen { slot, decree, .. } => {
                if slot == SLOT {
                    self.chosen.insert(synod_types::wire::encode(&decree));
                }
            }
            Effect::ServeLog { to, from, .. } => {
                let at = &self.nodes[node];
                let written = at.pending.iter().flat_map(|pending| &pending.records).rev();
                let newest = written.filter_map(|record| match record {
                    Record::Accepted { slot, decree, .. } if *slot == SLOT => Some(decree),
                    _ => None,
                });
                let durable = at.durable.accepted.get(&SLOT).map(|(_, decree)| decree);
                let decree = newest.chain(durable).next();
                if let Some(decree) = decree.filter(|_| from == SLOT) {
                    let message = GroupMessage::CatchUp { from, decrees: vec![decree.clone()] };
                    self.network.extend(envelope(
                        node,
                        node_index(to),
                        Message::Group { app: APP, message },
                        learners,
                    ));
                }
            }
            Effect::RecordLost { .. }
            | Effect::OfferSnapshot { .. }
            | Effect::FetchSnapshot { .. }
            | Effect::InstallSnapshot { .. }
            | Effect::LeaderChanged { .. }
            | Effect::ReadGranted { .. }
            | Effect::ReadRefused { .. }
            | Effect::Unproposed { .. } => {}
        }
    }
}

fn envelope(from: usize, to: usize, message: Message, learners: bool) -> Option<Arc<Envelope>> {
    let Message::Group { message, .. } = message else { return None };
    let encoded = synod_types::wire::encode(&message);
    concerns_slot(&message, learners).then(|| Arc::new(Envelope { from, to, message, encoded }))
}

impl Model for OneSlot {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |node: usize| {
            let own = (node == 1).then(|| (SLOT, (ballot(1, 1), command(b"other"))));
            let promised = ballot(1, 1);
            let accepted: BTreeMap<_, _> = own.into_iter().collect();
            let durable = Recovered { promised, accepted, ..Recovered::default() };
            let group = new_group(node, durable.clone());
            Arc::new(Node { group, durable, pending: Vec::new(), last_persist: PersistNdx(0), stood: false })
        };
        let nodes = (0..NODES).map(node).collect();
        vec![State {
            nodes,
            network: BTreeSet::new(),
            chosen: BTreeSet::new(),
            crashes_left: self.crashes,
            learners: self.learners,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, node) in state.nodes.iter().enumerate() {
            let rises = node.group.status().promised < standing_ballot(index);
            if index < CANDIDATES && !node.stood && rises {
                actions.push(Action::Stand(index));
            }
            if !node.pending.is_empty() {
                actions.push(Action::Sync(index));
            }
            if state.crashes_left > 0 {
                let subsets = 1 << node.pending.len();
                actions.extend((0..subsets).map(|survive| Action::Crash(index, survive)));
            }
        }
        let takes = |envelope: &&Arc<Envelope>| state.nodes[envelope.to].pending.is_empty();
        actions.extend(state.network.iter().filter(takes).cloned().map(Action::Deliver));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Stand(node) => {
                Arc::make_mut(&mut state.nodes[node]).stood = true;
                state.step(node, |group, out| group.campaign(standing_ballot(node), out));
            }
            Action::Deliver(envelope) => {
                let Envelope { from, to, message, .. } = &*envelope;
                state.step(*to, |group, out| group.on_message(node_id(*from), message.clone(), out));
            }
            Action::Sync(node) => {
                let at = Arc::make_mut(&mut state.nodes[node]);
                let pending = at.pending.remove(0);
                at.recover(&pending.records);
                state.network.extend(pending.unlocks);
                state.step(node, |group, out| group.on_durable(pending.ndx, out));
            }
            Action::Crash(node, survive) => {
                state.crashes_left -= 1;
                let at = Arc::make_mut(&mut state.nodes[node]);
                for (place, pending) in std::mem::take(&mut at.pending).into_iter().enumerate() {
                    if survive & (1 << place) != 0 {
                        at.recover(&pending.records);
                    }
                }
                at.last_persist = PersistNdx(0);
                at.group = new_group(node, at.recovered());
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<OneSlot>> {
        vec![
            Property::always("one decree is chosen", |_, state: &State| state.chosen.len() <= 1),
            Property::sometimes("the first candidate's is chosen", |_, state: &State| {
                state.chosen.contains(&synod_types::wire::encode(&Decree::Noop))
            }),
            Property::sometimes("the second candidate's is chosen", |_, state: &State| {
                state.chosen.contains(&synod_types::wire::encode(&command(b"other")))
            }),
        ]
    }
}

fn standing_ballot(node: usize) -> Ballot {
    ballot(2, node)
}

fn exhaust(model: OneSlot) {
    let checker = model.checker().threads(2).spawn_dfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn acceptors_and_leaders_agree() {
    exhaust(OneSlot { crashes: 0, learners: false });
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes without optimization: cargo test --release -p synod-sim --test model"
)]
fn acceptors_and_leaders_agree_with_one_crash() {
    exhaust(OneSlot { crashes: 1, learners: false });
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes without optimization: cargo test --release -p synod-sim --test model"
)]
fn learners_agree() {
    exhaust(OneSlot { crashes: 0, learners: true });
}
