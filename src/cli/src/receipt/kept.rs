//! Receipts in files: kept with `--receipt FILE`, or in any form in which a receipt is given out.
//!
//! A kept receipt is one line of JSON, and a file has as many as were written to it:
//!
//! ```text
//! {"format":"synod/receipt/v1","cluster":ID,"command":ID,"commander":ID,
//!  "appNdx":1,"seq":7,"stateNdx":12,"chain":HASH,"outcome":{"done":BASE64} or {"refused":{"code":…,"text":…}}}
//! ```
//!
//! The second line is what the commanders' port answers. Also taken: that answer by itself, the problem around a receipt of
//! a refused command, what `--output json` prints (where the answer is explained), and the receipt in wire encoding.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synod_types::{
    AppNdx, ClusterId, CommandId, CommanderId, Digest, Outcome, Receipt, Refusal, Seq, SignedCommand,
    StateNdx, wire,
};

use crate::audit::auditor::{Cause, Change};
use crate::audit::words;

/// What the field `format` says.
const FORMAT: &str = "synod/receipt/v1";
/// Bytes of a file that are read.
const BYTES_MAX: u64 = 64 << 20;

/// A receipt, with as much as is known of its command.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct KeptReceipt {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) command: Option<CommandId>,
    pub(crate) commander: Option<CommanderId>,
    pub(crate) app: AppNdx,
    pub(crate) seq: Seq,
    pub(crate) state_ndx: StateNdx,
    pub(crate) chain: Digest,
    pub(crate) outcome: KeptOutcome,
}

/// An outcome as a receipt has it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum KeptOutcome {
    /// Done, with this answer.
    Done(Vec<u8>),
    /// Done, with an answer that was put into words.
    Explained(Value),
    /// Refused.
    Refused { code: String, text: String },
}

impl KeptReceipt {
    /// Holds it against what was executed in its state, but for the chain.
    pub(crate) fn check(&self, change: &Change) -> Result<(), String> {
        let Cause::Command { id, body, .. } = &change.cause else {
            return Err(format!("stateNdx {} was made by an expiry, and by no command", self.state_ndx));
        };
        let differs = |what: &str, kept: &dyn std::fmt::Display, executed: &dyn std::fmt::Display| {
            Err(format!(
                "the receipt is for {what} {kept}, and stateNdx {} was made by {executed}",
                self.state_ndx
            ))
        };
        if self.commander.is_some_and(|commander| commander != body.commander) {
            return differs("commander", &self.commander.unwrap_or_default(), &body.commander);
        }
        if self.seq != body.seq {
            return differs("seq", &self.seq, &body.seq);
        }
        if self.command.is_some_and(|command| command != *id) {
            return differs("command", &self.command.unwrap_or_default(), id);
        }
        let is_same = match (&self.outcome, &change.outcome) {
            (KeptOutcome::Done(kept), Outcome::Done(answer)) => kept == answer,
            (KeptOutcome::Explained(kept), Outcome::Done(answer)) => {
                words::explanations(body, answer).contains(kept)
            }
            (KeptOutcome::Refused { code, text }, Outcome::Refused(refusal)) => {
                code == refusal.code.name() && *text == refusal.text
            }
            _ => false,
        };
        if !is_same {
            return Err(format!(
                "the receipt's outcome is {}, and executing the command gives {}",
                self.outcome,
                KeptOutcome::of(&change.outcome)
            ));
        }
        Ok(())
    }
}

impl KeptOutcome {
    fn of(outcome: &Outcome) -> KeptOutcome {
        match outcome {
            Outcome::Done(answer) => KeptOutcome::Done(answer.to_vec()),
            Outcome::Refused(Refusal { code, text }) => {
                KeptOutcome::Refused { code: code.name().to_owned(), text: text.clone() }
            }
        }
    }

    fn of_form(form: OutcomeForm) -> anyhow::Result<KeptOutcome> {
        Ok(match form {
            OutcomeForm::Done(Value::String(answer)) => {
                KeptOutcome::Done(BASE64.decode(answer).context("its answer is not base64")?)
            }
            OutcomeForm::Done(explained) => KeptOutcome::Explained(explained),
            OutcomeForm::Refused { code, text } => KeptOutcome::Refused { code, text },
        })
    }

    fn form(&self) -> OutcomeForm {
        match self.clone() {
            KeptOutcome::Done(answer) => OutcomeForm::Done(BASE64.encode(answer).into()),
            KeptOutcome::Explained(explained) => OutcomeForm::Done(explained),
            KeptOutcome::Refused { code, text } => OutcomeForm::Refused { code, text },
        }
    }
}

impl std::fmt::Display for KeptOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeptOutcome::Done(answer) if answer.is_empty() => f.write_str("done"),
            KeptOutcome::Done(answer) => write!(f, "done with answer {}", hex::encode(answer)),
            KeptOutcome::Explained(explained) => write!(f, "done with {explained}"),
            KeptOutcome::Refused { code, text } => write!(f, "refused: {code}: {text}"),
        }
    }
}

/// A receipt as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commander: Option<String>,
    app_ndx: AppNdx,
    seq: Seq,
    state_ndx: StateNdx,
    chain: String,
    outcome: OutcomeForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OutcomeForm {
    Done(Value),
    Refused { code: String, text: String },
}

impl KeptReceipt {
    fn of_form(form: Form) -> anyhow::Result<KeptReceipt> {
        if let Some(format) = &form.format {
            ensure!(format == FORMAT, "it has format {format:?}; this program knows {FORMAT:?}");
        }
        Ok(KeptReceipt {
            cluster: form.cluster.map(|id| id.parse()).transpose().context("its cluster")?,
            command: form.command.map(|id| id.parse()).transpose().context("its command")?,
            commander: form.commander.map(|id| id.parse()).transpose().context("its commander")?,
            app: form.app_ndx,
            seq: form.seq,
            state_ndx: form.state_ndx,
            chain: form.chain.parse().context("its chain")?,
            outcome: KeptOutcome::of_form(form.outcome)?,
        })
    }

    fn of_wire(receipt: &Receipt) -> KeptReceipt {
        KeptReceipt {
            cluster: None,
            command: None,
            commander: None,
            app: receipt.app,
            seq: receipt.seq,
            state_ndx: receipt.state_ndx,
            chain: receipt.chain,
            outcome: KeptOutcome::of(&receipt.outcome),
        }
    }

    /// The receipt of this command.
    pub(crate) fn new(cluster: ClusterId, command: &SignedCommand, receipt: &Receipt) -> KeptReceipt {
        KeptReceipt {
            cluster: Some(cluster),
            command: Some(command.id()),
            commander: Some(CommanderId(Digest::of(&[&command.key]))),
            ..KeptReceipt::of_wire(receipt)
        }
    }

    /// As one line of JSON, without its end.
    pub(crate) fn to_json(&self) -> Value {
        let text = |id: &dyn std::fmt::Display| id.to_string();
        let form = Form {
            format: Some(FORMAT.to_owned()),
            cluster: self.cluster.as_ref().map(|id| text(id)),
            command: self.command.as_ref().map(|id| text(id)),
            commander: self.commander.as_ref().map(|id| text(id)),
            app_ndx: self.app,
            seq: self.seq,
            state_ndx: self.state_ndx,
            chain: self.chain.to_string(),
            outcome: self.outcome.form(),
        };
        serde_json::to_value(form).expect("text and numbers always serialize")
    }
}

/// Every receipt in a file, in their order; one at least.
pub(crate) fn load(path: &Path) -> anyhow::Result<Vec<KeptReceipt>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} holds no receipt", path.display()))
}

fn parse(bytes: &[u8]) -> anyhow::Result<Vec<KeptReceipt>> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let receipt: Receipt =
            wire::decode(bytes).context("it is neither JSON nor a receipt in wire encoding")?;
        return Ok(vec![KeptReceipt::of_wire(&receipt)]);
    }
    let mut receipts = Vec::new();
    for (n, document) in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().enumerate() {
        let receipt = document.map_err(anyhow::Error::from).and_then(|mut document| {
            // A command that was executed and refused: the problem has its receipt in it.
            let form = document.get_mut("receipt").map_or(Value::Null, Value::take);
            let form = if form.is_object() { form } else { document };
            KeptReceipt::of_form(serde_json::from_value(form)?)
        });
        receipts.push(receipt.with_context(|| format!("document {}", n + 1))?);
    }
    if receipts.is_empty() {
        bail!("it is empty");
    }
    Ok(receipts)
}

/// A file that receipts are added to.
pub(crate) struct Keeping {
    file: File,
    path: PathBuf,
}

impl Keeping {
    /// Opens the file, before anything is commanded whose receipt could be lost.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Keeping> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {} for a receipt", path.display()))?;
        Ok(Keeping { file, path: path.to_owned() })
    }

    /// Adds a receipt, durably.
    pub(crate) fn keep(&mut self, receipt: &KeptReceipt) -> anyhow::Result<()> {
        let line = format!("{}\n", receipt.to_json());
        let kept = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all());
        kept.with_context(|| {
            format!("the command is executed; cannot keep its receipt in {}", self.path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use synod_types::RefusalCode;

    use super::*;

    fn receipt(outcome: Outcome) -> Receipt {
        Receipt { app: AppNdx(1), seq: Seq(7), state_ndx: StateNdx(12), outcome, chain: Digest([0xab; 32]) }
    }

    fn done() -> Receipt {
        receipt(Outcome::Done(b"\0\x01\x0b".to_vec().into()))
    }

    fn command() -> SignedCommand {
        SignedCommand {
            body: b"body".to_vec().into(),
            signature: b"signature".to_vec().into(),
            key: b"key".to_vec().into(),
        }
    }

    #[test]
    fn what_is_kept_reads_back_and_stays_as_it_is() {
        let kept = KeptReceipt::new(ClusterId(Digest([1; 32])), &command(), &done());
        let ab = "ab".repeat(32);
        let (command, commander) = (command().id(), Digest::of(&[b"key"]));
        let line = format!(
            "{{\"appNdx\":1,\"chain\":\"{ab}\",\"cluster\":\"{}\",\"command\":\"{command}\",\
             \"commander\":\"{commander}\",\"format\":\"synod/receipt/v1\",\"outcome\":{{\"done\":\"AAEL\"}},\
             \"seq\":7,\"stateNdx\":12}}",
            "01".repeat(32)
        );
        assert_eq!(kept.to_json().to_string(), line);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/receipt-v1.json");
        synod_golden::holds_file(golden, format!("{line}\n").as_bytes());
        assert_eq!(
            load(std::path::Path::new(golden)).unwrap(),
            [KeptReceipt::new(ClusterId(Digest([1; 32])), &self::command(), &done())]
        );
        let refusal = Refusal::new(RefusalCode::Conflict, "no");
        let refused = KeptReceipt::of_wire(&receipt(Outcome::Refused(refusal)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receipts");
        Keeping::open(&path).unwrap().keep(&kept).unwrap();
        Keeping::open(&path).unwrap().keep(&refused).unwrap();
        assert_eq!(load(&path).unwrap(), [kept, refused]);
    }

    #[test]
    fn every_form_of_a_receipt_is_taken() {
        let plain = || KeptReceipt::of_wire(&done());
        let ab = "ab".repeat(32);
        let answer = |outcome: &str| {
            format!("{{\"appNdx\":1,\"seq\":7,\"stateNdx\":12,\"chain\":\"{ab}\",\"outcome\":{outcome}}}")
        };
        let back_end = answer(r#"{"done":"AAEL"}"#);
        assert_eq!(parse(back_end.as_bytes()).unwrap(), [plain()]);
        assert_eq!(parse(&wire::encode(&done())).unwrap(), [plain()]);
        let refused = KeptReceipt {
            outcome: KeptOutcome::Refused { code: "conflict".to_owned(), text: "no".to_owned() },
            ..plain()
        };
        let problem = format!(
            r#"{{"type":"/problems/conflict","status":409,"receipt":{}}}"#,
            answer(r#"{"refused":{"code":"conflict","text":"no"}}"#)
        );
        assert_eq!(parse(problem.as_bytes()).unwrap(), [refused]);
        let explained = parse(answer(r#"{"done":{"previous":11}}"#).as_bytes()).unwrap();
        assert_eq!(explained[0].outcome, KeptOutcome::Explained(serde_json::json!({ "previous": 11 })));
        let both = format!("{back_end}\n\n{back_end}\n");
        assert_eq!(parse(both.as_bytes()).unwrap(), [plain(), plain()]);
    }

    #[test]
    fn what_is_no_receipt_says_why() {
        for (bytes, expected) in [
            (&b""[..], "neither JSON nor a receipt"),
            (b"\x01\x02", "neither JSON nor a receipt"),
            (b"{}", "document 1"),
            (b"{\"appNdx\":1", "document 1"),
        ] {
            let said = format!("{:#}", parse(bytes).unwrap_err());
            assert!(said.contains(expected), "{said}");
        }
        let mut later = KeptReceipt::of_wire(&done()).to_json();
        later["format"] = "synod/receipt/v2".into();
        let said = format!("{:#}", parse(later.to_string().as_bytes()).unwrap_err());
        assert!(said.contains("\"synod/receipt/v1\""), "{said}");
    }
}
