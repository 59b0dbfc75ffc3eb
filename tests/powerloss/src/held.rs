//! What a data directory holds, as the program's own journal and store read it.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use synod::founding::{KV, ZONES};
use synod_journal::{Journal, Stamp};
use synod_types::{AppNdx, Ballot, ContentKey, Decree, SignedCommand, Slot};

/// Bytes of decrees that are read at a time.
const READ_BYTES: usize = 4 << 20;

/// The records of a journal.
pub struct Held {
    apps: BTreeMap<AppNdx, Records>,
    signatures: HashSet<Bytes>,
}

/// Those of one application.
struct Records {
    promised: Ballot,
    chosen: Slot,
    damaged_through: Slot,
    decrees: BTreeMap<Slot, (Ballot, Decree)>,
}

impl Held {
    /// Opens a journal as a node does, and reads all that is in it.
    ///
    /// # Errors
    /// It does not open, or a decree that it calls chosen cannot be read.
    pub fn read(data: &Path, stamp: Stamp) -> Result<Held> {
        guarded(|| Held::read_unguarded(data, stamp))
    }

    fn read_unguarded(data: &Path, stamp: Stamp) -> Result<Held> {
        let (journal, recovered) = Journal::open(data, stamp, &[KV, ZONES], |_| {})?;
        let mut held = Held { apps: BTreeMap::new(), signatures: HashSet::new() };
        for (app, recovered) in recovered {
            let mut decrees = recovered.accepted;
            let mut next = Slot(1);
            while next <= recovered.chosen {
                let read = journal.read_blocking(app, next, recovered.chosen, READ_BYTES)?;
                let last =
                    read.last().with_context(|| format!("slot {next} of application {app} is missing"))?;
                next = last.0.next();
                decrees.extend(read.into_iter().map(|(slot, ballot, decree)| (slot, (ballot, decree))));
            }
            for (_, decree) in decrees.values() {
                if let Decree::Batch(batch) = decree {
                    held.signatures.extend(batch.commands.iter().map(|command| command.signature.clone()));
                }
            }
            let (promised, chosen) = (recovered.promised, recovered.chosen);
            let records = Records { promised, chosen, damaged_through: recovered.damaged_through, decrees };
            held.apps.insert(app, records);
        }
        journal.close();
        Ok(held)
    }

    /// Every record of `promised` is here, or one that took its place.
    ///
    /// # Errors
    /// What is missing.
    pub fn must_cover(&self, promised: &Held) -> Result<()> {
        for (app, promised) in &promised.apps {
            let held = self.apps.get(app).context("an application has no records")?;
            let of = |what: &str| format!("{what} of application {app}");
            ensure!(held.promised >= promised.promised, of("a promise is forgotten"));
            ensure!(held.chosen >= promised.chosen, of("what is chosen is forgotten"));
            ensure!(
                held.damaged_through <= promised.damaged_through.max(*promised.last()),
                of("a record is damaged")
            );
            for (slot, (ballot, decree)) in &promised.decrees {
                let of = |what: &str| format!("{what} in slot {slot} of application {app}");
                let (later, found) = held.decrees.get(slot).with_context(|| of("the decree is lost"))?;
                ensure!(later >= ballot, of("a vote is forgotten"));
                ensure!(later > ballot || found == decree, of("another decree is"));
            }
        }
        Ok(())
    }

    /// Whether a command is in a decree that was accepted.
    pub fn has(&self, command: &SignedCommand) -> bool {
        self.signatures.contains(&command.signature)
    }

    /// How many decrees there are.
    pub fn decrees(&self) -> usize {
        self.apps.values().map(|records| records.decrees.len()).sum()
    }

    /// Whether something was found damaged and not taken for absent.
    pub fn is_damaged(&self) -> bool {
        self.apps.values().any(|records| records.damaged_through > Slot(0))
    }
}

impl Records {
    fn last(&self) -> &Slot {
        self.decrees.keys().next_back().unwrap_or(&self.chosen)
    }
}

/// Opens the store of files as a node does. Each of these must be there, byte for byte.
///
/// # Errors
/// It does not open, or a file is lost.
pub fn files_must_be_held(data: &Path, files: &[ContentKey]) -> Result<()> {
    guarded(|| {
        let store = synod_content::Store::open(&data.join("content"))?;
        for file in files {
            let read = store.read(file);
            read.map_err(|error| anyhow!("the file {file} is lost: {error:?}"))?;
        }
        Ok(())
    })
}

/// What panics is a violation like any other.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result,
        Err(panic) => bail!("a panic: {}", text(&*panic)),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}
