//! How long syncs take: what tells that a disk became slow, long before it is one that does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A sync counts for so much of the average, the ones before it for the rest.
const WEIGHT: u32 = 8;

/// What is known of the last syncs.
#[derive(Debug, Default)]
pub struct SyncPace(Mutex<Syncs>);

#[derive(Debug, Default)]
struct Syncs {
    average: Duration,
    /// When the one began that is under way.
    begun: Option<Instant>,
}

impl SyncPace {
    /// Runs a sync, and returns with its result how long it took.
    pub fn measure<T>(&self, sync: impl FnOnce() -> T) -> (T, Duration) {
        let begun = Instant::now();
        self.lock().begun = Some(begun);
        let result = sync();
        let took = begun.elapsed();
        let mut syncs = self.lock();
        syncs.begun = None;
        syncs.average = (syncs.average * (WEIGHT - 1) + took) / WEIGHT;
        (result, took)
    }

    /// How long a sync takes now: the average of the last ones, or for how long one is under way, if that is longer.
    pub fn now(&self) -> Duration {
        let syncs = self.lock();
        syncs.begun.map_or(Duration::ZERO, |begun| begun.elapsed()).max(syncs.average)
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Syncs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_does_not_end_counts_as_it_lasts() {
        let pace = SyncPace::default();
        assert_eq!(pace.now(), Duration::ZERO);
        let begun = Instant::now();
        let ((), took) = pace.measure(|| while pace.now() < Duration::from_millis(2) {});
        assert!(took >= Duration::from_millis(2) && took <= begun.elapsed());
        assert_eq!(pace.now(), took / WEIGHT);
    }
}
