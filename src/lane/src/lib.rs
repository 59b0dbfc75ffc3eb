//! Applications in processes of their own: a Unix stream socket between a node and one worker, on which the node asks and the
//! worker answers, one question after the other.
//!
//! The machine with sessions, authority, hash chain and receipts stays in the node. The worker has the application's state, and
//! nothing durable: whenever it is killed, the next one is given a snapshot and the commands since, which [`Lane`] keeps within
//! limits, and has to come to the outcomes that the first one came to.
//!
//! Nothing here opens a socket or starts a process, and nothing needs a runtime: calls wait, each at most as long as a worker may
//! take for an answer, and whoever has a runtime says how a thread steps [`Aside`] for it. Whose peer
//! may be whose is decided before a socket gets here (`src/node/src/lanes.rs`).
//!
//! Front ends in processes of their own ask a node in the same frames: [`front`]. They send each other messages, also from one host to
//! another: [`yard`].
//!
//! Start with [`message`] (what is said), then [`lane`] (what a node does when a worker comes and goes). The worker's end is
//! `synod-sdk`, or in Python `apps/sdk-python`.

pub mod front;
pub mod lane;
pub mod link;
pub mod message;
mod tail;
pub mod yard;

pub use lane::{Lane, LaneApp, Presence};
pub use link::{Aside, Link, LinkError, decode, encode, no_aside};
