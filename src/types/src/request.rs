//! What a commander and a node say to each other over QUIC, on the one stream of their session. Frames of both
//! directions are numbered as in [`crate::session`]; answers name the number of what they answer and come in any
//! order.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::SignedCommand;
use crate::content::{ContentReceipt, Manifest};
use crate::ids::{AppNdx, ContentKey, Seq};
use crate::outcome::{Receipt, Refusal};
use crate::session::Control;

/// A frame from a commander.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Rises by one per frame, from 1 (the Hello).
    pub msg_n: u64,
    /// What it asks.
    pub request: Request,
}

/// What a commander asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Session control.
    Control(Control),
    /// Execute this; answered by [`Reply::Executed`] or [`Reply::Refused`].
    Submit(SignedCommand),
    /// Which seq may this session's commander use next in this application? Answered by [`Reply::NextSeq`].
    NextSeq {
        /// The application.
        app: AppNdx,
    },
    /// May this session send this file? Answered by [`Reply::Wanted`] or [`Reply::Refused`].
    Offer {
        /// A command whose operation is a [`crate::ContentTicket`].
        ticket: SignedCommand,
        /// The file's pieces.
        manifest: Manifest,
    },
    /// A piece of a file that this session offered. Answered by [`Reply::Taken`] or [`Reply::Refused`].
    Piece {
        /// Which file.
        content: ContentKey,
        /// Which piece, from 0.
        number: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Which nodes have a file that this session offered, as soon as a majority does? Answered by [`Reply::Held`] or
    /// [`Reply::Refused`].
    AwaitHeld {
        /// Which file.
        content: ContentKey,
    },
}

impl Request {
    /// The wire version that brought this request: in a session of an older one it is not sent. A new one raises
    /// [`COMMANDER_WIRE`](crate::versions::COMMANDER_WIRE).
    pub fn since(&self) -> u32 {
        match self {
            Request::Control(_)
            | Request::Submit(_)
            | Request::NextSeq { .. }
            | Request::Offer { .. }
            | Request::Piece { .. }
            | Request::AwaitHeld { .. } => 1,
        }
    }
}

/// A frame from a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyFrame {
    /// Rises by one per frame, from 1 (the Welcome).
    pub msg_n: u64,
    /// What it says.
    pub reply: Reply,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Session control.
    Control(Control),
    /// The command was executed, now or earlier.
    Executed {
        /// The number of the request.
        your_msg_n: u64,
        /// What came of it.
        receipt: Receipt,
    },
    /// The command was not executed, or (`Timeout`, `Stopping`) this node does not know yet.
    Refused {
        /// The number of the request.
        your_msg_n: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The lowest seq above every one that this node has seen executed for the commander.
    NextSeq {
        /// The number of the request.
        your_msg_n: u64,
        /// The seq.
        seq: Seq,
    },
    /// The pieces of an offered file that the node does not have; none: it has the file.
    Wanted {
        /// The number of the request.
        your_msg_n: u64,
        /// Their numbers, rising.
        pieces: Vec<u32>,
    },
    /// The node has the piece.
    Taken {
        /// The number of the request.
        your_msg_n: u64,
    },
    /// A majority of the nodes has stored the file durably.
    Held {
        /// The number of the request.
        your_msg_n: u64,
        /// The word of each of them.
        receipts: Vec<ContentReceipt>,
    },
}
