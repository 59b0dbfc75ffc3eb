//! What front ends say to have messages sent and to take them. A connection is at most one *yard*: it opens it under a name that is free
//! at its node, and has it until it ends. Others send to `server/yard/queue` ([`synod_types::Address`]).
//!
//! Nothing comes unasked: a yard's process takes what waits, and a queue that is not read fills up where it is counted.

use serde::{Deserialize, Serialize};

use crate::message::Blob;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum YardQuestion {
    /// Which nodes there are. [`YardAnswer::Servers`].
    Servers,
    /// Which yards are open. [`YardAnswer::Yards`].
    List,
    /// Opens this connection's yard. [`YardAnswer::Opened`].
    Open {
        /// Its name.
        yard: String,
        /// The queues that it takes, of which the one without a name is `""`; without: whatever anybody names.
        #[serde(default)]
        queues: Option<Vec<String>>,
    },
    /// Takes messages of this connection's yard, waiting for the first one. [`YardAnswer::Arrived`]. Several such questions are
    /// answered one after the other.
    Receive {
        /// From this queue; without: from all.
        #[serde(default)]
        queue: Option<String>,
        /// At most so many; without: 1.
        #[serde(default)]
        max: Option<u32>,
        /// How long the first one is waited for, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Sends a message. [`YardAnswer::Taken`], when the yard's process has it.
    Send {
        /// Where to.
        to: String,
        /// What it says.
        body: Blob,
        /// How long that is waited for, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Sends a message that is to be answered. [`YardAnswer::Replied`]. An application's name is a yard as well, which answers queries.
    Request {
        /// Where to.
        to: String,
        /// What it says.
        body: Blob,
        /// How long the answer is waited for, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Answers a message that this connection's yard has taken. [`YardAnswer::Sent`].
    Reply {
        /// The message's number.
        number: u64,
        /// The answer.
        body: Blob,
    },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum YardAnswer {
    /// All nodes.
    Servers(Vec<ServerTold>),
    /// All yards of a node.
    Yards(Vec<YardTold>),
    /// The yard is open.
    Opened,
    /// What was taken, in its order; nothing, if nothing came in time.
    Arrived(Vec<Arrived>),
    /// The message is with the yard's process.
    Taken,
    /// The message was answered.
    Replied(Blob),
    /// The answer is on its way.
    Sent,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTold {
    /// Its name.
    pub server: String,
    /// Whether it is heard, and can be sent to.
    pub is_there: bool,
}

/// A yard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct YardTold {
    /// Its name.
    pub yard: String,
    /// The queues that it takes; `None`: all.
    pub queues: Option<Vec<String>>,
    /// Messages that wait.
    pub waiting: u64,
}

/// A message that was taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrived {
    /// Its number in the yard, from 1 on.
    pub number: u64,
    /// Who sent it: `server/yard`, or `server/` where that is no yard.
    pub from: String,
    /// The queue.
    pub queue: String,
    /// What it says.
    pub body: Blob,
    /// Whether it is to be answered.
    pub wants_reply: bool,
}
