//! A toolbox of broadcasts in a fixed group of nodes: failure detector, best-effort, reliable, uniform, FIFO and causal
//! delivery, logical clocks, and ids that survive restarts. A library of its own; [`crate::routing`] has its links from here.
//!
//! [`Node`] is one member, as a function: an [`Event`] goes in, [`Effect`]s come out. It is told of ticks and packets, and says
//! what to send and what was delivered. What it is made of is chosen with [`Node::builder`], where what needs something
//! else cannot be had without it.
//!
//! ```
//! use bytes::Bytes;
//! use synod_delivery::toolbox::{Effect, Event, Node, Patience, Topic};
//! use synod_types::{Digest, NodeId};
//!
//! let members = ["ann", "ben", "cid"].map(|name| NodeId(Digest::of(&[name.as_bytes()])));
//! let mut nodes = members.map(|me| {
//!     Node::builder(me, 1, members).detector(Patience::default()).uniform().causal().build().expect("it makes sense")
//! });
//! let news = Topic(1);
//! let subscription = nodes[2].subscribe(news)?;
//!
//! // Ann broadcasts. A driver sends what it is told to send; here, all arrives at once.
//! let mut effects = Vec::new();
//! nodes[0].broadcast(news, Bytes::from_static(b"hello"), &mut effects)?;
//! let mut waiting: Vec<(usize, Effect)> = effects.into_iter().map(|effect| (0, effect)).collect();
//! let mut told = Vec::new();
//! while let Some((by, effect)) = waiting.pop() {
//!     match effect {
//!         Effect::Send { to, packet } => {
//!             let at = members.iter().position(|node| *node == to).expect("a member");
//!             let mut effects = Vec::new();
//!             nodes[at].step(Event::Packet { from: members[by], packet }, &mut effects);
//!             waiting.extend(effects.into_iter().map(|effect| (at, effect)));
//!         }
//!         Effect::Deliver { delivery, subscribers } => told.push((by, delivery.payload, subscribers)),
//!         _ => {}
//!     }
//! }
//! // A majority has it, so all deliver it; Cid's subscriber is told.
//! assert_eq!(told.len(), 3);
//! assert!(told.contains(&(2, Bytes::from_static(b"hello"), vec![subscription])));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/chat.rs` is four nodes over UDP, of which one dies.
//!
//! **Where it is from.** Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed Programming* (2nd
//! edition, 2011); sections are named where they are used. The book's processes crash and stay away; here a [`Life`] is such
//! a process, and a node that starts again is another one. Its links (section 2.4) lose, repeat, delay and reorder, but
//! not for ever.
//!
//! **What a message is owed to.** Each names its audience: the lives that its source knows when it is broadcast. What
//! [`Guarantee`] and [`Order`] promise, they promise to the audience. A life that was there from the beginning is in all
//! audiences of all that were, too; one that began later, from [`Effect::Up`] at the source on, and without gaps. A restarted
//! node may deliver again what its earlier life delivered: whoever has to know that keeps ids on disk.
//!
//! **How it works.** There is one mechanism: everybody says in reports, over and over, what he has of whom, as a watermark and
//! 64 bits behind it ([`Window`]). Reports acknowledge, make repeating stop, count majorities, say what may be dropped,
//! and are the signs of life. None of them has to arrive. What is missed is sent again, by its source; by anybody who has it where the
//! source may be dead. Who began later takes in what he is not owed as well, without delivering it, and keeps it for those who
//! are: otherwise he might deliver an answer whose question dies with those he has it from.
//!
//! **What is kept is bounded.** Of each life, [`TOOLBOX_WINDOW_MAX`] messages; of each node, [`TOOLBOX_LIVES_MAX`] lives. Who
//! has a full window is told [`BroadcastError::Busy`]. If that is because of nodes that are suspected, and a majority is
//! not, they are given up: a life that is given up by one is given up by all who hear of it, is told so, and stops
//! ([`Effect::Expelled`]). So "correct" is what lives on and is not given up, and one dead node stops nobody. A receiver whose
//! room is full of messages that wait for others drops what comes, and gets it again. A node that is restarted more than
//! four times while messages of its earliest life still wait loses those.
//!
//! **What it relies on.** That the driver knows the sender of a packet, that incarnations grow, and that members do not lie:
//! nonsense is dropped and counted, lies are believed.
//!
//! [`TOOLBOX_WINDOW_MAX`]: synod_types::limits::TOOLBOX_WINDOW_MAX
//! [`TOOLBOX_LIVES_MAX`]: synod_types::limits::TOOLBOX_LIVES_MAX

pub mod broken;
mod builder;
pub mod clock;
pub mod detector;
mod event;
mod guarantee;
pub mod id;
mod message;
mod node;
mod order;
mod peers;
mod stream;
pub mod subscriptions;

pub use builder::{AllOrNone, BuildError, Builder, FromTheLiving, NoDetector, NoGuarantee, Pace};
pub use clock::{Lamport, VectorClock};
pub use detector::{Detector, Patience, Verdict};
pub use event::{BroadcastError, Counters, Delivery, Effect, Event};
pub use guarantee::Guarantee;
pub use id::{Life, MessageId, Window};
pub use message::{Body, Cause, Message, Packet, Report, Seat, Seen};
pub use node::Node;
pub use order::Order;
pub use subscriptions::{SubscriptionId, Subscriptions, TooManySubscriptions, Topic};
