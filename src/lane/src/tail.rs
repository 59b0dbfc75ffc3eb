//! What a node keeps to bring a new worker to where the last one was: a snapshot, and the commands since, with their outcomes.
//!
//! Outcomes are kept for two reasons. A new worker has to come to the same ones; and a decree that was cut in the middle, since
//! the worker went away, is tried again as a whole, and what of it was executed is answered from here.

use std::collections::VecDeque;

use bytes::Bytes;
use synod_machine::Context;
use synod_types::limits::{LANE_TAIL_BYTES_MAX, LANE_TAIL_COMMANDS_MAX};
use synod_types::{Refusal, StateNdx};

/// What a command counts for beside its operation and answer.
const ENTRY_BYTES: usize = 128;

/// A snapshot, and what was executed since.
#[derive(Default)]
pub(crate) struct Tail {
    /// The snapshot; `None`: the state before the first command.
    pub(crate) snapshot: Option<Bytes>,
    /// The last state of which a command is in the snapshot.
    through: StateNdx,
    /// The last state that will not be asked for again.
    settled: StateNdx,
    entries: VecDeque<Executed>,
    bytes: usize,
}

/// A command that was executed.
pub(crate) struct Executed {
    pub(crate) context: Context,
    pub(crate) operation: Bytes,
    pub(crate) outcome: Result<Bytes, Refusal>,
}

impl Executed {
    fn bytes(&self) -> usize {
        let outcome = match &self.outcome {
            Ok(answer) => answer.len(),
            Err(refusal) => refusal.text.len(),
        };
        ENTRY_BYTES + self.operation.len() + outcome
    }
}

impl Tail {
    /// Behind a snapshot, with nothing executed.
    pub(crate) fn behind(snapshot: Option<Bytes>) -> Tail {
        Tail { snapshot, ..Tail::default() }
    }

    /// The last command that was executed; the first state there is, if none was.
    pub(crate) fn last(&self) -> StateNdx {
        self.entries.back().map_or(self.through, |last| last.context.state_ndx)
    }

    /// What came of a command that was executed.
    pub(crate) fn outcome(&self, state_ndx: StateNdx) -> Option<&Result<Bytes, Refusal>> {
        let place = self.entries.binary_search_by_key(&state_ndx, |one| one.context.state_ndx).ok()?;
        self.entries.get(place).map(|one| &one.outcome)
    }

    /// A command was executed.
    pub(crate) fn push(&mut self, executed: Executed) {
        self.bytes += executed.bytes();
        self.entries.push_back(executed);
    }

    /// What was executed is not asked for again.
    pub(crate) fn settle(&mut self) {
        self.settled = self.last();
        self.drop_needless();
    }

    /// This is a snapshot with everything up to the command that made `through`.
    pub(crate) fn shorten(&mut self, snapshot: Bytes, through: StateNdx) {
        self.snapshot = Some(snapshot);
        self.through = through;
        self.drop_needless();
    }

    fn drop_needless(&mut self) {
        let needless = self.through.min(self.settled);
        while let Some(first) = self.entries.front().filter(|one| one.context.state_ndx <= needless) {
            self.bytes -= first.bytes();
            self.entries.pop_front();
        }
    }

    /// What a worker with the snapshot has to execute.
    pub(crate) fn to_execute(&self) -> impl Iterator<Item = &Executed> {
        self.entries.iter().skip_while(|one| one.context.state_ndx <= self.through)
    }

    /// Whether a new snapshot is wanted.
    pub(crate) fn is_long(&self) -> bool {
        self.entries.len() >= LANE_TAIL_COMMANDS_MAX / 2 || self.bytes >= LANE_TAIL_BYTES_MAX / 2
    }

    /// Whether nothing is executed any more without one.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= LANE_TAIL_COMMANDS_MAX || self.bytes >= LANE_TAIL_BYTES_MAX
    }
}
