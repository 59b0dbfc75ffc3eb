//! The signed Hello that opens a session: proof that its sender holds a key and speaks over this very TLS session.
//!
//! The 32 bytes that both ends export from TLS are signed along, so a Hello is worth nothing in another session. Whether
//! the communication key is the session's, and whether the id may open a session at all, is for who runs the session.

use synod_types::session::{Hello, SessionErrorCode};
use synod_types::{ClusterId, Digest, Program};

use crate::key::PublicKey;
use crate::random;
use crate::signing_key::SigningKey;

/// Makes a Hello of this program. `communication_key` and `address` are empty and `directory` is zeros for a commander; `exporter` is what TLS exports under
/// [`Hello::EXPORTER_LABEL`].
pub fn sign_hello(
    key: &SigningKey,
    cluster: &ClusterId,
    program: &Program,
    communication_key: &[u8],
    address: &str,
    directory: [u8; 16],
    exporter: &[u8; 32],
) -> Hello {
    let mut hello = Hello {
        program: program.clone(),
        id: key.id(),
        signing_key: key.public().spki_der().to_vec(),
        communication_key: communication_key.to_vec(),
        address: address.to_owned(),
        directory,
        salt: random::bytes(),
        signature: Vec::new(),
    };
    hello.signature = key.sign(&hello.signed_bytes(&cluster.0, exporter));
    hello
}

/// Verifies that the holder of the signing key made this Hello for this cluster and this TLS session; gives the key.
///
/// # Errors
/// `WrongId` if the id is not the SHA3-256 of the signing key, `BadSignature` if the key is none that is taken or the
/// signature does not verify.
pub fn verify_hello(
    hello: &Hello,
    cluster: &ClusterId,
    exporter: &[u8; 32],
) -> Result<PublicKey, SessionErrorCode> {
    if hello.id != Digest::of(&[&hello.signing_key]) {
        return Err(SessionErrorCode::WrongId);
    }
    let bad_signature = SessionErrorCode::BadSignature;
    let key = PublicKey::from_spki_der(&hello.signing_key).map_err(|_| bad_signature)?;
    key.verify(&hello.signed_bytes(&cluster.0, exporter), &hello.signature).map_err(|_| bad_signature)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));
    const EXPORTER: [u8; 32] = [2; 32];

    #[test]
    fn a_hello_proves_its_key() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
            let key = SigningKey::generate(algorithm);
            let hello = sign_hello(
                &key,
                &CLUSTER,
                &Program::of_node(),
                b"communication key",
                "node-1:7000",
                [5; 16],
                &EXPORTER,
            );
            assert_eq!(verify_hello(&hello, &CLUSTER, &EXPORTER).unwrap(), *key.public());
            let again = sign_hello(
                &key,
                &CLUSTER,
                &Program::of_node(),
                b"communication key",
                "node-1:7000",
                [5; 16],
                &EXPORTER,
            );
            assert_ne!(hello.salt, again.salt);
        }
    }

    #[test]
    fn a_hello_is_for_one_session_of_one_cluster() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let hello = sign_hello(&key, &CLUSTER, &Program::of_node(), b"key", "address", [0; 16], &EXPORTER);
        let bad = Err(SessionErrorCode::BadSignature);
        assert_eq!(verify_hello(&hello, &ClusterId(Digest([9; 32])), &EXPORTER), bad);
        assert_eq!(verify_hello(&hello, &CLUSTER, &[9; 32]), bad);
    }

    #[test]
    fn every_field_is_signed() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let other = SigningKey::generate(Algorithm::Ed25519);
        let hello = sign_hello(&key, &CLUSTER, &Program::of_node(), b"key", "address", [0; 16], &EXPORTER);
        let changed = |change: &dyn Fn(&mut Hello)| {
            let mut hello = hello.clone();
            change(&mut hello);
            verify_hello(&hello, &CLUSTER, &EXPORTER).unwrap_err()
        };
        let bad = SessionErrorCode::BadSignature;
        assert_eq!(changed(&|hello| hello.id = other.id()), SessionErrorCode::WrongId);
        assert_eq!(changed(&|hello| hello.signing_key[20] ^= 1), SessionErrorCode::WrongId);
        assert_eq!(changed(&|hello| hello.communication_key.push(0)), bad);
        assert_eq!(changed(&|hello| hello.address.push('0')), bad);
        assert_eq!(changed(&|hello| hello.salt[0] ^= 1), bad);
        assert_eq!(changed(&|hello| hello.program.wire.max += 1), bad);
        assert_eq!(changed(&|hello| hello.program.levels.max += 1), bad);
        assert_eq!(changed(&|hello| hello.program.version.push('1')), bad);
        assert_eq!(changed(&|hello| hello.signature[0] ^= 1), bad);
        assert_eq!(changed(&|hello| hello.signature.clear()), bad);
        let imposter = |hello: &mut Hello| {
            hello.signing_key = other.public().spki_der().to_vec();
            hello.id = other.id();
        };
        assert_eq!(changed(&imposter), bad);
        let not_a_key = |hello: &mut Hello| {
            hello.signing_key = b"not a key".to_vec();
            hello.id = Digest::of(&[b"not a key"]);
        };
        assert_eq!(changed(&not_a_key), bad);
    }
}
