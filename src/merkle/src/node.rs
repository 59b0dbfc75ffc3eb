//! What the trie is made of, in memory and as it is hashed.
//!
//! As it is hashed, a part without keys is nothing, with one key that key's leaf, and with more a fork of four parts. In memory
//! a part with few keys is a bucket: its leaves in one piece, and the forks over them hashed again when it is asked for.

use synod_types::Digest;

use crate::path::Path;
use crate::proof::Leaf;

/// First bytes of what is hashed for a leaf.
pub(crate) const LEAF: &[u8; 7] = b"leaf/v1";

/// First bytes of what is hashed for a fork. With four digests they fill one block of SHA3-256 exactly.
pub(crate) const FORK: &[u8; 7] = b"fork/v1";

/// What stands for a part without keys. No bytes are known that SHA3-256 makes this of.
pub(crate) const NOTHING: Digest = Digest([0; 32]);

/// Keys of a bucket; a part with more is a fork. A change copies its bucket and hashes every fork over it, so that larger ones cost
/// more than the forks that they spare; smaller ones take more memory.
pub(crate) const BUCKET_KEYS_MAX: usize = 4;

/// A part of the trie, by its place in the store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Part {
    #[default]
    Nothing,
    /// So many leaves from `at` on.
    Bucket {
        chunk: u32,
        at: u32,
        keys: u32,
    },
    Fork {
        chunk: u32,
        at: u32,
    },
}

/// A part with more than [`BUCKET_KEYS_MAX`] keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fork {
    pub(crate) digests: [Digest; 4],
    pub(crate) parts: [Part; 4],
}

/// A leaf with its digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed {
    pub(crate) leaf: Leaf,
    pub(crate) digest: Digest,
}

/// So many are looked at one by one rather than searched.
const LOOKED_AT_MAX: usize = 16;

/// Cuts what is in the order of its paths into what goes each of the four ways in a step.
pub(crate) fn cut<T>(all: &[T], step: usize, path: impl Fn(&T) -> &Path) -> [&[T]; 4] {
    let mut ends = [0; 4];
    if all.len() <= LOOKED_AT_MAX {
        for it in all {
            ends[path(it).way(step)] += 1;
        }
        ends = [ends[0], ends[0] + ends[1], ends[0] + ends[1] + ends[2], all.len()];
    } else {
        ends[1] = all.partition_point(|it| path(it).way(step) <= 1);
        ends[0] = all[..ends[1]].partition_point(|it| path(it).way(step) == 0);
        ends[2] = ends[1] + all[ends[1]..].partition_point(|it| path(it).way(step) <= 2);
        ends[3] = all.len();
    }
    [&all[..ends[0]], &all[ends[0]..ends[1]], &all[ends[1]..ends[2]], &all[ends[2]..]]
}

/// The digest of a part with these leaves, behind `step` steps.
pub(crate) fn digest_of(leaves: &[Hashed], step: usize) -> Digest {
    match leaves {
        [] => NOTHING,
        [only] => only.digest,
        _ => {
            let [a, b, c, d] = digests_of(leaves, step);
            Digest::of(&[FORK, &a.0, &b.0, &c.0, &d.0])
        }
    }
}

/// The digests of the four parts of such a part.
pub(crate) fn digests_of(leaves: &[Hashed], step: usize) -> [Digest; 4] {
    cut(leaves, step, |it| &it.leaf.path).map(|own| digest_of(own, step + 1))
}
