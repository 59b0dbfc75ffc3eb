//! What a front end in a process of its own says to its node: it asks, many questions at a time if it likes, each with a number of its
//! own, and gets the answers as they come. It reads and never writes: commands go to the commanders' port.

use serde::{Deserialize, Serialize};

use crate::message::Blob;
use crate::yard::{YardAnswer, YardQuestion};

/// The version of what is said here.
pub const FRONT_VERSION: u32 = 1;

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
    /// Has another node answer: one of [`FrontQuestion::Apps`], [`FrontQuestion::Query`], [`FrontQuestion::Wait`] and
    /// [`YardQuestion::List`].
    At {
        /// The node's name; that of this one is as if nothing had been said of it.
        server: String,
        /// The question.
        ask: Box<FrontQuestion>,
    },
    /// About messages between processes. [`FrontAnswer::Yard`].
    Yard(YardQuestion),
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
