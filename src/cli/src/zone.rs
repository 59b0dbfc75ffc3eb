//! `synod zone`: DNS zones, from files on this machine to every node of the cluster.
//!
//! Files go to the nodes first, then the command that names them by their hash; reads come over HTTP.

mod change;
mod check;
mod current;
mod diff;
mod file;
mod guard;
mod import;
pub(crate) mod publish;
mod show;
mod verify;
mod wait;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use synod_zone::Name;

use crate::exit::Failure;
use crate::output::Output;
pub(crate) use change::explain;

/// Check, publish and look at DNS zones
///
/// A zone is a file in master file format (RFC 1035), as every name server reads it. `set` publishes one under a zone's
/// name; every node then answers queries from it, and every answer can say from which stateNdx it is.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone check example.org.zone
  synod zone set example.org example.org.zone --wait all
  synod zone diff example.org example.org.zone         # what a set would change
  synod zone import zones/                             # every FQDN.zone in a directory
  synod zone history example.org
  synod zone rollback example.org --to 17 --wait all")]
pub(crate) struct Zone {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Check(check::Check),
    Set(change::Set),
    Import(import::Import),
    Get(show::Get),
    Diff(diff::Diff),
    History(show::History),
    Rollback(change::Rollback),
    Delete(change::Delete),
    List(show::List),
}

impl Zone {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(check) => check.run(output),
            Command::Set(set) => set.run(output).await,
            Command::Import(import) => import.run(output).await,
            Command::Get(get) => get.run(output).await,
            Command::Diff(diff) => diff.run(output).await,
            Command::History(history) => history.run(output).await,
            Command::Rollback(rollback) => rollback.run(output).await,
            Command::Delete(delete) => delete.run(output).await,
            Command::List(list) => list.run(output).await,
        }
    }
}

/// The zone of this name, with or without a dot at its end.
fn zone_name(text: &str) -> Result<Name, Failure> {
    Name::parse(text).map_err(|why| Failure::Usage(format!("{text:?} is not the name of a zone: {why}")))
}
