//! Who votes, and when votes are enough. Nobody computes a majority anywhere else.

use std::collections::BTreeSet;

use synod_types::{Configuration, Epoch, NodeId};

use crate::broken::{Broken, Fault};

/// The voting members of a group in one epoch, as seen from one node, which may or may not be one of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Members {
    node: NodeId,
    epoch: Epoch,
    all: Vec<NodeId>,
}

/// Members that agreed to one thing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Votes(BTreeSet<NodeId>);

impl Members {
    /// The members of an epoch, seen from `node`.
    ///
    /// # Panics
    /// If there can be no such members: see [`Configuration::is_possible`].
    pub fn new(node: NodeId, configuration: &Configuration) -> Members {
        assert!(configuration.is_possible(), "{configuration:?} cannot be");
        Members { node, epoch: configuration.epoch, all: configuration.members.clone() }
    }

    /// As a configuration.
    pub fn configuration(&self) -> Configuration {
        Configuration { epoch: self.epoch, members: self.all.clone() }
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether this node votes.
    pub fn is_voter(&self) -> bool {
        self.contains(self.node)
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: NodeId) -> bool {
        self.all.contains(&node)
    }

    /// The members except this node.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.all.iter().copied().filter(|&member| member != self.node)
    }

    /// How far this node stands behind the preferred leader of group number `group`: 0 for the preferred one
    /// itself, `None` for who is no member. Preference rotates over the groups, which spreads their leaders.
    pub fn rank(&self, group: u32) -> Option<u32> {
        let count = u32::try_from(self.all.len()).expect("at most MEMBERS_MAX");
        let place = self.all.iter().position(|&member| member == self.node)?;
        let place = u32::try_from(place).expect("at most MEMBERS_MAX");
        Some((place + count - group % count) % count)
    }

    /// The members that had better lead group number `group` than this one.
    pub fn ranked_before(&self, group: u32) -> impl Iterator<Item = NodeId> + '_ {
        self.ranked(group).take_while(|&member| member != self.node)
    }

    /// The members, whoever had best lead group number `group` first.
    pub fn ranked(&self, group: u32) -> impl Iterator<Item = NodeId> + '_ {
        let first = usize::try_from(group).expect("usize has at least 32 bits") % self.all.len();
        self.all[first..].iter().chain(&self.all[..first]).copied()
    }

    /// Who had best lead group number `group`: whose rank is 0.
    pub fn preferred(&self, group: u32) -> NodeId {
        self.ranked(group).next().expect("there are members")
    }

    /// Whether the voters are a majority of the members.
    pub fn is_met(&self, votes: &Votes, broken: Broken) -> bool {
        let count = self.all.iter().filter(|member| votes.0.contains(member)).count();
        let majority = self.all.len() / 2 + 1;
        count >= if broken.is(Fault::QuorumOffByOne) { majority - 1 } else { majority }
    }
}

impl Votes {
    /// Adds a vote; a second one of the same node changes nothing.
    pub fn add(&mut self, node: NodeId) {
        self.0.insert(node);
    }

    /// Adds several votes.
    pub fn extend(&mut self, nodes: impl Iterator<Item = NodeId>) {
        self.0.extend(nodes);
    }

    /// Whether `node` voted.
    pub fn has(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }
}

impl FromIterator<NodeId> for Votes {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Votes {
        Votes(nodes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Digest;

    fn nodes(count: u8) -> Vec<NodeId> {
        (1..=count).map(|i| NodeId(Digest([i; 32]))).collect()
    }

    fn members(node: NodeId, all: &[NodeId]) -> Members {
        Members::new(node, &Configuration::genesis(all.to_vec()))
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let all = nodes(count);
            let members = members(all[0], &all);
            for voters in 0..=usize::from(count) {
                let votes = all[..voters].iter().copied().collect();
                assert_eq!(members.is_met(&votes, Broken::NOT), voters >= needed, "{voters} of {count}");
            }
        }
    }

    #[test]
    fn strangers_do_not_count() {
        let all = nodes(5);
        let members = members(all[0], &all[..3]);
        assert!(!members.is_met(&[all[0], all[3], all[4]].into_iter().collect(), Broken::NOT));
    }

    #[test]
    fn preferred_leaders_are_spread() {
        let all = nodes(3);
        let preferred = |group| all.iter().position(|&node| members(node, &all).rank(group) == Some(0));
        assert_eq!((0..4).map(preferred).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(0)]);
        for group in 0..9 {
            assert_eq!(members(members(all[1], &all).preferred(group), &all).rank(group), Some(0));
            for &node in &all {
                let before = members(node, &all).ranked_before(group).count();
                assert_eq!(u32::try_from(before).ok(), members(node, &all).rank(group));
            }
        }
        assert_eq!(members(nodes(4)[3], &all).rank(0), None);
    }
}
