//! `synod zone get`, `list` and `history`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::current::{Current, Entry, History as Versions, Page, Version};
use super::verify::{verify, verify_file};
use super::zone_name;
use crate::connection::Connection;
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::proved::Asked;
use crate::reader::ReadOptions;
use crate::table::Table;
use crate::time;

/// Digits of an id that a table shows.
const SHORT_DIGITS: usize = 12;

/// Print the file of a zone, byte for byte; what is known of it goes to standard error
///
/// With --output json, what is known of it is printed instead: content key, serial, size, and the stateNdx that made it
/// so.
///
/// With --verify the node, and whoever is between, need not be trusted: it has to prove, from the genesis document on, which file the
/// zone holds, or that there is no such zone. It does so of the newest state that enough members have signed, which may be a second
/// old. Exit code 7: nothing is proved.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone get example.org > example.org.zone
  synod zone get example.org --at 17                      # what it held in that state
  synod zone get example.org --output json | jq .serial
  synod zone get example.org --consistency linearizable
  synod zone get example.org --verify --genesis genesis.json --http mirror.example:9101")]
pub(super) struct Get {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    /// What the zone held in an earlier state, as far as its history goes back
    #[arg(long, value_name = "STATENDX")]
    at: Option<u64>,
    /// Believe what is proved from the genesis document on, and nothing else
    #[arg(long, conflicts_with_all = ["at", "consistency"])]
    verify: bool,
    #[command(flatten)]
    common: Common,
}

/// List the zones in canonical order
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone list
  synod zone list --below example.org --limit 1000")]
pub(super) struct List {
    /// Only this zone and those below it
    #[arg(long, value_name = "FQDN")]
    below: Option<String>,
    /// Only zones behind this one
    #[arg(long, value_name = "FQDN")]
    after: Option<String>,
    /// At most so many, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// Show what a zone held, and in which states, the latest first
///
/// Each line holds from its stateNdx on, until that of the line above. `synod zone rollback --to N` brings back what the
/// zone held in state N.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone history example.org
  synod zone history example.org --output json | jq '.versions[1].key'")]
pub(super) struct History {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// The application: its number or its name [default: the first of kind zones]
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    read: ReadOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Common {
    fn current(&self) -> anyhow::Result<Current> {
        let cluster = self.connection.cluster()?;
        let app = cluster.zones_app(self.app.as_deref())?;
        Current::of(&cluster, app)
    }
}

impl Get {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if self.verify {
            return self.verified(output).await;
        }
        let origin = zone_name(&self.zone)?;
        let current = self.common.current()?;
        let mut parameters = self.common.read.parameters();
        parameters.extend(self.at.map(|at| ("at", at.to_string())));
        match output {
            Output::Text => {
                let answer = current.file(&origin, &parameters).await?;
                output::bytes(&answer.body)?;
                let number = |ndx: Option<u64>| ndx.map_or_else(|| "?".to_owned(), |ndx| ndx.to_string());
                let (state_ndx, changed) = (number(answer.state_ndx), number(answer.last_change));
                eprintln!("stateNdx {state_ndx}, last changed in {changed}");
            }
            Output::Json => {
                let entry: Value = current.entry(&origin, &parameters).await?.json()?;
                output.print(&entry, "")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn verified(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let cluster = self.common.connection.cluster()?;
        let (genesis, id) = cluster.genesis()?;
        let app = cluster.zones_app(self.common.app.as_deref())?;
        let current = Current::of(&cluster, app)?;
        let mut parameters = self.common.read.parameters();
        parameters.push(("proof", "1".to_owned()));
        let answer = current.entry(&origin, &parameters).await?;
        let asked = Asked { genesis: &genesis, cluster: id, app, min: self.common.read.min() };
        let proved = verify(&answer.body, &asked, &origin.to_string().parse()?)?;
        let (state_ndx, by) = (proved.statement.state_ndx, proved.by());
        let held = proved.held.and_then(|version| Some((version, version.content?)));
        let Some((version, content)) = held else {
            let text = format!("proved: there is no zone {origin} in state {state_ndx}; {by}");
            return Err(Failure::NoSuchKey(text).into());
        };
        let changed = version.changed;
        match output {
            Output::Text => {
                // The zone may hold another file by now.
                let file = current.file(&origin, &[("at", changed.to_string())]).await?.body;
                verify_file(&file, content.key)?;
                output::bytes(&file)?;
                eprintln!("proved: stateNdx {state_ndx}, last changed in {changed}; {by}");
            }
            Output::Json => {
                let mut json = Map::new();
                json.insert("zone".to_owned(), origin.to_string().into());
                json.insert("key".to_owned(), content.key.to_string().into());
                json.insert("serial".to_owned(), content.serial.into());
                json.insert("bytes".to_owned(), content.bytes.into());
                json.insert("changed".to_owned(), changed.0.into());
                json.insert("commander".to_owned(), version.commander.to_string().into());
                proved.put_into(&mut json);
                output.print(&json, "")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut parameters = self.common.read.parameters();
        parameters.push(("limit", self.limit.to_string()));
        for (name, zone) in [("below", &self.below), ("after", &self.after)] {
            if let Some(zone) = zone {
                parameters.push((name, zone_name(zone)?.to_string()));
            }
        }
        let page = self.common.current()?.page(&parameters).await?;
        output.print(&page, list(&page))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl History {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let history = self.common.current()?.history(&origin, &self.common.read.parameters()).await?;
        output.print(&history, versions(&history))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list(page: &Page) -> String {
    let mut table = Table::new(&["ZONE", "SERIAL", "CHANGED", "BYTES", "CONTENT", ""]);
    for Entry { zone, version, broken, .. } in &page.zones {
        let broken = broken.as_ref().map(|why| format!("BROKEN: {why}")).unwrap_or_default();
        table.row([
            zone.clone(),
            number(version.serial),
            version.changed.to_string(),
            number(version.bytes),
            key(version),
            broken,
        ]);
    }
    let more = page.zones.last().filter(|_| page.more);
    let more = more.map(|last| format!("there are more: --after {}\n", last.zone)).unwrap_or_default();
    format!("{table}stateNdx {}\n{more}", page.state_ndx)
}

fn versions(history: &Versions) -> String {
    let mut table = Table::new(&["STATENDX", "TIME", "SERIAL", "BYTES", "CONTENT", "COMMANDER", "WHAT"]);
    for version in &history.versions {
        let what = match (&version.key, version.rolled_back_to) {
            (None, _) => "deleted".to_owned(),
            (Some(_), None) => "set".to_owned(),
            (Some(_), Some(to)) => format!("rolled back to stateNdx {to}"),
        };
        table.row([
            version.changed.to_string(),
            time::shown(version.time_ms),
            number(version.serial),
            number(version.bytes),
            key(version),
            version.commander.chars().take(SHORT_DIGITS).collect(),
            what,
        ]);
    }
    let cut = if history.cut { "what was before is forgotten\n" } else { "" };
    format!("{table}{cut}stateNdx {}\n", history.state_ndx)
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn key(version: &Version) -> String {
    version.key.as_ref().map_or_else(|| "-".to_owned(), |key| key.chars().take(SHORT_DIGITS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(changed: u64, key: Option<&str>, rolled_back_to: Option<u64>) -> Version {
        Version {
            key: key.map(str::to_owned),
            serial: key.map(|_| 7),
            bytes: key.map(|_| 300),
            changed,
            time_ms: 1_795_253_849_617,
            commander: "3430127a88590000".to_owned(),
            rolled_back_to,
        }
    }

    #[test]
    fn tables_read_well() {
        let keys = ["6b17aa00bb11cc22dd", "00112233445566"];
        let history = Versions {
            app_ndx: 2,
            state_ndx: 21,
            zone: "example.org.".to_owned(),
            versions: vec![
                version(20, Some(keys[0]), Some(9)),
                version(12, None, None),
                version(9, Some(keys[1]), None),
            ],
            cut: true,
        };
        let expected = "\
STATENDX  TIME                  SERIAL  BYTES  CONTENT       COMMANDER     WHAT
20        2026-11-21 09:37:29Z  7       300    6b17aa00bb11  3430127a8859  rolled back to stateNdx 9
12        2026-11-21 09:37:29Z  -       -      -             3430127a8859  deleted
9         2026-11-21 09:37:29Z  7       300    001122334455  3430127a8859  set
what was before is forgotten
stateNdx 21
";
        assert_eq!(versions(&history), expected);

        let entry = |zone: &str, broken: Option<&str>| Entry {
            zone: zone.to_owned(),
            version: version(9, Some(keys[0]), None),
            earlier: 0,
            broken: broken.map(str::to_owned),
        };
        let zones = vec![entry("example.org.", None), entry("a.example.org.", Some("no SOA"))];
        let page = Page { app_ndx: 2, state_ndx: 21, zones, more: true };
        let expected = "\
ZONE            SERIAL  CHANGED  BYTES  CONTENT
example.org.    7       9        300    6b17aa00bb11
a.example.org.  7       9        300    6b17aa00bb11  BROKEN: no SOA
stateNdx 21
there are more: --after a.example.org.
";
        assert_eq!(list(&page), expected);
    }
}
