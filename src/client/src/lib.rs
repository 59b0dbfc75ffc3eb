//! The library that commanders and tools use: sign a command, submit it to whichever node takes it, and repeat safely
//! until its receipt is there.
//!
//! Nothing here keeps a command on disk or decides what it means. What it never does: tell "refused" where the command
//! may have been executed.
//!
//! Start with [`Client::submit`] and [`Client::execute`]; [`Commander`] signs, [`error`] says what can go wrong.

mod call;
pub mod client;
pub mod commander;
pub mod config;
pub mod error;
mod roster;
mod seqs;
mod session;

pub use client::Client;
pub use commander::{CommandOptions, Commander};
pub use config::{ClientConfig, ConfigError, Endpoint, Timeouts};
pub use error::{AskError, ExecuteError, SubmitError};
pub use roster::ALPN;
