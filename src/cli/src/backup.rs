//! `synod backup`: the states of all applications of a cluster, with the files to which they refer, in one signed file.

mod made;
mod online;
mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand};
use synod_auth::{Genesis, GenesisApp, SigningKey};
use synod_backup::{BackedUp, Begins as Begun, Manifest, ReadError, Section, Writing};
use synod_machine::View;
use synod_node::Voucher;
use synod_types::{AppNdx, ClusterId, CommanderId, ContentKey, Slot, StateNdx};

use crate::audit::auditor::{Break, to_rest};
use crate::audit::beginning::Begins;
use crate::audit::report::Report;
use crate::audit::source::Nodes;
use crate::audit::walk::Verifying;
use crate::connection::{Cluster, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::programs::{LaneArgs, Programs};
use crate::survivors::{self, Found, Gathered, Survivors};
use crate::time;

/// Write the states of all applications, and the files to which they refer, to one signed file
///
/// The cluster goes on meanwhile. For each application the node that is furthest gives its newest certified snapshot and the log
/// behind it, which is executed here, each signature verified; what comes of it is held against what every node says of itself. So
/// the backup is of one stateNdx, and has everything that was acknowledged before this began. Applications know nothing of each
/// other, and each is backed up in a state of its own.
///
/// With --data-dir the same of stopped nodes. What one of them knows to be chosen is in it. Name the directories of more than half of
/// the nodes, and nothing that was acknowledged is missing: what lies behind is then taken over as a new leader would do it.
///
/// An application in a process of its own is executed by its own program, which --lane names and which is started here.
///
/// The manifest is signed, so that whoever restores the backup knows who made it: sign with an administrator's key. What is in it
/// is not encrypted, and is what everybody reads who reaches a readers' port.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  synod backup --to 2026-11-29.synod                      # from the nodes in client.toml
  synod backup --to 2026-11-29.synod --http a.example:9101 --sign-with backup.pem
  synod backup --to 2026-11-29.synod --data-dir data-node1 --data-dir data-node2   # of nodes that do not run
  synod backup --to 2026-11-29.synod --lane visits=/usr/local/bin/visits           # with an application in a process of its own
  synod backup show 2026-11-29.synod"
)]
pub(crate) struct Backup {
    #[command(subcommand)]
    command: Option<Command>,
    /// The file to make; one that is there is not overwritten
    #[arg(long, value_name = "FILE", required = true)]
    to: Option<PathBuf>,
    /// The data directory of a node that does not run; may be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "http")]
    data_dir: Vec<PathBuf>,
    #[command(flatten)]
    programs: LaneArgs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(show::Show),
}

/// The state of an application, as it is to be backed up.
struct Taken {
    view: View,
    begins: Begins,
}

/// The states of all applications.
struct States {
    taken: Vec<Taken>,
    /// What whoever restores them should know.
    warnings: Vec<String>,
    /// From where they are.
    source: String,
}

/// Where files are.
trait FileSource {
    /// A file to which the state of an application refers.
    fn file(&self, app: AppNdx, key: ContentKey) -> anyhow::Result<Bytes>;
}

impl Backup {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if let Some(Command::Show(show)) = self.command {
            return show.run(output);
        }
        let path = self.to.context("a file is named")?;
        let known = self.connection.cluster()?;
        let (document, (genesis, cluster), key) = (known.genesis_bytes()?, known.genesis()?, known.key()?);
        let programs = self.programs.of(&genesis)?;
        programs.have_all(&genesis)?;
        let writing = Writing::begin(&path, &document)?;
        let verifying = Verifying::new(cluster)?;
        let (states, files): (States, Box<dyn FileSource>) = if self.data_dir.is_empty() {
            let (states, nodes) = online::take(&known, &genesis, cluster, &programs, &verifying)?;
            (states, Box::new(nodes))
        } else {
            let mut survivors = Survivors::open(&self.data_dir, &genesis, cluster)?;
            let states = offline(&mut survivors, &genesis, cluster, &programs, &verifying)?;
            (states, Box::new(survivors))
        };
        let manifest = write(writing, states, &*files, &genesis, cluster, &key)?;
        manifest.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let signer = CommanderId(key.id());
        made::print(output, &path, &manifest, signer, "made")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The states that stopped nodes have.
fn offline(
    survivors: &mut Survivors,
    genesis: &Genesis,
    cluster: ClusterId,
    programs: &Programs,
    verifying: &Verifying,
) -> anyhow::Result<States> {
    let broken = |broken: Break| Failure::Broken(broken.to_string());
    let (mut taken, mut warnings) = (Vec::new(), Vec::new());
    let source = format!("the data directories of {}", survivors.names().join(", "));
    for app in &genesis.apps {
        let executor = programs.executor(app)?;
        let maker = executor.maker();
        let gathered = survivors.gather(genesis, cluster, maker, verifying, &mut Report::silent())?;
        let Gathered { mut machine, begins, offered, found } = gathered.map_err(broken)?;
        let (ndx, is_majority) = (app.ndx, found.is_majority());
        let Found { unreadable, damaged, present, voters, .. } = found;
        if let Some((from, to)) = unreadable {
            let damaged = damaged.join("; ");
            return Err(Failure::Broken(format!(
                "application {ndx}: slots {from} to {to} are chosen, and in no directory can they be read ({damaged}); name those of more \
                 nodes, or see `synod recover`"
            ))
            .into());
        }
        let slots = offered.len();
        if slots > 0 && is_majority {
            // What was acknowledged is among it, as for a leader that these nodes would elect.
            machine = survivors::execute(machine, offered, verifying)?.map_err(broken)?;
            warnings.push(format!(
                "application {ndx}: the last {slots} slots are in the backup as a leader would take them over that these nodes elect; perhaps \
                 they were not decided"
            ));
        } else if slots > 0 {
            warnings.push(format!(
                "application {ndx}: {slots} slots behind the last known chosen one are not in the backup; these are {present} of {voters} \
                 nodes, and only more than half of them can tell whether something was acknowledged there"
            ));
        }
        warnings.extend(damaged.into_iter().map(|what| format!("application {ndx}: {what}")));
        taken.push(Taken { view: to_rest(&machine).map_err(broken)?, begins });
    }
    Ok(States { taken, warnings, source })
}

impl FileSource for Survivors {
    fn file(&self, _app: AppNdx, key: ContentKey) -> anyhow::Result<Bytes> {
        self.file(key).with_context(|| format!("no directory has the file {key}; name those of more nodes"))
    }
}

impl FileSource for Nodes {
    fn file(&self, app: AppNdx, key: ContentKey) -> anyhow::Result<Bytes> {
        let path = format!("/v1/apps/{app}/files/{key}");
        let mut failed = None;
        for node in self.nodes() {
            match self.file(node, &path, key) {
                Ok(file) => return Ok(file),
                Err(why) => failed = Some(why),
            }
        }
        let failed = failed.context("there is no node")?;
        Err(failed
            .context("a file cannot be had; where its zone was changed meanwhile, take the backup again"))
    }
}

fn write(
    mut writing: Writing,
    states: States,
    files: &dyn FileSource,
    genesis: &Genesis,
    cluster: ClusterId,
    key: &SigningKey,
) -> anyhow::Result<Manifest> {
    let program = format!("synod {}", env!("CARGO_PKG_VERSION"));
    let mut manifest = Manifest::new(program, states.source, cluster, genesis.name.clone());
    manifest.warnings = states.warnings;
    // Of each file, an application that refers to it.
    let mut wanted: BTreeMap<ContentKey, AppNdx> = BTreeMap::new();
    for (app, Taken { view, begins }) in genesis.apps.iter().zip(&states.taken) {
        let section = writing.state(&view.snapshot())?;
        let contents = view.app.contents();
        wanted.extend(contents.iter().map(|(key, _)| (*key, app.ndx)));
        manifest.warnings.extend(begins.warning().map(|text| format!("application {}: {text}", app.ndx)));
        let signer = CommanderId(key.id());
        if !is_administrator(view, signer) {
            manifest.warnings.push(format!(
                "application {}: {} is no administrator there, so `synod restore` will ask for --signed-by",
                app.ndx,
                signer.short()
            ));
        }
        manifest.apps.push(backed_up(app, view, begins, section, &contents));
    }
    for (key, app) in wanted {
        writing.file(&files.file(app, key)?)?;
    }
    manifest.made_ms = time::now();
    Ok(writing.finish(manifest, key)?)
}

/// Whether a commander is an administrator in a state, and was valid there.
pub(crate) fn is_administrator(view: &View, id: CommanderId) -> bool {
    let known = view.authority().active(id, view.time);
    known.is_ok_and(|known| known.grant.role == synod_machine::Role::Administrator)
}

fn backed_up(
    app: &GenesisApp,
    view: &View,
    begins: &Begins,
    state: Section,
    contents: &[(ContentKey, u64)],
) -> BackedUp {
    let begins = match begins {
        Begins::Genesis => {
            let (slot, state_ndx) = (Slot(0), StateNdx(0));
            Begun { with: "genesis".to_owned(), slot, state_ndx, signed_by: Vec::new() }
        }
        Begins::Snapshot(snapshot) => {
            let with = match snapshot.voucher {
                Voucher::Genesis => "origin",
                Voucher::Members | Voucher::MembersOfItself => "certified snapshot",
                Voucher::Owner => "snapshot",
            };
            Begun {
                with: with.to_owned(),
                slot: snapshot.slot,
                state_ndx: snapshot.state_ndx,
                signed_by: snapshot.signed_by.clone(),
            }
        }
    };
    BackedUp {
        app_ndx: app.ndx,
        name: app.name.clone(),
        kind: app.kind.clone(),
        slot: view.applied,
        state_ndx: view.state_ndx,
        chain: view.chain,
        time_ms: view.time,
        state,
        begins,
        files: u64::try_from(contents.len()).unwrap_or(u64::MAX),
        file_bytes: contents.iter().map(|(_, bytes)| bytes).sum(),
    }
}

/// How long a node is waited for.
fn patience(known: &Cluster) -> Duration {
    known.timeout()
}

/// What is said of a backup that cannot be read.
pub(crate) fn unreadable(why: ReadError) -> anyhow::Error {
    match why {
        ReadError::Io { .. } => why.into(),
        why => Failure::Broken(why.to_string()).into(),
    }
}
