//! How many members have to sign.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::configuration::is_majority;

/// How many of the members are enough. Never fewer than a majority: two sets of signers have one in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Threshold {
    /// More than half of them.
    #[default]
    Majority,
    /// Each of them: while one is away there is nothing new.
    All,
    /// So many; a majority where that is more, and all where there are fewer.
    Count(usize),
}

impl Threshold {
    /// The least number of `members` that is enough.
    pub fn least(self, members: usize) -> usize {
        let majority = members / 2 + 1;
        match self {
            Threshold::Majority => majority,
            Threshold::All => members.max(1),
            Threshold::Count(count) => count.min(members).max(majority),
        }
    }

    /// Whether `count` of `members` are enough.
    pub fn is_met(self, count: usize, members: usize) -> bool {
        is_majority(count, members) && count >= self.least(members)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Majority => f.write_str("majority"),
            Threshold::All => f.write_str("all"),
            Threshold::Count(count) => count.fmt(f),
        }
    }
}

/// Why a text names no threshold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is none of: majority, all, or a number of members from 1 on")]
pub struct NoThreshold(String);

impl FromStr for Threshold {
    type Err = NoThreshold;

    fn from_str(text: &str) -> Result<Threshold, NoThreshold> {
        match text {
            "majority" => Ok(Threshold::Majority),
            "all" => Ok(Threshold::All),
            _ => match text.parse() {
                Ok(count) if count > 0 => Ok(Threshold::Count(count)),
                _ => Err(NoThreshold(text.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_enough_and_more_is_too() {
        for (threshold, members, least) in [
            (Threshold::Majority, 1, 1),
            (Threshold::Majority, 4, 3),
            (Threshold::Majority, 5, 3),
            (Threshold::All, 5, 5),
            (Threshold::Count(4), 5, 4),
            (Threshold::Count(1), 5, 3),
            (Threshold::Count(9), 5, 5),
        ] {
            assert_eq!(threshold.least(members), least, "{threshold} of {members}");
            for count in 0..=members + 2 {
                assert_eq!(
                    threshold.is_met(count, members),
                    count >= least,
                    "{threshold}: {count} of {members}"
                );
            }
        }
        assert!(!Threshold::Count(0).is_met(0, 3) && !Threshold::All.is_met(0, 0), "nobody is never enough");
    }

    #[test]
    fn thresholds_read_back() {
        for text in ["majority", "all", "4"] {
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "most", "2.5"] {
            assert!(text.parse::<Threshold>().is_err(), "{text:?}");
        }
    }
}
