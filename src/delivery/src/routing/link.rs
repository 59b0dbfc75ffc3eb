//! The link to one other node: a group of two in the toolbox, and what waits for room in its window.

use std::collections::VecDeque;

use bytes::Bytes;
use synod_types::NodeId;
use synod_types::limits::{LETTERS_WAITING_MAX, TOOLBOX_PAYLOAD_BYTES_MAX};

use super::event::{Effect, Happening};
use super::letter::Reason;
use crate::toolbox::{self, BroadcastError, Counters, Event, Node, Pace, Packet, Patience, Topic};

/// All letters are about the same.
const LETTERS: Topic = Topic(0);
/// Of ticks of [`super::TICK_MS`]: signs of life twice a second, what is lost again after 100 ms and then less often.
const PACE: Pace = Pace { report_ticks: 25, retry_ticks: 5, leave_ticks: 1 };
/// Three seconds of silence are too many; after mistakes it is more, up to half a minute.
const PATIENCE: Patience = Patience { timeout_ticks: 150, step_ticks: 50, timeout_ticks_max: 1500 };

/// What came over a link.
#[derive(Debug)]
pub(crate) enum Came {
    /// A letter.
    Letter(Bytes),
    /// The node has begun another life: what was under way to the one before is lost.
    Anew,
}

/// A link.
#[derive(Debug)]
pub(crate) struct Link {
    peer: NodeId,
    node: Node,
    /// Whether a life of the node was heard, so that it is owed something.
    is_known: bool,
    /// Letters that find no room in the window, with the errand of each that has one.
    waiting: VecDeque<(Option<u64>, Bytes)>,
    counted: Counters,
}

impl Link {
    pub(crate) fn new(me: NodeId, life: u64, peer: NodeId) -> Link {
        let node =
            Node::builder(me, life, [me, peer]).pace(PACE).detector(PATIENCE).best_effort().fifo().build();
        let node = node.expect("two members, a life that is none of 0, and a pace that fits the patience");
        Link { peer, node, is_known: false, waiting: VecDeque::new(), counted: Counters::default() }
    }

    /// Whether the node is heard.
    pub(crate) fn is_there(&self) -> bool {
        self.is_known && !self.node.suspects(self.peer)
    }

    /// Whether this errand's letter is not under way yet.
    pub(crate) fn is_waiting(&self, errand: u64) -> bool {
        self.waiting.iter().any(|(other, _)| *other == Some(errand))
    }

    /// Sends a letter, at once or when there is room.
    pub(crate) fn send(
        &mut self,
        errand: Option<u64>,
        letter: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reason> {
        if letter.len() > TOOLBOX_PAYLOAD_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        if self.waiting.len() >= LETTERS_WAITING_MAX {
            return Err(Reason::Busy);
        }
        self.waiting.push_back((errand, letter));
        self.flush(effects);
        Ok(())
    }

    /// Time passes.
    pub(crate) fn on_tick(&mut self, effects: &mut Vec<Effect>) -> Vec<Came> {
        self.step(Event::Tick, effects)
    }

    /// The node sent a packet.
    pub(crate) fn on_packet(&mut self, packet: Packet, effects: &mut Vec<Effect>) -> Vec<Came> {
        self.step(Event::Packet { from: self.peer, packet }, effects)
    }

    fn step(&mut self, event: Event, effects: &mut Vec<Effect>) -> Vec<Came> {
        let mut out = Vec::new();
        self.node.step(event, &mut out);
        let came = self.perform(out, effects);
        self.flush(effects);
        self.count(effects);
        came
    }

    /// Has the node say what there is room for.
    fn flush(&mut self, effects: &mut Vec<Effect>) {
        // What is broadcast before anybody is known is owed to nobody.
        while self.is_known
            && let Some((_, letter)) = self.waiting.front()
        {
            let mut out = Vec::new();
            match self.node.broadcast(LETTERS, letter.clone(), &mut out) {
                Ok(_) => {
                    self.waiting.pop_front();
                    // Of its own messages it only says that it has them itself.
                    self.perform(out, effects);
                }
                Err(BroadcastError::Busy(_)) => return,
                // The other one said what no working node says, and this link is over until one of both starts again.
                Err(BroadcastError::TooLarge(_) | BroadcastError::Leaving | BroadcastError::Expelled) => {
                    self.waiting.clear();
                    self.is_known = false;
                }
            }
        }
    }

    fn perform(&mut self, out: Vec<toolbox::Effect>, effects: &mut Vec<Effect>) -> Vec<Came> {
        let mut came = Vec::new();
        for effect in out {
            match effect {
                toolbox::Effect::Send { to, packet } => effects.push(Effect::Send { to, packet }),
                toolbox::Effect::Deliver { delivery, .. } if delivery.id.source.node == self.peer => {
                    came.push(Came::Letter(delivery.payload));
                }
                toolbox::Effect::Up(_) => {
                    self.is_known = true;
                    came.push(Came::Anew);
                }
                toolbox::Effect::Left(_) | toolbox::Effect::GaveUp(_) | toolbox::Effect::Expelled(_) => {
                    self.is_known = false;
                    came.push(Came::Anew);
                }
                toolbox::Effect::Deliver { .. }
                | toolbox::Effect::Suspect(_)
                | toolbox::Effect::Restore(_)
                | toolbox::Effect::Gone => {}
            }
        }
        came
    }

    fn count(&mut self, effects: &mut Vec<Effect>) {
        let (now, before) = (self.node.counters(), self.counted);
        self.counted = now;
        for (what, now, before) in [
            (Happening::Duplicate, now.duplicates, before.duplicates),
            (Happening::Stale, now.stale + now.not_owed, before.stale + before.not_owed),
            (Happening::Repeated, now.repeated, before.repeated),
            (Happening::Malformed, now.malformed, before.malformed),
        ] {
            if now > before {
                effects.push(Effect::Count { what, times: now - before });
            }
        }
    }
}
