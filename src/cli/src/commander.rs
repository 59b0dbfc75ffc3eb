//! `synod commander`: who may command an application.

mod change;
mod current;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::output::Output;
pub(crate) use change::explained;

/// Grant, revoke, rotate and list the commanders of an application
///
/// Each application has its own commanders, changed by commands in its own log. Only administrators change them; where the
/// genesis document asks for several signatures, one administrator proposes a change and others approve it. A commander
/// changes its own key by itself.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod commander list --app 1
  synod commander add deploy --app 1 --key deploy.pem --role writer
  synod commander add ci --app zones --key ci.pem --role writer --scope a.example --valid-to +30d
  synod commander rotate --app 1 --key new.pem
  synod commander revoke 8f3c2a91b0de --app 1
  synod commander pending --app 1
  synod commander log --app 1")]
pub(crate) struct Commander {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(show::List),
    Add(change::Add),
    Revoke(change::Revoke),
    Rotate(change::Rotate),
    Log(show::Log),
    Pending(show::Pending),
    Approve(change::Approve),
    Withdraw(change::Withdraw),
}

impl Commander {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(output).await,
            Command::Add(add) => add.run(output).await,
            Command::Revoke(revoke) => revoke.run(output).await,
            Command::Rotate(rotate) => rotate.run(output).await,
            Command::Log(log) => log.run(output).await,
            Command::Pending(pending) => pending.run(output).await,
            Command::Approve(approve) => approve.run(output).await,
            Command::Withdraw(withdraw) => withdraw.run(output).await,
        }
    }
}
