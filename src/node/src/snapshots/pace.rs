//! When a snapshot is due. Every node that is set alike finds the same slots, since nothing counts here but the log: so
//! the nodes' snapshots are equal, and they can sign each other's.

use std::time::Duration;

use synod_types::{Decree, TimeMs};

/// What makes a snapshot due, whichever comes first since the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Every {
    /// Bytes of decrees.
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
    bytes: u64,
    commands: u64,
    /// Decree time of the last snapshot; before the first one, of the first decree that has a time.
    since: TimeMs,
}

impl Pace {
    /// Behind a state whose decree time was `since`.
    pub(crate) fn new(every: Every, since: TimeMs) -> Pace {
        Pace { every, bytes: 0, commands: 0, since }
    }

    /// A decree was applied, and `time` is now the decree time. Says whether a snapshot of this state is due.
    pub(crate) fn on_applied(&mut self, decree: &Decree, time: TimeMs) -> bool {
        self.bytes += u64::try_from(decree.len()).unwrap_or(u64::MAX);
        self.commands += u64::try_from(decree.commands().len()).unwrap_or(u64::MAX);
        if self.since == TimeMs(0) {
            self.since = time;
        }
        let passed = Duration::from_millis(time.0.saturating_sub(self.since.0));
        let is_due = self.bytes >= self.every.bytes
            || self.commands >= self.every.commands
            || (self.commands > 0 && passed >= self.every.time);
        if is_due {
            self.restart(time);
        }
        is_due
    }

    /// A snapshot was made, or taken, whose decree time is `time`.
    pub(crate) fn restart(&mut self, time: TimeMs) {
        *self = Pace::new(self.every, time);
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
        pace.on_applied(&decree(commands, bytes, TimeMs(time)), TimeMs(time))
    }

    #[test]
    fn commands_bytes_and_time_make_one_due() {
        let mut pace = Pace::new(EVERY, TimeMs(0));
        assert!(!apply(&mut pace, 4, 10, 1_000_000));
        assert!(apply(&mut pace, 1, 10, 1_000_000), "five commands");
        assert!(!apply(&mut pace, 1, 900, 1_000_000));
        assert!(apply(&mut pace, 1, 900, 1_000_000), "a thousand bytes");
        assert!(!apply(&mut pace, 1, 10, 1_059_999));
        assert!(apply(&mut pace, 1, 10, 1_060_000), "a minute");
        assert!(!pace.on_applied(&Decree::Noop, TimeMs(2_000_000)), "nothing happened");
        assert!(apply(&mut pace, 1, 10, 2_000_000));
    }
}
