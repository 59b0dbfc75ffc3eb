//! How fast a node sends what others catch up with, so that helping one leaves the disk and the line to those who wait for
//! a commit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// One pace for all peers together.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u32,
    /// When everything is through that was let through.
    free: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u32) -> Pace {
        Pace { bytes_per_second, free: Mutex::new(None) }
    }

    /// Waits until so many bytes may be sent behind all that were let through before.
    pub(crate) async fn wait_for(&self, bytes: usize) {
        sleep_until(self.reserve(bytes, Instant::now())).await;
    }

    /// When these bytes may begin.
    fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free.map_or(now, |free| free.max(now));
        *free = Some(begin + Duration::from_secs(1) * bytes / self.bytes_per_second);
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_waits_for_what_was_and_idle_time_is_not_saved_up() {
        let (pace, start) = (Pace::new(1000), Instant::now());
        let begin = |at_ms, bytes| {
            let begin = pace.reserve(bytes, start + Duration::from_millis(at_ms));
            begin.duration_since(start).as_millis()
        };
        assert_eq!([begin(0, 500), begin(100, 1000), begin(2000, 10), begin(2000, 1)], [0, 500, 2000, 2010]);
        assert_eq!(Pace::new(u32::MAX).reserve(1, start), start);
    }
}
