//! Checkpoints: what an application is behind a slot, and the word of nodes for it.
//!
//! Equal states give equal snapshots. So every node that makes a snapshot behind the same slot can sign the same
//! [`Checkpoint`], and with the signatures of a majority, a [`Certificate`], whoever was not there need not trust the
//! node that gives it the snapshot.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AppNdx, ClusterId, ContentKey, NodeId, Slot, StateNdx};

/// What an application is behind a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The application.
    pub app: AppNdx,
    /// The last slot that was applied.
    pub slot: Slot,
    /// The state behind it.
    pub state_ndx: StateNdx,
    /// The hash chain there.
    pub chain: Digest,
    /// The list of the snapshot's chunks: a [`SnapshotIndex`], as a file.
    pub index: ContentKey,
}

impl Checkpoint {
    /// The bytes that a node signs: what they are for, the cluster, the checkpoint, the node.
    pub fn signed_bytes(&self, cluster: ClusterId, node: NodeId) -> Vec<u8> {
        let mut bytes = b"synod/checkpoint/v1\0".to_vec();
        bytes.extend_from_slice(cluster.as_bytes());
        bytes.extend_from_slice(&self.app.0.to_be_bytes());
        bytes.extend_from_slice(&self.slot.0.to_be_bytes());
        bytes.extend_from_slice(&self.state_ndx.0.to_be_bytes());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(self.index.as_bytes());
        bytes.extend_from_slice(node.as_bytes());
        bytes
    }
}

/// A node's word for a checkpoint.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CheckpointSignature {
    /// The node's public key (SubjectPublicKeyInfo, DER), whose hash is its id.
    pub key: Bytes,
    /// Over [`Checkpoint::signed_bytes`], made as for a command.
    pub signature: Bytes,
}

/// A checkpoint with the word of a majority of the nodes, once it was verified.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// What they say.
    pub checkpoint: Checkpoint,
    /// One of each node.
    pub signatures: Vec<CheckpointSignature>,
}

/// The files that make up a snapshot, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotIndex {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Their keys; each but the last has [`SNAPSHOT_CHUNK_BYTES`](crate::limits::SNAPSHOT_CHUNK_BYTES).
    pub chunks: Vec<ContentKey>,
}
