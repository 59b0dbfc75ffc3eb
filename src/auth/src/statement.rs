//! The word of nodes for what an application is in a state; and certificates of that, believed for nothing but the genesis document.
//!
//! The proof goes from epoch to epoch. Who the first members are stands in the genesis document. A certificate that names other
//! members in a later epoch counts if a majority of the members before it has signed it, too: it says who signs from then on.

use std::collections::BTreeSet;

use synod_types::configuration::is_majority;
use synod_types::limits::CERTIFICATE_SIGNATURES_MAX;
use synod_types::{
    AppNdx, CertificateBundle, ClusterId, Configuration, Epoch, NodeId, StateCertificate, Statement,
    StatementSignature, Threshold,
};

use crate::key::{KeyError, PublicKey, SignatureError};
use crate::signing_key::SigningKey;

/// Why a certificate of a state proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A key is none that is taken.
    #[error("the key of node {node} cannot be used: {source}")]
    Key {
        /// Whose it is said to be.
        node: NodeId,
        /// What is wrong.
        source: KeyError,
    },
    /// Whoever has this key did not sign it.
    #[error(
        "node {node} did not sign this: its signature is for another state, application or cluster, or for nothing"
    )]
    Signature {
        /// Who is said to have signed.
        node: NodeId,
        /// What is wrong.
        source: SignatureError,
    },
    /// The certificate names members that are not those that were signed.
    #[error("the members that the certificate names are not those that its signers named")]
    Members,
    /// There can be no such members.
    #[error("the certificate names {0} members, or one of them twice: there can be no such members")]
    ImpossibleMembers(usize),
    /// The members of that epoch are known, and are others.
    #[error("epoch {0} has other members than the certificate names")]
    OtherMembers(Epoch),
    /// Who has signed is no member.
    #[error("node {node} signed, and was no member in epoch {epoch}, nor before")]
    NotAMember {
        /// Who.
        node: NodeId,
        /// The epoch of the certificate.
        epoch: Epoch,
    },
    /// Signatures do not rise by the node's id.
    #[error("node {0} signed twice, or its signature is not where it belongs")]
    Twice(NodeId),
    /// More signatures than there can be.
    #[error("{0} signatures are more than there can be")]
    TooMany(usize),
    /// Too few of the members signed.
    #[error("{signed} of {members} members of epoch {epoch} signed, and {needed} have to")]
    TooFew {
        /// How many did.
        signed: usize,
        /// How many there are.
        members: usize,
        /// How many are enough.
        needed: usize,
        /// The epoch of the certificate.
        epoch: Epoch,
    },
    /// Nobody proves who the members are.
    #[error(
        "the proof is broken between epoch {before} and epoch {epoch}: of the {members} members of epoch {before}, {signed} signed who \
         comes behind them, which is no majority. A certificate between the two is missing: get it from another node, or, to prove \
         who the members are, audit the log of the application with the lowest number from genesis on (synod audit)"
    )]
    Broken {
        /// The last epoch whose members are proved.
        before: Epoch,
        /// The epoch of the certificate.
        epoch: Epoch,
        /// Of the former members, how many signed.
        signed: usize,
        /// How many they are.
        members: usize,
    },
    /// An epoch comes behind a later one.
    #[error("epoch {epoch} is earlier than epoch {before}, whose members are proved already")]
    Backwards {
        /// The last epoch whose members are proved.
        before: Epoch,
        /// The epoch of the certificate.
        epoch: Epoch,
    },
    /// The certificate is of another application than the one to prove.
    #[error("a certificate of application {found} proves nothing about application {app}")]
    OtherApp {
        /// The application to prove.
        app: AppNdx,
        /// What was found.
        found: AppNdx,
    },
}

/// Why a bundle proves nothing, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is of another cluster.
    #[error("the certificate is of cluster {}, and the genesis document founds cluster {}", .found.short(), .cluster.short())]
    OtherCluster {
        /// The cluster of the genesis document.
        cluster: ClusterId,
        /// What was found.
        found: ClusterId,
    },
    /// One that is to prove who the members are.
    #[error("the certificate that ends an epoch before epoch {epoch}: {source}")]
    HandOver {
        /// The epoch that it begins.
        epoch: Epoch,
        /// What is wrong.
        source: StatementError,
    },
    /// The one that was asked for.
    #[error(transparent)]
    Certificate(#[from] StatementError),
}

/// Says, with the node's key, that the application is what the statement says.
pub fn sign_statement(key: &SigningKey, cluster: ClusterId, statement: &Statement) -> StatementSignature {
    let signature = key.sign(&statement.signed_bytes(cluster, NodeId(key.id()))).into();
    StatementSignature { key: key.public().spki_der().clone(), signature }
}

/// Verifies one signature, and says whose it is.
///
/// # Errors
/// [`StatementError::Key`], [`StatementError::Signature`].
pub fn verify_statement(
    statement: &Statement,
    signature: &StatementSignature,
    cluster: ClusterId,
) -> Result<NodeId, StatementError> {
    let node = signature.signer();
    let key =
        PublicKey::from_spki_der(&signature.key).map_err(|source| StatementError::Key { node, source })?;
    key.verify(&statement.signed_bytes(cluster, node), &signature.signature)
        .map_err(|source| StatementError::Signature { node, source })?;
    Ok(node)
}

/// Verifies that the certificate is whole: that everybody who is said to have signed it did, once, and that its members are those that
/// they named. Whether they are the members, and enough of them, is for who knows the members.
///
/// # Errors
/// [`StatementError`].
pub fn verify_signatures(
    certificate: &StateCertificate,
    cluster: ClusterId,
) -> Result<BTreeSet<NodeId>, StatementError> {
    let configuration = certificate.configuration();
    if !configuration.is_possible() {
        return Err(StatementError::ImpossibleMembers(certificate.members.len()));
    }
    if configuration.digest() != certificate.statement.members {
        return Err(StatementError::Members);
    }
    if certificate.signatures.len() > CERTIFICATE_SIGNATURES_MAX {
        return Err(StatementError::TooMany(certificate.signatures.len()));
    }
    let mut signed = BTreeSet::new();
    for signature in &certificate.signatures {
        let node = verify_statement(&certificate.statement, signature, cluster)?;
        if signed.last().is_some_and(|last| *last >= node) {
            return Err(StatementError::Twice(node));
        }
        signed.insert(node);
    }
    Ok(signed)
}

/// Verifies a certificate against the members of its epoch, or of an earlier one.
///
/// # Errors
/// [`StatementError`].
pub fn verify_state_certificate(
    certificate: &StateCertificate,
    cluster: ClusterId,
    known: &Configuration,
    threshold: Threshold,
) -> Result<(), StatementError> {
    let epoch = certificate.statement.epoch;
    if epoch < known.epoch {
        return Err(StatementError::Backwards { before: known.epoch, epoch });
    }
    let is_later = epoch > known.epoch;
    if !is_later && certificate.members != known.members {
        return Err(StatementError::OtherMembers(epoch));
    }
    let signed = verify_signatures(certificate, cluster)?;
    let is_member =
        |node: &NodeId| certificate.members.contains(node) || (is_later && known.members.contains(node));
    if let Some(node) = signed.iter().find(|node| !is_member(node)) {
        return Err(StatementError::NotAMember { node: *node, epoch });
    }
    let count_of = |members: &[NodeId]| members.iter().filter(|node| signed.contains(node)).count();
    let members = certificate.members.len();
    let count = count_of(&certificate.members);
    if !threshold.is_met(count, members) {
        return Err(StatementError::TooFew {
            signed: count,
            members,
            needed: threshold.least(members),
            epoch,
        });
    }
    let before = count_of(&known.members);
    if is_later && !is_majority(before, known.members.len()) {
        let members = known.members.len();
        return Err(StatementError::Broken { before: known.epoch, epoch, signed: before, members });
    }
    Ok(())
}

/// Verifies a bundle from the members on whom genesis names. Says who the members are by then.
///
/// # Errors
/// [`ProofError`].
pub fn verify_bundle(
    bundle: &CertificateBundle,
    cluster: ClusterId,
    first: &Configuration,
    threshold: Threshold,
) -> Result<Configuration, ProofError> {
    if bundle.cluster != cluster {
        return Err(ProofError::OtherCluster { cluster, found: bundle.cluster });
    }
    let app = bundle.certificate.statement.app;
    let mut known = first.clone();
    for handover in &bundle.handovers {
        let Statement { app: found, epoch, .. } = handover.statement;
        let verified = if found != app {
            Err(StatementError::OtherApp { app, found })
        } else if epoch <= known.epoch {
            Err(StatementError::Backwards { before: known.epoch, epoch })
        } else {
            verify_state_certificate(handover, cluster, &known, Threshold::Majority)
        };
        verified.map_err(|source| ProofError::HandOver { epoch, source })?;
        known = handover.configuration();
    }
    verify_state_certificate(&bundle.certificate, cluster, &known, threshold)?;
    Ok(bundle.certificate.configuration())
}

#[cfg(test)]
mod tests {
    use synod_types::{Digest, Slot, StateNdx};

    use super::*;
    use crate::key::Algorithm;

    const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));

    /// Keys of nodes that are, were or will be members.
    struct Nodes(Vec<SigningKey>);

    impl Nodes {
        fn new(count: usize) -> Nodes {
            Nodes((0..count).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect())
        }

        fn ids(&self, of: &[usize]) -> Vec<NodeId> {
            of.iter().map(|&n| NodeId(self.0[n].id())).collect()
        }

        fn configuration(&self, epoch: u64, members: &[usize]) -> Configuration {
            Configuration { epoch: Epoch(epoch), members: self.ids(members) }
        }

        fn certificate(&self, epoch: u64, members: &[usize], signers: &[usize]) -> StateCertificate {
            let configuration = self.configuration(epoch, members);
            let statement = Statement {
                app: AppNdx(1),
                epoch: Epoch(epoch),
                members: configuration.digest(),
                slot: Slot(900 + epoch),
                state_ndx: StateNdx(800 + epoch),
                chain: Digest([3; 32]),
                root: Digest([4; 32]),
            };
            self.signed(statement, configuration.members, signers)
        }

        fn signed(&self, statement: Statement, members: Vec<NodeId>, signers: &[usize]) -> StateCertificate {
            let sign = |&n: &usize| sign_statement(&self.0[n], CLUSTER, &statement);
            let mut signatures: Vec<_> = signers.iter().map(sign).collect();
            signatures.sort_by_key(StatementSignature::signer);
            StateCertificate { statement, members, signatures }
        }

        fn first(&self) -> Configuration {
            self.configuration(0, &[0, 1, 2])
        }
    }

    fn bundle(handovers: Vec<StateCertificate>, certificate: StateCertificate) -> CertificateBundle {
        CertificateBundle { cluster: CLUSTER, handovers, certificate }
    }

    #[test]
    fn enough_members_make_a_certificate() {
        let nodes = Nodes::new(4);
        let verify = |signers: &[usize], threshold| {
            let certificate = nodes.certificate(0, &[0, 1, 2], signers);
            verify_state_certificate(&certificate, CLUSTER, &nodes.first(), threshold)
        };
        let too_few =
            |signed, needed| Err(StatementError::TooFew { signed, members: 3, needed, epoch: Epoch(0) });
        assert_eq!(verify(&[0, 2], Threshold::Majority), Ok(()));
        assert_eq!(verify(&[0, 1, 2], Threshold::Majority), Ok(()), "more than enough");
        assert_eq!(verify(&[0, 1, 2], Threshold::All), Ok(()));
        assert_eq!(verify(&[2], Threshold::Majority), too_few(1, 2));
        assert_eq!(verify(&[], Threshold::Count(1)), too_few(0, 2));
        assert_eq!(verify(&[0, 2], Threshold::All), too_few(2, 3));
        assert_eq!(verify(&[0, 2], Threshold::Count(3)), too_few(2, 3));
        let (node, epoch) = (nodes.ids(&[3])[0], Epoch(0));
        assert_eq!(verify(&[0, 1, 3], Threshold::Majority), Err(StatementError::NotAMember { node, epoch }));
        let mut twice = nodes.certificate(0, &[0, 1, 2], &[0]);
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(
            verify_state_certificate(&twice, CLUSTER, &nodes.first(), Threshold::Majority),
            Err(StatementError::Twice(nodes.ids(&[0])[0]))
        );
    }

    #[test]
    fn nothing_in_a_certificate_can_be_changed() {
        let nodes = Nodes::new(3);
        let good = nodes.certificate(0, &[0, 1, 2], &[0, 1]);
        let statement = good.statement;
        let verify = |certificate: &StateCertificate, cluster| {
            verify_state_certificate(certificate, cluster, &nodes.first(), Threshold::Majority)
        };
        assert_eq!(verify(&good, CLUSTER), Ok(()));
        let unsigned =
            |changed: &Result<(), StatementError>| matches!(changed, Err(StatementError::Signature { .. }));
        assert!(unsigned(&verify(&good, ClusterId(Digest([9; 32])))), "another cluster's");
        for statement in [
            Statement { app: AppNdx(2), ..statement },
            Statement { slot: Slot(901), ..statement },
            Statement { state_ndx: StateNdx(801), ..statement },
            Statement { chain: Digest([4; 32]), ..statement },
            Statement { root: Digest([5; 32]), ..statement },
        ] {
            assert!(
                unsigned(&verify(&StateCertificate { statement, ..good.clone() }, CLUSTER)),
                "{statement:?}"
            );
        }
        for statement in
            [Statement { members: Digest([9; 32]), ..statement }, Statement { epoch: Epoch(1), ..statement }]
        {
            let changed = StateCertificate { statement, ..good.clone() };
            assert_eq!(verify(&changed, CLUSTER), Err(StatementError::Members), "{statement:?}");
        }
        let members = good.members[..2].to_vec();
        let changed = StateCertificate { members, ..good.clone() };
        assert_eq!(verify(&changed, CLUSTER), Err(StatementError::OtherMembers(Epoch(0))));
        let backwards =
            StateCertificate { signatures: good.signatures.iter().rev().cloned().collect(), ..good };
        assert!(matches!(verify(&backwards, CLUSTER), Err(StatementError::Twice(_))));
    }

    #[test]
    fn members_are_proved_from_genesis_on() {
        let nodes = Nodes::new(8);
        let verify = |handovers: Vec<StateCertificate>, certificate: StateCertificate| {
            verify_bundle(&bundle(handovers, certificate), CLUSTER, &nodes.first(), Threshold::Majority)
        };
        // All three are replaced, in two steps.
        let second = nodes.certificate(3, &[2, 3, 4], &[0, 2, 3]);
        let third = nodes.certificate(4, &[4, 5, 6], &[3, 4, 5]);
        let last = nodes.certificate(4, &[4, 5, 6], &[5, 6]);
        let proved = verify(vec![second.clone(), third.clone()], last.clone());
        assert_eq!(proved, Ok(nodes.configuration(4, &[4, 5, 6])));
        assert_eq!(
            verify(vec![], second.clone()),
            Ok(nodes.configuration(3, &[2, 3, 4])),
            "it proves itself"
        );
        assert_eq!(
            verify(vec![third.clone()], last.clone()),
            Err(ProofError::HandOver {
                epoch: Epoch(4),
                source: StatementError::NotAMember {
                    node: nodes.certificate_stranger(&third),
                    epoch: Epoch(4)
                },
            }),
            "node 3 was no member of genesis"
        );
        let broken = StatementError::Broken { before: Epoch(3), epoch: Epoch(4), signed: 0, members: 3 };
        assert_eq!(verify(vec![second.clone()], last.clone()), Err(ProofError::Certificate(broken)));
        let broken = StatementError::Broken { before: Epoch(0), epoch: Epoch(4), signed: 0, members: 3 };
        assert_eq!(verify(vec![], last.clone()), Err(ProofError::Certificate(broken.clone())));
        assert!(broken.to_string().contains("between epoch 0 and epoch 4"));
        // Not a majority of those before, or of those behind.
        let weak = nodes.certificate(3, &[2, 3, 4], &[2, 3]);
        let broken = StatementError::Broken { before: Epoch(0), epoch: Epoch(3), signed: 1, members: 3 };
        assert_eq!(verify(vec![], weak), Err(ProofError::Certificate(broken)));
        let few = nodes.certificate(3, &[2, 3, 4], &[0, 1, 2]);
        let too_few = StatementError::TooFew { signed: 1, members: 3, needed: 2, epoch: Epoch(3) };
        assert_eq!(verify(vec![], few), Err(ProofError::Certificate(too_few)));
        // An epoch that ended, of which somebody goes on.
        let former = nodes.certificate(0, &[0, 1, 2], &[0, 1]);
        let backwards = StatementError::Backwards { before: Epoch(3), epoch: Epoch(0) };
        assert_eq!(verify(vec![second.clone()], former), Err(ProofError::Certificate(backwards)));
        let again = StatementError::Backwards { before: Epoch(3), epoch: Epoch(3) };
        let found = verify(vec![second.clone(), second.clone()], third.clone());
        assert_eq!(found, Err(ProofError::HandOver { epoch: Epoch(3), source: again }));
        // One of another application.
        let mut statement = second.statement;
        statement.app = AppNdx(2);
        let foreign = nodes.signed(statement, second.members.clone(), &[0, 2, 3]);
        let source = StatementError::OtherApp { app: AppNdx(1), found: AppNdx(2) };
        assert_eq!(
            verify(vec![foreign, third], last.clone()),
            Err(ProofError::HandOver { epoch: Epoch(3), source })
        );
        let elsewhere = CertificateBundle { cluster: ClusterId(Digest([9; 32])), ..bundle(vec![], last) };
        let verified = verify_bundle(&elsewhere, CLUSTER, &nodes.first(), Threshold::Majority);
        assert!(matches!(verified, Err(ProofError::OtherCluster { .. })));
    }

    impl Nodes {
        /// The first signer who is a member neither of genesis nor of the certificate's epoch.
        fn certificate_stranger(&self, certificate: &StateCertificate) -> NodeId {
            let first = self.first().members;
            let is_stranger = |node: &NodeId| !first.contains(node) && !certificate.members.contains(node);
            certificate.signers().into_iter().find(is_stranger).unwrap()
        }
    }

    #[test]
    fn no_bit_of_a_bundle_can_be_changed() {
        let nodes = Nodes::new(4);
        let second = nodes.certificate(3, &[1, 2, 3], &[0, 1, 2]);
        let good = bundle(vec![second], nodes.certificate(3, &[1, 2, 3], &[2, 3])).encode();
        let verify = |bytes: &[u8]| {
            let decoded = CertificateBundle::decode(bytes).map_err(|why| why.to_string())?;
            verify_bundle(&decoded, CLUSTER, &nodes.first(), Threshold::Majority)
                .map_err(|why| why.to_string())
        };
        assert!(verify(&good).is_ok());
        for bit in 0..8 * good.len() {
            let mut changed = good.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&changed).is_err(), "bit {bit}");
        }
    }
}
