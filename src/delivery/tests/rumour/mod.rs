//! A simulated group that gossips: a network that loses, repeats, delays and cuts; nodes that crash, forget everything, and start
//! again, some with a clock that was set back. Everything follows from a seed.

#[path = "../world/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};

use synod_delivery::broken::Broken;
use synod_delivery::gossip::Gossip;
use synod_types::{Digest, GossipMessage, NodeId, Version, Word};

use random::Random;

/// Rounds in which everything goes wrong.
const STORM_ROUNDS: u64 = 60;
/// Rounds after which everybody has to know everything, where 30 of 100 messages are lost.
const CALM_ROUNDS: u64 = 60;

fn node(n: usize) -> NodeId {
    NodeId(Digest::of(&[&n.to_be_bytes()]))
}

/// A message on its way.
struct Packet {
    due: u64,
    from: usize,
    to: usize,
    message: GossipMessage<u64>,
}

/// The group, and what there is to check.
struct World {
    /// The nodes' places, by their ids.
    places: BTreeMap<NodeId, usize>,
    nodes: Vec<Gossip<u64>>,
    is_up: Vec<bool>,
    lives: Vec<u64>,
    /// All that each said.
    said: Vec<BTreeSet<u64>>,
    /// The newest that each knew of each, in this life.
    knew: BTreeMap<(usize, NodeId), Version>,
    packets: Vec<Packet>,
    now: u64,
    random: Random,
    broken: Broken,
    /// Of 100 messages, and rounds that one may take.
    lost_percent: u64,
    delay_max: u64,
    /// Who is on the one side of a cut.
    cut: BTreeSet<usize>,
    sent: u64,
}

impl World {
    fn new(count: usize, fanout: usize, seed: u64, broken: Broken) -> World {
        let ids: Vec<NodeId> = (0..count).map(node).collect();
        let gossip = |n: usize| {
            let mut gossip = Gossip::new(ids[n], 1, 0, fanout).broken(broken);
            gossip.set_others(ids.iter().copied());
            gossip.say(|_| 0);
            gossip
        };
        World {
            places: ids.iter().copied().zip(0..).collect(),
            nodes: (0..count).map(gossip).collect(),
            is_up: vec![true; count],
            lives: vec![1; count],
            said: vec![BTreeSet::from([0]); count],
            knew: BTreeMap::new(),
            packets: Vec::new(),
            now: 0,
            random: Random(seed),
            broken,
            lost_percent: 0,
            delay_max: 0,
            cut: BTreeSet::new(),
            sent: 0,
        }
    }

    fn say(&mut self, n: usize, says: u64) {
        self.nodes[n].say(|_| says);
        self.said[n].insert(says);
    }

    fn send(&mut self, from: usize, to: NodeId, message: GossipMessage<u64>) {
        let to = self.places[&to];
        self.sent += 1;
        let copies = if self.lost_percent > 0 && self.random.chance(10) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.chance(self.lost_percent) || self.cut.contains(&from) != self.cut.contains(&to) {
                continue;
            }
            let due = self.now + self.random.within(0..=self.delay_max);
            self.packets.push(Packet { due, from, to, message: message.clone() });
        }
    }

    /// A round of everybody, and all that arrives in it.
    fn round(&mut self) -> Result<(), String> {
        for n in 0..self.nodes.len() {
            if self.is_up[n] {
                for (to, message) in self.nodes[n].on_round() {
                    self.send(n, to, message);
                }
            }
        }
        while let Some(next) = self.next_due() {
            let Packet { from, to, message, .. } = self.packets.swap_remove(next);
            if !self.is_up[to] {
                continue;
            }
            let (answer, news) = self.nodes[to].on_message(message);
            if let Some(answer) = answer {
                self.send(to, node(from), answer);
            }
            self.check(to, &news)?;
            if news.contains(&node(to)) {
                let says = self.random.next();
                self.say(to, says);
            }
        }
        self.now += 1;
        Ok(())
    }

    /// Any of those that are due.
    fn next_due(&mut self) -> Option<usize> {
        let due: Vec<usize> =
            (0..self.packets.len()).filter(|at| self.packets[*at].due <= self.now).collect();
        (!due.is_empty()).then(|| due[self.random.index(due.len())])
    }

    /// What a node has learnt was said, and is later than what it knew.
    fn check(&mut self, at: usize, news: &BTreeSet<NodeId>) -> Result<(), String> {
        for (of, version, says) in
            self.nodes[at].words().filter(|(of, ..)| news.contains(of) && *of != node(at))
        {
            let source = self.places[&of];
            if !self.said[source].contains(says) {
                return Err(format!("node {at} has a word of node {source} that it never said"));
            }
            let before = self.knew.insert((at, of), version).unwrap_or_default();
            if before >= version {
                return Err(format!("node {at} went back in what it knows of node {source}"));
            }
        }
        Ok(())
    }

    fn crash(&mut self, n: usize) {
        self.is_up[n] = false;
    }

    /// Starts again with nothing. One in three has a clock that went back.
    fn restart(&mut self, n: usize) {
        let life = if self.random.chance(33) {
            self.lives[n] / 2
        } else {
            self.lives[n] + self.random.within(1..=9)
        };
        self.lives[n] = life;
        let says = self.random.next();
        let mut gossip = Gossip::new(node(n), life, says, 2).broken(self.broken);
        gossip.set_others((0..self.nodes.len()).map(node));
        gossip.say(|_| says);
        (self.nodes[n], self.is_up[n]) = (gossip, true);
        self.said[n].insert(says);
        self.knew.retain(|(at, _), _| *at != n);
    }

    /// What is known of `of` at every node that is up.
    fn known_of(&self, of: usize) -> Vec<Option<Word<u64>>> {
        let of = node(of);
        let word = |at: usize| {
            let found = self.nodes[at].words().find(|(id, ..)| *id == of);
            found.map(|(node, version, says)| Word { node, version, says: *says })
        };
        (0..self.nodes.len()).filter(|at| self.is_up[*at]).map(word).collect()
    }
}

/// Runs a group through a storm; the error says which promise was broken.
pub fn storm(seed: u64, broken: Broken) -> Result<(), String> {
    let mut random = Random(seed ^ 0x676f_7373_6970);
    let count = usize::try_from(random.within(2..=12)).expect("small");
    let fanout = usize::try_from(random.within(1..=3)).expect("small");
    let mut world = World::new(count, fanout, seed, broken);
    (world.lost_percent, world.delay_max) = (30, random.within(0..=5));
    for _ in 0..STORM_ROUNDS {
        if random.chance(30) {
            world.say(random.index(count), random.next());
        }
        if random.chance(10) {
            world.crash(random.index(count));
        }
        if random.chance(20) {
            let n = random.index(count);
            if !world.is_up[n] {
                world.restart(n);
            }
        }
        if random.chance(10) {
            world.cut = (0..count).filter(|_| random.chance(50)).collect();
        }
        world.round()?;
    }
    // Some stay away for ever.
    for n in 0..count {
        if !world.is_up[n] && random.chance(70) {
            world.restart(n);
        }
    }
    world.cut.clear();
    for n in 0..count {
        if world.is_up[n] {
            world.say(n, random.next());
        }
    }
    for _ in 0..CALM_ROUNDS {
        world.round()?;
    }
    for of in 0..count {
        let known = world.known_of(of);
        let own = world.nodes[of].words().find(|(id, ..)| *id == node(of)).filter(|_| world.is_up[of]);
        let knows = |says: u64| known.iter().all(|word| word.as_ref().is_some_and(|word| word.says == says));
        if own.is_some_and(|(_, _, says)| !knows(*says)) {
            return Err(format!("not everybody knows what node {of} says"));
        }
        // Of the dead, all know the same.
        if known.iter().any(|word| *word != known[0]) {
            return Err(format!("not everybody knows the same of node {of}"));
        }
    }
    Ok(())
}

/// How many rounds it takes in which of a group of so many everybody gets to know a new word, and how many messages a node sends in one.
pub fn converge(count: usize, fanout: usize, lost_percent: u64, seed: u64, broken: Broken) -> (u64, u64) {
    let mut world = World::new(count, fanout, seed, broken);
    // Everybody knows everybody, and the distance at which they ask next is any.
    for _ in 0..world.random.within(12..=24) {
        world.round().expect("nothing goes wrong");
    }
    world.lost_percent = lost_percent;
    let (source, before, begun) = (world.random.index(count), world.sent, world.now);
    world.say(source, 7);
    while world.known_of(source).iter().any(|word| word.as_ref().is_none_or(|word| word.says != 7)) {
        world.round().expect("nothing goes wrong");
    }
    let rounds = world.now - begun;
    (rounds, (world.sent - before) / rounds / u64::try_from(count).expect("small"))
}
