//! Notices a disk that does not answer. A write that never returns is as fatal as one that fails: the node must stop
//! rather than hang with its groups. sled can also wait forever for a write of its own that failed in another thread.
//!
//! Each write, sync and read is watched by itself: a disk that is slow, and takes its time for each of many, does answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a call may take, counted in ticks: a machine that was suspended wakes up to one tick, not to all.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The time between two looks.
    pub tick: Duration,
    /// Looks that find the same call unfinished before it is called stalled.
    pub ticks_max: u32,
}

impl Patience {
    /// Half a minute.
    pub const DEFAULT: Patience = Patience { tick: Duration::from_secs(5), ticks_max: 6 };

    /// The time in which a call has to be finished.
    pub fn total(self) -> Duration {
        self.tick * self.ticks_max
    }
}

/// What the writer tells the thread that watches it.
#[derive(Default)]
pub struct Watch {
    /// Odd while a call is under way.
    calls: AtomicU64,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Watch {
    /// Runs `call` under observation.
    pub fn observe<T>(&self, call: impl FnOnce() -> T) -> T {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let result = call();
        self.calls.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Watches until the end, and says whether a call stalled.
    pub fn is_stalled(&self, patience: Patience) -> bool {
        let (mut last_seen, mut ticks) = (0, 0);
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.over.wait_timeout_while(is_over, patience.tick, |is_over| !*is_over);
            is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *is_over {
                return false;
            }
            let seen = self.calls.load(Ordering::Relaxed);
            ticks = if seen == last_seen && seen % 2 == 1 { ticks + 1 } else { 0 };
            last_seen = seen;
            if ticks >= patience.ticks_max {
                return true;
            }
        }
    }

    /// Ends [`Watch::is_stalled`].
    pub fn end(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }
}
