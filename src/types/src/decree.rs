//! What a slot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::SignedCommand;
use crate::ids::{Ballot, TimeMs};

/// The value of a slot. Cloning is cheap: a batch is shared.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Decree {
    /// Executes nothing. Fills holes, and opens a new leader's term.
    Noop,
    /// Commands, executed in order. A batch without commands is a **tick**: it says that time has passed, and ends what has
    /// run out.
    Batch(Arc<Batch>),
}

/// Commands that were ordered together.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The ballot under which it was proposed first: whose clock `time` is. Whoever proposes it again leaves it as it is.
    pub term: Ballot,
    /// The leader's clock when the last of the commands came to it, or when the tick was due; never less than in an
    /// earlier batch of the term.
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

    /// Whether this is a tick.
    pub fn is_tick(&self) -> bool {
        matches!(self, Decree::Batch(batch) if batch.commands.is_empty())
    }

    /// Whether there is no command to execute.
    pub fn is_empty(&self) -> bool {
        self.commands().is_empty()
    }
}
