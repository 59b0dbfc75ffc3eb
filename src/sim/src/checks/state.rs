//! What follows for the replicated state: equal prefixes, equal chains, every command executed at most once, every
//! acknowledged one executed, and reads that do not go back.

use std::collections::{BTreeMap, BTreeSet};

use synod_machine::{Applied, Machine};
use synod_types::{AppNdx, CommandId, CommanderId, Decree, Digest, Receipt, Seq, Slot, StateNdx};

use crate::checks::Verdict;
use crate::disk::group;

/// The truth about states.
#[derive(Clone, Debug)]
pub struct StateChecks {
    groups: Vec<GroupStates>,
}

#[derive(Clone, Debug)]
struct GroupStates {
    /// The state behind each slot, from slot 1 on, as whoever applied it first saw it.
    behind: Vec<(StateNdx, Digest)>,
    /// The digest of the snapshot of each slot of which there was one.
    snapshots: BTreeMap<Slot, Digest>,
    /// The chain at each stateNdx, from 1 on.
    chain: Vec<Digest>,
    submitted: BTreeSet<CommandId>,
    executed: BTreeMap<(CommanderId, Seq), (CommandId, StateNdx)>,
    executed_in: BTreeMap<CommandId, StateNdx>,
    receipts: BTreeMap<CommandId, Receipt>,
    acknowledged: Vec<CommandId>,
    acknowledged_ndx: StateNdx,
    /// The highest state that any client was told of.
    floor: StateNdx,
    /// The highest state that each node told a local reader of since it started.
    local: Vec<StateNdx>,
}

impl StateChecks {
    /// Nothing was applied yet.
    pub fn new(nodes: usize, groups: usize) -> StateChecks {
        let group = GroupStates {
            behind: Vec::new(),
            snapshots: BTreeMap::new(),
            chain: Vec::new(),
            submitted: BTreeSet::new(),
            executed: BTreeMap::new(),
            executed_in: BTreeMap::new(),
            receipts: BTreeMap::new(),
            acknowledged: Vec::new(),
            acknowledged_ndx: StateNdx(0),
            floor: StateNdx(0),
            local: vec![StateNdx(0); nodes],
        };
        StateChecks { groups: vec![group; groups] }
    }

    /// A client made this command.
    pub fn on_submitted(&mut self, app: AppNdx, command: CommandId) {
        self.groups[group(app)].submitted.insert(command);
    }

    /// A decree was chosen.
    pub fn on_chosen(&mut self, app: AppNdx, decree: &Decree, verdict: &mut Verdict) {
        let submitted = &self.groups[group(app)].submitted;
        for command in decree.commands() {
            verdict.demand(submitted.contains(&command.id()), "only submitted commands are chosen", || {
                format!("nobody submitted command {:?}", command.id())
            });
        }
    }

    /// A node starts.
    pub fn on_start(&mut self, node: usize, app: AppNdx) {
        self.groups[group(app)].local[node] = StateNdx(0);
    }

    /// A node applied a decree: `machine` is the state behind it.
    pub fn on_applied(
        &mut self,
        node: usize,
        app: AppNdx,
        machine: &Machine,
        applied: &[Applied],
        verdict: &mut Verdict,
    ) {
        let states = &mut self.groups[group(app)];
        let view = machine.state();
        verdict.demand(
            machine.levels().contains(view.level().0),
            "nobody executes by rules that it does not know",
            || format!("n{} with level {} is on level {}", node + 1, machine.levels(), view.level()),
        );
        let now = (view.state_ndx, view.chain);
        let known = place(view.applied.0).and_then(|place| states.behind.get(place).copied());
        if let Some(known) = known {
            verdict.demand(known == now, "equal chain at equal stateNdx", || {
                let (slot, was) = (view.applied, known.0);
                format!("behind slot {slot}, n{} is in state {}, another was in {was}", node + 1, now.0)
            });
        } else {
            let next = Slot(u64::try_from(states.behind.len()).expect("few slots")).next();
            verdict.demand(view.applied == next, "applied prefixes are equal", || {
                format!("n{} applied slot {}, before anybody applied slot {next}", node + 1, view.applied)
            });
            states.behind.push(now);
        }
        for Applied { command, commander, seq, result, repeated } in applied {
            if let Ok(receipt) = result {
                states.on_receipt(*command, receipt, verdict);
                if !repeated {
                    states.on_executed(*command, commander.map(|known| (known, *seq)), receipt, verdict);
                }
            }
        }
    }

    /// A node goes on from a snapshot: `machine` is what it held.
    pub fn on_installed(&self, node: usize, app: AppNdx, machine: &Machine, verdict: &mut Verdict) {
        let view = machine.state();
        let (now, slot) = ((view.state_ndx, view.chain), view.applied);
        let known = place(slot.0).and_then(|place| self.groups[group(app)].behind.get(place).copied());
        verdict.demand(known == Some(now), "a snapshot is of a state that was reached", || {
            format!("n{} installs state {} of slot {slot}, where it was {known:?}", node + 1, now.0)
        });
    }

    /// A node made a snapshot of the state behind a slot: nodes sign each other's, whichever programs they have.
    pub fn on_snapshot(&mut self, node: usize, app: AppNdx, slot: Slot, bytes: &[u8], verdict: &mut Verdict) {
        let made = Digest::of(&[bytes]);
        let first = *self.groups[group(app)].snapshots.entry(slot).or_insert(made);
        verdict.demand(first == made, "equal states give equal snapshots", || {
            format!("n{} makes another one of slot {slot} of app {app} than somebody before", node + 1)
        });
    }

    /// A client got a receipt.
    pub fn on_acknowledged(
        &mut self,
        app: AppNdx,
        command: CommandId,
        receipt: &Receipt,
        verdict: &mut Verdict,
    ) {
        let states = &mut self.groups[group(app)];
        states.on_receipt(command, receipt, verdict);
        states.acknowledged.push(command);
        states.acknowledged_ndx = states.acknowledged_ndx.max(receipt.state_ndx);
        states.floor = states.floor.max(receipt.state_ndx);
    }

    /// The state that a linearizable read that begins now must not fall behind.
    pub fn floor(&self, app: AppNdx) -> StateNdx {
        self.groups[group(app)].floor
    }

    /// A client got the answer to a linearizable read that began when the floor was `floor`.
    pub fn on_linearizable(
        &mut self,
        app: AppNdx,
        floor: StateNdx,
        state_ndx: StateNdx,
        verdict: &mut Verdict,
    ) {
        verdict.demand(state_ndx >= floor, "linearizable reads do not go back", || {
            format!("state {floor} of app {app} was known before a read that returned {state_ndx}")
        });
        let states = &mut self.groups[group(app)];
        states.floor = states.floor.max(state_ndx);
    }

    /// A node answers a local read.
    pub fn on_local(&mut self, node: usize, app: AppNdx, state_ndx: StateNdx, verdict: &mut Verdict) {
        let last = &mut self.groups[group(app)].local[node];
        verdict.demand(state_ndx >= *last, "local reads do not go back", || {
            format!("n{} told of state {last} of app {app} and later of {state_ndx}", node + 1)
        });
        *last = state_ndx;
    }

    /// The highest state that any node ever reached.
    pub fn reached(&self, app: AppNdx) -> StateNdx {
        self.groups[group(app)].behind.last().map_or(StateNdx(0), |(state_ndx, _)| *state_ndx)
    }

    /// The highest state that a receipt told a client of.
    pub fn acknowledged(&self, app: AppNdx) -> StateNdx {
        self.groups[group(app)].acknowledged_ndx
    }

    /// At the end: what was acknowledged is in a state that every node has.
    pub fn on_end(&self, app: AppNdx, state_ndx: StateNdx, verdict: &mut Verdict) {
        let states = &self.groups[group(app)];
        for command in &states.acknowledged {
            let receipt = &states.receipts[command];
            let executed = states.executed_in.get(command) == Some(&receipt.state_ndx);
            verdict.demand(
                executed && receipt.state_ndx <= state_ndx,
                "what is acknowledged is kept",
                || {
                    format!(
                        "the receipt of {command:?} says {}, the final state is {state_ndx}",
                        receipt.state_ndx
                    )
                },
            );
        }
    }
}

impl GroupStates {
    fn on_receipt(&mut self, command: CommandId, receipt: &Receipt, verdict: &mut Verdict) {
        let first = self.receipts.entry(command).or_insert_with(|| receipt.clone());
        verdict.demand(first == receipt, "a command has one receipt", || {
            format!("{command:?} has one of state {} and one of {}", first.state_ndx, receipt.state_ndx)
        });
    }

    fn on_executed(
        &mut self,
        command: CommandId,
        numbered: Option<(CommanderId, Seq)>,
        receipt: &Receipt,
        verdict: &mut Verdict,
    ) {
        let executed = (command, receipt.state_ndx);
        self.executed_in.entry(command).or_insert(receipt.state_ndx);
        if let Some(numbered) = numbered {
            let first = *self.executed.entry(numbered).or_insert(executed);
            verdict.demand(first == executed, "a command is executed once", || {
                format!("seq {} was executed in state {} and in {}", numbered.1, first.1, executed.1)
            });
        }
        let place = place(receipt.state_ndx.0).unwrap_or(usize::MAX);
        if place == self.chain.len() {
            self.chain.push(receipt.chain);
        }
        verdict.demand(
            self.chain.get(place) == Some(&receipt.chain),
            "equal chain at equal stateNdx",
            || format!("{command:?} made a second state {}", receipt.state_ndx),
        );
    }
}

/// Where a number that counts from 1 is in a list.
fn place(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}
