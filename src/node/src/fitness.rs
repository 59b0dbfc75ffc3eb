//! Who had better not lead: a node whose disk is nearly full, or much slower than those of the others.
//!
//! A leader's own votes are not needed where those of the others make a majority, so one with a slow disk would go on leading, while
//! what it queues grows. So each node tells the others how long a sync takes it, and compares. When it has been much slower than
//! they are for a while, others lead, until it has been as fast as they are for a longer while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use synod_types::configuration::is_majority;
use synod_types::{Message, NodeId};
use tokio::time::Instant;

/// No disk is slow whose syncs take no longer, however fast the others are.
const SLOW_MIN: Duration = Duration::from_millis(20);
/// So many times as long as the others' syncs take those of a slow disk.
const SLOW_FACTOR: u32 = 4;
/// At most so many times as long take those of one that is no longer slow.
const WELL_FACTOR: u32 = 2;
/// How long it has to be much slower before it is called slow.
const SLOW_FOR: Duration = Duration::from_secs(3);
/// How long it has to be as fast as the others before it is no longer.
const WELL_FOR: Duration = Duration::from_secs(60);

/// Looks after which a node says again how its disk is, though nothing changed: a message may have been lost.
const AGAIN_LOOKS: u32 = 10;

/// How a disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Disk {
    /// Whether it is nearly full.
    pub is_low: bool,
    /// Whether it is much slower than those of others.
    pub is_slow: bool,
    /// How long a sync takes.
    pub sync_time: Duration,
}

impl Disk {
    fn is_fit(&self) -> bool {
        !self.is_low && !self.is_slow
    }
}

/// What is known of the disks.
#[derive(Debug, Default)]
pub(crate) struct Fitness {
    /// What the others say of theirs.
    others: BTreeMap<NodeId, Disk>,
    is_slow: bool,
    /// Since when the disk does not look like what it is called.
    since: Option<Instant>,
    /// Who was unfit at the last look, and how this node's own disk was.
    seen: (BTreeSet<NodeId>, bool, bool),
    looks: u32,
}

/// What comes of a look, now and then.
pub(crate) struct News {
    /// For the other nodes.
    pub message: Message,
    /// Who had better not lead.
    pub unfit: BTreeSet<NodeId>,
}

impl Fitness {
    /// What another node says of its disk.
    pub(crate) fn heard(&mut self, node: NodeId, disk: Disk) {
        self.others.insert(node, disk);
    }

    /// Looks at all disks, this node's `own` among them: whether that is nearly full, and how long a sync takes. `is_up` says
    /// which other nodes are there.
    pub(crate) fn look(
        &mut self,
        own: (NodeId, bool, Duration),
        is_up: impl Fn(NodeId) -> bool,
        now: Instant,
    ) -> Option<News> {
        let (node, is_low, sync_time) = own;
        let disk = Disk { is_low, is_slow: self.judge(sync_time, is_up, now), sync_time };
        let others = self.others.iter().map(|(&node, disk)| (node, *disk));
        let unfit = others.chain([(node, disk)]).filter(|(_, disk)| !disk.is_fit()).map(|(node, _)| node);
        let unfit: BTreeSet<NodeId> = unfit.collect();
        let seen = (unfit.clone(), disk.is_low, disk.is_slow);
        self.looks += 1;
        if seen == self.seen && self.looks < AGAIN_LOOKS {
            return None;
        }
        (self.seen, self.looks) = (seen, 0);
        let sync_us = u32::try_from(sync_time.as_micros()).unwrap_or(u32::MAX);
        Some(News { message: Message::Disk { is_low, is_slow: disk.is_slow, sync_us }, unfit })
    }

    /// Whether nothing can become durable on a majority of these, of which this node is `own`, with a disk that `is_low` or not.
    pub(crate) fn lacks_majority(&self, voters: &[NodeId], own: NodeId, is_low: bool) -> bool {
        let is_low = |node: &NodeId| {
            if *node == own { is_low } else { self.others.get(node).is_some_and(|disk| disk.is_low) }
        };
        !is_majority(voters.iter().filter(|node| !is_low(node)).count(), voters.len())
    }

    /// Whether this node's disk is slow, as it looked last.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow
    }

    fn judge(&mut self, own: Duration, is_up: impl Fn(NodeId) -> bool, now: Instant) -> bool {
        let up = self.others.iter().filter(|(node, _)| is_up(**node));
        let mut others: Vec<Duration> = up.map(|(_, disk)| disk.sync_time).collect();
        others.sort_unstable();
        // Of two, the slower one: both have to be faster.
        let Some(&typical) = others.get(others.len() / 2) else { return self.is_slow };
        let (differs, patience) = if self.is_slow {
            (own <= (typical * WELL_FACTOR).max(SLOW_MIN / 2), WELL_FOR)
        } else {
            (own > (typical * SLOW_FACTOR).max(SLOW_MIN), SLOW_FOR)
        };
        if !differs {
            self.since = None;
        } else if now.duration_since(*self.since.get_or_insert(now)) >= patience {
            self.since = None;
            self.is_slow = !self.is_slow;
        }
        self.is_slow
    }
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId(Digest([n; 32]))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn disk(ms: u64) -> Disk {
        Disk { is_low: false, is_slow: false, sync_time: Duration::from_millis(ms) }
    }

    #[test]
    fn a_disk_is_slow_after_a_while_and_well_after_a_longer_one() {
        let (mut fitness, start) = (Fitness::default(), Instant::now());
        fitness.heard(node(2), disk(5));
        fitness.heard(node(3), disk(10));
        let mut at = |seconds, own| fitness.judge(ms(own), |_| true, start + Duration::from_secs(seconds));
        assert!(!at(0, 41));
        assert!(!at(2, 41));
        // Once it was fast enough, it begins anew.
        assert!(!at(3, 40));
        assert!(!at(4, 41));
        assert!(!at(6, 41));
        assert!(at(7, 41));
        assert!(at(8, 20));
        assert!(at(60, 21));
        assert!(at(61, 20));
        assert!(at(120, 20));
        assert!(!at(121, 20));
    }

    #[test]
    fn where_all_are_slow_or_nobody_is_there_none_is() {
        let start = Instant::now();
        let judge = |own, others: &[u64], up: u8| {
            let mut fitness = Fitness::default();
            for (n, &others) in (2..).zip(others) {
                fitness.heard(node(n), disk(others));
            }
            fitness.judge(ms(own), |other| other <= node(up), start);
            fitness.judge(ms(own), |other| other <= node(up), start + SLOW_FOR)
        };
        assert!(!judge(900, &[], 3));
        assert!(!judge(900, &[300, 1], 3));
        assert!(!judge(900, &[1, 1], 1));
        assert!(!judge(20, &[1, 1], 3));
        assert!(judge(900, &[1, 1], 3));
        assert!(judge(900, &[1, 300], 2));
    }

    #[test]
    fn a_minority_can_be_full() {
        let (mut fitness, all) = (Fitness::default(), [node(1), node(2), node(3)]);
        assert!(!fitness.lacks_majority(&all, node(1), false));
        fitness.heard(node(2), Disk { is_low: true, ..disk(1) });
        assert!(!fitness.lacks_majority(&all, node(1), false));
        assert!(fitness.lacks_majority(&all, node(1), true));
        fitness.heard(node(2), disk(1));
        assert!(!fitness.lacks_majority(&all, node(1), true));
    }

    #[test]
    fn a_change_is_told_at_once_and_everything_now_and_then() {
        let (mut fitness, now) = (Fitness::default(), Instant::now());
        let unfit = |news: Option<News>| news.map(|news| news.unfit.into_iter().collect::<Vec<_>>());
        let look =
            |fitness: &mut Fitness, is_low| unfit(fitness.look((node(1), is_low, ms(1)), |_| true, now));
        assert_eq!(look(&mut fitness, true), Some(vec![node(1)]));
        assert_eq!(look(&mut fitness, true), None);
        fitness.heard(node(2), Disk { is_slow: true, ..disk(900) });
        assert_eq!(look(&mut fitness, false), Some(vec![node(2)]));
        let news: Vec<_> = (0..AGAIN_LOOKS).filter_map(|_| look(&mut fitness, false)).collect();
        assert_eq!(news, [[node(2)]]);
    }
}
