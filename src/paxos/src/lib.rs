//! Multi-Paxos as a function: an event goes in, effects come out. No clock, socket, file, thread or random number.
//!
//! [`Core`] is one node with all its groups. It is driven by [`Event`]s and answers with [`Effect`]s, which the driver
//! performs in order: the real one in `synod-node`, the simulated one in `synod-sim`. What the groups share is only
//! the heartbeat. Start with `group.rs`, which shows the life of a decree; then `acceptor.rs` for what is
//! promised, `candidate.rs` for what a new leader owes to the past, and `election.rs` for who that is. What a driver keeps while
//! its node leads is in `term.rs` and `clock.rs`.

pub mod acceptor;
pub mod broken;
pub mod candidate;
pub mod clock;
mod core;
pub mod election;
pub mod event;
pub mod group;
pub mod leader;
pub mod learner;
pub mod mending;
pub mod outbox;
mod plausible;
pub mod quorum;
pub mod reads;
pub mod term;

pub use crate::core::{Config, Core};
pub use clock::{Reading, TermClock};
pub use event::{Damage, Effect, Event, PersistNdx, ReadId};
pub use group::{Group, GroupConfig, GroupStatus, RoleName};
pub use outbox::Outbox;
pub use quorum::Members;
pub use term::Term;
