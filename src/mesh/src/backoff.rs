//! How long to wait before a peer is tried again.

use std::time::Duration;

use rand::RngExt;

/// The longest wait, in multiples of the first.
const CAP: u32 = 10;

/// Waits that double from `retry_delay` to ten times as much, each shortened at random by up to a half, so that
/// nodes which lost each other at once do not meet at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry_delay: Duration,
    factor: u32,
}

impl Backoff {
    pub(crate) fn new(retry_delay: Duration) -> Backoff {
        Backoff { retry_delay, factor: 1 }
    }

    /// Begins again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.factor = 1;
    }

    /// The next wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let longest = self.retry_delay * self.factor;
        self.factor = (self.factor * 2).min(CAP);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        for longest in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait();
            let longest = Duration::from_millis(longest);
            assert!(longest / 2 <= wait && wait <= longest, "{wait:?} of {longest:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
