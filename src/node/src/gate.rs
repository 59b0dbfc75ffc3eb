//! The gate: where a command waits that refers to files, at the node where it enters.
//!
//! So does a command of an application in another process that wants to see operations before they are ordered: it passes when
//! that process finds nothing wrong with it, or is away.
//!
//! It passes when a majority of the nodes holds each file, when each file is at hand here, and when the application finds
//! that it is what the command says of it. What does not pass is refused without a trace. Once it has passed, a command
//! goes the way of all others, and no other node looks at its files again before they are served.

use std::sync::Arc;

use synod_gateway::{AppDoor, Consistency, Gateway, GatewayError, Read};
use synod_machine::View;
use synod_types::command::Operation;
use synod_types::{CommandBody, CommandId, ContentKey, Refusal, RefusalCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::content::Content;
use crate::intake::Intake;

/// Commands that wait at the gate.
pub(crate) const GATED_COMMANDS_MAX: usize = 1024;
/// Bytes of commands that wait at the gate.
pub(crate) const GATED_BYTES_MAX: usize = 64 << 20;
/// Files that are checked at a time, each in memory and on a thread of its own.
const CHECKS_MAX: usize = 2;

/// A command at the gate.
#[derive(Debug)]
pub(crate) struct Gated {
    pub id: CommandId,
    pub body: CommandBody,
    /// The files to which it refers; none, if it is here for its application alone, which is in another process.
    pub contents: Vec<ContentKey>,
    /// When it is refused at the latest.
    pub deadline: Instant,
}

/// What deciding takes.
pub(crate) struct Gate {
    pub gateway: Gateway,
    pub content: Content,
    pub intake: Arc<Intake>,
}

impl Gate {
    /// Decides on every command that comes, many at a time, until the intake is gone.
    pub(crate) async fn run(self, mut commands: mpsc::UnboundedReceiver<Gated>) {
        let guard = Arc::new(Guard { gate: self, checks: Semaphore::new(CHECKS_MAX) });
        let mut decisions = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    let guard = Arc::clone(&guard);
                    decisions.spawn(async move {
                        match guard.decide(&command).await {
                            Ok(()) => guard.gate.intake.pass(command.id),
                            Err(refusal) => guard.gate.intake.turn_away(command.id, &refusal),
                        }
                    });
                }
                Some(decided) = decisions.join_next() => {
                    if let Err(why) = decided {
                        std::panic::resume_unwind(why.into_panic());
                    }
                }
            }
        }
    }
}

struct Guard {
    gate: Gate,
    checks: Semaphore,
}

impl Guard {
    async fn decide(&self, command: &Gated) -> Result<(), Refusal> {
        let Gated { body, contents, deadline, .. } = command;
        let Gate { gateway, content, .. } = &self.gate;
        let door = gateway.app(body.app).map_err(|why| Refusal::new(RefusalCode::UnknownApp, why))?;
        admit(gateway, door, *deadline, |view| view.admit(body, crate::driver::now())).await?;
        let Some(Operation::App(operation)) = Operation::split(&body.operation) else {
            return Ok(());
        };
        if door.view().app.apart().is_some() {
            let (view, operation) = (door.view(), body.operation.slice_ref(operation));
            return waiting(move || view.app.apart().map_or(Ok(()), |apart| apart.check(&operation))).await;
        }
        content.until_held(contents, *deadline).await?;
        for &key in contents {
            self.check(door.view(), body.operation.slice_ref(operation), key, *deadline).await?;
        }
        Ok(())
    }

    /// Has the application check one file.
    async fn check(
        &self,
        view: Arc<View>,
        operation: bytes::Bytes,
        key: ContentKey,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let late = |_| {
            let text =
                format!("the file {key} did not get to this node in time; submit the same bytes again");
            Refusal::new(RefusalCode::Timeout, text)
        };
        let _permit = tokio::time::timeout_at(deadline, self.checks.acquire()).await.map_err(late)?;
        let file = tokio::time::timeout_at(deadline, self.gate.content.obtain(key)).await.map_err(late)?;
        let Some(file) = file else { return Err(stopping()) };
        waiting(move || view.app.check_content(&operation, &key, &file)).await
    }
}

/// Has something decided on a thread that may wait.
async fn waiting(decide: impl FnOnce() -> Result<(), Refusal> + Send + 'static) -> Result<(), Refusal> {
    tokio::task::spawn_blocking(decide).await.unwrap_or_else(|why| match why.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(stopping()),
    })
}

/// Has a state decide on somebody's leave. This node may be behind, so that what its state refuses is asked of a state
/// that is the newest.
pub(crate) async fn admit<T>(
    gateway: &Gateway,
    door: &AppDoor,
    deadline: Instant,
    decide: impl Fn(&View) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let first = decide(&door.view());
    if first.is_ok() {
        return first;
    }
    let wait = deadline.saturating_duration_since(Instant::now());
    let newest = Read { consistency: Consistency::Linearizable, min: None, wait };
    match gateway.view(door.ndx(), newest).await {
        Ok(view) => decide(&view),
        Err(GatewayError::Busy { .. }) => {
            Err(Refusal::new(RefusalCode::Busy, "too much waits at this node; try again later"))
        }
        Err(GatewayError::Stopping { .. }) => Err(stopping()),
        // Whether that state is too old, nobody can tell now.
        Err(why) => Err(Refusal::new(RefusalCode::NoLeader, why)),
    }
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Stopping, "this node is stopping: submit the same bytes at another")
}
