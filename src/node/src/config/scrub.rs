//! The `scrub` section: how often everything on the disk is read, and how fast.

use std::time::Duration;

use super::Draft;
use super::fields::Fields;
use super::mistakes::Mistakes;
pub use crate::scrub::Scrubbing;

/// What a node does that is told nothing.
const DEFAULT: Scrubbing = Scrubbing { every: Duration::from_secs(24 * 3600), bytes_per_second: 4 << 20 };
const MS_MIN: u64 = 1000;
const MS_MAX: u64 = 366 * 24 * 3_600_000;
const RATE_MIN: u64 = 64 << 10;
const RATE_MAX: u64 = 1 << 40;

impl Draft {
    pub(super) fn read_scrub(fields: &mut Fields, mistakes: &mut Mistakes) -> Scrubbing {
        let mut scrub = fields.table("scrub", mistakes);
        let scrubbing = Scrubbing {
            every: scrub.duration("every", MS_MIN..=MS_MAX, mistakes).unwrap_or(DEFAULT.every),
            bytes_per_second: scrub
                .number("bytes_per_second", RATE_MIN..=RATE_MAX, mistakes)
                .unwrap_or(DEFAULT.bytes_per_second),
        };
        scrub.finish(mistakes);
        scrubbing
    }
}
