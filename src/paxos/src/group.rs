//! One application's Paxos group, seen from one node: acceptor, learner, and candidate or leader.
//!
//! Everything that happens to a group comes in through one of the `on_` functions, and everything that it wants
//! leaves through the [`Outbox`]. A message that carries a leader's ballot is taken only from the node that owns
//! the ballot.
//!
//! A group's life is a sequence of **epochs**, each with its members. A decree, [`Decree::Seal`], ends an epoch: the slots up
//! to it are decided by a majority of its members, the slots behind it by a majority of the next ones'. (This is the
//! stop-sign of OmniPaxos, section 6, in one log.) A node is in the epoch to which its chosen slots bring it, and it
//! promises and accepts in no later one: so a majority's promises in an epoch say that each of them has everything from
//! before, and whoever was removed is not needed any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use synod_types::message::{AcceptedSlot, GroupBeat};
use synod_types::{
    AppNdx, Ballot, Configuration, Decree, Epoch, GroupMessage, NodeId, Record, Recovered, RefusalCode,
    SignedCommand, Slot, TimeMs,
};

use crate::acceptor::{Acceptance, Acceptor};
use crate::broken::{Broken, Fault};
use crate::candidate::{Candidate, Promise, Takeover};
use crate::election::Election;
use crate::event::{Damage, PersistNdx, ReadId};
use crate::leader::{Leader, Proposals};
use crate::learner::Learner;
use crate::mending::Mending;
use crate::outbox::Outbox;
use crate::plausible::is_plausible;
use crate::quorum::{Members, Votes};
use crate::reads::Reader;

/// Slots that a node may be behind, as its last heartbeat says, and still be handed the lead or a vote.
const NEAR_SLOTS: u64 = 1000;

/// What a node does in a group, beside accepting and learning.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Nothing more.
    Follower,
    /// Gathers promises.
    Candidate(Candidate),
    /// Proposes.
    Leader(Leader),
}

/// Numbers that a group is run with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GroupConfig {
    /// Ticks after which an unanswered Prepare, Accept or Confirm is sent again.
    pub retry_ticks: u32,
    /// Ticks after which a read that was asked of another node is refused.
    pub read_ticks: u32,
    /// See `Config::spread_rounds`.
    pub spread_rounds: u32,
    /// Slots that a leader keeps open.
    pub pipeline_slots: usize,
    /// Reads that are asked of another node are numbered from here: see `Config::incarnation`.
    pub first_number: u64,
    /// What is wrong on purpose.
    pub broken: Broken,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    app: AppNdx,
    members: Members,
    config: GroupConfig,
    acceptor: Acceptor,
    learner: Learner,
    /// Up to here the log was cut off.
    cut: Slot,
    /// That is to be made durable along with the next hint.
    cut_is_due: bool,
    /// What the log does not give any more.
    mending: Mending,
    election: Election,
    role: Role,
    proposals: Proposals,
    /// What this node itself counts when it is durable, in order.
    own: VecDeque<(PersistNdx, Own)>,
    /// Reads that the leader, on another node, was asked about: by our number, with ticks waited.
    asked: BTreeMap<u64, (ReadId, u32)>,
    asked_last: u64,
    /// Who is to lead, where somebody has said so.
    preferred: Option<NodeId>,
    /// Who had better not lead.
    unfit: BTreeSet<NodeId>,
    /// Rounds for which another node should have led.
    misplaced: u32,
    /// What the driver was told last about who leads.
    told: (Option<Ballot>, bool),
}

/// A vote of this node for itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Own {
    Promise(Ballot),
    Accepted(Ballot, Slot),
}

/// A [`Role`] without what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleName {
    /// Accepts and learns.
    Follower,
    /// Gathers promises.
    Candidate,
    /// Proposes.
    Leader,
}

/// Where a group stands, for people and for checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// What it does beside accepting and learning.
    pub role: RoleName,
    /// The epoch to which the chosen slots have come.
    pub epoch: Epoch,
    /// Whether this node votes in it.
    pub is_voter: bool,
    /// The leader that this node sees working.
    pub leader: Option<Ballot>,
    /// The acceptor's promise.
    pub promised: Ballot,
    /// The last slot up to which everything is chosen, and known here.
    pub chosen: Slot,
    /// The last slot up to which some node has said that everything is chosen.
    pub known: Slot,
    /// The last slot that was cut off this node's log.
    pub cut: Slot,
    /// Slots whose records this node cannot read, and searches on the others.
    pub mending: usize,
    /// Records that were had from others since the node started.
    pub mended: u64,
    /// Slots that this node proposed in and that are not chosen.
    pub open: usize,
    /// Commands that wait for a slot.
    pub queued: usize,
}

impl Group {
    /// A group that goes on from what the journal recovered.
    pub fn new(
        app: AppNdx,
        node: NodeId,
        genesis: &Configuration,
        config: GroupConfig,
        recovered: Recovered,
    ) -> Group {
        let Recovered {
            mut promised,
            cut,
            cut_is_due,
            chosen,
            accepted,
            damaged_through,
            known,
            configuration,
        } = recovered;
        let members = Members::new(node, configuration.as_ref().unwrap_or(genesis));
        if config.broken.is(Fault::PromiseForgotten) {
            promised = Ballot::ZERO;
        }
        Group {
            app,
            election: Election::new(&members, app.0, promised),
            acceptor: Acceptor::new(promised, accepted, damaged_through),
            learner: Learner::new(chosen, known),
            cut,
            cut_is_due,
            mending: Mending::new(chosen, known),
            role: Role::Follower,
            proposals: Proposals::default(),
            own: VecDeque::new(),
            asked: BTreeMap::new(),
            asked_last: config.first_number,
            preferred: None,
            unfit: BTreeSet::new(),
            misplaced: 0,
            told: (None, false),
            members,
            config,
        }
    }

    /// Where this node stands.
    pub fn status(&self) -> GroupStatus {
        let (role, open) = match &self.role {
            Role::Follower => (RoleName::Follower, 0),
            Role::Candidate(_) => (RoleName::Candidate, 0),
            Role::Leader(leader) => (RoleName::Leader, leader.open.len()),
        };
        GroupStatus {
            role,
            epoch: self.members.epoch(),
            is_voter: self.members.is_voter(),
            leader: self.visible_leader(),
            promised: self.acceptor.promised(),
            chosen: self.learner.chosen(),
            known: self.learner.known(),
            cut: self.cut,
            mending: self.mending.count(),
            mended: self.mending.found_count(),
            open,
            queued: self.proposals.waiting(),
        }
    }

    /// Who votes.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Only these other nodes are there.
    pub fn forget_strangers(&mut self, others: &BTreeSet<NodeId>) {
        self.learner.forget_strangers(others);
    }

    /// What this node tells the others in a heartbeat.
    pub fn beat(&self) -> GroupBeat {
        GroupBeat {
            app: self.app,
            ballot: self.election.own(),
            leader: self.election.leader(),
            happy: self.election.happy(),
            chosen: self.learner.chosen(),
        }
    }

    /// A message of `from` arrived.
    pub fn on_message(&mut self, from: NodeId, message: GroupMessage, out: &mut Outbox<'_>) {
        if !is_plausible(&message, self.learner.chosen()) {
            return;
        }
        if let Some((ballot, chosen)) = of_leader(&message)
            && ballot.epoch > self.members.epoch()
            && !self.config.broken.is(Fault::VotesBeforeSync)
        {
            return self.learner.on_ahead(from, chosen, out);
        }
        match message {
            GroupMessage::Prepare { ballot, from: first } if ballot.node == from => {
                self.on_prepare(ballot, first, out);
            }
            GroupMessage::Accept { ballot, slot, decree, chosen } if ballot.node == from => {
                self.on_accept(ballot, slot, decree, out);
                self.on_learn(ballot, chosen, out);
            }
            GroupMessage::Learn { ballot, chosen } if ballot.node == from => {
                self.on_learn(ballot, chosen, out);
            }
            GroupMessage::Confirm { ballot, round } if ballot.node == from => {
                self.on_confirm(ballot, round, out);
            }
            GroupMessage::HandOver { ballot, chosen } if ballot.node == from => {
                self.on_handed_over(ballot, chosen, out);
            }
            // Only the owner of a ballot speaks under it.
            GroupMessage::Prepare { .. }
            | GroupMessage::Accept { .. }
            | GroupMessage::Learn { .. }
            | GroupMessage::Confirm { .. }
            | GroupMessage::HandOver { .. } => {}
            GroupMessage::Promise { ballot, chosen, damaged_through, accepted } => {
                self.learner.on_peer(from, chosen);
                self.on_promise(from, ballot, Promise { chosen, damaged_through, accepted }, out);
            }
            GroupMessage::Accepted { ballot, slot } => self.on_accepted(from, ballot, slot, out),
            GroupMessage::Nack { ballot, promised } => self.on_nack(ballot, promised, out),
            GroupMessage::CatchUpRequest { from: first } => {
                if first <= self.cut && !self.config.broken.is(Fault::ServesWhatIsCut) {
                    out.offer_snapshot(from);
                } else if first <= self.learner.chosen() {
                    out.serve_log(from, first, self.learner.chosen());
                }
            }
            GroupMessage::RecordRequest { slot } => self.on_record_request(from, slot, out),
            GroupMessage::Unreadable { slot } => self.on_unreadable(from, slot, out),
            GroupMessage::CatchUp { from: first, decrees } => self.on_catch_up(from, first, &decrees, out),
            GroupMessage::ReadIndexRequest { read } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.reads.push(Reader::There(from, read));
                }
            }
            GroupMessage::ReadIndex { read, index } => {
                if let Some((read, _)) = self.asked.remove(&read) {
                    out.read_granted(read, index);
                }
            }
            GroupMessage::Confirmed { ballot, round } => self.on_confirmed(from, ballot, round, out),
            GroupMessage::Snapshot { certificate } => {
                let of = certificate.checkpoint;
                // Whoever lacks the slot goes on from the snapshot instead.
                for slot in self.mending.through(of.slot.min(self.learner.chosen())) {
                    let donors = self.donors(slot);
                    self.mending.on_denied(from, slot, &donors, out);
                }
                if of.app == self.app && self.has_use_for(of.slot) {
                    out.fetch_snapshot(certificate);
                }
            }
        }
        self.pump(out);
    }

    // Acceptor.

    fn on_prepare(&mut self, ballot: Ballot, first: Slot, out: &mut Outbox<'_>) {
        self.election.on_ballot(ballot);
        if ballot < self.acceptor.promised() {
            return self.nack(ballot, out);
        }
        let records = self.promise(ballot, out);
        let Promise { chosen, damaged_through, mut accepted } = self.own_promise();
        accepted.retain(|accepted| accepted.slot >= first);
        let promise = GroupMessage::Promise { ballot, chosen, damaged_through, accepted };
        out.persist(records, [(ballot.node, promise)]);
    }

    fn on_accept(&mut self, ballot: Ballot, slot: Slot, decree: Decree, out: &mut Outbox<'_>) {
        let broken = self.config.broken;
        if ballot < self.acceptor.promised() && !broken.is(Fault::PromiseNotKept) {
            return self.nack(ballot, out);
        }
        let mut records = self.promise(ballot, out);
        let accepted = [(ballot.node, GroupMessage::Accepted { ballot, slot })];
        if slot <= self.learner.chosen() {
            out.persist(records, accepted);
            return;
        }
        match self.acceptor.accept(self.learner.chosen(), slot, ballot, decree.clone(), broken) {
            Acceptance::New => {
                records.push(Record::Accepted { app: self.app, slot, ballot, decree });
                records.extend(self.take_hint());
                out.persist(records, accepted);
            }
            Acceptance::Repeated => {
                out.persist(records, accepted);
            }
            Acceptance::OutOfReach if records.is_empty() => {}
            Acceptance::OutOfReach => {
                out.persist(records, []);
            }
            Acceptance::Refused => self.nack(ballot, out),
        }
    }

    /// Raises the promise to `ballot`; returns what is to be made durable.
    fn promise(&mut self, ballot: Ballot, out: &mut Outbox<'_>) -> Vec<Record> {
        let before = self.acceptor.promised();
        if !self.acceptor.promise(ballot) {
            return Vec::new();
        }
        self.step_down(out);
        self.records_of_promise(before, ballot)
    }

    /// What makes a promise durable. The first one in an epoch says how the epoch began as well, so that no crash leaves
    /// the one without the other.
    fn records_of_promise(&mut self, before: Ballot, ballot: Ballot) -> Vec<Record> {
        let mut records = vec![Record::Promised { app: self.app, ballot }];
        if ballot.epoch > before.epoch {
            let record = self.learner.take_record(self.app);
            records.extend(self.cut_before(Some(record)));
        }
        records
    }

    /// The hint to write along with other records, if there is a new one.
    fn take_hint(&mut self) -> impl Iterator<Item = Record> + use<> {
        let hint = self.learner.take_hint(self.app);
        self.cut_before(hint)
    }

    /// What is chosen according to the log, behind the record of where the log begins, if that is not durable yet.
    fn cut_before(&mut self, chosen: Option<Record>) -> impl Iterator<Item = Record> + use<> {
        let is_due = self.cut_is_due && chosen.is_some();
        self.cut_is_due &= !is_due;
        let cut = is_due.then_some(Record::Cut { app: self.app, slot: self.cut });
        cut.into_iter().chain(chosen)
    }

    fn own_promise(&self) -> Promise {
        let chosen = self.learner.chosen();
        let mut damaged_through = self.acceptor.damaged_through();
        if self.config.broken.is(Fault::DamageIsEmpty) {
            damaged_through = Slot(0);
        }
        Promise { chosen, damaged_through, accepted: self.acceptor.accepted_behind(chosen) }
    }

    fn nack(&self, ballot: Ballot, out: &mut Outbox<'_>) {
        out.send(ballot.node, GroupMessage::Nack { ballot, promised: self.acceptor.promised() });
    }

    // Learner.

    fn on_learn(&mut self, ballot: Ballot, chosen: Slot, out: &mut Outbox<'_>) {
        self.election.on_leader_heard(ballot);
        self.learner.on_claim(ballot, chosen);
        self.advance(out);
    }

    /// Hands out what is chosen next. A slot may be handed out before its votes are in, if it was known as chosen when
    /// the term began: nobody waits for those votes then.
    fn advance(&mut self, out: &mut Outbox<'_>) {
        let broken = self.config.broken;
        while let Some(next) = self.learner.advance(self.members.epoch(), &mut self.acceptor, out, broken) {
            self.enter(&next, out);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.close_through(self.learner.chosen());
        }
    }

    /// The last chosen slot ended the epoch. Who led in it tells everybody, and stands at once in the next one, or has another
    /// node stand.
    fn enter(&mut self, next: &Configuration, out: &mut Outbox<'_>) {
        let ended = match &self.role {
            Role::Leader(leader) => Some(leader.ballot),
            Role::Candidate(_) | Role::Follower => None,
        };
        self.step_down(out);
        let members = Members::new(self.members.node(), next);
        let before = std::mem::replace(&mut self.members, members);
        self.election.on_epoch(&self.members, self.app.0);
        let Some(ballot) = ended else { return };
        let chosen = self.learner.chosen();
        let told: BTreeSet<NodeId> = before.others().chain(self.members.others()).collect();
        for to in told {
            out.send(to, GroupMessage::Learn { ballot, chosen });
        }
        if self.members.is_voter() {
            let ballot = self.election.stand(self.acceptor.promised(), self.config.broken);
            self.campaign(ballot, out);
        } else {
            out.send(self.preferred(), GroupMessage::HandOver { ballot, chosen });
        }
    }

    /// A leader takes nothing from the others' logs: what is chosen in its slots it has to find out from votes for
    /// its own ballot, or else it would announce, under its ballot, slots in which others hold another decree of it.
    fn on_catch_up(&mut self, from: NodeId, first: Slot, decrees: &[Decree], out: &mut Outbox<'_>) {
        self.mend(first, decrees, out);
        let leads = matches!(self.role, Role::Leader(_)) && !self.config.broken.is(Fault::LeaderTakesCatchUp);
        if leads || first > self.learner.chosen().next() {
            return;
        }
        let mut records = Vec::new();
        let mut slot = first;
        for decree in decrees {
            if slot > self.learner.chosen() && self.acceptor.learn(slot, decree) {
                let (app, ballot) = (self.app, Ballot::CHOSEN);
                records.push(Record::Accepted { app, slot, ballot, decree: decree.clone() });
            }
            slot = slot.next();
        }
        if !records.is_empty() {
            records.extend(self.take_hint());
            out.persist(records, []);
        }
        self.advance(out);
        self.learner.ask_on(from, out);
        self.try_lead(out);
    }

    // Records that cannot be read any more.

    /// Something that was durable cannot be read any more. What this node knows itself is written anew; the decree of a chosen
    /// slot is asked for.
    pub fn on_damaged(&mut self, what: Damage, out: &mut Outbox<'_>) {
        let app = self.app;
        let record = match what {
            Damage::Promise => Record::Promised { app, ballot: self.acceptor.promised() },
            Damage::Chosen => {
                let hint = self.learner.repeat_hint(app);
                let records = self.cut_before(Some(hint)).collect();
                out.persist(records, []);
                return;
            }
            Damage::Cut => {
                self.cut_is_due = false;
                Record::Cut { app, slot: self.cut }
            }
            Damage::Slot(slot) if slot <= self.cut => return,
            Damage::Slot(slot) if slot <= self.learner.chosen() => return self.search(slot, out),
            Damage::Slot(slot) => match self.acceptor.accepted_in(slot) {
                Some((ballot, decree)) => Record::Accepted { app, slot, ballot, decree: decree.clone() },
                // It is told as damaged since the node started.
                None => return,
            },
        };
        out.persist(vec![record], []);
    }

    fn search(&mut self, slot: Slot, out: &mut Outbox<'_>) {
        let (donors, is_needed) = (self.donors(slot), slot > self.learner.chosen());
        self.mending.begin(slot, is_needed, &donors, out);
    }

    /// Who may have the record of a chosen slot: who votes, and who has said that it has come so far.
    fn donors(&self, slot: Slot) -> BTreeSet<NodeId> {
        self.members.others().chain(self.learner.ahead_of(slot)).collect()
    }

    /// Gives the record of one slot. What this node does not know as chosen is not its to give; and unless it has accepted
    /// something there, which may be that, it says that it has nothing.
    fn on_record_request(&mut self, from: NodeId, slot: Slot, out: &mut Outbox<'_>) {
        if slot <= self.cut {
            out.offer_snapshot(from);
        } else if slot <= self.learner.chosen() {
            out.serve_log(from, slot, slot);
        } else {
            match self.acceptor.held(slot) {
                None => out.send(from, GroupMessage::Unreadable { slot }),
                Some(decree) if self.config.broken.is(Fault::MendsFromUnchosen) => {
                    out.send(from, GroupMessage::CatchUp { from: slot, decrees: vec![decree.clone()] });
                }
                Some(_) => {}
            }
        }
    }

    /// Another node's log does not give the record of a slot.
    fn on_unreadable(&mut self, from: NodeId, slot: Slot, out: &mut Outbox<'_>) {
        if slot == self.learner.chosen().next() && slot <= self.learner.known() {
            self.search(slot, out);
        }
        let donors = self.donors(slot);
        self.mending.on_denied(from, slot, &donors, out);
    }

    /// Takes what is searched out of another node's log. That a leader takes no decrees from there is about slots that it does
    /// not know as chosen.
    fn mend(&mut self, first: Slot, decrees: &[Decree], out: &mut Outbox<'_>) {
        let mut records = Vec::new();
        if first > self.learner.chosen() {
            return;
        }
        for (slot, decree) in (first.0..).map(Slot).zip(decrees) {
            let slot = match self.mending.first() {
                Some(any) if self.config.broken.is(Fault::MendsWithAnySlot) => any,
                _ => slot,
            };
            if slot <= self.learner.chosen() && self.mending.found(slot) {
                let (app, ballot) = (self.app, Ballot::CHOSEN);
                records.push(Record::Accepted { app, slot, ballot, decree: decree.clone() });
            }
        }
        if !records.is_empty() {
            out.persist(records, []);
        }
    }

    /// Whether a snapshot of `slot` brings this node further. A leader needs none, for the same reason for which it takes
    /// nothing from the others' logs.
    fn has_use_for(&self, slot: Slot) -> bool {
        let is_newer = slot > self.learner.chosen() || self.config.broken.is(Fault::StaleSnapshot);
        is_newer && !matches!(self.role, Role::Leader(_))
    }

    /// A snapshot of `slot` is durable here.
    pub fn on_snapshot_fetched(&mut self, slot: Slot, configuration: Configuration, out: &mut Outbox<'_>) {
        if !self.has_use_for(slot) {
            return;
        }
        self.acceptor.forget_through(slot);
        self.learner.leap_to(slot);
        out.install_snapshot(slot);
        // The log has a hole before the slot, so that is where it has to begin from now on.
        if !self.config.broken.is(Fault::SnapshotWithoutCut) {
            self.on_cut(slot, out);
        }
        if configuration.follows(self.members.epoch()) {
            self.enter(&configuration, out);
        }
        self.advance(out);
        self.learner.ask(self.leading_node(), out);
        self.try_lead(out);
        self.pump(out);
    }

    /// Snapshots here have everything up to `slot`.
    pub fn on_cut(&mut self, slot: Slot, out: &mut Outbox<'_>) {
        if slot > self.cut && slot <= self.learner.chosen() {
            (self.cut, self.cut_is_due) = (slot, false);
            self.mending.forget_through(slot);
            out.persist(vec![Record::Cut { app: self.app, slot }], []);
        }
    }

    // Candidate.

    /// Stands for leader under `ballot`, which is this node's own and above every promise.
    pub fn campaign(&mut self, ballot: Ballot, out: &mut Outbox<'_>) {
        self.step_down(out);
        let before = self.acceptor.promised();
        let raised = self.acceptor.promise(ballot);
        assert!(raised || self.config.broken.is(Fault::BallotReused), "{ballot:?} is below a promise");
        self.role = Role::Candidate(Candidate::new(ballot));
        let prepare = GroupMessage::Prepare { ballot, from: self.learner.chosen().next() };
        let to_others: Vec<_> = self.members.others().map(|to| (to, prepare.clone())).collect();
        let ndx = out.persist(self.records_of_promise(before, ballot), to_others);
        self.own.push_back((ndx, Own::Promise(ballot)));
    }

    fn on_promise(&mut self, from: NodeId, ballot: Ballot, promise: Promise, out: &mut Outbox<'_>) {
        if let Role::Candidate(candidate) = &mut self.role
            && candidate.ballot == ballot
        {
            candidate.on_promise(from, promise);
            self.try_lead(out);
        }
    }

    /// Begins to lead if the promises suffice and this node has everything that was chosen before: a leader proposes
    /// in every slot behind what it has chosen, so it never depends on another node's log again.
    fn try_lead(&mut self, out: &mut Outbox<'_>) {
        if !matches!(&self.role, Role::Candidate(candidate) if candidate.own_is_durable) {
            return;
        }
        let own = self.own_promise();
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.on_promise(self.members.node(), own);
        let Some(Takeover { chosen, decrees }) = candidate.takeover(&self.members, self.config.broken) else {
            return;
        };
        if chosen > self.learner.chosen() {
            return self.learner.ask(None, out);
        }
        let ballot = candidate.ballot;
        let count = u64::try_from(decrees.len()).expect("usize has at most 64 bits");
        let barrier = Slot(chosen.0 + count + 1);
        self.role = Role::Leader(Leader::new(ballot, chosen, barrier));
        for decree in decrees {
            self.propose(decree, out);
        }
        if matches!(&self.role, Role::Leader(leader) if !leader.is_sealed) {
            self.propose(Decree::Noop, out);
        }
    }

    // Leader.

    /// Commands to order. Those that this node cannot take come back as [`crate::Effect::Unproposed`].
    pub fn on_propose(&mut self, commands: Vec<SignedCommand>, now: TimeMs, out: &mut Outbox<'_>) {
        if !matches!(self.role, Role::Leader(_)) {
            return out.unproposed(commands, RefusalCode::NoLeader);
        }
        let refused = self.proposals.push(commands, now);
        out.unproposed(refused, RefusalCode::Busy);
        self.pump(out);
    }

    /// Time has passed: a tick is to be ordered.
    pub fn on_propose_tick(&mut self, now: TimeMs, out: &mut Outbox<'_>) {
        if matches!(self.role, Role::Leader(_)) {
            self.proposals.push_tick(now, self.config.broken);
            self.pump(out);
        }
    }

    /// Another node is to lead.
    pub fn on_hand_over(&mut self, to: NodeId, out: &mut Outbox<'_>) {
        if let Role::Leader(leader) = &self.role
            && self.members.contains(to)
            && to != self.members.node()
        {
            let (ballot, chosen) = (leader.ballot, self.learner.chosen());
            out.send(to, GroupMessage::HandOver { ballot, chosen });
        }
    }

    /// This node is to lead from now on, as long as it can.
    pub fn on_prefer(&mut self, node: Option<NodeId>, out: &mut Outbox<'_>) {
        if self.preferred != node {
            self.preferred = node;
            self.on_hand_over(self.preferred(), out);
        }
    }

    /// These nodes had better not lead from now on.
    pub fn on_unfit(&mut self, nodes: BTreeSet<NodeId>) {
        self.unfit = nodes;
    }

    /// Whether nothing speaks against a node as leader.
    pub fn is_fit(&self, node: NodeId) -> bool {
        !self.unfit.contains(&node)
    }

    fn preferred(&self) -> NodeId {
        let wanted = self.preferred.filter(|&node| self.members.contains(node) && self.is_fit(node));
        let fit = || self.members.ranked(self.app.0).find(|&node| self.is_fit(node));
        wanted.or_else(fit).unwrap_or_else(|| self.members.preferred(self.app.0))
    }

    /// The leader of `ballot` wants this node to lead: if that is the leader that this node follows, it stands.
    fn on_handed_over(&mut self, ballot: Ballot, chosen: Slot, out: &mut Outbox<'_>) {
        self.on_learn(ballot, chosen, out);
        let promised = self.acceptor.promised();
        let may_stand = self.members.is_voter() && promised.epoch <= self.members.epoch();
        if may_stand && matches!(self.role, Role::Follower) && ballot == self.election.leader() {
            let ballot = self.election.stand(promised, self.config.broken);
            self.campaign(ballot, out);
        }
    }

    /// Proposes in the next slot: to the others at once, while the own disk writes.
    fn propose(&mut self, decree: Decree, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (ballot, chosen) = (leader.ballot, self.learner.chosen());
        let slot = leader.open_next(decree.len());
        leader.announced = chosen;
        let seals = decree.seals(self.members.epoch()).is_some();
        leader.is_sealed |= seals && !self.config.broken.is(Fault::ProposesAfterSeal);
        for to in self.members.others() {
            out.send(to, GroupMessage::Accept { ballot, slot, decree: decree.clone(), chosen });
        }
        let mut records = Vec::new();
        if self.acceptor.propose(slot, ballot, &decree) {
            records.push(Record::Accepted { app: self.app, slot, ballot, decree });
            records.extend(self.take_hint());
        }
        let ndx = out.persist(records, []);
        self.own.push_back((ndx, Own::Accepted(ballot, slot)));
        if self.config.broken.is(Fault::OwnVoteBeforeDurable) {
            self.on_accepted(self.members.node(), ballot, slot, out);
        }
    }

    fn on_accepted(&mut self, from: NodeId, ballot: Ballot, slot: Slot, out: &mut Outbox<'_>) {
        let broken = self.config.broken;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.ballot != ballot && !broken.is(Fault::VoteOfOtherBallot) {
            return;
        }
        if leader.on_vote(from, slot, &self.members, broken) {
            self.acceptor.mark_chosen(slot);
            self.advance(out);
        }
    }

    fn on_nack(&mut self, ballot: Ballot, promised: Ballot, out: &mut Outbox<'_>) {
        self.election.on_ballot(promised);
        if self.standing() == Some(ballot) && promised > ballot {
            self.step_down(out);
        }
    }

    /// The ballot under which this node stands or leads.
    fn standing(&self) -> Option<Ballot> {
        match &self.role {
            Role::Follower => None,
            Role::Candidate(candidate) => Some(candidate.ballot),
            Role::Leader(leader) => Some(leader.ballot),
        }
    }

    /// Becomes a follower. What it proposed may still be chosen; what waits will not be proposed by this node.
    fn step_down(&mut self, out: &mut Outbox<'_>) {
        if let Role::Leader(leader) = &mut self.role {
            for reader in leader.reads.drain() {
                if let Reader::Here(read) = reader {
                    out.read_refused(read, RefusalCode::NoLeader);
                }
            }
        }
        self.role = Role::Follower;
        out.unproposed(self.proposals.drain(), RefusalCode::NoLeader);
    }

    // Linearizable reads.

    /// A read of this node wants an index.
    pub fn on_read(&mut self, read: ReadId, out: &mut Outbox<'_>) {
        let leader = self.visible_leader();
        match (&mut self.role, leader) {
            (Role::Leader(leader), _) => {
                if !leader.reads.push(Reader::Here(read)) {
                    out.read_refused(read, RefusalCode::Busy);
                }
            }
            (_, Some(leader)) if leader.node != self.members.node() => {
                self.asked_last += 1;
                self.asked.insert(self.asked_last, (read, 0));
                out.send(leader.node, GroupMessage::ReadIndexRequest { read: self.asked_last });
            }
            _ => out.read_refused(read, RefusalCode::NoLeader),
        }
        self.pump(out);
    }

    fn on_confirm(&mut self, ballot: Ballot, round: u64, out: &mut Outbox<'_>) {
        if ballot < self.acceptor.promised() {
            return self.nack(ballot, out);
        }
        self.election.on_leader_heard(ballot);
        out.send(ballot.node, GroupMessage::Confirmed { ballot, round });
    }

    fn on_confirmed(&mut self, from: NodeId, ballot: Ballot, round: u64, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(question) = leader.reads.question() else { return };
        if leader.ballot != ballot || question.round != round {
            return;
        }
        question.votes.add(from);
        if !self.members.is_met(&question.votes, self.config.broken) {
            return;
        }
        let (readers, index) = leader.reads.granted();
        for reader in readers {
            match reader {
                Reader::Here(read) => out.read_granted(read, index),
                Reader::There(node, read) => out.send(node, GroupMessage::ReadIndex { read, index }),
            }
        }
    }

    // What time brings.

    /// Everything up to `up_to` is durable.
    pub fn on_durable(&mut self, up_to: PersistNdx, out: &mut Outbox<'_>) {
        self.learner.on_durable(up_to, out.last_persist());
        while let Some((_, own)) = self.own.pop_front_if(|(ndx, _)| *ndx <= up_to) {
            match own {
                Own::Promise(ballot) => {
                    if let Role::Candidate(candidate) = &mut self.role
                        && candidate.ballot == ballot
                    {
                        candidate.own_is_durable = true;
                        self.try_lead(out);
                    }
                }
                Own::Accepted(ballot, slot) => self.on_accepted(self.members.node(), ballot, slot, out),
            }
        }
        self.pump(out);
    }

    /// A tick passed: asks again what was not answered.
    pub fn on_tick(&mut self, out: &mut Outbox<'_>) {
        let retry_ticks = self.config.retry_ticks;
        let due = |waited: &mut u32| {
            *waited += 1;
            let due = *waited >= retry_ticks;
            if due {
                *waited = 0;
            }
            due
        };
        let first = self.learner.chosen().next();
        match &mut self.role {
            Role::Follower => {}
            Role::Candidate(candidate) => {
                if candidate.own_is_durable && due(&mut candidate.waited) {
                    candidate.forget_promises();
                    for to in self.members.others() {
                        out.send(to, GroupMessage::Prepare { ballot: candidate.ballot, from: first });
                    }
                }
            }
            Role::Leader(leader) => {
                let (ballot, chosen) = (leader.ballot, self.learner.chosen());
                for (&slot, open) in &mut leader.open {
                    let Some(decree) = self.acceptor.held(slot) else { continue };
                    if due(&mut open.waited) {
                        for to in self.members.others().filter(|&to| !open.votes.has(to)) {
                            let decree = decree.clone();
                            out.send(to, GroupMessage::Accept { ballot, slot, decree, chosen });
                        }
                    }
                }
                if let Some(question) = leader.reads.question()
                    && due(&mut question.waited)
                {
                    let round = question.round;
                    for to in self.members.others().filter(|&to| !question.votes.has(to)) {
                        out.send(to, GroupMessage::Confirm { ballot, round });
                    }
                }
            }
        }
        let read_ticks = self.config.read_ticks;
        self.asked.retain(|_, (read, waited)| {
            *waited += 1;
            if *waited >= read_ticks {
                out.read_refused(*read, RefusalCode::NoLeader);
            }
            *waited < read_ticks
        });
        if !matches!(self.role, Role::Leader(_)) {
            self.learner.on_tick(self.leading_node(), out);
        }
        if self.mending.count() > 0 {
            let mut mending = std::mem::take(&mut self.mending);
            let lost = mending.on_tick(self.learner.chosen(), |slot| self.donors(slot), out);
            self.mending = mending;
            for (slot, is_needed) in lost {
                out.record_lost(slot, is_needed);
            }
        }
        self.pump(out);
    }

    /// The end of a heartbeat round: `beats` is the latest word of every node that is reached in both directions.
    pub fn on_round(&mut self, beats: &[(NodeId, GroupBeat)], wanted: &Configuration, out: &mut Outbox<'_>) {
        for &(node, beat) in beats {
            self.learner.on_peer(node, beat.chosen);
        }
        let stands = self.standing() == Some(self.election.own());
        let behind = beats.iter().any(|(_, beat)| beat.chosen > self.learner.chosen());
        let promised = self.acceptor.promised();
        let elected =
            self.election.on_round(&self.members, beats, stands, behind, promised, self.config.broken);
        let superseded = self.standing().is_some_and(|ballot| ballot < self.election.leader());
        if let Some(ballot) = elected {
            self.campaign(ballot, out);
        } else if superseded || !self.election.happy() {
            self.step_down(out);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.announced = Slot(0);
        }
        self.pump(out);
        self.seal(beats, wanted, out);
        self.spread(beats, out);
    }

    /// Ends the epoch if others are to vote, and can: those that are new have nearly everything, and a majority is there.
    fn seal(&mut self, beats: &[(NodeId, GroupBeat)], wanted: &Configuration, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        let (chosen, broken) = (self.learner.chosen(), self.config.broken);
        if leader.is_sealed || chosen < leader.barrier || !wanted.follows(self.members.epoch()) {
            return;
        }
        let near = chosen.0.saturating_sub(NEAR_SLOTS);
        let mut is_near: Votes =
            beats.iter().filter(|(_, beat)| beat.chosen.0 >= near).map(|&(node, _)| node).collect();
        is_near.add(self.members.node());
        let mut added = wanted.members.iter().filter(|&&member| !self.members.contains(member));
        let next = Members::new(self.members.node(), wanted);
        if added.all(|&member| is_near.has(member)) && next.is_met(&is_near, broken) {
            self.propose(Decree::Seal(Arc::new(wanted.clone())), out);
        }
    }

    /// Hands over to the node that is preferred as leader, so that those of all groups are spread over the nodes, when it
    /// has been there for long.
    fn spread(&mut self, beats: &[(NodeId, GroupBeat)], out: &mut Outbox<'_>) {
        let preferred = self.preferred();
        let near = self.learner.chosen().0.saturating_sub(NEAR_SLOTS);
        let is_there = beats.iter().any(|(node, beat)| *node == preferred && beat.chosen.0 >= near);
        let is_misplaced =
            is_there && matches!(self.role, Role::Leader(_)) && preferred != self.members.node();
        self.misplaced = if is_misplaced { self.misplaced + 1 } else { 0 };
        if self.misplaced >= self.config.spread_rounds {
            self.misplaced = 0;
            self.on_hand_over(preferred, out);
        }
    }

    /// Does what has become possible: proposes what waits, asks for the reads that wait, tells what was chosen, and
    /// says who leads.
    fn pump(&mut self, out: &mut Outbox<'_>) {
        while let Role::Leader(leader) = &self.role
            && leader.has_room(self.config.pipeline_slots)
            && let Some(decree) = self.proposals.next_batch(leader.ballot, self.config.broken)
        {
            self.propose(decree, out);
        }
        self.ask_for_reads(out);
        let chosen = self.learner.chosen();
        if let Role::Leader(leader) = &mut self.role
            && chosen > leader.announced
        {
            leader.announced = chosen;
            for to in self.members.others() {
                out.send(to, GroupMessage::Learn { ballot: leader.ballot, chosen });
            }
        }
        let leads = matches!(self.role, Role::Leader(_));
        let now = (self.visible_leader(), leads);
        if self.told != now {
            self.told = now;
            out.leader_changed(now.0, now.1);
        }
    }

    fn ask_for_reads(&mut self, out: &mut Outbox<'_>) {
        let (chosen, node, broken) = (self.learner.chosen(), self.members.node(), self.config.broken);
        let Role::Leader(leader) = &mut self.role else { return };
        if chosen < leader.barrier && !broken.is(Fault::ReadBeforeBarrier) {
            return;
        }
        let ballot = leader.ballot;
        let Some(question) = leader.reads.ask(chosen) else { return };
        let round = question.round;
        if broken.is(Fault::ReadWithoutQuorum) {
            question.votes.extend(self.members.others());
        }
        for to in self.members.others() {
            out.send(to, GroupMessage::Confirm { ballot, round });
        }
        self.on_confirmed(node, ballot, round, out);
    }

    fn leading_node(&self) -> Option<NodeId> {
        self.visible_leader().map(|leader| leader.node)
    }

    fn visible_leader(&self) -> Option<Ballot> {
        match &self.role {
            Role::Leader(leader) => Some(leader.ballot),
            Role::Candidate(_) => None,
            Role::Follower => self.election.happy().then(|| self.election.leader()),
        }
    }

    /// What the acceptor holds behind the last chosen slot, for checks.
    pub fn accepted(&self) -> Vec<AcceptedSlot> {
        self.acceptor.accepted_behind(self.learner.chosen())
    }
}

/// What a message that only the owner of a ballot sends says: the ballot, and up to where its sender has everything.
fn of_leader(message: &GroupMessage) -> Option<(Ballot, Slot)> {
    match message {
        GroupMessage::Prepare { ballot, from } => Some((*ballot, Slot(from.0.saturating_sub(1)))),
        GroupMessage::Accept { ballot, chosen, .. }
        | GroupMessage::Learn { ballot, chosen }
        | GroupMessage::HandOver { ballot, chosen } => Some((*ballot, *chosen)),
        GroupMessage::Confirm { ballot, .. } => Some((*ballot, Slot(0))),
        _ => None,
    }
}
