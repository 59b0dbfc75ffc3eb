//! A test over many seeds: `SEED=n` runs one of them, and `SEEDS=n` runs so many.

use std::env;
use std::fmt::Debug;
use std::thread;

/// Threads that run seeds.
const THREADS: u64 = 2;
/// Violations that are shown.
const SHOWN_MAX: usize = 10;

/// Runs as many seeds as are asked for, or else `seeds`, and demands that nothing is violated in any. Gives how many they were, and what
/// was counted in all of them, so that a world in which nothing happens any more is noticed; `None`: one was asked for alone.
pub fn run_seeds<C: Default + Debug + Send + 'static>(
    what: &str,
    seeds: u64,
    run: impl Fn(u64) -> Result<C, String> + Copy + Send + 'static,
    add: fn(&mut C, C),
) -> Option<(u64, C)> {
    if let Ok(seed) = env::var("SEED") {
        let outcome = run(seed.parse().unwrap());
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        return None;
    }
    let count = env::var("SEEDS").map_or(seeds, |count| count.parse().unwrap());
    let share = |first| {
        move || {
            let (mut sum, mut violations) = (C::default(), Vec::new());
            for seed in (0..count).filter(|seed| seed % THREADS == first) {
                match run(seed) {
                    Ok(counts) => add(&mut sum, counts),
                    Err(violation) => violations.push(violation),
                }
            }
            (sum, violations)
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|first| thread::spawn(share(first))).collect();
    let (mut sum, mut violations) = (C::default(), Vec::new());
    for thread in threads {
        let (counts, more) = thread.join().unwrap();
        add(&mut sum, counts);
        violations.extend(more);
    }
    let bad = violations.len();
    violations.truncate(SHOWN_MAX);
    assert!(bad == 0, "{what}: {bad} of {count} seeds, the first:\n{}", violations.join("\n"));
    eprintln!("{what}, {count} seeds: {sum:?}");
    Some((count, sum))
}
