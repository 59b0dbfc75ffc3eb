//! A group that a test leads by the hand: packets wait until the test has them carried, and it says which arrive.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_delivery::toolbox::broken::Broken;
use synod_delivery::toolbox::{
    Body, BroadcastError, Effect, Event, Guarantee, MessageId, Node, Order, Packet, Patience, Topic,
};
use synod_types::wire::{decode, encode};
use synod_types::{Digest, NodeId};

/// The topic of everything here.
pub const TOPIC: Topic = Topic(7);
/// Ticks after which a silent node is suspected, and some more.
pub const SUSPECTED_TICKS: usize = 12;

pub fn id(i: u8) -> NodeId {
    NodeId(Digest([i; 32]))
}

pub struct Group {
    pub nodes: BTreeMap<u8, Node>,
    count: u8,
    guarantee: Guarantee,
    order: Order,
    window: u64,
    broken: Broken,
    incarnations: BTreeMap<u8, u64>,
    packets: Vec<(u8, u8, Packet)>,
    /// What each node delivered in its present life, as texts.
    pub delivered: BTreeMap<u8, Vec<String>>,
    /// What else each node said.
    pub said: Vec<(u8, Effect)>,
}

impl Group {
    pub fn new(count: u8, guarantee: Guarantee, order: Order) -> Group {
        Group::with(count, guarantee, order, 64, Broken::NOT)
    }

    pub fn with(count: u8, guarantee: Guarantee, order: Order, window: u64, broken: Broken) -> Group {
        let mut group = Group {
            nodes: BTreeMap::new(),
            count,
            guarantee,
            order,
            window,
            broken,
            incarnations: BTreeMap::new(),
            packets: Vec::new(),
            delivered: BTreeMap::new(),
            said: Vec::new(),
        };
        (1..=count).for_each(|i| group.start(i));
        group
    }

    pub fn start(&mut self, i: u8) {
        let incarnation = self.incarnations.entry(i).or_insert(0);
        *incarnation += 1;
        let builder = Node::builder(id(i), *incarnation, (1..=self.count).map(id));
        let builder = builder.window(self.window).broken(self.broken);
        let builder = builder.detector(Patience { timeout_ticks: 10, step_ticks: 5, timeout_ticks_max: 100 });
        let node = match (self.guarantee, self.order) {
            (Guarantee::BestEffort, Order::Any) => builder.best_effort().build(),
            (Guarantee::BestEffort, _) => builder.best_effort().fifo().build(),
            (Guarantee::Reliable, Order::Any) => builder.reliable().build(),
            (Guarantee::Reliable, Order::Fifo) => builder.reliable().fifo().build(),
            (Guarantee::Reliable, Order::Causal) => builder.reliable().causal().build(),
            (Guarantee::Uniform, Order::Any) => builder.uniform().build(),
            (Guarantee::Uniform, Order::Fifo) => builder.uniform().fifo().build(),
            (Guarantee::Uniform, Order::Causal) => builder.uniform().causal().build(),
        };
        self.nodes.insert(i, node.unwrap());
        self.delivered.insert(i, Vec::new());
    }

    /// A node dies; what it sent is still on its way.
    pub fn crash(&mut self, i: u8) {
        self.nodes.remove(&i);
    }

    pub fn broadcast(&mut self, i: u8, text: &str) -> Result<MessageId, BroadcastError> {
        let mut effects = Vec::new();
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let outcome = self.nodes.get_mut(&i).unwrap().broadcast(TOPIC, payload, &mut effects);
        self.perform(i, effects);
        outcome
    }

    pub fn step(&mut self, i: u8, event: Event) {
        let mut effects = Vec::new();
        if let Some(node) = self.nodes.get_mut(&i) {
            node.step(event, &mut effects);
        }
        self.perform(i, effects);
    }

    fn perform(&mut self, i: u8, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => {
                    let bytes = encode(&packet);
                    assert!(bytes.len() <= 65_507, "{} bytes are no datagram", bytes.len());
                    assert_eq!(decode::<Packet>(&bytes).unwrap(), packet);
                    self.packets.push((i, to.0.0[0], packet));
                }
                Effect::Deliver { delivery, .. } => {
                    let text = String::from_utf8(delivery.payload.to_vec()).unwrap();
                    self.delivered.get_mut(&i).unwrap().push(text);
                }
                other => self.said.push((i, other)),
            }
        }
    }

    /// Carries everything that waits, and what comes of it, where `arrives` says so; the rest is lost.
    pub fn carry(&mut self, arrives: impl Fn(u8, u8, &Packet) -> bool) {
        while !self.packets.is_empty() {
            for (from, to, packet) in std::mem::take(&mut self.packets) {
                if arrives(from, to, &packet) {
                    self.step(to, Event::Packet { from: id(from), packet });
                }
            }
        }
    }

    /// So many ticks at all nodes, and what they send, where `arrives` says so.
    pub fn ticks(&mut self, count: usize, arrives: impl Fn(u8, u8, &Packet) -> bool) {
        for _ in 0..count {
            for i in 1..=self.count {
                self.step(i, Event::Tick);
            }
            self.carry(&arrives);
        }
    }

    /// What each node that is up delivered.
    pub fn texts(&self) -> Vec<(u8, Vec<&str>)> {
        let texts = |i: &u8| self.delivered[i].iter().map(String::as_str).collect();
        self.nodes.keys().map(|i| (*i, texts(i))).collect()
    }

    pub fn said(&self, i: u8, what: &Effect) -> bool {
        self.said.iter().any(|(by, said)| *by == i && said == what)
    }
}

pub fn always(_: u8, _: u8, _: &Packet) -> bool {
    true
}

pub fn is_data(packet: &Packet) -> bool {
    matches!(packet.body, Body::Data(_))
}

/// Of five nodes, 1 broadcasts to 2 and 3, and delivers when it hears that they have it. Before anybody else hears anything, 1
/// and 2 die. What the others delivered in the end.
pub fn two_deliverers_die(broken: Broken) -> Vec<(u8, Vec<String>)> {
    let mut group = Group::with(5, Guarantee::Uniform, Order::Any, 64, broken);
    group.ticks(3, always);
    group.broadcast(1, "last words").unwrap();
    group.carry(|from, to, _| (from == 1 && to <= 3) || (from <= 3 && to == 1));
    assert_eq!(group.delivered[&1], ["last words"], "a majority has it, and it knows");
    assert!((2..=5).all(|i| group.delivered[&i].is_empty()), "nobody else knows");
    group.crash(1);
    group.crash(2);
    group.ticks(5 * SUSPECTED_TICKS, always);
    group.delivered.clone().into_iter().filter(|(i, _)| group.nodes.contains_key(i)).collect()
}
