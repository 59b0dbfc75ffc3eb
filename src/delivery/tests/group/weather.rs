//! What goes wrong, and when; and the calm after the storm.

use synod_delivery::toolbox::Topic;
use synod_types::limits::TOOLBOX_LIVES_MAX;

use super::{END_MS, Happening, LOSS_MS, STORM_MS, TICK_MS, World};

impl World {
    /// Everything that is said and that goes wrong, in advance.
    pub(super) fn plan(&mut self) {
        let count = self.members.len();
        for _ in 0..self.random.within(5..=25) {
            let (at, member) = (self.random.within(0..=STORM_MS), self.random.index(count));
            for _ in 0..self.random.pick(&[1, 1, 1, 1, 5]) {
                self.at(at, Happening::Say { member });
            }
        }
        // In half of the runs no more than a minority loses its memory.
        let minority = (count - 1) / 2;
        let victims = if self.random.chance(50) { minority } else { count };
        let first = self.random.index(count);
        let victim = |world: &mut World| (first + world.random.index(victims.max(1))) % count;
        if victims > 0 {
            for _ in 0..self.random.pick(&[0, 1, 2, 4]) {
                let (at, member) = (self.random.within(0..=STORM_MS - 1), victim(self));
                let down = self.random.pick(&[50, 500, STORM_MS]);
                let restart = at + self.random.within(1..=down);
                self.at(at, Happening::Crash { member });
                self.at(restart, Happening::Restart { member });
            }
            for _ in 0..self.random.pick(&[0, 1, 1, 3]) {
                let (at, member) = (self.random.within(0..=STORM_MS - 1), victim(self));
                self.at(at, Happening::LastWords { member });
            }
            if self.random.chance(30) {
                let at = self.random.within(0..=STORM_MS - 1);
                for _ in 0..count {
                    let member = victim(self);
                    self.at(at, Happening::Doom { member });
                }
            }
            if self.random.chance(20) {
                let (at, member) = (self.random.within(0..=LOSS_MS), victim(self));
                self.at(at, Happening::Leave { member });
            }
            for _ in 0..self.random.index(minority + 1) {
                let member = victim(self);
                self.dead.insert(member);
            }
        }
        for _ in 0..self.random.pick(&[0, 0, 2, 6]) {
            let at = self.random.within(0..=STORM_MS - 1);
            // A node alone, a link in both directions, or in one.
            let (from, to) = (self.random.index(count), self.random.index(count));
            match self.random.within(0..=2) {
                0 => (0..count).for_each(|other| {
                    self.at(at, Happening::Cut { from, to: other });
                    self.at(at, Happening::Cut { from: other, to: from });
                }),
                1 => {
                    self.at(at, Happening::Cut { from, to });
                    self.at(at, Happening::Cut { from: to, to: from });
                }
                _ => self.at(at, Happening::Cut { from, to }),
            }
            let mend = at + self.random.within(0..=4_000);
            self.at(mend, Happening::Mend);
        }
        self.at(STORM_MS, Happening::Calm);
        self.at(LOSS_MS, Happening::Still);
        for _ in 0..self.random.within(0..=10) {
            let at = self.random.within(STORM_MS..=END_MS - 4_000);
            let member = self.random.index(count);
            self.at(at, Happening::Say { member });
        }
    }

    pub(super) fn start(&mut self, member: usize) {
        let state = &self.members[member];
        if state.node.is_some() || state.has_left || (self.is_calm && self.dead.contains(&member)) {
            return;
        }
        self.members[member].incarnation += 1;
        let mut node = self.node(member);
        let wanted = [0, 1, 1].map(|topic| node.subscribe(Topic(topic)).unwrap());
        self.members[member].subscriptions = wanted.into();
        self.members[member].node = Some(node);
        let incarnation = self.members[member].incarnation;
        let first = self.now + self.random.within(1..=TICK_MS);
        self.at(first, Happening::Tick { member, incarnation });
    }

    /// Whether a member may crash: not in the calm, and not more often than its lives are remembered.
    pub(super) fn may_crash(&self, member: usize) -> bool {
        let lives_max = u64::try_from(TOOLBOX_LIVES_MAX).unwrap();
        !self.is_calm && self.members[member].incarnation < lives_max
    }

    pub(super) fn crash(&mut self, member: usize) {
        if self.may_crash(member) {
            self.crash_even_in_calm(member);
        }
    }

    pub(super) fn crash_even_in_calm(&mut self, member: usize) {
        self.count(member);
        if !self.members[member].has_left && self.members[member].node.take().is_some() {
            self.counts.crashes += 1;
            self.lost.insert(member);
        }
    }

    /// From now on nothing is cut and nobody crashes, unless he was given up.
    pub(super) fn calm(&mut self) {
        self.cuts.clear();
        for member in self.dead.clone() {
            self.crash_even_in_calm(member);
        }
        self.is_calm = true;
        for member in 0..self.members.len() {
            self.start(member);
        }
    }
}
