//! A map of what happened lately: of limited size and age.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Forgets what is older than `ticks_max`, and the oldest where there are more than `len_max`.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    len_max: usize,
    ticks_max: u64,
    entries: BTreeMap<K, (u64, V)>,
    /// Every insertion, the oldest first. One whose entry was removed or is newer means nothing.
    order: VecDeque<(u64, K)>,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(crate) fn new(len_max: usize, ticks_max: u64) -> Recent<K, V> {
        Recent { len_max, ticks_max, entries: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Notes an entry, or notes it anew.
    pub(crate) fn insert(&mut self, now: u64, key: K, value: V) {
        while self.order.len() >= self.len_max
            || self.order.front().is_some_and(|&(since, _)| now - since >= self.ticks_max)
        {
            let Some((since, key)) = self.order.pop_front() else { break };
            if self.entries.get(&key).is_some_and(|&(newest, _)| newest == since) {
                self.entries.remove(&key);
            }
        }
        // Twice in a tick: one place in the order is enough.
        if self.entries.insert(key.clone(), (now, value)).is_none_or(|(since, _)| since != now) {
            self.order.push_back((now, key));
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    pub(crate) fn contains(&self, now: u64, key: &K) -> bool {
        self.entries.get(key).is_some_and(|&(since, _)| now - since < self.ticks_max)
    }

    /// What was noted of these keys and is not too old.
    pub(crate) fn range(&self, now: u64, keys: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.entries.range(keys);
        entries
            .filter(move |(_, (since, _))| now - since < self.ticks_max)
            .map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_age_counts() {
        let mut recent = Recent::new(3, 10);
        for (now, key) in [(0, 'a'), (1, 'b'), (2, 'a'), (3, 'c')] {
            recent.insert(now, key, now);
        }
        let all = |recent: &Recent<char, u64>, now| -> String {
            recent.range(now, 'a'..='z').map(|(key, _)| *key).collect()
        };
        assert_eq!(all(&recent, 3), "abc");
        recent.insert(4, 'd', 4);
        assert_eq!(all(&recent, 4), "acd");
        recent.remove(&'c');
        assert_eq!(all(&recent, 4), "ad");
        assert!(recent.contains(11, &'a') && !recent.contains(12, &'a'));
        assert_eq!(all(&recent, 13), "d");
    }

    #[test]
    fn coming_and_going_does_not_grow() {
        let mut recent = Recent::new(4, 1000);
        for now in 0..100 {
            recent.insert(now, now % 2, ());
            recent.insert(now, now % 2, ());
            recent.remove(&(now % 2));
        }
        assert!(recent.order.len() <= 4 && recent.entries.is_empty());
        recent.insert(100, 7, ());
        assert!(recent.contains(100, &7));
    }
}
