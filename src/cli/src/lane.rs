//! `synod lane`: asks the node on this host over its socket for front ends, as a front end in a process of its own does; and over that
//! node the others.

mod yards;

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

/// Ask the node on this host over its socket for front ends, and over it the others
///
/// The node needs a section [front_ends] in its configuration, and this program has to run as a user whom the socket lets in.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane list --config cluster/node1.toml
  synod lane send counter '*' --config cluster/node1.toml --linearizable
  synod lane tail counter --socket /run/synod/front-ends.sock
  synod lane list --server all --config cluster/node1.toml
  synod lane tail /desk --socket /run/synod/front-ends.sock
  synod lane send node3/desk 'a message' --config cluster/node1.toml")]
pub(crate) struct Lane {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Which applications and yards there are, and how far they are, on this node or on others
    List(List),
    /// Ask an application in its own words, and print its answer as it is; or send a message to a yard
    Send(Send),
    /// Print each state of an application as soon as it is there; or be a yard, and print what arrives
    Tail(Tail),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane list --config cluster/node1.toml
  synod lane list --server node3 --config cluster/node1.toml
  synod lane list --server all --config cluster/node1.toml --output json")]
struct List {
    /// Of this node, by its name, or of \"all\"; by default, of the node that is asked
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane send counter '*' --config cluster/node1.toml
  synod lane send counter visits --min 31 --wait 30s --config cluster/node1.toml
  synod lane send node3/counter visits --linearizable --config cluster/node1.toml
  synod lane send node3/printer/a4 --file page.ps --config cluster/node1.toml
  synod lane send node3/desk 'who are you?' --reply --config cluster/node1.toml")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["text", "file"]))]
struct Send {
    /// The application: its number or its name; or SERVER/APP, or SERVER/YARD/QUEUE of a yard. Without a server (/YARD/QUEUE) it is the
    /// node that is asked, without a queue the one without a name
    #[arg(value_name = "TO")]
    to: String,
    /// The query or the message, as text
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// The query or the message, as it is in a file; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait for the answer of the process that has the yard, and print it as it is
    #[arg(long)]
    reply: bool,
    /// Of an application, from a state with every command that was executed anywhere before
    #[arg(long)]
    linearizable: bool,
    /// Of an application, from this stateNdx or a later one
    #[arg(long, value_name = "NDX")]
    min: Option<u64>,
    /// How long the state, or that the message is taken or answered, is waited for
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod lane tail counter --config cluster/node1.toml
  synod lane tail counter --after 30 --until 31 --config cluster/node1.toml
  synod lane tail /desk --config cluster/node1.toml
  synod lane tail /printer/a4 --count 1 --answer printed --config cluster/node1.toml")]
struct Tail {
    /// The application: its number or its name; or /YARD, or /YARD/QUEUE, to be a yard of this name as long as this runs
    #[arg(value_name = "WHAT")]
    what: String,
    /// Of an application, behind this stateNdx; by default behind the present one
    #[arg(long, value_name = "NDX")]
    after: Option<u64>,
    /// Of an application, end with this stateNdx or the first one behind it
    #[arg(long, value_name = "NDX")]
    until: Option<u64>,
    /// As a yard, end after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// As a yard, answer this to each message that is to be answered
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,
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
        AskError::Problem { code, text, .. } if yards::routing_failure(code, text).is_some() => {
            yards::routing_failure(code, text)
        }
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
        match self.server.as_deref() {
            Some("all") => return yards::list_all(&mut front, output),
            Some(server) => {
                let told = yards::on_server(&mut front, server)?;
                return output.print(&told, yards::table(std::slice::from_ref(&told)));
            }
            None => {}
        }
        let apps = told(front.apps())?;
        let mut text = Table::new(&["app", "name", "kind", "stateNdx", "leader"]);
        for app in &apps {
            let leader = app.leader.clone().unwrap_or_else(|| "nobody".to_owned());
            let (app_ndx, state_ndx) = (app.app.to_string(), app.state_ndx.to_string());
            text.row([app_ndx, app.name.clone(), app.kind.clone(), state_ndx, leader]);
        }
        let open = told(front.yards())?;
        let mut text = text.to_string();
        if !open.is_empty() {
            let here = json!({ "server": front.node(), "isThere": true, "yards": open });
            text.push_str(&format!("\n{}", yards::table(std::slice::from_ref(&here))));
        }
        let (node, cluster) = (front.node(), front.cluster());
        output.print(&json!({ "node": node, "clusterId": cluster, "apps": apps, "yards": open }), text)
    }
}

impl Send {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let read = Read { is_linearizable: self.linearizable, min: self.min, wait: Some(self.wait) };
        let body = yards::body(self.text.clone(), self.file.as_deref())?;
        let mut front = self.place.connect()?;
        let answered = match yards::address(&self.to)? {
            None => told(front.query(&self.to, body, read))?,
            Some(address) if yards::is_app(&mut front, &address)? => {
                told(yards::query_at(&mut front, &address, body, read))?
            }
            Some(_) if self.linearizable || self.min.is_some() => {
                let why = format!("{} is no application: --linearizable and --min are for those", self.to);
                return Err(Failure::Usage(why).into());
            }
            Some(address) => return yards::send(front, &address, body, self.wait, self.reply, output),
        };
        if output == Output::Text {
            return output::bytes(&answered.answer);
        }
        let (text, hex) = yards::text_or_hex(&answered.answer);
        let (state_ndx, chain) = (answered.state_ndx, &answered.chain);
        output.print(&json!({ "stateNdx": state_ndx, "chain": chain, "answer": text, "answerHex": hex }), "")
    }
}

impl Tail {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let mut front = self.place.connect()?;
        if let Some(address) = yards::address(&self.what)? {
            return yards::tail(front, &address, self.count, self.answer.as_deref(), output);
        }
        let after = match self.after {
            Some(after) => after,
            None => told(front.wait(&self.what, 0, Duration::ZERO))?,
        };
        for state_ndx in told(front.follow(&self.what, after))? {
            let state_ndx = told(state_ndx)?;
            output.print(&json!({ "stateNdx": state_ndx }), format!("state {state_ndx}"))?;
            if self.until.is_some_and(|until| state_ndx >= until) {
                break;
            }
        }
        Ok(())
    }
}
