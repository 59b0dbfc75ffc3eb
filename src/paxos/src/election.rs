//! Who leads: ballot leader election after OmniPaxos (Ng, Haridi, Carbone, EuroSys 2023, section 5).
//!
//! Each node tells the others, once a round, the ballot under which it would lead, the highest leader's ballot it
//! knows, and whether it is *happy*: it leads with a quorum behind it, or sees a leader that is happy. A node takes
//! over only if it is unhappy, hears a quorum, and hears nobody who is happy. Logs play no part, so the only node
//! that still reaches a quorum can always be elected, and a node that merely lost sight of a working leader never
//! disturbs it. That covers the three partial partitions: quorum loss, constrained election, chained.

use synod_types::message::GroupBeat;
use synod_types::{Ballot, NodeId};

use crate::broken::{Broken, Fault};
use crate::quorum::{Members, Votes};

/// Rounds that a node waits longer if others have chosen more than it has.
const BEHIND_ROUNDS: u32 = 3;

/// One group's election, seen from one node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Election {
    /// The ballot under which this node leads, led, or would have led.
    own: Ballot,
    /// The highest ballot of a leader that this node heard of.
    leader: Ballot,
    happy: bool,
    /// What came in this round that the others' last word does not show yet.
    news: News,
    /// Rounds for which this node has wanted to take over. It waits as many as there are nodes with a better rank that it
    /// hears, so that nodes do not all stand at once.
    waited: u32,
    /// Whether this node votes: else it never stands.
    is_voter: bool,
    group: u32,
}

/// What a node learned since its last round ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum News {
    Nothing,
    /// Somebody stands under a higher ballot: it gets at least a round to show what it can do.
    Ballot,
    /// The leader itself spoke.
    Leader,
}

impl Election {
    /// After a start. `promised` is what the acceptor recovered: every later ballot of this node is above it.
    pub fn new(members: &Members, group: u32, promised: Ballot) -> Election {
        let rank = members.rank(group);
        let priority = rank.map_or(0, |rank| u32::MAX - rank);
        let own = Ballot { epoch: members.epoch(), number: promised.number, priority, node: members.node() };
        let is_voter = members.is_voter();
        Election { own, leader: promised, happy: false, news: News::Nothing, waited: 0, is_voter, group }
    }

    /// Another epoch began: whoever led does not lead in it.
    pub fn on_epoch(&mut self, members: &Members, group: u32) {
        let Election { own, leader, .. } = *self;
        let highest = if own.number > leader.number { own } else { leader };
        *self = Election { leader, ..Election::new(members, group, highest) };
    }

    /// The highest leader's ballot that this node knows of.
    pub fn leader(&self) -> Ballot {
        self.leader
    }

    /// The ballot under which this node would lead.
    pub fn own(&self) -> Ballot {
        self.own
    }

    /// Whether there is a leader that works, as far as this node sees.
    pub fn happy(&self) -> bool {
        self.happy
    }

    /// A ballot was seen in a message. It may be that of a leader; a lower one no longer matters, and one of a later epoch
    /// not yet.
    pub fn on_ballot(&mut self, ballot: Ballot) {
        if ballot > self.leader && ballot.epoch <= self.own.epoch {
            self.leader = ballot;
            self.happy = false;
            self.news = News::Ballot;
        }
    }

    /// The leader of `ballot` was heard to lead; that will do for this round.
    pub fn on_leader_heard(&mut self, ballot: Ballot) {
        self.on_ballot(ballot);
        if ballot == self.leader {
            self.happy = true;
            self.news = News::Leader;
        }
    }

    /// The end of a round. `beats` holds the latest word of every node that this node reaches in both directions;
    /// `leads` says whether this node stands or leads under its own ballot, `behind` whether another has chosen more.
    /// Returns the ballot to stand with, if it
    /// is time.
    pub fn on_round(
        &mut self,
        members: &Members,
        beats: &[(NodeId, GroupBeat)],
        leads: bool,
        behind: bool,
        promised: Ballot,
        broken: Broken,
    ) -> Option<Ballot> {
        for (_, beat) in beats {
            self.on_ballot(beat.leader);
        }
        let own = self.own;
        let news = std::mem::replace(&mut self.news, News::Nothing);
        self.happy = if self.leader == own {
            let followers = beats.iter().filter(|(_, beat)| beat.leader <= own).map(|&(node, _)| node);
            leads && self.with_self(members, followers, broken)
        } else {
            news == News::Leader || beats.iter().any(|(_, beat)| beat.ballot == self.leader && beat.happy)
        };
        let connected = self.with_self(members, beats.iter().map(|&(node, _)| node), broken);
        let others_happy = beats.iter().any(|(_, beat)| beat.happy);
        if self.happy || !connected || others_happy || news > News::Nothing {
            self.waited = 0;
            return None;
        }
        // Who has promised in a later epoch has lost to damage how that began, and learns it again first.
        if !self.is_voter || promised.epoch > own.epoch {
            return None;
        }
        // A node that would have to fetch decrees first gives the others a chance; its turn comes all the same.
        let before =
            members.ranked_before(self.group).filter(|node| beats.iter().any(|(beat, _)| beat == node));
        let place = u32::try_from(before.count()).expect("few members");
        let patience = if behind { place + BEHIND_ROUNDS } else { place };
        if self.waited < patience {
            self.waited += 1;
            return None;
        }
        Some(self.stand(promised, broken))
    }

    /// Takes over now; returns the ballot to stand with.
    pub fn stand(&mut self, promised: Ballot, broken: Broken) -> Ballot {
        self.waited = 0;
        let highest = self.leader.number.max(promised.number);
        self.own.number = if broken.is(Fault::BallotReused) && highest > 0 { highest } else { highest + 1 };
        self.leader = self.own;
        self.happy = true;
        self.own
    }

    fn with_self(&self, members: &Members, others: impl Iterator<Item = NodeId>, broken: Broken) -> bool {
        let mut votes: Votes = others.collect();
        votes.add(members.node());
        members.is_met(&votes, broken)
    }
}
