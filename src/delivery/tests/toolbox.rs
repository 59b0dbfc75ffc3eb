//! Thousands of simulated groups of the toolbox for each guarantee, each from a seed.
//!
//! `SEED=n cargo test -p synod-delivery --test toolbox NAME` runs one of them, `TRACE=1` shows what happens in it, and
//! `SEEDS=n` runs so many.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod group;
mod many;

use group::{Counts, Promise, run, run_in};
use many::run_seeds;
use synod_delivery::toolbox::broken::Broken;
use synod_delivery::toolbox::{Guarantee, Order};

/// Seeds that are run of each guarantee unless something else is asked for.
const SEEDS: u64 = 200;

/// Adds up, so that a world in which nothing happens any more is noticed.
fn add(sum: &mut Counts, counts: Counts) {
    sum.packets += counts.packets;
    sum.broadcasts += counts.broadcasts;
    sum.delivered += counts.delivered;
    sum.relayed += counts.relayed;
    sum.repeated += counts.repeated;
    sum.crashes += counts.crashes;
    sum.last_words += counts.last_words;
    sum.busy += counts.busy;
    sum.gave_up += counts.gave_up;
    sum.expelled += counts.expelled;
    sum.left += counts.left;
    sum.suspicions += counts.suspicions;
    sum.restored += counts.restored;
    sum.minorities += counts.minorities;
}

fn holds(guarantee: Guarantee, order: Order) {
    let promise = Promise { guarantee, order };
    let run = move |seed| run(seed, promise, Broken::NOT);
    let Some((count, sum)) = run_seeds(&format!("{promise:?}"), SEEDS, run, add) else { return };
    // So much of everything happens in 300 seeds; nobody relays where that is not promised.
    let least = |what: u64, of_300: u64| assert!(what * 300 >= of_300 * count, "{sum:?}");
    least(sum.broadcasts, 5_000);
    least(sum.delivered, 10_000);
    least(sum.repeated, 5_000);
    least(sum.crashes, 300);
    least(sum.last_words, 100);
    least(sum.busy, 300);
    least(sum.gave_up, 50);
    least(sum.expelled, 10);
    least(sum.left, 20);
    least(sum.suspicions, 300);
    least(sum.restored, 100);
    least(sum.minorities, 100);
    match guarantee {
        Guarantee::BestEffort => assert_eq!(sum.relayed, 0),
        Guarantee::Reliable | Guarantee::Uniform => least(sum.relayed, 1_000),
    }
}

#[test]
fn best_effort() {
    holds(Guarantee::BestEffort, Order::Any);
}

#[test]
fn reliable() {
    holds(Guarantee::Reliable, Order::Any);
}

#[test]
fn uniform() {
    holds(Guarantee::Uniform, Order::Any);
}

#[test]
fn best_effort_fifo() {
    holds(Guarantee::BestEffort, Order::Fifo);
}

#[test]
fn reliable_fifo() {
    holds(Guarantee::Reliable, Order::Fifo);
}

#[test]
fn uniform_fifo() {
    holds(Guarantee::Uniform, Order::Fifo);
}

#[test]
fn reliable_causal() {
    holds(Guarantee::Reliable, Order::Causal);
}

#[test]
fn uniform_causal() {
    holds(Guarantee::Uniform, Order::Causal);
}

/// As RAET was tested with `tc netem`.
#[test]
fn of_packets_30_percent_get_lost_50_are_doubled_and_they_take_up_to_200_ms() {
    for guarantee in [Guarantee::Reliable, Guarantee::Uniform] {
        let promise = Promise { guarantee, order: Order::Causal };
        let outcomes = (0..100).map(|seed| run_in(seed, promise, 30, 50, 200));
        let counts: Vec<Counts> = outcomes.collect::<Result<_, _>>().unwrap();
        assert!(counts.iter().map(|counts| counts.delivered).sum::<u64>() > 5_000, "{counts:?}");
    }
}

/// What they found is mended.
#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    let causal = [
        140, 237, 967, 1298, 2603, 2612, 2727, 3362, 3635, 4116, 4167, 4259, 5343, 6023, 6311, 7165, 7708,
        7973, 10_766, 12_384,
    ];
    for (order, seeds) in [(Order::Causal, &causal[..]), (Order::Fifo, &[17_557])] {
        let promise = Promise { guarantee: Guarantee::Reliable, order };
        for &seed in seeds {
            run(seed, promise, Broken::NOT).unwrap();
        }
    }
}

#[test]
fn a_seed_means_the_same_run() {
    let promise = Promise { guarantee: Guarantee::Uniform, order: Order::Causal };
    assert_eq!(run(7, promise, Broken::NOT), run(7, promise, Broken::NOT));
}
