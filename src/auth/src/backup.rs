//! Who made a backup: the signature over its manifest.

use synod_types::{CommanderId, Digest};

use crate::key::{KeyError, PublicKey, SignatureError};
use crate::signing_key::SigningKey;

/// Why nobody is known to have made a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupSignatureError {
    /// The key is none that is taken.
    #[error("the key of the backup cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Whoever has the key did not sign this.
    #[error("{signer} did not sign this backup: {source}")]
    Signature {
        /// Who is said to have signed.
        signer: CommanderId,
        /// What is wrong.
        source: SignatureError,
    },
}

/// The bytes that are signed: what they are for, and the manifest.
fn signed_bytes(manifest: &[u8]) -> Vec<u8> {
    [b"synod/backup-manifest/v1\0", &Digest::of(&[manifest]).0[..]].concat()
}

/// Says, with a commander's key, that this is the manifest of its backup.
pub fn sign_backup(key: &SigningKey, manifest: &[u8]) -> Vec<u8> {
    key.sign(&signed_bytes(manifest))
}

/// Verifies who signed a manifest; `key` is SubjectPublicKeyInfo, DER.
///
/// # Errors
/// [`BackupSignatureError`].
pub fn verify_backup(
    manifest: &[u8],
    key: &[u8],
    signature: &[u8],
) -> Result<CommanderId, BackupSignatureError> {
    let signer = CommanderId(Digest::of(&[key]));
    let key = PublicKey::from_spki_der(key)?;
    key.verify(&signed_bytes(manifest), signature)
        .map_err(|source| BackupSignatureError::Signature { signer, source })?;
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    #[test]
    fn whoever_signed_is_known_and_nobody_else() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
            let key = SigningKey::generate(algorithm);
            let spki = key.public().spki_der();
            let signature = sign_backup(&key, b"a manifest");
            assert_eq!(verify_backup(b"a manifest", spki, &signature), Ok(CommanderId(key.id())));
            assert!(verify_backup(b"a manifesto", spki, &signature).is_err());
            let other = SigningKey::generate(algorithm);
            assert!(verify_backup(b"a manifest", other.public().spki_der(), &signature).is_err());
            // Good for nothing else: the bytes that are signed say what they are for.
            assert!(key.public().verify(b"a manifest", &signature).is_err());
        }
    }
}
