//! What a node has on its disk, opened: the log first, whose lock keeps every other process out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use synod_archive::Archive;
use synod_auth::{Genesis, TlsIdentity};
use synod_content::Store;
use synod_journal::{Journal, JournalError, Stamp};
use synod_types::{AppNdx, ClusterId, Recovered};
use tokio::sync::mpsc;
use tracing::info;

use crate::config::Config;
use crate::content::{Ask, Content};
use crate::cosigning;
use crate::cosigning::disk::Held;
use crate::directories::{self, Directories};
use crate::divergence;
use crate::life;
use crate::snapshots::disk::{Folder, Kept};
use crate::start_error::StartError;
use crate::tasks::Fatal;

/// Everything that is open.
pub(crate) struct Disk {
    pub journal: Journal,
    pub archive: Option<Archive>,
    /// Files to which commands refer.
    pub content: Content,
    /// Snapshots, and those that are there, oldest first.
    pub folder: Folder,
    pub kept: Vec<Kept>,
    /// What snapshots are made of.
    pub chunks: Content,
    /// Certificates of states.
    pub certificates: cosigning::disk::Folder,
    /// When this life of the node began, in milliseconds since 1970, and its number.
    pub now_ms: u64,
    pub life: u64,
}

/// What was there, and what is asked of the stores from now on: whoever takes care of it takes it.
pub(crate) struct Contents {
    /// What the log holds of each application.
    pub recovered: BTreeMap<AppNdx, Recovered>,
    /// The certificates of each application's states.
    pub held: BTreeMap<AppNdx, Held>,
    pub directories: (directories::Name, Directories),
    pub content_asks: mpsc::UnboundedReceiver<Ask>,
    pub chunk_asks: mpsc::UnboundedReceiver<Ask>,
}

impl Disk {
    /// Opens all of it, and makes what is missing.
    ///
    /// # Errors
    /// [`StartError`] names what cannot be opened.
    pub(crate) fn open(
        config: &Config,
        genesis: &Genesis,
        cluster: ClusterId,
        identity: &Arc<TlsIdentity>,
        fatal: &Fatal,
    ) -> Result<(Disk, Contents), StartError> {
        let data_dir = &config.data_dir;
        let path = || data_dir.clone();
        let on_fatal = {
            let fatal = fatal.clone();
            move |why: JournalError| fatal.raise(why.to_string())
        };
        let apps: Vec<AppNdx> = genesis.apps.iter().map(|app| app.ndx).collect();
        let stamp = Stamp { cluster, node: identity.node_id() };
        let begun = Instant::now();
        let (journal, recovered) = Journal::open(data_dir, stamp, &apps, on_fatal)?;
        info!(took_ms = begun.elapsed().as_millis(), "the log is open");

        let (asks, content_asks) = mpsc::unbounded_channel();
        let store = Store::open(&data_dir.join("content"))?;
        let content = Content::new(store, cluster, Arc::clone(identity), asks);

        let unopened = |source| StartError::Snapshots { path: path(), source };
        let (asks, chunk_asks) = mpsc::unbounded_channel();
        let folder = Folder::open(data_dir).map_err(unopened)?;
        let store = Store::open(&folder.chunks())?;
        let mut kept = folder.load(&store).map_err(unopened)?;
        forget_what_is_wrong(config, genesis, &folder, &mut kept).map_err(unopened)?;
        let chunks = Content::new(store, cluster, Arc::clone(identity), asks);

        let unopened = |source| StartError::Certificates { path: path(), source };
        let certificates = cosigning::disk::Folder::open(data_dir).map_err(unopened)?;
        let held = certificates.load(cluster, &genesis.founding_voters()).map_err(unopened)?;

        let archive = config.archive.as_deref().map(|dir| Archive::open(dir, cluster)).transpose()?;
        let unnamed = |source| StartError::Names { path: path(), source };
        let directories = Directories::open(data_dir).map_err(unnamed)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let unnumbered = |source| StartError::Life { path: path(), source };
        let life = life::begin(data_dir, now_ms).map_err(unnumbered)?;
        let disk = Disk { journal, archive, content, folder, kept, chunks, certificates, now_ms, life };
        Ok((disk, Contents { recovered, held, directories, content_asks, chunk_asks }))
    }
}

/// Forgets the snapshots of applications that are to be made again.
fn forget_what_is_wrong(
    config: &Config,
    genesis: &Genesis,
    folder: &Folder,
    kept: &mut Vec<Kept>,
) -> io::Result<()> {
    for app in genesis.apps.iter().filter(|app| divergence::is_to_repair(&config.data_dir, app.ndx)) {
        let wrong = kept.extract_if(.., |kept| kept.checkpoint().app == app.ndx);
        wrong.into_iter().try_for_each(|kept| folder.forget(kept.checkpoint()))?;
        divergence::is_repaired(&config.data_dir, app.ndx)?;
        info!(app = %app.ndx, "the state is made again, since it was not that of the others");
    }
    Ok(())
}
