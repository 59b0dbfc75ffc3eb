//! What a front end in a process of its own says to its node: it asks, many questions at a time if it likes, each with a number of its
//! own, and gets the answers as they come. It reads and never writes: commands go to the commanders' port.

use serde::{Deserialize, Serialize};

use crate::message::Blob;
use crate::yard::{YardAnswer, YardQuestion};

/// The newest version of what is said here. A front end names those that it speaks, and the node takes the newest of them.
pub const FRONT_VERSION: u32 = 2;
/// The oldest.
pub const FRONT_VERSION_MIN: u32 = 1;

/// The first frame, from the front end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontHello {
    /// The lowest version that it speaks, and the highest.
    pub versions: (u32, u32),
    /// Which program it is, for people.
    pub program: String,
}

/// The first frame from the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FrontReception {
    /// It may ask.
    Welcome {
        /// In which version.
        version: u32,
        /// The cluster's id, in hex.
        cluster: String,
        /// The node's name.
        node: String,
    },
    /// Nothing follows, for this reason.
    Refused(String),
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Its number; the answer has the same.
    pub id: u64,
    /// What is asked.
    pub ask: FrontQuestion,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The question's number.
    pub id: u64,
    /// What is answered.
    pub tell: FrontAnswer,
}

/// See [`Asked`]. An application is named by its number or its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FrontQuestion {
    /// Which applications there are. [`FrontAnswer::Apps`].
    Apps,
    /// Asks an application in its own words. [`FrontAnswer::Answered`].
    Query {
        /// The application.
        app: String,
        /// The query.
        query: Blob,
        /// Whether every command is to be in the state that was executed anywhere before.
        #[serde(default)]
        linearizable: bool,
        /// The least state to answer from; waited for.
        #[serde(default)]
        min: Option<u64>,
        /// How long the state is waited for, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Waits for a state. [`FrontAnswer::State`].
    Wait {
        /// The application.
        app: String,
        /// The state.
        state_ndx: u64,
        /// How long it is waited for, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Tells of each state behind this one, of several that come together only of the last: [`FrontAnswer::State`] again and again, until
    /// [`FrontQuestion::Stop`].
    Follow {
        /// The application.
        app: String,
        /// Behind which state.
        after: u64,
    },
    /// Ends what has this number. [`FrontAnswer::Stopped`].
    Stop,
    /// Has another node answer: one of [`FrontQuestion::Apps`], [`FrontQuestion::Query`], [`FrontQuestion::Wait`],
    /// [`FrontQuestion::Certificates`] and [`YardQuestion::List`].
    At {
        /// The node's name; that of this one is as if nothing had been said of it.
        server: String,
        /// The question.
        ask: Box<FrontQuestion>,
    },
    /// About messages between processes. [`FrontAnswer::Yard`].
    Yard(YardQuestion),
    /// How everything is. [`FrontAnswer::Picture`]. Since version 2, as is what follows.
    Picture,
    /// Which slot is to be applied, so that everything is in a state that is chosen by now. [`FrontAnswer::Index`].
    Index {
        /// The application.
        app: String,
    },
    /// The whole of an application, as a snapshot of its machine: [`FrontAnswer::Piece`] until the last one.
    Whole {
        /// The application.
        app: String,
        /// That of the newest certificate, if it is there; else the state of now.
        certified: bool,
    },
    /// What was chosen and is applied, as soon as it is: [`FrontAnswer::Decrees`] again and again, the first one at once, until
    /// [`FrontQuestion::Stop`].
    Decrees {
        /// The application.
        app: String,
        /// Behind which slot.
        after: u64,
    },
    /// A page of what was chosen and is applied. [`FrontAnswer::Decrees`].
    Log {
        /// The application.
        app: String,
        /// Behind which slot.
        after: u64,
        /// Decrees, at most.
        limit: u64,
    },
    /// A file to which states refer, or one of a snapshot: [`FrontAnswer::Piece`] until the last one.
    File {
        /// Its key, in hex.
        key: String,
        /// Whether it is one of a snapshot.
        #[serde(default)]
        snapshot: bool,
    },
    /// The certificates of an application, newest first. [`FrontAnswer::Certificates`].
    Certificates {
        /// The application.
        app: String,
        /// Of states before this one.
        #[serde(default)]
        before: Option<u64>,
        /// So many, at most; as many as fit into a frame.
        limit: u64,
    },
    /// A certificate with what proves it: [`FrontAnswer::Piece`] until the last one.
    Certificate {
        /// The application.
        app: String,
        /// Of which state; the newest one.
        #[serde(default)]
        state_ndx: Option<u64>,
    },
}

/// See [`Told`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FrontAnswer {
    /// All applications.
    Apps(Vec<AppTold>),
    /// An application's answer.
    Answered {
        /// From which state.
        state_ndx: u64,
        /// The hash chain's value there, in hex.
        chain: String,
        /// The answer.
        answer: Blob,
    },
    /// A state.
    State {
        /// Its number.
        state_ndx: u64,
        /// The hash chain's value there, in hex.
        chain: String,
    },
    /// There is no answer.
    Problem {
        /// Which one, by its stable name: that of the HTTP front end's problems.
        code: String,
        /// For people.
        text: String,
        /// In which state the application is, if there is such an application.
        #[serde(default)]
        state_ndx: Option<u64>,
    },
    /// It has ended.
    Stopped,
    /// To [`FrontQuestion::Yard`].
    Yard(YardAnswer),
    /// How everything is.
    Picture(PictureTold),
    /// A slot.
    Index {
        /// Its number.
        slot: u64,
    },
    /// A part of something.
    Piece {
        /// The part.
        bytes: Blob,
        /// Whether it is the last one.
        last: bool,
    },
    /// Decrees.
    Decrees {
        /// A page of the log; empty, if there is nothing new.
        page: Blob,
        /// The state behind the last slot that the page says to be applied.
        state_ndx: u64,
        /// The hash chain's value there, in hex.
        chain: String,
    },
    /// What was asked for is cut off.
    Cut {
        /// The log begins behind this slot.
        behind: u64,
    },
    /// Certificates.
    Certificates(Vec<Blob>),
}

impl FrontAnswer {
    /// A problem that is of no application's state.
    pub fn problem(code: &str, text: impl ToString) -> FrontAnswer {
        FrontAnswer::Problem { code: code.to_owned(), text: text.to_string(), state_ndx: None }
    }
}

/// An application, as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppTold {
    /// Its number.
    pub app: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How many commands and expiries it has executed on this node.
    pub state_ndx: u64,
    /// The name of the node that leads it, if one is known.
    pub leader: Option<String>,
}

/// How everything is, as the node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PictureTold {
    /// What `/v1/cluster` of the HTTP front end says: JSON.
    pub status: Blob,
    /// Commands from one state that is signed to the next.
    pub sign_every: u64,
    /// Every application.
    pub apps: Vec<AppPicture>,
    /// What other nodes said of how far they are.
    pub nodes: Vec<NodePicture>,
}

/// An application on the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppPicture {
    /// Its number.
    pub app: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whether it is in a process of its own.
    pub is_elsewhere: bool,
    /// Whether it has had everything since the node started, and has a leader.
    pub is_ready: bool,
    /// The last slot that is applied.
    pub applied: u64,
    /// How many milliseconds ago the node knew last that it had applied everything that was chosen by then.
    pub age_ms: Option<u64>,
    /// The newest certificate of a state.
    pub certificate: Option<Blob>,
    /// The certificate of the newest snapshot that has one.
    pub snapshot: Option<Blob>,
}

/// How far another node is, as it said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePicture {
    /// Its id, in hex.
    pub node: String,
    /// The number of each application, and in which state it is.
    pub states: Vec<(u32, u64)>,
}
