//! `synod leader`: which node leads an application's group, and which one is to.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use synod_gateway::{ClusterStatus, GroupRole};
use synod_machine::authority::AuthorityOp;
use synod_types::{AppNdx, NodeId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::commander::explained;
use crate::connection::Connection;
use crate::exit::Failure;
use crate::member::Census;
use crate::output::Output;
use crate::status::ask_all;
use crate::table::Table;
use crate::write::{self, Told, WriteOptions};

/// The pause before all nodes are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Show who leads, and have another node lead
///
/// Nodes choose their leaders by themselves. To have one lead is a wish that lasts: whenever that node is there and has everything,
/// the leadership comes back to it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod leader list
  synod leader transfer --app kv --to node2
  synod leader release --app kv")]
pub(crate) struct Leader {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(List),
    Transfer(Transfer),
    Release(Release),
}

/// Show which node leads each application, as the nodes see it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  synod leader list\n  synod leader list --output json | jq -r '.apps[] | [.name, .leader.name] | @tsv'"
)]
struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Have a node lead an application, now and whenever it can
///
/// The present leader hands over, which keeps commands waiting for one election and loses none.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod leader transfer --app kv --to node2
  synod leader transfer --app 2 --to node2 --wait 0")]
struct Transfer {
    /// The application: its number or its name
    #[arg(long, value_name = "APP")]
    app: String,
    /// The node: its name, or at least 12 digits of its id
    #[arg(long, value_name = "NODE")]
    to: String,
    /// Wait so long until it leads; 0: only until the wish is ordered
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: u64,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

/// Let the nodes choose again who leads an application
///
/// It stays where it is until leaders are spread over the nodes, about a minute later.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod leader release --app kv")]
struct Release {
    /// The application: its number or its name
    #[arg(long, value_name = "APP")]
    app: String,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Leader {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(output).await,
            Command::Transfer(transfer) => transfer.run(output).await,
            Command::Release(release) => release.run(output).await,
        }
    }
}

impl List {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let census = Census::take(&self.connection.cluster()?).await?;
        let statuses: Vec<&ClusterStatus> = census.statuses().collect();
        let mut table = Table::new(&["APP", "LEADER", "ID", "EPOCH", "SAID BY"]);
        let mut apps = Vec::new();
        for app in &census.latest().apps {
            let seen = |status: &&ClusterStatus| {
                status.apps.iter().find(|one| one.app_ndx == app.app_ndx)?.leader.clone()
            };
            // Who leads says so itself; where it is not asked, or does not answer, others do.
            let leading = statuses.iter().find(|status| leads(status, app.app_ndx, status.node_id));
            let leader = leading.and_then(seen).or_else(|| app.leader.clone());
            let said_by = statuses.iter().filter(|status| leader.is_some() && seen(status) == leader).count();
            let (name, id) = leader.map_or(("-".to_owned(), None), |leader| (leader.name, Some(leader.id)));
            table.row([
                format!("{} {}", app.app_ndx, app.name),
                name.clone(),
                id.map_or_else(|| "-".to_owned(), |id| id.short()),
                app.epoch.to_string(),
                format!("{said_by} of {} nodes", statuses.len()),
            ]);
            apps.push(json!({
                "appNdx": app.app_ndx,
                "name": app.name,
                "leader": id.map(|id| json!({ "name": name, "id": id.to_string() })),
                "epoch": app.epoch,
                "saidBy": said_by,
                "asked": statuses.len(),
            }));
        }
        output.print(&json!({ "apps": apps }), table)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Transfer {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Transfer { app: app_text, to, wait, options, connection } = self;
        let cluster = connection.cluster()?;
        let app = cluster.app(&app_text)?;
        let census = Census::take(&cluster).await?;
        let node = census.member(&to)?;
        let (id, name) = (node.id, node.name.clone());
        let client = cluster.client()?;
        let op = AuthorityOp::Lead { node: Some(id) };
        let receipt = write::executed(&client, app, op.encode(), &options).await;
        client.close().await;
        let words = format!("{name} is to lead application {app_text}");
        let told = write::told(&receipt?, |answer| explained(answer, None, words, &app_text));
        let Told { mut json, text, code } = told;
        if code != 0 || wait == 0 {
            output.print(&json, text)?;
            return Ok(ExitCode::from(code));
        }
        if output == Output::Text {
            output.print(&json, text)?;
        }
        let begun = Instant::now();
        let end = begun + Duration::from_secs(wait);
        let reader = cluster.reader()?;
        let leads = loop {
            let answered = timeout_at(end, ask_all(&reader)).await.unwrap_or_default();
            let mut statuses = answered.iter().filter_map(|(_, status)| status.as_ref().ok());
            if statuses.any(|status| leads(status, app, id)) {
                break true;
            }
            if Instant::now() + ASK_AGAIN >= end {
                break false;
            }
            sleep(ASK_AGAIN).await;
        };
        let ms = begun.elapsed().as_millis();
        if output == Output::Json {
            json["settled"] = json!({ "reached": leads, "ms": ms });
            output.print(&json, "")?;
        }
        if !leads {
            return Err(Failure::NotLive(format!(
                "the wish is ordered, and {name} does not lead application {app_text} after {wait} s: it has to run, to vote in it \
                 (`synod member list`), and to have nearly everything. It will lead as soon as that is so"
            ))
            .into());
        }
        if output == Output::Text {
            output.print(&json, format!("{name} leads application {app_text}, after {ms} ms"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Release { app: app_text, options, connection } = self;
        let cluster = connection.cluster()?;
        let app = cluster.app(&app_text)?;
        let words = format!("any node may lead application {app_text}");
        let explain = |answer: &[u8]| explained(answer, None, words, &app_text);
        let op = AuthorityOp::Lead { node: None };
        write::execute(&cluster, app, op.encode(), &options, output, explain).await
    }
}

/// Whether a node says that `leader` leads the application; only the leader itself knows that at once.
fn leads(status: &ClusterStatus, app: AppNdx, leader: NodeId) -> bool {
    status.apps.iter().filter(|one| one.app_ndx == app).any(|one| {
        let is_leader = one.leader.as_ref().is_some_and(|known| known.id == leader);
        is_leader && (status.node_id != leader || one.role == GroupRole::Leader)
    })
}
