//! Was every answer the one that a single copy of the keys would have given, asked by one client after another, each
//! operation at some moment between its invocation and its answer? That is linearizability, and here it is decided for a
//! [`History`]: what clients asked, what they were told, and when.
//!
//! Two checks decide it, which share nothing but the meaning of the operations:
//!
//! - [`wing_gong`] searches for an order. A stateNdx is a name for what a key held to it, and no order.
//! - [`replay`] takes the order that the answers themselves claim, since each says its stateNdx, executes it again, and
//!   compares. It takes time in proportion to the history, and refuses a little more: a stateNdx that goes back for
//!   somebody, or that no command made, though every value be right.
//!
//! Whatever the replay accepts, the search accepts, too.
//!
//! Nothing here runs a cluster, reads a clock or a file. Start with [`operation`], then [`register`] (what the operations
//! mean), then the two checks; [`text`] is how a history is written down.

pub mod history;
pub mod operation;
pub mod register;
pub mod replay;
pub mod text;
pub mod wing_gong;

pub use history::{History, Verdict};
pub use operation::{Operation, Outcome};
pub use register::{Answer, Change, Compare, Entry, Input, Output, Registers, Txn, Word};
pub use text::TextError;
