//! What the trie is made of, and what is hashed. A part without keys is nothing, with one key that key's leaf, and with more
//! a fork of four parts.

use std::sync::Arc;

use synod_types::Digest;

use crate::path::Path;

/// First bytes of what is hashed for a leaf.
pub(crate) const LEAF: &[u8; 7] = b"leaf/v1";

/// First bytes of what is hashed for a fork. With four digests they fill one block of SHA3-256 exactly.
pub(crate) const FORK: &[u8; 7] = b"fork/v1";

/// What stands for a part without keys. No bytes are known that SHA3-256 makes this of.
pub(crate) const NOTHING: Digest = Digest([0; 32]);

/// A part of the trie.
#[derive(Clone, Debug, Default)]
pub(crate) enum Node {
    #[default]
    Nothing,
    Leaf(Arc<LeafNode>),
    Fork(Arc<ForkNode>),
}

#[derive(Debug)]
pub(crate) struct LeafNode {
    pub(crate) path: Path,
    pub(crate) value: Digest,
    pub(crate) digest: Digest,
}

#[derive(Debug)]
pub(crate) struct ForkNode {
    pub(crate) parts: [Node; 4],
    pub(crate) digest: Digest,
}

impl Node {
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Node::Nothing => NOTHING,
            Node::Leaf(leaf) => leaf.digest,
            Node::Fork(fork) => fork.digest,
        }
    }
}
