//! Which faults, when, and for how long: all of it follows from a seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use synod_journal::failpoint::{Point, Stage};
use synod_types::AppNdx;

use crate::apps;
use crate::fault::{Fault, Kind, Way};

/// One step in so many has two faults at once.
const COMPOUND: u32 = 3;
/// One fault in two befalls a leader first.
const LEADER_SHARE: f64 = 0.5;

/// What is done to a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// In order.
    pub steps: Vec<Step>,
}

/// Faults that begin and end together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// How long nothing happens before.
    pub calm: Duration,
    /// One, or two.
    pub strikes: Vec<Strike>,
    /// How long they last.
    pub hold: Duration,
}

/// A fault, and whom it befalls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Strike {
    /// What is done.
    pub fault: Fault,
    /// Whoever leads this application when it is done comes first.
    pub leader_of: Option<AppNdx>,
    /// The nodes; it befalls the first ones.
    pub order: Vec<usize>,
}

impl Schedule {
    /// Faults of these kinds for about so long. Kinds are drawn like cards, so that none comes a third time before each came once.
    pub fn draw(seed: u64, nodes: usize, length: Duration, kinds: &[Kind]) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut steps, mut deck, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
        while took < length {
            let step = step(&mut random, &mut deck, kinds, nodes);
            took += step.calm + step.hold;
            steps.push(step);
        }
        Schedule { steps }
    }

    /// Each kind of fault once, in an order that follows from the seed.
    pub fn of_each_kind(seed: u64, nodes: usize, kinds: &[Kind]) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed);
        let mut deck = deck(&mut random, kinds);
        let mut steps = Vec::new();
        while let Some(kind) = deck.pop() {
            let strikes = vec![strike(&mut random, kind, nodes)];
            let (calm, hold) = (millis(&mut random, 100, 400), millis(&mut random, 300, 1_500));
            steps.push(Step { calm, strikes, hold });
        }
        Schedule { steps }
    }

    /// Whether a fault of one of these kinds is among them.
    pub fn has(&self, kinds: &[Kind]) -> bool {
        let mut strikes = self.steps.iter().flat_map(|step| &step.strikes);
        strikes.any(|strike| kinds.contains(&strike.fault.kind()))
    }
}

fn deck(random: &mut StdRng, kinds: &[Kind]) -> Vec<Kind> {
    let mut deck = kinds.to_vec();
    deck.shuffle(random);
    deck
}

fn step(random: &mut StdRng, cards: &mut Vec<Kind>, kinds: &[Kind], nodes: usize) -> Step {
    let mut next = |random: &mut StdRng| {
        if cards.is_empty() {
            *cards = deck(random, kinds);
        }
        cards.pop().expect("there are kinds of faults")
    };
    let mut drawn = vec![next(random)];
    if random.random_ratio(1, COMPOUND) {
        drawn.push(next(random));
        // One of them is enough where a new deck begins with what the last one ended with.
        drawn.dedup();
    }
    let strikes = drawn.into_iter().map(|kind| strike(random, kind, nodes)).collect();
    // Shorter than it takes to notice, long enough for an election, and longer than a session lives without a packet.
    let hold = match random.random_range(0..10) {
        0..3 => millis(random, 50, 600),
        3..9 => millis(random, 600, 2_500),
        _ => millis(random, 4_000, 6_000),
    };
    Step { calm: millis(random, 50, 700), strikes, hold }
}

fn strike(random: &mut StdRng, kind: Kind, nodes: usize) -> Strike {
    let some = |random: &mut StdRng| match random.random_range(0..10) {
        0..2 => nodes / 2 + 1,
        2..3 => nodes,
        _ => random.random_range(1..=nodes / 2),
    };
    let fault = match kind {
        Kind::Kill => Fault::Kill { nodes: some(random).min(nodes - 1) },
        Kind::KillAll => Fault::KillAll,
        Kind::Pause => Fault::Pause { nodes: some(random) },
        Kind::Isolate => Fault::Isolate,
        Kind::CutLink => Fault::CutLink,
        Kind::OneWay => Fault::OneWay([Way::Link, Way::Deaf, Way::Mute][random.random_range(0..3)]),
        Kind::Flap => Fault::Flap { is_node: random.random_bool(0.5), period: millis(random, 30, 400) },
        Kind::Delay => Fault::Delay { delay: millis(random, 5, 150), jitter: millis(random, 0, 100) },
        Kind::Loss => Fault::Loss(random.random_range(5..=40)),
        Kind::Duplication => Fault::Duplication(random.random_range(5..=50)),
        Kind::Reordering => Fault::Reordering(random.random_range(5..=50)),
        Kind::ClockStep => Fault::ClockStep { nodes: some(random), seconds: seconds(random) },
        Kind::DiskError => disk_error(random),
        Kind::SlowDisk => Fault::SlowDisk { nodes: some(random), sync: slowness(random) },
        Kind::FullDisk => Fault::FullDisk,
    };
    let mut order: Vec<usize> = (0..nodes).collect();
    order.shuffle(random);
    let leader_of =
        random.random_bool(LEADER_SHARE).then(|| apps::ALL[random.random_range(0..apps::ALL.len())]);
    Strike { fault, leader_of: leader_of.filter(|_| fault.victims() > 0), order }
}

/// Seconds, minutes or hours, forth or back; less than certificates are valid before they were made, and than a history lasts.
fn seconds(random: &mut StdRng) -> i64 {
    let seconds = match random.random_range(0..3) {
        0 => random.random_range(1..60),
        1 => random.random_range(60..3_600),
        _ => random.random_range(3_600..4 * 3_600),
    };
    if random.random_bool(0.5) { seconds } else { -seconds }
}

/// Any call that a node of a cluster that was founded can come to: soon when it starts, some time later while it works.
fn disk_error(random: &mut StdRng) -> Fault {
    let can_come = |point: &&Point| matches!(point.stage(), Stage::Opening | Stage::Working);
    let points: Vec<Point> = Point::ALL.iter().filter(can_come).copied().collect();
    let point = points[random.random_range(0..points.len())];
    let passes = match point.stage() {
        Stage::Working => random.random_range(0..50),
        _ => random.random_range(0..2),
    };
    Fault::DiskError { point, passes }
}

/// Mostly as a disk is that has much to do, now and then as one that is about to break.
fn slowness(random: &mut StdRng) -> Duration {
    if random.random_bool(0.8) { millis(random, 20, 400) } else { millis(random, 1_000, 3_000) }
}

fn millis(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..=to))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut begins = Duration::ZERO;
        for Step { calm, strikes, hold } in &self.steps {
            begins += *calm;
            let strikes: Vec<String> = strikes.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "{:6.1} s  for {:>4} ms: {}",
                begins.as_secs_f64(),
                hold.as_millis(),
                strikes.join("; ")
            )?;
            begins += *hold;
        }
        Ok(())
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Strike { fault, leader_of, order } = self;
        write!(f, "{fault}")?;
        if fault.victims() == 0 {
            return Ok(());
        }
        if let Some(app) = leader_of {
            write!(f, " {} of", fault.victims())?;
            write!(f, " the leader of application {app},")?;
        }
        let shown = if leader_of.is_some() { order.len() } else { fault.victims() };
        for node in &order[..shown] {
            write!(f, " node{}", node + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KINDS: &[Kind] = &[
        Kind::Kill,
        Kind::KillAll,
        Kind::Pause,
        Kind::Isolate,
        Kind::CutLink,
        Kind::OneWay,
        Kind::Flap,
        Kind::Delay,
        Kind::Loss,
        Kind::Duplication,
        Kind::Reordering,
        Kind::ClockStep,
        Kind::DiskError,
        Kind::SlowDisk,
        Kind::FullDisk,
    ];

    #[test]
    fn a_seed_always_gives_the_same_schedule() {
        let length = Duration::from_secs(60);
        for seed in 0..20 {
            assert_eq!(Schedule::draw(seed, 5, length, KINDS), Schedule::draw(seed, 5, length, KINDS));
        }
        assert_ne!(Schedule::draw(1, 3, length, KINDS), Schedule::draw(2, 3, length, KINDS));
        assert_ne!(Schedule::of_each_kind(1, 3, KINDS), Schedule::of_each_kind(2, 3, KINDS));
    }

    #[test]
    fn each_kind_comes_and_lasts() {
        for (seed, nodes) in (0..50).flat_map(|seed| [(seed, 3), (seed, 5)]) {
            let drawn = Schedule::draw(seed, nodes, Duration::from_secs(60), KINDS);
            let once = Schedule::of_each_kind(seed, nodes, KINDS);
            assert_eq!(once.steps.len(), KINDS.len());
            for schedule in [drawn, once] {
                let strikes = schedule.steps.iter().flat_map(|step| &step.strikes);
                let kinds: BTreeSet<Kind> = strikes.clone().map(|strike| strike.fault.kind()).collect();
                assert_eq!(kinds, KINDS.iter().copied().collect());
                assert!(strikes.clone().all(|strike| strike.fault.victims() <= strike.order.len()));
            }
        }
    }
}
