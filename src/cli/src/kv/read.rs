//! `synod kv get`, `list` and `history`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Map, json};

use super::answers::{HistoryPage, Page, cut, number, shown};
use super::options::{Reading, below};
use super::verify::verify;
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::proved::Asked;
use crate::table::Table;

/// Print the bytes under a key, as they are; its states go to standard error
///
/// With --verify the node, and whoever is between, need not be trusted: it has to prove, from the genesis document on, what the key
/// holds, or that there is no such key. It does so of the newest state that enough members have signed, which may be a second
/// old. Exit code 7: nothing is proved.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod kv get greeting\n  synod kv get greeting --min 12\n  \
                        synod kv get greeting --at 12\n  synod kv get greeting --consistency linearizable\n  \
                        synod kv get greeting --verify --genesis genesis.json --http mirror.example:9101")]
pub(crate) struct Get {
    /// The key
    key: String,
    /// As it was in this state; one that is not there yet is waited for
    #[arg(long, value_name = "STATENDX")]
    at: Option<u64>,
    /// Believe what is proved from the genesis document on, and nothing else
    #[arg(long, conflicts_with_all = ["at", "consistency"])]
    verify: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Get {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if self.verify {
            return self.verified(output).await;
        }
        let at: Vec<_> = self.at.map(|at| ("at", at.to_string())).into_iter().collect();
        let answer = self.reading.get(&below("kv", &self.key), &at).await?;
        let (state_ndx, changed) = (answer.state_ndx, answer.last_change);
        match output {
            Output::Text => {
                output::bytes(&answer.body)?;
                eprintln!("stateNdx {}, last changed in {}", number(state_ndx), number(changed));
            }
            Output::Json => {
                let mut json = json!({ "key": self.key, "stateNdx": state_ndx, "changed": changed });
                match std::str::from_utf8(&answer.body) {
                    Ok(value) => json["value"] = value.into(),
                    Err(_) => json["valueBase64"] = BASE64.encode(&answer.body).into(),
                }
                output.print(&json, "")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Get {
    async fn verified(self, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.reading.place.connection.cluster()?;
        let (genesis, id) = cluster.genesis()?;
        let app = cluster.app(&self.reading.place.app)?;
        let answer = self.reading.get(&below("kv", &self.key), &[("proof", "1".to_owned())]).await?;
        let asked = Asked { genesis: &genesis, cluster: id, app, min: self.reading.read.min() };
        let proved = verify(&answer.body, &asked, self.key.as_bytes())?;
        let (state_ndx, by) = (proved.statement.state_ndx, proved.by());
        let Some(entry) = &proved.held else {
            let text = format!("proved: there is no key {:?} in state {state_ndx}; {by}", self.key);
            return Err(Failure::NoSuchKey(text).into());
        };
        match output {
            Output::Text => {
                output::bytes(&entry.value)?;
                eprintln!("proved: stateNdx {state_ndx}, last changed in {}; {by}", entry.changed);
            }
            Output::Json => {
                let mut json = Map::new();
                json.insert("key".to_owned(), self.key.into());
                json.insert("changed".to_owned(), entry.changed.0.into());
                proved.put_into(&mut json);
                match std::str::from_utf8(&entry.value) {
                    Ok(value) => json.insert("value".to_owned(), value.into()),
                    Err(_) => json.insert("valueBase64".to_owned(), BASE64.encode(&entry.value).into()),
                };
                output.print(&json, "")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// List keys in their order
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod kv list\n  synod kv list --prefix service/ --limit 1000\n  \
                        synod kv list --all --at 1200")]
pub(crate) struct List {
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only keys behind this one
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// At most so many, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Every key, page after page, all from one state
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// As they were in this state; one that is not there yet is waited for
    #[arg(long, value_name = "STATENDX")]
    at: Option<u64>,
    #[command(flatten)]
    reading: Reading,
}

impl List {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut page = self.page(self.after.as_ref(), self.at).await?;
        while self.all && page.more {
            let last = page.entries.last().and_then(|last| last.key.as_ref());
            let last = last.ok_or_else(|| anyhow::anyhow!("a key is not text; read the pages over HTTP"))?;
            // Whatever is written meanwhile, the list is of the state in which it began.
            let at = self.at.or(Some(page.state_ndx));
            let next = self.page(Some(last), at).await?;
            page.entries.extend(next.entries);
            (page.more, page.next) = (next.more, next.next);
        }
        output.print(&page, list(&page))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn page(&self, after: Option<&String>, at: Option<u64>) -> anyhow::Result<Page> {
        let limit = if self.all { 1000 } else { self.limit };
        let mut parameters = vec![("prefix", self.prefix.clone()), ("limit", limit.to_string())];
        parameters.extend(after.map(|after| ("after", after.clone())));
        parameters.extend(at.map(|at| ("at", at.to_string())));
        self.reading.get_json("kv", &parameters).await
    }
}

/// Print what a key held, the latest first, as far as it is remembered
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  synod kv history greeting\n  synod kv history greeting --before 12 --limit 1"
)]
pub(crate) struct History {
    /// The key
    key: String,
    /// Only what it held before this state
    #[arg(long, value_name = "STATENDX")]
    before: Option<u64>,
    /// At most so many versions, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    reading: Reading,
}

impl History {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(self.before.map(|before| ("before", before.to_string())));
        let page: HistoryPage = self.reading.get_json(&below("history", &self.key), &parameters).await?;
        output.print(&page, history(&page))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list(page: &Page) -> String {
    let mut table = Table::new(&["KEY", "VALUE", "CREATED", "CHANGED", "LEASE"]);
    for entry in &page.entries {
        let key = shown(entry.key.as_ref(), entry.key_base64.as_ref());
        let value = cut(shown(entry.value.as_ref(), entry.value_base64.as_ref()));
        let lease = entry.lease.map(|lease| lease.to_string()).unwrap_or_default();
        table.row([key, value, entry.created.to_string(), entry.changed.to_string(), lease]);
    }
    let more = page.entries.last().filter(|_| page.more).map(|last| {
        let last = shown(last.key.as_ref(), last.key_base64.as_ref());
        format!("there are more: --after {last:?}\n")
    });
    format!("{table}stateNdx {}\n{}", page.at.unwrap_or(page.state_ndx), more.unwrap_or_default())
}

fn history(page: &HistoryPage) -> String {
    let mut table = Table::new(&["CHANGED", "VALUE", "CREATED", "LEASE"]);
    for version in &page.versions {
        let value = match version.removed {
            true => "(removed)".to_owned(),
            false => cut(shown(version.value.as_ref(), version.value_base64.as_ref())),
        };
        let lease = version.lease.map(|lease| lease.to_string()).unwrap_or_default();
        table.row([version.changed.to_string(), value, number(version.created), lease]);
    }
    let more = page.versions.last().filter(|_| page.more);
    let more = more.map(|last| format!("there are more: --before {}\n", last.changed)).unwrap_or_default();
    format!("{table}stateNdx {}, remembered from {} on\n{more}", page.state_ndx, page.oldest)
}

#[cfg(test)]
mod tests {
    use super::super::answers::{Entry, Version};
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
        let binary = Entry {
            key: Some("raw".to_owned()),
            value_base64: Some("/w==".to_owned()),
            lease: Some(7),
            ..Entry::default()
        };
        let page = Page {
            app_ndx: 1,
            state_ndx: 12,
            at: None,
            entries: vec![entry("greeting", "hello", 12), entry("long", &"x".repeat(61), 2), binary],
            more: true,
            next: None,
        };
        let x = "x".repeat(60);
        let expected = format!(
            "KEY       VALUE{s56}  CREATED  CHANGED  LEASE\n\
             greeting  hello{s56}  1        12\n\
             long      {x}…  1        2\n\
             raw       base64:/w=={s49}  0        0        7\n\
             stateNdx 12\n\
             there are more: --after \"raw\"\n",
            s56 = " ".repeat(56),
            s49 = " ".repeat(50),
        );
        assert_eq!(list(&page), expected);
    }

    #[test]
    fn a_history_reads_well() {
        let version = |changed, value: Option<&str>| Version {
            changed,
            removed: value.is_none(),
            value: value.map(str::to_owned),
            value_base64: None,
            created: value.map(|_| 3),
            lease: None,
        };
        let page = HistoryPage {
            app_ndx: 1,
            state_ndx: 12,
            key: Some("k".to_owned()),
            key_base64: None,
            versions: vec![version(9, None), version(5, Some("b"))],
            oldest: 2,
            more: true,
            next: None,
        };
        let expected = "CHANGED  VALUE      CREATED  LEASE\n\
                        9        (removed)  -\n\
                        5        b          3\n\
                        stateNdx 12, remembered from 2 on\n\
                        there are more: --before 5\n";
        assert_eq!(history(&page), expected);
    }
}
