//! What the driver keeps while this node leads an application: the term's clock, and whether a tick is on its way.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use synod_machine::View;
use synod_paxos::{Reading, TermClock};
use synod_types::{Ballot, Decree, Slot, TimeMs};

/// From where the monotonic clock is read.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The term of one application that this node leads.
pub(crate) struct Term {
    ballot: Ballot,
    /// It began with everything up to here proposed. Only a state that has applied it is new enough to refuse a command
    /// for good, or to say that something has run out.
    began: Slot,
    clock: TermClock,
    tick: Tick,
}

/// The last tick that this node proposed in the term.
#[derive(Clone, Copy)]
enum Tick {
    /// It waits, or is in some slot.
    Proposed,
    /// It was chosen here, or there was none; what it did is seen in a state that has applied this slot.
    Chosen(Slot),
}

impl Term {
    /// A term begins under `ballot`, with everything up to `began` proposed.
    pub(crate) fn begin(ballot: Ballot, began: Slot) -> Term {
        Term { ballot, began, clock: TermClock::begin(read_clocks()), tick: Tick::Chosen(began) }
    }

    /// Whether this state is new enough to decide by.
    pub(crate) fn is_reached_by(&self, view: &View) -> bool {
        view.applied >= self.began
    }

    /// The term's clock.
    pub(crate) fn now(&mut self) -> TimeMs {
        self.clock.read(read_clocks())
    }

    /// When a tick is to be proposed, if one is: now. It counts as proposed from then on. To be asked at every tick of the
    /// driver, so that the clock can tell a stall.
    pub(crate) fn tick(&mut self, view: &View) -> Option<TimeMs> {
        let now = self.now();
        let Tick::Chosen(slot) = self.tick else { return None };
        let due = view.applied >= slot && self.is_reached_by(view) && view.wants_tick(self.ballot, now);
        due.then(|| {
            self.tick = Tick::Proposed;
            now
        })
    }

    /// This was chosen.
    pub(crate) fn on_chosen(&mut self, slot: Slot, decree: &Decree) {
        if let Decree::Batch(batch) = decree
            && batch.term == self.ballot
            && decree.is_tick()
        {
            self.tick = Tick::Chosen(slot);
        }
    }
}

/// What the system's clocks show.
fn read_clocks() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { monotonic: STARTED.elapsed(), wall }
}
