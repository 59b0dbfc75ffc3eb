//! The lease clock of an application: what decides that something has run out.
//!
//! It runs from batch to batch, by the clock of the leader that proposed both, and only where one stands right behind the
//! other in the log. Wherever there is a no-op between them, or a batch of another term, a leader was replaced: commands
//! may have been lost with it, a keep-alive among them, and two clocks are not to be compared. There the lease clock
//! stands still, and everything that runs out gets its whole time again.

use serde::{Deserialize, Serialize};
use synod_types::{Ballot, LeaseMs, TimeMs};

use crate::broken::{Broken, Fault};

/// What it shows, and what it goes on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LeaseClock {
    now: LeaseMs,
    /// The last decree, if it was a batch: its term, and its time.
    last: Option<(Ballot, TimeMs)>,
}

impl LeaseClock {
    /// What it shows.
    pub fn now(&self) -> LeaseMs {
        self.now
    }

    /// What it will show behind a batch of `term` at `time`, if that is the next decree. `None`: the term begins with it.
    pub fn behind(&self, term: Ballot, time: TimeMs) -> Option<LeaseMs> {
        let (last_term, last_time) = self.last?;
        let passed = time.0.saturating_sub(last_time.0);
        (term == last_term).then(|| LeaseMs(self.now.0.saturating_add(passed)))
    }

    /// A batch of `term` is executed, whose time is `time`. Says whether the term begins with it.
    pub(crate) fn on_batch(&mut self, term: Ballot, time: TimeMs, broken: Broken) -> bool {
        if broken.is(Fault::TermsAreOne)
            && let Some((last_term, _)) = &mut self.last
        {
            *last_term = term;
        }
        let behind = self.behind(term, time);
        self.now = behind.unwrap_or(self.now);
        // A leader's time never goes back; if it did, the clock would have to wait until it is there again.
        let latest = self.last.filter(|_| behind.is_some()).map_or(time, |(_, last)| last.max(time));
        self.last = Some((term, latest));
        behind.is_none()
    }

    /// A no-op is executed.
    pub(crate) fn on_noop(&mut self, broken: Broken) {
        self.last = self.last.filter(|_| broken.is(Fault::NoopsDoNotStop));
    }

    /// Whether this can be the clock of a machine whose time is `time`.
    pub(crate) fn is_possible(&self, time: TimeMs) -> bool {
        self.last.is_none_or(|(_, last)| last <= time) && (self.now == LeaseMs(0) || time > TimeMs(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: u64) -> Ballot {
        Ballot { number, ..Ballot::ZERO }
    }

    #[test]
    fn it_runs_within_a_term_and_stands_still_between_terms() {
        let mut clock = LeaseClock::default();
        let mut batch =
            |number, time| (clock.on_batch(term(number), TimeMs(time), Broken::NOT), clock.now().0);
        assert_eq!(batch(1, 5000), (true, 0));
        assert_eq!(batch(1, 5300), (false, 300));
        assert_eq!(batch(2, 9000), (true, 300));
        assert_eq!(batch(2, 9001), (false, 301));
        // What a former leader proposed may be chosen behind what its successor did.
        assert_eq!(batch(1, 9500), (true, 301));
        assert_eq!(batch(2, 9600), (true, 301));
    }

    #[test]
    fn a_no_op_ends_what_was_before() {
        let mut clock = LeaseClock::default();
        clock.on_batch(term(1), TimeMs(100), Broken::NOT);
        clock.on_noop(Broken::NOT);
        assert_eq!(clock.behind(term(1), TimeMs(200)), None);
        assert!(clock.on_batch(term(1), TimeMs(200), Broken::NOT));
        assert_eq!(clock.now(), LeaseMs(0));
    }

    #[test]
    fn a_time_that_goes_back_is_waited_for() {
        let mut clock = LeaseClock::default();
        for (time, shows) in [(100, 0), (40, 0), (90, 0), (110, 10)] {
            clock.on_batch(term(1), TimeMs(time), Broken::NOT);
            assert_eq!(clock.now(), LeaseMs(shows));
        }
    }
}
