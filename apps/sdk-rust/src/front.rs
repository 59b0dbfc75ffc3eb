//! A front end in a process of its own: asks a node what it would ask the gateway inside of it. It reads and never writes.
//!
//! [`FrontEnd`] has one question under way at a time and waits for its answer; whoever wants more at a time opens several. When the node
//! is gone, every call says so, and a new one is opened when it is back: nothing is lost, since nothing is here.

use std::path::Path;
use std::time::Duration;

use synod_lane::front::{
    AppTold, Asked, FRONT_VERSION, FRONT_VERSION_MIN, FrontAnswer, FrontHello, FrontQuestion, FrontReception,
    Told,
};
use synod_lane::message::{Blob, Encoding};
use synod_lane::{Link, LinkError};

use crate::{Bytes, worker};

/// How to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Read {
    /// Whether every command is to be in the state that was executed anywhere before.
    pub is_linearizable: bool,
    /// The least state to answer from; waited for.
    pub min: Option<u64>,
    /// How long it is waited for; `None`: as long as the node thinks fit, 5 s.
    pub wait: Option<Duration>,
}

/// An application's answer, and the state that it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// How many commands and expiries the application had executed.
    pub state_ndx: u64,
    /// The hash chain's value there, in hex.
    pub chain: String,
    /// The answer.
    pub answer: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The node has none.
    #[error("{code}: {text}")]
    Problem {
        /// Which problem, by its stable name.
        code: String,
        /// For people.
        text: String,
        /// In which state the application is.
        state_ndx: Option<u64>,
    },
    /// Nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// The node wants no such front end.
    #[error("the node refuses this process: {0}")]
    Refused(String),
    /// The connection broke.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// A connection to a node.
#[derive(Debug)]
pub struct FrontEnd {
    link: Link,
    last: u64,
    cluster: String,
    node: String,
    server: Option<String>,
}

impl FrontEnd {
    /// Connects to the node's socket for front ends, which is waited for as long as `patience`.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn connect(
        socket: &Path,
        program: &str,
        encoding: Encoding,
        patience: Duration,
    ) -> Result<FrontEnd, AskError> {
        let stream = worker::connect(socket, patience).map_err(AskError::Connect)?;
        let mut link = Link::new(stream, encoding, None)?;
        link.send(&FrontHello { versions: (FRONT_VERSION_MIN, FRONT_VERSION), program: program.to_owned() })?;
        match link.receive()? {
            FrontReception::Welcome { version: _, cluster, node } => {
                Ok(FrontEnd { link, last: 0, cluster, node, server: None })
            }
            FrontReception::Refused(why) => Err(AskError::Refused(why)),
        }
    }

    /// The cluster's id, in hex.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// From now on this node answers, by its name: [`FrontEnd::apps`], [`FrontEnd::yards`], [`FrontEnd::query`] and
    /// [`FrontEnd::wait`] are asked of it over the
    /// nodes' own connections. `None`: the one that this is connected to.
    pub fn set_server(&mut self, server: Option<&str>) {
        self.server = server.map(str::to_owned);
    }

    /// All applications.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn apps(&mut self) -> Result<Vec<AppTold>, AskError> {
        match self.ask(FrontQuestion::Apps)? {
            FrontAnswer::Apps(apps) => Ok(apps),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks an application, by its number or name, in its own words.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn query(&mut self, app: &str, query: impl Into<Bytes>, read: Read) -> Result<Answered, AskError> {
        let Read { is_linearizable: linearizable, min, wait } = read;
        let (app, query, wait_ms) = (app.to_owned(), Blob(query.into()), wait.map(millis));
        match self.ask(FrontQuestion::Query { app, query, linearizable, min, wait_ms })? {
            FrontAnswer::Answered { state_ndx, chain, answer: Blob(answer) } => {
                Ok(Answered { state_ndx, chain, answer })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the node has a state of an application; gives the one that it has then.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn wait(&mut self, app: &str, state_ndx: u64, wait: Duration) -> Result<u64, AskError> {
        let (app, wait_ms) = (app.to_owned(), Some(millis(wait)));
        match self.ask(FrontQuestion::Wait { app, state_ndx, wait_ms })? {
            FrontAnswer::State { state_ndx, .. } => Ok(state_ndx),
            other => Err(unexpected(&other)),
        }
    }

    /// Follows an application behind a state. The connection is for this alone then.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn follow(mut self, app: &str, after: u64) -> Result<States, AskError> {
        self.send(FrontQuestion::Follow { app: app.to_owned(), after })?;
        Ok(States(self))
    }

    pub(crate) fn ask(&mut self, ask: FrontQuestion) -> Result<FrontAnswer, AskError> {
        self.send(ask)?;
        self.told()
    }

    /// What the node that is connected to answers itself.
    pub(crate) fn ask_here(&mut self, ask: FrontQuestion) -> Result<FrontAnswer, AskError> {
        self.last += 1;
        self.link.send(&Asked { id: self.last, ask })?;
        self.told()
    }

    fn send(&mut self, ask: FrontQuestion) -> Result<(), AskError> {
        self.last += 1;
        let ask = match self.server.clone() {
            Some(server) => FrontQuestion::At { server, ask: Box::new(ask) },
            None => ask,
        };
        Ok(self.link.send(&Asked { id: self.last, ask })?)
    }

    fn told(&mut self) -> Result<FrontAnswer, AskError> {
        match self.link.receive()? {
            Told { id, .. } if id != self.last => {
                Err(LinkError::Unexpected(format!("an answer to question {id}")).into())
            }
            Told { tell: FrontAnswer::Problem { code, text, state_ndx }, .. } => {
                Err(AskError::Problem { code, text, state_ndx })
            }
            Told { tell, .. } => Ok(tell),
        }
    }
}

/// The states of an application, each as soon as it is there; of several that come together only the last.
#[derive(Debug)]
pub struct States(FrontEnd);

impl Iterator for States {
    type Item = Result<u64, AskError>;

    fn next(&mut self) -> Option<Result<u64, AskError>> {
        match self.0.told() {
            Ok(FrontAnswer::State { state_ndx, .. }) => Some(Ok(state_ndx)),
            Ok(FrontAnswer::Stopped) => None,
            Ok(other) => Some(Err(unexpected(&other))),
            Err(why) => Some(Err(why)),
        }
    }
}

pub(crate) fn unexpected(answer: &FrontAnswer) -> AskError {
    LinkError::Unexpected(format!("{answer:?}")).into()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
