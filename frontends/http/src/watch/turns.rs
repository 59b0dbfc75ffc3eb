//! Turns: many who follow the same keys are woken by the same write, and would all be served before its writer is.

use std::sync::Mutex;
use std::time::Duration;

use synod_types::limits::{HTTP_WATCH_TURN_US, HTTP_WATCH_TURNS_AT_ONCE};
use tokio::time::{Instant, sleep_until};

/// From one turn to the next.
const TURN: Duration = Duration::from_micros(HTTP_WATCH_TURN_US);

/// Gives out turns: some at once, and then one after each [`TURN`]. A single client is served at once, as often as it likes;
/// a thousand get what has changed meanwhile when it is their turn again.
pub(crate) struct Turns {
    /// When all turns that were given out are over.
    over: Mutex<Option<Instant>>,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns { over: Mutex::new(None) }
    }

    /// Takes the next turn, and waits for it. Whoever leaves before has had it.
    pub(crate) async fn take(&self) {
        let now = Instant::now();
        let begins = {
            let mut over = self.over.lock().expect("nothing panics while it holds this lock");
            let begins = over.map_or(now, |over| over.max(now));
            *over = Some(begins + TURN);
            begins
        };
        let at_once = TURN * HTTP_WATCH_TURNS_AT_ONCE;
        if begins.duration_since(now) >= at_once {
            sleep_until(begins - at_once).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_go_at_once_and_the_others_one_after_another() {
        let turns = Turns::new();
        let begun = Instant::now();
        for _ in 0..HTTP_WATCH_TURNS_AT_ONCE {
            turns.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..1000 {
            turns.take().await;
        }
        // Timers are exact to a millisecond.
        let waited = begun.elapsed();
        assert!(waited >= TURN * 999 && waited <= TURN * 1000 + Duration::from_millis(2), "{waited:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = Instant::now();
        for _ in 0..HTTP_WATCH_TURNS_AT_ONCE {
            turns.take().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO, "after a pause, turns are free again");
    }
}
