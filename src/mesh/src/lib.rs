//! The mesh between the nodes of a cluster: carries [`Message`](synod_types::Message)s to the node that they are for,
//! and says for certain from which node each one came.
//!
//! Every node calls every other over QUIC; a connection carries the messages of the node that opened it. Both ends
//! show certificates of the cluster's own authority, and a peer's id is derived from the key in its certificate, never
//! read from a message. A signed Hello, bound to the TLS session, comes before everything else.
//!
//! The mesh never waits for a peer: queues are bounded, and what finds no room or no session is dropped and counted.
//! It never repeats a message, never looks into one, and never verifies the commands in it: what it hands over is
//! [`Unverified`](synod_auth::Unverified).
//!
//! Who the peers are may change while it runs. It never decides that: [`Mesh::set_peers`] is told, and who would be a
//! member is shown in [`applicants`].
//!
//! Start with [`mesh`] (what a node does with it), then `dialer` and `listener` (the two ends of a session), `control`
//! (Hello, Ack, Error, KeepAlive, Bye) and `transport` (QUIC's settings).

pub mod applicants;
mod backoff;
pub mod config;
mod control;
mod dialer;
mod identity;
mod leaving;
mod listener;
pub mod mesh;
mod pace;
pub mod peer;
pub mod priority;
pub mod queue;
mod session;
mod transport;

pub use applicants::{Applicant, Conflict};
pub use config::{Directories, Listen, MeshConfig, MeshError, NoDirectories, PeerConfig};
pub use mesh::{Mesh, MeshCounters};
pub use peer::{LinkState, PeerStatus};
pub use priority::Priority;
pub use queue::Frame;
