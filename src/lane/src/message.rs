//! What is said on a lane. A worker says [`Hello`] first, in the encoding in which everything is said from then on; the node answers
//! [`Welcome`], and asks. Names of variants and fields are those of the frames, in camel case: a question is a map with one key, or
//! a text where there is nothing more to it. docs/PROTOCOL.md, "Lanes", has them with examples.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use synod_machine::Context;
use synod_types::limits::{ANSWER_BYTES_MAX, REFUSAL_TEXT_BYTES_MAX};
use synod_types::{CommanderId, LeaseMs, Refusal, RefusalCode, StateNdx, TimeMs};

/// The version of what is said here; a worker names those that it speaks.
pub const VERSION: u32 = 1;

/// How frames are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// JSON; bytes are base64.
    Json,
    /// `MessagePack`; bytes are `bin`.
    MessagePack,
}

impl Encoding {
    /// The one of a first frame: a JSON text that is a map begins with a brace, or with space in front of it; a map of
    /// `MessagePack` with neither.
    pub fn of(frame: &[u8]) -> Encoding {
        match frame.first() {
            Some(b'{' | b' ' | b'\n' | b'\r' | b'\t') => Encoding::Json,
            Some(_) | None => Encoding::MessagePack,
        }
    }
}

/// Bytes: base64 where the encoding is for people, as they are elsewhere.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Bytes);

/// The first frame, from the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The lowest version that it speaks, and the highest.
    pub versions: (u32, u32),
    /// Which kind of application it is, as genesis names it.
    pub kind: String,
    /// Which program it is, for people.
    pub program: String,
    /// Whether it is to be asked by [`Question::Check`] before a command is ordered.
    #[serde(default)]
    pub checks: bool,
}

/// The first frame from the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reception {
    /// Questions follow.
    Welcome(Welcome),
    /// Nothing follows, for this reason.
    Refused(String),
}

/// See [`Reception`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// In which version.
    pub version: u32,
    /// The application's number in the cluster.
    pub app: u32,
    /// Its name there.
    pub name: String,
}

/// What a node asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// Have the state that there is before the first command. Answered by [`Answer::Done`].
    Reset,
    /// Take a part of a snapshot; with the last one, have the state that it is. [`Answer::Done`].
    Restore {
        /// The part.
        bytes: Blob,
        /// Whether it is the last one.
        last: bool,
    },
    /// Execute commands, in order. [`Answer::Applied`].
    Apply(Batch),
    /// Is this an operation, within limits? It depends on the operation alone. [`Answer::Done`], or [`Answer::Refused`].
    Check {
        /// The operation.
        operation: Blob,
    },
    /// [`Answer::Answered`], or [`Answer::NotAQuery`].
    #[serde(rename_all = "camelCase")]
    Query {
        /// The number of the state.
        state_ndx: u64,
        /// The query.
        query: Blob,
    },
    /// Keep the state as it is now, to be asked for it piece by piece; another one that was kept is dropped. [`Answer::Done`].
    Keep,
    /// A part of what is kept. [`Answer::Piece`], or [`Answer::Later`] while it is being made.
    Piece {
        /// Which one, from 0 on.
        number: u32,
    },
    /// [`Answer::Digest`].
    Digest,
}

/// Commands of one decree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// The decree's time, in milliseconds.
    pub time: u64,
    /// The lease clock, in milliseconds.
    pub clock: u64,
    /// The commands.
    pub commands: Vec<Command>,
}

/// See [`Batch`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The state that it makes.
    pub state_ndx: u64,
    /// Who commands, in hex.
    pub commander: String,
    /// The operation.
    pub operation: Blob,
}

/// What a worker answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done.
    Done,
    /// One outcome for each command.
    Applied(Vec<Outcome>),
    /// The operation is none, or not within limits.
    Refused(Refused),
    /// The answer to a query.
    Answered(Blob),
    /// Why it is no query.
    NotAQuery(String),
    /// A part of a state.
    Piece {
        /// The part.
        bytes: Blob,
        /// Whether it is the last one.
        last: bool,
    },
    /// Not yet: ask again.
    Later,
    /// A digest of the state, 32 bytes.
    Digest(Blob),
    /// It cannot do what it was asked for, and ends.
    Failed(String),
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The application's answer, at most [`ANSWER_BYTES_MAX`] bytes.
    Done(Blob),
    /// The state is as before.
    Refused(Refused),
}

/// Why a command was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// One of [`CODES`], by its name.
    pub code: String,
    /// A sentence, at most [`REFUSAL_TEXT_BYTES_MAX`] bytes.
    pub text: String,
}

/// With which codes an application may refuse.
pub const CODES: &[RefusalCode] = &[
    RefusalCode::Malformed,
    RefusalCode::TooLarge,
    RefusalCode::NotPermitted,
    RefusalCode::Conflict,
    RefusalCode::QuotaExceeded,
];

/// An answer that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Its answer is too long to be kept with a receipt.
    #[error("the answer to a command has {0} bytes; at most {ANSWER_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The text of a refusal is too long.
    #[error("the text of a refusal has {0} bytes; at most {REFUSAL_TEXT_BYTES_MAX} are allowed")]
    TextTooLong(usize),
    /// No such code.
    #[error("a refusal has the code {0:?}, which is none that an application gives")]
    UnknownCode(String),
    /// The text of an identity is none.
    #[error("{0:?} is no commander's id")]
    NoCommander(String),
}

impl Command {
    /// A command in its context, whose times are its batch's.
    pub fn new(context: &Context, operation: Bytes) -> Command {
        Command {
            state_ndx: context.state_ndx.0,
            commander: context.commander.to_string(),
            operation: Blob(operation),
        }
    }

    /// Its context in a batch.
    ///
    /// # Errors
    /// [`BadAnswer::NoCommander`].
    pub fn context(&self, batch: &Batch) -> Result<Context, BadAnswer> {
        let commander = self.commander.parse().map(CommanderId);
        Ok(Context {
            state_ndx: StateNdx(self.state_ndx),
            time: TimeMs(batch.time),
            clock: LeaseMs(batch.clock),
            commander: commander.map_err(|_| BadAnswer::NoCommander(self.commander.clone()))?,
        })
    }
}

impl Outcome {
    /// As the machine takes it.
    ///
    /// # Errors
    /// [`BadAnswer`].
    pub fn into_result(self) -> Result<Result<Bytes, Refusal>, BadAnswer> {
        match self {
            Outcome::Done(Blob(answer)) if answer.len() > ANSWER_BYTES_MAX => {
                Err(BadAnswer::TooLong(answer.len()))
            }
            Outcome::Done(Blob(answer)) => Ok(Ok(answer)),
            Outcome::Refused(refused) => Ok(Err(refused.into_refusal()?)),
        }
    }
}

impl From<Result<Bytes, Refusal>> for Outcome {
    fn from(outcome: Result<Bytes, Refusal>) -> Outcome {
        match outcome {
            Ok(answer) => Outcome::Done(Blob(answer)),
            Err(refusal) => Outcome::Refused(refusal.into()),
        }
    }
}

impl Refused {
    /// As the machine takes it.
    ///
    /// # Errors
    /// [`BadAnswer`].
    pub fn into_refusal(self) -> Result<Refusal, BadAnswer> {
        let Refused { code, text } = self;
        if text.len() > REFUSAL_TEXT_BYTES_MAX {
            return Err(BadAnswer::TextTooLong(text.len()));
        }
        match CODES.iter().find(|known| known.name() == code) {
            Some(code) => Ok(Refusal::new(*code, text)),
            None => Err(BadAnswer::UnknownCode(code)),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { code: refusal.code.name().to_owned(), text: refusal.text }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(BlobVisitor)
        } else {
            deserializer.deserialize_byte_buf(BlobVisitor)
        }
    }
}

struct BlobVisitor;

impl de::Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
        STANDARD.decode(text).map(|bytes| Blob(bytes.into())).map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }
}
