//! One direction of a link: what becomes of each datagram, and when it arrives. No socket and no clock: times come from
//! whoever carries the datagrams, and chance from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::time::Instant;

/// Datagrams on their way at a time; what comes beyond them is lost, as in a full router.
const DATAGRAMS_MAX: usize = 20_000;
/// How long a datagram is held back that others are to overtake.
const OVERTAKEN_BY: Duration = Duration::from_millis(20);

/// How well a direction carries. The default is perfect.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Conditions {
    /// Nothing gets through.
    pub is_cut: bool,
    /// How long everything takes.
    pub delay: Duration,
    /// How much longer it takes at most, drawn for each datagram. Order is kept.
    pub jitter: Duration,
    /// The share of datagrams that is lost.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplication: f64,
    /// The share that is overtaken by what was sent later.
    pub reordering: f64,
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Handed to the line.
    pub sent: u64,
    /// Lost: the line was cut or full, or chance had it.
    pub lost: u64,
    /// Carried twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
}

/// A direction, and what is on its way in it.
#[derive(Debug)]
pub struct Line<D> {
    /// May be changed at any time; holds for what is sent from then on.
    pub conditions: Conditions,
    tally: Tally,
    /// By the moment of arrival, and in the order of sending among those of one moment.
    on_the_way: BTreeMap<(Instant, u64), D>,
    latest: Option<Instant>,
    count: u64,
    random: StdRng,
}

impl<D: Clone> Line<D> {
    /// A perfect line, whose chance is `random`.
    pub fn new(random: StdRng) -> Line<D> {
        let (conditions, tally) = (Conditions::default(), Tally::default());
        Line { conditions, tally, on_the_way: BTreeMap::new(), latest: None, count: 0, random }
    }

    /// What became of the datagrams so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes a datagram at its beginning.
    pub fn send(&mut self, now: Instant, datagram: D) {
        let Conditions { is_cut, delay, jitter, loss, duplication, reordering } = self.conditions;
        self.tally.sent += 1;
        if is_cut || self.random.random_bool(loss) || self.on_the_way.len() >= DATAGRAMS_MAX {
            self.tally.lost += 1;
            return;
        }
        let longer =
            if jitter.is_zero() { jitter } else { self.random.random_range(Duration::ZERO..=jitter) };
        // Nothing overtakes what is not to be overtaken.
        let due = self.latest.map_or(now, |latest| latest.max(now)).max(now + delay + longer);
        if self.random.random_bool(duplication) {
            self.tally.duplicated += 1;
            self.put(due, datagram.clone());
        }
        if self.random.random_bool(reordering) {
            self.tally.reordered += 1;
            self.put(due + OVERTAKEN_BY, datagram);
        } else {
            self.latest = Some(due);
            self.put(due, datagram);
        }
    }

    fn put(&mut self, due: Instant, datagram: D) {
        self.on_the_way.insert((due, self.count), datagram);
        self.count += 1;
    }

    /// When the next datagram arrives.
    pub fn next_due(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// A datagram that has arrived by now.
    pub fn receive(&mut self, now: Instant) -> Option<D> {
        let next = self.on_the_way.first_entry()?;
        (next.key().0 <= now).then(|| next.remove())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DATAGRAMS: u32 = 10_000;

    /// What arrives of so many datagrams, one sent each millisecond, and how long each was on its way.
    fn carried(conditions: Conditions) -> (Vec<u32>, Vec<Duration>, Tally) {
        let mut line = Line::new(StdRng::seed_from_u64(7));
        line.conditions = conditions;
        let begin = Instant::now();
        let at = |n: u32| begin + Duration::from_millis(n.into());
        let (mut arrived, mut took) = (Vec::new(), Vec::new());
        for n in 0..DATAGRAMS {
            line.send(at(n), n);
            while let Some(due) = line.next_due().filter(|due| *due < at(n + 1)) {
                let datagram = line.receive(due).expect("it is due");
                arrived.push(datagram);
                took.push(due - at(datagram));
            }
        }
        while let Some(due) = line.next_due() {
            arrived.push(line.receive(due).expect("it is due"));
        }
        (arrived, took, line.tally())
    }

    #[test]
    fn a_perfect_line_carries_everything_at_once_and_in_order() {
        let (arrived, took, tally) = carried(Conditions::default());
        assert_eq!(arrived, (0..DATAGRAMS).collect::<Vec<_>>());
        assert!(took.iter().all(Duration::is_zero));
        assert_eq!(tally, Tally { sent: DATAGRAMS.into(), ..Tally::default() });
    }

    #[test]
    fn a_cut_line_carries_nothing_and_goes_on_when_it_is_healed() {
        let mut line = Line::new(StdRng::seed_from_u64(7));
        let now = Instant::now();
        line.conditions.is_cut = true;
        line.send(now, "lost");
        line.conditions.is_cut = false;
        line.send(now, "carried");
        assert_eq!((line.receive(now), line.receive(now)), (Some("carried"), None));
        assert_eq!((line.tally().sent, line.tally().lost), (2, 1));
    }

    #[test]
    fn delay_and_jitter_take_their_time_and_keep_the_order() {
        let (delay, jitter) = (Duration::from_millis(30), Duration::from_millis(20));
        let (arrived, took, _) = carried(Conditions { delay, jitter, ..Conditions::default() });
        assert_eq!(arrived, (0..DATAGRAMS).collect::<Vec<_>>());
        assert!(took.iter().all(|took| (delay..=delay + jitter).contains(took)));
        assert!(took.iter().any(|took| *took > delay + jitter / 2));
    }

    #[test]
    fn what_is_lost_and_doubled_is_about_the_share_that_was_asked() {
        let conditions = Conditions { loss: 0.2, duplication: 0.1, ..Conditions::default() };
        let (mut arrived, _, tally) = carried(conditions);
        assert!((1_800..2_200).contains(&tally.lost), "{tally:?}");
        assert!((700..900).contains(&tally.duplicated), "{tally:?}");
        let copies = arrived.len();
        arrived.dedup();
        assert_eq!(copies - arrived.len(), usize::try_from(tally.duplicated).unwrap());
        assert_eq!(arrived.len(), usize::try_from(tally.sent - tally.lost).unwrap());
    }

    #[test]
    fn what_is_reordered_arrives_later_and_nothing_is_lost() {
        let (mut arrived, _, tally) = carried(Conditions { reordering: 0.1, ..Conditions::default() });
        assert!((900..1_100).contains(&tally.reordered), "{tally:?}");
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        assert_eq!(arrived, (0..DATAGRAMS).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_line_loses_what_comes_on_top() {
        let mut line = Line::new(StdRng::seed_from_u64(7));
        line.conditions.delay = Duration::from_secs(1);
        let now = Instant::now();
        (0..=DATAGRAMS_MAX).for_each(|n| line.send(now, n));
        assert_eq!(line.tally().lost, 1);
    }
}
