//! Who the voting members are, and since when.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{Epoch, NodeId};
use crate::limits::MEMBERS_MAX;

/// The voting members of one epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// The epoch.
    pub epoch: Epoch,
    /// The members, in an order that all nodes share.
    pub members: Vec<NodeId>,
}

impl Configuration {
    /// The members of the first epoch.
    pub fn genesis(members: Vec<NodeId>) -> Configuration {
        Configuration { epoch: Epoch(0), members }
    }

    /// Of an epoch in which nobody decides anything: its one member has the id of no key.
    pub fn of_nobody() -> Configuration {
        Configuration::genesis(vec![NodeId::default()])
    }

    /// Stands for the epoch and its members: `"synod/members/v1\0" ‖ epoch (u64, big-endian) ‖ ids`, hashed.
    pub fn digest(&self) -> Digest {
        let mut bytes = b"synod/members/v1\0".to_vec();
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        self.members.iter().for_each(|member| bytes.extend_from_slice(member.as_bytes()));
        Digest::of(&[&bytes])
    }

    /// Whether there can be such members: 1 to [`MEMBERS_MAX`], each once.
    pub fn is_possible(&self) -> bool {
        (1..=MEMBERS_MAX).contains(&self.members.len())
            && self.members.iter().collect::<BTreeSet<_>>().len() == self.members.len()
    }

    /// Whether this configuration may come behind that of `epoch`.
    pub fn follows(&self, epoch: Epoch) -> bool {
        self.epoch > epoch && self.is_possible()
    }
}

/// Whether `count` of `members` are more than half.
pub fn is_majority(count: usize, members: usize) -> bool {
    count > members / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_newer_and_possible() {
        let nodes = |count: u8| (0..count).map(|n| NodeId(Digest([n; 32]))).collect();
        let of = |epoch, members| Configuration { epoch: Epoch(epoch), members };
        assert!(of(3, nodes(1)).follows(Epoch(2)) && of(9, nodes(15)).follows(Epoch(0)));
        assert!(!of(2, nodes(3)).follows(Epoch(2)) && !of(1, nodes(3)).follows(Epoch(2)));
        assert!(!of(3, nodes(0)).is_possible() && !of(3, nodes(16)).is_possible());
        let digests = [of(3, nodes(3)), of(4, nodes(3)), of(3, nodes(2))].map(|one| one.digest());
        assert!(digests[0] != digests[1] && digests[0] != digests[2]);
        let twice = vec![NodeId(Digest([1; 32])); 2];
        assert!(!of(3, twice).follows(Epoch(0)));
    }
}
