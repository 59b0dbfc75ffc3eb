//! The eventually perfect failure detector ◇P (Cachin, Guerraoui, Rodrigues, section 2.6.4, the algorithm with a timeout
//! that grows).
//!
//! Who is silent for too long is suspected. Whoever is heard again was suspected wrongly: that suspicion is taken back, and
//! this node is given more time from then on. So a node that is down is suspected in the end, and stays so; and once the network
//! keeps to some bound, however large, there is a last wrong suspicion. What the bound is need not be known. It must
//! not be above `timeout_ticks_max`, from which on the timeout grows no more: a number has to have an end.
//!
//! Any traffic counts. Who sends nothing else sends a report now and then ([`super::Pace`]).
//!
//! Nothing that has to be right may rest on a suspicion, since it may be wrong. It may only make something happen that is
//! right in any case.

use std::collections::BTreeMap;

use synod_types::NodeId;

use super::broken::{Broken, Fault};

/// How patient a detector is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Ticks of silence after which a node is suspected, at first.
    pub timeout_ticks: u64,
    /// Ticks that are added for a node that was suspected wrongly.
    pub step_ticks: u64,
    /// Ticks beyond which nothing is added.
    pub timeout_ticks_max: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { timeout_ticks: 10, step_ticks: 5, timeout_ticks_max: 600 }
    }
}

/// What a detector has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The node has been silent for too long.
    Suspect(NodeId),
    /// The node is there after all.
    Restore(NodeId),
}

/// One node's opinion of the others.
#[derive(Clone, Debug)]
pub struct Detector {
    patience: Patience,
    now: u64,
    watched: BTreeMap<NodeId, Watched>,
    broken: Broken,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    heard: u64,
    timeout: u64,
    is_suspected: bool,
}

impl Detector {
    /// A detector that suspects nobody yet, and gives everybody time to be heard.
    pub fn new(patience: Patience, nodes: impl IntoIterator<Item = NodeId>, broken: Broken) -> Detector {
        let mut detector = Detector { patience, now: 0, watched: BTreeMap::new(), broken };
        nodes.into_iter().for_each(|node| detector.watch(node));
        detector
    }

    /// Watches a node from now on, if it does not do so already.
    pub fn watch(&mut self, node: NodeId) {
        let timeout = self.patience.timeout_ticks;
        self.watched.entry(node).or_insert(Watched { heard: self.now, timeout, is_suspected: false });
    }

    /// Expects nothing of a node any more: it said that it goes. It counts as suspected.
    pub fn unwatch(&mut self, node: NodeId) {
        self.watched.remove(&node);
    }

    /// Whether a node is suspected, or not watched.
    pub fn suspects(&self, node: NodeId) -> bool {
        self.watched.get(&node).is_none_or(|watched| watched.is_suspected)
    }

    /// Something came from a node that is watched.
    pub fn on_heard(&mut self, node: NodeId) -> Option<Verdict> {
        let watched = self.watched.get_mut(&node)?;
        watched.heard = self.now;
        if !watched.is_suspected || self.broken.is(Fault::NeverRestores) {
            return None;
        }
        watched.is_suspected = false;
        if !self.broken.is(Fault::TimeoutFixed) {
            let longer = watched.timeout.saturating_add(self.patience.step_ticks);
            watched.timeout = longer.min(self.patience.timeout_ticks_max);
        }
        Some(Verdict::Restore(node))
    }

    /// Time passes.
    pub fn on_tick(&mut self) -> Vec<Verdict> {
        self.now += 1;
        let (now, mut verdicts) = (self.now, Vec::new());
        for (&node, watched) in &mut self.watched {
            let is_silent = now - watched.heard > watched.timeout;
            if is_silent && !watched.is_suspected && !self.broken.is(Fault::NeverSuspects) {
                watched.is_suspected = true;
                verdicts.push(Verdict::Suspect(node));
            }
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    const NODE: NodeId = NodeId(Digest([7; 32]));

    fn ticks_until_suspected(detector: &mut Detector) -> u64 {
        let until = (1..1000).find(|_| detector.on_tick() == [Verdict::Suspect(NODE)]);
        until.expect("a silent node is suspected")
    }

    #[test]
    fn each_mistake_makes_it_more_patient_up_to_a_limit() {
        let patience = Patience { timeout_ticks: 3, step_ticks: 2, timeout_ticks_max: 6 };
        let mut detector = Detector::new(patience, [NODE], Broken::NOT);
        for ticks in [4, 6, 7, 7] {
            assert!(!detector.suspects(NODE));
            assert_eq!(ticks_until_suspected(&mut detector), ticks);
            assert!(detector.suspects(NODE) && detector.on_tick().is_empty());
            assert_eq!(detector.on_heard(NODE), Some(Verdict::Restore(NODE)));
            assert_eq!(detector.on_heard(NODE), None);
        }
    }

    #[test]
    fn who_said_goodbye_is_not_waited_for() {
        let mut detector = Detector::new(Patience::default(), [NODE], Broken::NOT);
        detector.unwatch(NODE);
        assert!(detector.suspects(NODE));
        assert!((0..100).all(|_| detector.on_tick().is_empty()) && detector.on_heard(NODE).is_none());
        detector.watch(NODE);
        assert_eq!(ticks_until_suspected(&mut detector), 11);
    }
}
