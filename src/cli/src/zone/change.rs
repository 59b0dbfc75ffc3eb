//! `synod zone set`, `rollback` and `delete`: one zone, one command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use synod_app_zones::{Content, Expected, ZoneChange, ZoneName, ZonesOp, ZonesReply};
use synod_auth::Genesis;
use synod_types::{AppNdx, ContentKey, Receipt, StateNdx};
use synod_zone::{Name, serial_is_newer};

use super::current::{Current, Facts};
use super::file::{Checked, SourceFile};
use super::guard::{self, Side};
use super::publish;
use super::wait::{self, WaitOptions, Waiting};
use super::zone_name;
use crate::connection::{Cluster, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::write::{self, Explained, Told, WriteOptions};

/// Publish a zone file under a zone's name
///
/// The file is checked here, sent to the nodes, and published by one signed command once a majority of them has stored
/// it. A file that the zone has already is not published again.
///
/// Nobody's change is lost: what the zone holds is looked up first, and if someone else publishes in between, this
/// command is refused. A change asks for --force if its serial is not later than the zone's, or if it removes more than
/// a third of the records; with --force, what the zone holds is not looked at.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone set example.org example.org.zone
  synod zone set example.org example.org.zone --wait all         # return when every node answers from it
  synod zone set example.org example.org.zone --expect absent    # only if there is no such zone
  synod zone set example.org old.zone --force")]
pub(super) struct Set {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    /// The zone file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only if the zone holds the file with this key (64 hex digits, as `get` and `history` show), or is absent
    #[arg(long, value_name = "KEY|absent", value_parser = expectation)]
    expect: Option<Expected>,
    /// Though the serial does not rise, or more than a third of the records would be gone
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Bring back what a zone held in an earlier state
///
/// Also for a zone that was deleted. The serial is that of the earlier file, so it may go back: every node of the cluster
/// takes it, and secondaries that transfer the zone do not, until a file with a later serial is published.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone history example.org
  synod zone rollback example.org --to 17 --wait all")]
pub(super) struct Rollback {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    /// The state whose content is to come back
    #[arg(long, value_name = "STATENDX")]
    to: u64,
    /// Only if the zone holds the file with this key, or is absent
    #[arg(long, value_name = "KEY|absent", value_parser = expectation)]
    expect: Option<Expected>,
    #[command(flatten)]
    common: Common,
}

/// End a zone: from then on the nodes refuse queries for it
///
/// Its history stays for a while: `synod zone rollback` brings it back.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone delete example.org
  synod zone delete example.org --expect 6b17…c3 --wait all")]
pub(super) struct Delete {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    /// Only if the zone holds the file with this key
    #[arg(long, value_name = "KEY", value_parser = content_key)]
    expect: Option<ContentKey>,
    #[command(flatten)]
    common: Common,
}

/// What every change of zones takes.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// The application: its number or its name [default: the first of kind zones]
    #[arg(long, value_name = "APP")]
    pub(super) app: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitOptions,
    #[command(flatten)]
    pub(super) options: WriteOptions,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Set {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let file = SourceFile::read(&self.file)?.check(&origin).map_err(|rejected| rejected.failure())?;
        let stage = Stage::of(&self.common, &origin).await?;
        let expected = match (self.force, self.expect) {
            (true, expect) => expect.unwrap_or(Expected::Any),
            (false, expect) => {
                let current = Current::of(&stage.cluster, stage.app)?;
                match current.zone(&origin).await? {
                    None => expect.unwrap_or(Expected::Absent),
                    Some(facts) if facts.content == file.key && expect.is_none() => {
                        return stage.unchanged(&facts, output).await;
                    }
                    Some(facts) => {
                        object(&current, &facts, &file).await?;
                        expect.unwrap_or(Expected::Content(facts.content))
                    }
                }
            }
        };
        let change = ZoneChange {
            zone: ZoneName::of(&origin),
            content: file.key,
            bytes: u64::try_from(file.bytes.len())?,
            serial: file.zone.serial(),
            force: self.force,
            expected,
        };
        let client = stage.cluster.client()?;
        let op = ZonesOp::Set(change).encode();
        let done = async {
            publish::upload(&client, &stage.genesis, Some(&stage.cluster), stage.app, file.bytes.clone())
                .await?;
            write::executed(&client, stage.app, op, &stage.options).await
        };
        let receipt = done.await;
        client.close().await;
        stage.finish(&receipt?, output).await
    }
}

/// Compares a file with what the zone holds.
async fn object(current: &Current, facts: &Facts, file: &Checked) -> anyhow::Result<()> {
    let old = current.records(facts).await?;
    let new = file.records();
    let old = Side { serial: facts.serial, records: &old };
    let new = Side { serial: file.zone.serial(), records: &new };
    match guard::objections(file.zone.origin(), &old, &new) {
        objections if objections.is_empty() => Ok(()),
        objections => Err(Failure::Refused(objections.join("\n")).into()),
    }
}

impl Rollback {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let stage = Stage::of(&self.common, &origin).await?;
        let (zone, to) = (ZoneName::of(&origin), StateNdx(self.to));
        stage
            .execute(ZonesOp::Rollback { zone, to, expected: self.expect.unwrap_or(Expected::Any) }, output)
            .await
    }
}

impl Delete {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let stage = Stage::of(&self.common, &origin).await?;
        let expected = self.expect.map_or(Expected::Any, Expected::Content);
        stage.execute(ZonesOp::Delete { zone: ZoneName::of(&origin), expected }, output).await
    }
}

/// A command on its way, everything about which was looked up that can be wrong.
struct Stage {
    cluster: Cluster,
    genesis: Genesis,
    app: AppNdx,
    origin: Name,
    options: WriteOptions,
    waiting: Option<Waiting>,
}

impl Stage {
    async fn of(common: &Common, origin: &Name) -> anyhow::Result<Stage> {
        let cluster = common.connection.cluster()?;
        let app = cluster.zones_app(common.app.as_deref())?;
        let waiting = common.wait.prepare(&cluster).await?;
        let (genesis, _) = cluster.genesis()?;
        Ok(Stage { cluster, genesis, app, origin: origin.clone(), options: common.options.clone(), waiting })
    }

    async fn execute(self, op: ZonesOp, output: Output) -> anyhow::Result<ExitCode> {
        let client = self.cluster.client()?;
        let receipt = write::executed(&client, self.app, op.encode(), &self.options).await;
        client.close().await;
        self.finish(&receipt?, output).await
    }

    /// The zone holds the file already.
    async fn unchanged(self, facts: &Facts, output: Output) -> anyhow::Result<ExitCode> {
        let json = json!({ "zone": self.origin.to_string(), "unchanged": true, "stateNdx": facts.changed });
        let text = format!("stateNdx {}  unchanged: {} holds this file already", facts.changed, self.origin);
        self.print_and_wait(Told { json, text, code: 0 }, facts.changed, output).await
    }

    async fn finish(self, receipt: &Receipt, output: Output) -> anyhow::Result<ExitCode> {
        let mut told = write::told(receipt, explain);
        told.json["zone"] = self.origin.to_string().into();
        self.print_and_wait(told, receipt.state_ndx, output).await
    }

    async fn print_and_wait(
        self,
        told: Told,
        state_ndx: StateNdx,
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let zone = self.origin;
        wait::print_and_wait(self.waiting.as_ref(), told, self.app, state_ndx, &zone, output).await
    }
}

/// What the application says of a change.
pub(crate) fn explain(answer: &[u8]) -> Explained {
    let content = |content: &Content| json!({ "content": content.key.to_string(), "bytes": content.bytes, "serial": content.serial });
    let previous = |previous: &Option<Content>| previous.as_ref().map_or(Value::Null, content);
    match ZonesReply::decode(answer) {
        Ok(ZonesReply::Set { previous: None }) => (json!({ "previous": null }), "the zone is new".to_owned()),
        Ok(ZonesReply::Set { previous: Some(before) }) => {
            let words = format!("the serial before was {}", before.serial);
            (json!({ "previous": content(&before) }), words)
        }
        Ok(ZonesReply::SetMany { changed, unchanged }) => {
            let words = format!("{changed} zones changed, {unchanged} unchanged");
            (json!({ "changed": changed, "unchanged": unchanged }), words)
        }
        Ok(ZonesReply::Deleted { previous: before }) => {
            let words = if before.is_some() { "the zone is gone" } else { "there was no such zone" };
            (json!({ "previous": previous(&before) }), words.to_owned())
        }
        Ok(ZonesReply::RolledBack { content: now, previous: before }) => {
            let words = rolled_back(&now, before.as_ref());
            (json!({ "content": content(&now), "previous": previous(&before) }), words)
        }
        Err(_) => write::hex(answer),
    }
}

fn rolled_back(now: &Content, before: Option<&Content>) -> String {
    match before {
        None => format!("the zone is back, with serial {}", now.serial),
        Some(before) if before == now => "the zone holds that content already".to_owned(),
        Some(before) if serial_is_newer(now.serial, before.serial) => {
            format!("serial {} again, after {}", now.serial, before.serial)
        }
        Some(before) => format!(
            "serial {} again, after {}: secondaries keep what they have until a file with a later serial is published",
            now.serial, before.serial
        ),
    }
}

fn expectation(text: &str) -> Result<Expected, String> {
    if text == "absent" { Ok(Expected::Absent) } else { content_key(text).map(Expected::Content) }
}

fn content_key(text: &str) -> Result<ContentKey, String> {
    text.parse().map_err(|_| "a content key is expected: 64 hex digits, as `synod zone get` shows".to_owned())
}

#[cfg(test)]
mod tests {
    use synod_types::wire;

    use super::*;

    fn content(serial: u32) -> Content {
        Content { key: ContentKey::of(&serial.to_be_bytes()), bytes: 3, serial }
    }

    #[test]
    fn answers_read_well() {
        let said = |reply: ZonesReply| explain(&wire::encode(&reply)).1;
        let back = |now, previous| said(ZonesReply::RolledBack { content: content(now), previous });
        assert_eq!(said(ZonesReply::Set { previous: None }), "the zone is new");
        assert_eq!(said(ZonesReply::Set { previous: Some(content(7)) }), "the serial before was 7");
        assert_eq!(said(ZonesReply::SetMany { changed: 2, unchanged: 1 }), "2 zones changed, 1 unchanged");
        assert_eq!(said(ZonesReply::Deleted { previous: None }), "there was no such zone");
        assert_eq!(back(7, None), "the zone is back, with serial 7");
        assert_eq!(back(8, Some(content(7))), "serial 8 again, after 7");
        let earlier = back(7, Some(content(8)));
        assert!(earlier.starts_with("serial 7 again, after 8: secondaries keep"), "{earlier}");
    }

    #[test]
    fn what_is_expected_is_a_key_or_absence() {
        let key = ContentKey::of(b"a file");
        assert_eq!(expectation(&key.to_string()), Ok(Expected::Content(key)));
        assert_eq!(expectation("absent"), Ok(Expected::Absent));
        assert!(expectation("any").is_err() && expectation(&key.short()).is_err());
    }
}
