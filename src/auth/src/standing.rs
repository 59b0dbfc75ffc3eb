//! The word of a node for how far it is.

use synod_types::{ClusterId, Digest, NodeId, SignedStanding, Standing, Version, Word};

use crate::key::{KeyError, PublicKey, SignatureError};
use crate::signing_key::SigningKey;

/// Why a standing is not what its node said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandingError {
    /// It has the key of another node.
    #[error("it has the key of {0}")]
    AnotherKey(NodeId),
    /// The key is none that is taken.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Whoever has this key did not sign it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// Says, with the node's key, how far it is.
pub fn sign_standing(
    key: &SigningKey,
    cluster: ClusterId,
    version: Version,
    standing: Standing,
) -> SignedStanding {
    let signature = key.sign(&standing.signed_bytes(cluster, NodeId(key.id()), version)).into();
    SignedStanding { standing, key: key.public().spki_der().clone(), signature }
}

/// Verifies that a node said this.
///
/// # Errors
/// [`StandingError`].
pub fn verify_standing(word: &Word<SignedStanding>, cluster: ClusterId) -> Result<(), StandingError> {
    let SignedStanding { standing, key, signature } = &word.says;
    let signer = NodeId(Digest::of(&[key]));
    if signer != word.node {
        return Err(StandingError::AnotherKey(signer));
    }
    let bytes = standing.signed_bytes(cluster, word.node, word.version);
    Ok(PublicKey::from_spki_der(key)?.verify(&bytes, signature)?)
}

#[cfg(test)]
mod tests {
    use synod_types::{AppNdx, AppStanding, StateNdx};

    use super::*;
    use crate::key::Algorithm;

    #[test]
    fn nothing_of_a_word_can_be_changed() {
        let (key, cluster) = (SigningKey::generate(Algorithm::Ed25519), ClusterId(Digest([1; 32])));
        let app = AppStanding {
            app: AppNdx(1),
            state_ndx: StateNdx(7),
            chain: Digest([2; 32]),
            certified: StateNdx(4),
        };
        let (version, standing) =
            (Version { life: 3, number: 2, tag: 1 }, Standing { apps: vec![app], files: 5 });
        let says = sign_standing(&key, cluster, version, standing);
        let word = Word { node: NodeId(key.id()), version, says };
        assert_eq!(verify_standing(&word, cluster), Ok(()));
        let changes: [fn(&mut Word<SignedStanding>); 8] = [
            |word| word.version.life += 1,
            |word| word.version.number += 1,
            |word| word.version.tag += 1,
            |word| word.says.standing.files += 1,
            |word| word.says.standing.apps[0].state_ndx.0 += 1,
            |word| word.says.standing.apps[0].chain.0[31] ^= 1,
            |word| word.says.standing.apps[0].certified.0 -= 1,
            |word| word.says.standing.apps.clear(),
        ];
        for change in changes {
            let mut changed = word.clone();
            change(&mut changed);
            assert!(matches!(verify_standing(&changed, cluster), Err(StandingError::Signature(_))));
        }
        let other = Word { node: NodeId(Digest([9; 32])), ..word.clone() };
        assert_eq!(verify_standing(&other, cluster), Err(StandingError::AnotherKey(word.node)));
        assert!(verify_standing(&word, ClusterId(Digest([2; 32]))).is_err());
    }
}
