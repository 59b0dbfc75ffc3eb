//! The driver: the one task that steps the protocol core and performs its effects, in order.
//!
//! It decides nothing about the protocol. What it decides is where a command goes that entered somewhere: to the
//! core if this node leads, to the leader otherwise, and nowhere while there is none.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use synod_gateway::{AppDoor, AppPublisher, Fence, Leader, NodeStates, ReadQuestion, ReadRefused};
use synod_journal::{Journal, ReadError};
use synod_machine::Machine;
use synod_mesh::{Mesh, PeerStatus};
use synod_paxos::{Core, Damage, Effect, Event, GroupStatus, PersistNdx, ReadId, Reading, Term};
use synod_types::limits::{BATCH_BYTES_MAX, CATCH_UP_BYTES_MAX};
use synod_types::{
    AppNdx, Ballot, CommandBody, CommandId, Decree, Digest, GroupMessage, Message, NodeId, Refusal,
    RefusalCode, SignedCommand, Slot, StateNdx, TimeMs, Versions,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use crate::chains::{Chains, Claims};
use crate::directories::is_disowned;
use crate::divergence::Evidence;
use crate::fitness::{Disk, Fitness, News};
use crate::freshness::Freshness;
use crate::intake::Intake;
use crate::roster::{Registrar, Roster};
use crate::snapshots::{Ask, Snapshots};
use crate::space::{self, Space};
use crate::states::States;
use crate::tasks::Fatal;
use crate::upgrade::LevelGate;

/// The core counts in these.
pub const TICK: Duration = Duration::from_millis(20);
/// Ticks after which the intake looks for what waits too long.
const INTAKE_TICKS: u32 = 5;
/// Why a node ends that comes back with an empty disk.
const DISOWNED: &str = "the other nodes know this one with another data directory: with this one it has forgotten what it \
    promised, and must not go on as the node that it was. If the old directory is there, give it back (data_dir); if it is lost, \
    make a new key and certificate (synod member prepare) and take this node's place (synod member replace)";
/// States before the one in which a difference was seen, from which on others are asked for theirs.
const CHAIN_VALUES_BACK: u64 = 1000;
/// How often a forwarded command may be passed on: to a node that is not the leader any more, and from there.
const HOPS_MAX: u8 = 2;
/// Messages that are taken before effects of others get a turn.
const MESSAGES_MAX: usize = 64;

/// Where every application of the cluster stands in its group.
pub type Groups = BTreeMap<AppNdx, GroupStatus>;

/// Local events for the driver. Each kind is bounded by what causes it: persists by the core's own limits, questions
/// by the gateway's.
pub(crate) enum Input {
    Durable(PersistNdx),
    Read(AppNdx, ReadQuestion),
    /// A snapshot of this slot came, and holds this state.
    SnapshotFetched(AppNdx, Slot, Box<Machine>),
    /// Certified snapshots have everything up to here.
    CutLog(AppNdx, Slot),
    /// Another node is to lead whatever this one leads.
    HandOver,
    /// The journal cannot give this any more.
    Damaged(AppNdx, Damage),
}

/// What an applier gets.
pub(crate) enum Next {
    /// Apply this.
    Decree(Slot, Decree),
    /// Go on from this state.
    Install(Box<Machine>),
}

/// One application, as the driver sees it.
pub(crate) struct App {
    door: Arc<AppDoor>,
    publisher: Arc<AppPublisher>,
    chosen: mpsc::UnboundedSender<Next>,
    leader: Option<Ballot>,
    /// What there is while this node leads.
    term: Option<Term>,
    freshness: Freshness,
    chains: Arc<Chains>,
    claims: Claims,
    /// Who is to lead, as the core was told.
    preferred: Option<NodeId>,
    /// Readers see everything that belongs to the state. That is not so after a start without a file to which the state
    /// refers; what is published later never lacks one.
    is_complete: bool,
}

impl App {
    /// An application whose chosen decrees go to `chosen`.
    pub(crate) fn new(
        publisher: Arc<AppPublisher>,
        chosen: mpsc::UnboundedSender<Next>,
        chains: Arc<Chains>,
    ) -> App {
        let door = Arc::clone(publisher.door());
        App {
            door,
            publisher,
            chosen,
            leader: None,
            term: None,
            freshness: Freshness::default(),
            chains,
            claims: Claims::default(),
            preferred: None,
            is_complete: false,
        }
    }

    /// Whether readers see everything that belongs to the state.
    fn is_complete(&mut self) -> bool {
        self.is_complete = self.is_complete || self.door.peek().app.wanted().is_empty();
        self.is_complete
    }
}

/// Where effects go.
pub(crate) struct Ways {
    pub mesh: Arc<Mesh>,
    pub journal: Journal,
    pub intake: Arc<Intake>,
    pub snapshots: Snapshots,
    /// How far the other nodes are.
    pub states: Arc<NodeStates>,
    /// Who the nodes are; the driver keeps it up to date.
    pub roster: Arc<Roster>,
    /// Whether disks have room.
    pub space: Arc<Space>,
    /// By the rules of which levels this program can execute.
    pub levels: Versions,
    /// Ends the node.
    pub fatal: Fatal,
    /// Where it is written down that this node differs.
    pub data_dir: PathBuf,
    /// Back to the driver itself.
    pub inputs: mpsc::UnboundedSender<Input>,
}

impl Ways {
    /// Writes down what was found of a divergence.
    fn note(&self, evidence: Evidence) {
        if let Err(why) = evidence.write(&self.data_dir) {
            error!(app = evidence.app_ndx, %why, "cannot write down that this node differs from the others");
        }
    }
}

/// Who asked for a read index.
enum Asker {
    /// Readers.
    Readers(ReadQuestion),
    /// This node itself, to know whether its state is the newest.
    Freshness,
}

pub(crate) struct Driver {
    core: Core,
    node: NodeId,
    /// The application that keeps the members.
    home: AppNdx,
    registrar: Registrar,
    apps: BTreeMap<AppNdx, App>,
    ways: Ways,
    groups: Arc<ArcSwap<Groups>>,
    reads: HashMap<ReadId, Asker>,
    reads_last: u64,
    states: States,
    /// How the disks are.
    fitness: Fitness,
    clocks: Clocks,
    effects: Vec<Effect>,
    /// The state of a snapshot that the core is being told of.
    fetched: Option<Box<Machine>>,
    /// Commands to hand on once the effects of the present event are performed: a persist must never overtake one
    /// that was asked for earlier.
    later: Vec<(AppNdx, Vec<SignedCommand>)>,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        home: AppNdx,
        registrar: Registrar,
        apps: BTreeMap<AppNdx, App>,
        ways: Ways,
        groups: Arc<ArcSwap<Groups>>,
    ) -> Driver {
        let mut driver = Driver {
            core,
            node: registrar.own.id,
            home,
            registrar,
            apps,
            ways,
            groups,
            reads: HashMap::new(),
            reads_last: 0,
            states: States::default(),
            fitness: Fitness::default(),
            clocks: Clocks { started: Instant::now() },
            effects: Vec::new(),
            fetched: None,
            later: Vec::new(),
        };
        driver.tell_core();
        driver.tell_groups();
        driver
    }

    /// Runs until `stop` is set.
    pub(crate) async fn run(
        mut self,
        mut messages: mpsc::Receiver<(NodeId, Message)>,
        mut inputs: mpsc::UnboundedReceiver<Input>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ticks = 0;
        let mut received = Vec::new();
        let mut local = Vec::new();
        let intake = Arc::clone(&self.ways.intake);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => return,
                _ = ticker.tick() => {
                    self.step(Event::Tick);
                    self.propose_ticks();
                    self.tell_states();
                    ticks += 1;
                    if ticks % INTAKE_TICKS == 0 {
                        self.on_intake_tick();
                    }
                }
                _ = inputs.recv_many(&mut local, MESSAGES_MAX) => {
                    for input in local.drain(..) {
                        self.on_input(input);
                    }
                }
                _ = intake.fresh.notified() => self.on_fresh(),
                _ = messages.recv_many(&mut received, MESSAGES_MAX) => {
                    for (from, message) in received.drain(..) {
                        self.on_message(from, message);
                    }
                }
            }
            while let Some((app, commands)) = self.later.pop() {
                self.hand_on(app, commands);
            }
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Durable(up_to) => self.step(Event::Durable { up_to }),
            Input::Read(app, question) => self.ask(app, Asker::Readers(question)),
            Input::SnapshotFetched(app, slot, machine) => {
                let configuration = machine.state().configuration.clone().unwrap_or_default();
                self.fetched = Some(machine);
                self.step(Event::SnapshotFetched { app, slot, configuration });
                // The core may have come further meanwhile.
                self.fetched = None;
                self.tell_groups();
            }
            Input::HandOver => {
                for app in self.apps.keys().copied().collect::<Vec<_>>() {
                    self.step(Event::HandOver { app, to: None });
                }
            }
            Input::Damaged(app, what) => {
                self.step(Event::Damaged { app, what });
                self.tell_groups();
            }
            Input::CutLog(app, slot) => {
                self.step(Event::CutLog { app, slot });
                self.tell_groups();
            }
        }
    }

    fn ask(&mut self, app: AppNdx, asker: Asker) {
        self.reads_last += 1;
        let read = ReadId(self.reads_last);
        self.reads.insert(read, asker);
        self.step(Event::Read { app, read });
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Forward { app, hops, commands } => self.on_forward(from, app, hops, commands),
            Message::ForwardRefused { app, refused } => self.on_forward_refused(from, app, refused),
            Message::ChainRequest { app, from: first } => {
                if let Some((first, values)) = self.apps.get(&app).and_then(|state| state.chains.from(first))
                {
                    self.ways.mesh.send(from, &Message::Chain { app, from: first, values });
                }
            }
            Message::Chain { app, from: first, values } => self.on_chain(app, first, &values),
            Message::Disk { is_low, is_slow, sync_us } => {
                let sync_time = Duration::from_micros(sync_us.into());
                self.fitness.heard(from, Disk { is_low, is_slow, sync_time });
            }
            // As if it had been lost: it is asked for again where there is room.
            Message::Group {
                message: GroupMessage::Accept { .. } | GroupMessage::CatchUp { .. }, ..
            } if self.ways.space.is_low() => {}
            Message::States(mut states) => {
                states.retain(|(app, ..)| self.apps.contains_key(app));
                for (app, state_ndx, chain) in &states {
                    if let Some(state) = self.apps.get_mut(app) {
                        state.claims.heard(from, *state_ndx, *chain);
                    }
                }
                let states: Vec<_> = states.into_iter().map(|(app, state_ndx, _)| (app, state_ndx)).collect();
                self.ways.states.heard(from, &states);
            }
            message => self.step(Event::Message { from, message }),
        }
    }

    // Commands on their way to the leader.

    fn on_fresh(&mut self) {
        let mut by_app: BTreeMap<AppNdx, Vec<SignedCommand>> = BTreeMap::new();
        for (app, command) in self.ways.intake.take_fresh() {
            by_app.entry(app).or_default().push(command);
        }
        for (app, commands) in by_app {
            self.hand_on(app, commands);
        }
    }

    /// Hands commands that wait at this node to the leader, wherever it is.
    fn hand_on(&mut self, app: AppNdx, commands: Vec<SignedCommand>) {
        let Some(state) = self.apps.get(&app) else { return };
        if state.term.is_some() {
            let refused = self.propose(app, commands);
            self.ways.intake.on_refused(refused);
        } else if let Some(leader) = state.leader {
            self.forward(leader.node, app, 0, commands);
        } else {
            self.relay(app, commands);
        }
    }

    /// Gives what entered here to all who vote, while nobody leads: it is ordered, also if this node dies before anybody does.
    fn relay(&self, app: AppNdx, mut commands: Vec<SignedCommand>) {
        self.ways.intake.retain_entered(&mut commands);
        if commands.is_empty() {
            return;
        }
        for other in self.ways.roster.load().voters(app).iter().filter(|voter| **voter != self.node) {
            self.forward(*other, app, 0, commands.clone());
        }
    }

    fn forward(&self, to: NodeId, app: AppNdx, hops: u8, commands: Vec<SignedCommand>) {
        let (mut part, mut bytes) = (Vec::new(), 0);
        for command in commands {
            bytes += command.len();
            part.push(command);
            if bytes >= BATCH_BYTES_MAX {
                let commands = std::mem::take(&mut part);
                self.ways.mesh.send(to, &Message::Forward { app, hops, commands });
                bytes = 0;
            }
        }
        if !part.is_empty() {
            self.ways.mesh.send(to, &Message::Forward { app, hops, commands: part });
        }
    }

    fn on_forward(&mut self, from: NodeId, app: AppNdx, hops: u8, commands: Vec<SignedCommand>) {
        let Some(state) = self.apps.get(&app) else { return };
        if state.term.is_some() {
            let refused = self.propose(app, commands);
            if !refused.is_empty() {
                self.ways.mesh.send(from, &Message::ForwardRefused { app, refused });
            }
        } else if let Some(leader) = state.leader
            && leader.node != from
            && leader.node != self.node
            && hops < HOPS_MAX
        {
            self.forward(leader.node, app, hops + 1, commands);
        } else if state.leader.is_none() {
            self.ways.intake.keep(app, commands);
        }
    }

    /// Only a leader refuses: nobody else can have clients told that their command is.
    fn on_forward_refused(&self, from: NodeId, app: AppNdx, refused: Vec<(CommandId, Refusal)>) {
        if self.apps.get(&app).and_then(|state| state.leader).is_some_and(|leader| leader.node == from) {
            self.ways.intake.on_refused(refused);
        }
    }

    /// Proposes what this application, which this node leads, admits; returns what it refuses for good.
    fn propose(&mut self, app: AppNdx, mut commands: Vec<SignedCommand>) -> Vec<(CommandId, Refusal)> {
        let mut refused = Vec::new();
        let known = self.ways.roster.load_full();
        if self.fitness.lacks_majority(known.voters(app), self.node, self.ways.space.is_low()) {
            let refusal = space::refusal_of_majority();
            return commands.iter().map(|command| (command.id(), refusal.clone())).collect();
        }
        let Some(state) = self.apps.get_mut(&app) else { return refused };
        let Some(term) = &mut state.term else { return refused };
        let now = term.now(self.clocks.read());
        let view = state.door.view();
        let is_reached = term.is_reached_by(view.applied);
        let own = self.ways.levels;
        let gate = LevelGate { app, view: &view, is_reached, known: &known, own };
        let mesh = &self.ways.mesh;
        let mut executed = Vec::new();
        commands.retain(|command| {
            let body = CommandBody::decode(&command.body);
            if let Ok(body) = &body
                && let Some(receipt) = view.receipt(body.commander, body.seq, command.id())
            {
                // Whoever hands it on again has not seen it executed yet, and will.
                executed.push((command.id(), receipt));
                return false;
            }
            let admitted = if is_reached {
                let body = body.map_err(|why| Refusal::new(RefusalCode::Malformed, why));
                body.and_then(|body| view.admit(&body, now))
            } else {
                Ok(())
            };
            match admitted.and_then(|()| gate.check(command, || mesh.peers())) {
                Ok(()) => true,
                Err(refusal) => {
                    refused.push((command.id(), refusal));
                    false
                }
            }
        });
        if !executed.is_empty() {
            self.ways.intake.on_executed(executed);
        }
        if !commands.is_empty() {
            self.step(Event::Propose { app, commands, now });
        }
        refused
    }

    /// Proposes a tick for each application in which something has run out.
    fn propose_ticks(&mut self) {
        let mut due = Vec::new();
        for (&app, state) in &mut self.apps {
            let Some(term) = &mut state.term else { continue };
            let view = state.door.peek();
            let wants = |term, now| view.wants_tick(term, now);
            if let Some(now) = term.tick(self.clocks.read(), view.applied, wants) {
                due.push(Event::ProposeTick { app, now });
            }
        }
        for event in due {
            self.step(event);
        }
    }

    fn on_intake_tick(&mut self) {
        let apps = &self.apps;
        let again = self.ways.intake.on_tick(|app| apps.get(&app).is_some_and(|state| state.term.is_some()));
        for (app, commands) in again {
            self.hand_on(app, commands);
        }
        let groups = self.tell_groups();
        for (app, status) in &*groups {
            let Some(state) = self.apps.get_mut(app) else { continue };
            if status.leader.is_some() && state.door.peek().applied >= status.known && state.is_complete() {
                state.publisher.set_caught_up();
            }
        }
        self.keep_roster();
        self.ways.intake.set_outside(self.is_outside());
        self.keep_preferences();
        self.judge();
        self.refresh();
        let peers = self.ways.mesh.peers();
        self.keep_fitness(&peers);
        self.states.forget_the_lost(&peers, &self.ways.states);
        if is_disowned(&peers) {
            self.ways.fatal.raise(DISOWNED.to_owned());
        }
    }

    /// Finds out who had better not lead, and tells the others how this node's disk is.
    fn keep_fitness(&mut self, peers: &[PeerStatus]) {
        let own = (self.node, self.ways.space.is_low(), self.ways.journal.sync_time());
        let is_up = |node| peers.iter().any(|peer| peer.id == node && peer.is_up());
        let was_slow = self.fitness.is_slow();
        let news = self.fitness.look(own, is_up, Instant::now());
        match (was_slow, self.fitness.is_slow()) {
            (false, true) => {
                warn!(sync = ?own.2, "this node's disk is much slower than those of the others: they are to lead until it is not");
            }
            (true, false) => info!(sync = ?own.2, "this node's disk is as fast as those of the others again"),
            _ => {}
        }
        metrics::gauge!("synod_disk_is_slow").set(f64::from(u8::from(self.fitness.is_slow())));
        if let Some(News { message, unfit }) = news {
            let others: Vec<NodeId> = self.ways.roster.load().others().collect();
            self.ways.mesh.send_to(&others, &message);
            self.step(Event::Unfit { nodes: unfit });
        }
    }

    /// Whether this node has no part in the cluster, as [`synod_gateway::ClusterStatus::is_outside`] has it.
    fn is_outside(&self) -> bool {
        let known = self.ways.roster.load();
        let takes_part =
            |(&app, state): (&AppNdx, &App)| state.leader.is_some() && known.voters(app).contains(&self.node);
        known.members.iter().all(|member| member.id != self.node) && !self.apps.iter().any(takes_part)
    }

    /// Finds out whether this node's states are those of the others.
    fn judge(&mut self) {
        let known = self.ways.roster.load_full();
        let mut fenced = Vec::new();
        for (&app, state) in &mut self.apps {
            let judged = state.claims.judge(&state.chains, known.voters(app));
            let Some((state_ndx, others)) = judged.filter(|_| state.door.fence().is_none()) else { continue };
            let others: Vec<&str> = others.iter().filter_map(|node| known.name(*node)).collect();
            metrics::counter!("synod_divergences_total", "app" => app.to_string()).increment(1);
            error!(%app, %state_ndx, others = others.join(", "), "this node has come to another state than a majority, and \
                answers nobody from that application any more; keep its directory as it is for who looks into it, then: synod repair");
            state.publisher.set_fence(Fence { state_ndx, is_exact: false });
            let chain = state.chains.at(state_ndx).map(|chain| chain.to_string());
            let others = others.into_iter().map(str::to_owned).collect();
            self.ways.note(Evidence {
                app_ndx: app.0,
                state_ndx: state_ndx.0,
                is_exact: false,
                chain,
                others,
            });
            fenced.push((app, state_ndx));
        }
        for (app, state_ndx) in fenced {
            // The very first state that differs lies before, as far as both remember.
            let first = StateNdx(state_ndx.0.saturating_sub(CHAIN_VALUES_BACK));
            let others: Vec<NodeId> = known.others().collect();
            self.ways.mesh.send_to(&others, &Message::ChainRequest { app, from: first });
            self.step(Event::HandOver { app, to: None });
        }
    }

    /// Another node's chain values, for one that knows that it differs.
    fn on_chain(&mut self, app: AppNdx, first: StateNdx, values: &[Digest]) {
        let Some(state) = self.apps.get(&app) else { return };
        let Some(fence) = state.door.fence().filter(|fence| !fence.is_exact) else { return };
        let Some(state_ndx) = state.chains.first_difference(first, values) else { return };
        // One with the same value stands before it, else it may not be the first.
        let is_exact = state_ndx > first;
        if is_exact || state_ndx < fence.state_ndx {
            error!(%app, %state_ndx, is_exact, "the first state that differs from the others'");
            state.publisher.set_fence(Fence { state_ndx, is_exact });
            let chain = state.chains.at(state_ndx).map(|chain| chain.to_string());
            let before = Evidence::find(&self.ways.data_dir, app);
            let others = before.map(|before| before.others).unwrap_or_default();
            self.ways.note(Evidence { app_ndx: app.0, state_ndx: state_ndx.0, is_exact, chain, others });
        }
    }

    /// Finds out who is to lead, for each application.
    fn keep_preferences(&mut self) {
        let mut changed = Vec::new();
        for (&app, state) in &mut self.apps {
            let node = state.door.peek().authority().leader();
            if std::mem::replace(&mut state.preferred, node) != node {
                changed.push(Event::Prefer { app, node });
            }
        }
        for event in changed {
            self.step(event);
        }
    }

    /// Finds out whether the nodes have changed, or whose votes decide, and tells everybody.
    fn keep_roster(&mut self) {
        let Some(home) = self.apps.get(&self.home) else { return };
        let view = home.door.view();
        let Some(members) = view.authority().members() else { return };
        let voters = self.core.configurations();
        let before = self.ways.roster.load_full();
        if before.members == *members && before.voters == voters {
            return;
        }
        let known = self.registrar.known(members, voters);
        if known.nodes != before.nodes
            && let Err(why) = self.ways.mesh.set_peers(known.peers())
        {
            error!(%why, "the nodes that are members now cannot all be reached");
        }
        self.ways.mesh.set_rejected(members.rejected().to_vec());
        info!(epoch = %members.configuration().epoch, members = members.iter().count(), "members");
        let is_member =
            |members: &synod_machine::Members| members.iter().any(|member| member.id == self.node);
        match (is_member(&before.members), is_member(members)) {
            (true, false) => warn!(
                "this node is no member of the cluster any more: it votes until the others go on without it"
            ),
            (false, true) => {
                info!("this node is a member of the cluster: it votes as soon as it has nearly everything")
            }
            (true, true) | (false, false) => {}
        }
        self.ways.roster.store(Arc::new(known));
        self.tell_core();
    }

    fn tell_core(&mut self) {
        let known = self.ways.roster.load_full();
        let (others, wanted) = (known.others().collect(), known.members.configuration());
        self.step(Event::Nodes { others, wanted });
    }

    /// Says where every group stands, for those who look at it from elsewhere.
    fn tell_groups(&self) -> Arc<Groups> {
        let groups = self.apps.keys().filter_map(|&app| Some((app, self.core.status(app)?)));
        let groups: Arc<Groups> = Arc::new(groups.collect());
        self.groups.store(Arc::clone(&groups));
        groups
    }

    /// Finds out, for each application, whether its state is the newest.
    fn refresh(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (&app, state) in &mut self.apps {
            state.freshness.on_applied(state.door.peek().applied, &state.publisher);
            if state.freshness.is_due(now, state.door.age()) {
                due.push(app);
            }
        }
        for app in due {
            self.ask(app, Asker::Freshness);
        }
    }

    /// Tells the other nodes how far this one is.
    fn tell_states(&mut self) {
        let complete = self.apps.iter_mut().filter_map(|(&app, state)| {
            let is_complete = state.is_complete();
            is_complete.then(|| {
                let view = state.door.peek();
                (app, view.state_ndx, view.chain)
            })
        });
        if let Some(message) = self.states.on_tick(complete) {
            let peers: Vec<NodeId> = self.ways.roster.load().others().collect();
            self.ways.mesh.send_to(&peers, &message);
        }
    }

    // The core.

    fn step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(event, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ndx, records, unlocks } => {
                let (mesh, inputs) = (Arc::clone(&self.ways.mesh), self.ways.inputs.clone());
                let done = move || {
                    for (to, message) in unlocks {
                        mesh.send(to, &message);
                    }
                    // The driver is gone only when the node stops.
                    let _ = inputs.send(Input::Durable(ndx));
                };
                self.ways.journal.append(records, Box::new(done));
            }
            Effect::Send { to, message } => self.ways.mesh.send(to, &message),
            Effect::Chosen { app, slot, decree } => {
                if let Some(state) = self.apps.get_mut(&app) {
                    if let Some(term) = &mut state.term {
                        term.on_chosen(slot, &decree);
                    }
                    // The applier is gone only when the node stops.
                    let _ = state.chosen.send(Next::Decree(slot, decree));
                }
            }
            Effect::ServeLog { to, app, from, up_to } => self.serve_log(to, app, from, up_to),
            Effect::RecordLost { app, slot, is_needed } => self.on_lost(app, slot, is_needed),
            Effect::OfferSnapshot { to, app } => {
                if let Some(certificate) = self.ways.snapshots.certified(app) {
                    let message = GroupMessage::Snapshot { certificate };
                    self.ways.mesh.send(to, &Message::Group { app, message });
                }
            }
            Effect::FetchSnapshot { certificate } => self.ways.snapshots.tell(Ask::Fetch(certificate)),
            Effect::InstallSnapshot { app, slot } => {
                if let (Some(state), Some(machine)) = (self.apps.get(&app), self.fetched.take()) {
                    info!(%app, %slot, "goes on from a snapshot");
                    // As above.
                    let _ = state.chosen.send(Next::Install(machine));
                }
            }
            Effect::ReadGranted { app, read, index } => {
                match (self.reads.remove(&read), self.apps.get_mut(&app)) {
                    (Some(Asker::Readers(question)), _) => question.grant(index),
                    (Some(Asker::Freshness), Some(state)) => {
                        state.freshness.on_granted(index);
                        state.freshness.on_applied(state.door.peek().applied, &state.publisher);
                    }
                    (Some(Asker::Freshness), None) | (None, _) => {}
                }
            }
            Effect::ReadRefused { app, read, code } => {
                match (self.reads.remove(&read), self.apps.get_mut(&app)) {
                    (Some(Asker::Readers(question)), _) => question.refuse(match code {
                        RefusalCode::Busy => ReadRefused::Busy,
                        _ => ReadRefused::NoLeader,
                    }),
                    (Some(Asker::Freshness), Some(state)) => state.freshness.on_refused(),
                    (Some(Asker::Freshness), None) | (None, _) => {}
                }
            }
            Effect::Unproposed { app, commands, code } => self.on_unproposed(app, commands, code),
            Effect::LeaderChanged { app, leader, leads } => self.on_leader_changed(app, leader, leads),
        }
    }

    fn serve_log(&self, to: NodeId, app: AppNdx, from: Slot, up_to: Slot) {
        let (mesh, inputs, snapshots) =
            (Arc::clone(&self.ways.mesh), self.ways.inputs.clone(), self.ways.snapshots.clone());
        let reply = move |read: Result<Vec<(Slot, Ballot, Decree)>, _>| match read {
            Err(ReadError::Damaged { .. }) => cannot_serve(app, from, to, &mesh, &inputs, &snapshots),
            Ok(decrees) if decrees.is_empty() => cannot_serve(app, from, to, &mesh, &inputs, &snapshots),
            Ok(decrees) => {
                let decrees = decrees.into_iter().map(|(_, _, decree)| decree).collect();
                let message = GroupMessage::CatchUp { from, decrees };
                mesh.send(to, &Message::Group { app, message });
            }
            Err(why) => warn!(%app, %from, %why, "cannot serve the log to another node"),
        };
        self.ways.journal.read(app, from, up_to, CATCH_UP_BYTES_MAX, Box::new(reply));
    }

    /// No node's log has the record of a slot any more.
    fn on_lost(&self, app: AppNdx, slot: Slot, is_needed: bool) {
        if is_needed {
            return self.ways.fatal.raise(format!(
                "the record of slot {slot} of application {app} is damaged here, and no other node can read its own: the state of \
                 that application cannot be made without it. Stop all nodes, keep their directories as they are, and restore the \
                 cluster from a backup or an archive that reaches slot {slot}"
            ));
        }
        let Some(state) = self.apps.get(&app) else { return };
        let view = state.door.view();
        error!(%app, %slot, applied = %view.applied, "the record of this slot is damaged on all nodes; the state has what was in \
            it, and is kept as a snapshot");
        self.ways.snapshots.tell(Ask::Due(view));
    }

    /// What entered here stays pending and finds the next leader; who forwarded the others sends them again. Only
    /// fullness is an answer.
    fn on_unproposed(&mut self, app: AppNdx, commands: Vec<SignedCommand>, code: RefusalCode) {
        debug!(%app, commands = commands.len(), why = code.name(), "not proposed");
        if code == RefusalCode::Busy {
            let refusal = Refusal::new(code, "the leader's queue is full; try again later");
            let refused = commands.iter().map(|command| (command.id(), refusal.clone())).collect();
            self.ways.intake.on_refused(refused);
        }
    }

    fn on_leader_changed(&mut self, app: AppNdx, leader: Option<Ballot>, leads: bool) {
        let Some(status) = self.core.status(app) else { return };
        let Some(state) = self.apps.get_mut(&app) else { return };
        let before = std::mem::replace(&mut state.leader, leader);
        state.term = leader.filter(|_| leads).map(|ballot| {
            let open = u64::try_from(status.open).expect("usize has at most 64 bits");
            Term::begin(ballot, Slot(status.chosen.0 + open), self.clocks.read())
        });
        metrics::counter!("synod_leader_changes_total", "app" => app.to_string()).increment(1);
        let known = self.ways.roster.load();
        let name = |ballot: Ballot| known.name(ballot.node).unwrap_or_default().to_owned();
        match leader {
            Some(ballot) => info!(%app, leader = name(ballot), ballot = ballot.number, leads, "leader"),
            None => warn!(%app, "no leader"),
        }
        state.publisher.set_leader(leader.map(|ballot| Leader { id: ballot.node, name: name(ballot) }));
        self.tell_groups();
        if leader != before {
            let pending = self.ways.intake.entered_of(app);
            self.later.push((app, pending));
        }
    }
}

/// Tells a node that asked that this one cannot read its record of slot `from`; or what it can have instead.
fn cannot_serve(
    app: AppNdx,
    from: Slot,
    to: NodeId,
    mesh: &Mesh,
    inputs: &mpsc::UnboundedSender<Input>,
    snapshots: &Snapshots,
) {
    warn!(%app, slot = %from, "cannot serve the log to another node: the record of this slot is damaged");
    let certificate = snapshots.certified(app).filter(|certificate| certificate.checkpoint.slot >= from);
    let message = match certificate {
        Some(certificate) => GroupMessage::Snapshot { certificate },
        None => GroupMessage::Unreadable { slot: from },
    };
    mesh.send(to, &Message::Group { app, message });
    // The driver is gone only when the node stops.
    let _ = inputs.send(Input::Damaged(app, Damage::Slot(from)));
}

/// The system's clocks. The monotonic one is read from here on.
struct Clocks {
    started: Instant,
}

impl Clocks {
    fn read(&self) -> Reading {
        Reading { monotonic_us: micros(self.started.elapsed()), wall_us: micros(wall()) }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// This node's wall clock, for what is decided before a command is ordered.
pub(crate) fn now() -> TimeMs {
    TimeMs(u64::try_from(wall().as_millis()).unwrap_or(u64::MAX))
}
