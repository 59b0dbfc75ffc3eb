//! An application for Synod in a process of its own.
//!
//! Implement [`App`], and call [`run`]: it connects to the node's socket, and answers what the node asks until the connection
//! ends. The process keeps nothing on disk. Whenever it is killed, the next one is given a snapshot and the commands since, and
//! has to come to the same outcomes; so what a command does may depend on the state, the command and its [`Context`] alone: on no
//! clock, no randomness, no file, no environment, no order of a hash map, and on no floating-point number.
//!
//! Front ends in processes of their own have [`front`].
//!
//! `examples/counter.rs` is a whole application. docs/APPLICATIONS.md says how a node is told of it.

pub mod front;
mod worker;
pub mod yard;

use std::path::PathBuf;
use std::time::Duration;

pub use bytes::Bytes;
pub use synod_lane::LinkError;
pub use synod_lane::message::Encoding;
pub use synod_machine::Context;
pub use synod_types::{CommanderId, Digest, LeaseMs, Refusal, RefusalCode, StateNdx, TimeMs};

pub use crate::worker::serve;

/// Where the path of the node's socket is found, if it is not given: nodes set it for processes that they start.
pub const SOCKET_VARIABLE: &str = "SYNOD_LANE";

/// A deterministic state machine.
pub trait App: Send + Sized + 'static {
    /// Which kind of application this is, as the cluster's genesis document names it.
    const KIND: &'static str;
    /// Whether [`App::check`] is to be asked before commands are ordered. It costs each command a way to this process.
    const CHECKS: bool = false;

    /// The state before the first command.
    fn new() -> Self;

    /// Executes an operation, without the byte in front that says that it is the application's own. The answer has at most 2,048
    /// bytes: it is kept with the receipt. On an error the state must be as before.
    ///
    /// **A panic ends the process, and the application stands still in front of that command on every node**, until a program is
    /// there that does not panic over it.
    ///
    /// # Errors
    /// A refusal, which is an outcome like any other. Of the codes, those that are an application's to give: `Malformed`,
    /// `TooLarge`, `NotPermitted`, `Conflict` and `QuotaExceeded`.
    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal>;

    /// Answers a query from this state, whose number is `state_ndx`; at most 4 MiB.
    ///
    /// # Errors
    /// Why the bytes are no query of this application.
    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, String>;

    /// The whole state as bytes, at most 1 GiB; equal states give equal bytes, on every node.
    fn snapshot(&self) -> Vec<u8>;

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// Why the bytes are none.
    fn restore(snapshot: &[u8]) -> Result<Self, String>;

    /// Looks at an operation where it enters, before it is ordered. Depends on the operation alone.
    ///
    /// # Errors
    /// A refusal that saves ordering the command; [`App::apply`] has to refuse it as well.
    fn check(&self, _operation: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// A copy that shares what it can with this one, where that costs little: with it, snapshots are made beside the work, on
    /// another thread. `None`: the work waits for them.
    fn fork(&self) -> Option<Self> {
        None
    }

    /// A digest of the state: equal exactly where the states are equal.
    fn digest(&self) -> Digest {
        Digest::of(&[&self.snapshot()])
    }
}

/// Where the node is, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's socket for this application; `None`: what [`SOCKET_VARIABLE`] says.
    pub socket: Option<PathBuf>,
    /// How frames are written.
    pub encoding: Encoding,
    /// How long the socket is waited for: the node may not be there yet.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { socket: None, encoding: Encoding::MessagePack, patience: Duration::from_secs(30) }
    }
}

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nobody said where the node is.
    #[error("give the path of the node's socket, as an option or in the variable {SOCKET_VARIABLE}")]
    NoSocket,
    /// Nobody listens there.
    #[error("cannot connect to {}: {why}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The node wants no such worker.
    #[error("the node refuses this process: {0}")]
    Refused(String),
    /// The connection broke, or the node said something that makes no sense.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A snapshot cannot be restored.
    #[error("cannot restore the state: {0}")]
    Restore(String),
}

/// Serves an application until the node closes the connection. Whoever started this process starts it again.
///
/// # Errors
/// [`RunError`].
pub fn run<A: App>(options: &Options) -> Result<(), RunError> {
    let variable = || std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
    let path = options.socket.clone().or_else(variable).ok_or(RunError::NoSocket)?;
    let stream = worker::connect(&path, options.patience)
        .map_err(|why| RunError::Connect { path: path.clone(), why })?;
    serve::<A>(stream, options.encoding)
}
