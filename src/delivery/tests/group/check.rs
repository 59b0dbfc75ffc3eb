//! What has to hold, at each step and in the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_delivery::toolbox::{Body, Delivery, Effect, Guarantee, Life, MessageId, Node, Order, Seat, Topic};
use synod_types::NodeId;
use synod_types::limits::{TOOLBOX_LIVES_MAX, TOOLBOX_WINDOW_MAX};

use super::Promise;

/// A message, as it was broadcast.
struct Said {
    topic: Topic,
    payload: Bytes,
    lamport: u64,
    audience: Vec<Seat>,
    /// How much its source had delivered before.
    after: usize,
}

pub(super) struct Checks {
    promise: Promise,
    pub violation: Option<String>,
    said: BTreeMap<MessageId, Said>,
    /// What each life delivered, in order.
    logs: BTreeMap<Life, Vec<MessageId>>,
    delivered: BTreeMap<Life, BTreeSet<MessageId>>,
    /// By whom, and who.
    pub given_up: BTreeSet<(Life, Life)>,
    is_still: bool,
    /// Wrong suspicions since messages only take their time.
    wrong: BTreeMap<(Life, NodeId), u64>,
    /// When who was suspected last.
    suspected: BTreeMap<(Life, NodeId), u64>,
}

impl Checks {
    pub(super) fn new(promise: Promise) -> Checks {
        Checks {
            promise,
            violation: None,
            said: BTreeMap::new(),
            logs: BTreeMap::new(),
            delivered: BTreeMap::new(),
            given_up: BTreeSet::new(),
            is_still: false,
            wrong: BTreeMap::new(),
            suspected: BTreeMap::new(),
        }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.logs.values().map(|log| u64::try_from(log.len()).unwrap()).sum()
    }

    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The first message of this source that is owed to `life`, by this message.
    fn owed_since(&self, life: Life, id: MessageId) -> Option<u64> {
        if id.source == life {
            return Some(1);
        }
        self.said[&id].audience.iter().find(|seat| seat.life == life).map(|seat| seat.since)
    }

    fn has_delivered(&self, life: Life, id: MessageId) -> bool {
        self.delivered.get(&life).is_some_and(|delivered| delivered.contains(&id))
    }

    /// What is kept stays within limits.
    pub(super) fn on_step(&mut self, node: &Node, window: u64, members: usize) {
        if node.under_way() > window {
            self.violated(format!("{:?} has {} messages under way", node.life(), node.under_way()));
        }
        let held_max = members * TOOLBOX_LIVES_MAX * usize::try_from(TOOLBOX_WINDOW_MAX).unwrap();
        if node.held() > held_max {
            self.violated(format!("{:?} keeps {} messages", node.life(), node.held()));
        }
    }

    pub(super) fn on_broadcast(
        &mut self,
        life: Life,
        id: MessageId,
        topic: Topic,
        payload: Bytes,
        effects: &[Effect],
    ) {
        let sent = effects.iter().find_map(|effect| match effect {
            Effect::Send { packet, .. } => match &packet.body {
                Body::Data(message) if message.id == id => Some((message.lamport, message.audience.clone())),
                _ => None,
            },
            _ => None,
        });
        let log = self.logs.get(&life).map_or(&[][..], |log| log);
        if let Some((lamport, _)) = sent
            && let Some(late) = log.iter().find(|before| self.said[before].lamport >= lamport)
        {
            self.violation = Some(format!("by Lamport's clock {id:?} is not later than {late:?}"));
        }
        let after = log.len();
        let (lamport, audience) = sent.unwrap_or_default();
        let said = Said { topic, payload, lamport, audience, after };
        if self.said.insert(id, said).is_some() || id.source != life {
            self.violated(format!("{life:?} gave the id {id:?} twice"));
        }
    }

    pub(super) fn on_deliver(&mut self, life: Life, delivery: &Delivery, is_told: bool) {
        let id = delivery.id;
        let Some(said) = self.said.get(&id) else {
            return self.violated(format!("{life:?} delivers {id:?}, which nobody broadcast"));
        };
        let after = said.after;
        let is_same = said.topic == delivery.topic && said.payload == delivery.payload;
        if !is_same || delivery.clock.of(id.source) != id.number {
            self.violated(format!(
                "{life:?} delivers {id:?}, and that was something else: nobody broadcast it"
            ));
        }
        if !is_told {
            self.violated(format!("{life:?} delivers {id:?}, and its subscribers are others"));
        }
        let Some(since) = self.owed_since(life, id) else {
            return self.violated(format!("{life:?} delivers {id:?}, which is not owed to it"));
        };
        if self.has_delivered(life, id) {
            self.violated(format!("{life:?} delivers {id:?} twice"));
        }
        let before = MessageId { number: id.number - 1, ..id };
        if self.promise.order >= Order::Fifo && before.number >= since && !self.has_delivered(life, before) {
            self.violated(format!("{life:?} delivers {id:?} before {before:?}"));
        }
        if self.promise.order == Order::Causal {
            let causes = self.logs.get(&id.source).map_or(&[][..], |log| &log[..after]);
            let missed = causes.iter().find(|&&cause| {
                let since = self.owed_since(life, cause);
                since.is_some_and(|since| since <= cause.number) && !self.has_delivered(life, cause)
            });
            if let Some(missed) = missed {
                self.violated(format!("{life:?} delivers {id:?} before its cause {missed:?}"));
            }
        }
        self.logs.entry(life).or_default().push(id);
        self.delivered.entry(life).or_default().insert(id);
    }

    pub(super) fn on_still(&mut self) {
        self.is_still = true;
    }

    /// Now that messages come within a bound, there is one wrong suspicion at most: the timeout is above the bound then.
    pub(super) fn on_suspect(&mut self, life: Life, node: NodeId, is_right: bool, now: u64) {
        self.suspected.insert((life, node), now);
        if self.is_still && !is_right {
            let wrong = self.wrong.entry((life, node)).or_insert(0);
            *wrong += 1;
            if *wrong > 1 {
                self.violated(format!("{life:?} goes on suspecting {node:?} wrongly"));
            }
        }
    }

    /// Whether it has just been raised, so that it could not yet be taken back.
    pub(super) fn is_new_suspicion(&self, life: Life, node: NodeId, now: u64) -> bool {
        self.suspected.get(&(life, node)).is_some_and(|&since| now - since < 500)
    }

    /// `alive` are those who lived on; only a minority of the nodes ever lost their memory, if `is_minority`.
    pub(super) fn check_end(&self, alive: &BTreeSet<Life>, is_minority: bool) -> Result<(), String> {
        let Promise { guarantee, .. } = self.promise;
        let mut given_up = self.given_up.iter();
        if let Some((by, life)) = given_up.find(|(by, life)| alive.contains(by) && alive.contains(life)) {
            return Err(format!("{life:?} was given up by {by:?}, and goes on"));
        }
        if guarantee == Guarantee::Uniform && !is_minority {
            return Ok(());
        }
        for (id, said) in &self.said {
            let of = |life: &Life| self.has_delivered(*life, *id);
            let lives = self.delivered.iter().filter(|(_, log)| log.contains(id)).map(|(life, _)| life);
            let delivered: Vec<&Life> = lives.collect();
            let by = match guarantee {
                Guarantee::BestEffort => None,
                Guarantee::Reliable => delivered.iter().find(|life| alive.contains(life)),
                Guarantee::Uniform => delivered.first(),
            };
            let is_due = alive.contains(&id.source) || by.is_some();
            if alive.contains(&id.source) && !of(&id.source) {
                return Err(format!("{id:?} was never delivered by its source, which lives"));
            }
            for seat in said.audience.iter().filter(|seat| is_due && alive.contains(&seat.life)) {
                if !of(&seat.life) {
                    let why = by.map_or_else(String::new, |life| format!(", and {life:?} did"));
                    return Err(format!("{:?} never delivered {id:?}{why}", seat.life));
                }
            }
        }
        Ok(())
    }
}
