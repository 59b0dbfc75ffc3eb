//! Simulated nodes that come to certificates: a network that loses, repeats, delays, overtakes and cuts; nodes that crash, start
//! again, lag, pass over states and are replaced; one that signs what is not so, and somebody who forges. Everything follows from a seed.
//!
//! A run has three parts. In the storm everything goes wrong. Then nothing crashes and nothing is cut any more, but messages still get
//! lost. At last they only take their time, and what is promised has to have come true.

mod check;
mod forger;
#[path = "../world/random.rs"]
mod random;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_delivery::cosign::broken::Broken;
use synod_delivery::cosign::{Beginning, Core, Due, Effect, Event, TICK_MS};
use synod_types::{
    AppNdx, Configuration, CosignMessage, Digest, Epoch, NodeId, Slot, StateCertificate, StateNdx, Statement,
    StatementKey, StatementSignature, Threshold,
};

use random::Random;

/// Milliseconds in which everything goes wrong.
const STORM_MS: u64 = 10_000;
/// Milliseconds, from the start, until messages get lost.
const LOSS_MS: u64 = 20_000;
/// Milliseconds, from the start, until the end.
const END_MS: u64 = 40_000;
/// The one application.
pub const APP: AppNdx = AppNdx(1);

/// What came of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub certificates: u64,
    pub handovers: u64,
    pub crashes: u64,
    pub cuts: u64,
    pub skipped: u64,
    pub forged: u64,
    pub conflicts: u64,
    /// Runs in which the proof from genesis on had to be whole at the end.
    pub proofs: u64,
}

/// A state that is to be signed, as all honest nodes come to it.
#[derive(Clone)]
struct Point {
    statement: Statement,
    members: Configuration,
    before: Option<Configuration>,
}

#[derive(Default)]
struct Disk {
    newest: Option<StateCertificate>,
    handovers: Vec<StateCertificate>,
}

struct Node {
    id: NodeId,
    core: Option<Core>,
    life: u64,
    /// Points that it has executed: the next one.
    place: usize,
    disk: Disk,
    /// The points that it signed in this life.
    signed: BTreeSet<usize>,
    /// Those that it ever executed, and did not pass over.
    executed: BTreeSet<usize>,
    shown: Option<StatementKey>,
    named: BTreeSet<(NodeId, StatementKey)>,
}

#[derive(Debug)]
enum Happening {
    Tick { node: usize, life: u64 },
    Arrives { from: usize, to: usize, message: CosignMessage },
    Stored { node: usize, life: u64, certificate: StateCertificate, is_handover: bool },
    Execute { node: usize },
    Forge,
    Crash { node: usize },
    Restart { node: usize },
    Cut { a: usize, b: usize },
    Mend,
    Calm,
    Still,
}

struct World {
    random: Random,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    last: u64,
    nodes: Vec<Node>,
    points: Vec<Point>,
    first: Configuration,
    threshold: Threshold,
    /// Who signs what is not so.
    liar: Option<usize>,
    /// Whether who was removed comes as far as the state in which it is.
    is_orderly: bool,
    words: BTreeSet<(NodeId, Bytes)>,
    cuts: BTreeSet<(usize, usize)>,
    dead: BTreeSet<usize>,
    is_calm: bool,
    loss: u64,
    doubles: u64,
    delay_max: u64,
    counts: Counts,
    broken: Broken,
    violation: Option<String>,
    is_traced: bool,
}

/// Runs a seed; what went wrong, if anything did.
pub fn run(seed: u64, broken: Broken) -> Result<Counts, String> {
    let mut world = World::new(seed, broken);
    let outcome = world.run();
    outcome.map(|()| world.counts).map_err(|why| format!("seed {seed}, at {} ms: {why}", world.now))
}

/// The key of a node or of a stranger, whose hash is its id.
fn key(n: usize) -> Bytes {
    format!("key {n}").into_bytes().into()
}

fn id(n: usize) -> NodeId {
    NodeId(Digest::of(&[&key(n)]))
}

/// What stands for a signature: nobody makes one for a key that is not its own.
fn sign(n: usize, statement: &Statement) -> StatementSignature {
    let signature = Digest::of(&[b"signed", &key(n), &synod_types::wire::encode(statement)]);
    StatementSignature { key: key(n), signature: signature.0.to_vec().into() }
}

fn is_genuine(word: &StatementSignature, statement: &Statement) -> bool {
    let signature = Digest::of(&[b"signed", &word.key, &synod_types::wire::encode(statement)]);
    word.signature == signature.0[..]
}

impl World {
    fn new(seed: u64, broken: Broken) -> World {
        let mut random = Random(seed);
        let size = random.index(5) + 1;
        // Some who are no members yet.
        let count = size + random.index(4);
        let liar = (size >= 3 && random.chance(40)).then(|| random.index(size));
        let first = Configuration { epoch: Epoch(0), members: (0..size).map(id).collect() };
        let node = |n| Node {
            id: id(n),
            core: None,
            life: 0,
            place: 0,
            disk: Disk::default(),
            signed: BTreeSet::new(),
            executed: BTreeSet::new(),
            shown: None,
            named: BTreeSet::new(),
        };
        let threshold = random.pick(&[Threshold::Majority, Threshold::Majority, Threshold::Count(3)]);
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            last: 0,
            nodes: (0..count).map(node).collect(),
            points: Vec::new(),
            first,
            threshold,
            liar,
            is_orderly: random.chance(70),
            words: BTreeSet::new(),
            cuts: BTreeSet::new(),
            dead: BTreeSet::new(),
            is_calm: false,
            loss: random.pick(&[0, 5, 30, 30]),
            doubles: random.pick(&[0, 5, 50]),
            delay_max: random.pick(&[1, 50, 500, 2_000]),
            counts: Counts::default(),
            broken,
            violation: None,
            is_traced: std::env::var_os("TRACE").is_some(),
            random,
        };
        world.write_history(size);
        for node in 0..count {
            world.start(node);
        }
        world.plan();
        world
    }

    /// What all honest nodes come to.
    fn write_history(&mut self, size: usize) {
        let count = self.random.within(1..=12);
        let (mut members, mut slot, mut state_ndx) = (self.first.clone(), 0, 0);
        for n in 1..=count {
            let before = (self.random.chance(20) && self.nodes.len() > size).then(|| members.clone());
            slot += self.random.within(1..=5);
            if before.is_some() {
                self.replace_members(&mut members);
            } else {
                state_ndx += self.random.within(1..=1024);
            }
            let statement = Statement {
                app: APP,
                epoch: members.epoch,
                members: members.digest(),
                slot: Slot(slot),
                state_ndx: StateNdx(state_ndx),
                chain: Digest::of(&[b"chain", &state_ndx.to_be_bytes()]),
                root: Digest::of(&[b"root", &n.to_be_bytes()]),
            };
            self.points.push(Point { statement, members: members.clone(), before });
        }
    }

    /// One member leaves for one that is none, or several do.
    fn replace_members(&mut self, members: &mut Configuration) {
        members.epoch = Epoch(members.epoch.0 + self.random.within(1..=3));
        for _ in 0..self.random.pick(&[1, 1, 1, 3]) {
            let outside: Vec<NodeId> =
                self.nodes.iter().map(|node| node.id).filter(|id| !members.members.contains(id)).collect();
            let (leaves, comes) =
                (self.random.index(members.members.len()), self.random.index(outside.len()));
            members.members[leaves] = outside[comes];
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(((now, _), happening)) = self.queue.pop_first() {
            if now > END_MS {
                break;
            }
            self.now = now;
            if self.is_traced && !matches!(happening, Happening::Tick { .. }) {
                eprintln!("{now:>6} {happening:?}");
            }
            self.happen(happening);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.check_end()
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.last += 1;
        self.queue.insert((at.max(self.now), self.last), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { node, life } => {
                if self.is_alive(node, life) {
                    self.step(node, Event::Tick);
                    self.at(self.now + TICK_MS, Happening::Tick { node, life });
                }
            }
            Happening::Arrives { from, to, message } => {
                if !self.is_cut(from, to) && self.nodes[to].core.is_some() {
                    self.arrive(from, to, message);
                }
            }
            Happening::Stored { node, life, certificate, is_handover } => {
                if self.is_alive(node, life) {
                    self.store(node, &certificate, is_handover);
                    self.step(node, Event::Stored { certificate, is_handover });
                }
            }
            Happening::Execute { node } => self.execute(node),
            Happening::Forge => self.forge(),
            Happening::Crash { node } => self.crash(node),
            Happening::Restart { node } => self.start(node),
            Happening::Cut { a, b } => {
                self.counts.cuts += 1;
                self.cuts.insert((a, b));
            }
            Happening::Mend => self.cuts.clear(),
            Happening::Calm => self.calm(),
            Happening::Still => (self.loss, self.doubles) = (0, 0),
        }
    }

    fn is_alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life && self.nodes[node].core.is_some()
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// As a node's inbox: what is signed by nobody is dropped.
    fn arrive(&mut self, from: usize, to: usize, message: CosignMessage) {
        let is_verified = match &message {
            CosignMessage::Prepare { statement, signature } => {
                signature.signer() == id(from) && is_genuine(signature, statement)
            }
            CosignMessage::Commit { certificate } => {
                let statement = &certificate.statement;
                certificate.configuration().digest() == statement.members
                    && certificate.signers().is_sorted_by(|a, b| a < b)
                    && certificate.signatures.iter().all(|word| is_genuine(word, statement))
            }
            CosignMessage::Holds(_) => true,
        };
        if !is_verified {
            self.counts.forged += 1;
            return;
        }
        let has_to_name = self.has_to_name(from, to, &message);
        self.step(to, Event::Message { from: id(from), message });
        if let Some(key) = has_to_name
            && !self.nodes[to].named.contains(&(id(from), key))
        {
            self.violate(format!("n{to} did not name n{from}, which signed what is not so"));
        }
    }

    fn step(&mut self, node: usize, event: Event) {
        let mut effects = Vec::new();
        let Some(core) = &mut self.nodes[node].core else { return };
        core.step(event, &mut effects);
        for effect in effects {
            self.perform(node, effect);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Store { certificate, is_handover } => {
                self.check_certificate(node, &certificate, is_handover);
                let (life, delay) = (self.nodes[node].life, self.random.pick(&[0, 5, 100]));
                self.at(self.now + delay, Happening::Stored { node, life, certificate, is_handover });
            }
            Effect::Certified(certificate) => self.check_shown(node, &certificate),
            Effect::GiveHandOver { to, ends, .. } => {
                let held = &self.nodes[node].disk.handovers;
                let next = held.iter().find(|held| held.statement.epoch > ends).cloned();
                if let Some(certificate) = next {
                    self.send(node, to, CosignMessage::Commit { certificate });
                }
            }
            Effect::Conflict { signer, theirs, .. } => self.check_named(node, signer, &theirs),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: CosignMessage) {
        self.counts.messages += 1;
        let to = self.nodes.iter().position(|node| node.id == to).unwrap();
        for _ in 0..=u64::from(self.random.chance(self.doubles)) {
            if !self.random.chance(self.loss) {
                let at = self.now + self.random.within(1..=self.delay_max);
                self.at(at, Happening::Arrives { from, to, message: message.clone() });
            }
        }
    }

    fn store(&mut self, node: usize, certificate: &StateCertificate, is_handover: bool) {
        let disk = &mut self.nodes[node].disk;
        let proved = disk.handovers.last().map_or(Epoch(0), |last| last.statement.epoch);
        if is_handover && certificate.statement.epoch > proved {
            disk.handovers.push(certificate.clone());
            self.counts.handovers += 1;
        }
        if disk.newest.as_ref().is_none_or(|newest| newest.key() < certificate.key()) {
            disk.newest = Some(certificate.of_members());
        }
    }

    /// The next state comes, unless it is passed over, as who gets a snapshot passes it over.
    fn execute(&mut self, node: usize) {
        if self.nodes[node].core.is_none() {
            return;
        }
        let place = self.nodes[node].place;
        let Some(point) = self.points.get(place).cloned() else { return };
        let is_former = |node: NodeId, before: &Configuration| {
            before.members.contains(&node) && !point.members.members.contains(&node)
        };
        let own = id(node);
        let is_removed = point.before.as_ref().is_some_and(|before| is_former(own, before));
        if is_removed && !self.is_orderly {
            return;
        }
        self.nodes[node].place += 1;
        if !self.is_calm && self.random.chance(5) {
            self.counts.skipped += 1;
            return;
        }
        self.nodes[node].executed.insert(place);
        self.due(node, place);
        // Who is removed learns of nothing that comes behind.
        if is_removed {
            self.nodes[node].place = self.points.len();
        }
    }

    /// Hands a node a state to which it came.
    fn due(&mut self, node: usize, place: usize) {
        let Point { mut statement, members, before } = self.points[place].clone();
        if self.liar == Some(node) && self.random.chance(50) {
            statement.root = Digest::of(&[b"a lie", &statement.slot.0.to_be_bytes()]);
        }
        let signature = sign(node, &statement);
        self.words.insert((id(node), signature.signature.clone()));
        self.nodes[node].signed.insert(place);
        self.step(node, Event::Due(Due { statement, signature, members, before }));
    }

    fn violate(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].core.is_some() || (self.is_calm && self.dead.contains(&node)) {
            return;
        }
        let state = &mut self.nodes[node];
        state.life += 1;
        // The journal may know less of what is chosen than the node did.
        let back = usize::from(state.place > 0 && self.random.chance(30));
        state.place -= back;
        let place = state.place;
        let configuration_at =
            |place: usize| place.checked_sub(1).map_or(&self.first, |place| &self.points[place].members);
        let proved = state.disk.handovers.last().map_or(self.first.clone(), StateCertificate::configuration);
        let current = configuration_at(place.min(self.points.len())).clone();
        let newest = state.disk.newest.clone();
        state.shown = newest.as_ref().map(StateCertificate::key);
        let (proved_epoch, beginning) = (proved.epoch, Beginning { proved, current, newest });
        state.core = Some(Core::new(self.threshold, BTreeMap::from([(APP, beginning)]), self.broken));
        (state.signed, state.named) = (BTreeSet::new(), BTreeSet::new());
        let others = (0..self.nodes.len()).filter(|other| *other != node).map(id).collect();
        self.step(node, Event::Nodes(others));
        let life = self.nodes[node].life;
        let first = self.now + self.random.within(1..=TICK_MS);
        self.at(first, Happening::Tick { node, life });
        // The journal's replay comes by these again.
        let executed: Vec<usize> = self.nodes[node].executed.range(..place).copied().collect();
        let ends = |place: &&usize| self.points[**place].before.is_some();
        let seal = executed.iter().rev().find(ends).copied();
        let seal = seal.filter(|place| self.points[*place].statement.epoch > proved_epoch);
        let again: BTreeSet<usize> = seal.into_iter().chain(executed.last().copied()).collect();
        again.into_iter().for_each(|place| self.due(node, place));
    }

    fn crash(&mut self, node: usize) {
        if !self.is_calm && self.nodes[node].core.take().is_some() {
            self.counts.crashes += 1;
        }
    }
}
