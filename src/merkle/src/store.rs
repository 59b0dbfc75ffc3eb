//! Where the nodes of a tree are. A change adds its nodes in one piece, a chunk, and takes nothing away: the tree before shares all
//! chunks but the new one. What no path leads to any more is left behind when a tree has too much of it.
//!
//! Nodes of their own, each with a count of who points to it, were the first idea. To allocate and to count, where each is in no
//! cache, took three times as long as to hash.

use std::sync::Arc;

use crate::node::{Fork, Hashed, Part};

/// A chunk with fewer nodes than this is not worth a place in the list: the next one begins with a copy of it.
const CHUNK_NODES_MIN: usize = 1024;

/// How many nodes are kept that no path leads to, for each one that is led to, and how many beside that.
const DEAD_MAX: usize = 2;
/// See [`DEAD_MAX`].
const DEAD_ALWAYS: usize = 4 * CHUNK_NODES_MIN;

/// Nodes that came with one change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) forks: Vec<Fork>,
    pub(crate) leaves: Vec<Hashed>,
}

impl Chunk {
    fn nodes(&self) -> usize {
        self.forks.len() + self.leaves.len()
    }
}

/// All nodes of a tree, and others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    chunks: Vec<Arc<Chunk>>,
    /// Nodes of all chunks.
    nodes: usize,
}

impl Store {
    pub(crate) fn fork(&self, chunk: u32, at: u32) -> &Fork {
        &self.chunks[place(chunk)].forks[place(at)]
    }

    /// The leaves of a part, if it is no fork.
    pub(crate) fn leaves(&self, part: Part) -> Option<&[Hashed]> {
        match part {
            Part::Nothing => Some(&[]),
            Part::Bucket { chunk, at, keys } => {
                Some(&self.chunks[place(chunk)].leaves[place(at)..][..place(keys)])
            }
            Part::Fork { .. } => None,
        }
    }

    /// Where a change puts its nodes, and the number that this chunk will have.
    pub(crate) fn begin(&self) -> (u32, Chunk) {
        match self.chunks.split_last() {
            Some((last, others)) if last.nodes() < CHUNK_NODES_MIN => {
                (number(others.len()), Chunk::clone(last))
            }
            _ => (number(self.chunks.len()), Chunk::default()),
        }
    }

    /// The store with such a chunk.
    pub(crate) fn with(&self, chunk: u32, nodes: Chunk) -> Store {
        let mut chunks = Vec::with_capacity(place(chunk) + 1);
        chunks.extend_from_slice(&self.chunks[..place(chunk)]);
        chunks.push(Arc::new(nodes));
        let nodes = chunks.iter().map(|chunk| chunk.nodes()).sum();
        Store { chunks, nodes }
    }

    /// Whether so much is dead, where `live` nodes are not, that it should be left behind.
    pub(crate) fn is_wasteful(&self, live: usize) -> bool {
        self.nodes > live * (1 + DEAD_MAX) + DEAD_ALWAYS
    }

    /// What a part leads to, in a store that has nothing else, and the part there.
    pub(crate) fn copied(&self, root: Part) -> (Store, Part) {
        let mut chunk = Chunk::default();
        let root = self.copy(root, &mut chunk);
        (Store::default().with(0, chunk), root)
    }

    fn copy(&self, part: Part, into: &mut Chunk) -> Part {
        match part {
            Part::Nothing => Part::Nothing,
            Part::Bucket { keys, .. } => {
                let at = number(into.leaves.len());
                into.leaves.extend_from_slice(self.leaves(part).unwrap_or_default());
                Part::Bucket { chunk: 0, at, keys }
            }
            Part::Fork { chunk, at } => {
                let fork = self.fork(chunk, at);
                let parts = fork.parts.map(|part| self.copy(part, into));
                into.forks.push(Fork { parts, ..*fork });
                Part::Fork { chunk: 0, at: number(into.forks.len() - 1) }
            }
        }
    }
}

pub(crate) fn place(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits")
}

pub(crate) fn number(place: usize) -> u32 {
    u32::try_from(place).expect("memory is full before so many nodes are there")
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;
    use crate::path::Path;
    use crate::tree::Tree;

    /// However often keys change, no more nodes are kept than a tree may waste; and what an earlier tree holds stays as it was.
    #[test]
    fn what_is_dead_is_swept_away() {
        let paths: Vec<Path> = (0..3000_u32).map(|n| Path::of(&n.to_be_bytes())).collect();
        let value = |round: u8| Digest([round; 32]);
        let mut tree = Tree::new();
        let mut most = 0;
        let mut kept: Vec<(u8, Tree)> = Vec::new();
        for round in 0..40 {
            // All keys, some, or one.
            let some = paths.iter().step_by([1, 7, 3000][usize::from(round) % 3]);
            tree = tree.with(some.map(|path| (*path, Some(value(round)))).collect());
            let parts = tree.parts();
            assert_eq!(parts.keys, 3000);
            assert!(!parts.store.is_wasteful(parts.forks + parts.keys));
            most = most.max(parts.store.nodes);
            if round % 9 == 0 {
                kept.push((round, tree.clone()));
            }
        }
        assert!(most > 2 * 3000, "nothing was ever dead");
        for (round, tree) in kept {
            let anew = Tree::new().with(paths.iter().map(|path| (*path, tree.get(path))).collect());
            assert_eq!(anew.root(), tree.root());
            assert_eq!(tree.get(&paths[0]), Some(value(round)));
        }
        let none = tree.with(paths.iter().map(|path| (*path, None)).collect());
        assert_eq!((none.parts().keys, none.parts().forks, none.root()), (0, 0, Digest::default()));
        assert!(none.parts().store.nodes <= DEAD_ALWAYS);
    }
}
