//! `synod kv put`, `cas`, `add` and `delete`; and what the application says of any command.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value as Json, json};
use synod_app_kv::{KvOp, KvReply, KvResult};
use synod_types::StateNdx;

use super::options::Writing;
use crate::output::Output;
use crate::submit::read_limited;
use crate::write::{self, Explained};

/// Set a key, whether it exists or not
#[derive(Args, Debug)]
#[command(
    override_usage = "synod kv put [OPTIONS] <KEY> <VALUE|--file FILE>",
    after_help = "Examples:\n  synod kv put greeting hello\n  synod kv put zone --file zone.txt\n  \
                  synod kv put service/web1 192.0.2.7 --lease 41"
)]
pub(crate) struct Put {
    /// The key
    key: String,
    #[command(flatten)]
    value: Value,
    /// The key ends with this lease, which is named by the stateNdx that granted it
    #[arg(long, value_name = "LEASE")]
    lease: Option<u64>,
    #[command(flatten)]
    writing: Writing,
}

impl Put {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let (key, value) = (self.key.into(), self.value.bytes()?);
        let op = match self.lease.map(StateNdx) {
            None => KvOp::Put { key, value },
            Some(lease) => KvOp::PutBound { key, value, lease },
        };
        self.writing.execute(op, output).await
    }
}

/// Set a key only if it is as expected; refused otherwise (exit code 3)
#[derive(Args, Debug)]
#[command(
    override_usage = "synod kv cas [OPTIONS] <KEY> <VALUE|--file FILE> <--expected STATENDX|--absent>",
    after_help = "Examples:\n  synod kv cas greeting hi --expected 12\n  synod kv cas leader node1 --absent"
)]
pub(crate) struct Cas {
    /// The key
    key: String,
    #[command(flatten)]
    value: Value,
    /// Only if this state last changed the key
    #[arg(long, value_name = "STATENDX", required_unless_present = "absent", conflicts_with = "absent")]
    expected: Option<u64>,
    /// Only if the key does not exist
    #[arg(long)]
    absent: bool,
    #[command(flatten)]
    writing: Writing,
}

impl Cas {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let (key, value, expected) = (self.key.into(), self.value.bytes()?, self.expected.map(StateNdx));
        self.writing.execute(KvOp::CompareAndSet { key, expected, value }, output).await
    }
}

/// Add to a counter: a key with a whole number; one that does not exist counts as 0
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod kv add visits 1\n  synod kv add stock -5")]
pub(crate) struct Add {
    /// The key
    key: String,
    /// How much; may be negative
    #[arg(allow_negative_numbers = true)]
    delta: i64,
    #[command(flatten)]
    writing: Writing,
}

impl Add {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        self.writing.execute(KvOp::Add { key: self.key.into(), delta: self.delta }, output).await
    }
}

/// Remove a key, whether it exists or not, or every key that begins with a prefix
#[derive(Args, Debug)]
#[command(
    override_usage = "synod kv delete [OPTIONS] <KEY|--prefix PREFIX>",
    after_help = "Examples:\n  synod kv delete greeting\n  synod kv delete --prefix service/"
)]
pub(crate) struct Delete {
    /// The key
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix")]
    key: Option<String>,
    /// Every key that begins with this
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    writing: Writing,
}

impl Delete {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let op = match self.prefix {
            Some(prefix) => KvOp::DeletePrefix { prefix: prefix.into() },
            None => KvOp::Delete { key: self.key.unwrap_or_default().into() },
        };
        self.writing.execute(op, output).await
    }
}

/// A value, or where it is.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Value {
    /// The value
    value: Option<String>,
    /// Take the value from a file; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Value {
    fn bytes(self) -> anyhow::Result<Bytes> {
        match (self.value, self.file) {
            (Some(value), _) => Ok(value.into()),
            (None, file) => Ok(read_limited(file.as_deref())?.into()),
        }
    }
}

/// What the application says of a command.
pub(crate) fn explain(answer: &[u8]) -> Explained {
    let Ok(reply) = KvReply::decode(answer) else { return write::hex(answer) };
    match reply {
        KvReply::Written { previous: None } => (json!({ "previous": null }), "the key is new".to_owned()),
        KvReply::Written { previous: Some(previous) } => {
            (json!({ "previous": previous }), format!("the key was last changed in {previous}"))
        }
        KvReply::Deleted { existed } => {
            let words = if existed { "the key is gone" } else { "there was no such key" };
            (json!({ "existed": existed }), words.to_owned())
        }
        KvReply::DeletedMany { count } => (json!({ "deleted": count }), deleted(count)),
        KvReply::Counted { value } => (json!({ "value": value }), format!("the counter is at {value}")),
        KvReply::Txn { failed, results } => transaction(failed, &results),
        KvReply::Leased => {
            (json!({ "leased": true }), "the lease is granted, and its name is this stateNdx".to_owned())
        }
        KvReply::KeptAlive { gone } => {
            let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
            let words = match names.len() {
                0 => "kept alive".to_owned(),
                _ => format!("over already: {}", names.join(", ")),
            };
            (json!({ "gone": gone }), words)
        }
        KvReply::Compacted { oldest } => {
            (json!({ "oldest": oldest }), format!("the oldest state that can be read is {oldest}"))
        }
        KvReply::Configured => (json!({ "configured": true }), "the limits are set".to_owned()),
    }
}

fn transaction(failed: Option<u32>, results: &[KvResult]) -> Explained {
    let of = |result: &KvResult| -> (Json, String) {
        match *result {
            KvResult::Put { existed } => {
                let words = if existed { "set" } else { "made" };
                (json!({ "put": { "existed": existed } }), words.to_owned())
            }
            KvResult::Deleted { count } => (json!({ "deleted": count }), deleted(count)),
            KvResult::Counted { value } => (json!({ "value": value }), format!("counter at {value}")),
        }
    };
    let (json, words): (Vec<Json>, Vec<String>) = results.iter().map(of).unzip();
    let words = if words.is_empty() { "nothing changed".to_owned() } else { words.join(", ") };
    let branch = match failed {
        None => "then".to_owned(),
        // People count from one.
        Some(failed) => format!("else, since condition {} does not hold", u64::from(failed) + 1),
    };
    (
        json!({ "succeeded": failed.is_none(), "failed": failed, "results": json }),
        format!("{branch}: {words}"),
    )
}

fn deleted(count: u64) -> String {
    match count {
        0 => "there was no such key".to_owned(),
        1 => "1 key is gone".to_owned(),
        count => format!("{count} keys are gone"),
    }
}

#[cfg(test)]
mod tests {
    use synod_types::wire;

    use super::*;

    #[test]
    fn every_reply_has_its_words() {
        let said = |reply: KvReply| explain(&wire::encode(&reply)).1;
        assert_eq!(said(KvReply::DeletedMany { count: 2 }), "2 keys are gone");
        assert_eq!(said(KvReply::Counted { value: -3 }), "the counter is at -3");
        assert_eq!(said(KvReply::KeptAlive { gone: vec![] }), "kept alive");
        assert_eq!(said(KvReply::KeptAlive { gone: vec![StateNdx(4), StateNdx(9)] }), "over already: 4, 9");
        let results = vec![KvResult::Put { existed: false }, KvResult::Deleted { count: 1 }];
        assert_eq!(said(KvReply::Txn { failed: None, results }), "then: made, 1 key is gone");
        let refused = KvReply::Txn { failed: Some(1), results: Vec::new() };
        assert_eq!(said(refused), "else, since condition 2 does not hold: nothing changed");
    }
}
