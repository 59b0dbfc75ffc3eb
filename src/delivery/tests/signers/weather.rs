//! What happens and what goes wrong, and when; and the calm after the storm.

use super::{Happening, LOSS_MS, STORM_MS, World};

impl World {
    /// Everything, in advance.
    pub(super) fn plan(&mut self) {
        let count = self.nodes.len();
        let is_slow = self.random.chance(30);
        for node in 0..count {
            let mut at = 0;
            for _ in 0..self.points.len() {
                at += self.random.within(1..=if is_slow { 4_000 } else { 800 });
                self.at(at, Happening::Execute { node });
            }
        }
        if self.random.chance(50) {
            for _ in 0..self.random.pick(&[1, 2, 4]) {
                let (at, node) = (self.random.within(0..=STORM_MS - 1), self.random.index(count));
                let restart = at + self.random.within(1..=3_000);
                self.at(at, Happening::Crash { node });
                self.at(restart, Happening::Restart { node });
            }
            for _ in 0..self.random.index(count.div_ceil(2)) {
                let node = self.random.index(count);
                self.dead.insert(node);
            }
        }
        for _ in 0..self.random.pick(&[0, 0, 2, 6]) {
            let at = self.random.within(0..=STORM_MS - 1);
            let (a, b) = (self.random.index(count), self.random.index(count));
            if self.random.chance(30) {
                for other in 0..count {
                    self.at(at, Happening::Cut { a, b: other });
                    self.at(at, Happening::Cut { a: other, b: a });
                }
            } else {
                self.at(at, Happening::Cut { a, b });
            }
            let mend = at + self.random.within(0..=4_000);
            self.at(mend, Happening::Mend);
        }
        for _ in 0..self.random.pick(&[0, 4, 20]) {
            let at = self.random.within(0..=LOSS_MS);
            self.at(at, Happening::Forge);
        }
        self.at(STORM_MS, Happening::Calm);
        self.at(LOSS_MS, Happening::Still);
    }

    /// From now on nothing is cut and nobody crashes; who stays dead is.
    pub(super) fn calm(&mut self) {
        self.cuts.clear();
        for node in self.dead.clone() {
            self.crash(node);
        }
        self.is_calm = true;
        for node in 0..self.nodes.len() {
            self.start(node);
            // Whoever was down has missed some, and comes to them now.
            for _ in 0..self.points.len() {
                let at = self.now + self.random.within(1..=5_000);
                self.at(at, Happening::Execute { node });
            }
        }
    }
}
