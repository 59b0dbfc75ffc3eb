//! Simulated nodes with yards, and processes that send, take, answer, end and come again: a network that loses, repeats, delays and
//! overtakes; nodes that crash and start again. Everything follows from a seed.

#[path = "../world/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_delivery::broken::Broken;
use synod_delivery::routing::{Arrival, Effect, Happening, Order, Outcome, Reason, Router, TICK_MS, YardId};
use synod_delivery::toolbox::Packet;
use synod_types::limits::YARD_WAITING_MAX;
use synod_types::{Address, Digest, NodeId};

use random::Random;

/// Nodes.
const NODES: usize = 3;
/// Ticks in which everything goes wrong.
const STORM_TICKS: u64 = 400;
/// How long outcomes are waited for.
const PATIENCE_MS: u32 = 3_000;
/// Ticks after which everybody hears everybody again.
pub const CALM_TICKS: u64 = 400;

pub fn id(n: usize) -> NodeId {
    NodeId(Digest::of(&[&n.to_be_bytes()]))
}

pub fn name(n: usize) -> String {
    format!("node{n}")
}

/// A packet on its way.
struct OnWay {
    due: u64,
    from: usize,
    to: usize,
    packet: Packet,
}

/// A message that was sent.
#[derive(Clone, Debug)]
struct Sent {
    by: (usize, u64),
    to: String,
    outcome: Option<Outcome>,
    taken: bool,
}

/// All of them.
pub struct World {
    pub routers: Vec<Router>,
    lives: Vec<u64>,
    pub yards: Vec<Option<YardId>>,
    on_way: Vec<OnWay>,
    now: u64,
    random: Random,
    /// Of 100 packets.
    lost: u64,
    /// Under their bodies.
    sent: BTreeMap<Bytes, Sent>,
    bodies: BTreeMap<(usize, u64), Bytes>,
    /// The last body that was taken of each sender's life and queue.
    last: BTreeMap<((usize, u64), String), u64>,
    pub counted: BTreeMap<Happening, u64>,
    broken: Broken,
    violation: Option<String>,
}

impl World {
    pub fn new(seed: u64, broken: Broken) -> World {
        let routers = (0..NODES).map(|n| Router::broken(id(n), name(n), 1, broken)).collect();
        let mut world = World {
            routers,
            lives: vec![1; NODES],
            yards: vec![None; NODES],
            on_way: Vec::new(),
            now: 0,
            random: Random(seed),
            lost: 0,
            sent: BTreeMap::new(),
            bodies: BTreeMap::new(),
            last: BTreeMap::new(),
            counted: BTreeMap::new(),
            broken,
            violation: None,
        };
        (0..NODES).for_each(|n| world.introduce(n));
        world
    }

    fn introduce(&mut self, n: usize) {
        let others = (0..NODES).filter(|other| *other != n).map(|other| (id(other), name(other)));
        let mut effects = Vec::new();
        self.routers[n].set_servers(others.collect(), &mut effects);
        self.perform(n, effects);
    }

    /// A node forgets everything, and starts again.
    pub fn crash(&mut self, n: usize) {
        self.lives[n] += 1;
        self.routers[n] = Router::broken(id(n), name(n), self.lives[n], self.broken);
        self.yards[n] = None;
        // What its processes waited for, nobody waits for.
        self.bodies.retain(|(node, _), _| *node != n);
        self.introduce(n);
    }

    pub fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += 1;
            for n in 0..NODES {
                let mut effects = Vec::new();
                self.routers[n].on_tick(&mut effects);
                self.perform(n, effects);
            }
            self.carry();
        }
    }

    fn carry(&mut self) {
        let (due, later) = std::mem::take(&mut self.on_way).into_iter().partition(|one| one.due <= self.now);
        self.on_way = later;
        let due: Vec<OnWay> = due;
        for OnWay { from, to, packet, .. } in due {
            let mut effects = Vec::new();
            self.routers[to].on_packet(id(from), packet, &mut effects);
            self.perform(to, effects);
        }
    }

    fn perform(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => {
                    let to = (0..NODES).find(|other| id(*other) == to).unwrap();
                    let times = if self.random.chance(self.lost) {
                        0
                    } else {
                        1 + u64::from(self.lost > 0 && self.random.chance(10))
                    };
                    for _ in 0..times {
                        let delay = if self.lost > 0 { self.random.within(0..=5) } else { 0 };
                        self.on_way.push(OnWay {
                            due: self.now + delay,
                            from: n,
                            to,
                            packet: packet.clone(),
                        });
                    }
                }
                Effect::Tell { errand, outcome } => self.on_outcome(n, errand, outcome),
                Effect::Reaped(yard) => {
                    self.yards[n].take_if(|open| *open == yard);
                }
                Effect::Arrived(_) => {}
                Effect::Count { what, times } => *self.counted.entry(what).or_default() += times,
            }
        }
    }

    fn violate(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }

    pub fn violation(&self) -> Option<String> {
        self.violation.clone()
    }

    // ---- Processes ----

    /// Opens the yard of a node.
    pub fn open(&mut self, n: usize) {
        let opened = self.routers[n].open("yard", None);
        match (opened, self.yards[n]) {
            (Ok(yard), None) => self.yards[n] = Some(yard),
            (Err(_), Some(_)) => {}
            (Ok(_), Some(_)) => self.violate("two processes have one yard".to_owned()),
            (Err(why), None) => self.violate(why.to_string()),
        }
    }

    /// The process of a node's yard ends.
    pub fn close(&mut self, n: usize) {
        let mut effects = Vec::new();
        if let Some(yard) = self.yards[n].take() {
            self.routers[n].on_gone(yard, &mut effects);
        }
        self.perform(n, effects);
    }

    /// Sends to a yard, as `node2/yard/queue`; gives what the message says.
    pub fn send(&mut self, n: usize, to: &str, wants_reply: bool) -> Bytes {
        let body = Bytes::from(format!("{:08}", self.sent.len()));
        let by = (n, self.lives[n]);
        self.sent.insert(body.clone(), Sent { by, to: to.to_owned(), outcome: None, taken: false });
        let order = Order {
            from: None,
            to: Address::of_yard(to).unwrap(),
            body: body.clone(),
            wants_reply,
            patience_ms: PATIENCE_MS,
        };
        let mut effects = Vec::new();
        let errand = self.routers[n].send(order, &mut effects);
        self.bodies.insert((n, errand), body.clone());
        self.perform(n, effects);
        body
    }

    /// A yard's process takes at most so many messages, and answers those that want it.
    pub fn take(&mut self, n: usize, max: usize) -> Vec<Arrival> {
        let Some(yard) = self.yards[n] else { return Vec::new() };
        let arrivals = self.routers[n].look(yard, None, max).unwrap_or_default();
        for arrival in &arrivals {
            self.check_taken(n, arrival);
            let mut effects = Vec::new();
            self.routers[n].on_taken(yard, arrival.number, &mut effects);
            if arrival.wants_reply {
                // Nobody may wait for it any more.
                let _ = self.routers[n].reply(yard, arrival.number, arrival.body.clone(), &mut effects);
            }
            self.perform(n, effects);
        }
        arrivals
    }

    fn check_taken(&mut self, n: usize, arrival: &Arrival) {
        let Some(sent) = self.sent.get_mut(&arrival.body) else {
            return self.violate("somebody took what nobody sent".to_owned());
        };
        let was_taken = std::mem::replace(&mut sent.taken, true);
        let sent = sent.clone();
        if was_taken {
            self.violate(format!("{sent:?} was taken twice"));
        }
        if !sent.to.starts_with(&name(n)) || arrival.from.server != Some(name(sent.by.0)) {
            self.violate(format!("{sent:?} came from {} to {n}", arrival.from));
        }
        let place = (sent.by, sent.to.clone());
        let number = std::str::from_utf8(&arrival.body).unwrap().parse().unwrap();
        let before = self.last.insert(place, number);
        if before.is_some_and(|before| before >= number) {
            self.violate(format!("{sent:?} was taken behind a later one"));
        }
    }

    fn on_outcome(&mut self, n: usize, errand: u64, outcome: Outcome) {
        let Some(body) = self.bodies.get(&(n, errand)).cloned() else {
            return self.violate(format!("an outcome of {errand}, which nobody waits for"));
        };
        let sent = self.sent.get_mut(&body).unwrap();
        if let Some(before) = sent.outcome.replace(outcome.clone()) {
            return self.violate(format!("first {before:?}, then {outcome:?}"));
        }
        let is_taken = match &outcome {
            Outcome::Taken => true,
            Outcome::Replied(answer) => *answer == body,
            Outcome::Refused(_) => sent.taken,
        };
        if is_taken != sent.taken {
            let sent = sent.clone();
            self.violate(format!("{sent:?}: that is not so"));
        }
    }

    /// What became of a message.
    pub fn outcome(&self, body: &Bytes) -> Option<&Outcome> {
        self.sent[body].outcome.as_ref()
    }

    /// Whether a message got this outcome, as a finding where it did not.
    pub fn expect(&mut self, body: &Bytes, wanted: &Outcome, what: &str) {
        let told = self.outcome(body).cloned();
        if told.as_ref() != Some(wanted) {
            self.violate(format!("{what}: {told:?} and not {wanted:?}"));
        }
    }
}

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "not everybody who includes this counts")]
pub struct Counts {
    pub taken: u64,
    pub lost: u64,
    pub reaped: u64,
    pub full: u64,
    pub duplicates: u64,
    pub repeated: u64,
}

#[allow(dead_code, reason = "as above")]
impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.taken += other.taken;
        self.lost += other.lost;
        self.reaped += other.reaped;
        self.full += other.full;
        self.duplicates += other.duplicates;
        self.repeated += other.repeated;
    }
}

/// Everything goes wrong for a while; then everything has to be right.
pub fn storm(seed: u64, broken: Broken) -> Result<Counts, String> {
    let mut world = World::new(seed, broken);
    world.lost = world.random.within(0..=30);
    for _ in 0..STORM_TICKS {
        world.ticks(1);
        let n = world.random.index(NODES);
        match world.random.within(0..=99) {
            0 => world.crash(n),
            1..=2 => world.close(n),
            3..=9 => world.open(n),
            10 => {
                // More than a queue takes.
                let (to, many) = (format!("{}/yard/many", name(n)), YARD_WAITING_MAX + 10);
                (0..many).for_each(|_| drop(world.send(n, &to, false)));
            }
            11..=69 => {
                let to = world.random.index(NODES);
                let queue = world.random.pick(&["", "/a", "/b"]);
                let wants_reply = world.random.chance(20);
                world.send(n, &format!("{}/yard{queue}", name(to)), wants_reply);
            }
            _ => {
                let max = world.random.index(20);
                world.take(n, max);
            }
        }
        let most = world.routers.iter().flat_map(Router::yards).map(|yard| yard.waiting).max();
        // Three queues, of which two are never filled on purpose, and one that is.
        if most.is_some_and(|most| most > 2 * YARD_WAITING_MAX) {
            world.violate(format!("{most:?} messages wait"));
        }
    }
    world.lost = 0;
    world.ticks(CALM_TICKS);
    let untold: BTreeSet<_> = world
        .sent
        .values()
        .filter(|sent| sent.outcome.is_none() && sent.by.1 == world.lives[sent.by.0])
        .map(|sent| format!("{sent:?}"))
        .collect();
    if let Some(first) = untold.first() {
        world.violate(format!("nobody was told of {first}"));
    }
    let wrongly = world.sent.values().find(|sent| {
        let surely_not = matches!(
            sent.outcome,
            Some(Outcome::Refused(reason)) if !matches!(reason, Reason::Lost | Reason::Late | Reason::YardReaped)
        );
        surely_not && sent.taken
    });
    if let Some(sent) = wrongly.cloned() {
        world.violate(format!("{sent:?} was taken"));
    }
    scenes(&mut world);
    let counted = |what| world.counted.get(&what).copied().unwrap_or_default();
    let counts = Counts {
        taken: counted(Happening::Taken),
        lost: counted(Happening::Refused(Reason::Lost)),
        reaped: counted(Happening::Reaped),
        full: counted(Happening::Refused(Reason::QueueFull)),
        duplicates: counted(Happening::Duplicate),
        repeated: counted(Happening::Repeated),
    };
    match world.violation() {
        Some(why) => Err(format!("seed {seed}: {why}")),
        None => Ok(counts),
    }
}

/// What has to be so where nothing goes wrong.
fn scenes(world: &mut World) {
    let refused = Outcome::Refused;
    (0..NODES).for_each(|n| world.close(n));
    let body = world.send(0, "node1/yard", false);
    world.ticks(2);
    world.expect(&body, &refused(Reason::UnknownYard), "a yard that nobody has");
    world.open(1);
    let body = world.send(0, "node1/yard", true);
    world.ticks(2);
    world.take(1, 10);
    world.ticks(2);
    world.expect(&body, &Outcome::Replied(body.clone()), "a question");
    let bodies = [false, true].map(|wants_reply| world.send(0, "node1/yard", wants_reply));
    world.ticks(2);
    world.close(1);
    world.ticks(2);
    bodies.iter().for_each(|body| world.expect(body, &refused(Reason::YardReaped), "a yard that is gone"));
    world.open(1);
    let body = world.send(0, "node1/yard", false);
    world.ticks(2);
    world.crash(1);
    world.ticks(60);
    world.expect(&body, &refused(Reason::Lost), "a node that started again");
    let body = world.send(0, "node1/yard", false);
    world.ticks(2);
    world.expect(&body, &refused(Reason::UnknownYard), "a node that started again");
    world.open(1);
    let late = u64::from(PATIENCE_MS) / TICK_MS + 2;
    let body = world.send(0, "node1/yard", false);
    world.ticks(late);
    world.expect(&body, &refused(Reason::Late), "a process that does not look");
}
