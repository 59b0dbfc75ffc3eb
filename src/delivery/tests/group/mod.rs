//! A simulated group of the toolbox's nodes: a network that loses, repeats, delays, overtakes and cuts; nodes that crash, start
//! again, die in the middle of a broadcast, and leave. Everything follows from a seed.
//!
//! A run has three parts. In the storm everything goes wrong. Then nothing crashes and nothing is cut any more, but messages
//! still get lost. At last they only take their time, and what is promised has to have come true.

mod check;
#[path = "../world/random.rs"]
mod random;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_delivery::toolbox::broken::Broken;
use synod_delivery::toolbox::{
    BroadcastError, Effect, Event, Guarantee, Life, Node, Order, Pace, Packet, Patience, SubscriptionId,
    Topic,
};
use synod_types::{Digest, NodeId};

use check::Checks;
use random::Random;

/// Milliseconds of a tick.
const TICK_MS: u64 = 20;
/// Milliseconds in which everything goes wrong, at most.
const STORM_MS: u64 = 5_000;
/// Milliseconds, from the start, until messages get lost.
const LOSS_MS: u64 = 10_000;
/// Milliseconds, from the start, until the end.
const END_MS: u64 = 18_000;
/// Broadcasts in one run, at most.
const BROADCASTS_MAX: u64 = 120;
/// How patient detectors are.
const PATIENCE: Patience = Patience { timeout_ticks: 10, step_ticks: 5, timeout_ticks_max: 500 };

/// What the nodes of a run promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promise {
    pub guarantee: Guarantee,
    pub order: Order,
}

/// What came of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    pub broadcasts: u64,
    pub delivered: u64,
    pub relayed: u64,
    pub repeated: u64,
    pub crashes: u64,
    pub last_words: u64,
    pub busy: u64,
    pub gave_up: u64,
    pub expelled: u64,
    pub left: u64,
    pub suspicions: u64,
    pub restored: u64,
    /// Runs in which a minority lost its memory, so that what is uniform has to be so.
    pub minorities: u64,
}

struct Member {
    id: NodeId,
    /// `None` while it is down.
    node: Option<Node>,
    /// On its disk.
    incarnation: u64,
    subscriptions: Vec<SubscriptionId>,
    has_left: bool,
}

#[derive(Debug)]
enum Happening {
    Tick { member: usize, incarnation: u64 },
    Arrives { from: usize, to: usize, packet: Packet },
    Say { member: usize },
    LastWords { member: usize },
    Doom { member: usize },
    Crash { member: usize },
    Restart { member: usize },
    Leave { member: usize },
    Cut { from: usize, to: usize },
    Mend,
    Calm,
    Still,
}

struct World {
    promise: Promise,
    random: Random,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    last: u64,
    members: Vec<Member>,
    cuts: BTreeSet<(usize, usize)>,
    /// Members that stay down from the calm on.
    dead: BTreeSet<usize>,
    /// Members that lost their memory, or left.
    lost: BTreeSet<usize>,
    /// Members that die in the moment in which they deliver something.
    doomed: BTreeSet<usize>,
    is_calm: bool,
    loss: u64,
    doubles: u64,
    delay_max: u64,
    window: u64,
    checks: Checks,
    counts: Counts,
    broken: Broken,
    is_traced: bool,
}

/// Runs a seed; what went wrong, if anything did.
pub fn run(seed: u64, promise: Promise, broken: Broken) -> Result<Counts, String> {
    World::new(seed, promise, broken).outcome(seed)
}

/// Runs a seed in which so many of 100 packets get lost and are doubled, and each takes up to `delay_max` milliseconds.
#[allow(dead_code, reason = "not every test has weather of its own")]
pub fn run_in(
    seed: u64,
    promise: Promise,
    loss: u64,
    doubles: u64,
    delay_max: u64,
) -> Result<Counts, String> {
    let world = World::new(seed, promise, Broken::NOT);
    World { loss, doubles, delay_max, ..world }.outcome(seed)
}

impl World {
    fn new(seed: u64, promise: Promise, broken: Broken) -> World {
        let mut random = Random(seed);
        let count = random.index(6) + 2;
        let id = |i: usize| NodeId(Digest([u8::try_from(i).unwrap() + 1; 32]));
        let members = (0..count).map(|i| Member {
            id: id(i),
            node: None,
            incarnation: 0,
            subscriptions: Vec::new(),
            has_left: false,
        });
        let mut world = World {
            promise,
            now: 0,
            queue: BTreeMap::new(),
            last: 0,
            members: members.collect(),
            cuts: BTreeSet::new(),
            dead: BTreeSet::new(),
            lost: BTreeSet::new(),
            doomed: BTreeSet::new(),
            is_calm: false,
            loss: random.pick(&[0, 5, 30, 30]),
            doubles: random.pick(&[0, 5, 50]),
            delay_max: random.pick(&[1, 20, 200, 200]),
            window: random.pick(&[2, 8, 64]),
            checks: Checks::new(promise),
            counts: Counts::default(),
            broken,
            is_traced: std::env::var_os("TRACE").is_some(),
            random,
        };
        for member in 0..count {
            world.start(member);
        }
        world.plan();
        world
    }

    fn outcome(mut self, seed: u64) -> Result<Counts, String> {
        let outcome = self.run();
        outcome.map_err(|why| format!("seed {seed}, {:?}, at {} ms: {why}", self.promise, self.now))
    }

    fn run(&mut self) -> Result<Counts, String> {
        while let Some(((now, _), happening)) = self.queue.pop_first() {
            if now > END_MS {
                break;
            }
            self.now = now;
            if self.is_traced && !matches!(happening, Happening::Tick { .. }) {
                eprintln!("{now:>6} {happening:?}");
            }
            self.happen(happening);
            if let Some(violation) = self.checks.violation.take() {
                return Err(violation);
            }
        }
        self.check_end()?;
        self.counts.delivered = self.checks.delivered();
        for member in 0..self.members.len() {
            self.count(member);
        }
        Ok(self.counts)
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.last += 1;
        self.queue.insert((at.max(self.now), self.last), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { member, incarnation } => {
                if self.members[member].incarnation == incarnation && self.members[member].node.is_some() {
                    self.step(member, Event::Tick);
                    self.at(self.now + TICK_MS, Happening::Tick { member, incarnation });
                }
            }
            Happening::Arrives { from, to, packet } => {
                if !self.cuts.contains(&(from, to)) {
                    let from = self.members[from].id;
                    self.step(to, Event::Packet { from, packet });
                }
            }
            Happening::Say { member } => {
                let effects = self.say(member);
                self.perform(member, effects);
            }
            Happening::LastWords { member } => self.say_last_words(member),
            Happening::Doom { member } => {
                self.doomed.insert(member);
            }
            Happening::Crash { member } => self.crash(member),
            Happening::Restart { member } => self.start(member),
            Happening::Leave { member } => {
                if self.members[member].node.is_some() {
                    self.lost.insert(member);
                }
                self.step(member, Event::Leave);
            }
            Happening::Cut { from, to } => {
                if !self.is_calm {
                    self.cuts.insert((from, to));
                }
            }
            Happening::Mend => self.cuts.clear(),
            Happening::Calm => self.calm(),
            Happening::Still => {
                (self.loss, self.doubles) = (0, 0);
                self.checks.on_still();
            }
        }
    }

    fn life(&self, member: usize) -> Life {
        Life { node: self.members[member].id, incarnation: self.members[member].incarnation }
    }

    fn step(&mut self, member: usize, event: Event) {
        let mut effects = Vec::new();
        let count = self.members.len();
        if let Some(node) = &mut self.members[member].node {
            node.step(event, &mut effects);
            self.checks.on_step(node, self.window, count);
        }
        self.perform(member, effects);
    }

    /// Broadcasts something, if the node takes it; what is to be done then.
    fn say(&mut self, member: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (life, count) = (self.life(member), self.members.len());
        let Some(node) =
            self.members[member].node.as_mut().filter(|_| self.counts.broadcasts < BROADCASTS_MAX)
        else {
            return effects;
        };
        let topic = Topic(u32::try_from(self.random.within(0..=2)).unwrap());
        let payload = Bytes::copy_from_slice(&self.random.next().to_be_bytes());
        match node.broadcast(topic, payload.clone(), &mut effects) {
            Ok(id) => {
                self.counts.broadcasts += 1;
                self.checks.on_broadcast(life, id, topic, payload, &effects);
            }
            Err(BroadcastError::Busy(_)) => self.counts.busy += 1,
            Err(_) => {}
        }
        self.checks.on_step(node, self.window, count);
        effects
    }

    /// Who broadcasts reaches one or none of the others and dies.
    fn say_last_words(&mut self, member: usize) {
        if !self.may_crash(member) || self.members[member].node.is_none() {
            return;
        }
        self.counts.last_words += 1;
        let effects = self.say(member);
        let reached = self.random.index(self.members.len());
        let skipped = self.random.chance(30);
        let to_whom = self.members[reached].id;
        for effect in effects {
            match effect {
                Effect::Send { to, packet } if to == to_whom && !skipped => {
                    let at = self.now + self.random.within(0..=self.delay_max);
                    self.at(at, Happening::Arrives { from: member, to: reached, packet });
                }
                Effect::Send { .. } => {}
                other => self.perform(member, vec![other]),
            }
        }
        self.crash(member);
        let at = self.now + self.random.within(0..=STORM_MS);
        self.at(at, Happening::Restart { member });
    }

    fn perform(&mut self, member: usize, effects: Vec<Effect>) {
        let life = self.life(member);
        for effect in effects {
            if self.is_traced && !matches!(effect, Effect::Send { .. }) {
                eprintln!("{:>6} {life:?} {effect:?}", self.now);
            }
            match effect {
                Effect::Send { to, packet } => self.send(member, to, packet),
                Effect::Deliver { delivery, subscribers } => {
                    let wanted = &self.members[member].subscriptions;
                    // Three subscriptions: of topics 0, 1 and 1; nobody cares about 2.
                    let due = match delivery.topic {
                        Topic(0) => &wanted[..1],
                        Topic(1) => &wanted[1..],
                        _ => &[],
                    };
                    self.checks.on_deliver(life, &delivery, subscribers == due);
                    if self.may_crash(member) && self.doomed.remove(&member) {
                        self.crash(member);
                        let at = self.now + self.random.within(0..=STORM_MS);
                        self.at(at, Happening::Restart { member });
                        break;
                    }
                    // An answer, now and then.
                    if !self.is_calm && self.random.chance(10) {
                        self.at(self.now, Happening::Say { member });
                    }
                }
                Effect::Suspect(node) => {
                    self.counts.suspicions += 1;
                    let is_right = self.members.iter().any(|other| other.id == node && !other.is_there());
                    self.checks.on_suspect(life, node, is_right, self.now);
                }
                Effect::Restore(_) => self.counts.restored += 1,
                Effect::Up(_) | Effect::Left(_) => {}
                Effect::GaveUp(other) => {
                    self.counts.gave_up += 1;
                    self.checks.given_up.insert((life, other));
                }
                Effect::Expelled(_) => {
                    self.counts.expelled += 1;
                    self.crash_even_in_calm(member);
                    let at = self.now + self.random.within(0..=500);
                    self.at(at, Happening::Restart { member });
                }
                Effect::Gone => {
                    self.counts.left += 1;
                    self.members[member].has_left = true;
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, packet: Packet) {
        let to = self.members.iter().position(|member| member.id == to).unwrap();
        assert_ne!(from, to, "a node sends to itself");
        self.counts.packets += 1;
        let copies = if self.random.chance(self.doubles) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.random.chance(self.loss) && !self.cuts.contains(&(from, to)) {
                let at = self.now + self.random.within(0..=self.delay_max);
                self.at(at, Happening::Arrives { from, to, packet: packet.clone() });
            }
        }
    }

    fn node(&self, member: usize) -> Node {
        let member = &self.members[member];
        let pace = Pace { report_ticks: 3, retry_ticks: 4, leave_ticks: 50 };
        let ids = self.members.iter().map(|member| member.id);
        let builder = Node::builder(member.id, member.incarnation, ids);
        let builder = builder.pace(pace).window(self.window).broken(self.broken).detector(PATIENCE);
        let node = match (self.promise.guarantee, self.promise.order) {
            (Guarantee::BestEffort, Order::Any) => builder.best_effort().build(),
            (Guarantee::BestEffort, Order::Fifo) => builder.best_effort().fifo().build(),
            (Guarantee::BestEffort, Order::Causal) => unreachable!("there is no such node"),
            (Guarantee::Reliable, Order::Any) => builder.reliable().build(),
            (Guarantee::Reliable, Order::Fifo) => builder.reliable().fifo().build(),
            (Guarantee::Reliable, Order::Causal) => builder.reliable().causal().build(),
            (Guarantee::Uniform, Order::Any) => builder.uniform().build(),
            (Guarantee::Uniform, Order::Fifo) => builder.uniform().fifo().build(),
            (Guarantee::Uniform, Order::Causal) => builder.uniform().causal().build(),
        };
        node.unwrap()
    }

    fn count(&mut self, member: usize) {
        if let Some(node) = &self.members[member].node {
            self.counts.relayed += node.counters().relayed;
            self.counts.repeated += node.counters().repeated;
            let malformed = node.counters().malformed;
            assert!(malformed == 0 || self.broken != Broken::NOT, "{malformed} malformed packets");
        }
    }

    fn check_end(&mut self) -> Result<(), String> {
        let alive: BTreeSet<Life> =
            (0..self.members.len()).filter(|&i| self.members[i].is_there()).map(|i| self.life(i)).collect();
        let is_minority = self.lost.len() <= (self.members.len() - 1) / 2;
        self.counts.minorities = u64::from(is_minority);
        self.checks.check_end(&alive, is_minority)?;
        for member in self.members.iter().filter(|member| member.is_there()) {
            let node = member.node.as_ref().unwrap();
            for other in self.members.iter().filter(|other| other.id != member.id) {
                let is_new = self.checks.is_new_suspicion(node.life(), other.id, self.now);
                match (node.suspects(other.id), other.is_there()) {
                    (true, true) if is_new => {}
                    (true, true) => return Err(format!("{:?} still suspects {:?}", member.id, other.id)),
                    (false, false) => return Err(format!("{:?} does not suspect {:?}", member.id, other.id)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Member {
    fn is_there(&self) -> bool {
        self.node.is_some() && !self.has_left
    }
}
