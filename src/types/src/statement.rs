//! Statements: what an application is in a state, as nodes sign it; and certificates of them, which prove a state to whoever knows
//! the genesis document alone.
//!
//! A [`Checkpoint`](crate::Checkpoint) is about a snapshot and is for nodes. A [`Statement`] is about a state and is for everybody: it
//! names the epoch and the members, so that one certificate can prove who signs the next ones.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::digest::Digest;
use crate::ids::{AppNdx, ClusterId, Epoch, NodeId, Slot, StateNdx};

/// What an application is in a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// The application.
    pub app: AppNdx,
    /// Whose votes decide behind this state.
    pub epoch: Epoch,
    /// Who they are: [`Configuration::digest`].
    pub members: Digest,
    /// The slot whose decree made the state; or began the epoch in it.
    pub slot: Slot,
    /// The state.
    pub state_ndx: StateNdx,
    /// The hash chain there.
    pub chain: Digest,
    /// The application's own commitment to what it holds.
    pub root: Digest,
}

/// Which statement it is: of one state in one epoch there is only one that is true. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StatementKey {
    /// The state.
    pub state_ndx: StateNdx,
    /// The epoch.
    pub epoch: Epoch,
}

impl Statement {
    /// What its signed bytes begin with.
    pub const DOMAIN: &[u8] = b"synod/statement/v1\0";

    /// Which statement it is.
    pub fn key(&self) -> StatementKey {
        StatementKey { state_ndx: self.state_ndx, epoch: self.epoch }
    }

    /// The bytes that a node signs: what they are for, the cluster, the statement, the node.
    pub fn signed_bytes(&self, cluster: ClusterId, node: NodeId) -> Vec<u8> {
        let mut bytes = Statement::DOMAIN.to_vec();
        bytes.extend_from_slice(cluster.as_bytes());
        bytes.extend_from_slice(&self.app.0.to_be_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.members.0);
        bytes.extend_from_slice(&self.slot.0.to_be_bytes());
        bytes.extend_from_slice(&self.state_ndx.0.to_be_bytes());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(node.as_bytes());
        bytes
    }

    /// Whether both can be true. Of two that cannot, one was signed by a node that is wrong, or lies.
    pub fn agrees_with(&self, other: &Statement) -> bool {
        if self.app != other.app || self.state_ndx != other.state_ndx {
            return true;
        }
        self.chain == other.chain && (self.epoch != other.epoch || self == other)
    }
}

/// A node's word for a statement.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StatementSignature {
    /// The node's public key (SubjectPublicKeyInfo, DER), whose hash is its id.
    pub key: Bytes,
    /// Over [`Statement::signed_bytes`], made as for a command.
    pub signature: Bytes,
}

impl StatementSignature {
    /// Who is said to have signed.
    pub fn signer(&self) -> NodeId {
        NodeId(Digest::of(&[&self.key]))
    }
}

/// A statement with the word of enough nodes, once it was verified.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StateCertificate {
    /// What they say.
    pub statement: Statement,
    /// The members of its epoch, in the order of the configuration.
    pub members: Vec<NodeId>,
    /// One of each node, rising by the node's id.
    pub signatures: Vec<StatementSignature>,
}

impl StateCertificate {
    /// Which statement it is of.
    pub fn key(&self) -> StatementKey {
        self.statement.key()
    }

    /// Who decides behind the state.
    pub fn configuration(&self) -> Configuration {
        Configuration { epoch: self.statement.epoch, members: self.members.clone() }
    }

    /// The same certificate with the signatures of its members alone.
    #[must_use]
    pub fn of_members(&self) -> StateCertificate {
        self.signed_by(&[&self.members])
    }

    /// The same certificate with the signatures of these nodes alone.
    #[must_use]
    pub fn signed_by(&self, nodes: &[&[NodeId]]) -> StateCertificate {
        let is_one = |signature: &&StatementSignature| {
            let signer = signature.signer();
            nodes.iter().any(|nodes| nodes.contains(&signer))
        };
        let signatures = self.signatures.iter().filter(is_one).cloned().collect();
        StateCertificate { statement: self.statement, members: self.members.clone(), signatures }
    }

    /// Who is said to have signed.
    pub fn signers(&self) -> Vec<NodeId> {
        self.signatures.iter().map(StatementSignature::signer).collect()
    }
}

/// A certificate, with what proves to whoever knows the genesis document that those who signed it were the members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateBundle {
    /// The cluster, for people: what is signed names it again.
    pub cluster: ClusterId,
    /// One for each epoch that ended since genesis, as far as they are known: signed by the members before as well.
    pub handovers: Vec<StateCertificate>,
    /// What is to be proved.
    pub certificate: StateCertificate,
}

impl CertificateBundle {
    /// What its bytes begin with in every version.
    pub const NAME: &str = "synod/certificate-bundle/v";
    /// The version that this program writes and reads.
    pub const VERSION: &str = "1";

    /// As bytes, which begin with their name and version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [CertificateBundle::NAME, CertificateBundle::VERSION, "\0"].concat().into_bytes();
        crate::wire::encode_into(self, &mut out);
        out
    }

    /// Reads what [`CertificateBundle::encode`] wrote; whether anything in it is true is another question.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn decode(bytes: &[u8]) -> Result<CertificateBundle, BundleError> {
        match crate::format::split(CertificateBundle::NAME, bytes) {
            None => Err(BundleError::NotABundle),
            Some((CertificateBundle::VERSION, rest)) => {
                let bundle: CertificateBundle = crate::wire::decode(rest).map_err(BundleError::Damaged)?;
                // The same numbers can be encoded in several ways; only one of them is written.
                if bundle.encode() == bytes { Ok(bundle) } else { Err(BundleError::NotCanonical) }
            }
            Some((version, _)) => Err(BundleError::UnknownVersion(version.to_owned())),
        }
    }
}

/// Why bytes are no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// They do not begin as one does.
    #[error("not a certificate, as `synod certificate get` writes it")]
    NotABundle,
    /// It is one in a version that this program does not read.
    #[error("the certificate is of version {0}, and this program reads version 1: use a newer program")]
    UnknownVersion(String),
    /// It cannot be decoded.
    #[error("the certificate is damaged: {0}")]
    Damaged(crate::wire::WireError),
    /// It was not written by this program.
    #[error("the certificate is damaged: its numbers are not written as they should be")]
    NotCanonical,
}

/// What nodes say to each other to come to certificates.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CosignMessage {
    /// The sender came to this state, and signs what it is.
    Prepare {
        /// What it is.
        statement: Statement,
        /// The sender's word.
        signature: StatementSignature,
    },
    /// These signatures are enough.
    Commit {
        /// The certificate.
        certificate: StateCertificate,
    },
    /// What the sender holds, so that whoever holds more gives it.
    Holds(Vec<Holding>),
}

/// What a node holds of one application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// The application.
    pub app: AppNdx,
    /// The newest certificate.
    pub newest: Option<StatementKey>,
    /// The epoch up to which it can prove from genesis on who the members are.
    pub proved: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(state_ndx: u64, epoch: u64, chain: u8) -> Statement {
        Statement {
            app: AppNdx(1),
            epoch: Epoch(epoch),
            members: Digest([2; 32]),
            slot: Slot(9),
            state_ndx: StateNdx(state_ndx),
            chain: Digest([chain; 32]),
            root: Digest([4; 32]),
        }
    }

    #[test]
    fn of_one_state_one_thing_is_true() {
        let one = statement(5, 0, 1);
        assert!(one.agrees_with(&one) && one.agrees_with(&statement(6, 0, 2)));
        assert!(!one.agrees_with(&statement(5, 0, 2)), "another chain");
        assert!(!one.agrees_with(&Statement { root: Digest([5; 32]), ..one }), "another root");
        assert!(!one.agrees_with(&statement(5, 1, 2)), "the chain is that of the state in every epoch");
        let ended = Statement { slot: Slot(10), root: Digest([5; 32]), ..statement(5, 1, 1) };
        assert!(one.agrees_with(&ended), "leases may have begun anew meanwhile");
        assert!(one.agrees_with(&Statement { app: AppNdx(2), ..statement(5, 0, 2) }));
    }

    #[test]
    fn later_ones_are_greater() {
        let keys: Vec<_> = [(4, 7), (5, 0), (5, 2), (6, 0)].map(|(n, e)| statement(n, e, 1).key()).into();
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_bundle_reads_back_and_nothing_else_does() {
        let signature = StatementSignature { key: Bytes::from_static(b"key"), signature: Bytes::new() };
        let certificate = StateCertificate {
            statement: statement(300, 1, 1),
            members: vec![NodeId(Digest([1; 32]))],
            signatures: vec![signature],
        };
        let cluster = ClusterId(Digest([7; 32]));
        let bundle = CertificateBundle { cluster, handovers: vec![certificate.clone()], certificate };
        let bytes = bundle.encode();
        assert_eq!(CertificateBundle::decode(&bytes), Ok(bundle));
        assert_eq!(CertificateBundle::decode(b"{}"), Err(BundleError::NotABundle));
        let newer = [b"synod/certificate-bundle/v9\0", &bytes[28..]].concat();
        assert_eq!(CertificateBundle::decode(&newer), Err(BundleError::UnknownVersion("9".to_owned())));
        for cut in 28..bytes.len() {
            assert!(
                matches!(CertificateBundle::decode(&bytes[..cut]), Err(BundleError::Damaged(_))),
                "{cut}"
            );
        }
        // One handover, as a number of two bytes.
        let other = [&bytes[..60], &[0x81, 0], &bytes[61..]].concat();
        assert_eq!(CertificateBundle::decode(&other), Err(BundleError::NotCanonical));
    }
}
