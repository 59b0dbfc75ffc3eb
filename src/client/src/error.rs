//! What can go wrong, told apart by the one thing that matters: whether the command may have been executed.

use synod_types::command::CommandError;
use synod_types::content::ManifestError;
use synod_types::{Refusal, SignedCommand};

/// Why there is no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Refused: this submission did not execute it.
    #[error("{0}")]
    Refused(Refusal),
    /// No node took it: it was not executed.
    #[error("no node took the command, so it was not executed: {why}; check the endpoints and try again")]
    Unreachable {
        /// What the last attempt met.
        why: String,
    },
    /// It was sent, and nothing is known: it may have been executed, or may still be.
    #[error(
        "nothing is known of the command: {why}; submit the same bytes again to find out, it is executed once at most"
    )]
    Unknown {
        /// The bytes to submit again.
        command: Box<SignedCommand>,
        /// What the last attempt met.
        why: String,
    },
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Refused.
    #[error("{0}")]
    Refused(Refusal),
    /// No node answered in time.
    #[error("no node answered: {why}; check the endpoints and try again")]
    Unreachable {
        /// What the last attempt met.
        why: String,
    },
}

/// Why an operation has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// It cannot be made a command.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// The next seq could not be learned: nothing was submitted.
    #[error("the commander's next seq cannot be learned: {0}")]
    NextSeq(#[from] AskError),
    /// It was submitted.
    #[error("{0}")]
    Submit(#[from] SubmitError),
}

/// Why a file was not uploaded. Uploading it again is safe, and sends only what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It is empty, or too large.
    #[error("the file cannot be uploaded: {0}")]
    File(#[from] ManifestError),
    /// Refused. With `Timeout` a node has the file, and a majority has not said so.
    #[error("{0}")]
    Refused(Refusal),
    /// No node took it, or the last one was lost on the way.
    #[error("no node took the file: {why}; check the endpoints and upload it again")]
    Unreachable {
        /// What the last attempt met.
        why: String,
    },
}
