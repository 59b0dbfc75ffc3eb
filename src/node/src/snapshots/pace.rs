//! When a snapshot is due. Every node that is set alike finds the same slots, since nothing counts here but the log: so
//! the nodes' snapshots are equal, and they can sign each other's.

use std::time::Duration;

use synod_machine::View;
use synod_types::{Decree, TimeMs};

/// What makes a snapshot due, whichever comes first since the one before.
///
/// Of a large state it takes as many bytes of log as the state has: a snapshot costs as much as its state is large, and a start
/// without a new one as its log is long. So neither is ever much more than the work of which it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Every {
    /// Bytes of decrees; more where the state is more.
    pub bytes: u64,
    /// Commands.
    pub commands: u64,
    /// Time of decrees; where nothing is ordered, none passes.
    pub time: Duration,
}

/// Counts what was applied since the last snapshot of one application.
#[derive(Debug)]
pub(crate) struct Pace {
    every: Every,
    /// What `every` comes to, for a state as large as at the last snapshot.
    bytes_due: u64,
    bytes: u64,
    commands: u64,
    /// Decree time of the last snapshot; before the first one, of the first decree that has a time.
    since: TimeMs,
}

impl Pace {
    /// Behind this state.
    pub(crate) fn new(every: Every, state: &View) -> Pace {
        Pace::behind(every, state.time, state.app.weight())
    }

    fn behind(every: Every, since: TimeMs, weight: u64) -> Pace {
        Pace { every, bytes_due: every.bytes.max(weight), bytes: 0, commands: 0, since }
    }

    /// A decree was applied, and this is the state now. Says whether a snapshot of it is due.
    pub(crate) fn on_applied(&mut self, decree: &Decree, state: &View) -> bool {
        self.on_decree(decree, state.time, || state.app.weight())
    }

    fn on_decree(&mut self, decree: &Decree, time: TimeMs, weight: impl FnOnce() -> u64) -> bool {
        self.bytes += u64::try_from(decree.len()).unwrap_or(u64::MAX);
        self.commands += u64::try_from(decree.commands().len()).unwrap_or(u64::MAX);
        if self.since == TimeMs(0) {
            self.since = time;
        }
        let passed = Duration::from_millis(time.0.saturating_sub(self.since.0));
        let is_due = self.bytes >= self.bytes_due
            || self.commands >= self.every.commands
            || (self.commands > 0 && passed >= self.every.time);
        if is_due {
            *self = Pace::behind(self.every, time, weight());
        }
        is_due
    }

    /// A snapshot was taken from others, and this is its state.
    pub(crate) fn restart(&mut self, state: &View) {
        *self = Pace::new(self.every, state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synod_types::{Ballot, Batch, SignedCommand};

    use super::*;

    const EVERY: Every = Every { bytes: 1000, commands: 5, time: Duration::from_secs(60) };

    fn decree(commands: usize, bytes: usize, time: TimeMs) -> Decree {
        let body = vec![0; bytes].into();
        let command = SignedCommand { body, signature: Vec::new().into(), key: Vec::new().into() };
        let commands = vec![command; commands];
        Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time, commands }))
    }

    fn apply(pace: &mut Pace, commands: usize, bytes: usize, time: u64) -> bool {
        pace.on_decree(&decree(commands, bytes, TimeMs(time)), TimeMs(time), || 2000)
    }

    #[test]
    fn commands_bytes_and_time_make_one_due() {
        let mut pace = Pace::behind(EVERY, TimeMs(0), 0);
        assert!(!apply(&mut pace, 4, 10, 1_000_000));
        assert!(apply(&mut pace, 1, 10, 1_000_000), "five commands");
        assert!(!apply(&mut pace, 1, 900, 1_000_000));
        assert!(!apply(&mut pace, 1, 900, 1_000_000), "a thousand bytes, of a state that has two thousand");
        assert!(apply(&mut pace, 1, 900, 1_000_000), "as much as the state");
        assert!(!apply(&mut pace, 1, 10, 1_059_999));
        assert!(apply(&mut pace, 1, 10, 1_060_000), "a minute");
        assert!(!pace.on_decree(&Decree::Noop, TimeMs(2_000_000), || 0), "nothing happened");
        assert!(apply(&mut pace, 1, 10, 2_000_000));
    }
}
