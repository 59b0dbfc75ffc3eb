//! Why a session ends, and how its two ends part.

use std::io;
use std::time::Duration;

use quinn::{ConnectError, Connection, ConnectionError, ReadError, ReadExactError, VarInt, WriteError};
use synod_types::NodeId;
use synod_types::limits::{
    MESH_KEEP_ALIVES_MISSED_MAX, MESH_OPENING_MS_MAX, MESH_PARTING_MS_MAX, MESH_REMOVAL_MS_MAX,
};
use synod_types::session::SessionErrorCode;
use tokio::time::timeout;

use crate::control::ControlStream;

/// What a connection is closed with where everything was said before, or nothing is to be said.
pub(crate) const CLOSED: VarInt = VarInt::from_u32(0);
/// What a connection is closed with after an Error.
pub(crate) const CLOSED_AFTER_ERROR: VarInt = VarInt::from_u32(1);
/// What a connection is closed with when the same peer has opened a newer one.
pub(crate) const REPLACED: VarInt = VarInt::from_u32(2);
/// What a connection is closed with when no authority that is trusted now vouches for the peer any more.
pub(crate) const UNTRUSTED: VarInt = VarInt::from_u32(3);
/// What a connection is closed with when the peer is no member any more, and did not take the Error that says so.
pub(crate) const REMOVED: VarInt = VarInt::from_u32(4);

/// Why a session ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    /// The name cannot be resolved.
    #[error("cannot resolve {address:?}: {source}")]
    Unresolved { address: String, source: io::Error },
    /// The name has no address.
    #[error("{0:?} has no address")]
    NoAddress(String),
    /// The transport does not even try.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// It took too long.
    #[error("opening the session took more than {MESH_OPENING_MS_MAX} ms")]
    Slow,
    /// There was no use in waiting for an old attempt: the peer has just started.
    #[error("the peer came up while an older attempt was waiting")]
    Outdated,
    /// The peer is called elsewhere from now on, or under another name.
    #[error("the peer is to be called at another address")]
    Moved,
    /// The peer is none any more.
    #[error("the peer is no member any more")]
    Removed,
    /// Who answered is not who was called.
    #[error("node {0:?} answers at this address; check the address and the certificate")]
    OtherNode(NodeId),
    /// The certificate is of no member, or is none.
    #[error("a stranger")]
    Stranger,
    /// The transport gave up.
    #[error("connection lost: {0}")]
    Lost(#[from] ConnectionError),
    /// A stream ended, and the connection did not.
    #[error("the peer gave up a stream")]
    StreamEnded,
    /// No answer to keep-alives.
    #[error("{MESH_KEEP_ALIVES_MISSED_MAX} KeepAlives were not answered")]
    Silent,
    /// The peer broke a rule.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// Who called is no member, and did nothing wrong.
    #[error("no member: {0}")]
    NoMember(Violation),
    /// The peer says that this node broke a rule, or is no member.
    #[error("the peer refused this node: {code:?}: {description:?}")]
    Refused { code: SessionErrorCode, description: String },
    /// The peer said Bye.
    #[error("the peer is leaving")]
    Bye,
    /// This node is leaving.
    #[error("this node is leaving")]
    Leaving,
}

/// Which rule a peer broke, or why else it is refused, as the Error says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {description}")]
pub(crate) struct Violation {
    /// The rule, or the reason.
    pub(crate) code: SessionErrorCode,
    /// The number of the control frame that broke it, or of the last one before a data frame did.
    pub(crate) your_msg_n: Option<u64>,
    /// For the person who reads the log.
    pub(crate) description: String,
}

impl Violation {
    /// A rule that a control frame broke, or why it is refused.
    pub(crate) fn of_frame(code: SessionErrorCode, msg_n: u64, description: impl ToString) -> Violation {
        Violation { code, your_msg_n: Some(msg_n), description: description.to_string() }
    }

    /// No rule that the peer broke: there is no place for it any more.
    fn removed() -> Violation {
        let description = "is no member any more".to_owned();
        Violation { code: SessionErrorCode::Removed, your_msg_n: None, description }
    }

    /// Something that cannot be read.
    pub(crate) fn unexpected(description: impl ToString) -> Violation {
        Violation {
            code: SessionErrorCode::UnexpectedFrame,
            your_msg_n: None,
            description: description.to_string(),
        }
    }
}

impl From<ReadError> for SessionEnd {
    fn from(error: ReadError) -> SessionEnd {
        match error {
            ReadError::ConnectionLost(error) => SessionEnd::Lost(error),
            _ => SessionEnd::StreamEnded,
        }
    }
}

impl From<ReadExactError> for SessionEnd {
    fn from(error: ReadExactError) -> SessionEnd {
        match error {
            ReadExactError::ReadError(error) => error.into(),
            ReadExactError::FinishedEarly(_) => SessionEnd::StreamEnded,
        }
    }
}

impl From<WriteError> for SessionEnd {
    fn from(error: WriteError) -> SessionEnd {
        match error {
            WriteError::ConnectionLost(error) => SessionEnd::Lost(error),
            _ => SessionEnd::StreamEnded,
        }
    }
}

impl SessionEnd {
    /// A short name that stays, for who counts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            SessionEnd::Unresolved { .. } | SessionEnd::NoAddress(_) => "unresolved",
            SessionEnd::Connect(_) => "not-tried",
            SessionEnd::Slow => "slow",
            SessionEnd::Outdated => "outdated",
            SessionEnd::Moved => "moved",
            SessionEnd::Removed => "removed",
            SessionEnd::OtherNode(_) => "other-node",
            SessionEnd::Stranger => "stranger",
            SessionEnd::Lost(_) if self.is_tls_failure() => "tls",
            SessionEnd::Lost(ConnectionError::ApplicationClosed(close)) if close.error_code == REPLACED => {
                "replaced"
            }
            SessionEnd::Lost(ConnectionError::ApplicationClosed(close)) if close.error_code == UNTRUSTED => {
                "untrusted"
            }
            SessionEnd::Lost(ConnectionError::LocallyClosed) => "closed",
            SessionEnd::Lost(ConnectionError::TimedOut) => "timed-out",
            SessionEnd::Lost(_) => "lost",
            SessionEnd::StreamEnded => "stream-ended",
            SessionEnd::Silent => "silent",
            SessionEnd::Violation(violation) | SessionEnd::NoMember(violation) => violation.code.name(),
            SessionEnd::Refused { .. } => "refused",
            SessionEnd::Bye => "bye",
            SessionEnd::Leaving => "leaving",
        }
    }

    /// Whether the peer says that this node is no member, or not the one that it was. That is an administrator's to change, not this node's.
    pub(crate) fn is_no_member(&self) -> bool {
        let SessionEnd::Refused { code, .. } = self else { return false };
        match code {
            SessionErrorCode::Removed
            | SessionErrorCode::Pending
            | SessionErrorCode::Rejected
            | SessionErrorCode::NameTaken
            | SessionErrorCode::OtherDirectory => true,
            SessionErrorCode::MissingHello
            | SessionErrorCode::SecondHello
            | SessionErrorCode::WrongMsgN
            | SessionErrorCode::BadSignature
            | SessionErrorCode::WrongId
            | SessionErrorCode::WrongCommunicationKey
            | SessionErrorCode::UnexpectedFrame
            | SessionErrorCode::Busy
            | SessionErrorCode::NoCommonVersion
            | SessionErrorCode::Other(_) => false,
        }
    }

    /// Whether TLS failed: a certificate of another authority, an expired one, or none. Either end may have found
    /// that out.
    pub(crate) fn is_tls_failure(&self) -> bool {
        // RFC 9001, section 4.8: TLS alerts are the transport's errors from 0x100 to 0x1ff.
        let code = match self {
            SessionEnd::Lost(ConnectionError::TransportError(error)) => error.code,
            SessionEnd::Lost(ConnectionError::ConnectionClosed(close)) => close.error_code,
            _ => return false,
        };
        (0x100..0x200).contains(&u64::from(code))
    }
}

/// Says what is to be said, waits a little for the other end to hear it, and closes the connection.
pub(crate) async fn part(connection: &Connection, control: &mut ControlStream, end: &SessionEnd) {
    let limit = Duration::from_millis(MESH_PARTING_MS_MAX);
    match end {
        SessionEnd::Violation(violation) => {
            // If the peer does not take the Error in time, it is closed without.
            let _ = timeout(limit, control.say_error(violation)).await;
            connection.close(CLOSED_AFTER_ERROR, b"protocol error");
        }
        SessionEnd::NoMember(refusal) => {
            let _ = timeout(limit, control.say_error(refusal)).await;
            connection.close(CLOSED_AFTER_ERROR, b"no member");
        }
        SessionEnd::Removed => {
            let limit = Duration::from_millis(MESH_REMOVAL_MS_MAX);
            let said = timeout(limit, control.say_error(&Violation::removed())).await;
            let is_said = matches!(said, Ok(Ok(())));
            connection.close(if is_said { CLOSED_AFTER_ERROR } else { REMOVED }, b"is no member any more");
        }
        SessionEnd::Bye => {
            // Who said Bye closes when it has the Ack.
            let _ = timeout(limit, connection.closed()).await;
            connection.close(CLOSED, b"");
        }
        _ => connection.close(CLOSED, b""),
    }
}
