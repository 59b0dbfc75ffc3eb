//! The tree by hand: its smallest shapes, that equal maps have equal roots, and every bit of a proof.

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use synod_merkle::{Path, ProofError, STEPS_MAX, Tree};
use synod_types::Digest;
use world::plain_root;

fn value(n: u64) -> Digest {
    Digest::of(&[&n.to_be_bytes()])
}

fn holding(keys: &[(&[u8], u64)]) -> Tree {
    Tree::new().with(keys.iter().map(|(key, n)| (Path::of(key), Some(value(*n)))).collect())
}

#[test]
fn no_keys() {
    let tree = Tree::new();
    assert_eq!(tree.root(), Digest([0; 32]));
    let proof = tree.prove(&Path::of(b"key"));
    assert_eq!((proof.steps.len(), proof.leaf), (0, None));
    assert_eq!(proof.verify(&tree.root(), b"key"), Ok(None));
    assert_eq!(tree.with(vec![(Path::of(b"key"), None)]).root(), tree.root());
    assert_eq!(tree.with(vec![]).root(), tree.root());
}

#[test]
fn one_key_is_its_leaf() {
    let tree = holding(&[(b"key", 1)]);
    assert_eq!(tree.root(), Digest::of(&[b"leaf/v1", &Digest::of(&[b"key"]).0, &value(1).0]));
    let proof = tree.prove(&Path::of(b"key"));
    assert!(proof.steps.is_empty());
    assert_eq!(proof.verify(&tree.root(), b"key"), Ok(Some(value(1))));
    // The same leaf shows that no other key is there.
    assert_eq!(proof.verify(&tree.root(), b"other"), Ok(None));
    assert_eq!(tree.prove(&Path::of(b"other")), proof);
    assert_eq!(tree.with(vec![(Path::of(b"key"), None)]).root(), Digest([0; 32]));
}

#[test]
fn a_copy_stays_what_it_was() {
    let before = holding(&[(b"a", 1), (b"b", 2)]);
    let kept = before.clone();
    let root = before.root();
    let after = before.with(vec![(Path::of(b"a"), Some(value(3))), (Path::of(b"b"), None)]);
    assert_eq!((kept.root(), kept.get(&Path::of(b"a"))), (root, Some(value(1))));
    assert_eq!((after.get(&Path::of(b"a")), after.get(&Path::of(b"b"))), (Some(value(3)), None));
}

#[test]
fn a_proof_that_cannot_be_is_refused_with_its_reason() {
    let tree = holding(&[(b"a", 1), (b"b", 2), (b"c", 3)]);
    let mut proof = tree.prove(&Path::of(b"a"));
    let other = Digest::of(&[b"another root"]);
    let why = proof.verify(&other, b"a").unwrap_err();
    assert_eq!(why, ProofError::OtherRoot { expected: other, found: tree.root() });
    assert!(why.to_string().contains("of another state or key"), "{why}");

    proof.steps = vec![[Digest::default(); 3]; STEPS_MAX + 1];
    assert_eq!(proof.verify(&tree.root(), b"a"), Err(ProofError::TooLong(129)));

    // A whole path is a proof's length at most, and is taken for one.
    let mut proof = tree.prove(&Path::of(b"a"));
    proof.steps.resize(STEPS_MAX, [Digest::default(); 3]);
    assert!(matches!(proof.verify(&tree.root(), b"a"), Err(ProofError::OtherRoot { .. })));

    // The leaf of a key that goes another way cannot be where this one would be.
    let mut proof = tree.prove(&Path::of(b"a"));
    let stranger = (0..9_u8).find(|n| Path::of(&[*n]).0.0[0] >> 6 != Path::of(b"a").0.0[0] >> 6).unwrap();
    proof.leaf.as_mut().unwrap().path = Path::of(&[stranger]);
    assert_eq!(proof.verify(&tree.root(), b"a"), Err(ProofError::Misplaced));
}

#[test]
fn every_bit_of_a_proof_counts() {
    let held: Vec<(Path, Option<Digest>)> =
        (0..300_u64).map(|n| (Path::of(&n.to_be_bytes()), Some(value(n)))).collect();
    let tree = Tree::new().with(held);
    let root = tree.root();
    // There and not there: beside nothing, and beside another key's leaf.
    for n in [0_u64, 1, 300, 301, 302, 303, 304] {
        let key = n.to_be_bytes();
        let proof = tree.prove(&Path::of(&key));
        assert_eq!(proof.verify(&root, &key), Ok((n < 300).then(|| value(n))));
        let bytes = synod_types::wire::encode(&proof);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(flipped) = synod_types::wire::decode::<synod_merkle::Proof>(&flipped) else { continue };
            assert!(flipped.verify(&root, &key).is_err(), "bit {bit} of the proof of {n} does not count");
        }
    }
}

#[test]
fn keys_with_a_long_way_in_common() {
    // Paths that nobody will find keys of: they differ in the last bits alone.
    let path = |last: u8| {
        let mut bytes = [0x55; 32];
        bytes[31] = last;
        Path(Digest(bytes))
    };
    let tree = Tree::new().with((0..4).map(|n| (path(n), Some(value(u64::from(n))))).collect());
    assert_eq!(tree.prove(&path(2)).steps.len(), STEPS_MAX);
    assert_eq!(tree.get(&path(2)), Some(value(2)));
    assert_eq!(tree.get(&path(4)), None);
    let one = tree.with([0, 1, 3].map(|n| (path(n), None)).to_vec());
    assert_eq!(one.prove(&path(2)).steps.len(), 0, "what is lonely moves up all the way");
    assert_eq!(one.root(), Tree::new().with(vec![(path(2), Some(value(2)))]).root());
}

#[test]
fn what_is_left_of_many_is_as_if_it_had_been_alone() {
    // So many that they are placed in several parts, of which next to nothing stays.
    let all: Vec<Path> = (0..3000_u64).map(|n| Path::of(&n.to_be_bytes())).collect();
    let many = Tree::new().with(all.iter().map(|path| (*path, Some(value(1)))).collect());
    for left in [0, 1, 2, 3, 4, 5, 8, 20] {
        let changes = all.iter().enumerate().map(|(n, path)| (*path, (n < left).then(|| value(2))));
        let few = many.with(changes.collect());
        let alone = Tree::new().with(all[..left].iter().map(|path| (*path, Some(value(2)))).collect());
        assert_eq!(few.root(), alone.root(), "{left} of 3000");
        for path in &all[..left] {
            assert_eq!(few.get(path), Some(value(2)));
        }
    }
}

#[test]
#[should_panic(expected = "a key comes once")]
fn a_key_comes_once() {
    let _ = Tree::new().with(vec![(Path::of(b"a"), None), (Path::of(b"a"), Some(value(1)))]);
}

#[derive(Clone, Debug)]
enum Step {
    Change(Vec<(u8, Option<u8>)>),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>())), 0..20);
    prop::collection::vec(prop_oneof![8 => change.prop_map(Step::Change), 1 => Just(Step::Again)], 0..30)
}

proptest! {
    /// The same content has the same root, however it came about: in these batches, one by one, or at once.
    #[test]
    fn the_root_follows_from_the_content_alone(steps in steps()) {
        let mut held: BTreeMap<Vec<u8>, Digest> = BTreeMap::new();
        let (mut tree, mut one_by_one) = (Tree::new(), Tree::new());
        for step in steps {
            let changes: BTreeMap<u8, Option<u8>> = match step {
                Step::Change(changes) => changes.into_iter().collect(),
                Step::Again => held.keys().map(|key| (key[0], None)).collect(),
            };
            let digest = |n: u8| value(u64::from(n));
            let changes: Vec<_> = changes.into_iter().map(|(key, n)| (key, n.map(digest))).collect();
            for (key, value) in &changes {
                match value {
                    Some(value) => held.insert(vec![*key], *value),
                    None => held.remove(&vec![*key]),
                };
                one_by_one = one_by_one.with(vec![(Path::of(&[*key]), *value)]);
            }
            tree = tree.with(changes.iter().map(|(key, value)| (Path::of(&[*key]), *value)).collect());
            let at_once = Tree::new().with(held.iter().map(|(key, value)| (Path::of(key), Some(*value))).collect());
            prop_assert_eq!(tree.root(), plain_root(&held));
            prop_assert_eq!(one_by_one.root(), tree.root());
            prop_assert_eq!(at_once.root(), tree.root());
        }
        for key in 0..=255 {
            let found = tree.prove(&Path::of(&[key])).verify(&tree.root(), &[key]);
            prop_assert_eq!(found, Ok(held.get(&vec![key]).copied()));
        }
    }
}
