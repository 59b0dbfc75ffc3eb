//! `synod restore`: founds a cluster that goes on from a backup.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use synod_auth::Genesis;
use synod_backup::{Backup, ReadError};
use synod_machine::{Machine, View};
use synod_types::{ClusterId, CommanderId, ContentKey};

use crate::audit::auditor::to_rest;
use crate::backup::{is_administrator, unreadable};
use crate::exit::Failure;
use crate::founding::heirs::{Before, HeirArgs};
use crate::founding::inherited;
use crate::output::Output;
use crate::programs::{LaneArgs, Programs};

/// Digits of an id that are enough to tell whose it is.
const ID_DIGITS_MIN: usize = 12;

/// Found a cluster that goes on from a backup
///
/// It is another cluster, with an id of its own, also where its nodes are the same: what the one before executed behind the backup is
/// not in it, and no command that was signed for the one before is ever executed here. So nothing has to be feared of nodes of the one
/// before that still run, nor of commands that are still on their way. Everything else goes on: stateNdx, hash chain, commanders and
/// their receipts (a commander's next seq is the one behind its last), keys and their history, zones. Every lease gets its whole time
/// again.
///
/// The backup is verified as a whole, and nothing is written if a single byte of it differs. Whoever has signed it must be an
/// administrator in the states that are in it, or be named by --signed-by. That shows who made it as long as nobody else could put
/// another file in its place: whoever can make up a whole state can be an administrator there. If that is to be feared, give
/// --signed-by with the id that you know.
///
/// The state of an application in a process of its own is given to its own program, which --lane names and which is started here: it
/// must come to that very state.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod restore 2026-11-29.synod --dir again --sign-with admin.pem         # three new nodes on this host
  synod restore 2026-11-29.synod --dir again --hosts a.example,b.example,c.example --node-dirs
  synod restore 2026-11-29.synod --dir again --members-of cluster          # the same nodes, with their keys and addresses
  synod restore 2026-11-29.synod --dir again --signed-by 3430127a8859      # a key that was rotated since
  synod restore 2026-11-29.synod --dir again --lane visits=/usr/local/bin/visits    # with an application in a process of its own")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who must have signed it: the id, or its first 12 digits
    #[arg(long, value_name = "ID", value_parser = id_digits)]
    signed_by: Option<String>,
    #[command(flatten)]
    programs: LaneArgs,
    #[command(flatten)]
    heirs: HeirArgs,
}

fn id_digits(text: &str) -> Result<String, String> {
    let is_id = (ID_DIGITS_MIN..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| text.to_lowercase()).ok_or_else(|| "12 to 64 hex digits are expected".to_owned())
}

impl Restore {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut backup = Backup::open(&self.file).map_err(unreadable)?;
        let (genesis, cluster) = Genesis::parse(backup.genesis())?;
        let programs = self.programs.of(&genesis)?;
        programs.have_all(&genesis)?;
        let views = states(&mut backup, &genesis, cluster, &programs)?;
        self.check_signer(backup.signer(), &views)?;
        check_files(&mut backup, &views)?;
        let before = Before { genesis: &genesis, cluster, views: &views };
        let made = self.heirs.found(&before, "synod restore", |put| {
            backup.files(|_, file| put(&file).map_err(Unstored)).map_err(|Unstored(why)| why)
        })?;
        inherited::print(output, &made, &before, None)?;
        Ok(ExitCode::SUCCESS)
    }

    fn check_signer(&self, signer: CommanderId, views: &[View]) -> Result<(), Failure> {
        if let Some(expected) = &self.signed_by {
            if signer.to_string().starts_with(expected.as_str()) {
                return Ok(());
            }
            let text =
                format!("the backup is signed by {signer}, and not by {expected}, as --signed-by wants it");
            return Err(Failure::Refused(text));
        }
        match views.iter().find(|view| !is_administrator(view, signer)) {
            None => Ok(()),
            Some(view) => Err(Failure::Refused(format!(
                "the backup is signed by {signer}, who is no administrator of application {} in it; if you know that whoever that is made \
                 it, give --signed-by {}",
                view.app_ndx,
                signer.short()
            ))),
        }
    }
}

/// What becomes of a file that cannot be stored, or read.
struct Unstored(anyhow::Error);

impl From<ReadError> for Unstored {
    fn from(why: ReadError) -> Unstored {
        Unstored(unreadable(why))
    }
}

/// The states in a backup, each of which is the one that the manifest says.
fn states(
    backup: &mut Backup<File>,
    genesis: &Genesis,
    cluster: ClusterId,
    programs: &Programs,
) -> anyhow::Result<Vec<View>> {
    let wrong = |text: String| Failure::Broken(format!("the backup contradicts itself: {text}"));
    let apps = genesis.apps.iter().map(|app| (app.ndx, &app.name, &app.kind));
    let held = backup.manifest().apps.clone();
    if !apps.eq(held.iter().map(|held| (held.app_ndx, &held.name, &held.kind))) {
        return Err(wrong("its applications are not those of its genesis document".to_owned()).into());
    }
    let mut views = Vec::new();
    for (nth, (held, app)) in held.iter().zip(&genesis.apps).enumerate() {
        let executor = programs.executor(app)?;
        let application = executor.maker().application().context("nothing executes the application")?;
        let snapshot = backup.state(nth).map_err(unreadable)?;
        let machine = Machine::restore(cluster, held.app_ndx, &snapshot, application);
        let machine = machine.map_err(|why| wrong(format!("application {}: {why}", held.app_ndx)))?;
        machine.begin();
        let view = to_rest(&machine).map_err(|broken| Failure::Broken(broken.to_string()))?;
        let said = (held.slot, held.state_ndx, held.chain, held.time_ms);
        if said != (view.applied, view.state_ndx, view.chain, view.time) {
            return Err(
                wrong(format!("application {} is in another state than it says", held.app_ndx)).into()
            );
        }
        if machine.state().app.apart().is_some() && view.snapshot() != snapshot {
            let text = format!(
                "application {} ({}): its program makes another snapshot of the state than is in the backup: give --lane with the program \
                 that the cluster had",
                app.ndx, app.name
            );
            return Err(Failure::Broken(text).into());
        }
        views.push(view);
    }
    Ok(views)
}

/// Checks that every file is there to which a state refers, before anything is written.
fn check_files(backup: &mut Backup<File>, views: &[View]) -> anyhow::Result<()> {
    let mut missing: BTreeSet<ContentKey> =
        views.iter().flat_map(|view| view.app.contents()).map(|(key, _)| key).collect();
    let taken = backup.files::<ReadError>(|key, _| {
        missing.remove(&key);
        Ok(())
    });
    taken.map_err(unreadable)?;
    match missing.first() {
        None => Ok(()),
        Some(key) => {
            let text = format!(
                "the backup contradicts itself: the file {key} is not in it, to which a state refers"
            );
            Err(Failure::Broken(text).into())
        }
    }
}
