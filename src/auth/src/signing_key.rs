//! Private keys: made, kept in a file that only its owner can use, and used to sign. Their bytes are never shown.

use std::fmt;
use std::path::Path;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{ALGORITHM_OID as ED25519_OID, KeypairBytes};
use pkcs8::der::pem;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding, PrivateKeyInfoRef, SecretDocument,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::ALGORITHM_OID as RSA_OID;
use rsa::pkcs1v15;
use rsa::signature::SignatureEncoding;
use rsa::signature::hazmat::PrehashSigner;
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha3::Sha3_256;
use synod_types::Digest;

use crate::file::{self, LoadError, SaveError};
use crate::key::{Algorithm, KeyError, PublicKey};
use crate::random;

/// Why bytes are not a private key that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// Not PEM at all.
    #[error("this is not a private key in PEM form: {0}")]
    NotPem(String),
    /// PEM of something else.
    #[error(
        "this is PEM of a {0:?}, and an unencrypted PKCS#8 \"PRIVATE KEY\" is needed: \
         `openssl pkcs8 -topk8 -nocrypt -in FILE` makes one of most others"
    )]
    WrongLabel(String),
    /// Not a private key of its algorithm.
    #[error("this is not a private key (PKCS#8): {0}")]
    Malformed(String),
    /// A key that is not taken.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A private key and its public half.
pub struct SigningKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Rsa(Box<pkcs1v15::SigningKey<Sha3_256>>),
}

impl SigningKey {
    /// Makes a new key from the operating system's randomness. RSA takes up to some seconds.
    pub fn generate(algorithm: Algorithm) -> SigningKey {
        let mut random = random::generator();
        let key = match algorithm.rsa_bits() {
            None => SigningKey::from_ed25519(ed25519_dalek::SigningKey::generate(&mut random)),
            Some(bits) => {
                RsaPrivateKey::new(&mut random, bits).map_err(malformed).and_then(SigningKey::from_rsa)
            }
        };
        key.expect("a key that was just made, of a size that is taken, is one that is taken")
    }

    /// Reads PKCS#8 in PEM form.
    ///
    /// # Errors
    /// [`SigningKeyError`] says what does not fit.
    pub fn from_pem(pem: &str) -> Result<SigningKey, SigningKeyError> {
        let not_pem = |why: &dyn fmt::Display| SigningKeyError::NotPem(why.to_string());
        // The label first: it says more about a wrong file than what its content fails at.
        let label = pem::decode_label(pem.as_bytes()).map_err(|why| not_pem(&why))?;
        if label != "PRIVATE KEY" {
            return Err(SigningKeyError::WrongLabel(label.to_owned()));
        }
        let (_, der) = SecretDocument::from_pem(pem).map_err(|why| not_pem(&why))?;
        SigningKey::from_pkcs8_der(der.as_bytes())
    }

    /// Reads PKCS#8 in DER form (RFC 5958).
    ///
    /// # Errors
    /// [`SigningKeyError`] says what does not fit.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<SigningKey, SigningKeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(malformed)?;
        match info.algorithm.oid {
            ED25519_OID => {
                SigningKey::from_ed25519(ed25519_dalek::SigningKey::from_pkcs8_der(der).map_err(malformed)?)
            }
            RSA_OID => SigningKey::from_rsa(RsaPrivateKey::try_from(info).map_err(malformed)?),
            oid => Err(KeyError::UnknownAlgorithm(oid).into()),
        }
    }

    /// Reads a key from a file with PKCS#8 in PEM form that only its owner can use (mode 0600 or 0400).
    ///
    /// # Errors
    /// [`LoadError`] names the file, the problem and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<SigningKey, LoadError> {
        let path = path.as_ref();
        let pem = file::read_private(path)?;
        let pem = std::str::from_utf8(&pem).map_err(|why| LoadError::content(path, why))?;
        SigningKey::from_pem(pem).map_err(|why| LoadError::content(path, why))
    }

    /// Saves the key in a new file, mode 0600, and makes it durable. Never overwrites.
    ///
    /// # Errors
    /// [`SaveError`] if the file exists or cannot be written.
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        file::create_private(path.as_ref(), self.to_pem().as_bytes())
    }

    /// PKCS#8 in PEM form. Wiped from memory when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.document()
            .to_pem("PRIVATE KEY", LineEnding::LF)
            .expect("a document that was encoded has a PEM form")
    }

    /// PKCS#8 in DER form, as TLS takes it.
    pub fn pkcs8_der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.document().as_bytes().to_vec())
    }

    fn document(&self) -> SecretDocument {
        let document = match &self.secret {
            // Without the public key that version 2 of PKCS#8 has room for: OpenSSL 3.0 does not read that.
            Secret::Ed25519(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der()
            }
            Secret::Rsa(key) => key.to_pkcs8_der(),
        };
        document.expect("a key that was parsed or made can be encoded")
    }

    /// Signs bytes: see [`crate::key`] for how.
    pub fn sign(&self, body: &[u8]) -> Vec<u8> {
        let Digest(digest) = Digest::of(&[body]);
        match &self.secret {
            Secret::Ed25519(key) => key.sign(&digest).to_vec(),
            // With blinding, so that the time it takes says nothing about the key.
            Secret::Rsa(key) => key
                .sign_prehash(&digest)
                .expect("the digest fits a modulus of at least 2048 bits, and the key was checked when it was read")
                .to_vec(),
        }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half's id.
    pub fn id(&self) -> Digest {
        self.public.id()
    }

    fn from_ed25519(key: ed25519_dalek::SigningKey) -> Result<SigningKey, SigningKeyError> {
        let spki = key.verifying_key().to_public_key_der().map_err(malformed)?;
        let public = PublicKey::from_spki_der(spki.as_bytes())?;
        Ok(SigningKey { secret: Secret::Ed25519(Box::new(key)), public })
    }

    fn from_rsa(key: RsaPrivateKey) -> Result<SigningKey, SigningKeyError> {
        let spki = key.to_public_key().to_public_key_der().map_err(malformed)?;
        let public = PublicKey::from_spki_der(spki.as_bytes())?;
        Ok(SigningKey { secret: Secret::Rsa(Box::new(pkcs1v15::SigningKey::new(key))), public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.public.algorithm(), self.id().short())
    }
}

fn malformed(why: impl ToString) -> SigningKeyError {
    SigningKeyError::Malformed(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sign_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
            let path = directory.path().join(algorithm.to_string());
            let key = SigningKey::generate(algorithm);
            assert_eq!(key.public().algorithm(), algorithm);
            key.save_new(&path).unwrap();
            assert!(matches!(key.save_new(&path), Err(SaveError::Exists { .. })));
            let again = SigningKey::load(&path).unwrap();
            assert_eq!(again.id(), key.id());
            let signature = again.sign(b"body");
            assert_eq!(signature, key.sign(b"body"), "both algorithms are deterministic");
            key.public().verify(b"body", &signature).unwrap();
            assert!(key.public().verify(b"bodY", &signature).is_err());
            assert!(SigningKey::generate(Algorithm::Ed25519).public().verify(b"body", &signature).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_found() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let good = key.sign(b"body");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.public().verify(b"body", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_key_is_never_shown() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let Secret::Ed25519(secret) = &key.secret else { panic!("an Ed25519 key was made") };
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SigningKey(ed25519 {})", key.id().short()));
        assert!(!shown.contains(&hex::encode(secret.to_bytes())));
    }

    #[test]
    fn what_is_no_key_says_what_it_is() {
        let refused = |pem: &str| SigningKey::from_pem(pem).unwrap_err().to_string();
        assert!(refused("").contains("not a private key in PEM form"));
        let older = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(refused(older).contains("openssl pkcs8 -topk8"));
        let wrong = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert!(refused(wrong).contains("PKCS#8"));
    }
}
