//! The clock of a leader's term, from which its decrees get their time.
//!
//! What runs out, and what a command's `not_after` means, depends on these times. So they follow the system's monotonic
//! clock, which nobody sets, and are only drawn towards the wall clock, never faster than [`DRAW_PARTS`] allows: a wall
//! clock that is set, rightly or wrongly, moves nothing at once. And they do not run on over a stall of this very process:
//! who was stopped has not heard those who kept something alive meanwhile. Of a gap between two readings only
//! [`GAP_US_MAX`] counts at once; for the rest the clock is behind the wall clock, and is drawn after it.
//!
//! A pure function of the readings that it is given.

use synod_types::TimeMs;

/// The clock is drawn towards the wall clock by one in so many parts of the time that passes: a lease is too short by no
/// more than this.
pub const DRAW_PARTS: u64 = 20;
/// More microseconds than this between two readings are a stall: ten ticks of the driver.
pub const GAP_US_MAX: u64 = 200_000;

/// What the system's two clocks show at one moment, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Since any moment that stays the same: never goes back, and is never set.
    pub monotonic_us: u64,
    /// Since 1970.
    pub wall_us: u64,
}

/// The clock of one term of one leader. It begins with what the wall clock shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TermClock {
    /// The last reading of the monotonic clock.
    read_us: u64,
    /// What it showed then, since 1970.
    shown_us: u64,
}

impl TermClock {
    /// A term begins.
    pub fn begin(reading: Reading) -> TermClock {
        TermClock { read_us: reading.monotonic_us, shown_us: reading.wall_us }
    }

    /// What it shows; never less than before.
    pub fn read(&mut self, reading: Reading) -> TimeMs {
        let passed_us = reading.monotonic_us.saturating_sub(self.read_us).min(GAP_US_MAX);
        self.read_us = self.read_us.max(reading.monotonic_us);
        let free_us = self.shown_us.saturating_add(passed_us);
        let draw_us = passed_us / DRAW_PARTS;
        self.shown_us = reading.wall_us.clamp(free_us - draw_us, free_us.saturating_add(draw_us));
        TimeMs(self.shown_us / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A term that began at 1,000 s by the wall clock and 5 s by the monotonic one.
    fn begun() -> TermClock {
        TermClock::begin(at(0, 0))
    }

    /// So many milliseconds later, while the wall clock is so many off.
    fn at(ms: u64, off_ms: i64) -> Reading {
        let wall_ms = (1_000_000 + ms).saturating_add_signed(off_ms);
        Reading { monotonic_us: (5000 + ms) * 1000, wall_us: wall_ms * 1000 }
    }

    /// What it shows, behind its beginning, after readings `step_ms` apart.
    fn shows(clock: &mut TermClock, step_ms: u64, from_ms: u64, to_ms: u64, off_ms: i64) -> u64 {
        let mut shown = 0;
        for ms in (from_ms..=to_ms).step_by(usize::try_from(step_ms).expect("small")).skip(1) {
            shown = clock.read(at(ms, off_ms)).0 - 1_000_000;
        }
        shown
    }

    #[test]
    fn it_follows_clocks_that_agree() {
        let mut clock = begun();
        assert_eq!(shows(&mut clock, 20, 0, 10_000, 0), 10_000);
        assert_eq!(shows(&mut clock, 1, 10_000, 10_500, 0), 10_500);
    }

    #[test]
    fn a_wall_clock_that_is_set_only_draws_it() {
        assert_eq!(shows(&mut begun(), 20, 0, 10_000, 3_600_000), 10_500);
        assert_eq!(shows(&mut begun(), 20, 0, 10_000, -3_600_000), 9500);
        // However often it is asked.
        assert_eq!(shows(&mut begun(), 1, 0, 10_000, 3_600_000), 10_500);
    }

    #[test]
    fn it_arrives_at_the_wall_clock_and_stays_there() {
        assert_eq!(shows(&mut begun(), 20, 0, 10_000, 300), 10_300);
        assert_eq!(shows(&mut begun(), 20, 0, 10_000, -300), 9700);
    }

    #[test]
    fn a_stall_does_not_count_at_once_and_is_caught_up() {
        let mut clock = begun();
        assert_eq!(shows(&mut clock, 20, 0, 1000, 0), 1000);
        // The process was stopped for ten seconds. What counts of them draws as well.
        assert_eq!(clock.read(at(11_000, 0)).0 - 1_000_000, 1000 + 200 + 10);
        assert_eq!(shows(&mut clock, 20, 11_000, 11_100, 0), 1210 + 105);
        assert_eq!(shows(&mut clock, 20, 11_100, 250_100, 0), 250_100);
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = begun();
        let mut last = TimeMs(0);
        for (ms, off_ms) in [(10, 0), (10, -900_000), (9, 0), (500, -900_000), (501, 900_000), (501, 0)] {
            let shown = clock.read(at(ms, off_ms));
            assert!(shown >= last, "{shown} after {last}");
            last = shown;
        }
    }
}
