//! `synod`: the node, the commander's tool, and the demo. One file for each subcommand.
//!
//! What a subcommand prints goes to standard output, as text or as JSON; everything that is said about it goes to
//! standard error. How it ended is in the exit code: see [`exit`]. Nothing here decides anything about the protocol: it
//! reads files and arguments, and calls the node and the client library.
//!
//! Start with [`Command`]; [`founding`] makes a cluster's files, and is for tests and tools, too.

mod audit;
mod backup;
mod bench;
mod cert;
mod certificate;
mod commander;
mod connection;
mod daemon;
mod demo;
pub mod dns_query;
mod duration;
pub mod exit;
pub mod founding;
mod front;
mod health;
mod init;
mod key;
mod keygen;
mod kv;
mod lane;
mod leader;
mod member;
mod node;
mod output;
mod ports;
mod programs;
pub mod propagation;
mod proved;
mod public_key;
pub mod reader;
mod receipt;
mod recover;
mod repair;
mod restore;
mod status;
mod submit;
mod survivors;
mod table;
mod time;
mod upgrade;
pub mod watcher;
mod write;
mod zone;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use synod_types::Program;
use tracing_subscriber::EnvFilter;

use crate::output::Output;

/// Signed commands in, stateNdx out: one place for the records that a fleet must agree on.
#[derive(Parser, Debug)]
#[command(name = "synod", version, after_help = exit::HELP, arg_required_else_help = true)]
pub struct Cli {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Node(node::Node),
    Front(front::Front),
    Health(health::Health),
    Keygen(keygen::Keygen),
    Key(key::Key),
    Cert(cert::Cert),
    Certificate(certificate::Certificate),
    Commander(commander::Commander),
    Member(member::Member),
    Leader(leader::Leader),
    Upgrade(upgrade::Upgrade),
    Kv(kv::Kv),
    Zone(zone::Zone),
    Submit(submit::Submit),
    Lane(lane::Lane),
    Status(status::Status),
    Repair(repair::Repair),
    Audit(audit::Audit),
    Backup(Box<backup::Backup>),
    Restore(Box<restore::Restore>),
    Recover(Box<recover::Recover>),
    Receipt(receipt::Receipts),
    Bench(bench::Bench),
}

/// Reads the arguments, does what they say, and says how it ended.
pub fn main() -> ExitCode {
    main_as(Program::of_node())
}

/// The same, where a node says of itself that it has this program: for tests of upgrades.
pub fn main_as(program: Program) -> ExitCode {
    #[cfg(feature = "failpoints")]
    synod_journal::failpoint::obey_environment();
    let cli = Cli::parse();
    let output = cli.output;
    match cli.run(program) {
        Ok(code) => code,
        Err(error) => exit::report(&error, output),
    }
}

impl Cli {
    fn run(self, program: Program) -> anyhow::Result<ExitCode> {
        let output = self.output;
        // A node logs as its configuration says; the tools log nothing unless they are asked to.
        if !matches!(self.command, Command::Node(_) | Command::Front(_)) {
            let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
            let is_terminal = std::io::stderr().is_terminal();
            let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal);
            log.with_writer(std::io::stderr).init();
        }
        match self.command {
            Command::Demo(demo) => block_on(demo.run(output))?,
            Command::Init(init) => init.run(output),
            Command::Node(node) => node.run(program, output),
            Command::Front(front) => front.run(program, output),
            Command::Health(health) => block_on(health.run(output))?,
            Command::Keygen(keygen) => keygen.run(output),
            Command::Key(key) => key.run(output),
            Command::Cert(cert) => cert.run(output),
            Command::Certificate(certificate) => block_on(certificate.run(output))?,
            Command::Commander(commander) => block_on(commander.run(output))?,
            Command::Member(member) => block_on(member.run(output))?,
            Command::Leader(leader) => block_on(leader.run(output))?,
            Command::Upgrade(upgrade) => block_on(upgrade.run(output))?,
            Command::Kv(kv) => block_on(kv.run(output))?,
            Command::Zone(zone) => block_on(zone.run(output))?,
            Command::Submit(submit) => block_on(submit.run(output))?,
            Command::Lane(lane) => lane.run(output),
            Command::Status(status) => block_on(status.run(output))?,
            Command::Repair(repair) => repair.run(output),
            Command::Audit(audit) => audit.run(output),
            Command::Backup(backup) => backup.run(output),
            Command::Restore(restore) => restore.run(output),
            Command::Recover(recover) => recover.run(output),
            Command::Receipt(receipt) => receipt.run(output),
            Command::Bench(bench) => bench.run(output),
        }
    }
}

/// Runs a tool's work: one thread is enough for it.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the operating system does not let this program wait for the network")?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            for subcommand in command.get_subcommands() {
                let path = format!("{path} {}", subcommand.get_name());
                let help = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    help.contains(&format!("  {path} ")) || help.contains(&format!("  {path}\n")),
                    "{path}: {help}"
                );
                check(subcommand, &path);
            }
        }
        check(&Cli::command(), "synod");
    }
}
