//! The map, immutable: a change makes another one, which shares everything that did not change.

use synod_types::Digest;

use crate::broken::Broken;
use crate::node::Node;
use crate::path::{OTHERS, Path};
use crate::proof::{Leaf, Proof};
use crate::update::update;

/// A map from keys to digests of what they hold. A copy is O(1).
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Node,
    broken: Broken,
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
        self.root.digest()
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
        Tree { root: update(&self.root, &changes, self.broken), broken: self.broken }
    }

    /// The digest of what a key holds; `None`: there is no such key.
    pub fn get(&self, path: &Path) -> Option<Digest> {
        self.prove(path).leaf.filter(|leaf| leaf.path == *path).map(|leaf| leaf.value)
    }

    /// What shows, to who has the root, what a key holds, or that there is no such key.
    pub fn prove(&self, path: &Path) -> Proof {
        let mut steps = Vec::new();
        let mut node = &self.root;
        loop {
            let leaf = match node {
                Node::Nothing => None,
                Node::Leaf(leaf) => Some(Leaf { path: leaf.path, value: leaf.value }),
                Node::Fork(fork) => {
                    let way = path.way(steps.len());
                    let others = OTHERS[way];
                    steps.push(others.map(|other| fork.parts[other].digest()));
                    node = &fork.parts[way];
                    continue;
                }
            };
            return Proof { steps, leaf };
        }
    }
}
