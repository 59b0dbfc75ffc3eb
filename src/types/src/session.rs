//! Sessions between two nodes, and between a commander and a node: Hello, Ack, Error, KeepAlive, Bye.
//!
//! Each direction numbers its control frames from 1 (`msg_n`). The first frame of who opens the session is a
//! signed [`Hello`]; everything else is refused before it was acknowledged.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Who opens a session, and proof that it holds its key and speaks over this very TLS session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
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
        let mut out = b"synod/hello/v2\0".to_vec();
        out.extend_from_slice(&cluster.0);
        out.extend_from_slice(exporter);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.directory);
        for part in [&self.signing_key[..], &self.communication_key, self.address.as_bytes(), &self.salt] {
            let len = u32::try_from(part.len()).expect("frames are far below 4 GiB");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    /// The label under which both ends export the 32 bytes from the TLS session.
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-synod-hello-v1";
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
}

/// A numbered control frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ControlFrame {
    /// Rises by one per frame in each direction, from 1.
    pub msg_n: u64,
    /// What it says.
    pub control: Control,
}

/// Why a session is refused or ended: mostly, which rule was broken. New ones come last: the place is the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
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
