//! Thousands of simulated clusters that come to certificates, each from a seed.
//!
//! `SEED=n cargo test -p synod-delivery --test cosign` runs one of them, `TRACE=1` shows what happens in it, and `SEEDS=n` runs so
//! many.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod many;
mod signers;

use many::run_seeds;
use signers::{Counts, run};
use synod_delivery::cosign::broken::Broken;

/// Seeds that are run unless something else is asked for.
const SEEDS: u64 = 1000;

/// Adds up, so that a world in which nothing happens any more is noticed.
fn add(sum: &mut Counts, counts: Counts) {
    sum.messages += counts.messages;
    sum.certificates += counts.certificates;
    sum.handovers += counts.handovers;
    sum.crashes += counts.crashes;
    sum.cuts += counts.cuts;
    sum.skipped += counts.skipped;
    sum.forged += counts.forged;
    sum.conflicts += counts.conflicts;
    sum.proofs += counts.proofs;
}

#[test]
fn validity_no_creation_agreement_durability_and_the_proof_of_members() {
    let run = |seed| run(seed, Broken::NOT);
    let Some((count, sum)) = run_seeds("certificates", SEEDS, run, add) else { return };
    // So much of everything happens in 1,000 seeds.
    let least = |what: u64, of_1000: u64| assert!(what * 1000 >= of_1000 * count, "{sum:?}");
    least(sum.certificates, 10_000);
    least(sum.handovers, 500);
    least(sum.crashes, 500);
    least(sum.cuts, 1_000);
    least(sum.skipped, 500);
    least(sum.forged, 1_000);
    least(sum.conflicts, 500);
    least(sum.proofs, 50);
}

#[test]
fn a_seed_means_the_same_run() {
    assert_eq!(run(7, Broken::NOT), run(7, Broken::NOT));
}
