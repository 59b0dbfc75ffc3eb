//! Random states, random keys that are there or not, and a proof of each that is tampered with. A part runs with the other
//! tests; a million with `CASES=1000000 cargo test --release -p synod-merkle --test cases -- --nocapture`.

mod world;

use std::env;

use synod_merkle::broken::Broken;

/// Proofs of one world.
const PROOFS: usize = 250;

#[test]
fn every_proof_holds_and_none_that_was_tampered_with() {
    let cases: usize = env::var("CASES").map_or(20_000, |cases| cases.parse().unwrap());
    let first: u64 = env::var("SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut seed = first;
    let mut done = 0;
    while done < cases {
        if let Err(why) = world::run(seed, PROOFS, Broken::NOT) {
            panic!("{why}; again with SEED={seed} CASES={PROOFS}");
        }
        seed += 1;
        done += PROOFS;
    }
    eprintln!("{done} proofs in {} worlds: each held, and none that was tampered with", seed - first);
}
