//! What a node knows of the programs of the others, as the Hello of a session tells it in the real mesh.

use synod_types::{Level, NodeId, Versions};

use crate::trace::node_index;

/// How long a node that says nothing counts as being there: until then its session is not given up.
const THERE_MS_MAX: u64 = 1000;

/// The levels that the programs of the other nodes know. A crash takes it.
#[derive(Clone, Debug)]
pub struct Programs {
    heard: Vec<Option<(Versions, u64)>>,
}

impl Programs {
    /// Nobody was heard yet.
    pub fn new(nodes: usize) -> Programs {
        Programs { heard: vec![None; nodes] }
    }

    /// A message came from a node, whose program knew these levels when it sent it.
    pub fn hear(&mut self, from: usize, levels: Versions, now_ms: u64) {
        self.heard[from] = Some((levels, now_ms));
    }

    /// Whether each of these nodes is there and has a program for this level, as far as is known now.
    pub fn all_know(&self, level: Level, nodes: impl IntoIterator<Item = NodeId>, now_ms: u64) -> bool {
        nodes.into_iter().all(|node| {
            self.heard[node_index(node)].is_some_and(|(levels, at_ms)| {
                levels.contains(level.0) && now_ms.saturating_sub(at_ms) <= THERE_MS_MAX
            })
        })
    }
}
