//! `synod kv lock` and `synod kv elect`: a place in a queue, kept by a lease.

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use synod_app_kv::{KvOp, KvReply, lock};
use synod_client::{Client, CommandOptions};
use synod_types::{AppNdx, Outcome, StateNdx};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::answers::{LockAnswer, LockPlace};
use super::options::{Place, below};
use crate::duration::duration;
use crate::exit::Failure;
use crate::output::Output;
use crate::reader::Reader;
use crate::write::receipt;

/// The pause before something is tried again that did not work.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// How long a node is asked to wait for the queue to change.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The exit code of what was interrupted before it began.
const INTERRUPTED: u8 = 130;

/// Hold a lock while a command runs
///
/// Waits for its turn behind those who came before, and runs the command with the grant's number in SYNOD_FENCING_TOKEN:
/// whoever gets the lock later has a higher one, so that what the lock guards can refuse a holder that does not know yet that
/// it is over. If the lock is lost, since no node could be reached for as long as the lease lasts, the command is killed.
/// Without a command the lock is held until this is interrupted.
///
/// The exit code is that of the command, 128 and the number of the signal that ended it, or 3 if the lock was lost.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod kv lock nightly -- ./backup --full\n  \
                        synod kv lock nightly --ttl 1m --value host7 -- sh -c 'echo $SYNOD_FENCING_TOKEN'\n  \
                        synod kv lock nightly                # hold it until Ctrl-C")]
pub(crate) struct Lock {
    #[command(flatten)]
    queue: Queue,
    /// The command, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Stand in an election, and stay elected until interrupted
///
/// Prints when it is elected, with the fencing token of the term. Whoever watches the prefix NAME/ or asks `/locks/NAME` over
/// HTTP sees who is elected, and what it says of itself.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod kv elect primary --value node1 --ttl 10s")]
pub(crate) struct Elect {
    #[command(flatten)]
    queue: Queue,
}

#[derive(Args, Debug)]
struct Queue {
    /// The lock's or the election's name
    name: String,
    /// How long the place is kept while no node can be reached; 1s to 24h
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    ttl: Duration,
    /// What this one says of itself to those who look
    #[arg(long, default_value = "")]
    value: String,
    #[command(flatten)]
    place: Place,
}

impl Lock {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let name = self.queue.name.clone();
        self.queue.hold("lock", &name, &self.command, output).await
    }
}

impl Elect {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let name = self.queue.name.clone();
        self.queue.hold("election", &name, &[], output).await
    }
}

impl Queue {
    /// Waits for its turn, does what is to be done in it, and leaves.
    async fn hold(
        self,
        what: &str,
        name: &str,
        command: &[String],
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let mut standing = Standing::enter(self).await?;
        let ended = tokio::select! {
            token = standing.turn(what, name) => match token {
                Ok(token) => standing.hold(what, name, token, command, output).await,
                Err(lost) => Err(lost.into()),
            },
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        };
        standing.leave().await;
        ended
    }
}

/// A place in the queue.
struct Standing {
    client: Client,
    app: AppNdx,
    lease: StateNdx,
    /// The state in which it stands there.
    since: StateNdx,
    reader: Reader,
    /// Where the queue is asked about.
    path: String,
    /// Ends when the lease is lost, and says why.
    kept: JoinHandle<String>,
}

impl Standing {
    async fn enter(queue: Queue) -> anyhow::Result<Standing> {
        let cluster = queue.place.connection.cluster()?;
        let (app, reader, client) = (cluster.app(&queue.place.app)?, cluster.reader()?, cluster.client()?);
        let ttl_ms = u64::try_from(queue.ttl.as_millis()).unwrap_or(u64::MAX);
        let begun = Instant::now();
        let lease = done(&client, app, &KvOp::GrantLease { ttl_ms }).await?.0;
        let kept = tokio::spawn(keep_alive(client.clone(), app, lease, queue.ttl, begun));
        let enter = lock::enter(queue.name.as_bytes(), lease, Bytes::from(queue.value));
        let path = queue.place.path(&below("locks", &queue.name));
        // With its lease a place ends that was not taken in order.
        let since = done(&client, app, &enter).await?.0;
        Ok(Standing { client, app, lease, since, reader, path, kept })
    }

    /// Does what is to be done while it is first.
    async fn hold(
        &mut self,
        what: &str,
        name: &str,
        token: u64,
        command: &[String],
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let lease = self.lease;
        let Some((program, arguments)) = command.split_first() else {
            let json = json!({ what: name, "fencingToken": token, "lease": lease });
            output.print(&json, format!("{what} {name}: fencing token {token}, lease {lease}"))?;
            return tokio::select! {
                lost = lost(what, name, &mut self.kept) => Err(lost.into()),
                () = interrupted() => Ok(ExitCode::SUCCESS),
            };
        };
        eprintln!("{what} {name}: fencing token {token}, lease {lease}");
        let mut child = Command::new(program)
            .args(arguments)
            .env("SYNOD_FENCING_TOKEN", token.to_string())
            .env("SYNOD_LEASE", lease.to_string())
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| Failure::Usage(format!("cannot run {program:?}: {why}")))?;
        loop {
            tokio::select! {
                biased;
                status = child.wait() => return Ok(exit_code(status?)),
                lost = lost(what, name, &mut self.kept) => {
                    child.kill().await?;
                    return Err(lost.into());
                }
                () = terminated() => child.start_kill()?,
                // The terminal interrupts the command, too, and its end is waited for.
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }

    /// Waits until it is first in the queue; gives its fencing token.
    async fn turn(&mut self, what: &str, name: &str) -> Result<u64, Failure> {
        let mut parameters = vec![("min", self.since.to_string()), ("limit", "1000".to_owned())];
        let wait = (self.reader.http().1 / 2).min(CHANGE_WAIT_MAX);
        let mut told = None;
        loop {
            let asked = tokio::select! {
                biased;
                lost = lost(what, name, &mut self.kept) => return Err(lost),
                asked = self.reader.get(&self.path, &parameters) => asked,
            };
            let answer: LockAnswer = match asked {
                Ok(answer) => answer.json().map_err(|why| Failure::Refused(format!("{why:#}")))?,
                // Nobody answers at the moment; the lease says how long that is borne.
                Err(Failure::Unreachable(_) | Failure::Refused(_)) if told.is_some() => {
                    sleep(TRY_AGAIN).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let is_ours = |place: &LockPlace| place.lease == Some(self.lease.0);
            match &answer.holder {
                Some(holder) if is_ours(holder) => return Ok(holder.fencing_token),
                Some(holder) => {
                    let ahead = answer.waiting.iter().position(is_ours);
                    let all_seen = u64::try_from(answer.waiting.len()) == Ok(answer.waiting_count);
                    if ahead.is_none() && all_seen {
                        return Err(gone(what, name));
                    }
                    if told != Some(holder.fencing_token) {
                        let by = holder.value.as_deref().filter(|value| !value.is_empty());
                        let by = by.map(|value| format!(" ({value:?})")).unwrap_or_default();
                        let ahead = ahead.unwrap_or(answer.waiting.len()) + 1;
                        eprintln!(
                            "{what} {name}: waiting, {ahead} ahead; held by {}{by}",
                            holder.fencing_token
                        );
                        told = Some(holder.fencing_token);
                    }
                }
                None => return Err(gone(what, name)),
            }
            parameters = vec![
                ("after", answer.state_ndx.to_string()),
                ("wait", wait.as_secs_f64().to_string()),
                ("limit", "1000".to_owned()),
            ];
        }
    }

    /// Leaves the queue at once, if a node can be reached; otherwise the place ends with its lease.
    async fn leave(self) {
        self.kept.abort();
        let revoke = KvOp::RevokeLease { lease: self.lease };
        if let Err(why) = done(&self.client, self.app, &revoke).await {
            eprintln!("the place in the queue is left when lease {} runs out: {why:#}", self.lease);
        }
        self.client.close().await;
    }
}

/// Has an operation executed that is not to be refused.
async fn done(client: &Client, app: AppNdx, op: &KvOp) -> anyhow::Result<(StateNdx, KvReply)> {
    let receipt = receipt(client, app, op.encode()).await?;
    match receipt.outcome {
        Outcome::Done(answer) => Ok((receipt.state_ndx, KvReply::decode(&answer)?)),
        Outcome::Refused(refusal) => Err(Failure::Refused(refusal.to_string()).into()),
    }
}

/// Keeps a lease alive that was asked for at `begun`, until that fails for as long as it lasts; says why.
async fn keep_alive(client: Client, app: AppNdx, lease: StateNdx, ttl: Duration, begun: Instant) -> String {
    let operation = Bytes::from(KvOp::KeepAlive { leases: vec![lease] }.encode());
    // A leader follows its wall clock by up to 5 % faster, so that the lease may be over that much earlier.
    let patience = ttl * 9 / 10;
    let mut alive_until = begun + patience;
    let mut pause = ttl / 3;
    loop {
        sleep(pause).await;
        let begun = Instant::now();
        let kept = client.execute(app, operation.clone(), CommandOptions::default());
        pause = match timeout_at(alive_until, kept).await {
            Ok(Ok(receipt)) => match receipt.outcome {
                Outcome::Done(answer) => {
                    let reply = KvReply::decode(&answer);
                    if !matches!(&reply, Ok(KvReply::KeptAlive { gone }) if gone.is_empty()) {
                        return format!("lease {lease} is over");
                    }
                    alive_until = begun + patience;
                    ttl / 3
                }
                Outcome::Refused(refusal) => return refusal.to_string(),
            },
            Ok(Err(_)) if Instant::now() + TRY_AGAIN < alive_until => TRY_AGAIN,
            Ok(Err(_)) | Err(_) => return format!("no node kept lease {lease} alive for {ttl:?}"),
        };
    }
}

/// Waits until the lease is lost.
async fn lost(what: &str, name: &str, kept: &mut JoinHandle<String>) -> Failure {
    let why = kept.await.unwrap_or_else(|why| why.to_string());
    Failure::Refused(format!("{what} {name} is lost: {why}"))
}

fn gone(what: &str, name: &str) -> Failure {
    Failure::Refused(format!("{what} {name} is lost: somebody has taken the place out of the queue"))
}

async fn interrupted() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
}

/// SIGTERM.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
