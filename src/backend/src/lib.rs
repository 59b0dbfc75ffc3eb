//! The commanders' port: one port number, two transports. UDP carries QUIC, on which a commander's session has many
//! commands in flight; TCP carries HTTPS, for everything that speaks HTTP.
//!
//! A command is verified here and handed to the node through [`Intake`]; its [`Answer`] finds the way back. A file to which
//! commands refer comes in pieces, which go through [`ContentDoor`]. Nothing here orders or executes a command, knows who
//! may command what, keeps a command beyond its answer, or keeps a file at all. Whatever a client sends, the worst that
//! happens is that its own session is closed.
//!
//! Start with [`intake`], [`content`] and [`progress`] (what the node implements), then [`backend`] (starting and stopping);
//! `session` is a QUIC session and `uploads` its files, `routes`, `content_routes` and `progress_routes` are HTTPS.

pub mod backend;
mod bind;
pub mod content;
mod content_routes;
pub mod counters;
mod forms;
mod https;
pub mod intake;
mod outbox;
mod prefer;
mod problem;
pub mod progress;
mod progress_routes;
mod quic;
mod routes;
mod session;
mod shared;
mod ticket;
mod uploads;

pub use backend::{Backend, BackendConfig, BackendError};
pub use content::{BoxFuture, ContentDoor};
pub use counters::CounterValues;
pub use forms::command_from_json;
pub use intake::{Answer, AnswerSink, Answered, Intake, Submission, Ticket};
pub use progress::{ChangeProgress, CommandName, CommandProgress, NodeProgress, Progress};
pub use quic::ALPN;
