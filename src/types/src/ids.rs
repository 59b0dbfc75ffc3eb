//! Names and numbers with a meaning. A number never stands for two things.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ParseDigestError};

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub Digest);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }
            /// The first 12 hex digits, for people.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }
        impl FromStr for $name {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                text.parse().map($name)
            }
        }
    };
}

digest_id!(
    /// SHA3-256 of a node's public key (SubjectPublicKeyInfo, DER).
    NodeId
);
digest_id!(
    /// SHA3-256 of a commander's public key (SubjectPublicKeyInfo, DER).
    CommanderId
);
digest_id!(
    /// SHA3-256 of the bytes of the genesis document.
    ClusterId
);
digest_id!(
    /// SHA3-256 of a command's signed body: what was commanded, not how it was signed.
    CommandId
);
digest_id!(
    /// SHA3-256 of a file that commands refer to.
    ContentKey
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

number!(
    /// An application's number in the cluster; each has its own Paxos group.
    AppNdx(u32)
);
number!(
    /// How many commands an application has executed. 0 before the first.
    StateNdx(u64)
);
number!(
    /// Numbers the configurations of the cluster: who its members are. 0 is that of genesis.
    Epoch(u64)
);
number!(
    /// A place in a group's log. The first decree is in slot 1; 0 means "none yet".
    Slot(u64)
);
number!(
    /// A commander's number for a command within one application, chosen by the commander, from 1.
    Seq(u64)
);
number!(
    /// Milliseconds since 1970-01-01 UTC.
    TimeMs(u64)
);
number!(
    /// Milliseconds on the lease clock of an application: how much time passed while it had a leader. Within one leader's
    /// term it runs with the time of the decrees; between terms it stands still.
    LeaseMs(u64)
);

impl StateNdx {
    /// The state after one more executed command.
    pub fn next(self) -> StateNdx {
        StateNdx(self.0.checked_add(1).expect("2^64 commands are never executed"))
    }
}

impl Slot {
    /// The slot behind this one.
    pub fn next(self) -> Slot {
        Slot(self.0.checked_add(1).expect("2^64 slots are never filled"))
    }
}

/// A Paxos ballot ("The Part-Time Parliament", 2.2). Ordered by epoch, then number, then priority, then node, so that no
/// two nodes ever share one. Priority is a node's configured preference for a group: it spreads leaders.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Ballot {
    /// Whose members' votes count for it.
    pub epoch: Epoch,
    /// Rises with each attempt to lead; 0 is below every real ballot.
    pub number: u64,
    /// Breaks ties between equal numbers before the node id does.
    pub priority: u32,
    /// The node that may use this ballot.
    pub node: NodeId,
}

impl Ballot {
    /// Below every real ballot.
    pub const ZERO: Ballot =
        Ballot { epoch: Epoch(0), number: 0, priority: 0, node: NodeId(Digest([0; 32])) };
    /// Above every real ballot: marks a decree that this node learned as already chosen.
    pub const CHOSEN: Ballot = Ballot {
        epoch: Epoch(u64::MAX),
        number: u64::MAX,
        priority: u32::MAX,
        node: NodeId(Digest([255; 32])),
    };
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ballot::ZERO => f.write_str("none"),
            Ballot::CHOSEN => f.write_str("chosen"),
            Ballot { epoch: Epoch(0), number, node, .. } => write!(f, "{number}.{node:?}"),
            Ballot { epoch, number, node, .. } => write!(f, "{epoch}/{number}.{node:?}"),
        }
    }
}
