//! What has become of a command, and how far a change has come, for the commanders' port.

use std::sync::Arc;
use std::time::Duration;

use synod_backend::{
    BoxFuture, ChangeProgress, CommandName, CommandProgress, NodeProgress, Progress as Questions,
};
use synod_gateway::{Change, Gateway, GatewayError, Read};
use synod_types::{AppNdx, Refusal, RefusalCode, StateNdx};
use tokio::time::{Instant, sleep_until};

use crate::intake::Intake;

/// How soon after one look the next is taken, at the earliest: a busy application makes thousands of states in a second.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where the commanders' port asks.
pub(crate) struct Progress {
    pub gateway: Gateway,
    pub intake: Arc<Intake>,
}

impl Questions for Progress {
    fn command(
        &self,
        command: CommandName,
        wait: Duration,
    ) -> BoxFuture<'_, Result<CommandProgress, Refusal>> {
        Box::pin(self.await_command(command, wait))
    }

    fn change(
        &self,
        app: AppNdx,
        state_ndx: StateNdx,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ChangeProgress, Refusal>> {
        Box::pin(async move {
            let change = self.gateway.await_everywhere(app, state_ndx, wait).await;
            change.map(of_every_node).map_err(refusal)
        })
    }
}

impl Progress {
    async fn await_command(&self, command: CommandName, wait: Duration) -> Result<CommandProgress, Refusal> {
        let CommandName { app, commander, seq, id } = command;
        let deadline = Instant::now() + wait;
        loop {
            let look_again = Instant::now() + LOOK_AGAIN;
            // In this order: who finds it answered here finds the state that it made.
            let awaited = self.intake.awaits(id);
            let view = self.gateway.app(app).map_err(refusal)?.view();
            match view.find(commander, seq, id) {
                Ok(Some(receipt)) => return Ok(CommandProgress::Executed(receipt)),
                Err(why) if why.code != RefusalCode::SeqTooFar => return Err(why),
                // What is too far ahead for this state is in reach of a later one.
                Ok(None) | Err(_) => {}
            }
            let so_far = if awaited { CommandProgress::Waiting } else { CommandProgress::Unknown };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(so_far);
            }
            let next = Read { min: Some(view.state_ndx.next()), wait: left, ..Read::default() };
            drop(view);
            match self.gateway.view(app, next).await {
                Ok(_) => sleep_until(look_again.min(deadline)).await,
                Err(GatewayError::Timeout { .. }) => {}
                Err(why) => return Err(refusal(why)),
            }
        }
    }
}

fn of_every_node(change: Change) -> ChangeProgress {
    let nodes = change.nodes.into_iter().map(|node| NodeProgress {
        id: node.id,
        name: node.name,
        is_up: node.is_up,
        state_ndx: node.state_ndx,
    });
    ChangeProgress { nodes: nodes.collect() }
}

fn refusal(why: GatewayError) -> Refusal {
    let code = match why {
        GatewayError::UnknownApp { .. } => RefusalCode::UnknownApp,
        GatewayError::NoLeader { .. } => RefusalCode::NoLeader,
        GatewayError::Timeout { .. } => RefusalCode::Timeout,
        GatewayError::NotAQuery { .. } => RefusalCode::Malformed,
        GatewayError::Busy { .. }
        | GatewayError::LogNotHere { .. }
        | GatewayError::LogCut { .. }
        | GatewayError::Away { .. } => RefusalCode::Busy,
        GatewayError::Stopping { .. } | GatewayError::Diverged { .. } => RefusalCode::Stopping,
    };
    Refusal::new(code, why)
}
