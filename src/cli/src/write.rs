//! Writes: signs an operation, has it executed, and prints its receipt.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use synod_client::{Client, CommandOptions, ExecuteError, SubmitError};
use synod_types::{AppNdx, Outcome, Receipt, SignedCommand, StateNdx, TimeMs, wire};

use crate::connection::Cluster;
use crate::exit::Failure;
use crate::output::Output;
use crate::receipt::kept::{Keeping, KeptReceipt};
use crate::time;

/// Conditions of a command, beside those of its operation.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Command")]
pub(crate) struct WriteOptions {
    /// Only if the application is in exactly this state
    #[arg(long, value_name = "STATENDX")]
    if_state: Option<u64>,
    /// Not executed later than so many seconds from now, by the cluster's time
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// Add the receipt to a file, as one line of JSON: `synod receipt verify` proves it from the log, at any time
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

impl WriteOptions {
    /// The file for receipts, opened.
    fn keeping(&self) -> anyhow::Result<Option<Keeping>> {
        self.receipt.as_deref().map(Keeping::open).transpose()
    }

    fn options(&self) -> CommandOptions {
        let not_after =
            self.expires_in.map(|seconds| TimeMs(time::now().0.saturating_add(seconds.saturating_mul(1000))));
        CommandOptions { not_after, expected: self.if_state.map(StateNdx) }
    }
}

/// What the answer to an operation means: for programs, and in words.
pub(crate) type Explained = (Value, String);

/// Has an operation executed and prints its receipt; `explain` reads the application's answer.
pub(crate) async fn execute(
    cluster: &Cluster,
    app: AppNdx,
    operation: Vec<u8>,
    options: &WriteOptions,
    output: Output,
    explain: impl FnOnce(&[u8]) -> Explained,
) -> anyhow::Result<ExitCode> {
    let client = cluster.client()?;
    let receipt = executed(&client, app, operation, options).await;
    client.close().await;
    print(&receipt?, output, explain)
}

/// Has an operation executed and gives its receipt. Where the outcome stays unknown, the command is kept in a file.
pub(crate) async fn executed(
    client: &Client,
    app: AppNdx,
    operation: Vec<u8>,
    options: &WriteOptions,
) -> anyhow::Result<Receipt> {
    let keeping = options.keeping()?;
    match client.execute_with_command(app, operation.into(), options.options()).await {
        Ok((command, receipt)) => {
            keep(keeping, client, &command, &receipt)?;
            Ok(receipt)
        }
        Err(ExecuteError::Submit(SubmitError::Unknown { command, why })) => {
            Err(unknown(&command, &why)?.into())
        }
        Err(error) => Err(Failure::from(error).into()),
    }
}

/// Submits a command as it is and prints its receipt.
pub(crate) async fn submit(
    client: &Client,
    command: &SignedCommand,
    options: &WriteOptions,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let keeping = options.keeping()?;
    let submitted = client.submit(command).await;
    client.close().await;
    let receipt = submitted.map_err(Failure::from)?;
    keep(keeping, client, command, &receipt)?;
    print(&receipt, output, hex)
}

fn keep(
    keeping: Option<Keeping>,
    client: &Client,
    command: &SignedCommand,
    receipt: &Receipt,
) -> anyhow::Result<()> {
    let Some(mut keeping) = keeping else { return Ok(()) };
    let kept = KeptReceipt::new(client.commander().cluster(), command, receipt);
    // What the command came to must not be lost with the file.
    keeping.keep(&kept).with_context(|| kept.to_json().to_string())
}

/// The answer of an application that this program does not look into.
pub(crate) fn hex(answer: &[u8]) -> Explained {
    let text = hex::encode(answer);
    (json!({ "answerHex": text }), if text.is_empty() { text } else { format!("answer {text}") })
}

/// Without its very bytes nobody can find out what became of a command, so they are kept.
fn unknown(command: &SignedCommand, why: &str) -> anyhow::Result<Failure> {
    let path = PathBuf::from(format!("synod-command-{}.bin", command.id().short()));
    std::fs::write(&path, wire::encode(command))
        .with_context(|| format!("cannot save the command in {}", path.display()))?;
    Ok(Failure::Unknown(format!(
        "nothing is known of the command: {why}. It may have been executed or may still be. Its bytes are in {path}: \
         `synod submit --signed {path}` finds out, and it is executed once at most",
        path = path.display()
    )))
}

fn print(
    receipt: &Receipt,
    output: Output,
    explain: impl FnOnce(&[u8]) -> Explained,
) -> anyhow::Result<ExitCode> {
    let Told { json, text, code } = told(receipt, explain);
    output.print(&json, text)?;
    Ok(ExitCode::from(code))
}

/// A receipt, as it is printed.
pub(crate) struct Told {
    /// For programs.
    pub(crate) json: Value,
    /// For people, on one line.
    pub(crate) text: String,
    /// The exit code: 0, or 3 where the application refused.
    pub(crate) code: u8,
}

/// How a receipt is printed; `explain` reads the application's answer.
pub(crate) fn told(receipt: &Receipt, explain: impl FnOnce(&[u8]) -> Explained) -> Told {
    let (outcome, text, code) = match &receipt.outcome {
        Outcome::Done(answer) => {
            let (json, words) = explain(answer);
            let separator = if words.is_empty() { "" } else { ": " };
            (json!({ "done": json }), format!("done{separator}{words}"), 0)
        }
        Outcome::Refused(refusal) => {
            let json = json!({ "refused": { "code": refusal.code.name(), "text": refusal.text } });
            // The code of `Failure::Refused`: the receipt is printed all the same.
            (json, format!("refused: {refusal}"), 3)
        }
    };
    let json = json!({
        "appNdx": receipt.app,
        "seq": receipt.seq,
        "stateNdx": receipt.state_ndx,
        "chain": receipt.chain.to_string(),
        "outcome": outcome,
    });
    let text = format!("stateNdx {}  chain {}  {text}", receipt.state_ndx, receipt.chain.short());
    Told { json, text, code }
}

/// What a command needs of a client, for those who do not print: one operation, one receipt.
pub(crate) async fn receipt(client: &Client, app: AppNdx, operation: Vec<u8>) -> anyhow::Result<Receipt> {
    let executed = client.execute(app, Bytes::from(operation), CommandOptions::default()).await;
    Ok(executed.map_err(Failure::from)?)
}
