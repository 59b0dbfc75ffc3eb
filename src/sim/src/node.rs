//! The driver of one node: performs the core's effects in order, exactly as the real one does, on a simulated disk
//! and network. It keeps what clients asked until it is executed, and passes commands on to the leader.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use synod_machine::{Founders, Machine};
use synod_paxos::{Config, Core, Damage, Effect, Event, GroupStatus, PersistNdx, ReadId, Reading, Term};
use synod_types::limits::{COMMAND_WAIT_MS_MAX, INTAKE_COMMANDS_MAX};
use synod_types::versions::LEVELS;
use synod_types::{
    AppNdx, Certificate, Checkpoint, ClusterId, CommandBody, CommandId, CommanderId, Configuration,
    ContentKey, Decree, Digest, GroupMessage, Level, Message, NodeId, Recovered, Refusal, RefusalCode,
    SignedCommand, Slot, UnknownLevel, Versions,
};

use crate::broken::{DriverFault, Mistake};
use crate::checks::Checks;
use crate::client::{Answer, Caller, Request};
use crate::clock::{Clock, TICK_MS};
use crate::disk::{Disk, Entry, Snapshot, Write, group};
use crate::operations;
use crate::programs::Programs;
use crate::trace::{node_id, node_index};

/// How often a command is passed on before it goes back to where it entered.
const HOPS_MAX: u8 = 2;
/// Slots of each application that are looked at in each tick, whether they can be read.
const SCRUB_SLOTS: u64 = 2;
/// Ticks after which a command that was not executed is proposed or passed on again.
const RETRY_TICKS: u64 = 25;
/// Ticks after which a node forgets a command that was not executed.
const PENDING_TICKS: u64 = COMMAND_WAIT_MS_MAX / TICK_MS;

/// The cluster that every command of a world is signed for.
pub const CLUSTER: ClusterId = ClusterId(Digest([0xc1; 32]));

/// A commander that genesis names: id, key, name.
pub type Administrator = (CommanderId, Bytes, String);

/// What a node wants from the world around it.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this.
    Send(usize, Message),
    /// Tell a client.
    Answer(Caller, Answer),
    /// A sync began; it is to be reported when it is through.
    Sync,
    /// Get this snapshot from any node that has it.
    Fetch(Checkpoint),
    /// For the trace: the node went on from a snapshot.
    Installed(AppNdx, Slot),
    /// For the trace: no node has this record any more; the node stops for it, or keeps what its state has of it.
    Lost(AppNdx, Slot, bool),
    /// For the trace: a decree was handed out.
    Chosen(AppNdx, Slot, Decree),
    /// For the trace: another node leads, or none.
    Leader(AppNdx, Option<NodeId>, bool),
    /// An application is on a level that the node's program does not know: the node has stopped.
    TooOld(UnknownLevel),
}

/// What stays the same over a node's incarnations.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its place in the cluster, from 0.
    pub index: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// The core's numbers.
    pub config: Config,
    /// By which rules the applications begin.
    pub level: Level,
    /// Who may command from the beginning, for each application.
    pub administrators: Vec<Vec<Administrator>>,
    /// Decrees between two snapshots of a machine.
    pub snapshot_slots: Option<u64>,
    /// Slots that the log keeps before the last snapshot; `None`: all.
    pub kept_slots: Option<u64>,
    /// What is wrong on purpose.
    pub mistake: Option<Mistake>,
}

/// A node: what survives a crash, and what runs.
pub struct Node {
    setting: Setting,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// How long its syncs take.
    pub sync_ms: RangeInclusive<u64>,
    /// Whether its next sync fails.
    pub sync_fails: bool,
    /// The levels that its program knows; another program comes with a restart.
    pub levels: Versions,
    /// Until when it does nothing.
    pub paused_until_ms: u64,
    /// How often it was started.
    pub incarnation: u32,
    /// The members that it knows to be wanted.
    pub wanted: Configuration,
    /// When it read its clock last.
    read_ms: u64,
    running: Option<Running>,
}

/// What a crash takes.
struct Running {
    core: Core,
    groups: Vec<Group>,
    effects: Vec<Effect>,
    ticks: u64,
    reads: BTreeMap<ReadId, Caller>,
    read_last: u64,
    programs: Programs,
    /// What to tell the core once the effects of the present event are performed.
    later: Vec<Event>,
    /// The last slot that was looked at, of each application.
    scrubbed: Vec<Slot>,
}

/// One application at one node.
struct Group {
    app: AppNdx,
    machine: Machine,
    leader: Option<NodeId>,
    /// What there is while this node leads.
    term: Option<Term>,
    /// Commands that entered here, or were relayed while nobody led and have no callers, until they are executed.
    pending: BTreeMap<CommandId, Pending>,
    /// Commands that came from another node, until they are executed or passed on.
    forwarded: BTreeMap<CommandId, (NodeId, u8)>,
    /// Reads that wait for a slot.
    readers: Vec<(Slot, Caller)>,
    /// Whether a snapshot is on its way here.
    is_fetching: bool,
}

struct Pending {
    command: SignedCommand,
    callers: Vec<Caller>,
    since_ticks: u64,
}

/// What a node works with while it takes one event.
pub struct Surroundings<'a> {
    /// Virtual time.
    pub now_ms: u64,
    /// Who watches.
    pub checks: &'a mut Checks,
    /// What it wants.
    pub outputs: &'a mut Vec<Output>,
}

impl Node {
    /// A node that does not run yet, with an empty disk.
    pub fn new(setting: Setting, clock: Clock, sync_ms: RangeInclusive<u64>) -> Node {
        let disk = Disk::new(setting.config.apps.len());
        Node {
            setting,
            clock,
            disk,
            sync_ms,
            sync_fails: false,
            levels: LEVELS,
            paused_until_ms: 0,
            incarnation: 0,
            wanted: Configuration::default(),
            read_ms: 0,
            running: None,
        }
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Where a group stands here, if the node runs.
    pub fn status(&self, app: AppNdx) -> Option<GroupStatus> {
        self.running.as_ref()?.core.status(app)
    }

    /// An application's state here, if the node runs.
    pub fn machine(&self, app: AppNdx) -> Option<&Machine> {
        Some(&self.running.as_ref()?.groups[group(app)].machine)
    }

    /// Commands and reads of clients that are not answered.
    pub fn unanswered(&self) -> usize {
        let groups = self.running.iter().flat_map(|running| &running.groups);
        groups.map(|group| group.pending.len() + group.readers.len()).sum()
    }

    /// Whether it comes back under its name when its disk is lost.
    pub fn comes_back_empty(&self) -> bool {
        self.has(DriverFault::LostDiskComesBack)
    }

    fn has(&self, fault: DriverFault) -> bool {
        self.setting.mistake.is_some_and(|mistake| mistake.is(fault))
    }

    /// Whether the disk has lost what no node may forget: it does not start then, ever again.
    pub fn has_forgotten(&self) -> bool {
        let promises = self.setting.config.apps.iter().map(|&app| self.disk.durable(app).promise_is_damaged);
        let lost_its_end = self.disk.has_lost_its_end() && !self.has(DriverFault::LostEndUnnoticed);
        lost_its_end || promises.into_iter().any(|is_damaged| is_damaged)
    }

    /// Starts with what is on the disk, unless that is beyond its program.
    pub fn start(&mut self, around: &mut Surroundings<'_>) {
        self.incarnation += 1;
        self.sync_fails = false;
        self.paused_until_ms = 0;
        let node = self.setting.index;
        let mut recovered_groups = BTreeMap::new();
        let mut groups = Vec::new();
        for &app in &self.setting.config.apps {
            let mut recovered = self.recover(app);
            if let Some(snapshot) = self.usable_snapshot(app, &recovered) {
                recovered.begin_behind(snapshot.applied);
            } else if recovered.cut > Slot(0) && !self.has(DriverFault::LostSnapshotIsEmpty) {
                recovered.end_chosen_before(Slot(1));
            }
            around.checks.protocol.on_recover(node, app, &recovered, &self.disk, &mut around.checks.verdict);
            around.checks.state.on_start(node, app);
            let machine = match self.rebuild(app, &recovered, around) {
                Ok(machine) => machine,
                Err(unknown) => return around.outputs.push(Output::TooOld(unknown)),
            };
            recovered.configuration = machine.state().configuration.clone();
            groups.push(Group {
                app,
                machine,
                leader: None,
                term: None,
                pending: BTreeMap::new(),
                forwarded: BTreeMap::new(),
                readers: Vec::new(),
                is_fetching: false,
            });
            recovered_groups.insert(app, recovered);
        }
        let config = Config { incarnation: self.incarnation, ..self.setting.config.clone() };
        self.running = Some(Running {
            core: Core::new(config, recovered_groups),
            groups,
            effects: Vec::new(),
            ticks: 0,
            reads: BTreeMap::new(),
            read_last: 0,
            programs: Programs::new(self.setting.nodes),
            later: Vec::new(),
            scrubbed: vec![Slot(0); self.setting.config.apps.len()],
        });
        let genesis = Configuration::genesis(self.setting.config.members.clone());
        self.want(genesis, around);
    }

    /// These are wanted as members.
    pub fn want(&mut self, wanted: Configuration, around: &mut Surroundings<'_>) {
        self.wanted = wanted.clone();
        let others = (0..self.setting.nodes).map(node_id).collect();
        self.step(Event::Nodes { others, wanted }, around);
    }

    fn recover(&self, app: AppNdx) -> Recovered {
        let mut recovered = self.disk.recover(app);
        if self.has(DriverFault::DamageReadAsEmpty) {
            recovered.damaged_through = Slot(0);
        }
        if self.has(DriverFault::DamagedEndCutOff) && recovered.damaged_through > Slot(0) {
            let damaged = |slot: &Slot| *self.disk.durable(app).entry(*slot) == Entry::Damaged;
            let first = (recovered.chosen.next().0..).map(Slot).find(damaged).unwrap_or_default();
            recovered.accepted.split_off(&first);
            (recovered.damaged_through, recovered.known) = (Slot(0), recovered.chosen);
        }
        while self.has(DriverFault::AcceptedTakenForChosen)
            && recovered.accepted.remove(&recovered.chosen.next()).is_some()
        {
            recovered.chosen = recovered.chosen.next();
        }
        recovered
    }

    /// The snapshot, if the log goes on where it ends.
    fn usable_snapshot(&self, app: AppNdx, recovered: &Recovered) -> Option<&Snapshot> {
        self.disk.snapshot(app).filter(|snapshot| snapshot.applied >= recovered.cut)
    }

    /// The machine as of what is chosen, from the last snapshot and the journal.
    fn rebuild(
        &self,
        app: AppNdx,
        recovered: &Recovered,
        around: &mut Surroundings<'_>,
    ) -> Result<Machine, UnknownLevel> {
        let node = self.setting.index;
        let founders = Founders::each_alone(&self.setting.administrators[group(app)]);
        let founders = Founders { level: self.setting.level, ..founders };
        let mut machine = Machine::new(CLUSTER, app, &founders, operations::application());
        if let Some(snapshot) = self.usable_snapshot(app, recovered)
            && let Some(restored) = self.restore(app, snapshot, around)
        {
            machine = restored;
        }
        let mut machine = self.programmed(machine)?;
        let first = machine.state().applied.next();
        for slot in (first.0..=recovered.chosen.0).map(Slot) {
            let Entry::Held(_, decree) = self.disk.durable(app).entry(slot) else { break };
            let applied = machine.apply(slot, decree)?;
            around.checks.on_applied(node, app, decree, &machine, &applied);
        }
        Ok(machine)
    }

    /// The same machine, as this node's program executes it.
    fn programmed(&self, machine: Machine) -> Result<Machine, UnknownLevel> {
        let broken = self.setting.mistake.map(Mistake::machine).unwrap_or_default();
        Ok(machine.with_levels(self.levels)?.with(broken))
    }

    fn restore(&self, app: AppNdx, snapshot: &Snapshot, around: &mut Surroundings<'_>) -> Option<Machine> {
        let restored = Machine::restore(CLUSTER, app, &snapshot.bytes, operations::application());
        around.checks.verdict.demand(restored.is_ok(), "a snapshot is restored", || {
            format!("n{} cannot restore a snapshot of slot {}", self.setting.index + 1, snapshot.applied)
        });
        restored.ok()
    }

    /// Stops at once.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// A tick passed.
    pub fn on_tick(&mut self, around: &mut Surroundings<'_>) {
        let Some(running) = &mut self.running else { return };
        running.ticks += 1;
        self.step(Event::Tick, around);
        self.scrub(around);
        self.propose_ticks(around);
        if self.running.as_ref().is_some_and(|running| running.ticks % RETRY_TICKS == 0) {
            self.retry(around);
        }
    }

    /// A message arrived, of a program that knew these levels.
    pub fn on_message(
        &mut self,
        from: usize,
        levels: Versions,
        message: Message,
        around: &mut Surroundings<'_>,
    ) {
        if let Some(running) = &mut self.running {
            running.programs.hear(from, levels, around.now_ms);
        }
        match message {
            Message::Forward { app, hops, commands } => self.on_forward(from, app, hops, commands, around),
            Message::ForwardRefused { app, refused } => self.on_forward_refused(app, &refused, around),
            // The key-value application refers to no files, and nobody here asks how far the others are.
            Message::Content(_)
            | Message::Chunk(_)
            | Message::Cosign(_)
            | Message::Gossip(_)
            | Message::Route(_)
            | Message::States(_)
            | Message::Checkpoint { .. }
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. } => {}
            Message::Heartbeat { .. } | Message::HeartbeatReply { .. } | Message::Group { .. } => {
                self.step(Event::Message { from: node_id(from), message }, around);
            }
        }
    }

    /// A client asks.
    pub fn on_request(
        &mut self,
        caller: Caller,
        app: AppNdx,
        request: Request,
        around: &mut Surroundings<'_>,
    ) {
        let Some(running) = &mut self.running else { return };
        let group = &mut running.groups[group(app)];
        match request {
            Request::Command(command) => {
                if let Some(receipt) = group.machine.state().receipt_of(&command) {
                    around.outputs.push(Output::Answer(caller, Answer::Executed(receipt)));
                    return;
                }
                let pending = group.pending.entry(command.id()).or_insert_with(|| Pending {
                    command: command.clone(),
                    callers: Vec::new(),
                    since_ticks: running.ticks,
                });
                if !pending.callers.contains(&caller) {
                    pending.callers.push(caller);
                }
                self.propose(app, vec![command], around);
            }
            Request::Read { linearizable: false } => {
                let state_ndx = group.machine.state().state_ndx;
                let answer = Answer::State { linearizable: false, state_ndx };
                around.checks.state.on_local(self.setting.index, app, state_ndx, &mut around.checks.verdict);
                around.outputs.push(Output::Answer(caller, answer));
            }
            Request::Read { linearizable: true } => {
                running.read_last += 1;
                let read = ReadId(running.read_last);
                running.reads.insert(read, caller);
                self.step(Event::Read { app, read }, around);
            }
        }
    }

    /// The sync that ran is through.
    pub fn on_synced(&mut self, writes: Vec<Write>, around: &mut Surroundings<'_>) {
        let up_to = writes.last().map_or(PersistNdx(0), |write| write.ndx);
        for (to, message) in writes.into_iter().flat_map(|write| write.unlocks) {
            if !self.has(DriverFault::AcknowledgeBeforeSync) {
                around.outputs.push(Output::Send(node_index(to), message));
            }
        }
        self.step(Event::Durable { up_to }, around);
    }

    /// Whichever groups it leads, another node is to lead.
    pub fn hand_over(&mut self, to: usize, around: &mut Surroundings<'_>) {
        for app in self.setting.config.apps.clone() {
            self.step(Event::HandOver { app, to: Some(node_id(to)) }, around);
        }
    }

    /// A snapshot came that was asked for, or nobody gave it.
    pub fn on_fetched(&mut self, app: AppNdx, snapshot: Option<Snapshot>, around: &mut Surroundings<'_>) {
        let Some(running) = &mut self.running else { return };
        running.groups[group(app)].is_fetching = false;
        let Some(snapshot) = snapshot else { return };
        let slot = snapshot.applied;
        let Some(machine) = self.restore(app, &snapshot, around) else { return };
        let machine = match self.programmed(machine) {
            Ok(machine) => machine,
            Err(unknown) => return self.give_up(unknown, around),
        };
        let configuration = machine.state().configuration.clone().unwrap_or_default();
        if self.disk.snapshot(app).is_none_or(|own| own.applied < slot) {
            self.disk.keep_snapshot(app, snapshot);
        }
        self.step(Event::SnapshotFetched { app, slot, configuration }, around);
    }

    /// Looks at the next records, whether they can be read.
    fn scrub(&mut self, around: &mut Surroundings<'_>) {
        let mut found = Vec::new();
        for &app in &self.setting.config.apps {
            let Some(running) = &mut self.running else { return };
            let (image, last) = (self.disk.written(app), self.disk.last_slot(app));
            let scrubbed = &mut running.scrubbed[group(app)];
            if *scrubbed >= last {
                *scrubbed = image.cut;
                found.extend(image.promise_is_damaged.then_some((app, Damage::Promise)));
            }
            let first = scrubbed.next();
            scrubbed.0 += SCRUB_SLOTS;
            let slots = (first.0..=scrubbed.0).map(Slot);
            let damaged = slots.filter(|slot| *image.entry(*slot) == Entry::Damaged);
            found.extend(damaged.map(|slot| (app, Damage::Slot(slot))));
        }
        for (app, what) in found {
            self.step(Event::Damaged { app, what }, around);
        }
    }

    /// Proposes a tick for each application in which something has run out.
    fn propose_ticks(&mut self, around: &mut Surroundings<'_>) {
        let reading = self.read_clock(around);
        if self.has(DriverFault::NoTicks) {
            return;
        }
        for place in 0..self.setting.config.apps.len() {
            let Some(running) = &mut self.running else { return };
            let group = &mut running.groups[place];
            let (app, view) = (group.app, group.machine.state());
            let Some(term) = &mut group.term else { continue };
            let wants = |term, now| view.wants_tick(term, now);
            if let Some(now) = term.tick(reading, view.applied, wants) {
                around.checks.leases.on_tick(self.setting.index, app, term.ballot(), now);
                self.step(Event::ProposeTick { app, now }, around);
            }
        }
    }

    /// The program is too old for what it has met.
    fn give_up(&mut self, unknown: UnknownLevel, around: &mut Surroundings<'_>) {
        self.running = None;
        around.outputs.push(Output::TooOld(unknown));
    }

    /// Refuses those commands that raise an application, which this node leads, to a level that some member is not known to
    /// know; gives the others.
    fn hold_back(
        &mut self,
        app: AppNdx,
        commands: Vec<SignedCommand>,
        around: &mut Surroundings<'_>,
    ) -> Vec<SignedCommand> {
        let (index, levels, wanted) = (self.setting.index, self.levels, self.wanted.members.clone());
        let Some(running) = &mut self.running else { return commands };
        let group = &mut running.groups[group(app)];
        if group.term.is_none() {
            return commands;
        }
        running.programs.hear(index, levels, around.now_ms);
        let voters = running.core.configurations().remove(&app).unwrap_or_default().members;
        let members = || wanted.iter().chain(&voters).copied();
        let (kept, held): (Vec<_>, Vec<_>) = commands.into_iter().partition(|command| {
            let body = CommandBody::decode(&command.body).expect("clients of a world make commands");
            let level = group.machine.state().raises(&body);
            level.is_none_or(|level| running.programs.all_know(level, members(), around.now_ms))
        });
        for command in held {
            let id = command.id();
            if let Some((from, _)) = group.forwarded.remove(&id) {
                let refusal = Refusal::new(RefusalCode::Conflict, "a member's program is too old");
                let message = Message::ForwardRefused { app, refused: vec![(id, refusal)] };
                around.outputs.push(Output::Send(node_index(from), message));
            }
            group.refuse(id, around.outputs);
        }
        kept
    }

    /// Another node does not order these. What it refuses for good is over; the rest stays here, and is tried again in time.
    fn on_forward_refused(
        &mut self,
        app: AppNdx,
        refused: &[(CommandId, Refusal)],
        around: &mut Surroundings<'_>,
    ) {
        let Some(running) = &mut self.running else { return };
        let for_good = refused.iter().filter(|(_, refusal)| refusal.code == RefusalCode::Conflict);
        for (id, _) in for_good {
            running.groups[group(app)].refuse(*id, around.outputs);
        }
    }

    fn propose(&mut self, app: AppNdx, mut commands: Vec<SignedCommand>, around: &mut Surroundings<'_>) {
        let Some(running) = &mut self.running else { return };
        let leading = &mut running.groups[group(app)];
        if leading.term.is_some() {
            // Whoever hands on what was executed has not seen it yet, and will.
            commands.retain(|command| {
                let is_executed = leading.machine.state().receipt_of(command).is_some();
                if is_executed {
                    leading.forwarded.remove(&command.id());
                }
                !is_executed
            });
        }
        let commands = self.hold_back(app, commands, around);
        if commands.is_empty() {
            return;
        }
        let reading = self.read_clock(around);
        let Some(running) = &mut self.running else { return };
        let now = match &mut running.groups[group(app)].term {
            Some(term) => {
                around.checks.leases.on_commands(self.setting.index, app, term.ballot(), &commands);
                term.now(reading)
            }
            None => self.clock.wall(around.now_ms),
        };
        self.step(Event::Propose { app, commands, now }, around);
    }

    /// What this node's clocks show. Whoever asks attends to its driver.
    fn read_clock(&mut self, around: &mut Surroundings<'_>) -> Reading {
        if self.has(DriverFault::PausesCount) {
            let terms = self.running.iter_mut().flat_map(|running| &mut running.groups);
            for term in terms.filter_map(|group| group.term.as_mut()) {
                for ms in (self.read_ms..around.now_ms).step_by(50) {
                    term.now(self.clock.read(ms));
                }
            }
        }
        self.read_ms = around.now_ms;
        let reading = self.clock.read(around.now_ms);
        around.checks.leases.on_attended(self.setting.index, reading.monotonic_us);
        let of_the_wall = self.has(DriverFault::TimeOfTheWall);
        Reading { monotonic_us: if of_the_wall { reading.wall_us } else { reading.monotonic_us }, ..reading }
    }

    fn on_forward(
        &mut self,
        from: usize,
        app: AppNdx,
        hops: u8,
        commands: Vec<SignedCommand>,
        around: &mut Surroundings<'_>,
    ) {
        let Some(running) = &mut self.running else { return };
        let group = &mut running.groups[group(app)];
        for command in &commands {
            if group.forwarded.len() < INTAKE_COMMANDS_MAX {
                group.forwarded.insert(command.id(), (node_id(from), hops));
            }
        }
        self.propose(app, commands, around);
    }

    /// Proposes again what entered here long ago; what cannot be proposed is passed on.
    fn retry(&mut self, around: &mut Surroundings<'_>) {
        for place in 0..self.setting.config.apps.len() {
            let Some(running) = &mut self.running else { return };
            let oldest = running.ticks.saturating_sub(RETRY_TICKS);
            let given_up = running.ticks.saturating_sub(PENDING_TICKS);
            let group = &mut running.groups[place];
            group.pending.retain(|_, pending| pending.since_ticks >= given_up);
            let late = group.pending.values().filter(|pending| pending.since_ticks < oldest);
            let commands: Vec<_> = late.map(|pending| pending.command.clone()).collect();
            if !commands.is_empty() {
                let app = group.app;
                self.propose(app, commands, around);
            }
        }
    }

    /// Gives the core an event and does what it wants.
    fn step(&mut self, event: Event, around: &mut Surroundings<'_>) {
        let Some(running) = &mut self.running else { return };
        running.core.step(event, &mut running.effects);
        let mut effects = std::mem::take(&mut running.effects);
        let persisted = effects.iter().rev().find_map(|effect| match effect {
            Effect::Persist { ndx, .. } => Some(*ndx),
            _ => None,
        });
        for effect in effects.drain(..) {
            self.perform(effect, around);
        }
        if let Some(running) = &mut self.running {
            running.effects = effects;
        }
        if self.disk.start_sync() {
            around.outputs.push(Output::Sync);
        }
        if let Some(up_to) = persisted.filter(|_| self.has(DriverFault::DurableBeforeSync)) {
            self.step(Event::Durable { up_to }, around);
        }
        while let Some(event) = self.running.as_mut().and_then(|running| running.later.pop()) {
            self.step(event, around);
        }
    }

    fn perform(&mut self, effect: Effect, around: &mut Surroundings<'_>) {
        let mistake = self.setting.mistake;
        let has = |fault| mistake.is_some_and(|mistake| mistake.is(fault));
        let Some(running) = &mut self.running else { return };
        match effect {
            Effect::Persist { ndx, records, unlocks } => {
                if has(DriverFault::AcknowledgeBeforeSync) {
                    let sends = unlocks.iter().map(|(to, message)| (node_index(*to), message.clone()));
                    around.outputs.extend(sends.map(|(to, message)| Output::Send(to, message)));
                }
                self.disk.write(Write { ndx, records, unlocks });
            }
            Effect::Send { to, message } => around.outputs.push(Output::Send(node_index(to), message)),
            Effect::Chosen { app, slot, decree } => self.on_chosen(app, slot, decree, around),
            Effect::ServeLog { to, app, from, up_to } => {
                let decrees = self.disk.read_log(app, from, up_to);
                let is_there = *self.disk.written(app).entry(from) != Entry::Empty;
                around.checks.verdict.demand(is_there, "a log has no holes", || {
                    format!("n{} serves slot {from}, and nothing is there", self.setting.index + 1)
                });
                let message = if !decrees.is_empty() {
                    GroupMessage::CatchUp { from, decrees }
                } else {
                    running.later.push(Event::Damaged { app, what: Damage::Slot(from) });
                    match self.checkpoint(app).filter(|checkpoint| checkpoint.slot >= from) {
                        Some(checkpoint) => {
                            let certificate = Certificate { checkpoint, signatures: Vec::new() };
                            GroupMessage::Snapshot { certificate }
                        }
                        None => GroupMessage::Unreadable { slot: from },
                    }
                };
                around.outputs.push(Output::Send(node_index(to), Message::Group { app, message }));
            }
            Effect::RecordLost { app, slot, is_needed } => self.on_lost(app, slot, is_needed, around),
            Effect::OfferSnapshot { to, app } => {
                if let Some(checkpoint) = self.checkpoint(app) {
                    let certificate = Certificate { checkpoint, signatures: Vec::new() };
                    let message = Message::Group { app, message: GroupMessage::Snapshot { certificate } };
                    around.outputs.push(Output::Send(node_index(to), message));
                }
            }
            Effect::FetchSnapshot { certificate } => {
                let group = &mut running.groups[group(certificate.checkpoint.app)];
                if !std::mem::replace(&mut group.is_fetching, true) {
                    around.outputs.push(Output::Fetch(certificate.checkpoint));
                }
            }
            Effect::InstallSnapshot { app, slot } => self.on_install(app, slot, around),
            Effect::ReadGranted { app, read, index } => {
                let group = &mut running.groups[group(app)];
                let Some(caller) = running.reads.remove(&read) else { return };
                let waits = group.machine.state().applied < index && !has(DriverFault::ReadBeforeApplied);
                if waits {
                    group.readers.push((index, caller));
                } else {
                    let state_ndx = group.machine.state().state_ndx;
                    let answer = Answer::State { linearizable: true, state_ndx };
                    around.outputs.push(Output::Answer(caller, answer));
                }
            }
            Effect::ReadRefused { read, code, .. } => {
                if let Some(caller) = running.reads.remove(&read) {
                    around.outputs.push(Output::Answer(caller, Answer::Refused(code)));
                }
            }
            Effect::Unproposed { app, commands, code } => {
                let (own, nodes, ticks) = (self.setting.index, self.setting.nodes, running.ticks);
                running.groups[group(app)].on_unproposed((own, nodes), ticks, commands, code, around.outputs);
            }
            Effect::LeaderChanged { app, leader, leads } => {
                let reading = self.read_clock(around);
                let Some(running) = &mut self.running else { return };
                let Some(status) = running.core.status(app) else { return };
                let group = &mut running.groups[group(app)];
                let open = u64::try_from(status.open).expect("usize has at most 64 bits");
                let began = Slot(status.chosen.0 + open);
                let term = leader.filter(|_| leads).map(|ballot| Term::begin(ballot, began, reading));
                group.term = term;
                let leader = leader.map(|ballot| ballot.node);
                group.leader = leader;
                around.outputs.push(Output::Leader(app, leader, leads));
            }
        }
    }

    fn on_chosen(&mut self, app: AppNdx, slot: Slot, decree: Decree, around: &mut Surroundings<'_>) {
        let keeps_nothing = self.has(DriverFault::CutWithoutSnapshot);
        let Some(running) = &mut self.running else { return };
        let node = self.setting.index;
        let Surroundings { checks, outputs, .. } = around;
        checks.protocol.on_chosen(node, app, slot, &decree, &mut checks.verdict);
        let group = &mut running.groups[group(app)];
        if let Some(term) = &mut group.term {
            term.on_chosen(slot, &decree);
        }
        let applied = match group.machine.apply(slot, &decree) {
            Ok(applied) => applied,
            Err(unknown) => return self.give_up(unknown, around),
        };
        checks.on_applied(node, app, &decree, &group.machine, &applied);
        outputs.push(Output::Chosen(app, slot, decree));
        for applied in applied {
            group.forwarded.remove(&applied.command);
            let callers =
                group.pending.remove(&applied.command).map_or_else(Vec::new, |pending| pending.callers);
            for caller in callers {
                outputs.push(Output::Answer(caller, Answer::of(&applied)));
            }
        }
        group.answer_readers(outputs);
        let is_due = self.setting.snapshot_slots.is_some_and(|slots| slot.0.is_multiple_of(slots));
        // A snapshot that the log does not reach durably would leave a hole in it after a crash.
        if is_due && self.disk.is_whole(app, slot) {
            let bytes = group.machine.snapshot();
            checks.state.on_snapshot(node, app, slot, &bytes, &mut checks.verdict);
            if !keeps_nothing {
                self.disk.keep_snapshot(app, Snapshot { applied: slot, bytes });
            }
            let cut = self.setting.kept_slots.map(|kept| Slot(slot.0.saturating_sub(kept)));
            running.later.extend(cut.map(|slot| Event::CutLog { app, slot }));
        }
    }

    /// No node has the record of a slot any more. What the state has of it is kept, if the log goes on from there.
    fn on_lost(&mut self, app: AppNdx, slot: Slot, is_needed: bool, around: &mut Surroundings<'_>) {
        around.outputs.push(Output::Lost(app, slot, is_needed));
        if is_needed {
            return self.stop();
        }
        let Some(running) = &mut self.running else { return };
        let machine = &running.groups[group(app)].machine;
        let (applied, image) = (machine.state().applied, self.disk.durable(app));
        let mut behind = (slot.next().0..=applied.0).map(Slot);
        if behind.all(|slot| matches!(image.entry(slot), Entry::Held(..))) {
            self.disk.keep_snapshot(app, Snapshot { applied, bytes: machine.snapshot() });
        }
    }

    /// The state of this node's snapshot.
    fn checkpoint(&self, app: AppNdx) -> Option<Checkpoint> {
        let snapshot = self.disk.snapshot(app)?;
        let machine = Machine::restore(CLUSTER, app, &snapshot.bytes, operations::application()).ok()?;
        let view = machine.state();
        let (slot, state_ndx, chain) = (snapshot.applied, view.state_ndx, view.chain);
        Some(Checkpoint { app, slot, state_ndx, chain, index: ContentKey::of(&snapshot.bytes) })
    }

    fn on_install(&mut self, app: AppNdx, slot: Slot, around: &mut Surroundings<'_>) {
        let node = self.setting.index;
        around.checks.protocol.on_installed(node, app, slot, &mut around.checks.verdict);
        let snapshot = self.disk.snapshot(app).filter(|snapshot| snapshot.applied == slot);
        let restored = snapshot.and_then(|snapshot| self.restore(app, snapshot, around));
        let programmed = restored.map(|machine| self.programmed(machine));
        let machine = match programmed {
            None => return,
            Some(Ok(machine)) => machine,
            Some(Err(unknown)) => return self.give_up(unknown, around),
        };
        let Some(running) = &mut self.running else { return };
        around.checks.state.on_installed(node, app, &machine, &mut around.checks.verdict);
        let group = &mut running.groups[group(app)];
        group.machine = machine;
        around.outputs.push(Output::Installed(app, slot));
        group.answer_executed(around.outputs);
        group.answer_readers(around.outputs);
    }
}

impl Group {
    /// Answers whoever waits for what was executed on the way to a state that came whole.
    fn answer_executed(&mut self, outputs: &mut Vec<Output>) {
        let machine = &self.machine;
        self.pending.retain(|_, pending| {
            let Some(receipt) = machine.state().receipt_of(&pending.command) else { return true };
            let answers = pending.callers.iter().map(|&caller| (caller, Answer::Executed(receipt.clone())));
            outputs.extend(answers.map(|(caller, answer)| Output::Answer(caller, answer)));
            false
        });
    }

    /// Tells whoever waits for a command that it is not going to be ordered.
    fn refuse(&mut self, command: CommandId, outputs: &mut Vec<Output>) {
        let callers = self.pending.remove(&command).map_or_else(Vec::new, |pending| pending.callers);
        let answer = Answer::Refused(RefusalCode::Conflict);
        outputs.extend(callers.into_iter().map(|caller| Output::Answer(caller, answer.clone())));
    }

    /// Answers the reads whose slot is applied.
    fn answer_readers(&mut self, outputs: &mut Vec<Output>) {
        let (applied, state_ndx) = (self.machine.state().applied, self.machine.state().state_ndx);
        self.readers.retain(|&(index, caller)| {
            let waits = index > applied;
            if !waits {
                outputs.push(Output::Answer(caller, Answer::State { linearizable: true, state_ndx }));
            }
            waits
        });
    }

    /// Commands that this node cannot order go to who can; what came a long way goes back. While nobody leads, what entered here
    /// goes to all, who keep it.
    fn on_unproposed(
        &mut self,
        (node, nodes): (usize, usize),
        since_ticks: u64,
        commands: Vec<SignedCommand>,
        code: RefusalCode,
        outputs: &mut Vec<Output>,
    ) {
        let leader = self.leader.map(node_index).filter(|&leader| leader != node);
        let mut onward: BTreeMap<u8, Vec<SignedCommand>> = BTreeMap::new();
        let mut back: BTreeMap<NodeId, Vec<(CommandId, Refusal)>> = BTreeMap::new();
        for command in commands {
            let id = command.id();
            match self.forwarded.remove(&id) {
                None => onward.entry(0).or_default().push(command),
                Some((_, hops)) if hops < HOPS_MAX && leader.is_some() => {
                    onward.entry(hops + 1).or_default().push(command);
                }
                Some(_) if self.leader.is_none() && code == RefusalCode::NoLeader => {
                    if self.machine.state().receipt_of(&command).is_some() {
                        continue;
                    }
                    let kept = || Pending { command, callers: Vec::new(), since_ticks };
                    self.pending.entry(id).or_insert_with(kept);
                }
                Some((from, _)) => {
                    let refusal = Refusal::new(code, "not ordered here; it is tried again");
                    back.entry(from).or_default().push((id, refusal));
                }
            }
        }
        let app = self.app;
        if let Some(leader) = leader {
            let forwards =
                onward.into_iter().map(|(hops, commands)| Message::Forward { app, hops, commands });
            outputs.extend(forwards.map(|message| Output::Send(leader, message)));
        } else if self.leader.is_none() {
            let entered = |command: &SignedCommand| {
                self.pending.get(&command.id()).is_some_and(|pending| !pending.callers.is_empty())
            };
            let commands: Vec<_> = onward.into_values().flatten().filter(entered).collect();
            if !commands.is_empty() {
                let message = || Message::Forward { app, hops: 0, commands: commands.clone() };
                outputs.extend((0..nodes).filter(|&to| to != node).map(|to| Output::Send(to, message())));
            }
        }
        for (from, refused) in back {
            outputs.push(Output::Send(node_index(from), Message::ForwardRefused { app, refused }));
        }
    }
}
