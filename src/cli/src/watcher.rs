//! Follows what changes in a key-value application, across nodes: what it gives out is what the log says, each change once,
//! whichever nodes fail, stop or fall behind meanwhile.
//!
//! It goes on behind the last state that it gave out whole. A node that has not come so far yet is waited for; one that
//! cannot answer is left for the next one.

mod events;

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::ACCEPT;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::reader::{HttpNode, Problem, ReadError, Reader, address, percent_encoded, problem, unreachable};
use events::{Events, RawEvent};

/// How long a node may take to come as far as another one was.
const BEHIND_WAIT: Duration = Duration::from_secs(5);
/// How long a question waits for a change.
const POLL_WAIT: Duration = Duration::from_secs(10);
/// Three times as long as a stream is silent (see docs/HTTP.md).
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The pause before nodes are asked again, when none of them could answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Which keys are followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// This one.
    Key(String),
    /// Those that begin with this; empty: every key.
    Prefix(String),
}

/// How changes come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// As a stream of events.
    #[default]
    Stream,
    /// Page by page, each of which is asked for.
    Poll,
}

/// What a watcher gives out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// What one state changed of the keys that are followed.
    Change(StateChanges),
    /// Nothing more changed up to this state.
    Through(u64),
}

impl Event {
    /// Everything up to this state was given out with it.
    pub fn through(&self) -> u64 {
        match self {
            Event::Change(changes) => changes.state_ndx,
            Event::Through(state_ndx) => *state_ndx,
        }
    }
}

/// What one state changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateChanges {
    /// The state.
    pub state_ndx: u64,
    /// Its time, milliseconds since 1970.
    pub time_ms: u64,
    /// In the order of the keys.
    pub changes: Vec<KeyChange>,
}

/// What became of a key: it holds a value, or it was removed. What is not text is base64.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyChange {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// What it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The same, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The state that made the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// The state that last changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// The lease with which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// How it came to its end: `deleted` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<String>,
}

/// Why there is nothing more to give out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// What comes next is forgotten by the cluster.
    #[error("{text}")]
    Compacted {
        /// The oldest state that is not.
        oldest: u64,
        /// In words.
        text: String,
    },
    /// A node refuses the question.
    #[error("{0}")]
    Refused(String),
    /// No node answers.
    #[error("{0}")]
    Unreachable(String),
}

/// Follows changes.
#[derive(Debug)]
pub struct Watcher {
    http: reqwest::Client,
    nodes: Vec<HttpNode>,
    patience: Duration,
    path: String,
    selection: Selection,
    transport: Transport,
    /// Everything up to here was given out; `None`: it begins at the present state.
    through: Option<u64>,
    /// Counts the nodes that were gone to, and so says which one is next.
    turns: usize,
    stream: Option<Stream>,
    /// Came, and was not given out yet.
    ready: VecDeque<Event>,
}

/// An answer that goes on.
#[derive(Debug)]
struct Stream {
    address: String,
    response: reqwest::Response,
    events: Events,
}

/// How a node failed to give more.
enum Attempt {
    /// Another one may.
    Failed(String),
    /// None will.
    Over(WatchError),
}

/// A page of changes, as it is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    through: u64,
    states: Vec<StateChanges>,
}

/// How far a stream is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bookmark {
    state_ndx: u64,
}

impl Watcher {
    /// Follows changes of the application `app` (a number or name) behind the state `after`, or behind the present one.
    pub fn new(
        reader: &Reader,
        app: &str,
        selection: Selection,
        after: Option<u64>,
        transport: Transport,
    ) -> Watcher {
        let (http, patience) = reader.http();
        Watcher {
            http: http.clone(),
            nodes: reader.nodes().to_vec(),
            patience,
            path: format!("/v1/apps/{}/watch", percent_encoded(app.as_bytes())),
            selection,
            transport,
            through: after,
            turns: 0,
            stream: None,
            ready: VecDeque::new(),
        }
    }

    /// Everything up to this state was given out; `None`: not even the beginning is known yet.
    pub fn through(&self) -> Option<u64> {
        self.through
    }

    /// Leaves the node: what comes next comes from another one.
    pub fn leave(&mut self) {
        self.stream = None;
        self.ready.clear();
        self.turns += 1;
    }

    /// What comes next, however long that takes. May be dropped at any time, and called again.
    ///
    /// # Errors
    /// [`WatchError`]; no node answers for as long as the reader is patient, or none has what comes next.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        let mut failures: Vec<String> = Vec::new();
        let mut give_up = None;
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.through = Some(event.through());
                return Ok(event);
            }
            let Some(node) = self.nodes.get(self.turns % self.nodes.len().max(1)).cloned() else {
                return Err(WatchError::Unreachable("there is no node to ask".to_owned()));
            };
            match self.ask(&node).await {
                Ok(()) => failures.clear(),
                Err(Attempt::Over(error)) => return Err(error),
                Err(Attempt::Failed(why)) => {
                    self.leave();
                    failures.push(format!("{}: {why}", node.name));
                    let end = *give_up.get_or_insert_with(|| Instant::now() + self.patience);
                    if Instant::now() >= end {
                        failures.drain(..failures.len().saturating_sub(self.nodes.len()));
                        let text = format!("no node answers: {}", failures.join("; "));
                        return Err(WatchError::Unreachable(text));
                    }
                    if failures.len().is_multiple_of(self.nodes.len()) {
                        sleep(ASK_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Gets at least one event from a node, if it has one before its time is over.
    async fn ask(&mut self, node: &HttpNode) -> Result<(), Attempt> {
        match self.transport {
            Transport::Stream => self.ask_stream(node).await,
            Transport::Poll => self.ask_page(node).await,
        }
    }

    async fn ask_stream(&mut self, node: &HttpNode) -> Result<(), Attempt> {
        if self.stream.is_none() {
            let address = self.address(node, BEHIND_WAIT);
            let response = self.send(&address, "text/event-stream", BEHIND_WAIT).await?;
            self.stream = Some(Stream { address, response, events: Events::default() });
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let chunk = timeout(SILENCE_MAX, stream.response.chunk()).await;
        let chunk = chunk.map_err(|_| Attempt::Failed("the stream is silent".to_owned()))?;
        let chunk = chunk.map_err(|why| Attempt::of(unreachable(&stream.address, &why)))?;
        let chunk = chunk.ok_or_else(|| Attempt::Failed("the stream has ended".to_owned()))?;
        stream.events.push(&chunk);
        while let Some(event) = stream.events.next() {
            match told(&event) {
                Ok(Some(event)) => self.ready.push_back(event),
                Ok(None) => {}
                // What came before it is given out first; the next question meets the same end.
                Err(_) if !self.ready.is_empty() => {
                    self.stream = None;
                    break;
                }
                Err(end) => return Err(end),
            }
        }
        Ok(())
    }

    async fn ask_page(&mut self, node: &HttpNode) -> Result<(), Attempt> {
        let address = self.address(node, POLL_WAIT);
        let response = self.send(&address, "application/json", POLL_WAIT).await?;
        let body = timeout(SILENCE_MAX, response.bytes()).await;
        let body = body.map_err(|_| Attempt::Failed("the answer does not end".to_owned()))?;
        let body = body.map_err(|why| Attempt::of(unreachable(&address, &why)))?;
        let page: Page = serde_json::from_slice(&body).map_err(|_| Attempt::not_understood())?;
        self.ready.extend(page.states.into_iter().map(Event::Change));
        if self.ready.back().is_none_or(|last| last.through() < page.through) {
            self.ready.push_back(Event::Through(page.through));
        }
        Ok(())
    }

    fn address(&self, node: &HttpNode, wait: Duration) -> String {
        let selection = match &self.selection {
            Selection::Key(key) => ("key", key.clone()),
            Selection::Prefix(prefix) => ("prefix", prefix.clone()),
        };
        let mut parameters = vec![selection, ("wait", format!("{}s", wait.as_secs()))];
        parameters.extend(self.through.map(|through| ("after", through.to_string())));
        address(node, &self.path, &parameters)
    }

    /// Asks, and gets the head of an answer that is no problem.
    async fn send(
        &self,
        address: &str,
        form: &'static str,
        wait: Duration,
    ) -> Result<reqwest::Response, Attempt> {
        let answered =
            timeout(wait + self.patience, self.http.get(address).header(ACCEPT, form).send()).await;
        let response = answered.map_err(|_| Attempt::Failed("no answer in time".to_owned()))?;
        let response = response.map_err(|why| Attempt::of(unreachable(address, &why)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Attempt::of(problem(address, response).await))
    }
}

impl Attempt {
    fn of(error: ReadError) -> Attempt {
        match error {
            ReadError::Unreachable(why) => Attempt::Failed(why),
            ReadError::Problem(problem) => Attempt::of_problem(&problem),
        }
    }

    fn of_problem(problem: &Problem) -> Attempt {
        let text = problem.text();
        match problem.oldest {
            Some(oldest) if problem.is_compacted() => Attempt::Over(WatchError::Compacted { oldest, text }),
            // Of those that concern one stream and not what was asked, there is one: too slow.
            _ if problem.status < 500 && problem.status != 408 => Attempt::Over(WatchError::Refused(text)),
            _ => Attempt::Failed(text),
        }
    }

    fn not_understood() -> Attempt {
        let text = "the answer is not what this program expects; is it of the same version?";
        Attempt::Over(WatchError::Refused(text.to_owned()))
    }
}

/// What an event of the stream says.
fn told(event: &RawEvent) -> Result<Option<Event>, Attempt> {
    let data = &event.data;
    let event = match event.name.as_str() {
        "change" => serde_json::from_str(data).map(Event::Change),
        "bookmark" => serde_json::from_str(data).map(|Bookmark { state_ndx }| Event::Through(state_ndx)),
        "end" => match serde_json::from_str::<Problem>(data) {
            Ok(problem) => return Err(Attempt::of_problem(&problem)),
            Err(why) => Err(why),
        },
        // A later version may have more to tell.
        _ => return Ok(None),
    };
    event.map(Some).map_err(|_| Attempt::not_understood())
}
