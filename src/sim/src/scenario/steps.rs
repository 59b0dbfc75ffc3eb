//! The language of scenarios: one step a line, words apart by spaces, `#` begins a comment. Nodes and clients count
//! from 1.
//!
//! ```text
//! nodes 5 | voters 3 | delay 5ms | pipeline 1 | snapshots 2 | keep 1 | spread 20   before anything else
//! upgrades                                               the cluster begins on the first level; before anything else, too
//! start | start 2 | crash 2 | crash 2 keeping all | crash 2 torn
//! program 2 level 1 | program 2 newest                    what a node that is down is started with from now on
//! hand-over 1 to 2
//! members 2 4 5                                          these are to vote from now on
//! retire                                                 who is to vote no more goes for ever, if nobody needs it any more
//! pause 2 300ms | slow-disk 2 300ms | sync-error 2 | damage 2 slot 3 | damage 2 snapshot | clock 2 +5000ms
//! lose-end 2 3                                           the last three writes of a node that is down are gone
//! cut 1 2 | cut 1 > 2 | isolate 3 | split 1 2 | 3 4 5 | lose Accept 1 > 3 | heal
//! road 1 > 3 500ms                                       what is sent now takes so long and may be overtaken
//! run 500ms
//! lease 1000ms at 1 by c1 | keep-alive 1 at 1 by c1        a lease is named by the state that granted it
//! raise 2 at 1 by c1                                      to this level
//! put KEY VALUE at 1 by c1 | repeat at 2 by c1 | read at 2 by c1 | read local at 2 by c1
//! expect leader 1 | expect leader not 1 | expect no leader | expect chosen 3 at 2 | expect state 2 at 3 | expect agreement
//! expect lease 1 at 2 | expect no lease 1 at 2
//! expect stopped 2
//! expect answer c1: receipt of seq 1 in state 1 | expect no answer c1
//! trace off | trace on                                     what is not worth reading
//! ```

use synod_types::versions::LEVELS;
use synod_types::{Level, Slot, StateNdx, Versions};

use crate::disk::CrashLoss;
use crate::network::Filter;
use crate::scenario::crash_loss;

/// Why a line is not a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It is none of the language's.
    #[error("{0:?} is not a step; src/sim/src/scenario/steps.rs has the language")]
    Unknown(String),
    /// The cluster is there already.
    #[error("the cluster is set up before the first step")]
    SetupTooLate,
}

/// What kind of cluster it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// So many nodes.
    Nodes(usize),
    /// So many of them vote at the beginning.
    Voters(usize),
    /// Messages take so long.
    Delay(u64),
    /// Slots that a leader keeps open.
    Pipeline(usize),
    /// Decrees between two snapshots.
    Snapshots(u64),
    /// Slots that a log keeps before the last snapshot.
    Keep(u64),
    /// Rounds for which a leader leads that is not the preferred one.
    Spread(u32),
    /// Its applications begin on the first level.
    Upgrades,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the module's own documentation tells them all, as they are written")]
pub enum Step {
    Setup(Setup),
    Trace(bool),
    Run(u64),
    StartAll,
    Start(usize),
    Crash(usize, CrashLoss),
    Program(usize, Versions),
    HandOver(usize, usize),
    Members(Vec<usize>),
    Retire,
    Pause(usize, u64),
    SlowDisk(usize, u64),
    SyncError(usize),
    Damage(usize, Slot),
    DamageSnapshot(usize),
    LoseEnd(usize, usize),
    Clock(usize, i64),
    Cut(usize, usize),
    CutBoth(usize, usize),
    Isolate(usize),
    Split(Vec<Vec<usize>>),
    Lose(Filter),
    Road(usize, usize, u64),
    Heal,
    Put { key: String, value: String, node: usize, client: usize },
    Lease { ttl_ms: u64, node: usize, client: usize },
    KeepAlive { lease: StateNdx, node: usize, client: usize },
    Raise { to: Level, node: usize, client: usize },
    Repeat { node: usize, client: usize },
    Read { linearizable: bool, node: usize, client: usize },
    Expect(Expectation),
}

/// What a scenario expects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// This node leads, or none.
    Leader(Option<usize>),
    /// Another node than this leads.
    OtherLeader(usize),
    /// A node does not run.
    Stopped(usize),
    /// A node has chosen so far.
    Chosen(usize, Slot),
    /// A node is in this state.
    State(usize, StateNdx),
    /// All nodes that run are in the same state.
    Agreement,
    /// A node's state has this lease, or has it no more.
    Lease(usize, StateNdx, bool),
    /// A client was told this.
    Answer(usize, String),
    /// A client was told nothing.
    NoAnswer(usize),
}

impl Step {
    /// Reads a line; `None` if there is nothing in it.
    ///
    /// # Errors
    /// [`StepError`] if it is not a step.
    pub fn parse(line: &str) -> Result<Option<Step>, StepError> {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            return Ok(None);
        }
        step(&words).map(Some).ok_or_else(|| StepError::Unknown(words.join(" ")))
    }
}

fn step(words: &[&str]) -> Option<Step> {
    let step = match words {
        ["nodes", nodes] => Step::Setup(Setup::Nodes(nodes.parse().ok()?)),
        ["voters", voters] => Step::Setup(Setup::Voters(voters.parse().ok()?)),
        ["delay", delay] => Step::Setup(Setup::Delay(ms(delay)?)),
        ["pipeline", slots] => Step::Setup(Setup::Pipeline(slots.parse().ok()?)),
        ["snapshots", slots] => Step::Setup(Setup::Snapshots(slots.parse().ok()?)),
        ["spread", rounds] => Step::Setup(Setup::Spread(rounds.parse().ok()?)),
        ["keep", slots] => Step::Setup(Setup::Keep(slots.parse().ok()?)),
        ["upgrades"] => Step::Setup(Setup::Upgrades),
        ["trace", "on"] => Step::Trace(true),
        ["trace", "off"] => Step::Trace(false),
        ["run", for_ms] => Step::Run(ms(for_ms)?),
        ["start"] => Step::StartAll,
        ["start", node] => Step::Start(node_of(node)?),
        ["crash", node, how @ ..] => Step::Crash(node_of(node)?, crash_loss(how)?),
        ["program", node, "level", level] => {
            Step::Program(node_of(node)?, Versions { max: level.parse().ok()?, ..LEVELS })
        }
        ["program", node, "newest"] => Step::Program(node_of(node)?, LEVELS),
        ["hand-over", node, "to", other] => Step::HandOver(node_of(node)?, node_of(other)?),
        ["members", nodes @ ..] => {
            Step::Members(nodes.iter().map(|node| node_of(node)).collect::<Option<_>>()?)
        }
        ["retire"] => Step::Retire,
        ["pause", node, for_ms] => Step::Pause(node_of(node)?, ms(for_ms)?),
        ["slow-disk", node, takes] => Step::SlowDisk(node_of(node)?, ms(takes)?),
        ["sync-error", node] => Step::SyncError(node_of(node)?),
        ["damage", node, "snapshot"] => Step::DamageSnapshot(node_of(node)?),
        ["lose-end", node, writes] => Step::LoseEnd(node_of(node)?, writes.parse().ok()?),
        ["damage", node, "slot", slot] => Step::Damage(node_of(node)?, slot.parse().ok()?),
        ["clock", node, by] => Step::Clock(node_of(node)?, by.strip_suffix("ms")?.parse().ok()?),
        ["cut", from, ">", to] => Step::Cut(node_of(from)?, node_of(to)?),
        ["cut", one, other] => Step::CutBoth(node_of(one)?, node_of(other)?),
        ["isolate", node] => Step::Isolate(node_of(node)?),
        ["split", sides @ ..] => Step::Split(sides_of(sides)?),
        ["lose", kind, from, ">", to] => {
            Step::Lose(Filter { kind: (*kind).to_owned(), from: node_of(from)?, to: node_of(to)? })
        }
        ["road", from, ">", to, takes] => Step::Road(node_of(from)?, node_of(to)?, ms(takes)?),
        ["heal"] => Step::Heal,
        ["put", key, value, "at", node, "by", client] => Step::Put {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            node: node_of(node)?,
            client: client_of(client)?,
        },
        ["lease", ttl, "at", node, "by", client] => {
            Step::Lease { ttl_ms: ms(ttl)?, node: node_of(node)?, client: client_of(client)? }
        }
        ["keep-alive", lease, "at", node, "by", client] => {
            Step::KeepAlive { lease: lease.parse().ok()?, node: node_of(node)?, client: client_of(client)? }
        }
        ["raise", to, "at", node, "by", client] => {
            Step::Raise { to: Level(to.parse().ok()?), node: node_of(node)?, client: client_of(client)? }
        }
        ["repeat", "at", node, "by", client] => {
            Step::Repeat { node: node_of(node)?, client: client_of(client)? }
        }
        ["read", "at", node, "by", client] => {
            Step::Read { linearizable: true, node: node_of(node)?, client: client_of(client)? }
        }
        ["read", "local", "at", node, "by", client] => {
            Step::Read { linearizable: false, node: node_of(node)?, client: client_of(client)? }
        }
        ["expect", expectation @ ..] => Step::Expect(expected(expectation)?),
        _ => return None,
    };
    Some(step)
}

fn expected(words: &[&str]) -> Option<Expectation> {
    let expectation = match words {
        ["leader", node] => Expectation::Leader(Some(node_of(node)?)),
        ["leader", "not", node] => Expectation::OtherLeader(node_of(node)?),
        ["stopped", node] => Expectation::Stopped(node_of(node)?),
        ["no", "leader"] => Expectation::Leader(None),
        ["chosen", slot, "at", node] => Expectation::Chosen(node_of(node)?, slot.parse().ok()?),
        ["state", state_ndx, "at", node] => Expectation::State(node_of(node)?, state_ndx.parse().ok()?),
        ["agreement"] => Expectation::Agreement,
        ["lease", lease, "at", node] => Expectation::Lease(node_of(node)?, lease.parse().ok()?, true),
        ["no", "lease", lease, "at", node] => Expectation::Lease(node_of(node)?, lease.parse().ok()?, false),
        ["answer", client, text @ ..] => {
            Expectation::Answer(client_of(client.strip_suffix(':')?)?, text.join(" "))
        }
        ["no", "answer", client] => Expectation::NoAnswer(client_of(client)?),
        _ => return None,
    };
    Some(expectation)
}

fn ms(word: &str) -> Option<u64> {
    word.strip_suffix("ms")?.parse().ok()
}

fn node_of(word: &str) -> Option<usize> {
    word.parse::<usize>().ok()?.checked_sub(1)
}

fn client_of(word: &str) -> Option<usize> {
    node_of(word.strip_prefix('c')?)
}

fn sides_of(words: &[&str]) -> Option<Vec<Vec<usize>>> {
    words.split(|word| *word == "|").map(|side| side.iter().map(|word| node_of(word)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let step = |line| Step::parse(line).unwrap();
        assert_eq!(step("  # nothing"), None);
        assert_eq!(step("run 20ms # for a while"), Some(Step::Run(20)));
        assert_eq!(step("split 1 | 2 3"), Some(Step::Split(vec![vec![0], vec![1, 2]])));
        assert_eq!(step("clock 2 -50ms"), Some(Step::Clock(1, -50)));
        assert_eq!(step("expect no leader"), Some(Step::Expect(Expectation::Leader(None))));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for line in ["runn 20ms", "run 20", "start 0", "crash 1 softly", "put a at 1 by c1"] {
            assert!(matches!(Step::parse(line), Err(StepError::Unknown(_))), "{line}");
        }
    }
}
