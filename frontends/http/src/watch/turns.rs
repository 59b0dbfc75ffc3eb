//! Turns: many who follow the same keys are woken by the same write, and would all be served before its writer is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_types::limits::{HTTP_WATCH_TURN_PAUSES, HTTP_WATCH_TURN_US, HTTP_WATCH_TURNS_AT_ONCE};
use tokio::time::{Instant, sleep_until};

/// From one turn to the next, at least.
const TURN: Duration = Duration::from_micros(HTTP_WATCH_TURN_US);

/// Gives out turns: some at once, and then one after another, with a pause in which the processor is the writers'. A single
/// client is served at once, as often as it likes; a thousand get what has changed meanwhile when it is their turn again.
pub(crate) struct Turns {
    /// When all turns that were given out are over.
    over: Mutex<Option<Instant>>,
}

/// A turn, as long as it is kept.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    begun: Instant,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns { over: Mutex::new(None) }
    }

    /// Takes the next turn, and waits for it. Whoever leaves before has had it.
    pub(crate) async fn take(self: Arc<Turns>) -> Turn {
        let now = Instant::now();
        let begins = self.push(now, TURN);
        let at_once = TURN * HTTP_WATCH_TURNS_AT_ONCE;
        if begins.duration_since(now) >= at_once {
            sleep_until(begins - at_once).await;
        }
        Turn { turns: self, begun: Instant::now() }
    }

    /// Lets what comes wait for so long more; gives when that begins.
    fn push(&self, now: Instant, pause: Duration) -> Instant {
        let mut over = self.over.lock().expect("nothing panics while it holds this lock");
        let begins = over.map_or(now, |over| over.max(now));
        *over = Some(begins + pause);
        begins
    }
}

/// Who took long lets the next one wait for longer: a page of changes costs more than a few of them, and anything does where
/// the processors are busy.
impl Drop for Turn {
    fn drop(&mut self) {
        let now = Instant::now();
        let pause = (now - self.begun) * HTTP_WATCH_TURN_PAUSES;
        self.turns.push(now, pause.saturating_sub(TURN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_go_at_once_and_the_others_one_after_another() {
        let turns = Arc::new(Turns::new());
        let begun = Instant::now();
        for _ in 0..HTTP_WATCH_TURNS_AT_ONCE {
            drop(turns.clone().take().await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..1000 {
            drop(turns.clone().take().await);
        }
        // Timers are exact to a millisecond.
        let waited = begun.elapsed();
        assert!(waited >= TURN * 999 && waited <= TURN * 1000 + Duration::from_millis(2), "{waited:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = Instant::now();
        for _ in 0..HTTP_WATCH_TURNS_AT_ONCE {
            drop(turns.clone().take().await);
        }
        assert_eq!(later.elapsed(), Duration::ZERO, "after a pause, turns are free again");
    }
    #[tokio::test(start_paused = true)]
    async fn a_long_turn_is_followed_by_a_long_pause() {
        let turns = Arc::new(Turns::new());
        let turn = turns.clone().take().await;
        let took = Duration::from_millis(100);
        tokio::time::advance(took).await;
        drop(turn);
        let begun = Instant::now();
        drop(turns.take().await);
        let waited = begun.elapsed() + TURN * (HTTP_WATCH_TURNS_AT_ONCE + 1);
        assert!(waited >= took * HTTP_WATCH_TURN_PAUSES, "{waited:?}");
    }
}
