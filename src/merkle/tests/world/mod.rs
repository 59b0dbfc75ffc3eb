//! A tree that changes at random, a plain map beside it, and proofs that are tampered with.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is surprised")]
#![allow(dead_code, reason = "each test uses a part")]

pub mod states;

use std::collections::BTreeMap;

use synod_merkle::broken::Broken;
use synod_merkle::{Leaf, Path, Proof, Tree};
use synod_types::Digest;

/// Numbers that follow from a seed alone (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub fn digest(&mut self) -> Digest {
        Digest::of(&[&self.number().to_be_bytes()])
    }
}

/// The map, as plain as can be, and the tree that is to be the same.
pub struct World {
    pub chance: Chance,
    /// Keys are drawn from so many.
    keys: usize,
    pub held: BTreeMap<Vec<u8>, Digest>,
    pub tree: Tree,
    /// Roots of earlier states.
    pub roots: Vec<Digest>,
    pub broken: Broken,
}

impl World {
    pub fn new(seed: u64, broken: Broken) -> World {
        let mut chance = Chance::of(seed);
        let keys = [2, 5, 20, 100, 1000, 5000][chance.below(6)];
        World {
            chance,
            keys,
            held: BTreeMap::new(),
            tree: Tree::new().broken(broken),
            roots: Vec::new(),
            broken,
        }
    }

    pub fn key(&mut self) -> Vec<u8> {
        format!("key {}", self.chance.below(self.keys)).into_bytes()
    }

    /// Changes some keys; what is removed may not be there.
    pub fn change(&mut self) {
        let most = if self.chance.below(8) == 0 { self.keys } else { 4 };
        let removes = self.chance.below(4);
        let mut changes = BTreeMap::new();
        for _ in 0..1 + self.chance.below(most) {
            let value = (self.chance.below(4) >= removes).then(|| self.chance.digest());
            changes.insert(self.key(), value);
        }
        for (key, value) in &changes {
            match value {
                Some(value) => self.held.insert(key.clone(), *value),
                None => self.held.remove(key),
            };
        }
        self.roots.push(self.tree.root());
        self.tree = self.tree.with(changes.iter().map(|(key, value)| (Path::of(key), *value)).collect());
    }

    /// Whether the tree is what docs/PROTOCOL.md says of the map, made anew.
    pub fn check_root(&self) -> Result<(), String> {
        let expected = plain_root(&self.held);
        let root = self.tree.root();
        if root == expected { Ok(()) } else { Err(format!("the root is {root}, and should be {expected}")) }
    }

    /// Proves a key that is there or not, and tampers with the proof.
    pub fn check_proof(&mut self) -> Result<(), String> {
        let key = self.key();
        let truth = self.held.get(&key).copied();
        let root = self.tree.root();
        let proof = self.tree.prove(&Path::of(&key));
        if self.tree.get(&Path::of(&key)) != truth {
            return Err("a look-up finds something else".to_owned());
        }
        match proof.verify_with(&root, &key, self.broken) {
            Ok(found) if found == truth => {}
            other => return Err(format!("a proof of {truth:?} gives {other:?}")),
        }
        let (what, tampered, claimed_root) = self.tamper(&proof, &key, root);
        if tampered == proof && claimed_root == root {
            return Ok(());
        }
        match tampered.verify_with(&claimed_root, &key, self.broken) {
            Err(_) => Ok(()),
            Ok(found) => Err(format!("{what}: taken for a proof of {found:?}")),
        }
    }

    fn tamper(&mut self, proof: &Proof, key: &[u8], root: Digest) -> (&'static str, Proof, Digest) {
        let mut it = proof.clone();
        let chance = &mut self.chance;
        let steps = it.steps.len();
        let what = match chance.below(16) {
            0 | 1 if steps > 0 => {
                let (step, other) = (chance.below(steps), chance.below(3));
                flip(chance, &mut it.steps[step][other]);
                "a bit of a neighbour"
            }
            2 if it.leaf.is_some() => {
                flip(chance, &mut it.leaf.as_mut().unwrap().value);
                "a bit of the value"
            }
            3 if it.leaf.is_some() => {
                flip(chance, &mut it.leaf.as_mut().unwrap().path.0);
                "a bit of whose leaf it is"
            }
            4 if steps > 0 => {
                let (step, a) = (chance.below(steps), chance.below(3));
                let b = (a + 1 + chance.below(2)) % 3;
                it.steps[step].swap(a, b);
                "two neighbours change places"
            }
            5 if steps > 1 => {
                let (a, b) = (chance.below(steps), chance.below(steps));
                it.steps.swap(a, b);
                "two steps change places"
            }
            6 if steps > 0 => {
                it.steps.remove(chance.below(steps));
                "a step less"
            }
            7 => {
                let others = [Digest::default(); 3]
                    .map(|zeros| if chance.below(2) == 0 { zeros } else { chance.digest() });
                it.steps.insert(chance.below(steps + 1), others);
                "a step more"
            }
            8 => {
                let lonely = [Digest::default(); 3];
                it.steps.push(lonely);
                "a step more at the end, without neighbours"
            }
            9 => {
                it.leaf = None;
                "no leaf"
            }
            10 => {
                it.leaf = Some(Leaf { path: Path::of(key), value: chance.digest() });
                "another value"
            }
            11 => {
                it.leaf = it.leaf.map(|leaf| Leaf { path: Path::of(key), ..leaf });
                "another key's leaf as this one's"
            }
            12 => {
                let other = self.key();
                it = self.tree.prove(&Path::of(&other));
                "another key's proof"
            }
            13 => {
                let other = self.key();
                it = self.tree.prove(&Path::of(&other));
                it.leaf = it.leaf.map(|leaf| Leaf { path: Path::of(key), ..leaf });
                "another key's proof with this key's name"
            }
            14 => {
                let earlier = self.roots.len();
                let claimed = if earlier == 0 { chance.digest() } else { self.roots[chance.below(earlier)] };
                return ("another root", it, claimed);
            }
            15 if steps > 0 => {
                // A fork given as if it were where the key's leaf is.
                let step = chance.below(steps);
                it.steps.truncate(step);
                it.leaf = None;
                "a way that ends too early"
            }
            _ => {
                let times = synod_merkle::STEPS_MAX + 1;
                it.steps.resize(times, [chance.digest(); 3]);
                "too many steps"
            }
        };
        (what, it, root)
    }
}

fn flip(chance: &mut Chance, digest: &mut Digest) {
    digest.0[chance.below(32)] ^= 1 << chance.below(8);
}

/// The root, from the definition: no sharing, no batches, one hash after the other.
pub fn plain_root(held: &BTreeMap<Vec<u8>, Digest>) -> Digest {
    let leaves: BTreeMap<[u8; 32], Digest> =
        held.iter().map(|(key, value)| (Digest::of(&[key]).0, *value)).collect();
    let leaves: Vec<_> = leaves.into_iter().collect();
    plain_part(&leaves, 0)
}

fn plain_part(leaves: &[([u8; 32], Digest)], step: usize) -> Digest {
    match leaves {
        [] => Digest([0; 32]),
        [(path, value)] => Digest::of(&[b"leaf/v1", path, &value.0]),
        _ => {
            let part = |way: u8| {
                let bits = |path: &[u8; 32]| path[step / 4] >> (6 - 2 * (step % 4)) & 3;
                let own: Vec<_> = leaves.iter().filter(|(path, _)| bits(path) == way).copied().collect();
                plain_part(&own, step + 1)
            };
            Digest::of(&[b"fork/v1", &part(0).0, &part(1).0, &part(2).0, &part(3).0])
        }
    }
}

/// Random states, and random keys in each: proofs, and tampering with them.
pub fn run(seed: u64, proofs: usize, broken: Broken) -> Result<(), String> {
    let mut world = World::new(seed, broken);
    for at in 0..proofs {
        if at % 16 == 0 {
            world.change();
            world.check_root()?;
        }
        world.check_proof()?;
    }
    Ok(())
}

/// The same for rules that are wrong on both sides alike, so that no root is what it should be.
pub fn run_without_roots(seed: u64, proofs: usize, broken: Broken) -> Result<(), String> {
    let mut world = World::new(seed, broken);
    for at in 0..proofs {
        if at % 16 == 0 {
            world.change();
        }
        world.check_proof()?;
    }
    Ok(())
}
