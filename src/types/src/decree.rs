//! What a slot holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::SignedCommand;
use crate::configuration::Configuration;
use crate::ids::{Ballot, Epoch, NodeId, TimeMs};

/// The value of a slot. Cloning is cheap: a batch is shared.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Decree {
    /// Executes nothing. Fills holes, and opens a new leader's term.
    Noop,
    /// Commands, executed in order. A batch without commands is a **tick**: it says that time has passed, and ends what has
    /// run out.
    Batch(Arc<Batch>),
    /// Ends an epoch: what is in the slots behind this one is decided by these members, if they
    /// [follow](Configuration::follows) those of the epoch that ends. Else it is a no-op.
    Seal(Arc<Configuration>),
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
            Decree::Noop | Decree::Seal(_) => &[],
            Decree::Batch(batch) => &batch.commands,
        }
    }

    /// Bytes that this decree takes on the wire, within a few per command or member.
    pub fn len(&self) -> usize {
        match self {
            Decree::Noop => 0,
            Decree::Batch(batch) => batch.commands.iter().map(SignedCommand::len).sum(),
            Decree::Seal(configuration) => size_of::<NodeId>() * configuration.members.len(),
        }
    }

    /// The members that decide from the next slot on, if this ends `epoch`.
    pub fn seals(&self, epoch: Epoch) -> Option<&Configuration> {
        match self {
            Decree::Seal(configuration) if configuration.follows(epoch) => Some(configuration),
            _ => None,
        }
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
