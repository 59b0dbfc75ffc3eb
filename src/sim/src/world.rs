//! A cluster with its clients in virtual time: one queue of happenings, one source of chance, one thread.
//!
//! The world moves messages, ticks clocks, runs syncs, and tells the checks of everything; it decides no faults. Those
//! are done to it from outside: by a [`crate::storm`], or by a [`crate::scenario`].

use bytes::Bytes;
use synod_paxos::Config;
use synod_types::{AppNdx, Checkpoint, Configuration, Epoch, Level, Message, RefusalCode, Slot, Versions};

use crate::broken::Mistake;
use crate::checks::protocol::NodeSet;
use crate::checks::{Checks, Violation};
use crate::client::{Answer, Caller, Client, Doing, Habits, Request, client_key, commander_of};
use crate::disk::{CrashLoss, Disk, Snapshot};
use crate::network::Network;
use crate::node::{Administrator, Node, Output, Setting, Surroundings};
use crate::queue::Queue;
use crate::random::Random;
use crate::swarm::Plan;
use crate::trace::{Show, Sink, Trace, Weight, node_id, node_index, weight};

/// How many of 1,000 commands are sent twice at once, or again later.
const REPEATS_PER_MILLE: u64 = 40;

/// Something that is going to happen.
#[derive(Clone, Debug)]
enum Happening {
    Tick { node: usize, incarnation: u32 },
    Deliver { from: usize, to: usize, levels: Versions, message: Message },
    Synced { node: usize, incarnation: u32 },
    Fetched { node: usize, incarnation: u32, of: Checkpoint, from: Option<(usize, Snapshot)> },
    Request { node: usize, caller: Caller, request: Request },
    Answer { node: usize, caller: Caller, answer: Answer },
    Wake { client: usize, wake: u64 },
    Alarm(u64),
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something of the world's own.
    Happened,
    /// An alarm that was set from outside went off.
    Alarm(u64),
}

/// What a client was told at last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which client.
    pub client: usize,
    /// What it was told.
    pub answer: Answer,
}

/// A cluster, its clients, and time.
pub struct World {
    /// Virtual time.
    pub now_ms: u64,
    /// Chance.
    pub random: Random,
    /// The roads between the nodes.
    pub network: Network,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The clients.
    pub clients: Vec<Client>,
    /// What must hold.
    pub checks: Checks,
    /// What happened.
    pub trace: Trace,
    /// Whether clients that have nothing to do may begin something.
    pub clients_begin: bool,
    /// How many happenings there were.
    pub events: u64,
    /// What clients were told, for who asks.
    pub finished: Vec<Finished>,
    plan: Plan,
    habits: Habits,
    queue: Queue<Happening>,
    outputs: Vec<Output>,
    /// Nodes whose disk was ever damaged: at most a minority, since damage to a majority cannot be repaired.
    damaged: Vec<usize>,
    /// The members that are wanted.
    wanted: Configuration,
    /// Nodes that are gone for ever, with their disks.
    retired: NodeSet,
}

impl World {
    /// A cluster as `plan` says, of which nothing runs yet.
    pub fn new(plan: Plan, random: Random, sink: Sink, mistake: Option<Mistake>) -> World {
        let members: Vec<_> = (0..plan.members).map(node_id).collect();
        let apps = apps(plan.groups);
        let clients: Vec<_> = (0..plan.clients * plan.groups).map(|index| client(&plan, index)).collect();
        let administrators: Vec<_> = (0..plan.groups).map(|group| administrators(&plan, group)).collect();
        let node = |(index, clock): (usize, &crate::clock::Clock)| {
            let mut config = Config::new(node_id(index), members.clone(), apps.clone());
            config.pipeline_slots = plan.pipeline_slots;
            config.spread_rounds = plan.spread_rounds;
            config.retry_ticks = plan.retry_ticks;
            config.broken = mistake.map(Mistake::core).unwrap_or_default();
            let setting = Setting {
                index,
                nodes: plan.nodes,
                config,
                level: if plan.upgrades { Level::FIRST } else { Level::NEWEST },
                administrators: administrators.clone(),
                snapshot_slots: plan.snapshot_slots,
                kept_slots: plan.kept_slots,
                mistake,
            };
            Node::new(setting, clock.clone(), plan.sync_ms.clone())
        };
        World {
            now_ms: 0,
            network: Network::new(plan.nodes, plan.weather.clone()),
            nodes: plan.clocks.iter().enumerate().map(node).collect(),
            clients,
            checks: Checks::new(plan.nodes, plan.members, plan.groups),
            trace: Trace::new(sink),
            clients_begin: true,
            events: 0,
            finished: Vec::new(),
            habits: Habits {
                reads_per_mille: plan.reads_per_mille,
                repeats_per_mille: REPEATS_PER_MILLE,
                leases_per_mille: plan.leases_per_mille,
                upgrades: plan.upgrades,
            },
            plan,
            random,
            queue: Queue::new(),
            outputs: Vec::new(),
            damaged: Vec::new(),
            wanted: Configuration::genesis(members),
            retired: NodeSet::default(),
        }
    }

    /// The applications.
    pub fn apps(&self) -> Vec<AppNdx> {
        apps(self.plan.groups)
    }

    /// What was violated, if anything was.
    pub fn violation(&self) -> Option<&Violation> {
        self.checks.verdict.violation()
    }

    /// Nodes whose disk was damaged at some time.
    pub fn damaged(&self) -> &[usize] {
        &self.damaged
    }

    /// Lets what is next happen, if it is due by `until_ms`. Otherwise time moves to there.
    pub fn step(&mut self, until_ms: u64) -> Option<Step> {
        if self.queue.next_ms().is_none_or(|next_ms| next_ms > until_ms) {
            self.now_ms = self.now_ms.max(until_ms);
            return None;
        }
        let (now_ms, happening) = self.queue.take()?;
        self.now_ms = now_ms;
        self.events += 1;
        match happening {
            Happening::Tick { node, incarnation } => self.on_tick(node, incarnation),
            Happening::Deliver { from, to, levels, message } => self.on_deliver(from, to, levels, message),
            Happening::Synced { node, incarnation } => self.on_synced(node, incarnation),
            Happening::Fetched { node, incarnation, of, from } => {
                self.on_fetched(node, incarnation, of, from)
            }
            Happening::Request { node, caller, request } => self.on_request(node, caller, request),
            Happening::Answer { node, caller, answer } => self.on_answer(node, caller, answer),
            Happening::Wake { client, wake } => {
                if self.clients[client].wake == wake {
                    self.on_wake(client);
                }
            }
            Happening::Alarm(alarm) => return Some(Step::Alarm(alarm)),
        }
        Some(Step::Happened)
    }

    /// Sets an alarm with a number of the caller's.
    pub fn set_alarm(&mut self, in_ms: u64, alarm: u64) {
        self.queue.put(self.now_ms + in_ms, Happening::Alarm(alarm));
    }

    /// A line for the trace.
    pub fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now_ms, Weight::Notable, text);
    }

    /// From here on clients are heard, ask often, and mostly command: what is waited for is not up to them.
    pub fn calm_clients(&mut self) {
        self.plan.client_loss_per_mille = 0;
        self.plan.patience_ms = self.plan.patience_ms.min(1000);
        self.habits.reads_per_mille = self.habits.reads_per_mille.min(200);
    }

    // What is done to nodes from outside.

    /// Starts a node that is down.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].is_up() || self.retired.contains(node) {
            return;
        }
        if self.nodes[node].has_forgotten() {
            self.note(format_args!("n{} does not start: its disk has forgotten what it promised", node + 1));
            self.retired.insert(node);
            return;
        }
        self.note(format_args!("n{} starts", node + 1));
        self.with_node(node, |node, around| node.start(around));
        if !self.nodes[node].is_up() {
            return;
        }
        let incarnation = self.nodes[node].incarnation;
        let at_ms = self.nodes[node].clock.next_tick_ms(self.now_ms);
        self.queue.put(at_ms, Happening::Tick { node, incarnation });
    }

    /// Gives a node that is down another program.
    pub fn install(&mut self, node: usize, levels: Versions) {
        assert!(!self.nodes[node].is_up(), "a program that runs stays what it is");
        self.note(format_args!("n{} has a program for level {levels}", node + 1));
        self.nodes[node].levels = levels;
    }

    /// Lets a node hand over to another one what it leads.
    pub fn hand_over(&mut self, node: usize, to: usize) {
        if self.nodes[node].is_up() {
            self.note(format_args!("n{} hands over to n{}", node + 1, to + 1));
            self.with_node(node, |node, around| node.hand_over(to, around));
        }
    }

    /// Any nodes are to vote from now on, in any order.
    pub fn change_members(&mut self) {
        let mut nodes: Vec<usize> = self.present().collect();
        self.random.shuffle(&mut nodes);
        nodes.truncate(self.random.index(nodes.len()) + 1);
        self.want(&nodes);
    }

    /// These nodes are to vote from now on.
    pub fn want(&mut self, nodes: &[usize]) {
        let members = nodes.iter().copied().map(node_id).collect();
        let epoch = Epoch(self.wanted.epoch.0 + 1);
        self.wanted = Configuration { epoch, members };
        let named: Vec<_> = nodes.iter().map(|node| node + 1).collect();
        self.note(format_args!("nodes {named:?} are to vote in epoch {epoch}"));
    }

    /// The sets of members that somebody takes for wanted, and may go on to at any time.
    pub fn wanted_anywhere(&self) -> impl Iterator<Item = NodeSet> + '_ {
        let all = self.present().map(|node| &self.nodes[node].wanted).chain([&self.wanted]);
        all.map(|wanted| wanted.members.iter().map(|&member| node_index(member)).collect())
    }

    /// Whether every group goes by the members that are wanted, so that nobody is needed any more who was one before.
    fn is_through(&self) -> bool {
        let is_through = |app: &AppNdx| self.checks.protocol.established(*app) == self.wanted.epoch;
        self.apps().iter().all(is_through)
    }

    /// A voter's disk is lost, if the others can go on without it: it never comes back, and any others are to vote.
    pub fn lose_disk(&mut self, node: usize) {
        let voters = &self.wanted.members;
        let left = voters.iter().filter(|&&voter| {
            let voter = node_index(voter);
            voter != node && !self.retired.contains(voter)
        });
        if !self.is_through() || !voters.contains(&node_id(node)) || 2 * left.count() <= voters.len() {
            return;
        }
        self.note(format_args!("n{}'s disk is lost", node + 1));
        self.nodes[node].stop();
        if self.nodes[node].comes_back_empty() {
            self.nodes[node].disk = Disk::new(self.plan.groups);
            return;
        }
        self.retired.insert(node);
        self.change_members();
    }

    /// If the last change of the members is through, whoever is none goes for ever: nobody may need it any more.
    pub fn retire(&mut self) {
        if !self.is_through() {
            return;
        }
        let removed: Vec<_> =
            self.present().filter(|&node| !self.wanted.members.contains(&node_id(node))).collect();
        for node in removed {
            self.note(format_args!("n{} goes for ever", node + 1));
            self.nodes[node].stop();
            self.retired.insert(node);
        }
    }

    /// The nodes that are not gone for ever.
    pub fn present(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&node| !self.retired.contains(node))
    }

    /// Stops a node at once; its disk keeps what is durable, and of the rest what `loss` leaves.
    pub fn crash(&mut self, node: usize, loss: CrashLoss) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.note(format_args!("n{} crashes", node + 1));
        self.nodes[node].stop();
        self.lose(node, loss);
    }

    /// A disk keeps what is durable, and of the rest what `loss` leaves.
    fn lose(&mut self, node: usize, loss: CrashLoss) {
        let (damaged, minority) = (&mut self.damaged, minority(self.plan.nodes));
        let may_damage = |_, _| take_place(damaged, minority, node);
        let survived = self.nodes[node].disk.crash(loss, &mut self.random, may_damage);
        let records: Vec<_> = survived.into_iter().flat_map(|write| write.records).collect();
        self.became_durable(node, &records);
    }

    /// Damages the record of any one slot on a node's disk, unless too many disks are damaged. Says which.
    pub fn damage_any(&mut self, node: usize) -> Option<(AppNdx, Slot)> {
        let app = *self.random.pick(&self.apps());
        let slots = self.nodes[node].disk.last_slot(app).0;
        if slots == 0 {
            return None;
        }
        let slot = Slot(self.random.within(1..=slots));
        let may_damage = take_place(&mut self.damaged, minority(self.plan.nodes), node);
        (may_damage && self.damage(node, app, slot)).then_some((app, slot))
    }

    /// Damages the promise of any group on a node's disk, unless too many disks are damaged.
    pub fn damage_promise(&mut self, node: usize) {
        let app = *self.random.pick(&self.apps());
        if take_place(&mut self.damaged, minority(self.plan.nodes), node)
            && self.nodes[node].disk.damage_promise(app)
        {
            self.note(format_args!("n{}'s promise {}is damaged", node + 1, Show(app)));
        }
    }

    /// The end of the log of a node that is down is lost, unless too many disks are damaged.
    pub fn lose_any_end(&mut self, node: usize) {
        let writes = self.random.index(8) + 1;
        if take_place(&mut self.damaged, minority(self.plan.nodes), node) {
            self.lose_end(node, writes);
        }
    }

    /// The last `writes` of the log of a node that is down are lost. Says whether there were any.
    pub fn lose_end(&mut self, node: usize, writes: usize) -> bool {
        let lost = !self.nodes[node].is_up() && self.nodes[node].disk.lose_end(writes);
        if lost {
            self.note(format_args!("n{}'s log has lost its last {writes} writes", node + 1));
        }
        lost
    }

    /// Damages the record of a slot on a node's disk. Says whether it did.
    pub fn damage(&mut self, node: usize, app: AppNdx, slot: Slot) -> bool {
        let damaged = self.nodes[node].disk.damage(app, slot);
        if damaged {
            self.note(format_args!("n{}'s record of {}slot {slot} is damaged", node + 1, Show(app)));
        }
        damaged
    }

    /// Damages a node's snapshot, unless too many disks are damaged. Says whether it did.
    pub fn damage_snapshot(&mut self, node: usize, app: AppNdx) -> bool {
        let damaged = take_place(&mut self.damaged, minority(self.plan.nodes), node)
            && self.nodes[node].disk.lose_snapshot(app);
        if damaged {
            self.note(format_args!("n{}'s snapshot of {}is damaged", node + 1, Show(app)));
        }
        damaged
    }

    /// The node that leads a group; of several that believe so, the one with the highest ballot.
    pub fn leader(&self, app: AppNdx) -> Option<usize> {
        let leads = |node: &Node| {
            node.status(app).filter(|status| status.role == synod_paxos::RoleName::Leader)?.leader
        };
        let leaders = self.nodes.iter().enumerate().filter_map(|(index, node)| Some((leads(node)?, index)));
        leaders.max().map(|(_, index)| index)
    }

    /// Whether every node runs and all are in the same state, with nothing open.
    pub fn is_settled(&self) -> bool {
        self.clients.iter().all(|client| matches!(client.doing, Doing::Nothing))
            && self.apps().into_iter().all(|app| {
                let standing = |node: usize| {
                    let node = &self.nodes[node];
                    let status = node.status(app)?;
                    let nothing_open = status.open == 0 && status.queued == 0;
                    let is_through = status.epoch == self.wanted.epoch;
                    (nothing_open && is_through && node.unanswered() == 0).then_some(status.chosen)
                };
                let mut all = self.present().map(standing);
                let first = all.next().flatten();
                first.is_some() && all.all(|one| one == first)
            })
    }

    /// Demands that all nodes hold the same state, and that it contains what was acknowledged.
    pub fn check_end(&mut self) {
        let present = self.present().count();
        for app in self.apps() {
            let ends: Vec<_> = self
                .present()
                .filter_map(|node| self.nodes[node].machine(app))
                .map(|machine| (machine.state().applied, machine.state().state_ndx, machine.digest()))
                .collect();
            let verdict = &mut self.checks.verdict;
            let equal = ends.len() == present && ends.windows(2).all(|pair| pair[0] == pair[1]);
            verdict.demand(equal, "all nodes end in the same state", || format!("app {app}: {ends:?}"));
            if let Some((_, state_ndx, _)) = ends.first() {
                self.checks.state.on_end(app, *state_ndx, verdict);
            }
        }
    }

    // What happens.

    fn on_tick(&mut self, node: usize, incarnation: u32) {
        if self.is_over(node, incarnation) {
            return;
        }
        if let Some(later_ms) = self.paused(node) {
            return self.queue.put(later_ms, Happening::Tick { node, incarnation });
        }
        self.trace.line(self.now_ms, Weight::Routine, format_args!("n{} tick", node + 1));
        if self.nodes[node].wanted != self.wanted && self.random.chance(self.plan.hears_per_mille) {
            let wanted = self.wanted.clone();
            self.with_node(node, |node, around| node.want(wanted, around));
        }
        self.with_node(node, |node, around| node.on_tick(around));
        let at_ms = self.nodes[node].clock.next_tick_ms(self.now_ms);
        self.queue.put(at_ms, Happening::Tick { node, incarnation });
    }

    fn on_deliver(&mut self, from: usize, to: usize, levels: Versions, message: Message) {
        if let Some(later_ms) = self.paused(to) {
            return self.queue.put(later_ms, Happening::Deliver { from, to, levels, message });
        }
        let down = if self.nodes[to].is_up() { "" } else { ", which is down" };
        let line = format_args!("n{} → n{}{down}: {}", from + 1, to + 1, Show(&message));
        self.trace.line(self.now_ms, weight(&message), line);
        self.with_node(to, |node, around| node.on_message(from, levels, message, around));
    }

    fn on_synced(&mut self, node: usize, incarnation: u32) {
        if self.is_over(node, incarnation) {
            return;
        }
        if let Some(later_ms) = self.paused(node) {
            return self.queue.put(later_ms, Happening::Synced { node, incarnation });
        }
        if self.nodes[node].sync_fails {
            self.note(format_args!("n{}'s sync fails", node + 1));
            return self.crash(node, self.plan.crash_loss);
        }
        let writes = self.nodes[node].disk.finish_sync();
        let records = writes.iter().flat_map(|write| &write.records);
        self.trace.line(
            self.now_ms,
            Weight::Notable,
            format_args!("n{} durable{}", node + 1, List(records.clone())),
        );
        let records: Vec<_> = records.cloned().collect();
        self.became_durable(node, &records);
        self.with_node(node, |node, around| node.on_synced(writes, around));
    }

    /// Whether a node can give another one something now.
    fn gives(&self, donor: usize, node: usize) -> bool {
        donor != node && self.nodes[donor].is_up() && self.network.is_open(node, donor)
    }

    /// The time is over that a snapshot takes from one node to another: it is there if some node gave it.
    fn on_fetched(&mut self, node: usize, incarnation: u32, of: Checkpoint, from: Option<(usize, Snapshot)>) {
        if self.is_over(node, incarnation) {
            return;
        }
        if let Some(later_ms) = self.paused(node) {
            return self.queue.put(later_ms, Happening::Fetched { node, incarnation, of, from });
        }
        let snapshot = from.filter(|(donor, _)| self.gives(*donor, node)).map(|(_, snapshot)| snapshot);
        let came = if snapshot.is_some() { "got" } else { "did not get" };
        self.note(format_args!("n{} {came} the {}snapshot of slot {}", node + 1, Show(of.app), of.slot));
        self.with_node(node, |node, around| node.on_fetched(of.app, snapshot, around));
    }

    fn became_durable(&mut self, node: usize, records: &[synod_types::Record]) {
        let Checks { protocol, state, verdict, .. } = &mut self.checks;
        for (app, decree) in protocol.on_durable(node, records.iter(), verdict) {
            state.on_chosen(app, &decree, verdict);
        }
    }

    fn on_request(&mut self, node: usize, caller: Caller, request: Request) {
        if let Some(later_ms) = self.paused(node) {
            return self.queue.put(later_ms, Happening::Request { node, caller, request });
        }
        let app = self.clients[caller.client].app;
        let down = if self.nodes[node].is_up() { "" } else { ", which is down" };
        self.note(format_args!("c{} → n{}{down}: {}", caller.client + 1, node + 1, Show(&request)));
        self.with_node(node, |node, around| node.on_request(caller, app, request, around));
    }

    fn on_answer(&mut self, node: usize, caller: Caller, answer: Answer) {
        let client = &mut self.clients[caller.client];
        if client.request != caller.request {
            return;
        }
        let line = format_args!("n{} → c{}: {}", node + 1, caller.client + 1, Show(&answer));
        self.trace.line(self.now_ms, Weight::Notable, line);
        let Checks { state, verdict, .. } = &mut self.checks;
        match (&client.doing, &answer) {
            (Doing::Commanding(_, id), Answer::Executed(receipt)) => {
                state.on_acknowledged(client.app, *id, receipt, verdict);
                client.on_receipt(receipt);
            }
            (Doing::Commanding(..), Answer::Refused(code)) if is_final(*code) => {}
            (Doing::Reading { floor, .. }, Answer::State { linearizable, state_ndx }) => {
                if *linearizable {
                    state.on_linearizable(client.app, *floor, *state_ndx, verdict);
                }
            }
            (Doing::Nothing, _) => return,
            (_, Answer::Refused(code)) if code.is_transient() && !self.plan.clients_persist => {}
            (_, Answer::Refused(code)) if code.is_transient() => {
                let soon_ms = 20 + self.random.below(100);
                return self.wake_in(caller.client, soon_ms);
            }
            (doing, answer) => {
                return verdict.demand(false, "clients get answers to what they ask", || {
                    format!("c{} got {answer:?} for {doing:?}", caller.client + 1)
                });
            }
        }
        client.finish(&mut self.random);
        self.finished.push(Finished { client: caller.client, answer });
        let think_ms = self.random.within(self.plan.think_ms.clone());
        self.wake_in(caller.client, think_ms);
    }

    /// A client has thought, or has waited in vain.
    fn on_wake(&mut self, client: usize) {
        if matches!(self.clients[client].doing, Doing::Nothing) {
            if !self.clients_begin {
                return;
            }
            let app = self.clients[client].app;
            let wall = self.nodes[0].clock.wall(self.now_ms);
            let floor = self.checks.state.floor(app);
            self.clients[client].begin(&self.habits, wall, floor, &mut self.random);
            if let Doing::Commanding(_, id) = &self.clients[client].doing {
                self.checks.state.on_submitted(app, *id);
                if self.random.chance(REPEATS_PER_MILLE) {
                    self.ask_any(client);
                }
            }
        }
        self.ask_any(client);
        self.wake_in(client, self.plan.patience_ms);
    }

    fn ask_any(&mut self, client: usize) {
        let present: Vec<usize> = self.present().collect();
        let node = *self.random.pick(&present);
        self.ask(client, node);
    }

    /// Lets a client ask a node what it is about.
    pub fn ask(&mut self, client: usize, node: usize) {
        let Some(request) = self.clients[client].ask() else { return };
        let caller = Caller { client, request: self.clients[client].request };
        if let Some(at_ms) = self.client_arrival() {
            self.queue.put(at_ms, Happening::Request { node, caller, request });
        }
    }

    /// Wakes a client, instead of when it would wake otherwise.
    pub fn wake_in(&mut self, client: usize, in_ms: u64) {
        self.clients[client].wake += 1;
        let wake = self.clients[client].wake;
        self.queue.put(self.now_ms + in_ms, Happening::Wake { client, wake });
    }

    fn client_arrival(&mut self) -> Option<u64> {
        let lost = self.random.chance(self.plan.client_loss_per_mille);
        let delay_ms = self.random.within(self.plan.client_delay_ms.clone());
        (!lost).then_some(self.now_ms + delay_ms)
    }

    fn is_over(&self, node: usize, incarnation: u32) -> bool {
        !self.nodes[node].is_up() || self.nodes[node].incarnation != incarnation
    }

    fn paused(&self, node: usize) -> Option<u64> {
        let until_ms = self.nodes[node].paused_until_ms;
        (self.nodes[node].is_up() && until_ms > self.now_ms).then_some(until_ms)
    }

    /// Lets a node do something, and then does what it wants.
    fn with_node(&mut self, node: usize, act: impl FnOnce(&mut Node, &mut Surroundings<'_>)) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let now_ms = self.now_ms;
        let mut around = Surroundings { now_ms, checks: &mut self.checks, outputs: &mut outputs };
        act(&mut self.nodes[node], &mut around);
        for output in outputs.drain(..) {
            self.perform(node, output);
        }
        self.outputs = outputs;
    }

    fn perform(&mut self, node: usize, output: Output) {
        match output {
            Output::Send(to, message) => self.send(node, to, message),
            Output::Answer(caller, answer) => {
                if let Some(at_ms) = self.client_arrival() {
                    self.queue.put(at_ms, Happening::Answer { node, caller, answer });
                }
            }
            Output::Sync => {
                let incarnation = self.nodes[node].incarnation;
                let takes_ms = self.random.within(self.nodes[node].sync_ms.clone());
                self.queue.put(self.now_ms + takes_ms, Happening::Synced { node, incarnation });
            }
            Output::Fetch(of) => {
                let incarnation = self.nodes[node].incarnation;
                let takes_ms = self.random.within(self.plan.fetch_ms.clone());
                // Whoever gives it keeps it as long as somebody takes it.
                let snapshot_of = |donor: &usize| {
                    let snapshot = self.nodes[*donor].disk.snapshot(of.app);
                    Some((*donor, snapshot.filter(|snapshot| snapshot.applied == of.slot)?.clone()))
                };
                let mut donors = (0..self.nodes.len()).filter(|&donor| self.gives(donor, node));
                let from = donors.find_map(|donor| snapshot_of(&donor));
                self.queue.put(self.now_ms + takes_ms, Happening::Fetched { node, incarnation, of, from });
            }
            Output::Installed(app, slot) => {
                self.note(format_args!("n{} {}installs a snapshot of slot {slot}", node + 1, Show(app)));
            }
            Output::TooOld(unknown) => {
                self.note(format_args!("n{} stops: {unknown}", node + 1));
                self.lose(node, self.plan.crash_loss);
            }
            Output::Lost(app, slot, is_needed) => {
                let then = if is_needed { "stops" } else { "keeps its state as a snapshot" };
                let (node, app) = (node + 1, Show(app));
                self.note(format_args!("n{node} {then}: the record of {app}slot {slot} is lost everywhere"));
            }
            Output::Chosen(app, slot, decree) => {
                self.note(format_args!("n{} {}chosen {slot} {}", node + 1, Show(app), Show(&decree)));
            }
            Output::Leader(app, leader, leads) => match leader {
                Some(leader) if leads => {
                    self.note(format_args!("n{} {}leads as {}", node + 1, Show(app), Show(leader)))
                }
                Some(leader) => {
                    self.note(format_args!("n{} {}follows {}", node + 1, Show(app), Show(leader)))
                }
                None => self.note(format_args!("n{} {}sees no leader", node + 1, Show(app))),
            },
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let Checks { protocol, verdict, .. } = &mut self.checks;
        let sender = &self.nodes[from];
        let levels = sender.levels;
        protocol.on_send(from, sender.incarnation, &message, &sender.disk, verdict);
        match self.network.route(self.now_ms, from, to, &message, &mut self.random) {
            [None, _] => {
                let line = format_args!("n{} → n{} lost: {}", from + 1, to + 1, Show(&message));
                self.trace.line(self.now_ms, weight(&message), line);
            }
            [Some(at_ms), None] => self.queue.put(at_ms, Happening::Deliver { from, to, levels, message }),
            [Some(at_ms), Some(again_ms)] => {
                self.queue.put(at_ms, Happening::Deliver { from, to, levels, message: message.clone() });
                self.queue.put(again_ms, Happening::Deliver { from, to, levels, message });
            }
        }
    }
}

/// Refusals that end a command which was ordered.
fn is_final(code: RefusalCode) -> bool {
    use RefusalCode::{Conflict, Expired, NotPermitted, NotValidNow, Revoked, UnknownCommander};
    matches!(code, Conflict | UnknownCommander | Revoked | NotPermitted | NotValidNow | Expired)
}

fn apps(groups: usize) -> Vec<AppNdx> {
    (1..).map(AppNdx).take(groups).collect()
}

/// Client number `index`. The first of each application administers the others of it.
fn client(plan: &Plan, index: usize) -> Client {
    let group = index % plan.groups;
    let others = |_| (index + plan.groups..plan.clients * plan.groups).step_by(plan.groups).map(client_key);
    let others: Vec<Bytes> = (index < plan.groups).then_some(()).into_iter().flat_map(others).collect();
    Client::new(index, apps(plan.groups)[group], others)
}

fn administrators(plan: &Plan, group: usize) -> Vec<Administrator> {
    let keys = (group..).step_by(plan.groups).take(plan.administrators).map(client_key);
    keys.map(|key| (commander_of(&key), key, "administrator".to_owned())).collect()
}

/// How many nodes can be missing.
fn minority(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 2
}

/// Whether `node` is in `places`, or still finds a place there.
fn take_place(places: &mut Vec<usize>, places_max: usize, node: usize) -> bool {
    if !places.contains(&node) && places.len() < places_max {
        places.push(node);
    }
    places.contains(&node)
}

/// Records, each behind a separator.
struct List<I>(I);

impl<'a, I: Iterator<Item = &'a synod_types::Record> + Clone> std::fmt::Display for List<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, record) in self.0.clone().enumerate() {
            write!(f, "{} {}", if place == 0 { ":" } else { ";" }, Show(record))?;
        }
        Ok(())
    }
}
