//! Which versions a program speaks and knows, so that nodes with different programs make one cluster while it is upgraded.
//!
//! There are two kinds, and both are ranges. **Wire versions** are those of what is said in a session: two ends take the
//! highest one that both speak. **Levels** are those of the rules by which decrees are executed and of the formats of what
//! comes of them: which one holds is state of each application, raised by a command, so that all nodes switch at the same
//! slot. What is new on the wire therefore needs no level, and a new rule needs no wire version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::AppNdx;

/// What this build speaks between nodes. A message that is new comes with the next higher one: see
/// [`Message::since`](crate::Message::since).
pub const MESH_WIRE: Versions = Versions { min: 1, max: 3 };
/// What this build speaks with commanders.
pub const COMMANDER_WIRE: Versions = Versions { min: 1, max: 1 };
/// The levels by which this build can execute.
pub const LEVELS: Versions = Versions { min: Level::FIRST.0, max: Level::HOST_PORT.0 };

/// The level of an application: by which rules its decrees are executed. Each is named after what it brought.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Level(pub u32);

impl Level {
    /// The rules of the beginning; and what a genesis document founds that names no level.
    pub const FIRST: Level = Level(1);
    /// A member's address is a [`host_port`](crate::host_port), and a snapshot names the level.
    pub const HOST_PORT: Level = Level(2);
    /// The highest that this build knows.
    pub const NEWEST: Level = Level(LEVELS.max);

    /// The next one.
    #[must_use]
    pub fn next(self) -> Level {
        Level(self.0.saturating_add(1))
    }
}

impl Default for Level {
    fn default() -> Level {
        Level::FIRST
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All versions from one to another, both included. Shown, and read, as `1-2`, or `1` where there is one only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl Versions {
    /// Whether it is one of them.
    pub fn contains(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The highest that is in both.
    ///
    /// # Errors
    /// [`NoCommonVersion`] names both.
    pub fn common(self, theirs: Versions) -> Result<u32, NoCommonVersion> {
        let highest = self.max.min(theirs.max);
        let is_common = self.contains(highest) && theirs.contains(highest);
        if is_common { Ok(highest) } else { Err(NoCommonVersion { ours: self, theirs }) }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { min, max } = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min}-{max}") }
    }
}

/// Why a text names no versions.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} names no versions: write 1-2, or 1")]
pub struct NoVersions(String);

impl FromStr for Versions {
    type Err = NoVersions;

    fn from_str(text: &str) -> Result<Versions, NoVersions> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) if min <= max => Ok(Versions { min, max }),
            _ => Err(NoVersions(text.to_owned())),
        }
    }
}

/// Two ends of a session have no version in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no wire version in common: {ours} are spoken here, and {theirs} there; upgrade the older program first to a version between both"
)]
pub struct NoCommonVersion {
    /// What this end speaks.
    pub ours: Versions,
    /// What the other end speaks.
    pub theirs: Versions,
}

/// An application is on a level that this program does not know: it must not execute another decree of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "application {app} is on level {level}, and this program knows level {known}: install a newer program on this node and start \
     it again; nothing is lost, and nothing of that level was executed"
)]
pub struct UnknownLevel {
    /// Which application.
    pub app: AppNdx,
    /// Its level.
    pub level: Level,
    /// What the program knows.
    pub known: Versions,
}

/// What a node's program is, as it tells the others.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Program {
    /// What it speaks in a session of this kind.
    pub wire: Versions,
    /// The levels by which it can execute; zeros for a commander's.
    pub levels: Versions,
    /// Its version, for people; at most [`PROGRAM_BYTES_MAX`](crate::limits::PROGRAM_BYTES_MAX) bytes.
    pub version: String,
}

impl Program {
    /// This build, between nodes.
    pub fn of_node() -> Program {
        Program { wire: MESH_WIRE, levels: LEVELS, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// This build at the commanders' port, at either end.
    pub fn of_commander() -> Program {
        Program { wire: COMMANDER_WIRE, levels: Versions::default(), ..Program::of_node() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PROGRAM_BYTES_MAX;

    fn versions(min: u32, max: u32) -> Versions {
        Versions { min, max }
    }

    #[test]
    fn both_ends_come_to_the_same_version() {
        for (a, b, common) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((2, 5), (1, 9), Some(5)),
            ((1, 1), (2, 3), None),
            ((4, 4), (2, 3), None),
            // Nobody says so who is sound.
            ((3, 1), (1, 3), None),
        ] {
            let (a, b) = (versions(a.0, a.1), versions(b.0, b.1));
            assert_eq!(a.common(b).ok(), common, "{a} {b}");
            assert_eq!(b.common(a).ok(), common, "{b} {a}");
        }
        let why = versions(1, 1).common(versions(2, 3)).unwrap_err().to_string();
        assert!(why.contains("1 are spoken here, and 2-3 there"), "{why}");
    }

    #[test]
    fn versions_read_back() {
        for text in ["1", "1-2", "7-12"] {
            assert_eq!(text.parse::<Versions>().unwrap().to_string(), text);
        }
        for text in ["", "2-1", "-", "a-b", "1-2-3"] {
            assert!(text.parse::<Versions>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn this_build_fits_into_a_hello() {
        let Program { wire, levels, version } = Program::of_node();
        assert!(version.len() <= PROGRAM_BYTES_MAX);
        assert!(wire.min <= wire.max && levels.min <= levels.max);
        assert!(levels.contains(Level::FIRST.0), "what no genesis document raises is known");
    }
}
