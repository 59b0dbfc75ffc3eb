//! Checks histories that were kept: `cargo run -p synod-history --example check -- FILE…`

#![expect(clippy::unwrap_used, reason = "an example stops where it is surprised")]

use std::time::Instant;

use synod_history::History;

const STEPS_MAX: u64 = 20_000_000;

fn main() {
    for file in std::env::args().skip(1) {
        let history = History::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        println!("{file}: {} operations", history.operations.len());
        let begun = Instant::now();
        let search = history.search(STEPS_MAX);
        println!("search ({} steps in {:?}): {:?}", search.steps, begun.elapsed(), search.verdict);
        let begun = Instant::now();
        let replayed = history.replay();
        println!("replay ({:?}): {replayed:?}", begun.elapsed());
    }
}
