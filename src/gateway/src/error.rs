//! Why a read has no answer.

use synod_types::{AppNdx, Slot, StateNdx};

/// Why a read has no answer. Each that concerns one application says in which state it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The cluster has no such application.
    #[error("this cluster has no application {app}")]
    UnknownApp {
        /// What was asked for.
        app: AppNdx,
    },
    /// A linearizable read needs a leader, and none confirmed that it leads.
    #[error("application {app} has no leader at the moment; try again, or read with local consistency")]
    NoLeader {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
    },
    /// The state was not there in time.
    #[error(
        "application {app} on this node is in state {state_ndx} and did not reach {awaited} in {waited_ms} ms; wait \
         longer or ask another node"
    )]
    Timeout {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
        /// What was waited for.
        awaited: Awaited,
        /// How long.
        waited_ms: u128,
    },
    /// The bytes are not a query of this application.
    #[error("application {app}: {why}")]
    NotAQuery {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
        /// What does not fit.
        why: String,
    },
    /// Too many reads are waiting.
    #[error(
        "too many reads of application {app} are waiting on this node; try again later or ask another node"
    )]
    Busy {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
    },
    /// This node cannot read a part of its log.
    #[error("this node cannot read slot {slot} of application {app} in its log; ask another node")]
    LogNotHere {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
        /// The first slot that was asked for.
        slot: Slot,
    },
    /// A part of the log that was cut off.
    #[error(
        "the log of application {app} begins behind slot {cut} at this node; what was before is in its snapshots"
    )]
    LogCut {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
        /// The last slot that was cut off.
        cut: Slot,
    },
    /// This node came to another state than the others.
    #[error(
        "this node differs from a majority in application {app} since state {since}, and answers nobody from it; ask another \
         node. To its operator: synod repair"
    )]
    Diverged {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
        /// The first state that is known to differ.
        since: StateNdx,
    },
    /// The application is in a process of its own, which is not there.
    #[error(
        "application {app} is away on this node: its process is not there, or not yet ready; try again later or ask another node"
    )]
    Away {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
    },
    /// The node is stopping and lets nobody wait any more.
    #[error("this node is stopping; ask another node")]
    Stopping {
        /// The application.
        app: AppNdx,
        /// Its state on this node.
        state_ndx: StateNdx,
    },
}

/// What a read waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The state that the client asked for.
    State(StateNdx),
    /// The state that the leader has confirmed.
    LeaderState,
}

impl std::fmt::Display for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Awaited::State(state_ndx) => write!(f, "state {state_ndx}"),
            Awaited::LeaderState => f.write_str("what the leader confirms"),
        }
    }
}

impl GatewayError {
    /// The application's state on this node; `None` where there is no such application.
    pub fn state_ndx(&self) -> Option<StateNdx> {
        match *self {
            GatewayError::UnknownApp { .. } => None,
            GatewayError::NoLeader { state_ndx, .. }
            | GatewayError::Timeout { state_ndx, .. }
            | GatewayError::NotAQuery { state_ndx, .. }
            | GatewayError::Busy { state_ndx, .. }
            | GatewayError::LogNotHere { state_ndx, .. }
            | GatewayError::LogCut { state_ndx, .. }
            | GatewayError::Diverged { state_ndx, .. }
            | GatewayError::Away { state_ndx, .. }
            | GatewayError::Stopping { state_ndx, .. } => Some(state_ndx),
        }
    }
}
