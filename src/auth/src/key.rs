//! Public keys, and what a valid signature is.
//!
//! A key is known by its id: the SHA3-256 of its SubjectPublicKeyInfo (RFC 5280, DER). Only the one canonical encoding
//! of a key is taken, so that a key has exactly one id. The algorithm belongs to the key, never to the message.
//!
//! A signature is made over the SHA3-256 digest of the signed bytes:
//! - RSA: RSASSA-PKCS1-v1_5 with SHA3-256 (RFC 8017, section 8.2), as `openssl dgst -sha3-256 -sign` makes it;
//! - Ed25519: over the 32 bytes of the digest (RFC 8032, pure Ed25519), by the one rule below.
//!
//! Every replica verifies every command, so all of them must draw the same line, whether they verify a signature alone or
//! together with others. RFC 8032 leaves that line open; here it is that of ZIP 215 (the equation with the cofactor, S
//! reduced), which alone makes both ways agree, and stricter where that costs nothing: neither the key nor the first half
//! of the signature may be of small order, and the key has one encoding. Whoever signs as RFC 8032 says stays inside.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use bytes::Bytes;
use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::pkcs8::ALGORITHM_OID as ED25519_OID;
use ed25519_zebra::VerificationKeyBytes;
use ed25519_zebra::batch::Item as BatchItem;
use pkcs8::{EncodePublicKey, ObjectIdentifier, SubjectPublicKeyInfoRef};
use rsa::pkcs1::{ALGORITHM_OID as RSA_OID, RsaPublicKeyRef};
use rsa::pkcs1v15;
use rsa::signature::hazmat::PrehashVerifier;
use rsa::{BoxedUint, RsaPublicKey};
use sha3::Sha3_256;
use synod_types::Digest;
use synod_types::limits::KEY_DER_BYTES_MAX;

/// The smallest RSA exponent that is taken (FIPS 186-5, section 5.1).
const RSA_EXPONENT_MIN: u64 = 65_537;

/// What kind of key it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

impl Algorithm {
    /// Every algorithm that is taken.
    pub const ALL: [Algorithm; 4] =
        [Algorithm::Ed25519, Algorithm::Rsa2048, Algorithm::Rsa3072, Algorithm::Rsa4096];

    /// RSA with a modulus of `bits` bits; `None` if that size is not taken.
    pub fn rsa(bits: usize) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.rsa_bits() == Some(bits))
    }

    /// Bits of the modulus; `None` for Ed25519.
    pub fn rsa_bits(self) -> Option<usize> {
        match self {
            Algorithm::Ed25519 => None,
            Algorithm::Rsa2048 => Some(2048),
            Algorithm::Rsa3072 => Some(3072),
            Algorithm::Rsa4096 => Some(4096),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rsa_bits() {
            None => f.write_str("ed25519"),
            Some(bits) => write!(f, "rsa-{bits}"),
        }
    }
}

/// The text names no algorithm that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type of key: use ed25519, rsa-2048, rsa-3072 or rsa-4096")]
pub struct ParseAlgorithmError(String);

impl FromStr for Algorithm {
    type Err = ParseAlgorithmError;

    fn from_str(text: &str) -> Result<Algorithm, ParseAlgorithmError> {
        let named = Algorithm::ALL.into_iter().find(|algorithm| algorithm.to_string() == text);
        named.ok_or_else(|| ParseAlgorithmError(text.to_owned()))
    }
}

/// Why bytes are not a public key that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// More bytes than any key that is taken.
    #[error("the public key has {0} bytes; at most {KEY_DER_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Not a SubjectPublicKeyInfo, or not a key of its algorithm.
    #[error("the bytes are not a public key (SubjectPublicKeyInfo in DER): {0}")]
    Malformed(String),
    /// Neither RSA nor Ed25519.
    #[error("keys of type {0} are not taken: use Ed25519 or RSA (2048, 3072 or 4096 bits)")]
    UnknownAlgorithm(ObjectIdentifier),
    /// RSA of another size.
    #[error("RSA keys of {0} bits are not taken: use 2048, 3072 or 4096 bits, or Ed25519")]
    RsaBits(usize),
    /// RSA with an exponent that is too small, even, or too large.
    #[error("the RSA key's public exponent is not taken: use 65537")]
    RsaExponent,
    /// An Ed25519 key of small order, under which almost every message has a valid signature.
    #[error("the Ed25519 key is one of the few weak points of the curve and proves nothing: make another")]
    Weak,
    /// Another encoding of a key; its id would be another, too.
    #[error("the public key is not encoded in the one canonical way (DER)")]
    NotCanonical,
}

/// The signature does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify with this key over these bytes")]
pub struct SignatureError;

/// A public key that is taken, ready to verify.
#[derive(Clone)]
pub struct PublicKey {
    spki_der: Bytes,
    id: Digest,
    algorithm: Algorithm,
    point: Point,
}

#[derive(Clone)]
enum Point {
    Ed25519(ed25519_zebra::VerificationKey),
    Rsa(pkcs1v15::VerifyingKey<Sha3_256>),
}

impl PublicKey {
    /// Parses a SubjectPublicKeyInfo. The bytes are copied: a key may outlive the frame in which it came.
    ///
    /// # Errors
    /// [`KeyError`] says why this is not a key that is taken.
    pub fn from_spki_der(der: &[u8]) -> Result<PublicKey, KeyError> {
        if der.len() > KEY_DER_BYTES_MAX {
            return Err(KeyError::TooLarge(der.len()));
        }
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(malformed)?;
        let (algorithm, point, canonical) = match spki.algorithm.oid {
            ED25519_OID => parse_ed25519(spki)?,
            RSA_OID => parse_rsa(&spki)?,
            oid => return Err(KeyError::UnknownAlgorithm(oid)),
        };
        if canonical.as_bytes() != der {
            return Err(KeyError::NotCanonical);
        }
        let spki_der = Bytes::copy_from_slice(der);
        Ok(PublicKey { id: Digest::of(&[der]), spki_der, algorithm, point })
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &Bytes {
        &self.spki_der
    }

    /// SHA3-256 of [`PublicKey::spki_der`]: what becomes a `NodeId` or a `CommanderId`.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies a signature over `body`.
    ///
    /// # Errors
    /// [`SignatureError`] if it is not this key's signature over exactly these bytes.
    pub fn verify(&self, body: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify_digest(&Digest::of(&[body]), signature)
    }

    /// Verifies a signature over the bytes whose SHA3-256 is `digest`, so that who needs the digest anyway hashes once.
    ///
    /// # Errors
    /// [`SignatureError`] if it is not this key's signature over such bytes.
    pub fn verify_digest(&self, digest: &Digest, signature: &[u8]) -> Result<(), SignatureError> {
        match &self.point {
            Point::Ed25519(key) => {
                let signature = ed25519_signature(signature)?;
                key.verify(&signature, &digest.0).map_err(|_| SignatureError)
            }
            Point::Rsa(key) => {
                let signature = pkcs1v15::Signature::try_from(signature).map_err(|_| SignatureError)?;
                key.verify_prehash(&digest.0, &signature).map_err(|_| SignatureError)
            }
        }
    }

    /// The signature as it goes into a batch; `None` for an algorithm that has no batches.
    pub(crate) fn batch_item(
        &self,
        digest: &Digest,
        signature: &[u8],
    ) -> Option<Result<BatchItem, SignatureError>> {
        let Point::Ed25519(key) = &self.point else { return None };
        let item = |signature| BatchItem::from((VerificationKeyBytes::from(*key), signature, &digest.0));
        Some(ed25519_signature(signature).map(item))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.spki_der == other.spki_der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.id.short())
    }
}

fn malformed(why: impl ToString) -> KeyError {
    KeyError::Malformed(why.to_string())
}

/// A parsed key and its canonical encoding.
type Parsed = (Algorithm, Point, pkcs8::Document);

fn parse_ed25519(spki: SubjectPublicKeyInfoRef<'_>) -> Result<Parsed, KeyError> {
    let key = ed25519_dalek::VerifyingKey::try_from(spki).map_err(malformed)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    // A point is taken also where its y coordinate is written as y + p; compressing it again gives the canonical bytes.
    let canonical = ed25519_dalek::VerifyingKey::from(key.to_edwards());
    let der = canonical.to_public_key_der().map_err(malformed)?;
    let key = ed25519_zebra::VerificationKey::try_from(canonical.to_bytes()).map_err(malformed)?;
    Ok((Algorithm::Ed25519, Point::Ed25519(key), der))
}

fn parse_rsa(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Parsed, KeyError> {
    let bits = spki.subject_public_key.as_bytes().ok_or_else(|| malformed("the key is not whole bytes"))?;
    let parts = RsaPublicKeyRef::try_from(bits).map_err(malformed)?;
    // Sizes are checked on the bytes, before anything is computed with them.
    let modulus = BoxedUint::from_be_slice_vartime(parts.modulus.as_bytes());
    let exponent = BoxedUint::from_be_slice_vartime(parts.public_exponent.as_bytes());
    let modulus_bits = usize::try_from(modulus.bits_vartime()).map_err(malformed)?;
    let algorithm = Algorithm::rsa(modulus_bits).ok_or(KeyError::RsaBits(modulus_bits))?;
    if exponent < BoxedUint::from(RSA_EXPONENT_MIN) {
        return Err(KeyError::RsaExponent);
    }
    let key = RsaPublicKey::new(modulus, exponent).map_err(|why| match why {
        rsa::Error::InvalidExponent | rsa::Error::PublicExponentTooLarge => KeyError::RsaExponent,
        why => malformed(why),
    })?;
    let der = key.to_public_key_der().map_err(malformed)?;
    Ok((algorithm, Point::Rsa(pkcs1v15::VerifyingKey::new(key)), der))
}

/// The y coordinates of the eight points of small order, little-endian; the sign of x is not in them.
static SMALL_ORDER_Y: LazyLock<[[u8; 32]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| without_sign(point.compress().to_bytes())));

/// Reads a signature. Its first half must be written in the one canonical way, and must not be of small order: then it
/// could fit many messages.
fn ed25519_signature(signature: &[u8]) -> Result<ed25519_zebra::Signature, SignatureError> {
    let signature: [u8; 64] = signature.try_into().map_err(|_| SignatureError)?;
    let signature = ed25519_zebra::Signature::from(signature);
    let y = without_sign(*signature.r_bytes());
    if !is_reduced(&y) || SMALL_ORDER_Y.contains(&y) {
        return Err(SignatureError);
    }
    Ok(signature)
}

fn without_sign(mut point: [u8; 32]) -> [u8; 32] {
    point[31] &= 0x7f;
    point
}

/// Whether `y`, little-endian, is less than p = 2^255 - 19.
fn is_reduced(y: &[u8; 32]) -> bool {
    y[0] < 0xed || y[1..31].iter().any(|&byte| byte != 0xff) || y[31] != 0x7f
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::Scalar;
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::edwards::EdwardsPoint;
    use ed25519_dalek::VerifyingKey;
    use pkcs8::der::Encode;
    use pkcs8::der::asn1::{BitStringRef, UintRef};
    use rsa::sha2::Sha512;

    use super::*;

    fn ed25519_der(point: &[u8; 32]) -> Vec<u8> {
        let mut der = hex::decode("302a300506032b6570032100").unwrap();
        der.extend_from_slice(point);
        der
    }

    fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let key = RsaPublicKeyRef {
            modulus: UintRef::new(modulus).unwrap(),
            public_exponent: UintRef::new(exponent).unwrap(),
        };
        let key = key.to_der().unwrap();
        let subject_public_key = BitStringRef::new(0, &key).unwrap();
        let algorithm = rsa::pkcs1::ALGORITHM_ID;
        SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der().unwrap()
    }

    /// An odd number of exactly `bits` bits; parsing does not look for factors.
    fn modulus(bits: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; bits.div_ceil(8)];
        bytes[0] = match bits % 8 {
            0 => 0x80,
            high => 1 << (high - 1),
        };
        bytes
    }

    const F4: &[u8] = &[1, 0, 1];

    #[test]
    fn rsa_is_taken_in_three_sizes_only() {
        for bits in [2048, 3072, 4096] {
            let der = rsa_der(&modulus(bits), F4);
            let key = PublicKey::from_spki_der(&der).unwrap();
            assert_eq!(key.algorithm().to_string(), format!("rsa-{bits}"));
            assert_eq!(key.id(), Digest::of(&[&der]));
            assert_eq!(&key.spki_der()[..], der);
        }
        for bits in [512, 1024, 2040, 2047, 2049, 2056, 3071, 3073, 4095, 4097] {
            let refused = PublicKey::from_spki_der(&rsa_der(&modulus(bits), F4));
            assert_eq!(refused, Err(KeyError::RsaBits(bits)));
        }
        assert!(matches!(PublicKey::from_spki_der(&rsa_der(&modulus(8192), F4)), Err(KeyError::TooLarge(_))));
    }

    #[test]
    fn rsa_exponents_that_prove_nothing_are_refused() {
        let modulus = modulus(2048);
        for exponent in
            [&[0][..], &[1], &[2], &[3], &[17], &[1, 0, 0], &[1, 0, 2], &[2, 0, 0, 0, 1], &[255; 9]]
        {
            let refused = PublicKey::from_spki_der(&rsa_der(&modulus, exponent));
            assert_eq!(refused, Err(KeyError::RsaExponent), "exponent {exponent:?}");
        }
        let mut even = modulus;
        *even.last_mut().unwrap() = 2;
        assert!(matches!(PublicKey::from_spki_der(&rsa_der(&even, F4)), Err(KeyError::Malformed(_))));
    }

    #[test]
    fn one_key_has_one_encoding() {
        let der = rsa_der(&modulus(2048), F4);
        let mut trailing = der.clone();
        trailing.push(0);
        assert!(PublicKey::from_spki_der(&trailing).is_err());
        for len in 0..der.len() {
            assert!(PublicKey::from_spki_der(&der[..len]).is_err());
        }
        // The same numbers under the object identifiers of RSASSA-PSS and of md2WithRSAEncryption.
        for (from, to) in
            [("2a864886f70d010101", "2a864886f70d01010a"), ("2a864886f70d010101", "2a864886f70d010102")]
        {
            let other = hex::encode(&der).replacen(from, to, 1);
            let refused = PublicKey::from_spki_der(&hex::decode(other).unwrap());
            assert!(matches!(refused, Err(KeyError::UnknownAlgorithm(_))), "{refused:?}");
        }
        // NULL parameters left out: some encoders do, and it is another encoding of the same key.
        let inner = "300d06092a864886f70d0101010500";
        let without = hex::encode(&der).replacen(inner, "300b06092a864886f70d010101", 1);
        let mut without = hex::decode(without).unwrap();
        let len = u16::from_be_bytes([without[2], without[3]]) - 2;
        without[2..4].copy_from_slice(&len.to_be_bytes());
        assert!(SubjectPublicKeyInfoRef::try_from(&without[..]).is_ok());
        assert_eq!(PublicKey::from_spki_der(&without), Err(KeyError::NotCanonical));
    }

    #[test]
    fn a_flipped_bit_is_another_key_or_none() {
        let ed25519 = ed25519_der(&ED25519_BASEPOINT_POINT.compress().to_bytes());
        for der in [ed25519, rsa_der(&modulus(2048), F4)] {
            let id = PublicKey::from_spki_der(&der).unwrap().id();
            for bit in 0..der.len() * 8 {
                let mut flipped = der.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = PublicKey::from_spki_der(&flipped) {
                    assert_eq!(other.spki_der()[..], flipped);
                    assert_ne!(other.id(), id);
                }
            }
        }
    }

    #[test]
    fn ed25519_points_have_one_encoding() {
        let p = {
            let mut p = [0xff; 32];
            (p[0], p[31]) = (0xed, 0x7f);
            p
        };
        let mut not_canonical = 0;
        for y in 0..19 {
            for sign in [0, 0x80] {
                let mut encoding = p;
                encoding[0] += y;
                encoding[31] |= sign;
                match PublicKey::from_spki_der(&ed25519_der(&encoding)) {
                    Err(KeyError::NotCanonical) => not_canonical += 1,
                    Err(KeyError::Weak | KeyError::Malformed(_)) => {}
                    taken => panic!("{} was taken: {taken:?}", hex::encode(encoding)),
                }
            }
        }
        assert!(not_canonical > 0, "some of these are points");
    }

    #[test]
    fn weak_keys_are_refused() {
        for point in EIGHT_TORSION.map(|point| point.compress().to_bytes()) {
            assert_eq!(PublicKey::from_spki_der(&ed25519_der(&point)), Err(KeyError::Weak));
        }
    }

    /// k = SHA-512(R ‖ A ‖ M), as in RFC 8032, section 5.1.7.
    fn challenge(r: &[u8; 32], a: &VerifyingKey, message: &[u8]) -> Scalar {
        use sha3::digest::Digest as _;
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(a.as_bytes());
        hash.update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    fn signature(r: [u8; 32], s: Scalar) -> ed25519_dalek::Signature {
        ed25519_dalek::Signature::from_components(r, s.to_bytes())
    }

    /// The answer to one signature, which is the same alone and among others.
    fn verify(key: &VerifyingKey, digest: &Digest, signature: &[u8]) -> Result<(), SignatureError> {
        let key = PublicKey::from_spki_der(&ed25519_der(key.as_bytes())).unwrap();
        let alone = key.verify_digest(digest, signature);
        let claim = crate::batch::Claim { key: &key, digest, signature };
        for together in crate::batch::verify(&[claim; 3]) {
            assert_eq!(together, alone, "a batch answers otherwise");
        }
        alone
    }

    /// Signatures over keys and R with every mix of torsion, made by one who knows the secret. Single verification
    /// without the cofactor and batches differ on these; ours has one answer: all but an R of small order.
    #[test]
    fn torsion_makes_no_difference_between_one_and_many() {
        let secret = Scalar::from(123_456_789_u64);
        let digest = Digest::of(&[b"torsion"]);
        let mut beyond_strict = 0;
        for a_torsion in EIGHT_TORSION {
            // A key with a torsion component is not weak: only A of pure torsion is.
            let a: EdwardsPoint = ED25519_BASEPOINT_POINT * secret + a_torsion;
            let key = VerifyingKey::from(a);
            for nonce in [Scalar::ZERO, Scalar::from(987_654_321_u64)] {
                for r_torsion in EIGHT_TORSION {
                    let r = (ED25519_BASEPOINT_POINT * nonce + r_torsion).compress().to_bytes();
                    let s = nonce + challenge(&r, &key, &digest.0) * secret;
                    let signature = signature(r, s);
                    let ours = verify(&key, &digest, &signature.to_bytes()).is_ok();
                    assert_eq!(ours, nonce != Scalar::ZERO);
                    let strict = key.verify_strict(&digest.0, &signature).is_ok();
                    assert!(ours || !strict, "what strict verification takes is taken");
                    beyond_strict += u32::from(ours && !strict);
                }
            }
        }
        assert!(beyond_strict > 0, "the cofactor makes a difference somewhere");
    }

    #[test]
    fn an_unreduced_s_and_an_r_written_otherwise_are_refused() {
        let secret = Scalar::from(42_u64);
        let key = VerifyingKey::from(ED25519_BASEPOINT_POINT * secret);
        let digest = Digest::of(&[b"malleable"]);
        let nonce = Scalar::from(77_u64);
        let r = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
        let good = signature(r, nonce + challenge(&r, &key, &digest.0) * secret).to_bytes();
        assert!(verify(&key, &digest, &good).is_ok());

        // S + L, where L is the group order: the same number modulo L.
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let mut unreduced = good;
        let mut carry = 0;
        for (byte, add) in unreduced[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            carry = sum >> 8;
            *byte = u8::try_from(sum & 0xff).unwrap();
        }
        assert_eq!(verify(&key, &digest, &unreduced), Err(SignatureError));

        // Points written as y + p, and the identity with the sign of an x that is zero; S is made to fit each.
        for (low, sign) in [(0xed, 0x7f), (0xee, 0x7f), (0xee, 0xff), (0xf0, 0x7f), (0x01, 0x80)] {
            let mut r = if sign == 0x80 { [0; 32] } else { [0xff; 32] };
            (r[0], r[31]) = (low, sign);
            let fitting = signature(r, challenge(&r, &key, &digest.0) * secret);
            assert_eq!(verify(&key, &digest, &fitting.to_bytes()), Err(SignatureError));
        }
        for len in [0, 63, 65] {
            assert_eq!(verify(&key, &digest, &vec![0; len]), Err(SignatureError));
        }
    }

    #[test]
    fn algorithms_read_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert!("rsa-1024".parse::<Algorithm>().is_err());
        assert_eq!(Algorithm::rsa(1024), None);
    }
}
