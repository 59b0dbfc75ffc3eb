//! The core by itself: three nodes whose messages arrive at once and whose disks are instant. What goes wrong in the
//! world is the simulator's business; this is the plain way through.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use synod_paxos::{Config, Core, Effect, Event, ReadId, RoleName};
use synod_types::{
    AppNdx, Ballot, Certificate, Checkpoint, ContentKey, Decree, Digest, Message, NodeId, RefusalCode,
    SignedCommand, Slot, StateNdx, TimeMs,
};

const APP: AppNdx = AppNdx(0);

struct Cluster {
    nodes: BTreeMap<NodeId, Core>,
    cut: BTreeSet<NodeId>,
    inbox: VecDeque<(NodeId, Event)>,
    chosen: BTreeMap<NodeId, Vec<(Slot, Decree)>>,
    reads: Vec<(NodeId, ReadId, Result<Slot, RefusalCode>)>,
    unproposed: Vec<(NodeId, usize)>,
    /// Snapshots that nodes want.
    fetches: Vec<(NodeId, Slot)>,
    installed: Vec<(NodeId, Slot)>,
}

fn node(i: u8) -> NodeId {
    NodeId(Digest([i; 32]))
}

fn command(i: u8) -> SignedCommand {
    SignedCommand { body: vec![i; 10].into(), signature: vec![].into(), key: vec![].into() }
}

fn certificate(slot: Slot) -> Certificate {
    let checkpoint = Checkpoint {
        app: APP,
        slot,
        state_ndx: StateNdx(slot.0),
        chain: Digest([1; 32]),
        index: ContentKey(Digest([2; 32])),
    };
    Certificate { checkpoint, signatures: Vec::new() }
}

impl Cluster {
    fn new(count: u8) -> Cluster {
        let members: Vec<_> = (1..=count).map(node).collect();
        let core =
            |&id: &NodeId| (id, Core::new(Config::new(id, members.clone(), vec![APP]), BTreeMap::new()));
        Cluster {
            nodes: members.iter().map(core).collect(),
            cut: BTreeSet::new(),
            inbox: VecDeque::new(),
            chosen: members.iter().map(|&id| (id, Vec::new())).collect(),
            reads: Vec::new(),
            unproposed: Vec::new(),
            fetches: Vec::new(),
            installed: Vec::new(),
        }
    }

    fn step(&mut self, id: NodeId, event: Event) {
        let mut effects = Vec::new();
        self.nodes.get_mut(&id).unwrap().step(event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist { ndx, unlocks, .. } => {
                    for (to, message) in unlocks {
                        self.send(id, to, message);
                    }
                    self.inbox.push_back((id, Event::Durable { up_to: ndx }));
                }
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Chosen { slot, decree, .. } => self.chosen.get_mut(&id).unwrap().push((slot, decree)),
                Effect::ServeLog { to, app, from, up_to } => {
                    let log = &self.chosen[&id];
                    let decrees = log.iter().filter(|(slot, _)| (from..=up_to).contains(slot));
                    let decrees = decrees.map(|(_, decree)| decree.clone()).collect();
                    let message = synod_types::GroupMessage::CatchUp { from, decrees };
                    self.send(id, to, Message::Group { app, message });
                }
                Effect::ReadGranted { read, index, .. } => self.reads.push((id, read, Ok(index))),
                Effect::ReadRefused { read, code, .. } => self.reads.push((id, read, Err(code))),
                Effect::Unproposed { commands, .. } => self.unproposed.push((id, commands.len())),
                Effect::LeaderChanged { .. } => {}
                Effect::OfferSnapshot { to, app } => {
                    let certificate = certificate(self.nodes[&id].status(app).unwrap().cut);
                    let message = synod_types::GroupMessage::Snapshot { certificate };
                    self.send(id, to, Message::Group { app, message });
                }
                Effect::FetchSnapshot { certificate } => self.fetches.push((id, certificate.checkpoint.slot)),
                Effect::InstallSnapshot { slot, .. } => self.installed.push((id, slot)),
                Effect::RecordLost { slot, .. } => panic!("slot {slot} is lost"),
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if !self.cut.contains(&from) && !self.cut.contains(&to) {
            self.inbox.push_back((to, Event::Message { from, message }));
        }
    }

    fn settle(&mut self) {
        while let Some((id, event)) = self.inbox.pop_front() {
            self.step(id, event);
        }
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.step(id, Event::Tick);
                self.settle();
            }
        }
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |(_, core): &(&NodeId, &Core)| core.status(APP).unwrap().role == RoleName::Leader;
        let of_highest =
            self.nodes.iter().filter(leads).max_by_key(|(_, core)| core.status(APP).unwrap().promised);
        of_highest.map(|(&id, _)| id)
    }

    fn propose(&mut self, id: NodeId, commands: Vec<SignedCommand>) {
        self.step(id, Event::Propose { app: APP, commands, now: TimeMs(1) });
        self.settle();
    }

    fn commands(&self, id: NodeId) -> Vec<SignedCommand> {
        self.chosen[&id].iter().flat_map(|(_, decree)| decree.commands().to_vec()).collect()
    }
}

fn fetched(slot: u64) -> Event {
    Event::SnapshotFetched {
        app: APP,
        slot: Slot(slot),
        configuration: synod_types::Configuration::default(),
    }
}

#[test]
fn the_preferred_node_leads_and_everybody_learns() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(20);
    assert_eq!(cluster.leader(), Some(node(1)));
    cluster.propose(node(1), vec![command(1), command(2)]);
    cluster.propose(node(1), vec![command(3)]);
    for id in [1, 2, 3] {
        assert_eq!(cluster.commands(node(id)), [command(1), command(2), command(3)]);
    }
}

#[test]
fn one_node_alone_is_a_cluster() {
    let mut cluster = Cluster::new(1);
    cluster.ticks(10);
    cluster.propose(node(1), vec![command(1)]);
    assert_eq!(cluster.commands(node(1)), [command(1)]);
    cluster.step(node(1), Event::Read { app: APP, read: ReadId(7) });
    assert_eq!(cluster.reads, [(node(1), ReadId(7), Ok(Slot(2)))]);
}

#[test]
fn a_cut_leader_is_replaced_and_catches_up() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(20);
    cluster.propose(node(1), vec![command(1)]);
    cluster.cut.insert(node(1));
    cluster.propose(node(1), vec![command(9)]);
    cluster.ticks(100);
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, node(1));
    cluster.propose(leader, vec![command(2)]);
    assert_eq!(cluster.commands(node(1)), [command(1)]);
    cluster.cut.clear();
    cluster.ticks(100);
    for id in [1, 2, 3] {
        assert_eq!(cluster.commands(node(id)), [command(1), command(2)], "at node {id}");
    }
    assert!(
        cluster.nodes.values().filter(|core| core.status(APP).unwrap().role == RoleName::Leader).count() == 1
    );
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_says_so() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(20);
    cluster.cut.extend([node(2), node(3)]);
    cluster.ticks(100);
    assert_eq!(cluster.leader(), None);
    cluster.propose(node(1), vec![command(1)]);
    assert_eq!(cluster.unproposed, [(node(1), 1)]);
    cluster.step(node(1), Event::Read { app: APP, read: ReadId(1) });
    assert_eq!(cluster.reads, [(node(1), ReadId(1), Err(RefusalCode::NoLeader))]);
}

#[test]
fn who_is_unfit_has_another_one_lead_and_leads_again_when_it_is_fit() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(50);
    assert_eq!(cluster.leader(), Some(node(1)));
    let all = [node(1), node(2), node(3)];
    let say = |cluster: &mut Cluster, unfit: &[NodeId]| {
        for id in all {
            cluster.step(id, Event::Unfit { nodes: unfit.iter().copied().collect() });
            cluster.settle();
        }
    };
    say(&mut cluster, &[node(1), node(2)]);
    cluster.ticks(10);
    assert_eq!(cluster.leader(), Some(node(3)));
    // Nobody is better: it stays with whom it is.
    say(&mut cluster, &all);
    cluster.ticks(10);
    assert_eq!(cluster.leader(), Some(node(3)));
    say(&mut cluster, &[node(1)]);
    cluster.ticks(4000);
    assert_eq!(cluster.leader(), Some(node(2)));
    say(&mut cluster, &[]);
    cluster.ticks(4000);
    assert_eq!(cluster.leader(), Some(node(1)));
}

#[test]
fn a_follower_gets_a_read_index_from_the_leader() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(20);
    cluster.propose(node(1), vec![command(1)]);
    cluster.step(node(3), Event::Read { app: APP, read: ReadId(5) });
    cluster.settle();
    assert_eq!(cluster.reads, [(node(3), ReadId(5), Ok(Slot(2)))]);
}

#[test]
fn a_ballot_is_taken_from_its_owner_only() {
    let mut cluster = Cluster::new(3);
    let stolen = Ballot { number: 9, priority: 9, node: node(2), ..Ballot::ZERO };
    let message = synod_types::GroupMessage::Prepare { ballot: stolen, from: Slot(1) };
    cluster.step(node(1), Event::Message { from: node(3), message: Message::Group { app: APP, message } });
    assert_eq!(cluster.nodes[&node(1)].status(APP).unwrap().promised, Ballot::ZERO);
}

/// Node 3 misses slots 2 to 6, and the others cut their logs behind slot 5.
fn cluster_with_a_node_far_behind() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.ticks(20);
    cluster.cut.insert(node(3));
    for i in 1..=5 {
        cluster.propose(node(1), vec![command(i)]);
    }
    for id in [1, 2] {
        cluster.step(node(id), Event::CutLog { app: APP, slot: Slot(5) });
    }
    cluster.settle();
    cluster
}

#[test]
fn who_is_far_behind_goes_on_from_a_snapshot() {
    let mut cluster = cluster_with_a_node_far_behind();
    cluster.cut.clear();
    cluster.ticks(40);
    assert_eq!(cluster.fetches.first(), Some(&(node(3), Slot(5))));
    let before = cluster.chosen[&node(3)].len();
    cluster.step(node(3), fetched(5));
    cluster.settle();
    assert_eq!(cluster.installed, [(node(3), Slot(5))]);
    // What is behind the snapshot is asked for at once.
    assert_eq!(cluster.chosen[&node(3)][before..], [cluster.chosen[&node(1)][5].clone()]);
    let status = cluster.nodes[&node(3)].status(APP).unwrap();
    assert_eq!((status.chosen, status.cut), (Slot(6), Slot(5)));
}

#[test]
fn a_snapshot_that_brings_nothing_is_not_installed() {
    let mut cluster = cluster_with_a_node_far_behind();
    // Not over a newer state, and not by a leader, whatever it holds.
    for (id, slot) in [(2, 5), (2, 6), (1, 9)] {
        cluster.step(node(id), fetched(slot));
        let certificate = certificate(Slot(slot));
        let message =
            Message::Group { app: APP, message: synod_types::GroupMessage::Snapshot { certificate } };
        cluster.step(node(id), Event::Message { from: node(3 - id), message });
        cluster.settle();
    }
    assert!(cluster.installed.is_empty() && cluster.fetches.is_empty());
    // Nothing is cut off that is not chosen, or twice.
    for slot in [7, 4] {
        cluster.step(node(2), Event::CutLog { app: APP, slot: Slot(slot) });
    }
    assert_eq!(cluster.nodes[&node(2)].status(APP).unwrap().cut, Slot(5));
}
