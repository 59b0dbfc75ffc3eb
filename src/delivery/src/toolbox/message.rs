//! What nodes say to each other. Everything may be lost, repeated, delayed and overtaken.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::NodeId;
use synod_types::limits::{MEMBERS_MAX, TOOLBOX_LIVES_MAX, TOOLBOX_PAYLOAD_BYTES_MAX};

use super::id::{Life, MessageId, WINDOW, Window};
use super::subscriptions::Topic;

/// One datagram from one node to another. Who sent it, the network knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Packet {
    /// The sender's life.
    pub incarnation: u64,
    /// What it says.
    pub body: Body,
}

/// What a packet says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A message, from its source or relayed.
    Data(Arc<Message>),
    /// What the sender has of whom. Also the sign of life of who has nothing else to say.
    Report(Report),
    /// Who gets this was given up under that incarnation, and has to start again under a larger one.
    Expelled {
        /// The life that was given up.
        incarnation: u64,
    },
    /// The sender goes.
    Bye,
}

/// What somebody has.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of which source what.
    pub seen: Vec<Seen>,
    /// Lives that the sender gave up: what is owed to them counts as settled.
    pub given_up: Vec<Life>,
}

/// What somebody has of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The source.
    pub source: Life,
    /// Its messages that are there, or do not have to come any more.
    pub window: Window,
    /// Those of them that nobody needs any more.
    pub settled: Window,
}

/// A message as it travels. Whoever relays it changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Source and number.
    pub id: MessageId,
    /// When it was broadcast, by the source's Lamport clock.
    pub lamport: u64,
    /// All to whom they are owed have the source's messages up to this number.
    pub settled: u64,
    /// To whom it is owed. Who was in an earlier audience and is not in this one is gone, or was given up.
    pub audience: Vec<Seat>,
    /// Lives that the source gave up: what is owed to them counts as settled. Who began late and hears of a message as
    /// settled gives them up as well, so that nobody to whom it is owed can learn from him that it does not have to come.
    pub given_up: Vec<Life>,
    /// What the source had delivered before, where the order is causal.
    pub causes: Vec<Cause>,
    /// What it is about.
    pub topic: Topic,
    /// What it says.
    pub payload: Bytes,
}

/// A life to which a source owes its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seat {
    /// Who.
    pub life: Life,
    /// The first message that is owed to it.
    pub since: u64,
}

/// Messages of another source that come before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// The source, and the last of its messages that comes before.
    pub last: MessageId,
    /// Those of the audience to which that one is not owed, since they began later.
    pub except: Vec<NodeId>,
    /// From this one on they are not yet at all to whom they are owed: those who began later keep them for the others.
    pub kept_from: u64,
}

impl Message {
    /// The seat of `life`, if the message is owed to it.
    pub fn seat(&self, life: Life) -> Option<Seat> {
        self.audience.iter().copied().find(|seat| seat.life == life)
    }

    /// Whether everything is within limits.
    pub(crate) fn is_plausible(&self) -> bool {
        let MessageId { source, number } = self.id;
        let is_seat = |seat: &Seat| seat.life.node != source.node && (1..=number).contains(&seat.since);
        source.incarnation > 0
            && self.settled < number
            && number - self.settled <= WINDOW
            && self.audience.len() < MEMBERS_MAX
            && self.given_up.len() < MEMBERS_MAX
            && self.audience.iter().all(is_seat)
            && self.causes.len() <= MEMBERS_MAX * TOOLBOX_LIVES_MAX
            && self.causes.iter().all(Cause::is_plausible)
            && self.payload.len() <= TOOLBOX_PAYLOAD_BYTES_MAX
    }
}

impl Cause {
    fn is_plausible(&self) -> bool {
        self.except.len() < MEMBERS_MAX && self.last.number.saturating_sub(self.kept_from) < WINDOW
    }
}
