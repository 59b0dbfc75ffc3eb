//! What shows what a key holds, or that there is no such key, to somebody who has the state's root and nothing else. The bytes
//! are in docs/PROTOCOL.md, "Proofs".

use bytes::Bytes;
use synod_merkle::{Messages, Proof, ProofError};
use synod_types::{Digest, StateNdx};

use crate::query::KvEntry;

/// First bytes of what is hashed for an entry.
const ENTRY_DOMAIN: &[u8; 18] = b"synod/kv/entry/v1\0";

/// First bytes of what is hashed for a root: no other application's is one of this one's.
const ROOT_DOMAIN: &[u8; 17] = b"synod/kv/root/v1\0";

/// Why an answer is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvProofError {
    /// The proof is none.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof is of another state or key, or was changed.
    #[error(
        "the proof leads to root {found}, and not to {expected}: it is of another state or key, or was changed"
    )]
    OtherRoot {
        /// The root that is trusted.
        expected: Digest,
        /// The one to which it leads.
        found: Digest,
    },
    /// The answer has another key than was asked for.
    #[error("the answer is of another key than was asked for")]
    OtherKey,
    /// The proof shows that the key holds something else.
    #[error("the key holds something else than the answer says: its value, state or lease was changed")]
    OtherEntry,
    /// The answer has an entry, and the proof shows that there is none.
    #[error("the answer has a value, and there is no such key")]
    Absent,
    /// The answer has no entry, and the proof shows that there is one.
    #[error("the answer says that there is no such key, and there is one")]
    Present,
}

/// Whether, in the state with this root, `key` holds exactly `entry`; `None`: whether there is no such key.
///
/// # Errors
/// [`KvProofError`] if the proof does not show that: nothing of the answer may be believed then.
pub fn verify(root: &Digest, key: &[u8], entry: Option<&KvEntry>, proof: &Proof) -> Result<(), KvProofError> {
    let shown = proof.leads_to(key)?;
    let found = self::root(&shown.root);
    if found != *root {
        return Err(KvProofError::OtherRoot { expected: *root, found });
    }
    match (entry, shown.value) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(KvProofError::Present),
        (Some(_), None) => Err(KvProofError::Absent),
        (Some(entry), Some(_)) if entry.key != key => Err(KvProofError::OtherKey),
        (Some(entry), Some(value)) if digest(entry) != value => Err(KvProofError::OtherEntry),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// The root of a state, from that of its map.
pub(crate) fn root(map: &Digest) -> Digest {
    Digest::of(&[ROOT_DOMAIN, &map.0])
}

/// What stands for an entry in the map.
fn digest(entry: &KvEntry) -> Digest {
    let mut messages = Messages::default();
    put_entry(&entry.value, entry.created, entry.changed, entry.lease, &mut messages);
    messages.hash().pop().expect("one was put")
}

/// Puts what is hashed for an entry. States count from 1, so 0 is no lease.
pub(crate) fn put_entry(
    value: &Bytes,
    created: StateNdx,
    changed: StateNdx,
    lease: Option<StateNdx>,
    messages: &mut Messages,
) {
    let lease = lease.unwrap_or_default();
    let numbers = [created, changed, lease].map(|ndx| ndx.0.to_be_bytes());
    messages.push(&[ENTRY_DOMAIN, numbers.as_flattened(), value]);
}
