//! The word of nodes for a checkpoint, and certificates: those of a majority.

use std::collections::BTreeSet;

use synod_types::configuration::is_majority;
use synod_types::{Certificate, Checkpoint, CheckpointSignature, ClusterId, Digest, NodeId};

use crate::key::{KeyError, PublicKey, SignatureError};
use crate::signing_key::SigningKey;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A key is none that is taken.
    #[error("a key of the certificate cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Whoever has this key did not sign it.
    #[error("node {node} did not sign this checkpoint of this cluster: {source}")]
    Signature {
        /// Who is said to have signed.
        node: NodeId,
        /// What is wrong.
        source: SignatureError,
    },
    /// Somebody is counted twice.
    #[error("node {0} signed the certificate twice")]
    Twice(NodeId),
    /// Too few signed.
    #[error("{signed} of {members} members signed the certificate, which is no majority")]
    NoMajority {
        /// How many did.
        signed: usize,
        /// How many there are.
        members: usize,
    },
}

/// Says, with the node's key, that the application is what the checkpoint says.
pub fn sign_checkpoint(key: &SigningKey, cluster: ClusterId, checkpoint: &Checkpoint) -> CheckpointSignature {
    let signature = key.sign(&checkpoint.signed_bytes(cluster, NodeId(key.id()))).into();
    CheckpointSignature { key: key.public().spki_der().clone(), signature }
}

/// Verifies one signature, and says whose it is.
///
/// # Errors
/// [`CertificateError::Key`], [`CertificateError::Signature`].
pub fn verify_checkpoint(
    checkpoint: &Checkpoint,
    signature: &CheckpointSignature,
    cluster: ClusterId,
) -> Result<NodeId, CertificateError> {
    let node = NodeId(Digest::of(&[&signature.key]));
    let key = PublicKey::from_spki_der(&signature.key)?;
    key.verify(&checkpoint.signed_bytes(cluster, node), &signature.signature)
        .map_err(|source| CertificateError::Signature { node, source })?;
    Ok(node)
}

/// Verifies that a majority of `members` signed, each once. Who else signed does not count.
///
/// # Errors
/// [`CertificateError`].
pub fn verify_certificate(
    certificate: &Certificate,
    cluster: ClusterId,
    members: &[NodeId],
) -> Result<(), CertificateError> {
    let mut signed = BTreeSet::new();
    for signature in &certificate.signatures {
        let node = NodeId(Digest::of(&[&signature.key]));
        if !members.contains(&node) {
            continue;
        }
        if !signed.insert(node) {
            return Err(CertificateError::Twice(node));
        }
        verify_checkpoint(&certificate.checkpoint, signature, cluster)?;
    }
    if is_majority(signed.len(), members.len()) {
        Ok(())
    } else {
        Err(CertificateError::NoMajority { signed: signed.len(), members: members.len() })
    }
}

#[cfg(test)]
mod tests {
    use synod_types::{AppNdx, ContentKey, Slot, StateNdx};

    use super::*;
    use crate::key::Algorithm;

    const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            app: AppNdx(1),
            slot: Slot(900),
            state_ndx: StateNdx(800),
            chain: Digest([3; 32]),
            index: ContentKey::of(b"an index"),
        }
    }

    struct Cluster {
        keys: Vec<SigningKey>,
        members: Vec<NodeId>,
    }

    impl Cluster {
        fn new() -> Cluster {
            let keys: Vec<_> = (0..3).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect();
            let members = keys.iter().map(|key| NodeId(key.id())).collect();
            Cluster { keys, members }
        }

        fn certificate(&self, signers: &[usize]) -> Certificate {
            let checkpoint = checkpoint();
            let sign = |&signer: &usize| sign_checkpoint(&self.keys[signer], CLUSTER, &checkpoint);
            Certificate { checkpoint, signatures: signers.iter().map(sign).collect() }
        }

        fn verify(&self, certificate: &Certificate) -> Result<(), CertificateError> {
            verify_certificate(certificate, CLUSTER, &self.members)
        }
    }

    #[test]
    fn a_majority_makes_a_certificate() {
        let cluster = Cluster::new();
        assert_eq!(cluster.verify(&cluster.certificate(&[0, 2])), Ok(()));
        assert_eq!(cluster.verify(&cluster.certificate(&[2, 1, 0])), Ok(()));
        let no_majority = |signed| Err(CertificateError::NoMajority { signed, members: 3 });
        assert_eq!(cluster.verify(&cluster.certificate(&[1])), no_majority(1));
        assert_eq!(cluster.verify(&cluster.certificate(&[])), no_majority(0));
        let twice = CertificateError::Twice(cluster.members[1]);
        assert_eq!(cluster.verify(&cluster.certificate(&[1, 1])), Err(twice));
    }

    #[test]
    fn strangers_do_not_count() {
        let cluster = Cluster::new();
        let stranger = SigningKey::generate(Algorithm::Ed25519);
        let mut certificate = cluster.certificate(&[0]);
        certificate.signatures.push(sign_checkpoint(&stranger, CLUSTER, &certificate.checkpoint));
        assert_eq!(cluster.verify(&certificate), Err(CertificateError::NoMajority { signed: 1, members: 3 }));
    }

    #[test]
    fn nothing_in_a_certificate_can_be_changed() {
        let cluster = Cluster::new();
        let good = cluster.certificate(&[0, 1]);
        let checkpoint = checkpoint();
        let others = [
            Checkpoint { app: AppNdx(2), ..checkpoint },
            Checkpoint { slot: Slot(901), ..checkpoint },
            Checkpoint { state_ndx: StateNdx(801), ..checkpoint },
            Checkpoint { chain: Digest([4; 32]), ..checkpoint },
            Checkpoint { index: ContentKey::of(b"another"), ..checkpoint },
        ];
        for checkpoint in others {
            let changed = Certificate { checkpoint, ..good.clone() };
            assert!(matches!(cluster.verify(&changed), Err(CertificateError::Signature { .. })));
        }
        let elsewhere = ClusterId(Digest([9; 32]));
        assert!(verify_certificate(&good, elsewhere, &cluster.members).is_err());
        for bit in 0..8 * good.signatures[1].signature.len() {
            let mut changed = good.clone();
            let mut signature = changed.signatures[1].signature.to_vec();
            signature[bit / 8] ^= 1 << (bit % 8);
            changed.signatures[1].signature = signature.into();
            assert!(cluster.verify(&changed).is_err(), "bit {bit}");
        }
    }
}
