//! What is said of a run.

use std::fmt;
use std::time::Duration;

use synod_history::{History, Input, Operation, Outcome, Output};

use crate::storm::Storm;

/// What happened in a run.
pub struct Report {
    pub operations: usize,
    reads: usize,
    unknown: usize,
    failed: usize,
    /// Of what was answered, in order.
    latencies: Vec<Duration>,
    storm: Storm,
    steps: u64,
}

impl Report {
    /// Of a history as the clients knew it.
    pub fn new(history: &History, storm: Storm, steps: u64) -> Report {
        let operations = &history.operations;
        let count =
            |is_so: fn(&Operation<Input, Output>) -> bool| operations.iter().filter(|one| is_so(one)).count();
        let took = |one: &Operation<_, _>| Some(Duration::from_nanos(one.answered()? - one.invoked));
        let mut latencies: Vec<Duration> = operations.iter().filter_map(took).collect();
        latencies.sort();
        Report {
            operations: operations.len(),
            reads: count(|one| one.input.is_read()),
            unknown: count(|one| one.outcome == Outcome::Unknown),
            failed: count(|one| !one.may_count()),
            latencies,
            storm,
            steps,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { operations, reads, unknown, failed, latencies, storm, steps } = self;
        let Storm { kills, pauses, rounds } = storm;
        let ms = |place: usize| latencies[place].as_secs_f64() * 1000.0;
        let (median, longest) = (ms(latencies.len() / 2), ms(latencies.len() - 1));
        write!(
            f,
            "{operations} operations, {reads} of them reads, {unknown} of unknown outcome at first, {failed} failed; \
             {median:.1} ms in the median, {longest:.0} ms at most; {kills} kills and {pauses} pauses in {rounds} \
             rounds; {steps} steps of the search; linearizable by both checks"
        )
    }
}
