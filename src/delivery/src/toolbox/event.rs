//! What a node is told, and what it wants done.

use bytes::Bytes;
use synod_types::NodeId;
use synod_types::limits::TOOLBOX_PAYLOAD_BYTES_MAX;

use super::clock::VectorClock;
use super::id::{Life, MessageId};
use super::message::Packet;
use super::subscriptions::{SubscriptionId, Topic};

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// A tick has passed. How long one is, the driver decides; 10 to 100 ms are usual.
    Tick,
    /// A packet came. The driver knows from whom: by the session, or the address.
    Packet {
        /// The sender.
        from: NodeId,
        /// What it sent.
        packet: Packet,
    },
    /// The node is to go in good order: it broadcasts nothing more, waits until all have what it broadcast, and says goodbye.
    Leave,
}

/// What the driver is to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a packet. It may get lost; then another one comes in time.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        packet: Packet,
    },
    /// Tell the subscribers of its topic, of whom there may be none, that a message was delivered.
    Deliver {
        /// What was delivered.
        delivery: Delivery,
        /// Who subscribed, in the order of subscribing.
        subscribers: Vec<SubscriptionId>,
    },
    /// The detector suspects a node.
    Suspect(NodeId),
    /// The detector takes a suspicion back.
    Restore(NodeId),
    /// A life was heard for the first time. What is broadcast from now on is owed to it.
    Up(Life),
    /// A life said goodbye.
    Left(Life),
    /// That life missed what is kept for it no longer. It is told so, and whatever it says is ignored.
    GaveUp(Life),
    /// This life was given up by that node, and does nothing more: start again, under a larger incarnation.
    Expelled(NodeId),
    /// This node has said goodbye. It only repeats that from now on, and may be dropped.
    Gone,
}

/// A message that was delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Source and number.
    pub id: MessageId,
    /// When it was broadcast, by Lamport's clock: larger than that of all that its source had delivered. With the id to
    /// decide between equals, this is a total order that every node finds the same.
    pub lamport: u64,
    /// What its source had delivered, and the message itself; the former where the order is causal.
    pub clock: VectorClock,
    /// What it is about.
    pub topic: Topic,
    /// What it says.
    pub payload: Bytes,
}

/// Why nothing was broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BroadcastError {
    /// As many messages as may be are under way.
    #[error("{0} messages are not yet at everybody: try again later, when some are")]
    Busy(u64),
    /// The message is too long.
    #[error("a message says at most {TOOLBOX_PAYLOAD_BYTES_MAX} bytes, and not {0}")]
    TooLarge(usize),
    /// This node leaves, or has left.
    #[error("this node leaves, and broadcasts nothing more")]
    Leaving,
    /// This life was given up.
    #[error("this life was given up by the others: start again, under a larger incarnation")]
    Expelled,
}

/// What happened how often, for whoever looks into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that were sent again.
    pub repeated: u64,
    /// Messages of others that were sent on.
    pub relayed: u64,
    /// Packets of lives that are over or were given up.
    pub stale: u64,
    /// Messages that are not owed to this life, where nobody relays.
    pub not_owed: u64,
    /// Messages for which there was no room. They come again.
    pub no_room: u64,
    /// Packets that no working member sends; they are dropped.
    pub malformed: u64,
}
