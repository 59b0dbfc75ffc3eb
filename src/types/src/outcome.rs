//! What becomes of a command.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AppNdx, Seq, StateNdx};
use crate::limits::REFUSAL_TEXT_BYTES_MAX;

/// Why a command was not done. The numbers are part of the protocol and of the hash chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalCode {
    /// The signature does not verify, or the key is not the commander's.
    BadSignature,
    /// The bytes are not a command, or the operation is not one of the application's.
    Malformed,
    /// Over a limit in size.
    TooLarge,
    /// Signed for another cluster.
    WrongCluster,
    /// The cluster has no such application.
    UnknownApp,
    /// No commander of this application has that key.
    UnknownCommander,
    /// The commander was revoked.
    Revoked,
    /// The commander may not do this.
    NotPermitted,
    /// `not_after` has passed.
    Expired,
    /// `seq` is below the commander's window; whether it was ever executed is no longer known.
    StaleSeq,
    /// `seq` was used for another command.
    SeqReused,
    /// `seq` is too far ahead of the commander's last one.
    SeqTooFar,
    /// The application was not in the expected state.
    StateMismatch,
    /// The application's own condition did not hold (a failed compare, a missing key).
    Conflict,
    /// The application's own limit was reached.
    QuotaExceeded,
    /// Too much is waiting here; try again later.
    Busy,
    /// No leader is known; try again later or elsewhere.
    NoLeader,
    /// The command was not executed in time. It may still be: submit the same bytes again to find out.
    Timeout,
    /// The node is stopping; try elsewhere.
    Stopping,
    /// A file to which the operation refers is not held by a majority of the nodes; upload it first.
    ContentMissing,
    /// The commander may not command yet, or not any more.
    NotValidNow,
    /// Disks are nearly full; try elsewhere, or again when there is room.
    NoSpace,
}

impl RefusalCode {
    /// Stable name, as in HTTP problem types and JSON output.
    pub fn name(self) -> &'static str {
        match self {
            RefusalCode::BadSignature => "bad-signature",
            RefusalCode::Malformed => "malformed",
            RefusalCode::TooLarge => "too-large",
            RefusalCode::WrongCluster => "wrong-cluster",
            RefusalCode::UnknownApp => "unknown-app",
            RefusalCode::UnknownCommander => "unknown-commander",
            RefusalCode::Revoked => "revoked",
            RefusalCode::NotPermitted => "not-permitted",
            RefusalCode::Expired => "expired",
            RefusalCode::StaleSeq => "stale-seq",
            RefusalCode::SeqReused => "seq-reused",
            RefusalCode::SeqTooFar => "seq-too-far",
            RefusalCode::StateMismatch => "state-mismatch",
            RefusalCode::Conflict => "conflict",
            RefusalCode::QuotaExceeded => "quota-exceeded",
            RefusalCode::Busy => "busy",
            RefusalCode::NoLeader => "no-leader",
            RefusalCode::Timeout => "timeout",
            RefusalCode::Stopping => "stopping",
            RefusalCode::ContentMissing => "content-missing",
            RefusalCode::NotValidNow => "not-valid-now",
            RefusalCode::NoSpace => "no-space",
        }
    }

    /// Whether submitting the same bytes again, here or elsewhere, can succeed by itself.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            RefusalCode::Busy
                | RefusalCode::NoLeader
                | RefusalCode::Timeout
                | RefusalCode::Stopping
                | RefusalCode::NoSpace
        )
    }
}

/// A refusal with a sentence for the person who reads it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {text}", code.name())]
pub struct Refusal {
    /// What a program looks at.
    pub code: RefusalCode,
    /// What happened and what to do, at most [`REFUSAL_TEXT_BYTES_MAX`] bytes.
    pub text: String,
}

impl Refusal {
    /// A refusal; text over the limit is cut.
    pub fn new(code: RefusalCode, text: impl fmt::Display) -> Refusal {
        let mut text = text.to_string();
        text.truncate(text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX));
        Refusal { code, text }
    }
}

/// The result of an executed command; its digest goes into the hash chain.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; the application's answer.
    Done(Bytes),
    /// Executed and refused: the state is as before, stateNdx is not.
    Refused(Refusal),
}

/// What a commander gets for an executed command.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The application.
    pub app: AppNdx,
    /// The commander's number for the command.
    pub seq: Seq,
    /// How many commands the application had executed with this one.
    pub state_ndx: StateNdx,
    /// What came of it.
    pub outcome: Outcome,
    /// The hash chain's value at `state_ndx`.
    pub chain: Digest,
}
