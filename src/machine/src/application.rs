//! The trait that every application implements.

use std::any::Any;

use bytes::Bytes;
use synod_types::{CommanderId, ContentKey, Digest, LeaseMs, Refusal, RefusalCode, StateNdx, TimeMs};

use crate::apart::Apart;

/// What an application knows of the command that it executes, and nothing else: no clock, no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The state that this command makes.
    pub state_ndx: StateNdx,
    /// The decree's time, never less than in the command before.
    pub time: TimeMs,
    /// The lease clock; nothing else makes something run out.
    pub clock: LeaseMs,
    /// Who commands; already known to be permitted.
    pub commander: CommanderId,
}

/// The place of an expiry in the order of things: it makes a state of its own, as a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The state that it makes.
    pub state_ndx: StateNdx,
    /// The decree's time.
    pub time: TimeMs,
    /// The lease clock.
    pub clock: LeaseMs,
}

/// A deterministic state machine. Its state lives in persistent collections, so that [`Application::fork`] is O(1).
///
/// Two replicas that applied the same operations in the same contexts have the same [`Application::digest`], and gave
/// the same answers and refusals, texts included: these go into the hash chain.
///
/// An `operation` here is what follows [`synod_types::command::Operation::APP`] in the command: the machine takes that
/// first byte off. The bytes may be part of a whole batch; what an application keeps, it copies.
///
/// **Content.** A state may refer to files by their hash. They travel beside the log, and what an application makes of
/// them (zones built for look-up, say) is derived: outcomes, snapshot and digest depend on commands alone, so that an old
/// command can be executed again when the file that it named is long gone. An application without files leaves out the
/// methods about content.
pub trait Application: Any + Send + Sync {
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

    /// Whether only administrators may command this.
    fn is_administrative(&self, _operation: &[u8]) -> bool {
        false
    }

    /// Checks a scope before it is granted: the application's own words for a part of its state (a key prefix, a zone).
    ///
    /// # Errors
    /// A refusal, which becomes that of the grant.
    fn check_scope(&self, _scope: &str) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::Malformed, "this kind of application has no scopes"))
    }

    /// Whether an operation changes nothing outside of these scopes. Depends on its arguments alone.
    ///
    /// # Errors
    /// `NotPermitted`, with what lies outside; `Malformed` if it is not an operation.
    fn check_within(&self, _scopes: &[String], _operation: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotPermitted, "this kind of application has no scopes"))
    }

    /// When the next thing runs out by itself, on the lease clock; `None`: nothing does.
    fn due(&self) -> Option<LeaseMs> {
        None
    }

    /// Ends everything that has run out at `moment.clock`. Called only when [`Application::due`] has come; it makes a state
    /// of its own, and the answer is its outcome.
    fn expire(&mut self, _moment: &Moment) -> Bytes {
        Bytes::new()
    }

    /// A leader's term begins, with the lease clock at `clock`: whatever runs out gets its whole time again from here on,
    /// since nobody could keep it alive while there was no leader.
    fn on_new_term(&mut self, _clock: LeaseMs) {}

    /// Answers a query from this state, whose number is `state_ndx`: an application does not see the commands that the
    /// machine executes without it. Changes nothing.
    ///
    /// # Errors
    /// [`QueryError`] if the bytes are not a query of this application.
    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, QueryError>;

    /// The whole state as bytes; equal states give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Appends [`Application::snapshot`]; an application with a large state writes it here at once, so that it is in memory once.
    fn snapshot_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.snapshot());
    }

    /// Replaces the state by one from [`Application::snapshot`].
    ///
    /// # Errors
    /// [`RestoreError`]; the state is then as before.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;

    /// About how many bytes a snapshot has, cheap to ask for: it decides how much log is worth one. The same for equal states.
    fn weight(&self) -> u64 {
        0
    }

    /// A digest of the state: equal exactly where the states are equal.
    fn digest(&self) -> Digest;

    /// A commitment to what the application holds, against which single values are proved; cheap to ask for.
    fn root(&self) -> Digest {
        self.digest()
    }

    /// A copy that shares structure with this one: O(1).
    fn fork(&self) -> Box<dyn Application>;

    /// How to reach this application, if its state is in another process; see [`crate::apart`]. What is said to it by other
    /// methods is answered here, at once.
    fn apart(&self) -> Option<&dyn Apart> {
        None
    }

    /// The files to which an operation refers by their keys: a majority of the nodes stores them before the command is
    /// ordered. At most [`synod_types::limits::OPERATION_CONTENTS_MAX`].
    fn content_of(&self, _operation: &[u8]) -> Vec<ContentKey> {
        Vec::new()
    }

    /// Looks, where an operation enters, whether a file is what the operation says of it. May take as long as reading
    /// the file does. Called for each key of [`Application::content_of`] whose file is at hand.
    ///
    /// # Errors
    /// A refusal; the command is not ordered.
    fn check_content(&self, _operation: &[u8], _key: &ContentKey, _file: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether the state refers to this file: then the node keeps it.
    fn refers_to(&self, _key: &ContentKey) -> bool {
        false
    }

    /// All files to which the state refers, and how many bytes each has; rising, each once. Takes as long as the state is large.
    fn contents(&self) -> Vec<(ContentKey, u64)> {
        Vec::new()
    }

    /// Files to which the state refers and that are to be supplied before it is shown to readers.
    fn wanted(&self) -> Vec<ContentKey> {
        Vec::new()
    }

    /// Takes a wanted file. Changes what is derived, and never the state.
    fn supply(&mut self, _key: &ContentKey, _file: &[u8]) {}
}

/// The bytes are not a query of this application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a query of this application: {0}")]
pub struct QueryError(pub String);

/// The bytes are not a snapshot of this application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of this application: {0}")]
pub struct RestoreError(pub String);
