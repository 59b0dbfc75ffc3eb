//! A bounded memory of what was seen lately, in two generations.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps at least the `max / 2` entries that were inserted last and at most `max`. When the young generation is full
/// it becomes the old one and the old one is forgotten: no list to maintain, and O(1) for everything. The lock is held
/// for one look-up or one insertion, never while something is computed.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    generation_max: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// An empty memory of at most `max` entries.
    pub(crate) fn new(max: usize) -> Recent<K, V> {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Recent { generation_max: (max / 2).max(1), generations: Mutex::new(generations) }
    }

    /// What was inserted under `key`, if it is still remembered. A find in the old generation makes it young again, so
    /// that what is in use stays.
    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.lock();
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        generations.insert(key, value.clone(), self.generation_max);
        Some(value)
    }

    /// Remembers `value` under `key`.
    pub(crate) fn insert(&self, key: K, value: V) {
        self.lock().insert(key, value, self.generation_max);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        // Nothing that can panic runs under the lock, and a cache has no invariant that a panic could break.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn insert(&mut self, key: K, value: V, generation_max: usize) {
        if self.young.len() >= generation_max {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_oldest_and_never_grows_past_its_limit() {
        let recent = Recent::new(8);
        for n in 0..1000 {
            recent.insert(n, n);
            let generations = recent.lock();
            assert!(generations.young.len() + generations.old.len() <= 8);
        }
        assert!((996..1000).all(|n| recent.find(&n) == Some(n)), "the last half is always remembered");
        assert_eq!(recent.find(&900), None);
    }

    #[test]
    fn what_is_in_use_stays() {
        let recent = Recent::new(8);
        recent.insert(0, 0);
        for n in 1..1000 {
            recent.insert(n, n);
            assert_eq!(recent.find(&0), Some(0));
        }
    }
}
