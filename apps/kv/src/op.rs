//! What a command can do to the keys, and what it answers. Both travel in the encoding of [`synod_types::wire`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use synod_types::wire::{self, WireError};
use synod_types::{Refusal, RefusalCode, StateNdx};

/// An operation. A key has 1 to [`KV_KEY_BYTES_MAX`] bytes, a value at most [`KV_VALUE_BYTES_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvOp {
    /// Sets a key, whether it exists or not; answered by [`KvReply::Written`].
    Put {
        /// Which key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; answered by [`KvReply::Deleted`], also where there was none.
    Delete {
        /// Which key.
        key: Bytes,
    },
    /// Sets a key if it is as expected, and is refused as `Conflict` otherwise; answered by [`KvReply::Written`].
    CompareAndSet {
        /// Which key.
        key: Bytes,
        /// The state that last changed the key; `None`: the key must not exist.
        expected: Option<StateNdx>,
        /// Its new value.
        value: Bytes,
    },
}

impl KvOp {
    /// The operation as it stands in a command: [`Operation::APP`], then this. The machine takes that byte off before
    /// it hands the rest to the application.
    pub fn encode(&self) -> Vec<u8> {
        let mut operation = vec![Operation::APP];
        wire::encode_into(self, &mut operation);
        operation
    }

    /// Reads the bytes behind [`Operation::APP`] and checks their limits. Key and value are copies, so that what is
    /// kept does not keep the batch around it.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge`.
    pub fn decode(bytes: &[u8]) -> Result<KvOp, Refusal> {
        // The decoder's own words stay out of the text: they may change with its version, and the text is replicated.
        let op: KvOp = wire::decode(bytes).map_err(|_| {
            Refusal::new(RefusalCode::Malformed, "the operation is none of the key-value application's")
        })?;
        match &op {
            KvOp::Put { key, value } | KvOp::CompareAndSet { key, expected: _, value } => {
                check_key(key)?;
                check_value(value)?;
            }
            KvOp::Delete { key } => check_key(key)?,
        }
        Ok(op)
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::new(RefusalCode::Malformed, "the key is empty"));
    }
    check_len("key", key.len(), KV_KEY_BYTES_MAX)
}

fn check_value(value: &[u8]) -> Result<(), Refusal> {
    check_len("value", value.len(), KV_VALUE_BYTES_MAX)
}

fn check_len(what: &str, len: usize, max: usize) -> Result<(), Refusal> {
    if len <= max {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::TooLarge,
        format_args!("the {what} has {len} bytes; at most {max} are allowed"),
    ))
}

/// The answer in the receipt of an operation that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvReply {
    /// The key has the value; it last changed in the receipt's stateNdx.
    Written {
        /// The state that had changed the key before; `None`: the key is new.
        previous: Option<StateNdx>,
    },
    /// The key does not exist any more.
    Deleted {
        /// Whether it did.
        existed: bool,
    },
}

impl KvReply {
    /// Reads the answer of an [`synod_types::Outcome::Done`].
    ///
    /// # Errors
    /// [`WireError`] if it is none of this application's.
    pub fn decode(answer: &[u8]) -> Result<KvReply, WireError> {
        wire::decode(answer)
    }
}

#[cfg(test)]
mod tests {
    use synod_types::limits::OPERATION_BYTES_MAX;

    use super::*;

    fn put(key: usize, value: usize) -> KvOp {
        KvOp::Put { key: vec![1; key].into(), value: vec![2; value].into() }
    }

    fn code(op: &KvOp) -> Option<RefusalCode> {
        KvOp::decode(&op.encode()[1..]).err().map(|refusal| refusal.code)
    }

    #[test]
    fn operations_read_back_without_their_first_byte() {
        let cas = KvOp::CompareAndSet {
            key: Bytes::from_static(b"k"),
            expected: Some(StateNdx(300)),
            value: Bytes::from_static(b"v"),
        };
        for op in [put(3, 5), KvOp::Delete { key: Bytes::from_static(b"k") }, cas] {
            let encoded = op.encode();
            let Some(Operation::App(bytes)) = Operation::split(&encoded) else {
                panic!("{op:?} is not an application's operation")
            };
            assert_eq!(KvOp::decode(bytes), Ok(op));
        }
    }

    /// Commands are signed over these bytes, and other languages write them.
    #[test]
    fn the_encoding_stays_as_it_is() {
        let cas = KvOp::CompareAndSet {
            key: Bytes::from_static(b"k"),
            expected: Some(StateNdx(300)),
            value: Bytes::from_static(b"vw"),
        };
        assert_eq!(put(2, 1).encode(), [0, 0, 2, 1, 1, 1, 2]);
        assert_eq!(KvOp::Delete { key: Bytes::from_static(b"k") }.encode(), [0, 1, 1, b'k']);
        assert_eq!(cas.encode(), [0, 2, 1, b'k', 1, 0xac, 2, 2, b'v', b'w']);
    }

    #[test]
    fn the_limits_are_exact() {
        assert_eq!(code(&put(0, 1)), Some(RefusalCode::Malformed));
        assert_eq!(code(&put(1, 0)), None);
        assert_eq!(code(&put(KV_KEY_BYTES_MAX - 1, 1)), None);
        assert_eq!(code(&put(KV_KEY_BYTES_MAX, 1)), None);
        assert_eq!(code(&put(KV_KEY_BYTES_MAX + 1, 1)), Some(RefusalCode::TooLarge));
        assert_eq!(code(&put(1, KV_VALUE_BYTES_MAX - 1)), None);
        assert_eq!(code(&put(1, KV_VALUE_BYTES_MAX)), None);
        assert_eq!(code(&put(1, KV_VALUE_BYTES_MAX + 1)), Some(RefusalCode::TooLarge));
    }

    #[test]
    fn the_largest_key_and_value_fit_into_one_command() {
        let largest = KvOp::CompareAndSet {
            key: vec![1; KV_KEY_BYTES_MAX].into(),
            expected: Some(StateNdx(u64::MAX)),
            value: vec![2; KV_VALUE_BYTES_MAX].into(),
        };
        assert!(largest.encode().len() <= OPERATION_BYTES_MAX);
    }
}
