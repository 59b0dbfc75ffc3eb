//! A key as an application's tree keeps it. A changed path of the tree is copied, and a search compares a key at each step: a short
//! key lies in the tree's node itself, so that neither follows a pointer for it; a long one is shared.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the longest key that lies in the node: a [`Key`] has 32 bytes then.
const SHORT_BYTES_MAX: usize = 30;

/// Bytes in byte order, cheap to clone.
#[derive(Clone)]
pub struct Key(Place);

/// Where the bytes lie.
#[derive(Clone)]
enum Place {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Arc<[u8]>),
}

impl Key {
    /// A key of any length.
    pub fn new(key: &[u8]) -> Key {
        match u8::try_from(key.len()) {
            Ok(len) if key.len() <= SHORT_BYTES_MAX => {
                let mut bytes = [0; SHORT_BYTES_MAX];
                bytes[..key.len()].copy_from_slice(key);
                Key(Place::Short { len, bytes })
            }
            _ => Key(Place::Long(key.into())),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Place::Short { len, bytes } => &bytes[..usize::from(*len)],
            Place::Long(bytes) => bytes,
        }
    }
}

// Borrowed and owned keys compare alike, as `Borrow` demands.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

// In a snapshot a key is a byte string, wherever it lies.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        Bytes::deserialize(deserializer).map(|key| Key::new(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_keys_are_in_byte_order() {
        assert_eq!(size_of::<Key>(), 32);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for len in (0..2 * SHORT_BYTES_MAX).chain([255, 256, 300]) {
            keys.extend([vec![0; len], vec![1; len], vec![255; len]]);
        }
        for a in &keys {
            assert_eq!(Key::new(a).as_bytes(), a);
            for b in &keys {
                assert_eq!(Key::new(a).cmp(&Key::new(b)), a.cmp(b));
                assert_eq!(Key::new(a) == Key::new(b), a == b);
            }
        }
    }
}
