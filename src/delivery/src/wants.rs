//! Files that are needed and not on their way: each waits for its turn to be looked for, the longer the more often it was
//! looked for in vain.

use std::collections::BTreeMap;
use std::ops::Bound;

use synod_types::ContentKey;
use synod_types::limits::CONTENT_FILES_MAX;

use crate::fetch::{Need, Past};

/// Ticks that a file waits for its next turn: at first, and at most.
const PAUSE_TICKS: u64 = 10;
const PAUSE_TICKS_MAX: u64 = 300;
/// How often a file is looked for in vain that was lost here and for which nobody asks: whoever has it will offer it.
const LOST_VAIN_MAX: u32 = 8;
/// Files that are looked at in one search for whose turn it is.
const LOOKED_AT_MAX: usize = 1024;

/// Who waits.
#[derive(Debug)]
pub(crate) struct Wants {
    waiting: BTreeMap<ContentKey, Want>,
    /// The next turn is behind this one's.
    turn: Bound<ContentKey>,
}

#[derive(Debug)]
struct Want {
    need: Need,
    past: Past,
    due: u64,
}

impl Wants {
    pub(crate) fn new() -> Wants {
        Wants { waiting: BTreeMap::new(), turn: Bound::Unbounded }
    }

    pub(crate) fn contains(&self, key: &ContentKey) -> bool {
        self.waiting.contains_key(key)
    }

    /// It is needed, and may be looked for at once. Over the limit it is not taken.
    pub(crate) fn insert(&mut self, key: ContentKey, need: Need, now: u64) {
        if let Some(want) = self.waiting.get_mut(&key) {
            want.need = want.need.max(need);
        } else if self.waiting.len() < CONTENT_FILES_MAX {
            self.waiting.insert(key, Want { need, past: Past::default(), due: now });
        }
    }

    /// Once more nothing came of it.
    pub(crate) fn put_back(&mut self, key: ContentKey, need: Need, past: Past, now: u64) {
        if need == Need::Lost && past.vain >= LOST_VAIN_MAX {
            return;
        }
        let doublings = past.vain.saturating_add(past.failed).saturating_sub(1).min(10);
        let pause = PAUSE_TICKS.saturating_mul(1 << doublings).min(PAUSE_TICKS_MAX);
        self.waiting.insert(key, Want { need, past, due: now + pause });
    }

    /// It does not wait any more; who needs it, and what came of it so far.
    pub(crate) fn remove(&mut self, key: &ContentKey) -> Option<(Need, Past)> {
        self.waiting.remove(key).map(|want| (want.need, want.past))
    }

    /// It may be found now; `false` if it does not wait.
    pub(crate) fn hasten(&mut self, key: &ContentKey, now: u64) -> bool {
        let want = self.waiting.get_mut(key);
        want.map(|want| want.due = want.due.min(now)).is_some()
    }

    /// All may be found now.
    pub(crate) fn hasten_all(&mut self, now: u64) {
        self.waiting.values_mut().for_each(|want| want.due = want.due.min(now));
    }

    /// Takes out the next one whose turn it is, with who needs it and what came of it so far.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(ContentKey, Need, Past)> {
        for _ in 0..LOOKED_AT_MAX.min(self.waiting.len()) {
            let behind = self.waiting.range((self.turn, Bound::Unbounded)).next();
            let (&key, &Want { need, past, due }) = behind.or_else(|| self.waiting.first_key_value())?;
            self.turn = Bound::Excluded(key);
            if due <= now {
                self.waiting.remove(&key);
                return Some((key, need, past));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Digest;

    fn key(i: u8) -> ContentKey {
        ContentKey(Digest([i; 32]))
    }

    const fn vain(vain: u32) -> Past {
        Past { vain, failed: 0 }
    }

    #[test]
    fn each_gets_its_turn_and_the_vain_ones_wait_longer() {
        let mut wants = Wants::new();
        for i in [3, 1, 2] {
            wants.insert(key(i), Need::Asked, 0);
        }
        let take = |wants: &mut Wants, now| wants.take_due(now).map(|(key, _, past)| (key, past));
        assert_eq!(take(&mut wants, 0), Some((key(1), vain(0))));
        wants.put_back(key(1), Need::Asked, vain(1), 0);
        assert_eq!(take(&mut wants, 0), Some((key(2), vain(0))));
        assert_eq!(take(&mut wants, 0), Some((key(3), vain(0))));
        assert_eq!(take(&mut wants, PAUSE_TICKS - 1), None);
        assert_eq!(take(&mut wants, PAUSE_TICKS), Some((key(1), vain(1))));
        wants.put_back(key(1), Need::Asked, Past { vain: 20, failed: 20 }, 0);
        assert_eq!(take(&mut wants, PAUSE_TICKS_MAX - 1), None);
        assert!(wants.hasten(&key(1), 7) && !wants.hasten(&key(2), 7));
        assert_eq!(take(&mut wants, 7), Some((key(1), Past { vain: 20, failed: 20 })));
        assert!(!wants.contains(&key(1)));
    }

    #[test]
    fn what_nobody_has_and_nobody_asks_for_is_not_looked_for_for_ever() {
        let mut wants = Wants::new();
        wants.put_back(key(1), Need::Lost, Past { vain: LOST_VAIN_MAX - 1, failed: 50 }, 0);
        assert!(wants.contains(&key(1)));
        wants.put_back(key(2), Need::Lost, vain(LOST_VAIN_MAX), 0);
        assert!(!wants.contains(&key(2)));
        wants.insert(key(1), Need::Asked, 0);
        wants.insert(key(1), Need::Lost, 0);
        assert_eq!(wants.remove(&key(1)).unwrap().0, Need::Asked);
    }
}
