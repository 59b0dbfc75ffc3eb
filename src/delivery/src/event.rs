//! What goes into the core and what comes out. Both are data; the driver performs effects in the order in which they
//! come, and those about one file's disk one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use synod_types::{ContentKey, ContentMessage, ContentReceipt, Manifest, NodeId};

/// Numbers the attempts of a node to receive files: an answer to an earlier attempt is none to the present one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Attempt(pub u64);

/// What happens to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// [`crate::TICK_MS`] passed.
    Tick,
    /// A session with this node opened, or opened anew: what it holds is to be found out again.
    Up(NodeId),
    /// The session ended.
    Down(NodeId),
    /// The nodes of the cluster have changed. Of who is new, [`Event::Up`] is to follow.
    Nodes {
        /// All other nodes.
        others: BTreeSet<NodeId>,
        /// Those of which a majority is to hold a file.
        holders: BTreeSet<NodeId>,
    },
    /// A message arrived. `from` is derived from the connection; the signature in a [`ContentMessage::Held`] is
    /// verified.
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: ContentMessage,
    },

    /// This node stored the file durably, and may say so: after [`Effect::Write`] wrote its last piece, or after an
    /// upload, or because [`Effect::Begin`] found it there. A second time changes nothing.
    Stored(ContentKey),
    /// This node has the file no more, or never had it.
    Removed {
        /// Which file.
        key: ContentKey,
        /// Why.
        why: Removed,
    },

    /// This node needs the file: answered by [`Effect::Fetched`], once, however long it takes.
    Want(ContentKey),
    /// Nobody needs the file any more.
    Unwant(ContentKey),
    /// Who needs to know that a majority holds the file: answered by [`Effect::Uniform`] or [`Effect::NotUniform`],
    /// once for all that asked until then.
    Await(ContentKey),

    /// Answers [`Effect::Begin`]: the partial file is open.
    Begun {
        /// Which file.
        key: ContentKey,
        /// As in the effect.
        attempt: Attempt,
        /// The pieces that are not there yet; at least one.
        missing: Vec<u32>,
    },
    /// Answers [`Effect::Write`]: the piece is as the manifest says, and written. Of the last one [`Event::Stored`]
    /// follows, or [`Event::WrongWhole`].
    Written {
        /// Which file.
        key: ContentKey,
        /// As in the effect.
        attempt: Attempt,
        /// Which piece.
        number: u32,
    },
    /// Answers [`Effect::Write`]: the piece is not as the manifest says, and not written.
    WrongPiece {
        /// Which file.
        key: ContentKey,
        /// As in the effect.
        attempt: Attempt,
        /// Which piece.
        number: u32,
    },
    /// Follows the last [`Event::Written`]: every piece is as the manifest says, and the whole is not the file. The
    /// partial file is gone.
    WrongWhole {
        /// Which file.
        key: ContentKey,
        /// As in the effect.
        attempt: Attempt,
    },
    /// Answers [`Effect::Begin`] or [`Effect::Write`]: the disk is full, there are too many files, or it failed. The
    /// attempt is over.
    Failed {
        /// Which file.
        key: ContentKey,
        /// As in the effect.
        attempt: Attempt,
    },
    /// An [`Effect::SendPiece`] for this node is done with, whatever came of it.
    Served(NodeId),
}

/// Why a node does not have a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Removed {
    /// Nothing refers to it: offers of it are not taken for a while.
    Collected,
    /// It was damaged, or is not where it should be: it is fetched again from whoever has it.
    Lost,
}

/// What a node is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send now. May be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What: Seek, NotHeld or PieceRequest.
        message: ContentMessage,
    },
    /// Sign a receipt and send it as [`ContentMessage::Held`]. A receipt is a promise to keep the file for
    /// [`synod_types::limits::CONTENT_UNREFERRED_MS_MAX`] from now. If the file is not there after all: send nothing,
    /// and report [`Event::Removed`].
    SendHeld {
        /// To whom.
        to: NodeId,
        /// Which file.
        key: ContentKey,
    },
    /// Send [`ContentMessage::Offer`] with the file's manifest. If the file is not there after all: send nothing, and
    /// report [`Event::Removed`].
    SendOffer {
        /// To whom.
        to: NodeId,
        /// Which file.
        key: ContentKey,
    },
    /// Read a piece and send it as [`ContentMessage::Piece`]; in any case report [`Event::Served`]. If the file is not
    /// there after all: send [`ContentMessage::NotHeld`], and report [`Event::Removed`] too.
    SendPiece {
        /// To whom.
        to: NodeId,
        /// Which file.
        key: ContentKey,
        /// Which piece; may be behind the last one: then send nothing.
        number: u32,
    },

    /// Open a partial file, or go on with one. Answer with [`Event::Begun`], [`Event::Stored`] (the file is there) or
    /// [`Event::Failed`].
    Begin {
        /// Which file.
        key: ContentKey,
        /// For the answer.
        attempt: Attempt,
        /// As its donor says; checked to be one.
        manifest: Arc<Manifest>,
    },
    /// Check a piece against the manifest and write it; if it was the last one, complete the file and make it durable.
    /// Answer with [`Event::Written`], [`Event::WrongPiece`] or [`Event::Failed`]; behind the last
    /// [`Event::Written`] with [`Event::Stored`], [`Event::WrongWhole`] or [`Event::Failed`].
    Write {
        /// Which file.
        key: ContentKey,
        /// For the answer.
        attempt: Attempt,
        /// That of [`Effect::Begin`].
        manifest: Arc<Manifest>,
        /// Which piece.
        number: u32,
        /// Its bytes, from another node, not looked at.
        bytes: Bytes,
    },

    /// Answers [`Event::Want`]: the file is here.
    Fetched(ContentKey),
    /// Answers [`Event::Await`]: a majority of the nodes holds the file, each by its receipt of the last minutes.
    Uniform {
        /// Which file.
        key: ContentKey,
        /// Those of other nodes.
        receipts: Vec<ContentReceipt>,
        /// Whether this node holds it too and belongs to the majority: its own receipt is the driver's to sign. It is
        /// the same promise as in [`Effect::SendHeld`].
        here: bool,
    },
    /// Answers [`Event::Await`]: in [`synod_types::limits::COMMAND_WAIT_MS_MAX`] no majority said that it holds the
    /// file, or too many are awaited.
    NotUniform {
        /// Which file.
        key: ContentKey,
        /// Why.
        why: NotUniform,
    },
    /// A node sent what is not part of this file, or not a manifest. For the log; it is not asked for this file again
    /// for a long time.
    Blame {
        /// Who.
        node: NodeId,
        /// Which file.
        key: ContentKey,
        /// What.
        why: Blame,
    },
}

/// Why [`Effect::NotUniform`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotUniform {
    /// Time is over; these other nodes said that they hold it.
    Timeout(Vec<NodeId>),
    /// [`synod_types::limits::CONTENT_AWAITED_MAX`] files are awaited already.
    Busy,
}

/// Why [`Effect::Blame`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Blame {
    /// The manifest cannot be one.
    Manifest,
    /// A piece is not as the manifest says.
    Piece,
    /// Every piece is as its manifest says, and the whole is not the file.
    Whole,
}
