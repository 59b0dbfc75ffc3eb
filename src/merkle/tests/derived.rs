//! A tree beside a map: asked for now and then, of any copy, it is what the map's own tree is.

mod world;

use synod_merkle::Path;
use synod_merkle::broken::Broken;
use synod_types::Digest;
use world::states::{State, run};

#[test]
fn it_is_the_tree_of_what_is_asked() {
    for seed in 0..40 {
        for keys in [3, 50, 700] {
            run(seed, keys, Broken::NOT).unwrap_or_else(|why| panic!("{why}: seed {seed}, {keys} keys"));
        }
    }
}

#[test]
fn proofs_of_a_copy_stay_while_another_one_goes_on() {
    let mut state = State::default();
    state.numbers.map.extend((0..1000_u32).map(|n| (n, u64::from(n))));
    let kept = state.clone();
    let root = kept.root();
    for n in 0..500 {
        state.numbers.set(n, Some(7));
        state.root();
    }
    assert_eq!(kept.root(), root);
    let proof = kept.derived.tree(&kept.numbers).prove(&Path::of(&0_u32.to_be_bytes()));
    let value = Digest::of(&[b"value", &0_u64.to_be_bytes()]);
    assert_eq!(proof.verify(&root, &0_u32.to_be_bytes()), Ok(Some(value)));
}

#[test]
fn more_than_is_taken_at_once() {
    let mut state = State::default();
    state.numbers.map.extend((0..150_000_u32).map(|n| (n, 1_u64)));
    assert_eq!(state.root(), state.plain_root());
}
