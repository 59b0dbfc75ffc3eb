//! Many changes at once. First the new shape is found, from the root to the leaves, and then everything new is hashed, step by
//! step from the leaves to the root: so that forks that do not wait for each other are hashed together.

use std::sync::Arc;

use synod_types::Digest;

use crate::broken::{Broken, Fault};
use crate::many::Messages;
use crate::node::{FORK, ForkNode, LEAF, LeafNode, NOTHING, Node};
use crate::path::Path;

/// Steps from the root that the fault [`Fault::DeepUnhashed`] leaves right.
const UNHASHED_BELOW: usize = 2;

/// What a key is to have: this leaf, or none.
type Change = (Path, Option<Arc<LeafNode>>);

/// The trie with these changes, which are in the order of their paths.
pub(crate) fn update(root: &Node, changes: &[(Path, Option<Digest>)], broken: Broken) -> Node {
    let changes = leaves(changes, broken);
    let mut shape = Shape { forks: Vec::new(), broken };
    let root = shape.place(root, 0, &changes);
    match root {
        Part::Done(node) => node,
        Part::New(_) => shape.hash().pop().expect("a new root is the only fork without steps before it"),
    }
}

/// The new leaves, hashed.
fn leaves(changes: &[(Path, Option<Digest>)], broken: Broken) -> Vec<Change> {
    let mut messages = Messages::with_capacity(changes.len(), changes.len() * (LEAF.len() + 64));
    for (path, value) in changes {
        if let Some(value) = value {
            let whose = if broken.is(Fault::LeafWithoutKey) { NOTHING.0 } else { path.0.0 };
            messages.push(&[LEAF, &whose, &value.0]);
        }
    }
    let mut digests = messages.hash().into_iter();
    let leaf = |&(path, value): &(Path, Option<Digest>)| {
        let leaf = |value| {
            let digest = digests.next().expect("each value has a digest");
            Arc::new(LeafNode { path, value, digest })
        };
        (path, value.map(leaf))
    };
    let kept = |(_, leaf): &Change| leaf.is_some() || !broken.is(Fault::NothingRemoved);
    changes.iter().map(leaf).filter(kept).collect()
}

/// A part of the trie that is being made.
enum Part {
    /// As it was, or a leaf.
    Done(Node),
    /// A fork that is to be hashed: its place among those of its step.
    New(usize),
}

struct NewFork {
    parts: [Part; 4],
    /// What its digest was; only for a fault.
    before: Option<Digest>,
}

/// Everything that is to be hashed.
struct Shape {
    /// For each number of steps from the root.
    forks: Vec<Vec<NewFork>>,
    broken: Broken,
}

impl Shape {
    /// Places changes in a part of the trie that lies behind `step` steps.
    fn place(&mut self, old: &Node, step: usize, changes: &[Change]) -> Part {
        if changes.is_empty() {
            return Part::Done(old.clone());
        }
        match old {
            Node::Nothing => {
                let leaves: Vec<_> = changes.iter().filter_map(|(_, leaf)| leaf.as_ref()).collect();
                self.grow(step, &leaves)
            }
            Node::Leaf(old) => {
                let at = changes.binary_search_by_key(&old.path, |(path, _)| *path);
                let mut leaves: Vec<_> = changes.iter().filter_map(|(_, leaf)| leaf.as_ref()).collect();
                if at.is_err() {
                    leaves.insert(leaves.partition_point(|leaf| leaf.path < old.path), old);
                }
                self.grow(step, &leaves)
            }
            Node::Fork(fork) => {
                let mut rest = changes;
                let parts = std::array::from_fn(|way| {
                    let (own, others) =
                        rest.split_at(rest.partition_point(|(path, _)| path.way(step) <= way));
                    rest = others;
                    self.place(&fork.parts[way], step + 1, own)
                });
                self.join(step, parts, Some(fork.digest))
            }
        }
    }

    /// A part that holds these leaves and nothing else; they are in the order of their paths.
    fn grow(&mut self, step: usize, leaves: &[&Arc<LeafNode>]) -> Part {
        match leaves {
            [] => Part::Done(Node::Nothing),
            [leaf] => Part::Done(Node::Leaf(Arc::clone(leaf))),
            mut rest => {
                let parts = std::array::from_fn(|way| {
                    let (own, others) =
                        rest.split_at(rest.partition_point(|leaf| leaf.path.way(step) <= way));
                    rest = others;
                    self.grow(step + 1, own)
                });
                self.join(step, parts, None)
            }
        }
    }

    /// Four parts: a fork, if they have more than one key.
    fn join(&mut self, step: usize, parts: [Part; 4], before: Option<Digest>) -> Part {
        let is_fork = |part: &Part| matches!(part, Part::New(_) | Part::Done(Node::Fork(_)));
        let has_keys = |part: &&Part| !matches!(part, Part::Done(Node::Nothing));
        let keys = parts.iter().filter(has_keys).count();
        let keeps_one = before.is_some() && self.broken.is(Fault::LonelyKept);
        if keys == 0 || keys == 1 && !parts.iter().any(is_fork) && !keeps_one {
            let only = parts.into_iter().find(|part| has_keys(&part));
            return only.unwrap_or(Part::Done(Node::Nothing));
        }
        if self.forks.len() <= step {
            self.forks.resize_with(step + 1, Vec::new);
        }
        self.forks[step].push(NewFork { parts, before });
        Part::New(self.forks[step].len() - 1)
    }

    /// Hashes all forks, the farthest from the root first; gives those without steps before them.
    fn hash(self) -> Vec<Node> {
        let mut behind: Vec<Node> = Vec::new();
        for (step, forks) in self.forks.into_iter().enumerate().rev() {
            let before: Vec<Option<Digest>> = forks.iter().map(|fork| fork.before).collect();
            let parts: Vec<[Node; 4]> = forks.into_iter().map(|fork| fork.finish(&mut behind)).collect();
            let mut messages = Messages::with_capacity(parts.len(), parts.len() * (FORK.len() + 128));
            for parts in &parts {
                let mut digests = parts.each_ref().map(Node::digest);
                if self.broken.is(Fault::NeighboursSorted) {
                    digests.sort_unstable();
                }
                let [a, b, c, d] = digests;
                messages.push(&[FORK, &a.0, &b.0, &c.0, &d.0]);
            }
            let is_unhashed = self.broken.is(Fault::DeepUnhashed) && step > UNHASHED_BELOW;
            let fork = |((parts, digest), before): (_, Option<Digest>)| {
                let digest = before.filter(|_| is_unhashed).unwrap_or(digest);
                Node::Fork(Arc::new(ForkNode { parts, digest }))
            };
            behind = parts.into_iter().zip(messages.hash()).zip(before).map(fork).collect();
        }
        behind
    }
}

impl NewFork {
    /// Its parts, with those that were made new taken out of `behind`.
    fn finish(self, behind: &mut [Node]) -> [Node; 4] {
        self.parts.map(|part| match part {
            Part::Done(node) => node,
            Part::New(at) => std::mem::take(&mut behind[at]),
        })
    }
}
