//! One node's router.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_types::limits::{
    ERRANDS_MAX, ROUTE_BODY_BYTES_MAX, ROUTE_PATIENCE_MS_MAX, YARD_IDLE_MS_MAX, YARD_QUEUES_MAX, YARDS_MAX,
};
use synod_types::name::is_name;
use synod_types::{Address, NodeId, wire};

use super::event::{Arrival, Effect, Happening, NotOpened, NotReplied, Order, YardId, YardStanding};
use super::letter::{Letter, Outcome, Reason};
use super::link::{Came, Link};
use super::yard::{Origin, Yard};
use crate::broken::{Broken, Fault};
use crate::toolbox::Packet;

/// How long a tick is.
pub const TICK_MS: u64 = 20;
/// Where lives are milliseconds, or follow each other slower than these, a life has room for a million messages in each of them.
const LIFE_BITS: u32 = 20;

/// One node.
#[derive(Debug)]
pub struct Router {
    me: NodeId,
    name: String,
    /// Which of this node's lives it is.
    life: u64,
    /// In ticks.
    now: u64,
    names: BTreeMap<NodeId, String>,
    links: BTreeMap<NodeId, Link>,
    yards: BTreeMap<String, Yard>,
    last_yard: u64,
    /// The number of the last one. Those of each life are larger than those of the lives before: what comes back for them is for nobody.
    last_errand: u64,
    errands: BTreeMap<u64, Errand>,
    broken: Broken,
}

/// A message of this node's whose outcome is not known.
#[derive(Clone, Copy, Debug)]
struct Errand {
    /// Where it is.
    to: NodeId,
    /// The tick from which on nobody waits.
    until: u64,
}

impl Router {
    /// A node that starts. `life` is larger than in all lives of the node before, and not 0: the time in milliseconds, say.
    pub fn new(me: NodeId, name: impl Into<String>, life: u64) -> Router {
        Router::broken(me, name, life, Broken::NOT)
    }

    /// One with this fault.
    pub fn broken(me: NodeId, name: impl Into<String>, life: u64, broken: Broken) -> Router {
        Router {
            me,
            name: name.into(),
            life,
            now: 0,
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            yards: BTreeMap::new(),
            last_yard: 0,
            last_errand: life << LIFE_BITS,
            errands: BTreeMap::new(),
            broken,
        }
    }

    /// From now on these are all other nodes, with their names.
    pub fn set_servers(&mut self, servers: BTreeMap<NodeId, String>, effects: &mut Vec<Effect>) {
        let gone: Vec<NodeId> =
            self.links.keys().copied().filter(|node| !servers.contains_key(node)).collect();
        for node in gone {
            self.links.remove(&node);
            self.give_up(|errand| errand.to == node, Reason::Lost, effects);
        }
        for &node in servers.keys().filter(|node| **node != self.me) {
            self.links.entry(node).or_insert_with(|| Link::new(self.me, self.life, node));
        }
        self.names = servers;
    }

    /// Whether another node is heard; `None`: there is none of this name.
    pub fn is_there(&self, server: &str) -> Option<bool> {
        let (node, _) = self.names.iter().find(|(_, name)| *name == server)?;
        Some(self.links.get(node).is_some_and(Link::is_there))
    }

    /// The yards that are open here.
    pub fn yards(&self) -> Vec<YardStanding> {
        self.yards.iter().map(|(name, yard)| yard.standing(name)).collect()
    }

    /// Time passes: [`TICK_MS`].
    pub fn on_tick(&mut self, effects: &mut Vec<Effect>) {
        self.now += 1;
        let nodes: Vec<NodeId> = self.links.keys().copied().collect();
        for node in nodes {
            let Some(link) = self.links.get_mut(&node) else { continue };
            let came = link.on_tick(effects);
            self.on_came(node, came, effects);
        }
        let now = self.now;
        self.give_up(|errand| errand.until <= now, Reason::Late, effects);
        self.yards.values_mut().for_each(|yard| yard.forget_late(now));
        let stuck = self.yards.values().filter(|yard| yard.is_stuck(now, YARD_IDLE_MS_MAX / TICK_MS));
        for yard in stuck.map(|yard| yard.id).collect::<Vec<_>>() {
            effects.push(Effect::Reaped(yard));
            self.close(yard, effects);
        }
    }

    /// Another node sent a packet.
    pub fn on_packet(&mut self, from: NodeId, packet: Packet, effects: &mut Vec<Effect>) {
        match self.links.get_mut(&from) {
            Some(link) => {
                let came = link.on_packet(packet, effects);
                self.on_came(from, came, effects);
            }
            None => effects.push(Effect::Count { what: Happening::Malformed, times: 1 }),
        }
    }

    // ---- What processes do ----

    /// A process opens a yard; `queues` are those that it takes, `None`: all.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&mut self, name: &str, queues: Option<Vec<String>>) -> Result<YardId, NotOpened> {
        let is_queue = |queue: &String| queue.is_empty() || is_name(queue);
        let are_queues =
            |queues: &Vec<String>| queues.len() <= YARD_QUEUES_MAX && queues.iter().all(is_queue);
        if !is_name(name) || !queues.as_ref().is_none_or(are_queues) {
            return Err(NotOpened::BadName);
        }
        if self.yards.contains_key(name) && !self.broken.is(Fault::NameGivenTwice) {
            return Err(NotOpened::Taken);
        }
        if self.yards.len() >= YARDS_MAX {
            return Err(NotOpened::TooMany);
        }
        self.last_yard += 1;
        let id = YardId(self.last_yard);
        let queues = queues.map(BTreeSet::from_iter);
        self.yards.insert(name.to_owned(), Yard::new(id, queues, self.now, self.broken));
        Ok(id)
    }

    /// Whether a yard is still open.
    pub fn is_open(&self, id: YardId) -> bool {
        self.yards.values().any(|yard| yard.id == id)
    }

    /// A yard's process is gone.
    pub fn on_gone(&mut self, id: YardId, effects: &mut Vec<Effect>) {
        self.close(id, effects);
    }

    /// What waits in a yard, at most so many and without taking it; `None`: the yard is not open any more.
    pub fn look(&mut self, id: YardId, queue: Option<&str>, max: usize) -> Option<Vec<Arrival>> {
        let now = self.now;
        Some(self.yard(id)?.look(queue, max, now))
    }

    /// A yard's process has the message of this number.
    pub fn on_taken(&mut self, id: YardId, number: u64, effects: &mut Vec<Effect>) {
        let now = self.now;
        let Some((origin, is_answered)) = self.yard(id).and_then(|yard| yard.take(number, now)) else {
            return;
        };
        effects.push(Effect::Count { what: Happening::Taken, times: 1 });
        if !is_answered {
            self.tell(origin, Outcome::Taken, effects);
        }
    }

    /// A yard's process answers the message of this number.
    ///
    /// # Errors
    /// [`NotReplied`].
    pub fn reply(
        &mut self,
        id: YardId,
        number: u64,
        body: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<(), NotReplied> {
        if body.len() > ROUTE_BODY_BYTES_MAX {
            return Err(NotReplied::TooLarge);
        }
        let origin = self.yard(id).and_then(|yard| yard.reply(number)).ok_or(NotReplied::NotAsked)?;
        self.tell(origin, Outcome::Replied(body), effects);
        Ok(())
    }

    /// A process sends a message, whose number this is. Its outcome may be there at once, among the effects.
    pub fn send(&mut self, order: Order, effects: &mut Vec<Effect>) -> u64 {
        self.last_errand += 1;
        let errand = self.last_errand;
        if let Err(reason) = self.try_send(errand, order, effects) {
            self.errands.remove(&errand);
            refused(errand, reason, effects);
        }
        errand
    }

    /// Who sent it does not wait for the outcome any more.
    pub fn forget(&mut self, errand: u64) {
        self.errands.remove(&errand);
    }

    fn try_send(&mut self, errand: u64, order: Order, effects: &mut Vec<Effect>) -> Result<(), Reason> {
        let Order { from, to: Address { server, yard, queue }, body, wants_reply, patience_ms } = order;
        if body.len() > ROUTE_BODY_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        let to = match server.filter(|server| *server != self.name) {
            None => self.me,
            Some(server) => {
                let named = self.names.iter().find(|(_, name)| **name == server);
                *named.ok_or(Reason::UnknownServer)?.0
            }
        };
        if self.errands.len() >= ERRANDS_MAX {
            return Err(Reason::Busy);
        }
        let patience_ms = patience_ms.clamp(1, ROUTE_PATIENCE_MS_MAX);
        let until = self.now + ticks(patience_ms);
        let reply_ms = if wants_reply { patience_ms } else { 0 };
        let (from, yard) = (from.unwrap_or_default(), yard.unwrap_or_default());
        let letter = Letter::Message { errand, from, yard, queue, reply_ms, body };
        self.errands.insert(errand, Errand { to, until });
        if to == self.me {
            self.on_letter(to, letter, effects);
            return Ok(());
        }
        let link = self.links.get_mut(&to).filter(|link| link.is_there()).ok_or(Reason::ServerAway)?;
        link.send(Some(errand), wire::encode(&letter).into(), effects)
    }

    // ---- What comes ----

    fn on_came(&mut self, from: NodeId, came: Vec<Came>, effects: &mut Vec<Effect>) {
        for came in came {
            match came {
                Came::Letter(bytes) => match wire::decode(&bytes) {
                    Ok(letter) => self.on_letter(from, letter, effects),
                    Err(_) => effects.push(Effect::Count { what: Happening::Malformed, times: 1 }),
                },
                Came::Anew if self.broken.is(Fault::LostNotTold) => {}
                Came::Anew => {
                    let waiting: BTreeSet<u64> = match self.links.get(&from) {
                        Some(link) => {
                            self.errands.keys().copied().filter(|errand| link.is_waiting(*errand)).collect()
                        }
                        None => BTreeSet::new(),
                    };
                    let is_lost =
                        |number: u64, errand: &Errand| errand.to == from && !waiting.contains(&number);
                    let lost = self.errands.iter().filter(|(number, errand)| is_lost(**number, errand));
                    for number in lost.map(|(number, _)| *number).collect::<Vec<_>>() {
                        self.errands.remove(&number);
                        refused(number, Reason::Lost, effects);
                    }
                }
            }
        }
    }

    fn on_letter(&mut self, from: NodeId, letter: Letter, effects: &mut Vec<Effect>) {
        match letter {
            Letter::Message { errand, from: sender, yard, queue, reply_ms, body } => {
                let origin = Origin { node: from, errand };
                let server =
                    if from == self.me { Some(self.name.clone()) } else { self.names.get(&from).cloned() };
                let from = Address {
                    server,
                    yard: Some(sender).filter(|yard| !yard.is_empty()),
                    queue: String::new(),
                };
                let arrival = Arrival { number: 0, from, queue, body, wants_reply: reply_ms > 0 };
                let until = self.now + ticks(reply_ms.min(ROUTE_PATIENCE_MS_MAX));
                let now = self.now;
                let placed = match self.yards.get_mut(&yard) {
                    _ if arrival.body.len() > ROUTE_BODY_BYTES_MAX => Err(Reason::TooLarge),
                    Some(yard) => yard.place(origin, arrival, until, now).map(|()| yard.id),
                    None => Err(Reason::UnknownYard),
                };
                match placed {
                    Ok(id) => effects.push(Effect::Arrived(id)),
                    Err(_) if self.broken.is(Fault::RefusedSilently) => {}
                    Err(reason) => self.tell(origin, Outcome::Refused(reason), effects),
                }
            }
            Letter::Outcome { errand, outcome } => self.on_outcome(from, errand, outcome, effects),
        }
    }

    fn on_outcome(&mut self, from: NodeId, errand: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        if self.errands.get(&errand).is_none_or(|known| known.to != from) {
            effects.push(Effect::Count { what: Happening::Unasked, times: 1 });
            return;
        }
        self.errands.remove(&errand);
        if let Outcome::Refused(reason) = outcome {
            effects.push(Effect::Count { what: Happening::Refused(reason), times: 1 });
        }
        effects.push(Effect::Tell { errand, outcome });
    }

    // ---- Whom to tell ----

    fn yard(&mut self, id: YardId) -> Option<&mut Yard> {
        self.yards.values_mut().find(|yard| yard.id == id)
    }

    fn close(&mut self, id: YardId, effects: &mut Vec<Effect>) {
        let named = self.yards.iter().find(|(_, yard)| yard.id == id).map(|(name, _)| name.clone());
        let Some(yard) = named.and_then(|name| self.yards.remove(&name)) else { return };
        effects.push(Effect::Count { what: Happening::Reaped, times: 1 });
        if self.broken.is(Fault::ReapedSilently) {
            return;
        }
        for origin in yard.into_waiting() {
            self.tell(origin, Outcome::Refused(Reason::YardReaped), effects);
        }
    }

    /// Tells who sent a message what became of it. What cannot be told is found out by the sender's own clock.
    fn tell(&mut self, origin: Origin, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Origin { node, errand } = origin;
        if node == self.me {
            self.on_outcome(node, errand, outcome, effects);
            return;
        }
        if let Outcome::Refused(reason) = outcome {
            effects.push(Effect::Count { what: Happening::Refused(reason), times: 1 });
        }
        let letter = wire::encode(&Letter::Outcome { errand, outcome });
        let sent = match self.links.get_mut(&node) {
            Some(link) => link.send(None, letter.into(), effects),
            None => Err(Reason::UnknownServer),
        };
        if let Err(reason) = sent {
            effects.push(Effect::Count { what: Happening::Refused(reason), times: 1 });
        }
    }

    fn give_up(&mut self, is_it: impl Fn(&Errand) -> bool, reason: Reason, effects: &mut Vec<Effect>) {
        for (number, _) in self.errands.extract_if(.., |_, errand| is_it(errand)) {
            refused(number, reason, effects);
        }
    }
}

fn refused(errand: u64, reason: Reason, effects: &mut Vec<Effect>) {
    effects.push(Effect::Count { what: Happening::Refused(reason), times: 1 });
    effects.push(Effect::Tell { errand, outcome: Outcome::Refused(reason) });
}

fn ticks(ms: u32) -> u64 {
    u64::from(ms).div_ceil(TICK_MS)
}
