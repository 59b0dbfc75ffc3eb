//! The library that commanders and tools use: sign a command, submit it to whichever node takes it, and repeat safely
//! until its receipt is there.
//!
//! A file to which commands refer is uploaded first.
//!
//! Nothing here keeps a command on disk or decides what it means. What it never does: tell "refused" where the command
//! may have been executed.
//!
//! Start with [`Client::submit`] and [`Client::execute`]; [`Client::upload`] is in [`upload`]; [`Commander`] signs,
//! [`error`] says what can go wrong.

mod call;
pub mod client;
pub mod commander;
pub mod config;
pub mod error;
mod roster;
mod seqs;
mod session;
pub mod upload;

pub use client::Client;
pub use commander::{CommandOptions, Commander};
pub use config::{ClientConfig, ConfigError, Endpoint, Timeouts};
pub use error::{AskError, ExecuteError, SubmitError, UploadError};
pub use roster::ALPN;
pub use upload::Uploaded;
