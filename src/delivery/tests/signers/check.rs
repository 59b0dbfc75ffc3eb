//! What has to be so, at any time and in the end.

use std::collections::BTreeSet;

use synod_types::configuration::is_majority;
use synod_types::{Configuration, CosignMessage, Epoch, NodeId, StateCertificate, Statement, StatementKey};

use super::{Point, World, id};

impl World {
    fn point(&self, statement: &Statement) -> Option<&Point> {
        self.points.iter().find(|point| point.statement == *statement)
    }

    /// No creation, and agreement: what is certified is what all honest nodes come to, and enough have said just that.
    pub(super) fn check_certificate(
        &mut self,
        node: usize,
        certificate: &StateCertificate,
        is_handover: bool,
    ) {
        if self.liar == Some(node) {
            return;
        }
        self.counts.certificates += 1;
        let signers: BTreeSet<NodeId> = certificate.signers().into_iter().collect();
        let Some(Point { members, .. }) = self.point(&certificate.statement).cloned() else {
            return self.violate(format!("n{node} holds a certificate of what is not so"));
        };
        if members.members != certificate.members {
            return self.violate(format!("n{node} holds a certificate of other members"));
        }
        if signers.len() != certificate.signatures.len() {
            return self.violate(format!("n{node} counts somebody twice"));
        }
        for word in &certificate.signatures {
            if !self.words.contains(&(word.signer(), word.signature.clone()))
                || !super::is_genuine(word, &certificate.statement)
            {
                return self.violate(format!("n{node} counts who did not sign this"));
            }
        }
        let count = |members: &[NodeId]| members.iter().filter(|member| signers.contains(member)).count();
        if !self.threshold.is_met(count(&members.members), members.members.len()) {
            // One that only proves who the members are needs a majority of them.
            let enough = is_handover && is_majority(count(&members.members), members.members.len());
            if !enough {
                return self.violate(format!("n{node} holds a certificate that too few have signed"));
            }
        }
        if is_handover {
            let proved = self.nodes[node].disk.handovers.last();
            let before = proved.map_or(self.first.clone(), StateCertificate::configuration);
            if !is_majority(count(&before.members), before.members.len()) {
                self.violate(format!("n{node} takes members whom too few of the former have named"));
            }
        }
    }

    /// Durability, and no way back.
    pub(super) fn check_shown(&mut self, node: usize, certificate: &StateCertificate) {
        let key = certificate.key();
        let state = &self.nodes[node];
        let stored = state.disk.newest.as_ref().map(StateCertificate::key);
        if stored < Some(key) {
            return self.violate(format!("n{node} shows a certificate that is not stored"));
        }
        if state.shown > Some(key) {
            return self.violate(format!("n{node} goes back to an older certificate"));
        }
        self.nodes[node].shown = Some(key);
    }

    /// Nobody is named who is honest.
    pub(super) fn check_named(&mut self, node: usize, signer: NodeId, theirs: &Statement) {
        self.nodes[node].named.insert((signer, theirs.key()));
        self.counts.conflicts += 1;
        let is_liar = self.liar.is_some_and(|liar| id(liar) == signer || liar == node);
        // The forger's strangers have signed what is not so.
        let is_node = self.nodes.iter().any(|node| node.id == signer);
        if is_node && !is_liar {
            self.violate(format!("n{node} names {signer:?}, who is honest"));
        }
    }

    /// Whether this word has to be noticed: it is not so, and this node came to the same state not long ago.
    pub(super) fn has_to_name(
        &self,
        from: usize,
        to: usize,
        message: &CosignMessage,
    ) -> Option<StatementKey> {
        let CosignMessage::Prepare { statement, .. } = message else { return None };
        let place = self.points.iter().position(|point| point.statement.key() == statement.key())?;
        let differs = self.points[place].statement != *statement;
        let is_known = self.nodes[to].signed.contains(&place);
        (self.liar == Some(from) && differs && is_known).then(|| statement.key())
    }

    /// Validity, and that the members can be proved.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let last = self.points.len() - 1;
        let Point { statement, members, .. } = self.points[last].clone();
        let live: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].core.is_some() && self.liar != Some(*node))
            .collect();
        let signed = |place: usize, members: &Configuration| {
            let signed = |node: &&usize| {
                members.members.contains(&id(**node)) && self.nodes[**node].signed.contains(&place)
            };
            live.iter().filter(signed).count()
        };
        let of_last = signed(last, &members);
        if self.threshold.is_met(of_last, members.members.len()) && self.points[last].before.is_none() {
            for &node in live.iter().filter(|node| self.nodes[**node].executed.contains(&last)) {
                if self.nodes[node].shown != Some(statement.key()) {
                    return Err(format!("n{node} holds no certificate of the last state"));
                }
            }
        }
        let ends: Vec<usize> = (0..=last).filter(|place| self.points[*place].before.is_some()).collect();
        let provable = |place: &usize| {
            let Point { members, before, .. } = &self.points[*place];
            let before = before.as_ref().unwrap();
            self.threshold.is_met(signed(*place, members), members.members.len())
                && is_majority(signed(*place, before), before.members.len())
        };
        if !ends.is_empty() && self.counts.crashes == 0 && ends.iter().all(provable) {
            self.counts.proofs += 1;
            let epoch = self.points[last].members.epoch;
            for &node in &live {
                let proved = self.nodes[node].disk.handovers.last();
                let proved = proved.map_or(Epoch(0), |proved| proved.statement.epoch);
                if proved != epoch {
                    return Err(format!("n{node} proves the members up to epoch {proved}, not {epoch}"));
                }
            }
        }
        Ok(())
    }
}
