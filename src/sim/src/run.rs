//! What one seed does: a storm; then a majority that works again and must make progress; then peace, in which all
//! must agree and every client must get its answer.

use std::panic;

use synod_types::{AppNdx, StateNdx};

use crate::broken::Mistake;
use crate::checks::Violation;
use crate::checks::protocol::NodeSet;
use crate::disk::CrashLoss;
use crate::operations;
use crate::random::Random;
use crate::storm::Storm;
use crate::swarm::Plan;
use crate::trace::Sink;
use crate::world::{Step, World};

/// Virtual time in which a healed majority must execute a command of each application.
const PROGRESS_MS_MAX: u64 = 60_000;
/// Virtual time in which a healed cluster must agree.
const PEACE_MS_MAX: u64 = 60_000;
/// Virtual time in which the longest lease must run out in peace: the slowest clocks run at two fifths of the right speed,
/// and may be drawn back by a wall clock that was set.
const LEASE_MS_MAX: u64 = operations::LEASE_MS_MAX * 5 / 2 * 20 / 19 + 1000;
/// Virtual time between two looks whether that is so.
const LOOK_MS: u64 = 100;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Happenings.
    pub events: u64,
    /// Virtual time.
    pub virtual_ms: u64,
    /// The hash of the trace.
    pub trace_hash: u64,
    /// What was violated, if anything was.
    pub violation: Option<Violation>,
}

/// Runs a seed to its end, or to the first violation.
pub fn run(seed: u64, sink: Sink, mistake: Option<Mistake>) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    let mut world = World::new(plan.clone(), random, sink, mistake);
    world.note(format_args!("{plan:?}"));
    live(plan, &mut world);
    Report {
        seed,
        events: world.events,
        virtual_ms: world.now_ms,
        trace_hash: world.trace.hash(),
        violation: world.violation().cloned(),
    }
}

/// Like [`run`], silently; a panic in the code under test is a violation as well.
pub fn run_caught(seed: u64, mistake: Option<Mistake>) -> Report {
    let caught = panic::catch_unwind(|| run(seed, Sink::Silent, mistake));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        let violation =
            Violation { check: "an invariant of the code holds", how: format!("it panics: {text}") };
        Report { seed, events: 0, virtual_ms: 0, trace_hash: 0, violation: Some(violation) }
    })
}

fn live(plan: Plan, world: &mut World) {
    for node in 0..plan.nodes {
        world.start(node);
    }
    for client in 0..world.clients.len() {
        let in_ms = world.random.within(0..=1000);
        world.wake_in(client, in_ms);
    }
    let stormy_ms = plan.stormy_ms;
    let mut storm = Storm::begin(plan, world);
    pass(world, stormy_ms, &mut storm);
    if world.violation().is_some() {
        return;
    }
    storm.end(world);
    heal_majority(world);
    let before: Vec<(AppNdx, StateNdx)> =
        world.apps().into_iter().map(|app| (app, world.checks.state.reached(app))).collect();
    let progress =
        |world: &World| before.iter().all(|(app, reached)| world.checks.state.acknowledged(*app) > *reached);
    if !wait(world, PROGRESS_MS_MAX, progress, &mut storm) {
        return fail(world, "a majority makes progress", PROGRESS_MS_MAX);
    }
    world.note(format_args!("peace"));
    world.network.heal();
    world.clients_begin = false;
    for node in 0..world.nodes.len() {
        world.start(node);
    }
    if !wait(world, PEACE_MS_MAX, World::is_settled, &mut storm) {
        return fail(world, "a healed cluster agrees and answers", PEACE_MS_MAX);
    }
    world.check_end();
    if !wait(world, LEASE_MS_MAX, |world| world.checks.leases.count() == 0, &mut storm) {
        return fail(world, "a lease that nobody keeps alive runs out", LEASE_MS_MAX);
    }
    if !wait(world, PEACE_MS_MAX, World::is_settled, &mut storm) {
        return fail(world, "a healed cluster agrees and answers", PEACE_MS_MAX);
    }
    world.check_end();
}

/// Leaves a majority that works, of each group's members and of nodes whose disks were never damaged; the others are down or
/// cut off.
fn heal_majority(world: &mut World) {
    let count = world.nodes.len();
    let mut candidates: Vec<usize> = world.present().filter(|node| !world.damaged().contains(node)).collect();
    world.random.shuffle(&mut candidates);
    let needed: Vec<NodeSet> = world
        .apps()
        .into_iter()
        .flat_map(|app| world.checks.protocol.needed(app))
        .chain(world.wanted_anywhere())
        .collect();
    let mut sound = Vec::new();
    for node in candidates {
        let healed: NodeSet = sound.iter().copied().collect();
        if needed.iter().any(|members| members.contains(node) && !members.is_met_by(healed)) {
            sound.push(node);
        }
    }
    world.note(format_args!("nodes {:?} are healed", sound.iter().map(|node| node + 1).collect::<Vec<_>>()));
    for node in 0..count {
        if sound.contains(&node) {
            world.start(node);
        } else if world.random.chance(500) {
            world.crash(node, CrashLoss::Nothing);
        } else {
            world.network.isolate(node);
        }
    }
}

/// Lets `for_ms` pass. Says whether nothing was violated.
fn pass(world: &mut World, for_ms: u64, storm: &mut Storm) -> bool {
    let until_ms = world.now_ms + for_ms;
    while let Some(step) = world.step(until_ms) {
        if let Step::Alarm(alarm) = step {
            storm.on_alarm(alarm, world);
        }
        world.finished.clear();
        if world.violation().is_some() {
            return false;
        }
    }
    true
}

/// Lets time pass until `done`, at most `max_ms`. Says whether it is done, or there is a violation already.
fn wait(world: &mut World, max_ms: u64, done: impl Fn(&World) -> bool, storm: &mut Storm) -> bool {
    let until_ms = world.now_ms + max_ms;
    while world.now_ms < until_ms {
        if !pass(world, LOOK_MS, storm) || done(world) {
            return true;
        }
    }
    false
}

fn fail(world: &mut World, check: &'static str, max_ms: u64) {
    let standing = |app: AppNdx| {
        let nodes = world.nodes.iter().enumerate();
        nodes
            .map(move |(node, at)| format!("\n  n{} app {app}: {:?}", node + 1, at.status(app)))
            .collect::<String>()
    };
    let standing: String = world.apps().into_iter().map(standing).collect();
    world.checks.verdict.demand(false, check, || format!("not within {max_ms} ms{standing}"));
}
