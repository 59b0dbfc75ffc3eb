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
