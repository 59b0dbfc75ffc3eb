//! Thousands of simulated clusters, each from a seed. `SEED=n cargo test -p synod-delivery --test seeds` runs one of them,
//! `TRACE=1` shows what happens in it, and `SEEDS=n` runs so many.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod many;
mod world;

use many::run_seeds;
use synod_delivery::broken::Broken;
use world::{Counts, run};

/// Seeds that are run unless something else is asked for.
const SEEDS: u64 = 1500;

/// Adds up, so that a world in which nothing happens any more is noticed.
fn add(sum: &mut Counts, counts: Counts) {
    sum.messages += counts.messages;
    sum.crashes += counts.crashes;
    sum.uniform += counts.uniform;
    sum.not_uniform += counts.not_uniform;
    sum.fetched += counts.fetched;
    sum.wrong_pieces += counts.wrong_pieces;
    sum.wrong_wholes += counts.wrong_wholes;
    sum.resumed_pieces += counts.resumed_pieces;
}

#[test]
fn what_is_promised_comes_true_whatever_goes_wrong() {
    let run = |seed| run(seed, Broken::NOT);
    let Some((_, sum)) = run_seeds("files", SEEDS, run, add) else { return };
    assert!(
        sum.crashes > 1000 && sum.uniform > 1000 && sum.not_uniform > 100 && sum.fetched > 1000,
        "{sum:?}"
    );
    assert!(sum.wrong_pieces > 100 && sum.wrong_wholes > 100 && sum.resumed_pieces > 100, "{sum:?}");
}

#[test]
fn a_seed_means_the_same_run() {
    assert_eq!(run(7, Broken::NOT), run(7, Broken::NOT));
}
