//! Whether this node has come to the same states as the others. Equal states have equal chain values, so nodes tell each other
//! theirs along with how far they are, and each compares.
//!
//! A node that differs from a majority of those who vote is wrong: its memory, its program or its disk did something else than
//! theirs. It fences itself: it answers nobody from that application any more. The others go on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use synod_types::configuration::is_majority;
use synod_types::limits::CHAIN_VALUES_MAX;
use synod_types::{Digest, NodeId, StateNdx};

/// Chain values that a node remembers, of its last states.
const REMEMBERED_MAX: usize = 1 << 16;

/// The chain values of an application's last states on this node.
#[derive(Debug)]
pub(crate) struct Chains(Mutex<VecDeque<(StateNdx, Digest)>>);

impl Chains {
    /// Of a node that begins with this state.
    pub(crate) fn new(state_ndx: StateNdx, chain: Digest) -> Chains {
        Chains(Mutex::new(VecDeque::from([(state_ndx, chain)])))
    }

    /// States were made, in order.
    pub(crate) fn extend(&self, made: impl Iterator<Item = (StateNdx, Digest)>) {
        let mut values = self.lock();
        values.extend(made);
        let over = values.len().saturating_sub(REMEMBERED_MAX);
        values.drain(..over);
    }

    /// Another state took the place of this one's, whole.
    pub(crate) fn restart(&self, state_ndx: StateNdx, chain: Digest) {
        *self.lock() = VecDeque::from([(state_ndx, chain)]);
    }

    /// The value of a state, if it is remembered.
    pub(crate) fn at(&self, state_ndx: StateNdx) -> Option<Digest> {
        let values = self.lock();
        let place = values.binary_search_by_key(&state_ndx, |(at, _)| *at).ok()?;
        values.get(place).map(|(_, chain)| *chain)
    }

    /// The values of states from this one on, as many as go into a message; and of which state the first one is.
    pub(crate) fn from(&self, first: StateNdx) -> Option<(StateNdx, Vec<Digest>)> {
        let values = self.lock();
        let place = values.partition_point(|(at, _)| *at < first);
        let (first, _) = *values.get(place)?;
        Some((first, values.iter().skip(place).take(CHAIN_VALUES_MAX).map(|(_, chain)| *chain).collect()))
    }

    /// The first state of which these values, from `first` on, are not this node's.
    pub(crate) fn first_difference(&self, first: StateNdx, theirs: &[Digest]) -> Option<StateNdx> {
        let states = (first.0..).map(StateNdx).zip(theirs);
        states
            .into_iter()
            .find(|(at, chain)| self.at(*at).is_some_and(|own| own != **chain))
            .map(|(at, _)| at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(StateNdx, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the other nodes say of an application, held against this node's states.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// What each said last.
    said: BTreeMap<NodeId, (StateNdx, Digest)>,
    /// In which state each was first seen to differ.
    differ: BTreeMap<NodeId, StateNdx>,
}

impl Claims {
    /// A node says what its chain value is in a state.
    pub(crate) fn heard(&mut self, node: NodeId, state_ndx: StateNdx, chain: Digest) {
        self.said.insert(node, (state_ndx, chain));
    }

    /// Compares what can be compared by now. Says from whom this node differs, and in which state that was seen first, if
    /// those are a majority of `voters`.
    pub(crate) fn judge(&mut self, chains: &Chains, voters: &[NodeId]) -> Option<(StateNdx, Vec<NodeId>)> {
        self.said.retain(|node, (at, chain)| {
            let Some(own) = chains.at(*at) else { return true };
            if own == *chain {
                self.differ.remove(node);
            } else {
                let first = self.differ.entry(*node).or_insert(*at);
                *first = (*first).min(*at);
            }
            false
        });
        let others: Vec<NodeId> =
            voters.iter().copied().filter(|node| self.differ.contains_key(node)).collect();
        let first = others.iter().filter_map(|node| self.differ.get(node)).min()?;
        is_majority(others.len(), voters.len()).then_some((*first, others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId(Digest([n; 32]))
    }

    fn chain(n: u64) -> Digest {
        Digest::of(&[&n.to_be_bytes()])
    }

    fn chains(states: u64) -> Chains {
        let chains = Chains::new(StateNdx(0), chain(0));
        chains.extend((1..=states).map(|n| (StateNdx(n), chain(n))));
        chains
    }

    #[test]
    fn only_so_many_values_are_remembered() {
        let all = chains(70_000);
        assert_eq!((all.at(StateNdx(70_000)), all.at(StateNdx(1))), (Some(chain(70_000)), None));
        let (first, values) = all.from(StateNdx(1)).unwrap();
        assert_eq!((first, values.len()), (StateNdx(70_001 - 65_536), CHAIN_VALUES_MAX));
        all.restart(StateNdx(80_000), chain(8));
        assert_eq!((all.at(StateNdx(80_000)), all.at(StateNdx(70_000))), (Some(chain(8)), None));
    }

    #[test]
    fn a_minority_that_differs_is_wrong_and_a_majority_is_right() {
        let (own, voters) = (chains(10), [node(1), node(2), node(3)]);
        let mut claims = Claims::default();
        claims.heard(node(2), StateNdx(9), chain(9));
        claims.heard(node(3), StateNdx(8), chain(1));
        assert_eq!(claims.judge(&own, &voters), None);
        claims.heard(node(2), StateNdx(12), chain(1));
        assert_eq!(claims.judge(&own, &voters), None, "this node has not come so far");
        own.extend([11, 12].into_iter().map(|n| (StateNdx(n), chain(n))));
        assert_eq!(claims.judge(&own, &voters), Some((StateNdx(8), vec![node(2), node(3)])));
    }

    #[test]
    fn who_does_not_vote_does_not_count() {
        let mut claims = Claims::default();
        for n in 2..=5 {
            claims.heard(node(n), StateNdx(3), chain(9));
        }
        assert_eq!(claims.judge(&chains(3), &[node(1), node(2), node(6)]), None);
    }

    #[test]
    fn the_first_difference_is_found() {
        let own = chains(20);
        let theirs: Vec<Digest> = (5..15).map(|n| if n < 9 { chain(n) } else { chain(100 + n) }).collect();
        assert_eq!(own.first_difference(StateNdx(5), &theirs), Some(StateNdx(9)));
        assert_eq!(own.first_difference(StateNdx(5), &theirs[..4]), None);
    }
}
