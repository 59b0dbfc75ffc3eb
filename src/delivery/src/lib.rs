//! Uniform delivery of content files as a function: an event goes in, effects come out. No clock, socket, file, thread or
//! random number.
//!
//! [`Core`] is one node. It brings every file that it holds to every other node, fetches what it is offered or needs, and
//! says when a majority holds a file. It is driven by [`Event`]s and answers with [`Effect`]s, which the driver performs:
//! the messages are [`synod_types::ContentMessage`], and the disk is `synod-content`.
//!
//! **What it promises.** If any node says that a file is uniform ([`Effect::Uniform`]), a majority of the nodes stored it
//! durably and signed for it, so that it survives whatever a minority does. And a file that any live node holds reaches
//! every live node, whatever messages are lost and whoever crashes meanwhile, the node where it was uploaded included:
//! who has it offers it on.
//!
//! **What it relies on.** Sessions: messages may be lost, but a session that loses them for long ends, and another one
//! begins ([`Event::Up`]). Signatures: receipts are verified before they get here. Not on honesty where it is about bytes:
//! a node that gives wrong pieces or a wrong manifest is found out and not asked again. On honesty where it is about
//! durability: a receipt is a node's word, and a majority of liars is a majority.
//!
//! **What it costs.** A file that all have costs one entry in a set, and no message. What a node holds is gone through
//! when a session begins, a few files in a tick. Receipts are remembered for a while, and asked for again where they are
//! not. Every queue, window and table has a limit (`CONTENT_*` in [`synod_types::limits`]); what is over it is not lost
//! but comes later, since whoever is not heard asks again.
//!
//! Beside that, and apart from it, there are [`cosign`], by which nodes come to certificates of states, [`gossip`], by which everybody
//! learns how far everybody is; a [`toolbox`] of broadcasts; and [`routing`], by which processes on different hosts send each other messages on it.
//!
//! Start with [`event`], then `core.rs`, which takes events apart; `offering.rs` gives, `fetches.rs` takes (one file at a
//! time in `fetch.rs`), and `awaiting.rs` counts.

mod awaiting;
pub mod broken;
mod context;
mod core;
pub mod cosign;
pub mod event;
mod fetch;
mod fetches;
pub mod gossip;
mod offering;
mod recent;
pub mod routing;
pub mod toolbox;
mod wants;

pub use crate::core::{Config, Core, TICK_MS};
pub use event::{Attempt, Blame, Effect, Event, NotUniform, Removed};
