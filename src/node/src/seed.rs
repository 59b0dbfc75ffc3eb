//! Makes the data directory of a node of a cluster that goes on from the states of another one: its journal, which begins behind
//! these states, the states as snapshots, and the files to which they refer.

use std::io;
use std::path::Path;

use synod_content::Store;
use synod_journal::{Journal, OpenError, Stamp};
use synod_machine::View;
use synod_types::{AppNdx, Record};

use crate::snapshots::disk::{Folder, StoreError, make};

/// Why there is no such data directory. What was begun is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is one, or none can be made.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A state or a file cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store cannot be made.
    #[error(transparent)]
    Open(#[from] synod_content::OpenError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The journal could not make durable where it begins.
    #[error("the journal has stopped")]
    Stopped,
}

/// A data directory that is being made.
pub struct Seed {
    journal: Journal,
    folder: Folder,
    chunks: Store,
    content: Store,
    cuts: Vec<Record>,
}

impl Seed {
    /// Begins in `dir`, which has to be empty or not there.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn begin(dir: &Path, stamp: Stamp, apps: &[AppNdx]) -> Result<Seed, SeedError> {
        // It is told by the append that is never done.
        let (journal, _) = Journal::open(dir, stamp, apps, |_| ())?;
        let folder = Folder::open(dir)?;
        let chunks = Store::open(&folder.chunks())?;
        let content = Store::open(&dir.join("content"))?;
        Ok(Seed { journal, folder, chunks, content, cuts: Vec::new() })
    }

    /// The state of an application, as the cluster has it.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn state(&mut self, view: &View) -> Result<(), SeedError> {
        let kept = make(view, &self.chunks)?;
        self.folder.write(&kept.certificate)?;
        let (app, slot) = (view.app_ndx, view.applied);
        self.cuts.extend([Record::Cut { app, slot }, Record::Chosen { app, slot }]);
        Ok(())
    }

    /// A file to which a state refers.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn file(&mut self, file: &[u8]) -> Result<(), SeedError> {
        self.content.add(&[file]).map_err(StoreError::from)?;
        Ok(())
    }

    /// Everything is there, durably. Without this, the node begins with nothing, and gets it from the others.
    ///
    /// # Errors
    /// [`SeedError::Stopped`].
    pub fn finish(self) -> Result<(), SeedError> {
        let (sender, durable) = std::sync::mpsc::sync_channel(1);
        let done = move || {
            // Who waits is below.
            let _ = sender.send(());
        };
        self.journal.append(self.cuts, Box::new(done));
        durable.recv().map_err(|_| SeedError::Stopped)?;
        self.journal.close();
        Ok(())
    }
}
