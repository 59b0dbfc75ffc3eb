//! The certificates of one application.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use synod_types::limits::{COSIGN_EARLY_MAX, COSIGN_HANDOVERS_MAX, COSIGN_REMEMBERED_MAX, COSIGN_ROUNDS_MAX};
use synod_types::{
    AppNdx, Configuration, CosignMessage, Holding, NodeId, StateCertificate, Statement, StatementKey,
    StatementSignature,
};

use super::broken::{Broken, Fault};
use super::round::{Round, count, is_majority_of};
use super::{Beginning, Context, Due, Effect};

/// A word for a state to which this node has not come yet.
#[derive(Debug)]
struct Early {
    statement: Statement,
    signature: StatementSignature,
}

/// What one node knows of one application.
#[derive(Debug)]
pub(crate) struct App {
    /// Who the members are, as far as that can be proved from genesis on.
    proved: Configuration,
    /// Who decides, as this node knows it.
    current: Configuration,
    newest: Option<StateCertificate>,
    /// States of this node of which there is no certificate yet, and no newer one.
    rounds: BTreeMap<StatementKey, Round>,
    /// What others said of states to come.
    early: BTreeMap<NodeId, VecDeque<Early>>,
    /// What this node said last.
    remembered: VecDeque<Statement>,
    /// What is being stored, and whether as a hand-over.
    storing: BTreeMap<StatementKey, bool>,
    /// What others are known to hold.
    holdings: BTreeMap<NodeId, Holding>,
    /// In which tick others were given something last.
    given: BTreeMap<NodeId, u64>,
    /// Who was named last, and for which state.
    named: BTreeMap<NodeId, StatementKey>,
}

impl App {
    pub(crate) fn new(beginning: Beginning) -> App {
        let Beginning { proved, current, newest } = beginning;
        App {
            proved,
            current,
            newest,
            rounds: BTreeMap::new(),
            early: BTreeMap::new(),
            remembered: VecDeque::new(),
            storing: BTreeMap::new(),
            holdings: BTreeMap::new(),
            given: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    pub(crate) fn proved(&self) -> &Configuration {
        &self.proved
    }

    pub(crate) fn newest(&self) -> Option<&StateCertificate> {
        self.newest.as_ref()
    }

    pub(crate) fn keep_only(&mut self, nodes: &BTreeSet<NodeId>) {
        self.early.retain(|node, _| nodes.contains(node));
        self.holdings.retain(|node, _| nodes.contains(node));
        self.given.retain(|node, _| nodes.contains(node));
    }

    pub(crate) fn holding(&self, app: AppNdx) -> Holding {
        Holding { app, newest: self.newest_key(), proved: self.proved.epoch }
    }

    fn newest_key(&self) -> Option<StatementKey> {
        self.newest.as_ref().map(StateCertificate::key)
    }

    // This node's own states.

    pub(crate) fn on_due(&mut self, due: Due, context: &mut Context<'_>) {
        let (statement, key) = (due.statement, due.statement.key());
        if due.members.epoch >= self.current.epoch {
            self.current = due.members.clone();
        }
        self.remembered.push_back(statement);
        if self.remembered.len() > COSIGN_REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        if let Some(newest) = self.newest.clone().filter(|newest| !newest.statement.agrees_with(&statement)) {
            newest
                .signers()
                .into_iter()
                .for_each(|node| self.name(node, newest.statement, statement, context));
        }
        let words = self.take_early(&statement, context);
        let ends_unproved = due.before.is_some() && key.epoch > self.proved.epoch;
        if !ends_unproved && self.newest_key().is_some_and(|newest| newest >= key) {
            return;
        }
        let (own, broken) = (due.signature.clone(), context.broken);
        let mut round = Round::new(due, broken);
        words.into_iter().for_each(|(node, word)| round.take(node, word, broken));
        self.rounds.insert(key, round);
        self.forget_rounds();
        for &to in context.others {
            context.effects.push(Effect::Send {
                to,
                message: CosignMessage::Prepare { statement, signature: own.clone() },
            });
        }
        self.certify(key, context);
    }

    /// The words that came early for a state of this node; names those that differ.
    fn take_early(
        &mut self,
        own: &Statement,
        context: &mut Context<'_>,
    ) -> Vec<(NodeId, StatementSignature)> {
        let (mut words, mut wrong) = (Vec::new(), Vec::new());
        for (&node, early) in &mut self.early {
            early.retain(|word| {
                let agrees = word.statement.agrees_with(own) || context.broken.is(Fault::AnyWordCounts);
                if !agrees {
                    wrong.push((node, word.statement));
                } else if word.statement.key() == own.key() {
                    words.push((node, word.signature.clone()));
                    return false;
                }
                agrees
            });
        }
        wrong.into_iter().for_each(|(node, theirs)| self.name(node, theirs, *own, context));
        words
    }

    /// Gives up what is over the limits, oldest first.
    fn forget_rounds(&mut self) {
        for (is_handover, max) in [(false, COSIGN_ROUNDS_MAX), (true, COSIGN_HANDOVERS_MAX)] {
            let of_kind = |round: &Round| round.is_handover() == is_handover;
            while self.rounds.values().filter(|round| of_kind(round)).count() > max {
                let oldest = self.rounds.iter().find(|(_, round)| of_kind(round)).map(|(key, _)| *key);
                oldest.and_then(|key| self.rounds.remove(&key));
            }
        }
    }

    // What others say.

    pub(crate) fn on_prepare(
        &mut self,
        from: NodeId,
        statement: Statement,
        signature: StatementSignature,
        context: &mut Context<'_>,
    ) {
        let key = statement.key();
        if !context.broken.is(Fault::AnyWordCounts)
            && let Some(own) = self.own_against(&statement)
        {
            return self.name(from, statement, own, context);
        }
        if let Some(round) = self.rounds.get_mut(&key) {
            round.take(from, signature, context.broken);
            return self.certify(key, context);
        }
        if self.newest_key().is_some_and(|newest| newest >= key) {
            // It does not know yet.
            return self.give_newest(from, context);
        }
        let early = self.early.entry(from).or_default();
        early.retain(|word| word.statement.key() != key);
        early.push_back(Early { statement, signature });
        if early.len() > COSIGN_EARLY_MAX {
            // The further a state lies ahead, the longer its words are of use.
            early.make_contiguous().sort_by_key(|word| word.statement.key());
            early.pop_front();
        }
    }

    pub(crate) fn on_commit(
        &mut self,
        from: NodeId,
        certificate: StateCertificate,
        context: &mut Context<'_>,
    ) {
        let (statement, key) = (certificate.statement, certificate.key());
        let app = statement.app;
        let known =
            self.holdings.entry(from).or_insert(Holding { app, newest: None, proved: Default::default() });
        known.newest = known.newest.max(Some(key));
        let signers = certificate.signers();
        if let Some(own) = self.own_against(&statement) {
            return signers.into_iter().for_each(|node| self.name(node, statement, own, context));
        }
        if context.broken.is(Fault::CommitWaitsForWords)
            && self.rounds.get(&key).is_some_and(|round| !round.is_enough(context.threshold, context.broken))
        {
            return;
        }
        let is_handover = self.is_next_handover(&certificate, context.broken);
        let configuration = certificate.configuration();
        let members = certificate.members.len();
        let is_known = [&self.current, &self.proved].contains(&&configuration)
            || is_handover
            || context.broken.is(Fault::MembersNotLookedUp);
        let is_good = is_known && context.threshold.is_met(count(&signers, &configuration), members);
        let is_newer =
            self.newest_key().is_none_or(|newest| newest < key) || context.broken.is(Fault::OlderTaken);
        if is_handover || (is_good && is_newer) {
            self.store(certificate, is_handover, context);
        }
    }

    pub(crate) fn on_holding(&mut self, from: NodeId, holding: Holding, context: &mut Context<'_>) {
        self.holdings.insert(from, holding);
        if holding.newest < self.newest_key() {
            self.give_newest(from, context);
        }
        if holding.proved < self.proved.epoch {
            let (app, ends) = (holding.app, holding.proved);
            context.effects.push(Effect::GiveHandOver { to: from, app, ends });
        }
    }

    /// Once in a tick, at most.
    fn give_newest(&mut self, to: NodeId, context: &mut Context<'_>) {
        let Some(certificate) = self.newest.clone() else { return };
        if self.given.insert(to, context.ticks) != Some(context.ticks) {
            context.send(to, CosignMessage::Commit { certificate });
        }
    }

    /// What this node said that cannot be true where `theirs` is.
    fn own_against(&self, theirs: &Statement) -> Option<Statement> {
        self.remembered.iter().rev().find(|own| !own.agrees_with(theirs)).copied()
    }

    fn name(&mut self, signer: NodeId, theirs: Statement, own: Statement, context: &mut Context<'_>) {
        let is_new = self.named.insert(signer, theirs.key()) != Some(theirs.key());
        if is_new && !context.broken.is(Fault::ConflictIgnored) {
            context.effects.push(Effect::Conflict { signer, theirs, own });
        }
    }

    // Certificates.

    /// Fixes the set of a state, if it is enough.
    fn certify(&mut self, key: StatementKey, context: &mut Context<'_>) {
        let Some(round) = self.rounds.get(&key) else { return };
        if !round.is_enough(context.threshold, context.broken) {
            return;
        }
        let certificate = round.certificate();
        let is_handover = self.is_next_handover(&certificate, context.broken);
        if is_handover || self.newest_key().is_none_or(|newest| newest < key) {
            self.store(certificate, is_handover, context);
        }
    }

    /// Whether the certificate is to be stored as a hand-over: one after the other, since the next one has to follow from the one
    /// before, and that is known only when it is stored.
    fn is_next_handover(&self, certificate: &StateCertificate, broken: Broken) -> bool {
        !self.storing.values().any(|is_handover| *is_handover) && self.extends_proof(certificate, broken)
    }

    /// Whether the certificate proves who the members are behind those who are proved by now.
    fn extends_proof(&self, certificate: &StateCertificate, broken: Broken) -> bool {
        let signers = certificate.signers();
        certificate.statement.epoch > self.proved.epoch
            && is_majority_of(&signers, &certificate.configuration())
            && (broken.is(Fault::FormerNotAsked) || is_majority_of(&signers, &self.proved))
    }

    fn store(&mut self, certificate: StateCertificate, is_handover: bool, context: &mut Context<'_>) {
        let certificate = if is_handover {
            certificate.signed_by(&[&certificate.members, &self.proved.members])
        } else {
            certificate.of_members()
        };
        let key = certificate.key();
        if self.storing.get(&key).is_some_and(|stored| *stored || !is_handover) {
            return;
        }
        self.storing.insert(key, is_handover);
        if context.broken.is(Fault::ShownUnstored) {
            self.newest = Some(certificate.of_members());
            context.effects.push(Effect::Certified(certificate.of_members()));
        }
        context.effects.push(Effect::Store { certificate, is_handover });
    }

    pub(crate) fn on_not_stored(&mut self, certificate: &StateCertificate) {
        self.storing.remove(&certificate.key());
    }

    pub(crate) fn on_stored(
        &mut self,
        certificate: StateCertificate,
        is_handover: bool,
        context: &mut Context<'_>,
    ) {
        let key = certificate.key();
        // The same may be on its way a second time, as a hand-over.
        if self.storing.get(&key) == Some(&is_handover) {
            self.storing.remove(&key);
        }
        if is_handover && self.extends_proof(&certificate, context.broken) {
            self.proved = certificate.configuration();
        }
        if self.newest_key().is_none_or(|newest| newest < key) || context.broken.is(Fault::OlderTaken) {
            let newest = certificate.of_members();
            self.newest = Some(newest.clone());
            context.effects.push(Effect::Certified(newest));
        }
        let (newest, proved) = (self.newest_key(), self.proved.epoch);
        let keeps = !context.broken.is(Fault::HandOverGivenUp);
        self.rounds
            .retain(|key, round| Some(*key) > newest || (keeps && round.is_handover() && key.epoch > proved));
        self.early.values_mut().for_each(|early| early.retain(|word| Some(word.statement.key()) > newest));
        let lacks = |holding: &Holding| holding.newest < Some(key);
        for &to in context.others {
            if self.holdings.get(&to).is_none_or(lacks) {
                let message = CosignMessage::Commit { certificate: certificate.clone() };
                context.effects.push(Effect::Send { to, message });
            }
        }
    }

    /// Sends this node's words again to whom they may not have reached: whoever is not known to hold what comes of them.
    pub(crate) fn prepare_again(&mut self, context: &mut Context<'_>) {
        for key in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.certify(key, context);
        }
        for (key, round) in &self.rounds {
            for &to in context.others {
                let holds = self.holdings.get(&to).is_some_and(|holding| {
                    holding.newest >= Some(*key) && (!round.is_handover() || holding.proved >= key.epoch)
                });
                if !holds {
                    let message =
                        CosignMessage::Prepare { statement: round.statement, signature: round.own.clone() };
                    context.effects.push(Effect::Send { to, message });
                }
            }
        }
    }
}
