//! The trait that every application implements.

use bytes::Bytes;
use synod_types::{CommanderId, Digest, Refusal, StateNdx, TimeMs};

/// What an application knows of the command that it executes, and nothing else: no clock, no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The state that this command makes.
    pub state_ndx: StateNdx,
    /// The decree's time, never less than in the command before.
    pub time: TimeMs,
    /// Who commands; already known to be permitted.
    pub commander: CommanderId,
}

/// A deterministic state machine. Its state lives in persistent collections, so that [`Application::fork`] is O(1).
///
/// Two replicas that applied the same operations in the same contexts have the same [`Application::digest`], and gave
/// the same answers and refusals, texts included: these go into the hash chain.
///
/// An `operation` here is what follows [`synod_types::command::Operation::APP`] in the command: the machine takes that
/// first byte off. The bytes may be part of a whole batch; what an application keeps, it copies.
pub trait Application: Send + Sync {
    /// The name of this kind of application, as in a configuration (`"kv"`).
    fn kind(&self) -> &'static str;

    /// Looks at an operation where it enters, before it is ordered: is it one of this application's, within its limits?
    /// Depends on the operation alone.
    ///
    /// # Errors
    /// A refusal that saves ordering the command; [`Application::apply`] would refuse it as well.
    fn check(&self, operation: &[u8]) -> Result<(), Refusal>;

    /// Executes an operation that may not have passed [`Application::check`]. The answer has at most
    /// [`synod_types::limits::ANSWER_BYTES_MAX`] bytes: it is kept with the receipt, and the machine stops over a
    /// larger one. What takes more room is for a query to answer. On an error the state is as before.
    ///
    /// # Errors
    /// A refusal is an outcome: it is ordered, counted and hashed like any other.
    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal>;

    /// Answers a query from this state; changes nothing.
    ///
    /// # Errors
    /// [`QueryError`] if the bytes are not a query of this application.
    fn query(&self, query: &[u8]) -> Result<Bytes, QueryError>;

    /// The whole state as bytes; equal states give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by one from [`Application::snapshot`].
    ///
    /// # Errors
    /// [`RestoreError`]; the state is then as before.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;

    /// A digest of the state: equal exactly where the states are equal.
    fn digest(&self) -> Digest;

    /// A copy that shares structure with this one: O(1).
    fn fork(&self) -> Box<dyn Application>;
}

/// The bytes are not a query of this application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a query of this application: {0}")]
pub struct QueryError(pub String);

/// The bytes are not a snapshot of this application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of this application: {0}")]
pub struct RestoreError(pub String);
