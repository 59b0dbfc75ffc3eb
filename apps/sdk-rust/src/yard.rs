//! A front end that others can send to: it opens a yard, takes what arrives, and answers.
//!
//! A [`Yard`] has one question under way at a time, as a [`FrontEnd`] has, and is one: while it waits for messages, another connection
//! sends. Nothing is buffered here: what is not taken waits at the node, where it is counted.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use synod_sdk::{Encoding, front::{AskError, FrontEnd}};
//!
//! fn print_for_others(socket: &Path) -> Result<(), AskError> {
//!     let front = FrontEnd::connect(socket, "printer 1.0", Encoding::MessagePack, Duration::ZERO)?;
//!     let mut printer = front.open("printer", Some(&["a4", "a3"]))?;
//!     loop {
//!         for page in printer.receive(None, 16, Duration::from_secs(30))? {
//!             println!("{} has {} bytes for {}", page.from, page.body.len(), page.queue);
//!             if page.wants_reply {
//!                 printer.reply(page.number, "printed")?;
//!             }
//!         }
//!     }
//! }
//!
//! fn print_there(socket: &Path, page: Vec<u8>) -> Result<(), AskError> {
//!     let mut front = FrontEnd::connect(socket, "desk 1.0", Encoding::MessagePack, Duration::ZERO)?;
//!     front.send_to("node3/printer/a4", page, None)
//! }
//! ```

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_lane::message::Blob;
use synod_lane::yard::{Arrived, ServerTold, YardAnswer, YardQuestion, YardTold};

use crate::Bytes;
use crate::front::{AskError, FrontEnd, millis, unexpected};

/// A connection to a node under a name to which others send: `server/yard/queue`.
///
/// Sends, too: what it sends comes from `server/yard`.
#[derive(Debug)]
pub struct Yard(FrontEnd);

/// A message that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number in the yard.
    pub number: u64,
    /// Who sent it: `server/yard`, or `server/` where that is no yard.
    pub from: String,
    /// The queue; empty: the one without a name.
    pub queue: String,
    /// What it says.
    pub body: Bytes,
    /// Whether it is to be answered: [`Yard::reply`].
    pub wants_reply: bool,
}

impl FrontEnd {
    /// Which nodes there are, and which of them are heard.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn servers(&mut self) -> Result<Vec<ServerTold>, AskError> {
        match self.ask_yard(YardQuestion::Servers)? {
            YardAnswer::Servers(servers) => Ok(servers),
            other => Err(unexpected(&FrontAnswer::Yard(other))),
        }
    }

    /// Which yards are open at the node that answers.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn yards(&mut self) -> Result<Vec<YardTold>, AskError> {
        match self.ask(FrontQuestion::Yard(YardQuestion::List))? {
            FrontAnswer::Yard(YardAnswer::Yards(yards)) => Ok(yards),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a message to `server/yard/queue`, of which server and queue may be missing, and waits until the process there has it;
    /// `None`: as long as the node thinks fit, 5 s.
    ///
    /// # Errors
    /// [`AskError::Problem`] says why it has not; where its code is `lost` or `timeout`, nobody knows whether it has.
    pub fn send_to(
        &mut self,
        to: &str,
        body: impl Into<Bytes>,
        wait: Option<Duration>,
    ) -> Result<(), AskError> {
        let (to, body, wait_ms) = (to.to_owned(), Blob(body.into()), wait.map(millis));
        match self.ask_yard(YardQuestion::Send { to, body, wait_ms })? {
            YardAnswer::Taken => Ok(()),
            other => Err(unexpected(&FrontAnswer::Yard(other))),
        }
    }

    /// Sends a message, and waits for the answer of the process there; or asks an application, whose name is that of a yard.
    ///
    /// # Errors
    /// As [`FrontEnd::send_to`].
    pub fn request(
        &mut self,
        to: &str,
        body: impl Into<Bytes>,
        wait: Option<Duration>,
    ) -> Result<Bytes, AskError> {
        let (to, body, wait_ms) = (to.to_owned(), Blob(body.into()), wait.map(millis));
        match self.ask_here(FrontQuestion::Yard(YardQuestion::Request { to, body, wait_ms }))? {
            FrontAnswer::Yard(YardAnswer::Replied(Blob(body)))
            | FrontAnswer::Answered { answer: Blob(body), .. } => Ok(body),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a yard, which takes these queues; `None`: all. Closed when it is dropped.
    ///
    /// # Errors
    /// [`AskError::Problem`] with the code `yard-taken`, where another process has it.
    pub fn open(mut self, yard: &str, queues: Option<&[&str]>) -> Result<Yard, AskError> {
        let queues = queues.map(|queues| queues.iter().map(|&queue| queue.to_owned()).collect());
        match self.ask_yard(YardQuestion::Open { yard: yard.to_owned(), queues })? {
            YardAnswer::Opened => Ok(Yard(self)),
            other => Err(unexpected(&FrontAnswer::Yard(other))),
        }
    }

    fn ask_yard(&mut self, ask: YardQuestion) -> Result<YardAnswer, AskError> {
        match self.ask_here(FrontQuestion::Yard(ask))? {
            FrontAnswer::Yard(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }
}

impl Yard {
    /// Takes at most so many messages, of one queue or of all, and waits for the first one; none, if none came in time.
    ///
    /// # Errors
    /// [`AskError::Problem`] with the code `yard-reaped`, where this took nothing for too long, and has to connect again.
    pub fn receive(
        &mut self,
        queue: Option<&str>,
        max: u32,
        wait: Duration,
    ) -> Result<Vec<Arrival>, AskError> {
        let (queue, max, wait_ms) = (queue.map(str::to_owned), Some(max), Some(millis(wait)));
        let arrived = match self.0.ask_yard(YardQuestion::Receive { queue, max, wait_ms })? {
            YardAnswer::Arrived(arrived) => arrived,
            other => return Err(unexpected(&FrontAnswer::Yard(other))),
        };
        let arrival = |Arrived { number, from, queue, body: Blob(body), wants_reply }| Arrival {
            number,
            from,
            queue,
            body,
            wants_reply,
        };
        Ok(arrived.into_iter().map(arrival).collect())
    }

    /// Answers a message that was taken.
    ///
    /// # Errors
    /// [`AskError::Problem`] with the code `no-such-request`, where nobody waits for it any more.
    pub fn reply(&mut self, number: u64, body: impl Into<Bytes>) -> Result<(), AskError> {
        match self.0.ask_yard(YardQuestion::Reply { number, body: Blob(body.into()) })? {
            YardAnswer::Sent => Ok(()),
            other => Err(unexpected(&FrontAnswer::Yard(other))),
        }
    }
}

impl Deref for Yard {
    type Target = FrontEnd;

    fn deref(&self) -> &FrontEnd {
        &self.0
    }
}

impl DerefMut for Yard {
    fn deref_mut(&mut self) -> &mut FrontEnd {
        &mut self.0
    }
}
