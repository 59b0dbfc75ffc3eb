//! A node's own idea of time: it starts anywhere, runs too fast or too slow, and jumps.
//!
//! Ticks come from the monotonic side, which has a rate and no jumps; the wall side has both. The time in decrees follows
//! the one and is drawn towards the other. Neither is ever compared with the world's virtual time by a node.

use synod_paxos::Reading;
use synod_types::TimeMs;

/// Milliseconds between two ticks of a clock that runs right.
pub const TICK_MS: u64 = 20;
/// Where wall clocks stand when a world begins: 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// One node's clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// How fast it runs, in thousandths of the right speed.
    rate_per_mille: u64,
    /// Where in a tick it stood when the world began.
    phase_ms: u64,
    /// What all its jumps, and its first error, add up to.
    skew_ms: i64,
}

impl Clock {
    /// A clock at `rate_per_mille` of the right speed, `skew_ms` off at the beginning.
    pub fn new(rate_per_mille: u64, phase_ms: u64, skew_ms: i64) -> Clock {
        assert!(rate_per_mille > 0, "a clock that stands still never ticks");
        Clock { rate_per_mille, phase_ms, skew_ms }
    }

    /// Virtual time of the first tick after `now_ms`.
    pub fn next_tick_ms(&self, now_ms: u64) -> u64 {
        let tick_at = |count: u64| self.phase_ms + (count * TICK_MS * 1000).div_ceil(self.rate_per_mille);
        let passed = now_ms.saturating_sub(self.phase_ms) * self.rate_per_mille / (TICK_MS * 1000);
        (passed..).map(tick_at).find(|&tick_ms| tick_ms > now_ms).expect("ticks rise without end")
    }

    /// What its wall side shows at virtual time `now_ms`.
    pub fn wall(&self, now_ms: u64) -> TimeMs {
        let right = EPOCH_MS + now_ms * self.rate_per_mille / 1000;
        TimeMs(right.saturating_add_signed(self.skew_ms))
    }

    /// What both sides show at virtual time `now_ms`. The monotonic one began with the world.
    pub fn read(&self, now_ms: u64) -> Reading {
        Reading { monotonic_us: now_ms * self.rate_per_mille, wall_us: self.wall(now_ms).0 * 1000 }
    }

    /// Sets the wall side forward, or back.
    pub fn jump(&mut self, by_ms: i64) {
        self.skew_ms = self.skew_ms.saturating_add(by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_rate() {
        let ticks = |rate| {
            let clock = Clock::new(rate, 3, 0);
            let mut now = 0;
            std::iter::from_fn(move || {
                now = clock.next_tick_ms(now);
                Some(now)
            })
            .take_while(|&at| at <= 1003)
            .count()
        };
        assert_eq!((ticks(1000), ticks(2000), ticks(500)), (51, 101, 26));
    }

    #[test]
    fn jumps_move_the_wall_and_not_the_ticks() {
        let mut clock = Clock::new(1000, 0, 0);
        let (wall, tick) = (clock.wall(50), clock.next_tick_ms(50));
        clock.jump(-5000);
        assert_eq!((clock.wall(50).0, clock.next_tick_ms(50)), (wall.0 - 5000, tick));
    }
}
