//! Where the log of a node begins that does not run and has cut it off: for who executes it again and must not touch it.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_auth::Genesis;
use synod_auth::checkpoint::{CertificateError, verify_certificate};
use synod_content::look_up;
use synod_machine::Machine;
use synod_types::versions::LEVELS;
use synod_types::{Certificate, Checkpoint, ClusterId, Configuration, ContentKey, NodeId, Slot};

use super::disk::{Folder, ListError, read};
use super::restoring::{RestoreError, restore};
use super::signer;
use crate::lanes::Maker;

/// The state with which a log begins.
pub struct Beginning {
    /// The application in that state.
    pub machine: Machine,
    /// What was signed of it.
    pub checkpoint: Checkpoint,
    /// The nodes that have signed it; each signature was verified.
    pub signed_by: Vec<NodeId>,
    /// Who vouches for it.
    pub voucher: Voucher,
}

/// Who vouches for a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voucher {
    /// The genesis document: the cluster begins with it.
    Genesis,
    /// A majority of the members: those of genesis, or those who are proved to have been members since.
    Members,
    /// A majority of those whom the state itself names as members: whoever made it up could name whom they like.
    MembersOfItself,
    /// Nobody but the owner of the data directory.
    Owner,
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
    /// it is verified: against the members in `genesis`, and those who are `proved` to have been members since, who has signed it,
    /// against what was signed the state. Nothing is created or written.
    ///
    /// # Errors
    /// [`BeginningError`].
    pub fn find(
        data_dir: &Path,
        genesis: &Genesis,
        proved: &[Configuration],
        cluster: ClusterId,
        maker: &Maker,
        cut: Slot,
    ) -> Result<Beginning, BeginningError> {
        let folder = Folder::of(data_dir);
        let io = |path: &Path, source| BeginningError::Io { path: path.to_owned(), source };
        let app = maker.app().ndx;
        let list = folder.list(app).map_err(|why| io(data_dir, why))?;
        let Some((slot, path)) = list.into_iter().find(|(slot, _)| *slot >= cut) else {
            return Err(BeginningError::NoSnapshot { cut, dir: folder.0 });
        };
        let certificate = certificate(&path)?;
        let checkpoint = certificate.checkpoint;
        if (checkpoint.app, checkpoint.slot) != (app, slot) {
            let why = format!("it is of application {}, slot {}", checkpoint.app, checkpoint.slot);
            return Err(BeginningError::Damaged { path, why });
        }
        let chunks = folder.chunks();
        Beginning::of(&path, &certificate, genesis, proved, cluster, maker, |key| look_up(&chunks, &key))
    }

    /// The newest snapshot in a data directory that can be used; the first error is that of the newest one that cannot.
    ///
    /// # Errors
    /// [`BeginningError::Io`].
    pub fn newest(
        data_dir: &Path,
        genesis: &Genesis,
        proved: &[Configuration],
        cluster: ClusterId,
        maker: &Maker,
    ) -> Result<(Option<Beginning>, Option<BeginningError>), BeginningError> {
        let folder = Folder::of(data_dir);
        let io = |source| BeginningError::Io { path: data_dir.to_owned(), source };
        let chunks = folder.chunks();
        let mut unusable = None;
        for (_, path) in folder.list(maker.app().ndx).map_err(io)?.into_iter().rev() {
            let found = certificate(&path).and_then(|certificate| {
                Beginning::of(&path, &certificate, genesis, proved, cluster, maker, |key| {
                    look_up(&chunks, &key)
                })
            });
            match found {
                Ok(beginning) => return Ok((Some(beginning), unusable)),
                Err(why) => drop(unusable.get_or_insert(why)),
            }
        }
        Ok((None, unusable))
    }

    /// The snapshot of this certificate, which is at `place`. `read` gives a file that is what its key says.
    ///
    /// # Errors
    /// [`BeginningError`].
    pub fn of<E: Display>(
        place: &Path,
        certificate: &Certificate,
        genesis: &Genesis,
        proved: &[Configuration],
        cluster: ClusterId,
        maker: &Maker,
        read: impl Fn(ContentKey) -> Result<Bytes, E> + Sync,
    ) -> Result<Beginning, BeginningError> {
        let (path, checkpoint) = (place.to_owned(), certificate.checkpoint);
        let boxed = Box::new(checkpoint);
        let origin = genesis.origin_of(maker.app().ndx);
        let is_origin = origin.is_some_and(|origin| origin.slot == checkpoint.slot);
        let is_signed_by = |members: &[NodeId]| verify_certificate(certificate, cluster, members);
        let mut sets = proved.iter().map(|configuration| configuration.members.as_slice());
        let voucher = match is_signed_by(&genesis.members()) {
            // One that is not what genesis names is not restored.
            Ok(()) | Err(CertificateError::NoMajority { .. }) if is_origin => Voucher::Genesis,
            Ok(()) => Voucher::Members,
            Err(CertificateError::NoMajority { .. }) if sets.any(|members| is_signed_by(members).is_ok()) => {
                Voucher::Members
            }
            // Whoever has signed has done so.
            Err(CertificateError::NoMajority { .. }) => Voucher::Owner,
            Err(why) => return Err(BeginningError::Forged { path, checkpoint: boxed, why }),
        };
        let machine = restore(cluster, &checkpoint, maker, LEVELS, origin, read);
        let machine = machine.map_err(|why| BeginningError::Unusable {
            path,
            checkpoint: boxed,
            why: Box::new(why),
        })?;
        // Members may have come and gone since genesis; of an application that does not keep them, its voters tell who they are.
        let state = machine.state();
        let named = state.authority().members().map(|members| members.configuration());
        let mut named = state.configuration.iter().chain(&named);
        let voucher = match voucher {
            Voucher::Owner if named.any(|named| is_signed_by(&named.members).is_ok()) => {
                Voucher::MembersOfItself
            }
            voucher => voucher,
        };
        let signed_by = certificate.signatures.iter().map(signer).collect();
        Ok(Beginning { machine, checkpoint, signed_by, voucher })
    }
}

fn certificate(path: &Path) -> Result<Certificate, BeginningError> {
    read(path).map_err(|why| match why {
        ListError::Damaged(why) => BeginningError::Damaged { path: path.to_owned(), why: why.to_owned() },
        ListError::Io(source) => BeginningError::Io { path: path.to_owned(), source },
        why @ ListError::UnknownVersion(_) => {
            let source = io::Error::new(io::ErrorKind::Unsupported, why.to_string());
            BeginningError::Io { path: path.to_owned(), source }
        }
    })
}
