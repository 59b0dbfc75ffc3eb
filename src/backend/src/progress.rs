//! What has become of a command that entered somewhere, and how far a change has come: the node's answers to clients that
//! did not stay until the receipt came.

use std::time::Duration;

use synod_types::{AppNdx, CommandId, CommanderId, NodeId, Receipt, Refusal, Seq, StateNdx};

use crate::content::BoxFuture;

/// A command as a client can name it once it has signed it. The seq finds its place, the id tells it from another command
/// that took the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandName {
    /// For which application.
    pub app: AppNdx,
    /// By whom.
    pub commander: CommanderId,
    /// Under which of the commander's numbers.
    pub seq: Seq,
    /// SHA3-256 of its body.
    pub id: CommandId,
}

/// What a node knows of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandProgress {
    /// It was executed.
    Executed(Receipt),
    /// It waits at this node, and was not executed here.
    Waiting,
    /// It was not executed here, and does not wait here. It may still be executed, or have been elsewhere.
    Unknown,
}

/// How far every node has come towards a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeProgress {
    /// Every node of the cluster.
    pub nodes: Vec<NodeProgress>,
}

/// How far one node has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeProgress {
    /// Which.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is the one that answers, or that one has a session with it.
    pub is_up: bool,
    /// How many commands it has executed; `None`: unknown.
    pub state_ndx: Option<StateNdx>,
}

impl NodeProgress {
    /// Whether it has applied a state. A node of which nothing is known has not.
    pub(crate) fn has_applied(&self, state_ndx: StateNdx) -> bool {
        self.state_ndx.is_some_and(|at| at >= state_ndx)
    }
}

/// What the node knows, as the back end asks for it. A future may be dropped at any time.
pub trait Progress: Send + Sync + 'static {
    /// What has become of a command; comes when it is executed at this node, after `wait` at the latest.
    ///
    /// # Errors
    /// `UnknownApp`; `SeqReused` where another command has its seq, so that it never will be executed; `StaleSeq` where it
    /// is no longer known whether it was; `Busy` and `Stopping` where it would have to wait.
    fn command(
        &self,
        command: CommandName,
        wait: Duration,
    ) -> BoxFuture<'_, Result<CommandProgress, Refusal>>;

    /// How far every node has come towards a state; comes when all have, after `wait` at the latest.
    ///
    /// # Errors
    /// `UnknownApp`; `Busy` and `Stopping` where it would have to wait.
    fn change(
        &self,
        app: AppNdx,
        state_ndx: StateNdx,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ChangeProgress, Refusal>>;
}
