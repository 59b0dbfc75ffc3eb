//! Gossip over many seeds, and how fast it is: `SEEDS=20000 cargo test --release -p synod-delivery --test gossip -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod many;
mod rumour;

use many::run_seeds;
use rumour::{converge, storm};
use synod_delivery::broken::Broken;

/// Seeds of a run that is told nothing.
const SEEDS: u64 = 500;

#[test]
fn everybody_learns_the_newest_word_of_everybody() {
    let run = |seed| storm(seed, Broken::NOT).map_err(|why| format!("seed {seed}: {why}"));
    run_seeds("gossip", SEEDS, run, |_, ()| {});
}

/// The table in docs/BENCHMARKS.md.
#[test]
fn a_word_takes_as_many_rounds_as_the_group_has_binary_digits() {
    println!("nodes  fanout  lost  rounds: median, most  messages a node and round");
    for count in [3_usize, 5, 9, 17, 33, 65, 100] {
        // Large groups vary less.
        let runs = 600 / u64::try_from(count).expect("small");
        for (fanout, lost_percent) in [(1, 0), (2, 0), (1, 30), (2, 30)] {
            let measured = (0..runs).map(|seed| converge(count, fanout, lost_percent, seed, Broken::NOT));
            let (mut rounds, messages): (Vec<u64>, Vec<u64>) = measured.unzip();
            rounds.sort_unstable();
            let (median, most) = (rounds[rounds.len() / 2], rounds[rounds.len() - 1]);
            let messages = messages.iter().max().expect("at least one seed");
            println!("{count:>5}  {fanout:>6}  {lost_percent:>3}%  {median:>14}, {most:>4}  {messages}");
            let digits = u64::from(usize::BITS - count.leading_zeros());
            let bound = if lost_percent == 0 { digits } else { 8 + 2 * digits };
            assert!(most <= bound, "{count} nodes, fanout {fanout}, {lost_percent} % lost: {most} rounds");
        }
    }
}
