//! Many changes at once. First the new shape is found, from the root to the leaves, and then everything new is hashed, step by
//! step from the leaves to the root: so that forks that do not wait for each other are hashed together.
//!
//! What costs most is memory: a tree is in no cache any more when the next changes come. So the nodes on the way to many changes are
//! asked for side by side before any of them is used, and changes are taken so many at a time that what is made for them stays near.

use std::hint::black_box;

use synod_types::Digest;
use synod_types::digest::Messages;

use crate::broken::{Broken, Fault};
use crate::node::{BUCKET_KEYS_MAX, FORK, Fork, Hashed, LEAF, NOTHING, Part, cut};
use crate::path::Path;
use crate::proof::Leaf;
use crate::store::{Chunk, Store, number, place};
use crate::tree::Parts;

/// Steps from the root that the fault [`Fault::DeepUnhashed`] leaves right.
const UNHASHED_BELOW: usize = 1;

/// Changes that are placed before what is new is hashed: enough to be hashed together, and not so many that they leave the cache.
const PLACED_AT_ONCE: usize = 128;

/// Nodes that one change of many makes: leaves of a bucket, and forks.
const NODES_EXPECTED: (usize, usize) = (BUCKET_KEYS_MAX - 1, 3);

/// What a key is to have: this leaf, or none.
type Change = (Path, Option<Hashed>);

/// The trie with these changes, which are in the order of their paths.
pub(crate) fn update(old: &Parts, changes: &[(Path, Option<Digest>)], broken: Broken) -> Parts {
    let (chunk, mut nodes) = old.store.begin();
    nodes.leaves.reserve(changes.len() * NODES_EXPECTED.0);
    nodes.forks.reserve(changes.len() * NODES_EXPECTED.1);
    let counted = Counted { forks: old.forks, keys: old.keys };
    let made = nodes.forks.len();
    let hashes = Hashes::new(broken);
    let mut shape = Shape {
        store: &old.store,
        chunk,
        nodes,
        counted,
        hashes,
        made,
        awaiting: Vec::new(),
        ways: Vec::new(),
    };
    let (part, root) = shape.place_all(old.part, old.root, 0, changes);
    let Shape { nodes, counted: Counted { forks, keys }, .. } = shape;
    let mut parts = Parts { part, root, store: old.store.with(chunk, nodes), forks, keys };
    if parts.store.is_wasteful(forks + keys) {
        (parts.store, parts.part) = parts.store.copied(part);
    }
    parts
}

/// The new leaves, hashed.
fn hashed(changes: &[(Path, Option<Digest>)], broken: Broken) -> Vec<Change> {
    let mut messages = Messages::with_capacity(changes.len(), changes.len() * (LEAF.len() + 64));
    for (path, value) in changes {
        if let Some(value) = value {
            let whose = if broken.is(Fault::LeafWithoutKey) { NOTHING.0 } else { path.0.0 };
            messages.push(&[LEAF, &whose, &value.0]);
        }
    }
    let mut digests = messages.hash().into_iter();
    let leaf = |&(path, value): &(Path, Option<Digest>)| {
        let digest = |value| {
            let digest = digests.next().expect("each value has a digest");
            Hashed { leaf: Leaf { path, value }, digest }
        };
        (path, value.map(digest))
    };
    let kept = |(_, leaf): &Change| leaf.is_some() || !broken.is(Fault::NothingRemoved);
    changes.iter().map(leaf).filter(kept).collect()
}

/// The place of a part's digest in [`Hashes`].
type Hash = usize;

/// The place of what stands for nothing.
const NO_HASH: Hash = 0;

/// Forks whose bytes are put together before they are hashed: not so many that they would leave the nearest cache.
const HASHED_AT_ONCE: usize = 64;

/// Digests, those that are known and those that are to be made of them.
struct Hashes {
    digests: Vec<Digest>,
    /// For each number of steps from the root the forks that are to be hashed: where their digests belong, and those of their
    /// parts.
    steps: Vec<Vec<(Hash, [Hash; 4])>>,
    broken: Broken,
}

impl Hashes {
    fn new(broken: Broken) -> Hashes {
        Hashes { digests: vec![NOTHING], steps: Vec::new(), broken }
    }

    fn known(&mut self, digest: Digest) -> Hash {
        self.digests.push(digest);
        self.digests.len() - 1
    }

    /// A fork that is to be hashed.
    fn fork(&mut self, step: usize, parts: [Hash; 4]) -> Hash {
        if self.steps.len() <= step {
            self.steps.resize_with(step + 1, Vec::new);
        }
        let hash = self.known(NOTHING);
        self.steps[step].push((hash, parts));
        hash
    }

    /// The forks over leaves in the order of their paths, and what comes of them. One leaf is its own digest, if it is not to
    /// stay a fork.
    fn cover(&mut self, leaves: &[Hashed], step: usize, is_fork: bool) -> Hash {
        match leaves {
            [] => NO_HASH,
            [only] if !is_fork => self.known(only.digest),
            _ => {
                let parts = cut(leaves, step, |it| &it.leaf.path).map(|own| self.cover(own, step + 1, false));
                self.fork(step, parts)
            }
        }
    }

    /// Hashes all forks, the farthest from the root first.
    fn all(&mut self) {
        let mut messages = Messages::with_capacity(HASHED_AT_ONCE, HASHED_AT_ONCE * (FORK.len() + 128));
        for forks in self.steps.iter().rev().flat_map(|forks| forks.chunks(HASHED_AT_ONCE)) {
            for (_, parts) in forks {
                let mut parts = parts.map(|part| self.digests[part]);
                if self.broken.is(Fault::NeighboursSorted) {
                    parts.sort_unstable();
                }
                let [a, b, c, d] = parts;
                messages.push(&[FORK, &a.0, &b.0, &c.0, &d.0]);
            }
            for ((hash, _), digest) in forks.iter().zip(messages.hash()) {
                self.digests[*hash] = digest;
            }
        }
    }

    /// Forgets all digests, and keeps the room for as many.
    fn clear(&mut self) {
        self.digests.truncate(NO_HASH + 1);
        self.steps.iter_mut().for_each(Vec::clear);
    }
}

/// How many nodes are led to.
struct Counted {
    forks: usize,
    keys: usize,
}

/// A trie that is being made.
struct Shape<'a> {
    store: &'a Store,
    chunk: u32,
    /// What is new, with what was in the chunk before it.
    nodes: Chunk,
    counted: Counted,
    hashes: Hashes,
    /// How many of the new forks have their digests.
    made: usize,
    /// Where those of the others will be.
    awaiting: Vec<[Hash; 4]>,
    /// How far each way was followed, in [`Shape::fetch`].
    ways: Vec<Part>,
}

impl Shape<'_> {
    /// Places changes in a part of the trie that lies behind `step` steps, some at a time, and hashes what is new of it.
    fn place_all(
        &mut self,
        old: Part,
        digest: Digest,
        step: usize,
        changes: &[(Path, Option<Digest>)],
    ) -> (Part, Digest) {
        let (part, hash) = match old {
            Part::Fork { chunk, at } if changes.len() > PLACED_AT_ONCE => {
                let fork = *self.store.fork(chunk, at);
                self.counted.forks -= 1;
                let own = cut(changes, step, |(path, _)| path);
                let parts: [(Part, Digest); 4] = std::array::from_fn(|way| {
                    self.place_all(fork.parts[way], fork.digests[way], step + 1, own[way])
                });
                let parts = parts.map(|(part, digest)| (part, self.hashes.known(digest)));
                self.join(parts, digest, step)
            }
            _ if changes.is_empty() => return (old, digest),
            _ => {
                self.fetch(old, step, changes);
                let changes = hashed(changes, self.hashes.broken);
                self.place(old, digest, step, &changes)
            }
        };
        self.hashes.all();
        let digests = &self.hashes.digests;
        for (fork, parts) in self.nodes.forks[self.made..].iter_mut().zip(self.awaiting.drain(..)) {
            fork.digests = parts.map(|part| digests[part]);
        }
        self.made = self.nodes.forks.len();
        let digest = digests[hash];
        self.hashes.clear();
        (part, digest)
    }

    /// Has the nodes on the ways to these changes come into the cache. Each way is a chain of reads that wait for one another; the
    /// ways do not, and wait together.
    fn fetch(&mut self, old: Part, step: usize, changes: &[(Path, Option<Digest>)]) {
        self.ways.clear();
        self.ways.resize(changes.len(), old);
        let mut read = 0;
        for step in step.. {
            let mut goes_on = false;
            for (part, (path, _)) in self.ways.iter_mut().zip(changes) {
                if let Part::Fork { chunk, at } = *part {
                    let fork = self.store.fork(chunk, at);
                    read ^= fork.digests[0].0[0] ^ fork.digests[2].0[0];
                    *part = fork.parts[path.way(step)];
                    goes_on = true;
                }
            }
            if !goes_on {
                break;
            }
        }
        for part in &self.ways {
            for it in self.store.leaves(*part).unwrap_or_default() {
                read ^= it.leaf.path.0.0[0] ^ it.digest.0[0];
            }
        }
        // Nobody wants it, and it must not be left out therefore.
        black_box(read);
    }

    /// Places changes in a part of the trie that lies behind `step` steps.
    fn place(&mut self, old: Part, digest: Digest, step: usize, changes: &[Change]) -> (Part, Hash) {
        if changes.is_empty() {
            return (old, self.hashes.known(digest));
        }
        let Part::Fork { chunk, at } = old else {
            let old = self.store.leaves(old).expect("it is no fork");
            self.counted.keys -= old.len();
            let at = self.nodes.leaves.len();
            merge(old, changes, &mut self.nodes.leaves);
            return self.settle(at, step, old.len() > 1);
        };
        let fork = *self.store.fork(chunk, at);
        self.counted.forks -= 1;
        let own = cut(changes, step, |(path, _)| path);
        let parts: [(Part, Hash); 4] =
            std::array::from_fn(|way| self.place(fork.parts[way], fork.digests[way], step + 1, own[way]));
        self.join(parts, digest, step)
    }

    /// A part of these parts, which was a fork with this digest.
    fn join(&mut self, parts: [(Part, Hash); 4], digest: Digest, step: usize) -> (Part, Hash) {
        let few = parts.iter().try_fold(0, |keys, (part, _)| match part {
            Part::Nothing => Some(keys),
            Part::Bucket { keys: more, .. } => Some(keys + place(*more)),
            Part::Fork { .. } => None,
        });
        if few.is_some_and(|keys| keys <= BUCKET_KEYS_MAX) {
            // What was hashed for these parts is hashed in vain; it is no more than buckets.
            let leaves: Vec<Hashed> =
                parts.iter().flat_map(|(part, _)| self.leaves(*part)).copied().collect();
            self.counted.keys -= leaves.len();
            let at = self.nodes.leaves.len();
            self.nodes.leaves.extend_from_slice(&leaves);
            return self.settle(at, step, true);
        }
        let (part, hash) = self.fork(step, parts);
        if self.hashes.broken.is(Fault::DeepUnhashed) && step > UNHASHED_BELOW {
            return (part, self.hashes.known(digest));
        }
        (part, hash)
    }

    /// The leaves of a bucket, new or old.
    fn leaves(&self, part: Part) -> &[Hashed] {
        match part {
            Part::Bucket { chunk, at, keys } if chunk == self.chunk => {
                &self.nodes.leaves[place(at)..][..place(keys)]
            }
            part => self.store.leaves(part).expect("it is no fork"),
        }
    }

    /// A part that holds the new leaves from `at` on and nothing else; they are in the order of their paths.
    fn settle(&mut self, at: usize, step: usize, was_fork: bool) -> (Part, Hash) {
        let leaves = &self.nodes.leaves[at..];
        if leaves.is_empty() {
            return (Part::Nothing, NO_HASH);
        }
        if leaves.len() <= BUCKET_KEYS_MAX {
            self.counted.keys += leaves.len();
            let stays = was_fork && self.hashes.broken.is(Fault::LonelyKept);
            let hash = self.hashes.cover(leaves, step, stays);
            let keys = number(leaves.len());
            return (Part::Bucket { chunk: self.chunk, at: number(at), keys }, hash);
        }
        let leaves = self.nodes.leaves.split_off(at);
        let parts = cut(&leaves, step, |it| &it.leaf.path).map(|own| {
            let at = self.nodes.leaves.len();
            self.nodes.leaves.extend_from_slice(own);
            self.settle(at, step + 1, false)
        });
        self.fork(step, parts)
    }

    fn fork(&mut self, step: usize, parts: [(Part, Hash); 4]) -> (Part, Hash) {
        let hashes = parts.map(|it| it.1);
        // The digests come when all are hashed.
        self.nodes.forks.push(Fork { digests: [NOTHING; 4], parts: parts.map(|it| it.0) });
        self.awaiting.push(hashes);
        self.counted.forks += 1;
        (
            Part::Fork { chunk: self.chunk, at: number(self.nodes.forks.len() - 1) },
            self.hashes.fork(step, hashes),
        )
    }
}

/// Puts leaves with these changes, in the order of their paths.
fn merge(old: &[Hashed], changes: &[Change], into: &mut Vec<Hashed>) {
    let mut old = old;
    for (path, leaf) in changes {
        let (before, rest) = old.split_at(old.partition_point(|it| it.leaf.path < *path));
        into.extend_from_slice(before);
        into.extend(*leaf);
        old = match rest {
            [own, rest @ ..] if own.leaf.path == *path => rest,
            _ => rest,
        };
    }
    into.extend_from_slice(old);
}
