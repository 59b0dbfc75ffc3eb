//! One state of this node, and whose words for it came.

use std::collections::BTreeMap;

use synod_types::configuration::is_majority;
use synod_types::{Configuration, NodeId, StateCertificate, Statement, StatementSignature, Threshold};

use super::Due;
use super::broken::{Broken, Fault};

/// Words for one statement, with which this node agrees.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) statement: Statement,
    pub(crate) own: StatementSignature,
    members: Configuration,
    before: Option<Configuration>,
    words: BTreeMap<NodeId, StatementSignature>,
    /// Those that counted, with repeats: for a fault on purpose.
    heard: usize,
}

impl Round {
    /// Of a state to which this node came.
    pub(crate) fn new(due: Due, broken: Broken) -> Round {
        let Due { statement, signature: own, members, before } = due;
        let mut round =
            Round { statement, own: own.clone(), members, before, words: BTreeMap::new(), heard: 0 };
        round.take(own.signer(), own, broken);
        round
    }

    /// Takes the word of a node for just this statement, if its word counts.
    pub(crate) fn take(&mut self, node: NodeId, word: StatementSignature, broken: Broken) {
        let of = |configuration: &Configuration| configuration.members.contains(&node);
        let counts = of(&self.members) || self.before.as_ref().is_some_and(of);
        if counts || broken.is(Fault::StrangersCount) {
            self.words.insert(node, word);
            self.heard += 1;
        }
    }

    /// Whether it ends an epoch.
    pub(crate) fn is_handover(&self) -> bool {
        self.before.is_some()
    }

    /// Whether so many have signed that they are enough.
    pub(crate) fn is_enough(&self, threshold: Threshold, broken: Broken) -> bool {
        let all: Vec<NodeId> = self.words.keys().copied().collect();
        let mut count = count(&all, &self.members);
        if broken.is(Fault::RepeatsCount) {
            count = self.heard;
        }
        if broken.is(Fault::StrangersCount) {
            count = all.len();
        }
        let members = self.members.members.len();
        let enough = match threshold.least(members) {
            least if broken.is(Fault::QuorumOffByOne) => count + 1 >= least,
            least if broken.is(Fault::ExactlyEnough) => count == least,
            _ => threshold.is_met(count, members),
        };
        enough
            && (broken.is(Fault::FormerNotAsked)
                || self.before.as_ref().is_none_or(|before| is_majority_of(&all, before)))
    }

    /// The set as it is now.
    pub(crate) fn certificate(&self) -> StateCertificate {
        StateCertificate {
            statement: self.statement,
            members: self.members.members.clone(),
            signatures: self.words.values().cloned().collect(),
        }
    }
}

/// How many of the members are among these.
pub(crate) fn count(nodes: &[NodeId], members: &Configuration) -> usize {
    members.members.iter().filter(|member| nodes.contains(member)).count()
}

/// Whether a majority of the members are among these.
pub(crate) fn is_majority_of(nodes: &[NodeId], members: &Configuration) -> bool {
    is_majority(count(nodes, members), members.members.len())
}
