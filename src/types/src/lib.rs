//! The words of the house: ids, the signed command, decrees, wire messages, journal records and every limit.
//!
//! Nothing here does I/O, reads a clock or draws a random number, and nothing here decides anything: these are
//! the nouns that the other crates share. Start with [`command`] (what a commander signs), then [`decree`]
//! (what a slot holds) and [`message`] (what nodes say to each other).

pub mod broken;
pub mod checkpoint;
pub mod command;
pub mod configuration;
pub mod content;
pub mod decree;
pub mod digest;
pub mod format;
pub mod frame;
pub mod host_port;
pub mod ids;
pub mod limits;
pub mod log;
pub mod message;
pub mod name;
pub mod outcome;
pub mod record;
pub mod request;
pub mod route;
pub mod session;
pub mod signed_body;
pub mod standing;
pub mod statement;
pub mod threshold;
pub mod versions;
pub mod wire;

pub use checkpoint::{Certificate, Checkpoint, CheckpointSignature, SnapshotIndex};
pub use command::{CommandBody, SignedCommand};
pub use configuration::Configuration;
pub use content::{ContentMessage, ContentReceipt, ContentTicket, Manifest};
pub use decree::{Batch, Decree};
pub use digest::Digest;
pub use ids::{
    AppNdx, Ballot, ClusterId, CommandId, CommanderId, ContentKey, Epoch, LeaseMs, NodeId, Seq, Slot,
    StateNdx, TimeMs,
};
pub use log::{LogPage, LogPageError};
pub use message::{GroupMessage, Message};
pub use outcome::{Outcome, Receipt, Refusal, RefusalCode};
pub use record::{Record, Recovered};
pub use route::{Address, NoAddress, RouteMessage};
pub use signed_body::SignedBody;
pub use standing::{AppStanding, GossipMessage, SignedStanding, Standing, Version, Word};
pub use statement::{
    BundleError, CertificateBundle, CosignMessage, Holding, StateCertificate, Statement, StatementKey,
    StatementSignature,
};
pub use threshold::Threshold;
pub use versions::{Level, Program, UnknownLevel, Versions};
