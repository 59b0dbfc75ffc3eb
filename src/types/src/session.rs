//! Sessions between two nodes, and between a commander and a node: Hello, Welcome, Ack, Error, KeepAlive, Bye.
//!
//! Each direction numbers its control frames from 1 (`msg_n`). The first frame of who opens the session is a
//! signed [`Hello`]; everything else is refused before it was answered by a [`Welcome`]. Both name the wire versions that their
//! sender speaks, and the session is in the highest that both do.
//!
//! **Hello, Welcome and Error are for ever.** They are what two programs say to each other before they know what else they have
//! in common, so no version changes a byte of them: what is new is said behind them. `tests/golden/session.hex` holds them.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::versions::Program;

/// Who opens a session, and proof that it holds its key and speaks over this very TLS session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's program: what it speaks in a session of this kind. A commander has no levels, which are zeros.
    pub program: Program,
    /// SHA3-256 of `signing_key`: a NodeId or a CommanderId.
    pub id: Digest,
    /// The key that signs this Hello: SubjectPublicKeyInfo, DER.
    pub signing_key: Vec<u8>,
    /// The TLS key of the session: SubjectPublicKeyInfo, DER, of the sender's certificate; empty for a commander,
    /// which has none.
    pub communication_key: Vec<u8>,
    /// Where the sender can be reached, as `host:port`; empty for a commander.
    pub address: String,
    /// Names the data directory with which the sender, a node, made all its promises; zeros for a commander.
    pub directory: [u8; 16],
    /// Random.
    pub salt: [u8; 16],
    /// Over [`Hello::signed_bytes`], made as for a command.
    pub signature: Vec<u8>,
}

impl Hello {
    /// The bytes to sign: the fields with their lengths, and the 32 bytes that both ends derive from the TLS session
    /// (RFC 5705, RFC 8446 section 7.5), so that a Hello cannot be carried to another session.
    pub fn signed_bytes(&self, cluster: &Digest, exporter: &[u8; 32]) -> Vec<u8> {
        let mut out = b"synod/hello/v3\0".to_vec();
        out.extend_from_slice(&cluster.0);
        out.extend_from_slice(exporter);
        let Program { wire, levels, version } = &self.program;
        for number in [wire.min, wire.max, levels.min, levels.max] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.directory);
        let texts = [self.address.as_bytes(), version.as_bytes()];
        for part in [&self.signing_key[..], &self.communication_key, texts[0], texts[1], &self.salt] {
            let len = u32::try_from(part.len()).expect("frames are far below 4 GiB");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    /// The label under which both ends export the 32 bytes from the TLS session.
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-synod-hello-v1";
}

/// The answer to a Hello that is taken: the session begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The number of the Hello.
    pub your_msg_n: u64,
    /// The program that answers. It is not signed: it comes in the TLS session in which its sender has shown its certificate.
    pub program: Program,
}

/// What may come in a control stream, beside the payload that the session is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Control {
    /// Opens the session; only as the first frame.
    Hello(Box<Hello>),
    /// Received.
    Ack {
        /// The number of the frame that is acknowledged.
        your_msg_n: u64,
    },
    /// Refused; the sender closes.
    Error {
        /// The number of the frame that was refused.
        your_msg_n: u64,
        /// Why.
        code: SessionErrorCode,
        /// For the person who reads the log.
        description: String,
    },
    /// Still there; answered by an Ack.
    KeepAlive,
    /// Leaving; answered by an Ack.
    Bye,
    /// Answers a Hello.
    Welcome(Box<Welcome>),
}

/// A numbered control frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ControlFrame {
    /// Rises by one per frame in each direction, from 1.
    pub msg_n: u64,
    /// What it says.
    pub control: Control,
}

/// Why a session is refused or ended: mostly, which rule was broken. It travels as its number, so that one which is new is an
/// Error all the same to a program that does not know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub enum SessionErrorCode {
    /// The first frame was not a Hello.
    MissingHello,
    /// A second Hello.
    SecondHello,
    /// `msg_n` did not rise by one.
    WrongMsgN,
    /// The Hello's signature does not verify over this TLS session.
    BadSignature,
    /// The id is not the hash of the signing key, or not the one that the certificate stands for.
    WrongId,
    /// The communication key is not the key of the TLS session.
    WrongCommunicationKey,
    /// A frame that does not belong here, or cannot be decoded.
    UnexpectedFrame,
    /// Too many sessions, or too much in flight.
    Busy,
    /// Between nodes: who is told so was a member, and is none any more.
    Removed,
    /// Between nodes: whoever calls is no member yet, and an administrator has to accept it.
    Pending,
    /// Between nodes: whoever calls is no member, and an administrator has decided that it becomes none.
    Rejected,
    /// Between nodes: whoever calls is no member, and has the name of a member with another key.
    NameTaken,
    /// Between nodes: whoever calls has another data directory than before, so it has forgotten what it promised.
    OtherDirectory,
    /// Both ends speak no wire version in common.
    NoCommonVersion,
    /// A number that this program does not know; the description says more.
    Other(u32),
}

impl SessionErrorCode {
    /// A short name that stays, for who counts.
    pub fn name(self) -> &'static str {
        match self {
            SessionErrorCode::MissingHello => "missing-hello",
            SessionErrorCode::SecondHello => "second-hello",
            SessionErrorCode::WrongMsgN => "wrong-msg-n",
            SessionErrorCode::BadSignature => "bad-signature",
            SessionErrorCode::WrongId => "wrong-id",
            SessionErrorCode::WrongCommunicationKey => "wrong-communication-key",
            SessionErrorCode::UnexpectedFrame => "unexpected-frame",
            SessionErrorCode::Busy => "busy",
            SessionErrorCode::Removed => "removed",
            SessionErrorCode::Pending => "pending",
            SessionErrorCode::Rejected => "rejected",
            SessionErrorCode::NameTaken => "name-taken",
            SessionErrorCode::OtherDirectory => "other-directory",
            SessionErrorCode::NoCommonVersion => "no-common-version",
            SessionErrorCode::Other(_) => "other",
        }
    }

    /// All that this program knows; the place is the number, and new ones come last.
    pub const ALL: [SessionErrorCode; 14] = [
        SessionErrorCode::MissingHello,
        SessionErrorCode::SecondHello,
        SessionErrorCode::WrongMsgN,
        SessionErrorCode::BadSignature,
        SessionErrorCode::WrongId,
        SessionErrorCode::WrongCommunicationKey,
        SessionErrorCode::UnexpectedFrame,
        SessionErrorCode::Busy,
        SessionErrorCode::Removed,
        SessionErrorCode::Pending,
        SessionErrorCode::Rejected,
        SessionErrorCode::NameTaken,
        SessionErrorCode::OtherDirectory,
        SessionErrorCode::NoCommonVersion,
    ];
}

impl From<u32> for SessionErrorCode {
    fn from(number: u32) -> SessionErrorCode {
        let known = SessionErrorCode::ALL.iter().zip(0..).find(|(_, place)| *place == number);
        known.map_or(SessionErrorCode::Other(number), |(code, _)| *code)
    }
}

impl From<SessionErrorCode> for u32 {
    fn from(code: SessionErrorCode) -> u32 {
        let known = SessionErrorCode::ALL.iter().zip(0..).find(|(known, _)| **known == code);
        match (code, known) {
            (SessionErrorCode::Other(number), _) | (_, Some((_, number))) => number,
            (_, None) => unreachable!("the test of all codes holds that each has its place"),
        }
    }
}

/// Checks the numbers of one direction.
#[derive(Clone, Debug, Default)]
pub struct MsgCounter(u64);

impl MsgCounter {
    /// The last number that was sent or accepted; 0 before the first.
    pub fn last(&self) -> u64 {
        self.0
    }

    /// Takes the next number, for sending.
    pub fn advance(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// Whether a received number is the next one.
    pub fn accepts(&mut self, msg_n: u64) -> bool {
        let fits = msg_n == self.0 + 1;
        if fits {
            self.0 = msg_n;
        }
        fits
    }
}
