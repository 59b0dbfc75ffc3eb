//! The `snapshots` section: how often snapshots are made, and so how much of the log there is.

use std::time::Duration;

use super::Draft;
use super::fields::Fields;
use super::mistakes::Mistakes;
pub use crate::snapshots::pace::Every;

/// What a node does that is told nothing.
const DEFAULT: Every = Every { bytes: 64 << 20, commands: 1_000_000, time: Duration::from_secs(24 * 3600) };
const BYTES_MIN: u64 = 64 << 10;
const BYTES_MAX: u64 = 1 << 40;
const COMMANDS_MIN: u64 = 100;
const COMMANDS_MAX: u64 = 1_000_000_000;
const MS_MIN: u64 = 10_000;
const MS_MAX: u64 = 366 * 24 * 3_600_000;

impl Draft {
    pub(super) fn read_snapshots(fields: &mut Fields, mistakes: &mut Mistakes) -> Every {
        let mut snapshots = fields.table("snapshots", mistakes);
        let every = Every {
            bytes: snapshots.number("log_bytes", BYTES_MIN..=BYTES_MAX, mistakes).unwrap_or(DEFAULT.bytes),
            commands: snapshots
                .number("commands", COMMANDS_MIN..=COMMANDS_MAX, mistakes)
                .unwrap_or(DEFAULT.commands),
            time: snapshots.duration("time", MS_MIN..=MS_MAX, mistakes).unwrap_or(DEFAULT.time),
        };
        snapshots.finish(mistakes);
        every
    }
}
