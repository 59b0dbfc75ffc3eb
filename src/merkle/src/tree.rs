//! The map, immutable: a change makes another one, which shares everything that did not change.

use std::sync::Arc;

use synod_types::Digest;

use crate::broken::Broken;
use crate::node::{Part, cut, digests_of};
use crate::path::{OTHERS, Path};
use crate::proof::Proof;
use crate::store::Store;
use crate::update::update;

/// A map from keys to digests of what they hold. A copy is O(1).
///
/// A key takes some 130 bytes, and up to three times as many before what earlier changes left is swept away.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    parts: Arc<Parts>,
    broken: Broken,
}

/// What a tree is made of.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) part: Part,
    pub(crate) root: Digest,
    pub(crate) store: Store,
    /// How many forks and keys `part` leads to.
    pub(crate) forks: usize,
    pub(crate) keys: usize,
}

impl Tree {
    /// No keys.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// The same with something wrong.
    #[must_use]
    pub fn broken(self, broken: Broken) -> Tree {
        Tree { broken, ..self }
    }

    /// One digest for all of it: equal exactly where the maps are. All zeros where there are no keys.
    pub fn root(&self) -> Digest {
        self.parts.root
    }

    /// The map in which these keys hold something else: a digest, or nothing any more. Each key comes once. The cost is a path
    /// from the root for each, and what these have in common once, so that many together cost less than one after the other.
    ///
    /// # Panics
    /// If a key comes twice.
    #[must_use]
    pub fn with(&self, mut changes: Vec<(Path, Option<Digest>)>) -> Tree {
        changes.sort_unstable_by_key(|(path, _)| *path);
        assert!(changes.is_sorted_by(|a, b| a.0 < b.0), "a key comes once");
        if changes.is_empty() {
            return self.clone();
        }
        Tree { parts: Arc::new(update(&self.parts, &changes, self.broken)), broken: self.broken }
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The digest of what a key holds; `None`: there is no such key.
    pub fn get(&self, path: &Path) -> Option<Digest> {
        self.prove(path).leaf.filter(|leaf| leaf.path == *path).map(|leaf| leaf.value)
    }

    /// What shows, to who has the root, what a key holds, or that there is no such key.
    pub fn prove(&self, path: &Path) -> Proof {
        let Parts { part, store, .. } = &*self.parts;
        let mut steps = Vec::new();
        let mut part = *part;
        while let Part::Fork { chunk, at } = part {
            let (fork, way) = (store.fork(chunk, at), path.way(steps.len()));
            steps.push(OTHERS[way].map(|other| fork.digests[other]));
            part = fork.parts[way];
        }
        let mut leaves = store.leaves(part).expect("it is no fork");
        while leaves.len() > 1 {
            let (step, way) = (steps.len(), path.way(steps.len()));
            let digests = digests_of(leaves, step);
            steps.push(OTHERS[way].map(|other| digests[other]));
            leaves = cut(leaves, step, |it| &it.leaf.path)[way];
        }
        Proof { steps, leaf: leaves.first().map(|it| it.leaf) }
    }
}
