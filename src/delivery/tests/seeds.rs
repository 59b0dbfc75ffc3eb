//! Thousands of simulated clusters, each from a seed. `SEED=n cargo test -p synod-delivery --test seeds` runs one of them,
//! `TRACE=1` shows what happens in it, and `SEEDS=n` runs so many.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod world;

use std::env;
use std::thread;

use synod_delivery::broken::Broken;
use world::{Counts, run};

/// Seeds that are run unless something else is asked for.
const SEEDS: u64 = 1500;
/// Threads that run them.
const THREADS: u64 = 2;

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

fn run_all(seeds: impl Iterator<Item = u64>) -> (Counts, Vec<String>) {
    let (mut sum, mut violations) = (Counts::default(), Vec::new());
    for seed in seeds {
        match run(seed, Broken::NOT) {
            Ok(counts) => add(&mut sum, counts),
            Err(violation) => violations.push(violation),
        }
    }
    (sum, violations)
}

#[test]
fn what_is_promised_comes_true_whatever_goes_wrong() {
    if let Ok(seed) = env::var("SEED") {
        let outcome = run(seed.parse().unwrap(), Broken::NOT);
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        return;
    }
    let count = env::var("SEEDS").map_or(SEEDS, |count| count.parse().unwrap());
    let share = |first| move || run_all((0..count).filter(move |seed| seed % THREADS == first));
    let threads: Vec<_> = (0..THREADS).map(|first| thread::spawn(share(first))).collect();
    let (mut sum, mut violations) = (Counts::default(), Vec::new());
    for thread in threads {
        let (counts, more) = thread.join().unwrap();
        add(&mut sum, counts);
        violations.extend(more);
    }
    assert!(violations.is_empty(), "{} of {count} seeds:\n{}", violations.len(), violations.join("\n"));
    eprintln!("{sum:?}");
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
