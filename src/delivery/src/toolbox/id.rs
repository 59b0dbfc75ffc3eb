//! Who said what: lives of nodes, the numbers of their messages, and which numbers one has.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use synod_types::NodeId;
use synod_types::limits::TOOLBOX_WINDOW_MAX;

/// Numbers behind the watermark that a [`Window`] remembers one by one: the bits of a word.
pub(crate) const WINDOW: u64 = TOOLBOX_WINDOW_MAX;

const _: () = assert!(WINDOW == 64, "a window is one word");

/// One life of a node: what the literature calls a process. A node that starts again has forgotten everything, so it is
/// another process, and must come with a larger incarnation.
///
/// The incarnation has to survive: a number on disk that is raised before each start, or the time of the start if the clock
/// never goes back. A node's first life is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The node.
    pub node: NodeId,
    /// Which of its lives, from 1 on.
    pub incarnation: u64,
}

/// A message, for ever: no later life of its source gives this id to another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// Who broadcast it.
    pub source: Life,
    /// Which of the source's messages, from 1 on and without gaps.
    pub number: u64,
}

impl Life {
    /// Whether it is that life of a node, or a later one, of which that one has no need to hear.
    pub(crate) fn is_from(self, other: Life) -> bool {
        self.node == other.node && self.incarnation >= other.incarnation
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.source, self.number)
    }
}

/// Numbers that one has: all up to a watermark, and some of the [`TOOLBOX_WINDOW_MAX`] behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    through: u64,
    /// The lowest bit stands for the number right behind the watermark, and is therefore never set.
    ahead: u64,
}

impl Window {
    /// All up to `through`.
    pub fn through(through: u64) -> Window {
        Window { through, ahead: 0 }
    }

    /// The watermark: up to here there is no gap.
    pub fn watermark(&self) -> u64 {
        self.through
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u64) -> bool {
        number <= self.through || self.bit(number).is_some_and(|bit| self.ahead & bit != 0)
    }

    /// Whether `number` is no further ahead than can be remembered.
    pub fn reaches(&self, number: u64) -> bool {
        number <= self.through || self.bit(number).is_some()
    }

    /// Takes `number` in; whether it is new. What it does not [reach](Window::reaches) is not taken.
    pub fn insert(&mut self, number: u64) -> bool {
        match self.bit(number) {
            Some(bit) if self.ahead & bit == 0 => self.ahead |= bit,
            _ => return false,
        }
        self.settle();
        true
    }

    /// Takes in all that `other` has; whether that was more.
    pub fn merge(&mut self, other: &Window) -> bool {
        let before = *self;
        let (mut low, high) = if self.through <= other.through { (*self, *other) } else { (*other, *self) };
        let moved = high.through - low.through;
        low.ahead = u32::try_from(moved).ok().and_then(|moved| low.ahead.checked_shr(moved)).unwrap_or(0);
        *self = Window { through: high.through, ahead: high.ahead | low.ahead };
        self.settle();
        *self != before
    }

    /// What of it is below `number`.
    pub fn below(&self, number: u64) -> Window {
        let last = number.saturating_sub(1);
        let mut rest = Window { through: self.through.min(last), ahead: 0 };
        if rest.through == self.through {
            let ahead = (1..=WINDOW).filter_map(|place| rest.bit(rest.through.saturating_add(place)));
            let kept = ahead.take(usize::try_from(last - rest.through).unwrap_or(usize::MAX));
            rest.ahead = self.ahead & kept.fold(0, |bits, bit| bits | bit);
        }
        rest
    }

    /// All of it but `numbers`.
    pub fn without(&self, numbers: impl IntoIterator<Item = u64>) -> Window {
        let numbers: BTreeSet<u64> = numbers.into_iter().collect();
        let first = numbers.first().map_or(self.through, |first| first.saturating_sub(1));
        let mut rest = Window::through(self.through.min(first));
        for place in 1..=WINDOW {
            let number = rest.through.saturating_add(place);
            let bit = rest.bit(number).filter(|_| self.contains(number) && !numbers.contains(&number));
            rest.ahead |= bit.unwrap_or(0);
        }
        rest.settle();
        rest
    }

    fn settle(&mut self) {
        while self.ahead & 1 != 0 {
            self.through = self.through.saturating_add(1);
            self.ahead >>= 1;
        }
    }

    fn bit(&self, number: u64) -> Option<u64> {
        let place = number.checked_sub(self.through)?.checked_sub(1)?;
        1_u64.checked_shl(u32::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the plain set that it stands for.
    #[test]
    fn a_window_is_a_set() {
        let mut chance = 7_u64;
        let mut draw = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for _ in 0..300 {
            let first = draw(5);
            let mut windows = [Window::through(first), Window::through(first)];
            let mut sets = [(); 2].map(|()| (1..=first).collect::<BTreeSet<u64>>());
            for _ in 0..60 {
                let (at, number) = (usize::from(draw(2) == 1), 1 + draw(90));
                let is_near = number <= windows[at].watermark() + 64;
                assert_eq!(windows[at].reaches(number), is_near);
                assert_eq!(windows[at].insert(number), is_near && sets[at].insert(number));
                assert!((1..200).all(|number| windows[at].contains(number) == sets[at].contains(&number)));
                assert!(!windows[at].contains(windows[at].watermark() + 1));
            }
            let other = windows[1];
            windows[0].merge(&other);
            let both: BTreeSet<u64> = sets[0].union(&sets[1]).copied().collect();
            let all = |window: Window| -> BTreeSet<u64> {
                (1..200).filter(|&number| window.contains(number)).collect()
            };
            assert_eq!(all(windows[0]), both);
            let from = windows[0].watermark().saturating_sub(draw(30));
            let less: BTreeSet<u64> = (from..from + draw(40)).filter(|number| number % 3 > 0).collect();
            let rest = windows[0].without(less.iter().copied());
            let limit = draw(100);
            assert_eq!(all(windows[0].below(limit)), both.iter().copied().filter(|&n| n < limit).collect());
            let near = |number: &u64| *number <= rest.watermark() + WINDOW;
            assert_eq!(all(rest), both.difference(&less).copied().filter(near).collect());
        }
    }

    #[test]
    fn the_end_of_all_numbers_is_reached_without_a_fall() {
        let mut window = Window::through(u64::MAX - 2);
        assert!(window.insert(u64::MAX) && window.insert(u64::MAX - 1));
        assert_eq!(window, Window::through(u64::MAX));
        assert!(!window.insert(u64::MAX));
        window.merge(&Window::through(0));
        assert_eq!(window.watermark(), u64::MAX);
    }
}
