//! What goes wrong, and when: crashes, cuts, damage; and the calm after the storm.

use std::collections::BTreeSet;

use synod_delivery::{Config, Core, Event, Removed, TICK_MS};
use synod_types::{ContentKey, NodeId};

use super::{CALM_MS, Happening, Lie, QUIET_MS, STORM_MS, World};

impl World {
    /// Everything that clients do and that goes wrong, in advance.
    pub(super) fn plan(&mut self) {
        let (nodes, files) = (self.nodes.len(), self.files.len());
        for file in 0..files {
            for _ in 0..self.random.pick(&[1, 1, 1, 2]) {
                let (at, node) = (self.random.within(0..=STORM_MS * 3 / 4), self.random.index(nodes));
                self.at(at, Happening::Upload { node, file });
            }
        }
        let crashes = self.random.pick(&[0, 1, 3, 8]);
        for _ in 0..crashes {
            let (at, node) = (self.random.within(0..=STORM_MS - 1), self.random.index(nodes));
            self.at(at, Happening::Crash { node });
            let down = self.random.pick(&[100, 1000, 10_000, STORM_MS]);
            let restart = self.random.within(0..=down) + at;
            self.at(restart, Happening::Restart { node });
        }
        for _ in 0..self.random.pick(&[0, 0, 2, 6]) {
            let at = self.random.within(0..=STORM_MS - 1);
            // A node alone, a link in both directions, or in one.
            let (from, to) = (self.random.index(nodes), self.random.index(nodes));
            match self.random.within(0..=2) {
                0 => (0..nodes).for_each(|other| {
                    self.at(at, Happening::Cut { from, to: other });
                    self.at(at, Happening::Cut { from: other, to: from });
                }),
                1 => {
                    self.at(at, Happening::Cut { from, to });
                    self.at(at, Happening::Cut { from: to, to: from });
                }
                _ => self.at(at, Happening::Cut { from, to }),
            }
            let mend = at + self.random.within(0..=20_000);
            self.at(mend, Happening::Mend);
        }
        for _ in 0..self.random.within(0..=20) {
            let (at, node) = (self.random.within(0..=STORM_MS * 2), self.random.index(nodes));
            let file = self.random.index(files);
            let happening = match self.random.within(0..=1) {
                0 => Happening::Want { node, file },
                _ => Happening::Await { node, file },
            };
            self.at(at, happening);
        }
        for _ in 0..self.random.pick(&[0, 0, 1, 4]) {
            let (at, node) = (self.random.within(0..=STORM_MS), self.random.index(nodes));
            let file = self.random.index(files);
            self.at(at, Happening::Damage { node, file });
        }
        if self.random.chance(20) {
            let (at, file) = (self.random.within(0..=STORM_MS), self.random.index(files));
            self.at(at, Happening::Collect { file });
        }
        for node in 0..nodes {
            if self.nodes[node].lie == Some(Lie::Promises) {
                for _ in 0..20 {
                    let at = self.random.within(0..=STORM_MS);
                    self.at(at, Happening::Garbage { node });
                }
            }
        }
        self.at(STORM_MS, Happening::Calm);
        // Those that come after it find everybody there.
        for _ in 0..3 {
            let at = self.random.within(STORM_MS + CALM_MS / 2..=STORM_MS + CALM_MS - QUIET_MS * 3);
            let (node, file) = (self.random.index(nodes), self.random.index(files));
            self.at(at, Happening::Await { node, file });
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        if self.nodes[node].core.take().is_none() {
            return;
        }
        self.counts.crashes += 1;
        let state = &mut self.nodes[node];
        state.life += 1;
        state.asked.clear();
        state.awaits.clear();
        state.disk.crash(&mut self.random);
        for peer in 0..self.nodes.len() {
            self.notice(peer, node);
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].core.is_some() || (self.is_calm && self.dead == Some(node)) {
            return;
        }
        let ids: BTreeSet<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let state = &mut self.nodes[node];
        let mut config = Config::new(state.id, ids.into_iter().filter(|&other| other != state.id).collect());
        config.broken = self.broken;
        state.core = Some(Core::new(config, state.disk.files.iter().copied()));
        state.busy_until = self.now;
        let life = state.life;
        let first = self.now + self.random.within(1..=TICK_MS);
        self.at(first, Happening::Tick { node, life });
        for peer in 0..self.nodes.len() {
            self.notice(peer, node);
            self.notice(node, peer);
        }
        for key in self.nodes[node].wants.clone() {
            self.want(node, key);
        }
    }

    pub(super) fn mend(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.notice(from, to);
            self.notice(to, from);
        }
    }

    /// From now on nothing goes wrong any more, except that liars lie.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        (self.loss, self.doubles, self.disk_fails) = (0, 0, 0);
        self.mend();
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        if let Some(dead) = self.dead {
            self.crash(dead);
        }
        for key in self.collected.clone() {
            self.collect(key);
        }
        // What nobody looked at since it was damaged is looked at now.
        for node in 0..self.nodes.len() {
            for key in self.files.iter().map(|file| file.key).collect::<Vec<_>>() {
                let holds = self.nodes[node].core.as_ref().is_some_and(|core| core.holds(&key));
                if holds {
                    self.is_there(node, key);
                }
            }
        }
    }

    /// Nothing refers to this file: who has it removes it, now and later.
    pub(super) fn collect(&mut self, key: ContentKey) {
        self.collected.insert(key);
        for node in 0..self.nodes.len() {
            if self.nodes[node].disk.files.remove(&key) {
                self.step(node, Event::Removed { key, why: Removed::Collected });
            }
        }
    }

    pub(super) fn is_linked(&self, one: usize, other: usize) -> bool {
        let is_up = |node: usize| self.nodes[node].core.is_some();
        let is_cut = self.cuts.contains(&(one, other)) || self.cuts.contains(&(other, one));
        one != other && is_up(one) && is_up(other) && !is_cut
    }

    /// `node` will notice, after a while, how its session with `peer` stands.
    pub(super) fn notice(&mut self, node: usize, peer: usize) {
        if node != peer {
            let at = self.now + self.random.pick(&[1, 100, 4000]);
            let life = self.nodes[node].life;
            self.at(at, Happening::Notices { node, life, peer });
        }
    }
}
