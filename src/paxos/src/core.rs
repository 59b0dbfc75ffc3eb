//! All groups of one node, and the heartbeats that they share.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::limits::PIPELINE_SLOTS_MAX;
use synod_types::message::GroupBeat;
use synod_types::{AppNdx, Configuration, Message, NodeId, Recovered, RefusalCode};

use crate::broken::Broken;
use crate::event::{Effect, Event, PersistNdx};
use crate::group::{Group, GroupConfig, GroupStatus};
use crate::outbox::Outbox;
use crate::plausible::is_plausible_beat;

/// Who this node is and how it counts time. All times are in ticks of the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The voting members of the first epoch, in the order of the genesis document. This node need not be among them.
    pub members: Vec<NodeId>,
    /// The groups.
    pub apps: Vec<AppNdx>,
    /// Ticks of a heartbeat round.
    pub heartbeat_ticks: u32,
    /// Rounds without an answer after which a node counts as out of reach.
    pub heartbeat_misses_max: u64,
    /// Ticks after which an unanswered Prepare, Accept or Confirm is sent again.
    pub retry_ticks: u32,
    /// Ticks after which a read that was asked of another node is refused.
    pub read_ticks: u32,
    /// Rounds for which the node that is preferred as a group's leader has to be there, and not behind, before another one
    /// that leads hands over to it.
    pub spread_rounds: u32,
    /// Slots that a leader keeps open.
    pub pipeline_slots: usize,
    /// Differs from start to start of this node; the driver draws it at random. What this node numbers in memory only,
    /// its questions to others, is numbered from here, so that an answer to its former life is none to this one.
    pub incarnation: u32,
    /// What is wrong on purpose; nothing, without the cargo feature.
    pub broken: Broken,
}

impl Config {
    /// Defaults for ticks of 20 ms on a local network: a dead leader is noticed after about half a second, and a leader that
    /// is not the preferred one hands over after a minute.
    pub fn new(node: NodeId, members: Vec<NodeId>, apps: Vec<AppNdx>) -> Config {
        Config {
            node,
            members,
            apps,
            heartbeat_ticks: 5,
            heartbeat_misses_max: 4,
            retry_ticks: 25,
            read_ticks: 50,
            spread_rounds: 600,
            pipeline_slots: PIPELINE_SLOTS_MAX,
            incarnation: 0,
            broken: Broken::NOT,
        }
    }
}

/// Questions of one incarnation are numbered from here; it never asks as many as there are up to the next one.
fn first_number(incarnation: u32) -> u64 {
    u64::from(incarnation) << 32
}

/// The protocol of one node: a function of its state and an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Core {
    config: Config,
    /// The nodes with which this one is connected.
    others: BTreeSet<NodeId>,
    /// The members that are wanted.
    wanted: Configuration,
    groups: BTreeMap<AppNdx, Group>,
    last_persist: PersistNdx,
    /// The heartbeat round that is under way.
    round: u64,
    /// Ticks left of it.
    ticks_left: u32,
    /// The latest answer of each node, and the round that it answered.
    heard: BTreeMap<NodeId, (u64, Vec<GroupBeat>)>,
}

impl Core {
    /// A node that goes on from what its journal recovered. Groups without an entry begin empty.
    ///
    /// # Panics
    /// If there can be no such members: see [`Configuration::is_possible`].
    pub fn new(config: Config, mut recovered: BTreeMap<AppNdx, Recovered>) -> Core {
        let genesis = Configuration::genesis(config.members.clone());
        let group = |&app: &AppNdx| {
            let group_config = GroupConfig {
                retry_ticks: config.retry_ticks,
                read_ticks: config.read_ticks,
                spread_rounds: config.spread_rounds,
                pipeline_slots: config.pipeline_slots,
                first_number: first_number(config.incarnation),
                broken: config.broken,
            };
            let recovered = recovered.remove(&app).unwrap_or_default();
            (app, Group::new(app, config.node, &genesis, group_config, recovered))
        };
        let groups = config.apps.iter().map(group).collect();
        let others = config.members.iter().copied().filter(|&member| member != config.node).collect();
        Core {
            others,
            wanted: genesis,
            groups,
            last_persist: PersistNdx(0),
            round: first_number(config.incarnation),
            ticks_left: 1,
            heard: BTreeMap::new(),
            config,
        }
    }

    /// Where one group stands.
    pub fn status(&self, app: AppNdx) -> Option<GroupStatus> {
        self.groups.get(&app).map(Group::status)
    }

    /// Whose votes decide, in each group.
    pub fn configurations(&self) -> BTreeMap<AppNdx, Configuration> {
        self.groups.iter().map(|(&app, group)| (app, group.members().configuration())).collect()
    }

    /// Takes one event; what is to be done is appended to `effects`, in order.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Tick => self.on_tick(effects),
            Event::Message { from, message } => {
                if self.others.contains(&from) {
                    self.on_message(from, message, effects);
                }
            }
            Event::Propose { app, commands, now } => match self.group(app, effects) {
                Some((group, mut out)) => group.on_propose(commands, now, &mut out),
                None => effects.push(Effect::Unproposed { app, commands, code: RefusalCode::UnknownApp }),
            },
            Event::ProposeTick { app, now } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_propose_tick(now, &mut out);
                }
            }
            Event::Read { app, read } => match self.group(app, effects) {
                Some((group, mut out)) => group.on_read(read, &mut out),
                None => effects.push(Effect::ReadRefused { app, read, code: RefusalCode::UnknownApp }),
            },
            Event::HandOver { app, to } => self.hand_over(app, to, effects),
            Event::Prefer { app, node } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_prefer(node, &mut out);
                }
            }
            Event::Unfit { nodes } => self.on_unfit(&nodes, effects),
            Event::Nodes { others, wanted } => self.on_nodes(others, wanted),
            Event::SnapshotFetched { app, slot, configuration } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_snapshot_fetched(slot, configuration, &mut out);
                }
            }
            Event::Damaged { app, what } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_damaged(what, &mut out);
                }
            }
            Event::CutLog { app, slot } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_cut(slot, &mut out);
                }
            }
            Event::Durable { up_to } => {
                self.each_group(effects, |group, out| group.on_durable(up_to, out));
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, effects: &mut Vec<Effect>) {
        match message {
            Message::Heartbeat { round } => {
                let groups = self.groups.values().map(Group::beat).collect();
                effects.push(Effect::Send { to: from, message: Message::HeartbeatReply { round, groups } });
            }
            Message::HeartbeatReply { round, groups } => {
                let last = self.heard.get(&from).map_or(0, |(round, _)| *round);
                if round <= self.round && round >= last && groups.iter().all(is_plausible_beat) {
                    self.heard.insert(from, (round, groups));
                }
            }
            Message::Group { app, message } => {
                if let Some((group, mut out)) = self.group(app, effects) {
                    group.on_message(from, message, &mut out);
                }
            }
            // The driver's own.
            Message::Forward { .. }
            | Message::ForwardRefused { .. }
            | Message::Content(_)
            | Message::Chunk(_)
            | Message::Cosign(_)
            | Message::Gossip(_)
            | Message::Route(_)
            | Message::States(_)
            | Message::Checkpoint { .. }
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. } => {}
        }
    }

    fn on_tick(&mut self, effects: &mut Vec<Effect>) {
        self.each_group(effects, Group::on_tick);
        self.ticks_left -= 1;
        if self.ticks_left > 0 {
            return;
        }
        self.ticks_left = self.config.heartbeat_ticks;
        if self.round > first_number(self.config.incarnation) {
            let oldest = self.round.saturating_sub(self.config.heartbeat_misses_max);
            self.heard.retain(|_, (round, _)| *round > oldest || *round == self.round);
            let heard = std::mem::take(&mut self.heard);
            let wanted = std::mem::take(&mut self.wanted);
            self.each_group(effects, |group, out| {
                let app = group.beat().app;
                let beat_of = |beats: &[GroupBeat]| beats.iter().find(|beat| beat.app == app).copied();
                let beats: Vec<_> =
                    heard.iter().filter_map(|(&node, (_, beats))| Some((node, beat_of(beats)?))).collect();
                group.on_round(&beats, &wanted, out);
            });
            self.heard = heard;
            self.wanted = wanted;
        }
        self.round += 1;
        let message = Message::Heartbeat { round: self.round };
        effects.extend(self.others.iter().map(|&to| Effect::Send { to, message: message.clone() }));
    }

    fn on_nodes(&mut self, others: Vec<NodeId>, wanted: Configuration) {
        self.others = others.into_iter().filter(|&node| node != self.config.node).collect();
        self.wanted = wanted;
        self.heard.retain(|node, _| self.others.contains(node));
        for group in self.groups.values_mut() {
            group.forget_strangers(&self.others);
        }
    }

    fn hand_over(&mut self, app: AppNdx, to: Option<NodeId>, effects: &mut Vec<Effect>) {
        let to = to.or_else(|| self.furthest(app));
        if let (Some(to), Some((group, mut out))) = (to, self.group(app, effects)) {
            group.on_hand_over(to, &mut out);
        }
    }

    fn on_unfit(&mut self, nodes: &BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        self.each_group(effects, |group, _| group.on_unfit(nodes.clone()));
        if !nodes.contains(&self.config.node) {
            return;
        }
        for app in self.config.apps.clone() {
            // To another one that is no better nothing need be handed over.
            if let Some(to) = self.furthest(app).filter(|to| !nodes.contains(to)) {
                self.hand_over(app, Some(to), effects);
            }
        }
    }

    /// Who has chosen most, of the voters that were heard last.
    fn furthest(&self, app: AppNdx) -> Option<NodeId> {
        let group = self.groups.get(&app)?;
        let chosen = |beats: &[GroupBeat]| beats.iter().find(|beat| beat.app == app).map(|beat| beat.chosen);
        let standing =
            self.heard.iter().filter_map(|(&node, (round, beats))| Some((*round, chosen(beats)?, node)));
        let standing = standing.filter(|(.., node)| group.members().contains(*node));
        let latest = standing.clone().map(|(round, ..)| round).max()?;
        let reached = standing.filter(|(round, ..)| *round == latest);
        reached.max_by_key(|(_, chosen, node)| (group.is_fit(*node), *chosen)).map(|(.., node)| node)
    }

    fn group<'a>(
        &'a mut self,
        app: AppNdx,
        effects: &'a mut Vec<Effect>,
    ) -> Option<(&'a mut Group, Outbox<'a>)> {
        let group = self.groups.get_mut(&app)?;
        Some((group, Outbox::new(app, effects, &mut self.last_persist)))
    }

    fn each_group(&mut self, effects: &mut Vec<Effect>, mut f: impl FnMut(&mut Group, &mut Outbox<'_>)) {
        for (&app, group) in &mut self.groups {
            f(group, &mut Outbox::new(app, effects, &mut self.last_persist));
        }
    }
}
