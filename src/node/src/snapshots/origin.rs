//! The state with which a cluster begins that goes on from another one. Genesis vouches for it, so each node that has it signs
//! it, once it has seen that it is the one: from then on it is certified like every other snapshot, and who begins with
//! nothing gets it from the others.

use std::io;

use synod_auth::{OriginApp, TlsIdentity, sign_checkpoint};
use synod_types::{ClusterId, Slot};
use tracing::{info, warn};

use super::disk::{Folder, Kept};
use super::signer;

/// Signs the origin among the snapshots of an application, if the node has begun with it, and so has held it against genesis;
/// `snapshot` is the slot of the one with which it has begun.
///
/// # Errors
/// The operating system's.
pub(crate) fn vouch(
    origin: Option<&OriginApp>,
    snapshot: Option<Slot>,
    kept: &mut [Kept],
    folder: &Folder,
    cluster: ClusterId,
    identity: &TlsIdentity,
) -> io::Result<()> {
    let Some(&OriginApp { ndx, slot, state_ndx, .. }) = origin else { return Ok(()) };
    if snapshot.is_none() {
        warn!(app = %ndx, %state_ndx, "this node does not have the state with which the cluster begins; it gets it, or a later one, \
            from the others, and has no part in anything until then");
    }
    let is_begun = |kept: &&mut Kept| Some(slot) == snapshot && kept.checkpoint().slot == slot;
    let Some(kept) = kept.iter_mut().find(is_begun) else { return Ok(()) };
    let own = identity.node_id();
    if kept.certificate.signatures.iter().all(|signature| signer(signature) != own) {
        info!(app = %ndx, %slot, %state_ndx, "the cluster begins with this state");
        let signature = sign_checkpoint(identity.signing_key(), cluster, kept.checkpoint());
        kept.certificate.signatures.push(signature);
        folder.write(&kept.certificate)?;
    }
    Ok(())
}
