//! Logical clocks: Lamport's (1978), whose order contains the causal one, and vector clocks (Fidge and Mattern, 1988), whose
//! order is the causal one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::id::Life;

/// Lamport's clock. If one event can have caused another, its time is smaller; the reverse does not hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lamport(u64);

impl Lamport {
    /// The time of the last event.
    pub fn now(self) -> u64 {
        self.0
    }

    /// An event happens here; its time. At the end of all numbers the clock stands still.
    pub fn tick(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1);
        self.0
    }

    /// An event with this time was heard of: whatever happens here now is later.
    pub fn witness(&mut self, time: u64) {
        self.0 = self.0.max(time);
    }
}

/// How many messages of each life are known. A life that is not in it counts as zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VectorClock(BTreeMap<Life, u64>);

impl VectorClock {
    /// How many of this life's messages are known.
    pub fn of(&self, life: Life) -> u64 {
        self.0.get(&life).copied().unwrap_or(0)
    }

    /// One more message of this life; how many there are now.
    pub fn tick(&mut self, life: Life) -> u64 {
        let count = self.0.entry(life).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Everything up to this message is known.
    pub fn raise(&mut self, life: Life, number: u64) {
        if number > 0 {
            let count = self.0.entry(life).or_insert(0);
            *count = number.max(*count);
        }
    }

    /// Everything that `other` knows is known.
    pub fn merge(&mut self, other: &VectorClock) {
        other.iter().for_each(|(life, number)| self.raise(life, number));
    }

    /// Forgets a life.
    pub fn remove(&mut self, life: Life) {
        self.0.remove(&life);
    }

    /// Every life of which something is known, and how much.
    pub fn iter(&self) -> impl Iterator<Item = (Life, u64)> {
        self.0.iter().map(|(&life, &number)| (life, number))
    }
}

/// `None` where neither can have caused the other.
impl PartialOrd for VectorClock {
    fn partial_cmp(&self, other: &VectorClock) -> Option<Ordering> {
        let is_within = |one: &VectorClock, two: &VectorClock| one.iter().all(|(life, n)| n <= two.of(life));
        match (is_within(self, other), is_within(other, self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use synod_types::{Digest, NodeId};

    use super::*;

    fn life(node: u8) -> Life {
        Life { node: NodeId(Digest([node; 32])), incarnation: 1 }
    }

    #[test]
    fn what_is_heard_of_is_earlier_than_what_happens_then() {
        let (mut here, mut there) = (Lamport::default(), Lamport::default());
        assert_eq!((here.tick(), here.tick(), there.tick()), (1, 2, 1));
        there.witness(here.now());
        assert_eq!(there.tick(), 3);
        there.witness(1);
        assert_eq!(there.now(), 3);
        there.witness(u64::MAX);
        assert_eq!(there.tick(), u64::MAX);
    }

    #[test]
    fn the_order_of_vector_clocks_is_the_causal_one() {
        let (mut a, mut b) = (VectorClock::default(), VectorClock::default());
        assert_eq!(a.partial_cmp(&b), Some(Ordering::Equal));
        a.tick(life(1));
        assert_eq!((b.partial_cmp(&a), a.partial_cmp(&b)), (Some(Ordering::Less), Some(Ordering::Greater)));
        b.tick(life(2));
        assert_eq!(a.partial_cmp(&b), None);
        let before = b.clone();
        b.merge(&a);
        assert!(a < b && before < b);
        b.remove(life(1));
        b.raise(life(3), 0);
        assert_eq!(b, before);
    }
}
