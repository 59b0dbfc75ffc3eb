//! From a snapshot's files to the state that it holds: for the node that starts, for one that fetched them, and for an
//! audit.

use std::fmt::Display;
use std::num::NonZero;
use std::thread;

use bytes::Bytes;
use synod_auth::OriginApp;
use synod_machine::snapshot::{SnapshotError, digest_without_cluster};
use synod_machine::{Machine, View};
use synod_types::limits::SNAPSHOT_CHUNK_BYTES;
use synod_types::wire::{self, WireError};
use synod_types::{Checkpoint, ClusterId, ContentKey, Slot, SnapshotIndex, Versions};

use crate::lanes::Maker;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// One of its files is missing or damaged.
    #[error("its file {key} cannot be read: {why}")]
    File {
        /// Which one.
        key: ContentKey,
        /// Why not.
        why: String,
    },
    /// The list of its chunks is none.
    #[error("its list of chunks makes no sense: {0}")]
    Index(#[from] WireError),
    /// The list does not fit itself.
    #[error("its list of chunks makes no sense: {bytes} bytes are in {chunks} chunks")]
    Chunks {
        /// What it says of all of them.
        bytes: u64,
        /// How many it names.
        chunks: usize,
    },
    /// No application of this program has such states.
    #[error("this program has no application of kind {0:?}")]
    UnknownKind(String),
    /// The bytes are no state.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// They are, and not the one with which the cluster begins.
    #[error("it is not the state with which the cluster begins, as the genesis document says")]
    OtherOrigin,
    /// They are, and not the one that was signed.
    #[error("it is of slot {}, stateNdx {} and chain {}, and not of what its checkpoint says", .0.applied, .0.state_ndx, .0.chain)]
    OtherState(Box<View>),
}

impl RestoreError {
    /// Whether a newer program could use it.
    pub fn is_too_new(&self) -> bool {
        let RestoreError::Snapshot(why) = self else { return false };
        matches!(why, SnapshotError::UnknownLevel(_) | SnapshotError::UnknownVersion(_))
    }
}

/// The state that a snapshot holds, if it is the one that its checkpoint names, if this program knows its level, and, where it is
/// the one with which the cluster begins, if it is the one that genesis names. `read` gives a file that is what its key says; it is
/// called on several threads, since most of its time goes into hashing.
///
/// # Errors
/// [`RestoreError`].
pub(crate) fn restore<E: Display>(
    cluster: ClusterId,
    checkpoint: &Checkpoint,
    maker: &Maker,
    levels: Versions,
    origin: Option<&OriginApp>,
    read: impl Fn(ContentKey) -> Result<Bytes, E> + Sync,
) -> Result<Machine, RestoreError> {
    let read = |key| read(key).map_err(|why| RestoreError::File { key, why: why.to_string() });
    let index = read_index(&read(checkpoint.index)?)?;
    let snapshot = read_chunks(&index, read)?;
    if let Some(origin) = origin.filter(|origin| checkpoint.slot <= origin.slot) {
        is_origin(checkpoint.slot, &snapshot, origin)?;
    }
    let application = maker.application();
    let application = application.ok_or_else(|| RestoreError::UnknownKind(maker.app().kind.clone()))?;
    let machine = Machine::restore_known(cluster, checkpoint.app, &snapshot, application)?;
    let machine = machine.with_levels(levels).map_err(SnapshotError::UnknownLevel)?;
    let view = machine.state();
    if (view.applied, view.state_ndx, view.chain) != (checkpoint.slot, checkpoint.state_ndx, checkpoint.chain)
    {
        return Err(RestoreError::OtherState(Box::new(machine.view())));
    }
    Ok(machine)
}

/// All chunks of a snapshot, one behind the other.
fn read_chunks(
    index: &SnapshotIndex,
    read: impl Fn(ContentKey) -> Result<Bytes, RestoreError> + Sync,
) -> Result<Vec<u8>, RestoreError> {
    let makes_no_sense = || RestoreError::Chunks { bytes: index.bytes, chunks: index.chunks.len() };
    let mut snapshot = vec![0; usize::try_from(index.bytes).map_err(|_| makes_no_sense())?];
    let mut places: Vec<_> = snapshot.chunks_mut(SNAPSHOT_CHUNK_BYTES).zip(&index.chunks).collect();
    let fill = |places: &mut [(&mut [u8], &ContentKey)]| {
        places.iter_mut().try_for_each(|(place, key)| {
            let chunk = read(**key)?;
            if chunk.len() != place.len() {
                return Err(makes_no_sense());
            }
            place.copy_from_slice(&chunk);
            Ok(())
        })
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = places.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let readers: Vec<_> = places.chunks_mut(share).map(|share| scope.spawn(|| fill(share))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("reading does not panic"))
    })?;
    Ok(snapshot)
}

/// Checks that a snapshot holds the state with which a cluster begins.
///
/// # Errors
/// [`RestoreError::OtherOrigin`].
pub(super) fn is_origin(slot: Slot, snapshot: &[u8], origin: &OriginApp) -> Result<(), RestoreError> {
    let is_it = slot == origin.slot && digest_without_cluster(snapshot) == Some(origin.state);
    if is_it { Ok(()) } else { Err(RestoreError::OtherOrigin) }
}

/// The list of a snapshot's chunks.
pub(super) fn read_index(bytes: &[u8]) -> Result<SnapshotIndex, RestoreError> {
    let index: SnapshotIndex = wire::decode(bytes)?;
    let chunks = index.chunks.len();
    let expected = usize::try_from(index.bytes).ok().map(|bytes| bytes.div_ceil(SNAPSHOT_CHUNK_BYTES));
    if expected != Some(chunks) {
        return Err(RestoreError::Chunks { bytes: index.bytes, chunks });
    }
    Ok(index)
}
