//! `synod zone import`: a directory of zone files, in as few commands as they fit into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_auth::Genesis;
use synod_client::Client;
use synod_types::limits::{OPERATION_CONTENTS_MAX, ZONES_CHANGE_BYTES_MAX};
use synod_types::{AppNdx, Outcome, Receipt};
use synod_zone::Name;
use tokio::task::JoinSet;

use super::change::{Common, explain};
use super::current::{Current, Facts};
use super::file::{Checked, SourceFile, named_after};
use super::guard::{self, Side};
use super::publish;
use super::wait;
use crate::connection::Cluster;
use crate::exit::Failure;
use crate::output::Output;
use crate::write::{self, Told, WriteOptions};

/// Files that are on their way at a time.
const UPLOADS: usize = 8;
/// Files and zones for which faults and objections are printed; there may be more.
const COMPLAINTS_MAX: usize = 50;
/// How often it is said how far the import is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Publish every FQDN.zone of a directory
///
/// All files are checked before anything is sent, and one that is not in order stops the import. Zones that hold their
/// file already are passed by. The others go into commands of up to 1,000 zones and 256 MiB, each of which is done as a
/// whole or not at all; if one fails, those before it stay done, and the import can be started again.
///
/// Zones without a file in the directory stay as they are.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone import zones/
  synod zone import zones/ --wait all --wait-for 5m
  synod zone import zones/ --force               # serials may go back, records may go")]
pub(super) struct Import {
    /// The directory; files in directories below it are not looked at
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Though serials do not rise, or more than a third of a zone's records would be gone
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// A file that is in order, without what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    path: PathBuf,
    origin: Name,
    change: ZoneChange,
}

impl Import {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let files = zone_files(&self.dir)?;
        let Common { app, wait, options, connection } = self.common;
        let cluster = connection.cluster()?;
        let app = cluster.zones_app(app.as_deref())?;
        let (genesis, _) = cluster.genesis()?;
        let waiting = wait.prepare(&cluster).await?;
        let found = check_all(&files)?;
        let current = Current::of(&cluster, app)?;
        let held: BTreeMap<Name, Facts> =
            current.all().await?.into_iter().map(|facts| (facts.origin.clone(), facts)).collect();
        let unchanged_at = found.iter().filter_map(|found| unchanged(found, &held)).max();
        let (unchanged, mut changes): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| unchanged(found, &held).is_some());
        if self.force {
            changes.iter_mut().for_each(|found| found.change.force = true);
        } else {
            guard(&current, &held, &mut changes).await?;
        }

        let client = cluster.client()?;
        let sent = send(&client, (&genesis, &cluster), app, &changes, &options).await;
        client.close().await;
        let sent = sent?;
        let last = sent.receipts.last().map(|receipt| receipt.state_ndx).max(unchanged_at);
        let told = sent.told(files.len(), unchanged.len());
        let zone = changes.last().or(unchanged.last()).map(|found| &found.origin);
        match (last, zone) {
            (Some(last), Some(zone)) => {
                wait::print_and_wait(waiting.as_ref(), told, app, last, zone, output).await
            }
            _ => {
                output.print(&told.json, told.text)?;
                Ok(ExitCode::from(told.code))
            }
        }
    }
}

/// The state since which a zone holds its file, if it does.
fn unchanged(found: &Found, held: &BTreeMap<Name, Facts>) -> Option<synod_types::StateNdx> {
    held.get(&found.origin).filter(|facts| facts.content == found.change.content).map(|facts| facts.changed)
}

/// The files of the directory, each with the zone after which it is named, by zone.
fn zone_files(dir: &Path) -> anyhow::Result<BTreeMap<Name, PathBuf>> {
    let cannot_read = || format!("cannot read the directory {}", dir.display());
    let mut files: BTreeMap<Name, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if path.extension().is_none_or(|extension| extension != "zone") || !path.is_file() {
            continue;
        }
        let name = named_after(&path).ok_or_else(|| {
            Failure::Usage(format!("{} is not named after a zone: FQDN.zone is expected", path.display()))
        })?;
        if let Some(other) = files.insert(name, path.clone()) {
            let text = format!("{} and {} are named after the same zone", other.display(), path.display());
            return Err(Failure::Usage(text).into());
        }
    }
    if files.is_empty() {
        return Err(Failure::Usage(format!("there is no FQDN.zone in {}", dir.display())).into());
    }
    Ok(files)
}

/// Checks every file, one after another: however many there are, one is in memory.
fn check_all(files: &BTreeMap<Name, PathBuf>) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut complaints = Complaints::default();
    let mut told = Instant::now();
    for (n, (origin, path)) in files.iter().enumerate() {
        match check(origin, path) {
            Ok(one) => found.push(one),
            Err(why) => complaints.add(why),
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("{} of {} files are checked", n + 1, files.len());
        }
    }
    complaints.none(|text, count| {
        Failure::BadZone(format!(
            "{count} of {} files are not in order; nothing was sent\n{text}",
            files.len()
        ))
    })?;
    Ok(found)
}

fn check(origin: &Name, path: &Path) -> Result<Found, String> {
    let file = SourceFile::read(path).map_err(|why| format!("{why:#}"))?;
    let checked = file.check(origin).map_err(|rejected| rejected.text().trim_end().to_owned())?;
    Ok(Found::of(&checked))
}

impl Found {
    fn of(checked: &Checked) -> Found {
        let origin = checked.zone.origin().clone();
        let change = ZoneChange {
            zone: ZoneName::of(&origin),
            content: checked.key,
            bytes: u64::try_from(checked.bytes.len()).unwrap_or(u64::MAX),
            serial: checked.zone.serial(),
            force: false,
            expected: Expected::Any,
        };
        Found { path: checked.path.clone(), origin, change }
    }
}

/// Compares each file with what its zone holds, and lets it be set only if that is still so.
async fn guard(current: &Current, held: &BTreeMap<Name, Facts>, changes: &mut [Found]) -> anyhow::Result<()> {
    let mut complaints = Complaints::default();
    for found in changes.iter_mut() {
        let Some(facts) = held.get(&found.origin) else {
            found.change.expected = Expected::Absent;
            continue;
        };
        found.change.expected = Expected::Content(facts.content);
        let old = current.records(facts).await?;
        let new = found.read_again()?.records();
        let old = Side { serial: facts.serial, records: &old };
        let new = Side { serial: found.change.serial, records: &new };
        guard::objections(&found.origin, &old, &new).into_iter().for_each(|why| complaints.add(why));
    }
    complaints.none(|text, _| Failure::Refused(format!("nothing was sent\n{text}")))?;
    Ok(())
}

impl Found {
    /// The file, which must still be as it was when it was checked.
    fn read_again(&self) -> anyhow::Result<Checked> {
        let file = SourceFile::read(&self.path)?;
        let checked = file.check(&self.origin).map_err(|rejected| rejected.failure())?;
        if checked.key != self.change.content {
            let text = format!("{} changed while it was imported; start again", self.path.display());
            return Err(Failure::BadZone(text).into());
        }
        Ok(checked)
    }
}

/// What is wrong, up to a limit.
#[derive(Default)]
struct Complaints {
    texts: Vec<String>,
    count: usize,
}

impl Complaints {
    fn add(&mut self, text: String) {
        self.count += 1;
        if self.texts.len() < COMPLAINTS_MAX {
            self.texts.push(text);
        }
    }

    /// The failure that `failure` makes of them, if there are any.
    fn none(self, failure: impl FnOnce(&str, usize) -> Failure) -> Result<(), Failure> {
        let mut text = self.texts.join("\n");
        if self.count > self.texts.len() {
            text.push_str(&format!("\n… and {} more", self.count - self.texts.len()));
        }
        if self.count == 0 { Ok(()) } else { Err(failure(&text, self.count)) }
    }
}

/// What was sent.
struct Sent {
    receipts: Vec<Receipt>,
    zones: usize,
}

/// Uploads the files of one command after another, and has it executed.
async fn send(
    client: &Client,
    of: (&Genesis, &Cluster),
    app: AppNdx,
    changes: &[Found],
    options: &WriteOptions,
) -> anyhow::Result<Sent> {
    let mut sent = Sent { receipts: Vec::new(), zones: 0 };
    let batches = batches(changes);
    for (n, batch) in batches.iter().enumerate() {
        let done = async {
            upload_all(client, of, app, batch).await?;
            let op = ZonesOp::SetMany(batch.iter().map(|found| found.change.clone()).collect());
            let receipt = write::executed(client, app, op.encode(), options).await?;
            match &receipt.outcome {
                Outcome::Done(_) => Ok(receipt),
                Outcome::Refused(refusal) => Err(Failure::Refused(refusal.to_string()).into()),
            }
        };
        let receipt = done.await.map_err(|why: anyhow::Error| {
            let text = format!(
                "{} of {} zones are published; of the next {} none is",
                sent.zones,
                changes.len(),
                batch.len()
            );
            why.context(text)
        })?;
        sent.zones += batch.len();
        if batches.len() > 1 {
            let state_ndx = receipt.state_ndx;
            eprintln!(
                "command {} of {}: {} zones in stateNdx {state_ndx}",
                n + 1,
                batches.len(),
                batch.len()
            );
        }
        sent.receipts.push(receipt);
    }
    Ok(sent)
}

async fn upload_all(
    client: &Client,
    (genesis, cluster): (&Genesis, &Cluster),
    app: AppNdx,
    batch: &[Found],
) -> anyhow::Result<()> {
    let mut uploads: JoinSet<Result<(), Failure>> = JoinSet::new();
    let mut told = Instant::now();
    for (n, found) in batch.iter().enumerate() {
        if uploads.len() >= UPLOADS
            && let Some(uploaded) = uploads.join_next().await
        {
            uploaded??;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("{n} of {} files of this command are with the nodes", batch.len());
        }
        let file = found.read_again()?.bytes;
        let (client, genesis, cluster) = (client.clone(), genesis.clone(), cluster.clone());
        uploads.spawn(async move { publish::upload(&client, &genesis, Some(&cluster), app, file).await });
    }
    while let Some(uploaded) = uploads.join_next().await {
        uploaded??;
    }
    Ok(())
}

/// The changes, divided so that each part fits into one command.
fn batches(changes: &[Found]) -> Vec<&[Found]> {
    let mut batches = Vec::new();
    let mut rest = changes;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |found: &&Found| {
            bytes += found.change.bytes;
            bytes <= ZONES_CHANGE_BYTES_MAX
        };
        let count = rest.iter().take(OPERATION_CONTENTS_MAX).take_while(fits).count();
        // A file is smaller than what fits into a command, so that there is one at least.
        let (batch, behind) = rest.split_at(count.max(1));
        batches.push(batch);
        rest = behind;
    }
    batches
}

impl Sent {
    fn told(&self, files: usize, unchanged: usize) -> Told {
        let receipts: Vec<Value> =
            self.receipts.iter().map(|receipt| write::told(receipt, explain).json).collect();
        let json =
            json!({ "files": files, "changed": self.zones, "unchanged": unchanged, "receipts": receipts });
        let state_ndx = self.receipts.last().map(|receipt| format!("stateNdx {}  ", receipt.state_ndx));
        let commands = match self.receipts.len() {
            0 => String::new(),
            1 => " in one command".to_owned(),
            count => format!(" in {count} commands"),
        };
        let text = format!(
            "{}{} zones published{commands}, {unchanged} unchanged",
            state_ndx.unwrap_or_default(),
            self.zones
        );
        Told { json, text, code: 0 }
    }
}

#[cfg(test)]
mod tests {
    use synod_types::ContentKey;

    use super::*;

    fn found(n: usize, bytes: u64) -> Found {
        let origin = Name::parse(&format!("z{n}.example")).unwrap();
        let change = ZoneChange {
            zone: ZoneName::of(&origin),
            content: ContentKey::of(&n.to_be_bytes()),
            bytes,
            serial: 1,
            force: false,
            expected: Expected::Absent,
        };
        Found { path: PathBuf::new(), origin, change }
    }

    #[test]
    fn every_part_fits_into_one_command_and_none_is_missing() {
        let sizes =
            |sizes: &[u64]| sizes.iter().enumerate().map(|(n, bytes)| found(n, *bytes)).collect::<Vec<_>>();
        let quarter = ZONES_CHANGE_BYTES_MAX / 4;
        let many = vec![1; 2 * OPERATION_CONTENTS_MAX + 1];
        for (changes, expected) in [
            (sizes(&[]), vec![]),
            (sizes(&[1]), vec![1]),
            (sizes(&[quarter; 4]), vec![4]),
            (sizes(&[quarter; 9]), vec![4, 4, 1]),
            (sizes(&[quarter, quarter, quarter, quarter, 1]), vec![4, 1]),
            (sizes(&many), vec![1000, 1000, 1]),
        ] {
            let batches = batches(&changes);
            assert_eq!(batches.iter().map(|batch| batch.len()).collect::<Vec<_>>(), expected);
            assert_eq!(batches.concat(), changes);
            for batch in batches {
                let op = ZonesOp::SetMany(batch.iter().map(|found| found.change.clone()).collect());
                assert_eq!(ZonesOp::decode(&op.encode()[1..]), Ok(op));
            }
        }
    }

    #[test]
    fn only_files_named_after_zones_are_taken_and_each_zone_once() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(directory.path().join(name), "").unwrap();
        assert!(zone_files(directory.path()).unwrap_err().to_string().contains("there is no FQDN.zone"));
        for name in ["b.example.zone", "a.example.zone", "README.md", "c.example.zone~"] {
            write(name);
        }
        std::fs::create_dir(directory.path().join("d.zone")).unwrap();
        let files = zone_files(directory.path()).unwrap();
        let names: Vec<String> = files.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["a.example.", "b.example."]);
        write("A.example.zone");
        assert!(zone_files(directory.path()).unwrap_err().to_string().contains("the same zone"));
    }
}
