//! The replicated state machine around every application: who may command, exactly-once execution, decree time,
//! the hash chain, and snapshots.
//!
//! [`Machine`] takes decrees in slot order and gives one [`Applied`] per command and expiry; everything that it decides follows
//! from the decrees alone, so that every replica decides alike. Readers get a [`View`], an immutable O(1) copy.
//!
//! Nothing here does I/O, reads a clock or draws a random number, and nothing here verifies a signature: commands
//! arrive verified. Bytes from a decree, a query or a snapshot never panic; a decree out of order does, because it is
//! a defect of this node.
//!
//! Start with [`machine`] (what happens to a command), then [`session`] (exactly once), [`authority`] (who may) and
//! [`lease_clock`] (what runs out when).

pub mod apart;
pub mod application;
pub mod at_rest;
pub mod authority;
pub mod broken;
pub mod chain;
pub mod key;
pub mod lease_clock;
pub mod machine;
pub mod session;
pub mod snapshot;
pub mod succession;
pub mod view;

pub use apart::{Apart, Away, NotApplied, Unanswered};
pub use application::{Application, Context, Moment, QueryError, RestoreError};
pub use at_rest::{AtRest, Restless};
pub use authority::{
    AuthorityOp, AuthorityReply, Commander, Founders, Grant, Member, MemberOp, Members, Role,
};
pub use key::Key;
pub use lease_clock::LeaseClock;
pub use machine::{Applied, Machine};
pub use snapshot::SnapshotError;
pub use succession::Succession;
pub use view::View;
