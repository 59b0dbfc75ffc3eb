//! Messages between processes of different hosts: routing by server, yard and queue, as a function.
//!
//! A *yard* is a process with a name at its node (the *server*); a *queue* is a name in a yard. A [`Router`] is one node: it keeps the yards
//! that are open there, each with what waits for it, and a link to each other node. It is told of ticks, packets and what processes want,
//! and says what to send and whom to tell what.
//!
//! **What it promises.** Each message gets one [`Outcome`] at its sender: it was taken by the process that it is for, or was answered, or was
//! not, for a [`Reason`]. What one node sends to one queue is taken in the order in which it was sent, and nothing is taken twice.
//! [`Reason::Lost`] and [`Reason::Late`] say that nobody knows whether it was; all others, that it was not.
//!
//! **How.** The link between two nodes is the [`toolbox`](crate::toolbox) with a group of two: best effort, which among two that live is
//! reliable, in FIFO order, with its failure detector. It repeats what is lost, drops what comes twice, and knows a node that has
//! started again from the one before. Outcomes come back on the same link. Where more is under way than the link's window, a bounded number of
//! messages waits; beyond it who sends is told [`Reason::Busy`].
//!
//! **What it relies on.** As the toolbox: members do not lie about who they are, and incarnations grow. What makes no sense is dropped
//! and counted ([`Happening`]).
//!
//! Start with [`event`], then [`router`]; [`yard`] is what waits, [`link`] what is under way, [`letter`] what is said.

pub mod event;
pub mod letter;
mod link;
pub mod router;
mod yard;

pub use event::{Arrival, Effect, Happening, NotOpened, NotReplied, Order, YardId, YardStanding};
pub use letter::{Letter, Outcome, Reason};
pub use router::{Router, TICK_MS};
