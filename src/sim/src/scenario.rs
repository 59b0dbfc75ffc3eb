//! Stories of one fault each, told in text: what is done to a small cluster, step by step, and the trace that it
//! must give. The files are in `scenarios/`; [`steps`] has the language.
//!
//! Nothing in a scenario is left to chance: every message takes 5 ms, every sync 1 ms, and every client's message 1 ms,
//! unless the scenario says otherwise.

pub mod steps;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use synod_types::{AppNdx, Digest, Slot};

use crate::broken::Mistake;
use crate::checks::Violation;
use crate::client::{Answer, Doing};
use crate::disk::CrashLoss;
use crate::network::Weather;
use crate::operations;
use crate::random::Random;
use crate::swarm::Plan;
use crate::trace::{Kept, Show, Sink};
use crate::world::World;
use steps::{Expectation, Setup, Step, StepError};

/// The application of every scenario.
const APP: AppNdx = AppNdx(1);
/// Between the steps and the trace.
const SEPARATOR: &str = "---\n";

/// Why a scenario is not as it is told.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read or written.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// A line is not a step.
    #[error("line {line}: {error}")]
    Step {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        error: StepError,
    },
    /// Something is not as the scenario expects.
    #[error("line {line}: {what}; the trace so far:\n{trace}")]
    Unexpected {
        /// Which line.
        line: usize,
        /// What is instead.
        what: String,
        /// What happened until then.
        trace: String,
    },
    /// A check was violated.
    #[error("line {line}: violates {violation}; the trace so far:\n{trace}")]
    Violation {
        /// Which line.
        line: usize,
        /// What was violated.
        violation: Violation,
        /// What happened until then.
        trace: String,
    },
    /// The trace is another one.
    #[error(
        "the trace differs in its line {line}: told is {told:?}, played is {played:?}; \
         if that is right, UPDATE_SCENARIOS=1 cargo test -p synod-sim --test scenarios rewrites it"
    )]
    Trace {
        /// The first line that differs, from 1.
        line: usize,
        /// What the file says.
        told: String,
        /// What happened.
        played: String,
    },
}

/// Plays the scenario in a file and compares its trace with what the file tells.
///
/// # Errors
/// [`ScenarioError`] says where they part.
pub fn check_file(file: &Path) -> Result<(), ScenarioError> {
    let text = fs::read_to_string(file)?;
    let (steps, told) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
    let played = play(steps)?;
    let mut lines = told.lines();
    for (place, played) in played.iter().enumerate() {
        let told = lines.next().unwrap_or("(the end)");
        if told != played {
            return Err(difference(place, told, played));
        }
    }
    lines.next().map_or(Ok(()), |told| Err(difference(played.len(), told, "(the end)")))
}

fn difference(place: usize, told: &str, played: &str) -> ScenarioError {
    ScenarioError::Trace { line: place + 1, told: told.to_owned(), played: played.to_owned() }
}

/// Plays the scenario in a file and writes its trace there.
///
/// # Errors
/// [`ScenarioError`] if it cannot be played to its end.
pub fn rewrite_file(file: &Path) -> Result<(), ScenarioError> {
    let text = fs::read_to_string(file)?;
    let (steps, _) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
    let trace: String = play(steps)?.iter().map(|line| format!("{line}\n")).collect();
    Ok(fs::write(file, format!("{}\n\n{SEPARATOR}{trace}", steps.trim_end()))?)
}

/// Plays the steps of a scenario; returns its trace.
///
/// # Errors
/// [`ScenarioError`] if it cannot be played to its end.
pub fn play(steps: &str) -> Result<Vec<String>, ScenarioError> {
    play_with(steps, None)
}

/// Plays the steps of a scenario with something wrong on purpose.
///
/// # Errors
/// [`ScenarioError`] if it cannot be played to its end.
pub fn play_with(steps: &str, mistake: Option<Mistake>) -> Result<Vec<String>, ScenarioError> {
    let mut stage: Option<Stage> = None;
    let mut plan = Plan::calm(3);
    for (place, text) in steps.lines().enumerate() {
        let line = place + 1;
        let Some(step) = Step::parse(text).map_err(|error| ScenarioError::Step { line, error })? else {
            continue;
        };
        match (step, &mut stage) {
            (Step::Setup(setup), None) => set_up(setup, &mut plan),
            (Step::Setup(_), Some(_)) => {
                return Err(ScenarioError::Step { line, error: StepError::SetupTooLate });
            }
            (step, stage) => {
                let stage = stage.get_or_insert_with(|| Stage::new(plan.clone(), mistake));
                stage.perform(step).map_err(|what| stage.unexpected(line, what))?;
                if let Some(violation) = stage.world.violation().cloned() {
                    return Err(ScenarioError::Violation { line, violation, trace: stage.story() });
                }
            }
        }
    }
    let mut stage = stage.unwrap_or_else(|| Stage::new(plan, mistake));
    stage.collect();
    Ok(stage.told)
}

fn set_up(setup: Setup, plan: &mut Plan) {
    match setup {
        Setup::Voters(members) => plan.members = members,
        Setup::Nodes(nodes) => {
            *plan = Plan { nodes, members: nodes, clocks: Plan::calm(nodes).clocks, ..plan.clone() }
        }
        Setup::Delay(delay_ms) => plan.weather = Weather::calm(delay_ms),
        Setup::Pipeline(slots) => plan.pipeline_slots = slots,
        Setup::Snapshots(slots) => plan.snapshot_slots = Some(slots),
        Setup::Spread(rounds) => plan.spread_rounds = rounds,
        Setup::Keep(slots) => plan.kept_slots = Some(slots),
        Setup::Upgrades => plan.upgrades = true,
    }
}

/// A world in which a scenario is played.
struct Stage {
    world: World,
    told: Vec<String>,
    hushed: bool,
    /// What each client was told last.
    answers: Vec<Option<Answer>>,
}

impl Stage {
    fn new(plan: Plan, mistake: Option<Mistake>) -> Stage {
        let mut world = World::new(plan, Random::new(0), Sink::Keep(Kept::default()), mistake);
        world.clients_begin = false;
        let answers = vec![None; world.clients.len()];
        Stage { world, told: Vec::new(), hushed: false, answers }
    }

    fn perform(&mut self, step: Step) -> Result<(), String> {
        let world = &mut self.world;
        let nodes = world.nodes.len();
        match step {
            Step::Setup(_) => {}
            Step::Trace(on) => {
                self.collect();
                self.hushed = !on;
            }
            Step::Run(for_ms) => self.run(for_ms),
            Step::StartAll => (0..nodes).for_each(|node| world.start(node)),
            Step::Start(node) => world.start(node),
            Step::Crash(node, loss) => world.crash(node, loss),
            Step::Members(nodes) => world.want(&nodes),
            Step::Retire => world.retire(),
            Step::Program(node, levels) => world.install(node, levels),
            Step::HandOver(node, to) => world.hand_over(node, to),
            Step::Pause(node, for_ms) => world.nodes[node].paused_until_ms = world.now_ms + for_ms,
            Step::SlowDisk(node, ms) => world.nodes[node].sync_ms = ms..=ms,
            Step::SyncError(node) => world.nodes[node].sync_fails = true,
            Step::Damage(node, slot) => {
                if !world.damage(node, APP, slot) {
                    return Err(format!("there is nothing to damage in slot {slot}"));
                }
            }
            Step::DamageSnapshot(node) => {
                if !world.damage_snapshot(node, APP) {
                    return Err("there is no snapshot to damage".to_owned());
                }
            }
            Step::LoseEnd(node, writes) => {
                if !world.lose_end(node, writes) {
                    return Err("there is nothing to lose".to_owned());
                }
            }
            Step::Clock(node, by_ms) => world.nodes[node].clock.jump(by_ms),
            Step::Cut(from, to) => world.network.cut(from, to),
            Step::CutBoth(one, other) => world.network.cut_both(one, other),
            Step::Isolate(node) => world.network.isolate(node),
            Step::Split(sides) => {
                let side = |node: usize| sides.iter().position(|side| side.contains(&node));
                world.network.split(|node| side(node).unwrap_or(usize::MAX));
            }
            Step::Lose(filter) => world.network.lose(filter),
            Step::Road(from, to, delay_ms) => {
                let weather = Weather { reorder: true, ..Weather::calm(delay_ms) };
                world.network.set_road(from, to, Some(weather));
            }
            Step::Heal => world.network.heal(),
            Step::Put { key, value, node, client } => {
                self.command(operations::put(&key, &value), node, client);
            }
            Step::Lease { ttl_ms, node, client } => {
                self.command(operations::grant_lease(ttl_ms), node, client);
            }
            Step::KeepAlive { lease, node, client } => {
                self.command(operations::keep_alive(lease), node, client);
            }
            Step::Raise { to, node, client } => self.command(operations::raise(to), node, client),
            Step::Repeat { node, client } => {
                if matches!(world.clients[client].doing, Doing::Nothing) {
                    world.clients[client].again();
                }
                self.answers[client] = None;
                world.ask(client, node);
            }
            Step::Read { linearizable, node, client } => {
                let floor = world.checks.state.floor(APP);
                world.clients[client].read(linearizable, floor);
                self.answers[client] = None;
                world.ask(client, node);
            }
            Step::Expect(expectation) => return self.expect(&expectation),
        }
        Ok(())
    }

    fn command(&mut self, operation: Bytes, node: usize, client: usize) {
        let id = self.world.clients[client].command(operation);
        self.world.checks.state.on_submitted(APP, id);
        self.answers[client] = None;
        self.world.ask(client, node);
    }

    fn run(&mut self, for_ms: u64) {
        let until_ms = self.world.now_ms + for_ms;
        while self.world.step(until_ms).is_some() && self.world.violation().is_none() {
            for finished in self.world.finished.drain(..) {
                self.answers[finished.client] = Some(finished.answer);
            }
        }
    }

    fn expect(&self, expectation: &Expectation) -> Result<(), String> {
        let world = &self.world;
        let found = |holds: bool, found: String| if holds { Ok(()) } else { Err(found) };
        match expectation {
            Expectation::Leader(expected) => {
                let leader = world.leader(APP);
                found(leader == *expected, format!("the leader is {:?}", leader.map(|node| node + 1)))
            }
            Expectation::OtherLeader(other) => {
                let leader = world.leader(APP);
                let holds = leader.is_some_and(|leader| leader != *other);
                found(holds, format!("the leader is {:?}", leader.map(|node| node + 1)))
            }
            Expectation::Stopped(node) => found(!world.nodes[*node].is_up(), format!("n{} runs", node + 1)),
            Expectation::Chosen(node, slot) => {
                let chosen = world.nodes[*node].status(APP).map_or(Slot(0), |status| status.chosen);
                found(chosen == *slot, format!("n{} has chosen to slot {chosen}", node + 1))
            }
            Expectation::State(node, state_ndx) => {
                let at = world.nodes[*node].machine(APP).map(|machine| machine.state().state_ndx);
                found(at == Some(*state_ndx), format!("n{} is in state {at:?}", node + 1))
            }
            Expectation::Lease(node, lease, expected) => {
                let leases =
                    world.nodes[*node].machine(APP).map(|machine| operations::leases(machine.state()));
                let is_there = leases.as_ref().is_some_and(|leases| leases.contains(lease));
                found(is_there == *expected, format!("n{} has the leases {leases:?}", node + 1))
            }
            Expectation::Agreement => {
                let standing = |node: &crate::node::Node| -> Option<(Slot, Digest)> {
                    let machine = node.machine(APP)?;
                    Some((machine.state().applied, machine.digest()))
                };
                let all: Vec<_> = world.nodes.iter().filter_map(standing).collect();
                found(all.windows(2).all(|pair| pair[0] == pair[1]), format!("nodes stand at {all:?}"))
            }
            Expectation::Answer(client, text) => {
                let answer = self.answers[*client].as_ref().map(|answer| Show(answer).to_string());
                found(answer.as_ref() == Some(text), format!("c{} was told {answer:?}", client + 1))
            }
            Expectation::NoAnswer(client) => {
                let answer = &self.answers[*client];
                found(answer.is_none(), format!("c{} was told {answer:?}", client + 1))
            }
        }
    }

    fn collect(&mut self) {
        let lines = self.world.trace.take_kept();
        if !self.hushed {
            self.told.extend(lines);
        }
    }

    fn story(&mut self) -> String {
        self.told.extend(self.world.trace.take_kept());
        self.told.join("\n")
    }

    fn unexpected(&mut self, line: usize, what: String) -> ScenarioError {
        ScenarioError::Unexpected { line, what, trace: self.story() }
    }
}

/// What a crash does, in the words of a scenario.
pub fn crash_loss(words: &[&str]) -> Option<CrashLoss> {
    match words {
        [] => Some(CrashLoss::Everything),
        ["keeping", "all"] => Some(CrashLoss::Nothing),
        ["torn"] => Some(CrashLoss::Some { lost_per_mille: 1000, torn_per_mille: 1000 }),
        _ => None,
    }
}
