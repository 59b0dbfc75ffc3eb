//! `synod member`: who the members of the cluster are, and how nodes come and go.

mod census;
mod change;
mod list;
mod pending;
mod prepare;
mod settling;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::output::Output;
pub(crate) use census::{Census, applicants};

/// List the members of the cluster, add nodes, remove and replace them
///
/// A change of the members is a command in the application with the lowest number, signed as a change of its commanders is: by
/// as many administrators as the genesis document asks for. All applications then follow, each as soon as a majority of the new
/// members is there.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod member list
  synod member prepare node4 --host d.example --ca-key ca-key.pem
  synod member pending
  synod member accept node4 --id 5c1f02b9a7e3
  synod member remove node1
  synod member accept node2 --id 90ab17c55d02 --replaces node2   # node2 lost its disk, and has a new key")]
pub(crate) struct Member {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(list::List),
    Pending(pending::Pending),
    Prepare(prepare::Prepare),
    Accept(change::Accept),
    Add(change::Add),
    Remove(change::Remove),
    Replace(change::Replace),
    Reject(change::Reject),
}

impl Member {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(output).await,
            Command::Pending(pending) => pending.run(output).await,
            Command::Prepare(prepare) => prepare.run(output).await,
            Command::Accept(accept) => accept.run(output).await,
            Command::Add(add) => add.run(output).await,
            Command::Remove(remove) => remove.run(output).await,
            Command::Replace(replace) => replace.run(output).await,
            Command::Reject(reject) => reject.run(output).await,
        }
    }
}
