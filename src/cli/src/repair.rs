//! `synod repair`: has a node that came to another state than the others rebuild it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use synod_node::Config;
use synod_node::divergence;

use crate::output::Output;

/// Have a node that differs from the others rebuild the state
///
/// A node that finds that it has come to another state than a majority answers nobody from that application any more, also when it
/// is started again; `synod status` shows it. Look first at what went wrong: memory, disk, another version of the program. Then
/// this, on the node's host: at its next start the node forgets its snapshots of the application, makes the state again from its log
/// or gets it from the others, and answers once it has. What was found is kept in its data directory.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  synod repair --config cluster/node2.toml && systemctl restart synod")]
pub(crate) struct Repair {
    /// The node's configuration: .toml or .json
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Repair {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let dir = config.data_dir.display();
        let found = divergence::repair(&config.data_dir).with_context(|| format!("cannot repair {dir}"))?;
        let line = |one: &divergence::Evidence| {
            let first = if one.is_exact { "" } else { " or before" };
            // One in a process of its own that differed from itself.
            let others = if one.others.is_empty() { "itself".to_owned() } else { one.others.join(", ") };
            let (app, state) = (one.app_ndx, one.state_ndx);
            format!(
                "application {app}: differed from {others} from state {state}{first} on; rebuilt at the next start\n"
            )
        };
        let mut text: String = found.iter().map(line).collect();
        if found.is_empty() {
            text = "nothing has diverged here\n".to_owned();
        }
        output.print(&json!({ "repaired": found }), text)?;
        Ok(ExitCode::SUCCESS)
    }
}
