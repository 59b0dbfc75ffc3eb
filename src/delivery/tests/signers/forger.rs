//! Somebody who sends, in the name of a node, what that node has not signed; or has, with keys of its own invention.

use synod_types::{Configuration, CosignMessage, Epoch, StateCertificate, StatementSignature};

use super::{Happening, Point, World, id, sign};

/// The first key that is no node's.
const STRANGER: usize = 1_000;

impl World {
    pub(super) fn forge(&mut self) {
        let count = self.nodes.len();
        // Where there is a liar, it is its session that is used.
        let from = self.liar.unwrap_or_else(|| self.random.index(count));
        let to = self.random.index(count);
        if from == to {
            return;
        }
        let place = self.random.index(self.points.len());
        let Point { statement, members, .. } = self.points[place].clone();
        let message = match self.random.within(0..=4) {
            // The word of another node, who has not given it.
            0 => {
                let signature = StatementSignature { key: super::key(to), signature: vec![7; 32].into() };
                CosignMessage::Prepare { statement, signature }
            }
            // The word of another node for another state.
            1 => {
                let elsewhere = self.points[self.random.index(self.points.len())].statement;
                let mut signature = sign(from, &elsewhere);
                if elsewhere == statement {
                    signature.signature = vec![7; 32].into();
                }
                CosignMessage::Prepare { statement, signature }
            }
            // Members of its own invention.
            2 => {
                let epoch = Epoch(statement.epoch.0 + self.random.within(0..=1));
                let members = Configuration { epoch, members: (STRANGER..STRANGER + 3).map(id).collect() };
                let mut statement = statement;
                (statement.epoch, statement.members) = (epoch, members.digest());
                statement.state_ndx.0 += 5_000;
                statement.chain.0[0] ^= 1;
                let words = (STRANGER..STRANGER + 3).map(|n| sign(n, &statement));
                certificate(statement, members, words.collect())
            }
            // Strangers beside the members.
            3 => {
                let words = (STRANGER..STRANGER + 3).map(|n| sign(n, &statement));
                certificate(statement, members, words.collect())
            }
            // The signature of a member with a bit that is another one.
            _ => {
                let mut words: Vec<_> = (0..count)
                    .filter(|n| members.members.contains(&id(*n)))
                    .map(|n| StatementSignature { key: super::key(n), signature: vec![9; 32].into() })
                    .collect();
                words.truncate(3);
                certificate(statement, members, words)
            }
        };
        self.at(self.now, Happening::Arrives { from, to, message });
    }
}

fn certificate(
    statement: synod_types::Statement,
    members: Configuration,
    mut signatures: Vec<StatementSignature>,
) -> CosignMessage {
    signatures.sort_by_key(StatementSignature::signer);
    let certificate = StateCertificate { statement, members: members.members, signatures };
    CosignMessage::Commit { certificate }
}
