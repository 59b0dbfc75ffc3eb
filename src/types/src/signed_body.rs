//! The bytes that a commander signed.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// Signed bytes, which never change. So they are hashed once: what was hashed for its signature is executed by the same
/// digest, and a copy takes it along.
#[derive(Clone, Default)]
pub struct SignedBody {
    bytes: Bytes,
    digest: OnceLock<Digest>,
}

impl SignedBody {
    /// SHA3-256 of the bytes.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| Digest::of(&[&self.bytes]))
    }

    /// Hashes those that were not hashed yet, all together, which takes far less than one after the other.
    pub fn hash_together<'a>(bodies: impl IntoIterator<Item = &'a SignedBody>) {
        let open: Vec<&SignedBody> = bodies.into_iter().filter(|body| body.digest.get().is_none()).collect();
        let bytes: Vec<&[u8]> = open.iter().map(|body| body.bytes.as_ref()).collect();
        for (body, digest) in open.iter().zip(Digest::of_each(&bytes)) {
            // Another thread may have hashed it meanwhile, to the same.
            let _ = body.digest.set(digest);
        }
    }
}

impl<B: Into<Bytes>> From<B> for SignedBody {
    fn from(bytes: B) -> SignedBody {
        SignedBody { bytes: bytes.into(), digest: OnceLock::new() }
    }
}

impl Deref for SignedBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

// The bytes are all that it is.
impl PartialEq for SignedBody {
    fn eq(&self, other: &SignedBody) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SignedBody {}

impl Hash for SignedBody {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for SignedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

impl Serialize for SignedBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SignedBody, D::Error> {
        Bytes::deserialize(deserializer).map(SignedBody::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn other_bytes_have_another_digest() {
        let body = SignedBody::from("one");
        assert_eq!(body.digest(), Digest::of(&[b"one"]));
        assert_eq!((body.clone().digest(), body.digest()), (body.digest(), Digest::of(&[b"one"])));
        let mut other = body.clone();
        other.clone_from(&SignedBody::from("other"));
        assert_eq!(other.digest(), Digest::of(&[b"other"]));
        assert_ne!(other, body);
    }

    #[test]
    fn what_is_hashed_together_is_hashed_as_alone() {
        let mut bodies: Vec<SignedBody> = (0..20_u8).map(|n| SignedBody::from(vec![n; 100])).collect();
        let _hashed_before = bodies[7].digest();
        bodies[3] = SignedBody::default();
        SignedBody::hash_together(&bodies);
        for body in &bodies {
            assert_eq!(body.digest.get(), Some(&Digest::of(&[body])));
        }
    }

    #[test]
    fn it_travels_as_bytes() {
        let body = SignedBody::from("one");
        let _hashed = body.digest();
        assert_eq!(wire::encode(&body), wire::encode(&Bytes::from("one")));
        assert_eq!(wire::decode::<SignedBody>(&wire::encode(&body)), Ok(body));
    }
}
