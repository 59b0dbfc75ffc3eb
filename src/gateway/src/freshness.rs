//! When a node last knew that it was not behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long before the door was opened such a moment may be: a state that came whole from elsewhere may have been the newest then.
const REACH: Duration = Duration::from_secs(3600);

/// The last moment of which a node knows that its state had everything that was chosen by then. Setting and asking take
/// no lock.
pub(crate) struct Freshness {
    /// No moment before this one is known.
    first: Instant,
    /// Nanoseconds from `first` to that moment, and one; 0: there was none yet.
    as_of: AtomicU64,
}

impl Freshness {
    pub(crate) fn new() -> Freshness {
        let now = Instant::now();
        Freshness { first: now.checked_sub(REACH).unwrap_or(now), as_of: AtomicU64::new(0) }
    }

    /// The state has everything that was chosen at `as_of`. An earlier moment than one already known changes nothing.
    pub(crate) fn set(&self, as_of: Instant) {
        let Some(since_first) = as_of.checked_duration_since(self.first) else { return };
        // 64 bits of nanoseconds last for 584 years.
        let nanos = u64::try_from(since_first.as_nanos()).unwrap_or(u64::MAX);
        self.as_of.fetch_max(nanos.saturating_add(1), Ordering::Release);
    }

    /// How long ago that moment is; `None` if there was none yet.
    pub(crate) fn age(&self) -> Option<Duration> {
        let nanos = self.as_of.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.first.elapsed().saturating_sub(Duration::from_nanos(nanos)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_age_grows_until_a_later_moment_is_known() {
        let before = Instant::now();
        tokio::time::advance(REACH).await;
        let second = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let freshness = Freshness::new();
        assert_eq!(freshness.age(), None, "nothing is known at first");
        freshness.set(before);
        assert_eq!(freshness.age(), None, "a moment so long before the door was opened says nothing");
        freshness.set(second);
        assert_eq!(
            freshness.age(),
            Some(Duration::from_secs(1)),
            "the state was the newest before it came here"
        );

        let first = Instant::now();
        freshness.set(first);
        assert_eq!(freshness.age(), Some(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(freshness.age(), Some(Duration::from_secs(3)));
        freshness.set(first + Duration::from_secs(2));
        freshness.set(first + Duration::from_secs(1));
        assert_eq!(freshness.age(), Some(Duration::from_secs(1)), "what is known is never forgotten");
    }
}
