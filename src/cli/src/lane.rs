//! `synod lane`: asks the node on this host over its socket for front ends, as a front end in a process of its own does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use synod_node::Config;
use synod_sdk::Encoding;
use synod_sdk::front::{AskError, FrontEnd, Read};

use crate::duration::duration;
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::table::Table;

/// Ask the node on this host over its socket for front ends
///
/// The node needs a section [front_ends] in its configuration, and this program has to run as a user whom the socket lets in.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane list --config cluster/node1.toml
  synod lane send counter '*' --config cluster/node1.toml --linearizable
  synod lane tail counter --socket /run/synod/front-ends.sock")]
pub(crate) struct Lane {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Which applications there are, and how far they are on this node
    List(List),
    /// Ask an application in its own words, and print its answer as it is
    Send(Send),
    /// Print each state of an application as soon as it is there
    Tail(Tail),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  synod lane list --config cluster/node1.toml")]
struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane send counter '*' --config cluster/node1.toml
  synod lane send counter visits --min 31 --wait 30s --config cluster/node1.toml")]
struct Send {
    /// The application: its number or its name
    #[arg(value_name = "APP")]
    app: String,
    /// The query, as text
    #[arg(value_name = "QUERY")]
    query: String,
    /// From a state with every command that was executed anywhere before
    #[arg(long)]
    linearizable: bool,
    /// From this stateNdx or a later one
    #[arg(long, value_name = "NDX")]
    min: Option<u64>,
    /// How long the state is waited for
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane tail counter --config cluster/node1.toml
  synod lane tail counter --after 30 --until 31 --config cluster/node1.toml")]
struct Tail {
    /// The application: its number or its name
    #[arg(value_name = "APP")]
    app: String,
    /// Behind this stateNdx; by default behind the present one
    #[arg(long, value_name = "NDX")]
    after: Option<u64>,
    /// End with this stateNdx or the first one behind it
    #[arg(long, value_name = "NDX")]
    until: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Where the node is.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Place {
    /// The node's configuration: .toml or .json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The socket itself
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Lane {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(output)?,
            Command::Send(send) => send.run(output)?,
            Command::Tail(tail) => tail.run(output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn connect(&self) -> anyhow::Result<FrontEnd> {
        let socket = match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(config)) => Config::load(config)?.front_ends_socket().ok_or_else(|| {
                Failure::Usage(
                    "this node answers no front ends: its configuration has no section front_ends".to_owned(),
                )
            })?,
            (None, None) => unreachable!("one of the two is required"),
        };
        let program = format!("synod lane {}", env!("CARGO_PKG_VERSION"));
        let connected = FrontEnd::connect(&socket, &program, Encoding::MessagePack, Duration::ZERO);
        Ok(connected.map_err(|why| failure(&why).unwrap_or_else(|| Failure::Unreachable(why.to_string())))?)
    }
}

/// What a problem comes to; `None`: the node could not be asked.
fn failure(why: &AskError) -> Option<Failure> {
    match why {
        AskError::Problem { code, text, .. } if code == "unknown-app" || code == "not-a-query" => {
            Some(Failure::Usage(text.clone()))
        }
        AskError::Problem { code, .. } if code == "timeout" => Some(Failure::NotLive(why.to_string())),
        AskError::Problem { .. } | AskError::Refused(_) => Some(Failure::Refused(why.to_string())),
        AskError::Connect(_) | AskError::Link(_) => None,
    }
}

fn told<T>(answer: Result<T, AskError>) -> anyhow::Result<T> {
    Ok(answer.map_err(|why| failure(&why).unwrap_or_else(|| Failure::Unreachable(why.to_string())))?)
}

impl List {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let mut front = self.place.connect()?;
        let apps = told(front.apps())?;
        let mut text = Table::new(&["app", "name", "kind", "stateNdx", "leader"]);
        for app in &apps {
            let leader = app.leader.clone().unwrap_or_else(|| "nobody".to_owned());
            let (app_ndx, state_ndx) = (app.app.to_string(), app.state_ndx.to_string());
            text.row([app_ndx, app.name.clone(), app.kind.clone(), state_ndx, leader]);
        }
        output.print(&json!({ "node": front.node(), "clusterId": front.cluster(), "apps": apps }), text)
    }
}

impl Send {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let read = Read { is_linearizable: self.linearizable, min: self.min, wait: Some(self.wait) };
        let query = self.query.clone().into_bytes();
        let answered = told(self.place.connect()?.query(&self.app, query, read))?;
        if output == Output::Text {
            return output::bytes(&answered.answer);
        }
        let (text, hex) = match std::str::from_utf8(&answered.answer) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(hex::encode(&answered.answer))),
        };
        let (state_ndx, chain) = (answered.state_ndx, &answered.chain);
        output.print(&json!({ "stateNdx": state_ndx, "chain": chain, "answer": text, "answerHex": hex }), "")
    }
}

impl Tail {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let mut front = self.place.connect()?;
        let after = match self.after {
            Some(after) => after,
            None => told(front.wait(&self.app, 0, Duration::ZERO))?,
        };
        for state_ndx in told(front.follow(&self.app, after))? {
            let state_ndx = told(state_ndx)?;
            output.print(&json!({ "stateNdx": state_ndx }), format!("state {state_ndx}"))?;
            if self.until.is_some_and(|until| state_ndx >= until) {
                break;
            }
        }
        Ok(())
    }
}
