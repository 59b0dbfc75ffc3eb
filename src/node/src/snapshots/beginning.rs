//! Where the log of a node begins that does not run and has cut it off: for who executes it again and must not touch it.

use std::io;
use std::path::{Path, PathBuf};

use synod_auth::checkpoint::{CertificateError, verify_certificate};
use synod_auth::{Genesis, GenesisApp};
use synod_content::look_up;
use synod_machine::Machine;
use synod_types::versions::LEVELS;
use synod_types::{Checkpoint, ClusterId, NodeId, Slot};

use super::disk::{Folder, ListError, read};
use super::restoring::{RestoreError, restore};
use super::signer;

/// The state with which a log begins.
pub struct Beginning {
    /// The application in that state.
    pub machine: Machine,
    /// What was signed of it.
    pub checkpoint: Checkpoint,
    /// The nodes that have signed it; each signature was verified.
    pub signed_by: Vec<NodeId>,
    /// Whether they are a majority. Otherwise nobody vouches for the state but the owner of the data directory.
    pub is_certified: bool,
}

/// Why a log cannot be executed from its beginning on.
#[derive(Debug, thiserror::Error)]
pub enum BeginningError {
    /// There is no snapshot that reaches so far.
    #[error(
        "the log begins behind slot {cut}, and in {} is no snapshot of that slot or a later one",
        dir.display()
    )]
    NoSnapshot {
        /// The last slot that was cut off.
        cut: Slot,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The small file that says what is in a snapshot is damaged.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody signed who did not, or has no say.
    #[error("the certificate in {} is forged: {why}", path.display())]
    Forged {
        /// The file.
        path: PathBuf,
        /// What it says.
        checkpoint: Box<Checkpoint>,
        /// What is wrong.
        why: CertificateError,
    },
    /// The state cannot be made of the snapshot, or is another one.
    #[error("the snapshot {} cannot be used: {why}", path.display())]
    Unusable {
        /// The file that says what is in it.
        path: PathBuf,
        /// What it says.
        checkpoint: Box<Checkpoint>,
        /// What is wrong.
        why: Box<RestoreError>,
    },
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Beginning {
    /// The oldest snapshot in a data directory from which a log goes on that was cut off behind slot `cut`. Everything about
    /// it is verified: against the members in `genesis` who has signed it, against what was signed the state. Nothing is
    /// created or written.
    ///
    /// # Errors
    /// [`BeginningError`].
    pub fn find(
        data_dir: &Path,
        genesis: &Genesis,
        cluster: ClusterId,
        app: &GenesisApp,
        cut: Slot,
    ) -> Result<Beginning, BeginningError> {
        let folder = Folder::of(data_dir);
        let io = |path: &Path, source| BeginningError::Io { path: path.to_owned(), source };
        let list = folder.list(app.ndx).map_err(|why| io(data_dir, why))?;
        let Some((slot, path)) = list.into_iter().find(|(slot, _)| *slot >= cut) else {
            return Err(BeginningError::NoSnapshot { cut, dir: folder.0 });
        };
        let certificate = read(&path).map_err(|why| match why {
            ListError::Damaged(why) => BeginningError::Damaged { path: path.clone(), why: why.to_owned() },
            ListError::Io(why) => io(&path, why),
            why @ ListError::UnknownVersion(_) => {
                io(&path, io::Error::new(io::ErrorKind::Unsupported, why.to_string()))
            }
        })?;
        let checkpoint = certificate.checkpoint;
        if (checkpoint.app, checkpoint.slot) != (app.ndx, slot) {
            let why = format!("it is of application {}, slot {}", checkpoint.app, checkpoint.slot);
            return Err(BeginningError::Damaged { path, why });
        }
        let boxed = Box::new(checkpoint);
        let is_certified = match verify_certificate(&certificate, cluster, &genesis.members()) {
            Ok(()) => true,
            // Whoever has signed has done so.
            Err(CertificateError::NoMajority { .. }) => false,
            Err(why) => return Err(BeginningError::Forged { path, checkpoint: boxed, why }),
        };
        let chunks = folder.chunks();
        let machine = restore(cluster, &checkpoint, &app.kind, LEVELS, |key| look_up(&chunks, &key));
        let machine = machine.map_err(|why| BeginningError::Unusable {
            path,
            checkpoint: boxed,
            why: Box::new(why),
        })?;
        let signed_by = certificate.signatures.iter().map(signer).collect();
        Ok(Beginning { machine, checkpoint, signed_by, is_certified })
    }
}
