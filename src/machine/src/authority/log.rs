//! What was done to an application's commanders, the latest [`AUTHORITY_LOG_MAX`] entries.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_types::limits::AUTHORITY_LOG_MAX;
use synod_types::{CommanderId, StateNdx, TimeMs};

use super::op::AuthorityOp;

/// One executed operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// The state that it made.
    pub state_ndx: StateNdx,
    /// When, in decree time.
    pub time: TimeMs,
    /// Who commanded it.
    pub by: CommanderId,
    /// How far the change came with it.
    pub step: Step,
    /// The change: a grant, a revocation, a rotation, or a change of the members.
    pub op: Arc<AuthorityOp>,
}

/// How far a change came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// It holds from here on; nobody else had to sign it.
    Made,
    /// It waits for others, under the number of this entry's state.
    Proposed,
    /// One more has signed it, and it waits on.
    Approved {
        /// The state that proposed it.
        change: StateNdx,
    },
    /// The last one has signed it: it holds from here on.
    Completed {
        /// The state that proposed it.
        change: StateNdx,
    },
    /// Its author has taken it back.
    Withdrawn {
        /// The state that proposed it.
        change: StateNdx,
    },
}

impl Step {
    /// The name as programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Made => "made",
            Step::Proposed => "proposed",
            Step::Approved { .. } => "approved",
            Step::Completed { .. } => "completed",
            Step::Withdrawn { .. } => "withdrawn",
        }
    }

    /// The state that proposed the change, where that is another one.
    pub fn change(self) -> Option<StateNdx> {
        match self {
            Step::Made | Step::Proposed => None,
            Step::Approved { change } | Step::Completed { change } | Step::Withdrawn { change } => {
                Some(change)
            }
        }
    }
}

/// The entries. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(super) struct Log(OrdMap<StateNdx, Arc<LogEntry>>);

impl Log {
    pub(super) fn add(&mut self, entry: LogEntry) {
        self.0.insert(entry.state_ndx, Arc::new(entry));
        if self.0.len() > AUTHORITY_LOG_MAX {
            self.0 = self.0.without_min().1;
        }
    }

    /// The latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &LogEntry> {
        self.0.values().rev().map(Arc::as_ref)
    }

    pub(super) fn to_records(&self) -> Vec<Arc<LogEntry>> {
        self.0.values().cloned().collect()
    }

    pub(super) fn from_records(
        records: Vec<Arc<LogEntry>>,
        state_ndx: StateNdx,
    ) -> Result<Log, &'static str> {
        if records.len() > AUTHORITY_LOG_MAX {
            return Err("the log of commanders is too long");
        }
        if !records.is_sorted_by(|a, b| a.state_ndx < b.state_ndx) {
            return Err("the log of commanders is not in order");
        }
        let is_reached = |ndx: StateNdx| ndx <= state_ndx && ndx > StateNdx(0);
        for entry in &records {
            if !is_reached(entry.state_ndx) || entry.step.change().is_some_and(|ndx| ndx >= entry.state_ndx) {
                return Err("the log of commanders tells of a state that was never reached");
            }
            if matches!(*entry.op, AuthorityOp::Approve { .. } | AuthorityOp::Withdraw { .. })
                || entry.op.check().is_err()
            {
                return Err("the log of commanders tells of a change that is none");
            }
        }
        Ok(Log(records.into_iter().map(|entry| (entry.state_ndx, entry)).collect()))
    }
}
