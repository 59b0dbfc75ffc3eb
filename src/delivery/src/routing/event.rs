//! What a router is told, and what it wants done.

use bytes::Bytes;
use synod_types::limits::YARDS_MAX;
use synod_types::{Address, NodeId};

use super::letter::{Outcome, Reason};
use crate::toolbox::Packet;

/// A yard as long as it is open; one that is opened later under its name is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct YardId(pub u64);

/// A message to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The yard that sends, if it is one.
    pub from: Option<String>,
    /// Where to.
    pub to: Address,
    /// What it says.
    pub body: Bytes,
    /// Whether an answer is wanted.
    pub wants_reply: bool,
    /// How long its outcome is waited for.
    pub patience_ms: u32,
}

/// What the driver is to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a packet to a node; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        packet: Packet,
    },
    /// Something waits for this yard.
    Arrived(YardId),
    /// Tell who sent it what became of a message.
    Tell {
        /// Its number: [`super::Router::send`] gave it.
        errand: u64,
        /// What.
        outcome: Outcome,
    },
    /// The yard is not open any more, and its process was not the one to close it.
    Reaped(YardId),
    /// Count this.
    Count {
        /// What happened.
        what: Happening,
        /// How often.
        times: u64,
    },
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Happening {
    /// A message of this node had this outcome, or one for this node.
    Refused(Reason),
    /// A yard was closed because its process is gone or takes nothing.
    Reaped,
    /// A message was taken by its yard's process, on this node.
    Taken,
    /// A packet of a link came again, and was dropped.
    Duplicate,
    /// A packet came of a life of a node that is over, and was dropped.
    Stale,
    /// A packet of a link was sent again.
    Repeated,
    /// What came is nothing that a router says.
    Malformed,
    /// An outcome came of a message that waits for none any more.
    Unasked,
}

impl Happening {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Happening::Refused(reason) => reason.name(),
            Happening::Reaped => "reaped",
            Happening::Taken => "taken",
            Happening::Duplicate => "duplicate",
            Happening::Stale => "stale",
            Happening::Repeated => "repeated",
            Happening::Malformed => "malformed",
            Happening::Unasked => "unasked",
        }
    }
}

/// A message that waits in a yard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number in the yard, from 1 on.
    pub number: u64,
    /// Who sent it: the server, and the yard there if it is one.
    pub from: Address,
    /// The queue.
    pub queue: String,
    /// What it says.
    pub body: Bytes,
    /// Whether an answer is waited for.
    pub wants_reply: bool,
}

/// A yard as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct YardStanding {
    /// Its name.
    pub name: String,
    /// Which queues it takes; `None`: every one.
    pub queues: Option<Vec<String>>,
    /// Messages that wait.
    pub waiting: usize,
}

/// Why a yard is not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOpened {
    /// Another process has it.
    #[error("another process has opened a yard with this name, and has to go first")]
    Taken,
    /// There are as many as may be.
    #[error("{YARDS_MAX} yards are open at this node: one of them has to be closed first")]
    TooMany,
    /// It cannot be a name, or there are too many of them.
    #[error(
        "a yard and its queues have names of a-z, 0-9, '-', '_' and '.', and there are not so many queues"
    )]
    BadName,
}

/// Why an answer goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReplied {
    /// Nobody waits for it.
    #[error("nobody waits for an answer to this message, or not any more")]
    NotAsked,
    /// It is too long.
    #[error("{}", Reason::TooLarge)]
    TooLarge,
}
