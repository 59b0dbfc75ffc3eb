//! `synod kv`: the key-value application. Writes go to the back end as signed commands, reads come over HTTP.

mod answers;
mod change;
mod lease;
mod lock;
mod options;
mod read;
mod space;
mod txn;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::output::Output;
pub(crate) use change::explain;

/// Read and write the key-value application
///
/// A key remembers the stateNdx that last changed it; `cas` and `txn` change keys only if that is still so. Keys can be bound
/// to a lease, and end with it. What has changed can be watched, and keys be read as they were.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod kv put greeting hello
  synod kv get greeting --min 12        # wait for the stateNdx of a receipt, at whichever node answers
  synod kv cas greeting hi --expected 12
  synod kv get greeting --verify        # believed for nothing but the genesis document
  synod kv list --prefix service/ --at 12
  synod kv watch --prefix service/
  synod kv lock nightly -- ./backup     # one of them runs at a time, in the whole fleet
  synod kv txn move.txt")]
pub(crate) struct Kv {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Put(change::Put),
    Cas(change::Cas),
    Add(change::Add),
    Delete(change::Delete),
    Txn(txn::Txn),
    Get(read::Get),
    List(read::List),
    History(read::History),
    Watch(watch::Watch),
    Lease(lease::Lease),
    Lock(lock::Lock),
    Elect(lock::Elect),
    Compact(space::Compact),
    Settings(space::Settings),
    Usage(space::Usage),
}

impl Kv {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Put(put) => put.run(output).await,
            Command::Cas(cas) => cas.run(output).await,
            Command::Add(add) => add.run(output).await,
            Command::Delete(delete) => delete.run(output).await,
            Command::Txn(txn) => txn.run(output).await,
            Command::Get(get) => get.run(output).await,
            Command::List(list) => list.run(output).await,
            Command::History(history) => history.run(output).await,
            Command::Watch(watch) => watch.run(output).await,
            Command::Lease(lease) => lease.run(output).await,
            Command::Lock(lock) => lock.run(output).await,
            Command::Elect(elect) => elect.run(output).await,
            Command::Compact(compact) => compact.run(output).await,
            Command::Settings(settings) => settings.run(output).await,
            Command::Usage(usage) => usage.run(output).await,
        }
    }
}
