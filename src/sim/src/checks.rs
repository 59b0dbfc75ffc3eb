//! What must hold, whatever happens. The checks watch messages that are sent, disks, decrees that are handed out,
//! and answers that clients get; they never ask the core for its opinion.
//!
//! [`protocol`] holds what Paxos promises about ballots, votes and slots, [`state`] what follows for the replicated
//! state and its readers, [`leases`] what time does to it. The first violation is kept, and ends the run.

pub mod leases;
pub mod protocol;
pub mod state;

use std::fmt;

use synod_machine::{Applied, Machine};
use synod_types::{AppNdx, Decree};

use leases::LeaseChecks;
use protocol::ProtocolChecks;
use state::StateChecks;

/// A promise of the system that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub check: &'static str,
    /// How.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.how)
    }
}

/// The first violation, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Option<Violation>);

impl Verdict {
    /// Demands that `holds`; `how` tells what is wrong otherwise.
    pub fn demand(&mut self, holds: bool, check: &'static str, how: impl FnOnce() -> String) {
        if !holds && self.0.is_none() {
            self.0 = Some(Violation { check, how: how() });
        }
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.0.as_ref()
    }
}

/// All checks of one world.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Ballots, votes, slots.
    pub protocol: ProtocolChecks,
    /// States, receipts, reads.
    pub state: StateChecks,
    /// Leases.
    pub leases: LeaseChecks,
    /// What came of them.
    pub verdict: Verdict,
}

impl Checks {
    /// Nothing has happened yet in a cluster of `nodes`, the first `members` of which vote, with `groups` groups.
    pub fn new(nodes: usize, members: usize, groups: usize) -> Checks {
        Checks {
            protocol: ProtocolChecks::new(nodes, members, groups),
            state: StateChecks::new(nodes, groups),
            leases: LeaseChecks::new(nodes, groups),
            verdict: Verdict::default(),
        }
    }

    /// A node applied a decree: `machine` is the state behind it.
    pub fn on_applied(
        &mut self,
        node: usize,
        app: AppNdx,
        decree: &Decree,
        machine: &Machine,
        applied: &[Applied],
    ) {
        self.state.on_applied(node, app, machine, applied, &mut self.verdict);
        self.leases.on_applied(app, decree, machine.state(), applied, &mut self.verdict);
    }
}
