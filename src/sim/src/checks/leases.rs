//! What holds of leases, by the world's own account of when things came to a leader: none runs out early, a new term gives
//! each its whole time again, a keep-alive that came before a tick counts, and those that are kept are those that should be.
//!
//! Time is measured as a leader can know it: on its monotonic clock, and only while its driver was attended. The account
//! is kept apart from the leader's own, and knows nothing of wall clocks.

use std::collections::BTreeMap;

use synod_app_kv::{KvOp, KvReply};
use synod_machine::{Applied, View};
use synod_paxos::clock::{DRAW_PARTS, GAP_US_MAX};
use synod_types::command::Operation;
use synod_types::{
    AppNdx, Ballot, Batch, CommandBody, CommandId, Decree, Outcome, SignedCommand, Slot, StateNdx, TimeMs,
};

use crate::checks::Verdict;
use crate::disk::group;
use crate::operations;

/// What rounding to milliseconds may take from a lease.
const ROUNDING_US: u64 = 3000;

/// The truth about leases.
#[derive(Clone, Debug)]
pub struct LeaseChecks {
    nodes: Vec<Attended>,
    groups: Vec<GroupLeases>,
}

/// For how long a node's driver was attended, by its monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Attended {
    read_us: u64,
    total_us: u64,
}

#[derive(Clone, Debug, Default)]
struct GroupLeases {
    /// The last slot that any node has applied.
    applied: Slot,
    /// The term of the last decree, if it was a batch.
    term: Option<Ballot>,
    /// When commands and ticks came to the leader of a term first, on its clock.
    came: BTreeMap<(Ballot, What), u64>,
    /// Keep-alives that came to a leader and are in no decree that was applied.
    awaited: BTreeMap<CommandId, (Ballot, u64, Vec<StateNdx>)>,
    /// The leases that there are.
    leases: BTreeMap<StateNdx, Life>,
}

/// What comes to a leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Command(CommandId),
    Tick(TimeMs),
}

/// A lease.
#[derive(Clone, Copy, Debug)]
struct Life {
    ttl_us: u64,
    /// The last sign of life, on the clock of the leader to which it came.
    since_us: u64,
}

impl LeaseChecks {
    /// There are no leases in a cluster of `nodes` with `groups` groups.
    pub fn new(nodes: usize, groups: usize) -> LeaseChecks {
        LeaseChecks { nodes: vec![Attended::default(); nodes], groups: vec![GroupLeases::default(); groups] }
    }

    /// A node's driver is attended, and its monotonic clock shows this.
    pub fn on_attended(&mut self, node: usize, monotonic_us: u64) {
        let attended = &mut self.nodes[node];
        attended.total_us += monotonic_us.saturating_sub(attended.read_us).min(GAP_US_MAX);
        attended.read_us = monotonic_us;
    }

    /// Commands came to a node that leads under `term`.
    pub fn on_commands(&mut self, node: usize, app: AppNdx, term: Ballot, commands: &[SignedCommand]) {
        let now_us = self.nodes[node].total_us;
        let group = &mut self.groups[group(app)];
        for command in commands {
            let id = command.id();
            group.came.entry((term, What::Command(id))).or_insert(now_us);
            if let Some(KvOp::KeepAlive { leases }) = operation_of(command) {
                group.awaited.entry(id).or_insert((term, now_us, leases));
            }
        }
    }

    /// A node that leads under `term` proposes a tick.
    pub fn on_tick(&mut self, node: usize, app: AppNdx, term: Ballot, time: TimeMs) {
        self.groups[group(app)].came.entry((term, What::Tick(time))).or_insert(self.nodes[node].total_us);
    }

    /// A node has applied a decree: `view` is the state behind it.
    pub fn on_applied(
        &mut self,
        app: AppNdx,
        decree: &Decree,
        view: &View,
        applied: &[Applied],
        verdict: &mut Verdict,
    ) {
        let group = &mut self.groups[group(app)];
        if view.applied != group.applied.next() {
            return;
        }
        group.applied = view.applied;
        match decree {
            Decree::Noop | Decree::Seal(_) => group.term = None,
            Decree::Batch(batch) => group.on_batch(batch, view, applied, verdict),
        }
    }

    /// How many leases there are.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.leases.len()).sum()
    }
}

impl GroupLeases {
    fn on_batch(&mut self, batch: &Batch, view: &View, applied: &[Applied], verdict: &mut Verdict) {
        let last = batch.commands.last().map_or(What::Tick(batch.time), |last| What::Command(last.id()));
        let Some(&now_us) = self.came.get(&(batch.term, last)) else {
            return verdict.demand(false, "what is ordered came to a leader", || {
                format!("{last:?} of slot {} never came to the leader of its term", view.applied)
            });
        };
        if self.term != Some(batch.term) {
            self.term = Some(batch.term);
            for life in self.leases.values_mut() {
                life.since_us = now_us;
            }
        }
        let kept = operations::leases(view);
        if batch.commands.is_empty() {
            self.on_ended(batch.term, now_us, &kept, verdict);
        }
        let of_commands = applied.iter().filter(|one| one.commander.is_some());
        for (command, one) in batch.commands.iter().zip(of_commands) {
            self.awaited.remove(&command.id());
            if let Some(op) = operation_of(command).filter(|_| !one.repeated)
                && let Ok(receipt) = &one.result
                && let Outcome::Done(answer) = &receipt.outcome
            {
                self.on_executed(op, receipt.state_ndx, KvReply::decode(answer).ok(), now_us);
            }
        }
        let known: Vec<StateNdx> = self.leases.keys().copied().collect();
        verdict.demand(known == kept, "leases end by commands and ticks alone", || {
            format!("behind slot {} there are {kept:?}, and should be {known:?}", view.applied)
        });
    }

    fn on_executed(&mut self, op: KvOp, state_ndx: StateNdx, reply: Option<KvReply>, now_us: u64) {
        match (op, reply) {
            (KvOp::GrantLease { ttl_ms }, _) => {
                self.leases.insert(state_ndx, Life { ttl_us: ttl_ms * 1000, since_us: now_us });
            }
            (KvOp::KeepAlive { leases }, Some(KvReply::KeptAlive { gone })) => {
                for lease in leases.iter().filter(|lease| !gone.contains(lease)) {
                    if let Some(life) = self.leases.get_mut(lease) {
                        life.since_us = now_us;
                    }
                }
            }
            (KvOp::RevokeLease { lease }, _) => {
                self.leases.remove(&lease);
            }
            _ => {}
        }
    }

    /// A tick came to the leader of `term` when its clock showed this, and behind it there are the leases `kept`.
    fn on_ended(&mut self, term: Ballot, now_us: u64, kept: &[StateNdx], verdict: &mut Verdict) {
        let awaited = &self.awaited;
        self.leases.retain(|lease, life| {
            let is_kept = kept.contains(lease);
            if !is_kept {
                // What the leader's clock showed was drawn by the wall clock, by so much at most.
                let lived_us = now_us.saturating_sub(life.since_us);
                let counted_us = lived_us + lived_us / DRAW_PARTS + ROUNDING_US;
                verdict.demand(counted_us >= life.ttl_us, "no lease runs out early", || {
                    let ttl_us = life.ttl_us;
                    format!("lease {lease} of {ttl_us} us ended {lived_us} us after its last sign of life")
                });
                let late = awaited.iter().find(|(_, (of, came, leases))| {
                    (*of, leases.contains(lease)) == (term, true) && (life.since_us..now_us).contains(came)
                });
                verdict.demand(late.is_none(), "a keep-alive that came before a tick counts", || {
                    format!("lease {lease} ended before {late:?}")
                });
            }
            is_kept
        });
    }
}

fn operation_of(command: &SignedCommand) -> Option<KvOp> {
    let body = CommandBody::decode(&command.body).ok()?;
    match Operation::split(&body.operation)? {
        Operation::App(operation) => KvOp::decode(operation).ok(),
        Operation::Authority(_) => None,
    }
}
