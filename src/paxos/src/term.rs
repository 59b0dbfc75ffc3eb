//! What a driver keeps while its node leads a group: what time it is, which states are new enough to decide by, and
//! whether a tick is on its way. The driver asks for ticks, since only it knows the application's state.

use synod_types::{Ballot, Decree, Slot, TimeMs};

use crate::clock::{Reading, TermClock};

/// The term of one group that this node leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    ballot: Ballot,
    began: Slot,
    clock: TermClock,
    tick: Tick,
}

/// The last tick that was proposed in the term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tick {
    /// It waits for a slot, or in one.
    Proposed,
    /// It was chosen, or there was none: what it did is seen by a state that has applied this slot.
    Chosen(Slot),
}

impl Term {
    /// A term begins under `ballot`. Up to `began` everything is proposed, its no-op last: only a state that has applied
    /// that is new enough to refuse a command for good, or to say that something has run out.
    pub fn begin(ballot: Ballot, began: Slot, reading: Reading) -> Term {
        Term { ballot, began, clock: TermClock::begin(reading), tick: Tick::Chosen(began) }
    }

    /// The ballot under which this node leads.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether a state that has applied this slot is new enough to decide by.
    pub fn is_reached_by(&self, applied: Slot) -> bool {
        applied >= self.began
    }

    /// The time for what is proposed now.
    pub fn now(&mut self, reading: Reading) -> TimeMs {
        self.clock.read(reading)
    }

    /// Whether a tick is to be proposed, and with which time: then it counts as proposed. `wants` says, of the state that
    /// has applied `applied`, whether something in it has run out. To be asked at every tick of the driver, by which the
    /// clock knows whether it is attended.
    pub fn tick(
        &mut self,
        reading: Reading,
        applied: Slot,
        wants: impl FnOnce(Ballot, TimeMs) -> bool,
    ) -> Option<TimeMs> {
        let now = self.now(reading);
        let Tick::Chosen(slot) = self.tick else { return None };
        if applied < slot || !wants(self.ballot, now) {
            return None;
        }
        self.tick = Tick::Proposed;
        Some(now)
    }

    /// This was chosen.
    pub fn on_chosen(&mut self, slot: Slot, decree: &Decree) {
        if let Decree::Batch(batch) = decree
            && batch.term == self.ballot
            && decree.is_tick()
        {
            self.tick = Tick::Chosen(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synod_types::Batch;

    use super::*;

    const BALLOT: Ballot = Ballot { number: 4, ..Ballot::ZERO };

    fn at(ms: u64) -> Reading {
        Reading { monotonic_us: 1000 * ms, wall_us: 1000 * (1000 + ms) }
    }

    fn tick(term: Ballot) -> Decree {
        Decree::Batch(Arc::new(Batch { term, time: TimeMs(0), commands: Vec::new() }))
    }

    #[test]
    fn one_tick_is_on_its_way_at_a_time() {
        let mut term = Term::begin(BALLOT, Slot(7), at(0));
        assert!(!term.is_reached_by(Slot(6)));
        assert_eq!(term.tick(at(20), Slot(6), |_, _| true), None, "an old state knows nothing");
        assert_eq!(term.tick(at(40), Slot(7), |_, _| false), None);
        assert_eq!(term.tick(at(60), Slot(7), |ballot, _| ballot == BALLOT), Some(TimeMs(1060)));
        assert_eq!(term.tick(at(80), Slot(9), |_, _| true), None, "it is not chosen");
        term.on_chosen(Slot(9), &tick(Ballot::ZERO));
        assert_eq!(term.tick(at(100), Slot(9), |_, _| true), None, "nor is that of an earlier term it");
        term.on_chosen(Slot(10), &tick(BALLOT));
        assert_eq!(term.tick(at(120), Slot(9), |_, _| true), None, "the state does not show it yet");
        assert_eq!(term.tick(at(140), Slot(10), |_, _| true), Some(TimeMs(1140)));
    }
}
