//! What Paxos promises: one decree a slot, one leader a ballot, promises that are kept across crashes, and nothing
//! said before it is durable.
//!
//! A decree counts as chosen when the disks of a majority of the members of an epoch hold it durably under one ballot of that
//! epoch, at any time: this is the truth against which everything that nodes say is held.

use std::collections::BTreeMap;

use synod_types::message::AcceptedSlot;
use synod_types::{AppNdx, Ballot, Decree, Epoch, GroupMessage, Message, Record, Recovered, Slot};

use crate::checks::Verdict;
use crate::disk::{Disk, Entry, Image, group};
use crate::trace::{Show, node_id, node_index};

/// The check of which members decide.
const ONE_CONFIGURATION: &str = "one configuration decides a slot";

/// The truth about ballots, votes and slots.
#[derive(Clone, Debug)]
pub struct ProtocolChecks {
    groups: Vec<GroupTruth>,
}

#[derive(Clone, Debug)]
struct GroupTruth {
    slots: Vec<SlotTruth>,
    ballots: BTreeMap<Ballot, BallotTruth>,
    nodes: Vec<NodeTruth>,
    /// The members of each epoch, and the slot whose decree brought them.
    epochs: BTreeMap<Epoch, (NodeSet, Slot)>,
    /// The last epoch in which something was chosen.
    established: Epoch,
}

#[derive(Clone, Debug, Default)]
struct SlotTruth {
    chosen: Option<(Ballot, Decree)>,
    proposals: Vec<Proposal>,
}

/// What was proposed in a slot under one ballot, and whose disk holds it.
#[derive(Clone, Debug)]
struct Proposal {
    ballot: Ballot,
    decree: Decree,
    voters: NodeSet,
}

#[derive(Clone, Debug, Default)]
struct BallotTruth {
    /// The first slot that a promise has to report, as the last Prepare asked.
    from: Slot,
    promised: NodeSet,
    leads: bool,
    /// Its leader announced slots up to here as chosen.
    announced: Slot,
}

/// What one node said in one group, over all its incarnations.
#[derive(Clone, Debug, Default)]
struct NodeTruth {
    promised: Ballot,
    /// The highest ballot it stood with, and the incarnation that did.
    stood: (Ballot, u32),
    /// The last slot that it handed out as chosen since it started.
    handed_out: Slot,
}

/// Nodes, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeSet(u32);

impl NodeSet {
    /// Adds a node.
    pub fn insert(&mut self, node: usize) {
        self.0 |= 1 << node;
    }

    /// Whether a node is in it.
    pub fn contains(self, node: usize) -> bool {
        self.0 & (1 << node) != 0
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether `voters` are more than half of these.
    pub fn is_met_by(self, voters: NodeSet) -> bool {
        NodeSet(self.0 & voters.0).count() > self.count() / 2
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> NodeSet {
        let mut set = NodeSet::default();
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}

impl GroupTruth {
    /// Whether these voters decide under this ballot.
    fn is_quorum(&self, ballot: Ballot, voters: NodeSet) -> bool {
        self.epochs.get(&ballot.epoch).is_some_and(|(members, _)| members.is_met_by(voters))
    }

    /// A decree is chosen: its epoch is the one that has this slot, and if it ends the epoch, nothing behind it was chosen in
    /// that epoch.
    fn on_chosen(&mut self, slot: Slot, ballot: Ballot, decree: &Decree, verdict: &mut Verdict) {
        let before = self.epochs.iter().rev().find(|(_, (_, seal))| *seal < slot);
        let epoch = before.map_or(Epoch(0), |(epoch, _)| *epoch);
        verdict.demand(ballot.epoch == epoch, ONE_CONFIGURATION, || {
            format!("slot {slot}, which belongs to epoch {epoch}, is decided under {}", Show(ballot))
        });
        self.established = self.established.max(ballot.epoch);
        let Some(next) = decree.seals(epoch) else { return };
        self.epochs
            .insert(next.epoch, (next.members.iter().map(|&member| node_index(member)).collect(), slot));
        let place = usize::try_from(slot.next().0).expect("few slots");
        for (slot, truth) in (slot.next().0..).map(Slot).zip(self.slots.iter().skip(place)) {
            let Some((ballot, _)) = &truth.chosen else { continue };
            verdict.demand(ballot.epoch >= next.epoch, ONE_CONFIGURATION, || {
                format!("slot {slot} is decided under {}, behind the end of that epoch", Show(*ballot))
            });
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut SlotTruth {
        let place = usize::try_from(slot.0).expect("few slots");
        if place >= self.slots.len() {
            self.slots.resize(place + 1, SlotTruth::default());
        }
        &mut self.slots[place]
    }

    /// Whether this node's disk has held what was proposed in a slot under a ballot.
    fn voted(&self, node: usize, slot: Slot, ballot: Ballot) -> bool {
        let truth = usize::try_from(slot.0).ok().and_then(|place| self.slots.get(place));
        let mut proposals = truth.into_iter().flat_map(|truth| &truth.proposals);
        proposals.any(|proposal| proposal.ballot == ballot && proposal.voters.contains(node))
    }

    fn chosen(&self, slot: Slot) -> Option<&Decree> {
        let place = usize::try_from(slot.0).ok()?;
        self.slots.get(place)?.chosen.as_ref().map(|(_, decree)| decree)
    }

    /// Demands that every slot up to `slot` is chosen. Checking the last is enough for what is claimed in order.
    fn demand_chosen(&self, slot: Slot, verdict: &mut Verdict, what: impl FnOnce() -> String) {
        let holds = slot == Slot(0) || self.chosen(slot).is_some();
        verdict.demand(holds, "only what is chosen is called chosen", || {
            format!("{} says that slot {slot} is chosen, and no majority holds it", what())
        });
    }
}

impl SlotTruth {
    /// Notes that `decree` was proposed under `ballot`.
    fn proposal(&mut self, ballot: Ballot, decree: &Decree) -> Result<&mut Proposal, Decree> {
        let found = self.proposals.iter().position(|proposal| proposal.ballot == ballot);
        let place = found.unwrap_or_else(|| {
            self.proposals.push(Proposal { ballot, decree: decree.clone(), voters: NodeSet::default() });
            self.proposals.len() - 1
        });
        let proposal = &mut self.proposals[place];
        if proposal.decree == *decree { Ok(proposal) } else { Err(proposal.decree.clone()) }
    }
}

impl ProtocolChecks {
    /// Nothing was said yet.
    pub fn new(nodes: usize, members: usize, groups: usize) -> ProtocolChecks {
        let group = GroupTruth {
            slots: Vec::new(),
            ballots: BTreeMap::new(),
            nodes: vec![NodeTruth::default(); nodes],
            epochs: BTreeMap::from([(Epoch(0), ((0..members).collect(), Slot(0)))]),
            established: Epoch(0),
        };
        ProtocolChecks { groups: vec![group; groups] }
    }

    /// The decree that is chosen in a slot.
    pub fn chosen(&self, app: AppNdx, slot: Slot) -> Option<&Decree> {
        self.groups[group(app)].chosen(slot)
    }

    /// The last epoch in which something was chosen: a majority of its members has everything from before.
    pub fn established(&self, app: AppNdx) -> Epoch {
        self.groups[group(app)].established
    }

    /// The sets of members of which a majority has to be there: those of the established epoch, and of those that come behind
    /// it or were proposed to, since a new leader may take that up.
    pub fn needed(&self, app: AppNdx) -> impl Iterator<Item = NodeSet> + '_ {
        let truth = &self.groups[group(app)];
        let proposals = truth.slots.iter().flat_map(|slot| &slot.proposals);
        let proposed = proposals.filter_map(|proposal| proposal.decree.seals(truth.established));
        let proposed = proposed.map(|next| next.members.iter().map(|&member| node_index(member)).collect());
        truth.epochs.range(truth.established..).map(|(_, (members, _))| *members).chain(proposed)
    }

    /// Records became durable at a node. Returns the decrees that are chosen by this.
    pub fn on_durable<'a>(
        &mut self,
        node: usize,
        records: impl Iterator<Item = &'a Record>,
        verdict: &mut Verdict,
    ) -> Vec<(AppNdx, Decree)> {
        let mut chosen = Vec::new();
        for record in records {
            if let Record::Accepted { app, slot, ballot, decree } = record {
                let decree = self.on_vote(node, *app, *slot, *ballot, decree, verdict);
                chosen.extend(decree.map(|decree| (*app, decree)));
            }
        }
        chosen
    }

    fn on_vote(
        &mut self,
        node: usize,
        app: AppNdx,
        slot: Slot,
        ballot: Ballot,
        decree: &Decree,
        verdict: &mut Verdict,
    ) -> Option<Decree> {
        let group = &mut self.groups[group(app)];
        let truth = group.slot(slot);
        if ballot == Ballot::CHOSEN {
            let equal = truth.chosen.as_ref().is_some_and(|(_, chosen)| chosen == decree);
            verdict.demand(equal, "one decree a slot", || {
                format!("n{} stores {} as chosen in slot {slot}", node + 1, Show(decree))
            });
            return None;
        }
        let proposal = match truth.proposal(ballot, decree) {
            Ok(proposal) => proposal,
            Err(other) => {
                verdict.demand(false, "one decree a ballot and slot", || {
                    two_decrees(ballot, slot, decree, &other)
                });
                return None;
            }
        };
        proposal.voters.insert(node);
        let voters = proposal.voters;
        if !group.is_quorum(ballot, voters) {
            return None;
        }
        let truth = group.slot(slot);
        if let Some((first, chosen)) = &truth.chosen {
            verdict.demand(chosen == decree, "one decree a slot", || {
                let (first, ballot) = (Show(*first), Show(ballot));
                format!("slot {slot} has {} under {first} and {} under {ballot}", Show(chosen), Show(decree))
            });
            return None;
        }
        truth.chosen = Some((ballot, decree.clone()));
        for later in truth.proposals.iter().filter(|proposal| proposal.ballot > ballot) {
            verdict.demand(later.decree == *decree, "a later ballot proposes what is chosen", || {
                two_decrees(later.ballot, slot, decree, &later.decree)
            });
        }
        group.on_chosen(slot, ballot, decree, verdict);
        Some(decree.clone())
    }

    /// A node starts with what its disk recovered.
    pub fn on_recover(
        &mut self,
        node: usize,
        app: AppNdx,
        recovered: &Recovered,
        disk: &Disk,
        verdict: &mut Verdict,
    ) {
        let truth = &mut self.groups[group(app)];
        let said = truth.nodes[node].promised;
        verdict.demand(recovered.promised >= said, "a promise survives a crash", || {
            let (found, said) = (Show(recovered.promised), Show(said));
            format!("n{} promised {said} and finds {found} after a crash", node + 1)
        });
        let in_snapshot = disk.snapshot(app).map_or(Slot(0), |snapshot| snapshot.applied);
        for slot in (1..=recovered.chosen.0).map(Slot) {
            let right = match disk.durable(app).entry(slot) {
                Entry::Held(_, decree) if slot > in_snapshot => truth.chosen(slot) == Some(decree),
                _ => slot <= in_snapshot && truth.chosen(slot).is_some(),
            };
            verdict.demand(right, "the journal holds what is chosen", || {
                format!(
                    "n{} starts with slots to {} as chosen, slot {slot} is not",
                    node + 1,
                    recovered.chosen
                )
            });
        }
        truth.nodes[node].handed_out = recovered.chosen;
    }

    /// A node goes on from a snapshot.
    pub fn on_installed(&mut self, node: usize, app: AppNdx, slot: Slot, verdict: &mut Verdict) {
        let truth = &mut self.groups[group(app)];
        truth.demand_chosen(slot, verdict, || format!("a snapshot that n{} installs", node + 1));
        let last = std::mem::replace(&mut truth.nodes[node].handed_out, slot);
        verdict.demand(slot > last, "a snapshot brings a node further", || {
            format!("n{} installs a snapshot of slot {slot} after slot {last}", node + 1)
        });
    }

    /// A node hands out a decree as chosen.
    pub fn on_chosen(
        &mut self,
        node: usize,
        app: AppNdx,
        slot: Slot,
        decree: &Decree,
        verdict: &mut Verdict,
    ) {
        let truth = &mut self.groups[group(app)];
        let last = std::mem::replace(&mut truth.nodes[node].handed_out, slot);
        verdict.demand(slot == last.next(), "decrees come in slot order without a hole", || {
            format!("n{} hands out slot {slot} after slot {last}", node + 1)
        });
        verdict.demand(
            truth.chosen(slot) == Some(decree),
            "only what a majority holds is handed out",
            || {
                let chosen =
                    truth.chosen(slot).map_or("nothing".to_owned(), |chosen| Show(chosen).to_string());
                format!("n{} hands out {} in slot {slot}, where {chosen} is chosen", node + 1, Show(decree))
            },
        );
    }

    /// A node sends a message; `disk` is its disk at this moment.
    pub fn on_send(
        &mut self,
        node: usize,
        incarnation: u32,
        message: &Message,
        disk: &Disk,
        verdict: &mut Verdict,
    ) {
        match message {
            Message::Group { app, message } => {
                let truth = &mut self.groups[group(*app)];
                if let GroupMessage::Accepted { ballot, slot } = message {
                    truth.on_accepted(node, *ballot, *slot, *app, disk, verdict);
                }
                truth.on_send(node, incarnation, message, disk.durable(*app), verdict);
            }
            Message::HeartbeatReply { groups, .. } => {
                for beat in groups {
                    let truth = &self.groups[group(beat.app)];
                    truth.demand_chosen(beat.chosen, verdict, || format!("a heartbeat of n{}", node + 1));
                }
            }
            Message::Heartbeat { .. }
            | Message::Forward { .. }
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
}

impl GroupTruth {
    fn on_send(
        &mut self,
        node: usize,
        incarnation: u32,
        message: &GroupMessage,
        disk: &Image,
        verdict: &mut Verdict,
    ) {
        match message {
            GroupMessage::Prepare { ballot, from } => {
                self.on_prepare(node, incarnation, *ballot, *from, disk, verdict);
            }
            GroupMessage::Promise { ballot, chosen, damaged_through, accepted } => {
                self.on_promise(node, *ballot, disk, verdict);
                self.demand_complete(node, *ballot, *chosen, *damaged_through, accepted, disk, verdict);
                self.demand_chosen(*chosen, verdict, || format!("a Promise of n{}", node + 1));
            }
            GroupMessage::Accept { ballot, slot, decree, chosen } => {
                self.on_accept(node, *ballot, *slot, decree, disk, verdict);
                self.on_announced(node, *ballot, *chosen, verdict);
            }
            GroupMessage::Learn { ballot, chosen } | GroupMessage::HandOver { ballot, chosen } => {
                self.on_announced(node, *ballot, *chosen, verdict);
            }
            GroupMessage::CatchUp { from, decrees } => {
                for (slot, decree) in (from.0..).map(Slot).zip(decrees) {
                    verdict.demand(
                        self.chosen(slot) == Some(decree),
                        "a log is served as it was chosen",
                        || format!("n{} serves {} in slot {slot}", node + 1, Show(decree)),
                    );
                }
            }
            GroupMessage::ReadIndex { index, .. } => {
                self.demand_chosen(*index, verdict, || format!("a ReadIndex of n{}", node + 1));
            }
            GroupMessage::Confirmed { ballot, .. } => {
                let promised = self.nodes[node].promised;
                verdict.demand(promised <= *ballot, "a promise is kept", || {
                    format!("n{} confirms {} after {}", node + 1, Show(*ballot), Show(promised))
                });
            }
            GroupMessage::Snapshot { certificate } => {
                self.demand_chosen(certificate.checkpoint.slot, verdict, || {
                    format!("a Snapshot of n{}", node + 1)
                });
            }
            GroupMessage::Accepted { .. }
            | GroupMessage::Nack { .. }
            | GroupMessage::CatchUpRequest { .. }
            | GroupMessage::RecordRequest { .. }
            | GroupMessage::Unreadable { .. }
            | GroupMessage::ReadIndexRequest { .. }
            | GroupMessage::Confirm { .. } => {}
        }
    }

    fn on_prepare(
        &mut self,
        node: usize,
        incarnation: u32,
        ballot: Ballot,
        from: Slot,
        disk: &Image,
        verdict: &mut Verdict,
    ) {
        verdict.demand(node_index(ballot.node) == node, "one leader a ballot", || {
            format!("n{} stands with {}", node + 1, Show(ballot))
        });
        verdict.demand(disk.promised >= ballot, "nothing is sent before it is durable", || {
            let held = Show(disk.promised);
            format!("n{} stands with {} and its disk promises {held}", node + 1, Show(ballot))
        });
        let (stood, before) = self.nodes[node].stood;
        let rises = if before == incarnation { ballot >= stood } else { ballot > stood };
        verdict.demand(rises, "ballots never go back", || {
            format!("n{} stands with {} after {}", node + 1, Show(ballot), Show(stood))
        });
        self.nodes[node].stood = (ballot, incarnation);
        let truth = self.ballots.entry(ballot).or_default();
        truth.from = truth.from.max(from);
    }

    fn on_promise(&mut self, node: usize, ballot: Ballot, disk: &Image, verdict: &mut Verdict) {
        verdict.demand(disk.promised >= ballot, "nothing is sent before it is durable", || {
            let held = Show(disk.promised);
            format!("n{} promises {} and its disk promises {held}", node + 1, Show(ballot))
        });
        let promised = &mut self.nodes[node].promised;
        verdict.demand(ballot >= *promised, "promises never go back", || {
            format!("n{} promises {} after {}", node + 1, Show(ballot), Show(*promised))
        });
        *promised = ballot.max(*promised);
        self.ballots.entry(ballot).or_default().promised.insert(node);
    }

    /// A promise reports everything that its sender's disk holds under lower ballots behind what is chosen.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message, and who sent it")]
    fn demand_complete(
        &self,
        node: usize,
        ballot: Ballot,
        chosen: Slot,
        damaged_through: Slot,
        accepted: &[AcceptedSlot],
        disk: &Image,
        verdict: &mut Verdict,
    ) {
        let from = self.ballots.get(&ballot).map_or(Slot(0), |truth| truth.from);
        let reported = |slot: Slot, at_least: Ballot| {
            accepted.iter().any(|accepted| accepted.slot == slot && accepted.ballot >= at_least)
        };
        for (slot, entry) in disk.entries_behind(chosen.max(Slot(from.0.saturating_sub(1)))) {
            match entry {
                Entry::Held(held, _) if *held < ballot => {
                    let told = reported(slot, *held) || slot <= damaged_through;
                    verdict.demand(told, "a promise reports what was accepted", || {
                        format!("n{} promises {} and hides slot {slot}", node + 1, Show(ballot))
                    });
                }
                Entry::Damaged => {
                    let told = slot <= damaged_through || reported(slot, Ballot::ZERO);
                    verdict.demand(told, "damage is never taken for nothing", || {
                        format!("n{} promises {} and hides damaged slot {slot}", node + 1, Show(ballot))
                    });
                }
                Entry::Held(..) | Entry::Empty => {}
            }
        }
    }

    fn on_accept(
        &mut self,
        node: usize,
        ballot: Ballot,
        slot: Slot,
        decree: &Decree,
        disk: &Image,
        verdict: &mut Verdict,
    ) {
        verdict.demand(node_index(ballot.node) == node, "one leader a ballot", || {
            format!("n{} proposes under {}", node + 1, Show(ballot))
        });
        let truth = self.ballots.entry(ballot).or_default();
        if !truth.leads {
            truth.leads = true;
            let mut promised = truth.promised;
            if disk.promised >= ballot {
                promised.insert(node);
            }
            let count = promised.count();
            let suffices = self.is_quorum(ballot, promised);
            verdict.demand(suffices, "a leader has a quorum's promise", || {
                format!("n{} proposes under {} with {} promises", node + 1, Show(ballot), count)
            });
        }
        let truth = self.slot(slot);
        if let Err(other) = truth.proposal(ballot, decree).map(|_| ()) {
            verdict
                .demand(false, "one decree a ballot and slot", || two_decrees(ballot, slot, decree, &other));
        }
        if let Some((first, chosen)) = &truth.chosen {
            let equal = ballot < *first || chosen == decree;
            verdict.demand(equal, "a later ballot proposes what is chosen", || {
                two_decrees(ballot, slot, chosen, decree)
            });
        }
    }

    /// Whoever accepted under `ballot` takes its decrees up to `chosen` for chosen now.
    fn on_announced(&mut self, node: usize, ballot: Ballot, chosen: Slot, verdict: &mut Verdict) {
        self.demand_chosen(chosen, verdict, || format!("a leader's message of n{}", node + 1));
        let announced = &mut self.ballots.entry(ballot).or_default().announced;
        let first = announced.next();
        *announced = chosen.max(*announced);
        for slot in (first.0..=chosen.0).map(Slot) {
            let truth = self.slot(slot);
            let own = truth.proposals.iter().find(|proposal| proposal.ballot == ballot);
            let chosen = truth.chosen.as_ref().map(|(_, decree)| decree);
            let right = own.is_none_or(|own| chosen == Some(&own.decree));
            verdict.demand(right, "a leader announces only its own decrees as chosen", || {
                format!(
                    "n{} announces slot {slot} under {}, where another's is chosen",
                    node + 1,
                    Show(ballot)
                )
            });
        }
    }

    /// The sender's disk holds the vote, or at least what was chosen in that slot by others.
    fn on_accepted(
        &mut self,
        node: usize,
        ballot: Ballot,
        slot: Slot,
        app: AppNdx,
        disk: &Disk,
        verdict: &mut Verdict,
    ) {
        let in_snapshot = disk.snapshot(app).map_or(Slot(0), |snapshot| snapshot.applied);
        let disk = disk.durable(app);
        // What was cut off is in a snapshot; which may have more.
        let is_cut = slot <= disk.cut.max(in_snapshot) && self.chosen(slot).is_some();
        // What was there once, and was damaged since, is found again on the others or told as damaged.
        let was_there = self.chosen(slot).is_some() || self.voted(node, slot, ballot);
        let backed = match disk.entry(slot) {
            Entry::Held(held, decree) => *held >= ballot || self.chosen(slot) == Some(decree),
            Entry::Damaged => is_cut || was_there,
            Entry::Empty => is_cut,
        };
        verdict.demand(backed, "nothing is sent before it is durable", || {
            format!("n{} says Accepted {} in slot {slot}, its disk does not", node + 1, Show(ballot))
        });
        let promised = self.nodes[node].promised;
        verdict.demand(ballot >= promised, "a promise is kept", || {
            format!(
                "n{} accepts {} in slot {slot} after it promised {}",
                node + 1,
                Show(ballot),
                Show(promised)
            )
        });
    }
}

fn two_decrees(ballot: Ballot, slot: Slot, one: &Decree, other: &Decree) -> String {
    let node = Show(node_id(node_index(ballot.node)));
    let ballot = Show(ballot);
    format!("under {ballot} of {node}, slot {slot} has {} and {}", Show(one), Show(other))
}
