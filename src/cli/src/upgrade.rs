//! `synod upgrade`: which programs the nodes have, and the switch to the newest rules that all of them know.

mod picture;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synod_machine::authority::{AuthorityOp, AuthorityReply};
use synod_types::{Level, Outcome};
use tokio::time::{Instant, sleep};

use crate::commander::explained;
use crate::connection::Connection;
use crate::exit::Failure;
use crate::member::Census;
use crate::output::Output;
use crate::write::{self, Told, WriteOptions};
use picture::Picture;

/// The pause before all nodes are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Install newer programs node by node, then switch the cluster to what they bring
///
/// A newer program goes by the rules of the older ones until it is told otherwise. So first each node gets the new program, one
/// after the other: stop it, install, start it, and go on when it is back (`synod status`). Nothing changes by that, and every node
/// can still get its old program back. Then `synod upgrade finish` switches each application to the rules of the highest level
/// that all members know. From then on an older program does not take part any more.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod upgrade status      # which node has which program, and what holds the switch up
  synod upgrade finish      # when every member has the new one; there is no way back")]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Status(Status),
    Finish(Finish),
}

/// Show the program of each node, the level of each application, and what holds the switch up
///
/// WIRE is the versions that the program speaks with other nodes, LEVELS those of the rules by which it can execute. A node that is
/// not there counts as one that knows nothing: it may come back with an older program.
///
/// Exit code: 0 if every application is on the highest level that any member knows; 1 if there is something to do.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod upgrade status
  synod upgrade status --output json | jq -r '.holdsUp[]'")]
struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// Switch every application to the rules of the highest level that all members know
///
/// Each application switches by a command in its own log, level by level. Where several administrators must sign, this proposes it
/// and says how another one signs. Whatever is on that level already is left as it is, so this may be repeated at will.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod upgrade finish
  synod upgrade finish --app kv              # this application alone
  synod upgrade finish --receipt switch.json # keep the proof")]
struct Finish {
    /// This application alone: its number or its name
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Wait so long until every member has switched; 0: only until the commands are executed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: u64,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Upgrade {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Status(status) => status.run(output).await,
            Command::Finish(finish) => finish.run(output).await,
        }
    }
}

impl Status {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let picture = Picture::of(&Census::take(&self.connection.cluster()?).await?);
        output.print(&picture.json(), picture.text())?;
        Ok(if picture.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Finish {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Finish { app, wait, options, connection } = self;
        let cluster = connection.cluster()?;
        let only = app.as_deref().map(|app| cluster.app(app)).transpose()?;
        let picture = Picture::of(&Census::take(&cluster).await?);
        let goal = picture.goal().map_err(Failure::Refused)?;
        let due: Vec<_> = picture.apps().filter(|app| only.is_none_or(|only| only == app.ndx)).collect();
        let mut told = Vec::new();
        let client = cluster.client()?;
        for app in &due {
            let (mut level, mut is_made) = (app.level, true);
            // Where signatures are missing in one application, the others are proposed all the same.
            while level < goal && is_made {
                level = level.next();
                let op = AuthorityOp::Raise { to: level };
                let receipt = write::executed(&client, app.ndx, op.encode(), &options).await?;
                is_made = matches!(
                    &receipt.outcome,
                    Outcome::Done(answer) if AuthorityReply::decode(answer) == Ok(AuthorityReply::Done)
                );
                let (ndx, words) =
                    (app.ndx.to_string(), format!("application {} is on level {level}", app.name));
                let explain = |answer: &[u8]| {
                    let (json, words) = explained(answer, None, words, &ndx);
                    (json!({ "level": level, "pending": json["pending"] }), words)
                };
                told.push(write::told(&receipt, explain));
            }
        }
        client.close().await;
        let code = told.iter().map(|told| told.code).max().unwrap_or(0);
        let waits = told.iter().any(|told| !told.json["outcome"]["done"]["pending"].is_null());
        let mut json = json!({
            "goal": goal,
            "receipts": told.iter().map(|told| told.json.clone()).collect::<Vec<Value>>(),
        });
        let mut text: Vec<String> = told.into_iter().map(|Told { text, .. }| text).collect();
        if text.is_empty() {
            output.print(&json, format!("every application is on level {goal} already"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if code != 0 || waits || wait == 0 {
            output.print(&json, text.join("\n"))?;
            return Ok(ExitCode::from(code));
        }
        let begun = Instant::now();
        let missing = loop {
            let picture = Picture::of(&Census::take(&cluster).await?);
            let missing = picture.not_switched(goal, only);
            if missing.is_empty() || begun.elapsed() + ASK_AGAIN >= Duration::from_secs(wait) {
                break missing;
            }
            sleep(ASK_AGAIN).await;
        };
        let ms = begun.elapsed().as_millis();
        json["settled"] = json!({ "reached": missing.is_empty(), "ms": ms, "missing": missing });
        if missing.is_empty() {
            text.push(format!("every member goes by the rules of level {goal}, after {ms} ms"));
        }
        output.print(&json, text.join("\n"))?;
        if missing.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::NotLive(format!(
            "the switch is made, and after {wait} s not every member has come to it: {}. Each will as soon as it is there and has \
             what it lacks; `synod upgrade status` shows it",
            missing.join(", ")
        ))
        .into())
    }
}

/// As a level of the picture.
fn level(number: u32) -> Level {
    Level(number)
}
