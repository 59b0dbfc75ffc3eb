//! What routers say to each other, inside of the link's messages.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::limits::{ROUTE_BODY_BYTES_MAX, YARD_WAITING_MAX};

/// One message on a link. A new variant is a new wire version: see [`synod_types::Message::since`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Letter {
    /// For a yard at the receiver.
    Message {
        /// The sender's number for it, with which its outcome comes back.
        errand: u64,
        /// The yard that sends; empty: none.
        from: String,
        /// The yard.
        yard: String,
        /// The queue; empty: the one without a name.
        queue: String,
        /// How long an answer is waited for, in milliseconds; 0: none is wanted.
        reply_ms: u32,
        /// What it says.
        body: Bytes,
    },
    /// What became of a message of the receiver's.
    Outcome {
        /// Its number there.
        errand: u64,
        /// What.
        outcome: Outcome,
    },
}

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The yard's process has it.
    Taken,
    /// It was answered.
    Replied(Bytes),
    /// It did not get there, or nobody knows.
    Refused(Reason),
}

/// Why a message was not taken, or not answered. The texts are for people.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, thiserror::Error,
)]
pub enum Reason {
    /// No node has this name.
    #[error("no server has this name")]
    UnknownServer,
    /// The node is not heard.
    #[error("the server is not heard now: try again")]
    ServerAway,
    /// No yard has this name.
    #[error("no process has opened a yard with this name there")]
    UnknownYard,
    /// The yard does not take this queue.
    #[error("the yard takes no queue of this name")]
    UnknownQueue,
    /// The queue is full.
    #[error(
        "{YARD_WAITING_MAX} messages wait in this queue, or too many bytes in the yard, and its process takes none: try again"
    )]
    QueueFull,
    /// Too much is under way.
    #[error("too many messages are under way: try again when some have arrived")]
    Busy,
    /// The message is too long.
    #[error("a message has at most {ROUTE_BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The yard is gone; the message, or its answer, with it.
    #[error("the process that has the yard has ended, or took nothing for too long")]
    YardReaped,
    /// The node is gone, and nobody knows.
    #[error("the server has started again: nobody knows whether the message was taken")]
    Lost,
    /// It took too long, and nobody knows.
    #[error("nothing came back in time: nobody knows whether the message was taken, or will be")]
    Late,
}

impl Reason {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::UnknownServer => "unknown-server",
            Reason::ServerAway => "server-away",
            Reason::UnknownYard => "unknown-yard",
            Reason::UnknownQueue => "unknown-queue",
            Reason::QueueFull => "queue-full",
            Reason::Busy => "busy",
            Reason::TooLarge => "too-large",
            Reason::YardReaped => "yard-reaped",
            Reason::Lost => "lost",
            Reason::Late => "timeout",
        }
    }
}
