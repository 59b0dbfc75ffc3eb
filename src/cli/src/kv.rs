//! `synod kv`: the key-value application. Writes go to the back end as signed commands, reads come over HTTP.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synod_app_kv::{KvOp, KvReply};
use synod_types::StateNdx;

use crate::connection::Connection;
use crate::output::{self, Output};
use crate::reader::{ReadOptions, percent_encoded};
use crate::submit::read_limited;
use crate::table::Table;
use crate::write::{self, Explained, WriteOptions};

/// Characters of a value that a list shows.
const VALUE_SHOWN_MAX: usize = 60;

/// Read and write the key-value application
///
/// A key remembers the stateNdx that last changed it; `cas` changes a key only if that is still so.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod kv put greeting hello
  synod kv get greeting --min 12        # wait for the stateNdx of a receipt, at whichever node answers
  synod kv cas greeting hi --expected 12
  synod kv put zone --file zone.txt
  synod kv list --prefix service/
  synod kv delete greeting")]
pub(crate) struct Kv {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Set a key, whether it exists or not
    #[command(
        override_usage = "synod kv put [OPTIONS] <KEY> <VALUE|--file FILE>",
        after_help = "Examples:\n  synod kv put greeting hello\n  synod kv put zone --file zone.txt"
    )]
    Put {
        /// The key
        key: String,
        #[command(flatten)]
        value: Value,
        #[command(flatten)]
        common: WriteCommon,
    },
    /// Set a key only if it is as expected; refused otherwise (exit code 3)
    #[command(
        override_usage = "synod kv cas [OPTIONS] <KEY> <VALUE|--file FILE> <--expected STATENDX|--absent>",
        after_help = "Examples:\n  synod kv cas greeting hi --expected 12\n  synod kv cas leader node1 --absent"
    )]
    Cas {
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
        common: WriteCommon,
    },
    /// Remove a key, whether it exists or not
    #[command(after_help = "Example:\n  synod kv delete greeting")]
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        common: WriteCommon,
    },
    /// Print the bytes under a key, as they are; its states go to standard error
    #[command(after_help = "Examples:\n  synod kv get greeting\n  synod kv get greeting --min 12\n  \
                            synod kv get greeting --consistency linearizable")]
    Get {
        /// The key
        key: String,
        #[command(flatten)]
        common: ReadCommon,
    },
    /// List keys in their order
    #[command(after_help = "Examples:\n  synod kv list\n  synod kv list --prefix service/ --limit 1000")]
    List {
        /// Only keys that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only keys behind this one
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        common: ReadCommon,
    },
}

#[derive(Args, Debug)]
struct WriteCommon {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", default_value = "1")]
    app: String,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
struct ReadCommon {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", default_value = "1")]
    app: String,
    #[command(flatten)]
    read: ReadOptions,
    #[command(flatten)]
    connection: Connection,
}

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

impl Kv {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Put { key, value, common } => {
                common.execute(KvOp::Put { key: key.into(), value: value.bytes()? }, output).await
            }
            Command::Cas { key, value, expected, absent: _, common } => {
                let (key, value, expected) = (key.into(), value.bytes()?, expected.map(StateNdx));
                common.execute(KvOp::CompareAndSet { key, expected, value }, output).await
            }
            Command::Delete { key, common } => common.execute(KvOp::Delete { key: key.into() }, output).await,
            Command::Get { key, common } => common.get(&key, output).await,
            Command::List { prefix, after, limit, common } => {
                let mut parameters = common.read.parameters();
                parameters.extend([("prefix", prefix), ("limit", limit.to_string())]);
                parameters.extend(after.map(|after| ("after", after)));
                common.list(&parameters, output).await
            }
        }
    }
}

impl WriteCommon {
    async fn execute(self, op: KvOp, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.connection.cluster()?;
        let app = cluster.app(&self.app)?;
        write::execute(&cluster, app, op.encode(), &self.options, output, explain).await
    }
}

/// What the application says of a write.
pub(crate) fn explain(answer: &[u8]) -> Explained {
    match KvReply::decode(answer) {
        Ok(KvReply::Written { previous: None }) => (json!({ "previous": null }), "the key is new".to_owned()),
        Ok(KvReply::Written { previous: Some(previous) }) => {
            (json!({ "previous": previous }), format!("the key was last changed in {previous}"))
        }
        Ok(KvReply::Deleted { existed }) => {
            let words = if existed { "the key is gone" } else { "there was no such key" };
            (json!({ "existed": existed }), words.to_owned())
        }
        Ok(_) | Err(_) => write::hex(answer),
    }
}

impl ReadCommon {
    async fn get(self, key: &str, output: Output) -> anyhow::Result<ExitCode> {
        let path = format!("{}/{}", self.path(), percent_encoded(key.as_bytes()));
        let reader = self.connection.cluster()?.reader()?;
        let answer = reader.get(&path, &self.read.parameters()).await?;
        let (state_ndx, changed) = (answer.state_ndx, answer.last_change);
        match output {
            Output::Text => {
                output::bytes(&answer.body)?;
                let number = |ndx: Option<u64>| ndx.map_or_else(|| "?".to_owned(), |ndx| ndx.to_string());
                eprintln!("stateNdx {}, last changed in {}", number(state_ndx), number(changed));
            }
            Output::Json => {
                let mut json = json!({ "key": key, "stateNdx": state_ndx, "changed": changed });
                match std::str::from_utf8(&answer.body) {
                    Ok(value) => json["value"] = value.into(),
                    Err(_) => json["valueBase64"] = BASE64.encode(&answer.body).into(),
                }
                output.print(&json, "")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list(self, parameters: &[(&str, String)], output: Output) -> anyhow::Result<ExitCode> {
        let page: Page = self.connection.cluster()?.reader()?.get(&self.path(), parameters).await?.json()?;
        output.print(&page, text(&page))?;
        Ok(ExitCode::SUCCESS)
    }

    fn path(&self) -> String {
        format!("/v1/apps/{}/kv", percent_encoded(self.app.as_bytes()))
    }
}

/// What `/v1/apps/{app}/kv` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Page {
    app_ndx: u32,
    state_ndx: u64,
    entries: Vec<Entry>,
    more: bool,
    next: Option<String>,
}

/// A key or value that is not text comes as base64.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    created: u64,
    changed: u64,
}

fn text(page: &Page) -> String {
    let shown = |text: &Option<String>, base64: &Option<String>| {
        text.clone().unwrap_or_else(|| format!("base64:{}", base64.as_deref().unwrap_or_default()))
    };
    let mut table = Table::new(&["KEY", "VALUE", "CREATED", "CHANGED"]);
    for entry in &page.entries {
        let value = shown(&entry.value, &entry.value_base64);
        let value = match value.char_indices().nth(VALUE_SHOWN_MAX) {
            None => value,
            Some((end, _)) => format!("{}…", &value[..end]),
        };
        let numbers = [entry.created, entry.changed].map(|ndx| ndx.to_string());
        table.row([shown(&entry.key, &entry.key_base64), value].into_iter().chain(numbers));
    }
    let more = page.entries.last().filter(|_| page.more).map(|last| {
        let last = shown(&last.key, &last.key_base64);
        format!("there are more: --after {last:?}\n")
    });
    format!("{table}stateNdx {}\n{}", page.state_ndx, more.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_well() {
        let entry = |key: &str, value: &str, changed| Entry {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
            created: 1,
            changed,
            ..Entry::default()
        };
        let binary =
            Entry { key: Some("raw".to_owned()), value_base64: Some("/w==".to_owned()), ..Entry::default() };
        let page = Page {
            app_ndx: 1,
            state_ndx: 12,
            entries: vec![entry("greeting", "hello", 12), entry("long", &"x".repeat(61), 2), binary],
            more: true,
            next: None,
        };
        let x = "x".repeat(60);
        let expected = format!(
            "KEY       VALUE{s56}  CREATED  CHANGED\n\
             greeting  hello{s56}  1        12\n\
             long      {x}…  1        2\n\
             raw       base64:/w=={s49}  0        0\n\
             stateNdx 12\n\
             there are more: --after \"raw\"\n",
            s56 = " ".repeat(56),
            s49 = " ".repeat(50),
        );
        assert_eq!(text(&page), expected);
    }
}
