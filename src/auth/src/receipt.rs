//! A node's signed word that it has stored a file durably.
//!
//! A receipt carries the node's key, so that everybody can verify it at any time. It proves that the holder of that key
//! said so for this cluster; whether the node is a member is for who knows the genesis document.

use synod_types::{ClusterId, ContentKey, ContentReceipt, Digest, NodeId};

use crate::key::{KeyError, PublicKey, SignatureError};
use crate::signing_key::SigningKey;

/// Why a receipt is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The node's id is not the SHA3-256 of the key.
    #[error("the receipt is in the name of node {0}, and its key is not that node's")]
    WrongNode(NodeId),
    /// The key is none that is taken.
    #[error("the key of the receipt cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The node did not sign this.
    #[error("the node of the receipt did not sign it for this file and this cluster: {0}")]
    Signature(#[from] SignatureError),
}

/// Says, with the node's key, that the node has stored the file. With Ed25519 that takes some 20 µs, with RSA more than a
/// millisecond.
pub fn sign_content_receipt(key: &SigningKey, cluster: ClusterId, content: ContentKey) -> ContentReceipt {
    let node = NodeId(key.id());
    let signature = key.sign(&ContentReceipt::signed_bytes(cluster, content, node)).into();
    ContentReceipt { content, node, key: key.public().spki_der().clone(), signature }
}

/// Verifies that the node whose id the receipt bears signed it, for its file and this cluster.
///
/// # Errors
/// [`ReceiptError`].
pub fn verify_content_receipt(receipt: &ContentReceipt, cluster: ClusterId) -> Result<(), ReceiptError> {
    let &ContentReceipt { content, node, ref key, ref signature } = receipt;
    if node.0 != Digest::of(&[key]) {
        return Err(ReceiptError::WrongNode(node));
    }
    let key = PublicKey::from_spki_der(key)?;
    key.verify(&ContentReceipt::signed_bytes(cluster, content, node), signature)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));

    #[test]
    fn a_receipt_proves_who_gave_it_for_what() {
        let content = ContentKey::of(b"a file");
        for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
            let key = SigningKey::generate(algorithm);
            let receipt = sign_content_receipt(&key, CLUSTER, content);
            assert_eq!((receipt.content, receipt.node), (content, NodeId(key.id())));
            assert_eq!(verify_content_receipt(&receipt, CLUSTER), Ok(()));
        }
    }

    #[test]
    fn every_field_is_signed() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let other = SigningKey::generate(Algorithm::Ed25519);
        let receipt = sign_content_receipt(&key, CLUSTER, ContentKey::of(b"a file"));
        let unsigned = Err(ReceiptError::Signature(SignatureError));
        assert_eq!(verify_content_receipt(&receipt, ClusterId(Digest([9; 32]))), unsigned);
        let changed = |change: &dyn Fn(&mut ContentReceipt)| {
            let mut receipt = receipt.clone();
            change(&mut receipt);
            verify_content_receipt(&receipt, CLUSTER)
        };
        assert_eq!(changed(&|receipt| receipt.content = ContentKey::of(b"another")), unsigned);
        assert_eq!(changed(&|receipt| receipt.signature = [0; 64].to_vec().into()), unsigned);
        assert_eq!(changed(&|receipt| receipt.signature = Default::default()), unsigned);
        let (theirs, ours) = (NodeId(other.id()), receipt.node);
        assert_eq!(changed(&|receipt| receipt.node = theirs), Err(ReceiptError::WrongNode(theirs)));
        let foreign_key = |receipt: &mut ContentReceipt| receipt.key = other.public().spki_der().clone();
        assert_eq!(changed(&foreign_key), Err(ReceiptError::WrongNode(ours)));
        let imposter = |receipt: &mut ContentReceipt| {
            receipt.key = other.public().spki_der().clone();
            receipt.node = theirs;
        };
        assert_eq!(changed(&imposter), unsigned);
        let not_a_key = |receipt: &mut ContentReceipt| {
            receipt.key = b"not a key".to_vec().into();
            receipt.node = NodeId(Digest::of(&[b"not a key"]));
        };
        assert!(matches!(changed(&not_a_key), Err(ReceiptError::Key(_))));
    }

    #[test]
    fn another_signed_thing_is_no_receipt() {
        // What a node signs elsewhere begins with other words, so none of it can be taken for a receipt.
        let key = SigningKey::generate(Algorithm::Ed25519);
        let mut receipt = sign_content_receipt(&key, CLUSTER, ContentKey::of(b"a file"));
        let bytes = ContentReceipt::signed_bytes(CLUSTER, receipt.content, receipt.node);
        assert!(bytes.starts_with(b"synod/content/v1\0"));
        receipt.signature = key.sign(&bytes[17..]).into();
        assert_eq!(verify_content_receipt(&receipt, CLUSTER), Err(ReceiptError::Signature(SignatureError)));
    }
}
