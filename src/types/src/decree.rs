//! What a slot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::SignedCommand;
use crate::ids::TimeMs;

/// The value of a slot. Cloning is cheap: a batch is shared.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Decree {
    /// Executes nothing. Fills holes, and opens a new leader's term.
    Noop,
    /// Commands, executed in order.
    Batch(Arc<Batch>),
}

/// Commands that were ordered together.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's clock when it proposed, never less than in an earlier batch of its own.
    pub time: TimeMs,
    /// In the order in which they are executed.
    pub commands: Vec<SignedCommand>,
}

impl Decree {
    /// The commands to execute.
    pub fn commands(&self) -> &[SignedCommand] {
        match self {
            Decree::Noop => &[],
            Decree::Batch(batch) => &batch.commands,
        }
    }

    /// Bytes that this decree takes on the wire, within a few per command.
    pub fn len(&self) -> usize {
        self.commands().iter().map(SignedCommand::len).sum()
    }

    /// Whether there is nothing to execute.
    pub fn is_empty(&self) -> bool {
        self.commands().is_empty()
    }
}
