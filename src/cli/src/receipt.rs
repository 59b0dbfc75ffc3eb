//! `synod receipt`: receipts that were kept, and their proof from a log.

pub(crate) mod kept;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use synod_types::AppNdx;

use crate::audit::LogArgs;
use crate::audit::beginning::Begins;
use crate::audit::expectation::Expectation;
use crate::audit::report::Report;
use crate::audit::walk::Until;
use crate::exit::Failure;
use crate::output::Output;
use kept::KeptReceipt;

/// Look at kept receipts, and prove them from a log
///
/// A receipt is what a commander gets for an executed command. Every write keeps it where --receipt FILE says; the JSON
/// that the commanders' port answers, and what --output json prints, will do as well.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod kv put greeting hello --receipt receipts.json
  synod receipt show receipts.json
  synod receipt verify receipts.json --url 127.0.0.1:9101
  synod receipt verify receipts.json --data-dir cluster/data-node1
  synod receipt verify receipts.json --url 127.0.0.1:9101 --lane visits=/usr/local/bin/visits")]
pub(crate) struct Receipts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print what is in a file of receipts
    #[command(after_help = "Example:\n  synod receipt show receipts.json")]
    Show {
        /// The file
        file: PathBuf,
    },
    /// Execute a log again up to each receipt's stateNdx, and compare: command, outcome and hash chain
    ///
    /// Exit code: 0 if every receipt is proved; 7 if one is not, or the log is not in order.
    #[command(after_help = "Examples:\n  synod receipt verify receipts.json --url 127.0.0.1:9101\n  \
                            synod receipt verify receipts.json --data-dir cluster/data-node1 --genesis genesis.json")]
    Verify {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        log: LogArgs,
    },
}

impl Receipts {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Show { file } => {
                for receipt in kept::load(&file)? {
                    output.print(&receipt.to_json(), text(&receipt))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify { file, log } => verify(file, &log, output),
        }
    }
}

fn verify(file: PathBuf, log: &LogArgs, output: Output) -> anyhow::Result<ExitCode> {
    let receipts = kept::load(&file)?;
    let mut logs = log.open()?;
    let mut expected: BTreeMap<AppNdx, Vec<Expectation>> = BTreeMap::new();
    for receipt in &receipts {
        logs.check_receipt(receipt, &file)?;
        let by = format!("the receipt in {}", file.display());
        expected.entry(receipt.app).or_default().push(Expectation::of_receipt(receipt.clone(), by));
    }
    let mut begins = BTreeMap::new();
    for (ndx, expected) in expected {
        let app = logs.app(ndx).cloned().expect("it was looked up for each receipt");
        let mut report = Report::silent();
        match logs.audit(&app, expected, Until::NothingIsExpected, &mut report)? {
            Ok(log) => begins.insert(ndx, log),
            Err(broken) => return Err(Failure::Broken(broken.to_string()).into()),
        };
    }
    for receipt in &receipts {
        let log = &begins[&receipt.app];
        let json = json!({ "proved": true, "begins": log.json(), "receipt": receipt.to_json() });
        let from = if *log == Begins::Genesis { String::new() } else { format!("; the log {log}") };
        output.print(&json, format!("proved: {}{from}", text(receipt)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(receipt: &KeptReceipt) -> String {
    let KeptReceipt { cluster: _, command, commander, app, seq, state_ndx, chain, outcome } = receipt;
    let commander = commander.map(|id| format!("  commander {}", id.short())).unwrap_or_default();
    let command = command.map(|id| format!("  command {}", id.short())).unwrap_or_default();
    let text = format!(
        "application {app}  stateNdx {state_ndx}  seq {seq}{commander}{command}  chain {}  {outcome}",
        chain.short()
    );
    crate::table::printable(&text)
}
