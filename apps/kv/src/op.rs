//! What a command can do to the keys, and what it answers. Both travel in the encoding of [`synod_types::wire`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::wire::{self, WireError};
use synod_types::{Refusal, RefusalCode, StateNdx};

use crate::check;

/// An operation. A key has 1 to [`KV_KEY_BYTES_MAX`](synod_types::limits::KV_KEY_BYTES_MAX) bytes, a value at most [`KV_VALUE_BYTES_MAX`](synod_types::limits::KV_VALUE_BYTES_MAX). A lease is named by the
/// state that granted it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvOp {
    /// Sets a key, whether it exists or not, and frees it from a lease; answered by [`KvReply::Written`].
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
    /// Makes one of two lists of changes, as a whole, in one state; answered by [`KvReply::Txn`].
    Txn(KvTxn),
    /// Removes every key that begins with `prefix` (1 byte at least); answered by [`KvReply::DeletedMany`].
    DeletePrefix {
        /// The first bytes of the keys.
        prefix: Bytes,
    },
    /// Adds to a counter: a key whose value is a whole number in decimal digits, of 64 bits with its sign; one that does
    /// not exist counts as 0. Refused as `Conflict` where the value is none, or would leave 64 bits. Answered by
    /// [`KvReply::Counted`]. A bound key stays bound.
    Add {
        /// Which key.
        key: Bytes,
        /// How much; may be negative.
        delta: i64,
    },
    /// Sets a key that ends with a lease; answered by [`KvReply::Written`]. Refused as `Conflict` where there is no such
    /// lease.
    PutBound {
        /// Which key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease with which it ends.
        lease: StateNdx,
    },
    /// Grants a lease, named by the state that this command makes; answered by [`KvReply::Leased`].
    GrantLease {
        /// Milliseconds for which it lasts, on the lease clock, from its grant and from each keep-alive on.
        ttl_ms: u64,
    },
    /// Lets leases last their whole time again from now on; answered by [`KvReply::KeptAlive`].
    KeepAlive {
        /// Which: 1 to [`KV_KEEP_ALIVE_MAX`](synod_types::limits::KV_KEEP_ALIVE_MAX).
        leases: Vec<StateNdx>,
    },
    /// Ends a lease, and with it every key that is bound to it; answered by [`KvReply::DeletedMany`].
    RevokeLease {
        /// Which.
        lease: StateNdx,
    },
    /// Forgets what was before a state: reads and watches begin there at the earliest. Answered by [`KvReply::Compacted`].
    Compact {
        /// The oldest state that can still be read.
        through: StateNdx,
    },
    /// Sets limits of this application; answered by [`KvReply::Configured`]. For administrators.
    Configure(KvSettings),
}

/// One of two lists of changes, by what holds before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KvTxn {
    /// At most [`KV_TXN_OPS_MAX`](synod_types::limits::KV_TXN_OPS_MAX) conditions.
    pub compare: Vec<KvCompare>,
    /// Made, in order, where all conditions hold: at most [`KV_TXN_OPS_MAX`](synod_types::limits::KV_TXN_OPS_MAX).
    pub then: Vec<KvChange>,
    /// Made, in order, where one of them does not: at most [`KV_TXN_OPS_MAX`](synod_types::limits::KV_TXN_OPS_MAX).
    pub otherwise: Vec<KvChange>,
}

/// A condition on one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvCompare {
    /// Which key. It may lie outside of what the commander may change.
    pub key: Bytes,
    /// What must hold of it.
    pub condition: KvCondition,
}

/// What must hold of a key. All but `Absent` fail where there is no such key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvCondition {
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
    /// Its value stands so to this one, by the order of bytes.
    Value(KvRelation, Bytes),
    /// The state that made it stands so to this one.
    Created(KvRelation, StateNdx),
    /// The state that last changed it stands so to this one.
    Changed(KvRelation, StateNdx),
}

/// How what is there stands to what is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvRelation {
    /// The same.
    Equal,
    /// Another one.
    NotEqual,
    /// Before it.
    Less,
    /// Behind it.
    Greater,
}

/// A change inside a [`KvTxn`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvChange {
    /// As [`KvOp::Put`] and [`KvOp::PutBound`].
    Put {
        /// Which key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease with which it ends.
        lease: Option<StateNdx>,
    },
    /// As [`KvOp::Delete`].
    Delete {
        /// Which key.
        key: Bytes,
    },
    /// As [`KvOp::DeletePrefix`].
    DeletePrefix {
        /// The first bytes of the keys.
        prefix: Bytes,
    },
    /// As [`KvOp::Add`].
    Add {
        /// Which key.
        key: Bytes,
        /// How much.
        delta: i64,
    },
}

/// Limits of one application. What is `None` stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KvSettings {
    /// Bytes of all keys and values, at most [`KV_STATE_BYTES_MAX`](synod_types::limits::KV_STATE_BYTES_MAX); beyond it, growth is refused.
    pub quota_bytes: Option<u64>,
    /// States whose changes are kept.
    pub history_states: Option<u64>,
    /// Bytes of earlier values that are kept.
    pub history_bytes: Option<u64>,
    /// Milliseconds of decree time for which changes are kept.
    pub history_age_ms: Option<u64>,
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
        check::check(&op)?;
        Ok(op)
    }
}

/// The answer in the receipt of an operation that was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// Which list of changes was made, and what came of each.
    Txn {
        /// The first condition that did not hold; `None`: `then` was made.
        failed: Option<u32>,
        /// One for each change of the list that was made.
        results: Vec<KvResult>,
    },
    /// Keys do not exist any more.
    DeletedMany {
        /// How many there were.
        count: u64,
    },
    /// The counter has this value.
    Counted {
        /// The sum.
        value: i64,
    },
    /// The lease is granted; its name is the receipt's stateNdx.
    Leased,
    /// The leases last their whole time again.
    KeptAlive {
        /// Which of them are over; they stay so.
        gone: Vec<StateNdx>,
    },
    /// What was before is forgotten.
    Compacted {
        /// The oldest state that can still be read.
        oldest: StateNdx,
    },
    /// The limits are set.
    Configured,
}

/// What came of one change of a [`KvTxn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvResult {
    /// The key has the value.
    Put {
        /// Whether there was such a key.
        existed: bool,
    },
    /// Keys do not exist any more.
    Deleted {
        /// How many there were.
        count: u64,
    },
    /// The counter has this value.
    Counted {
        /// The sum.
        value: i64,
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
    use synod_types::limits::{
        ANSWER_BYTES_MAX, KV_KEEP_ALIVE_MAX, KV_KEY_BYTES_MAX, KV_TXN_OPS_MAX, KV_VALUE_BYTES_MAX,
        OPERATION_BYTES_MAX,
    };

    use super::*;

    const K: Bytes = Bytes::from_static(b"k");
    const V: Bytes = Bytes::from_static(b"vw");
    const LEASE: StateNdx = StateNdx(300);

    fn txn() -> KvTxn {
        let compare = |condition| KvCompare { key: K, condition };
        KvTxn {
            compare: vec![
                compare(KvCondition::Exists),
                compare(KvCondition::Absent),
                compare(KvCondition::Value(KvRelation::Less, V)),
                compare(KvCondition::Created(KvRelation::NotEqual, StateNdx(5))),
                compare(KvCondition::Changed(KvRelation::Equal, LEASE)),
                compare(KvCondition::Changed(KvRelation::Greater, StateNdx(0))),
            ],
            then: vec![
                KvChange::Put { key: K, value: V, lease: None },
                KvChange::Put { key: K, value: V, lease: Some(LEASE) },
            ],
            otherwise: vec![
                KvChange::Delete { key: K },
                KvChange::DeletePrefix { prefix: K },
                KvChange::Add { key: K, delta: -2 },
            ],
        }
    }

    /// Each kind of operation, with its bytes. Commands are signed over these, and other languages write them.
    fn encodings() -> Vec<(KvOp, Vec<u8>)> {
        let settings = KvSettings {
            quota_bytes: Some(1),
            history_states: None,
            history_bytes: Some(300),
            history_age_ms: Some(2),
        };
        let txn_bytes = [
            &[0, 3, 6, 1, b'k', 0, 1, b'k', 1, 1, b'k', 2, 2, 2, b'v', b'w', 1, b'k', 3, 1, 5][..],
            &[1, b'k', 4, 0, 0xac, 2, 1, b'k', 4, 3, 0],
            &[2, 0, 1, b'k', 2, b'v', b'w', 0, 0, 1, b'k', 2, b'v', b'w', 1, 0xac, 2],
            &[3, 1, 1, b'k', 2, 1, b'k', 3, 1, b'k', 3],
        ];
        vec![
            (KvOp::Put { key: K, value: V }, vec![0, 0, 1, b'k', 2, b'v', b'w']),
            (KvOp::Delete { key: K }, vec![0, 1, 1, b'k']),
            (
                KvOp::CompareAndSet { key: K, expected: Some(LEASE), value: V },
                vec![0, 2, 1, b'k', 1, 0xac, 2, 2, b'v', b'w'],
            ),
            (KvOp::CompareAndSet { key: K, expected: None, value: V }, vec![0, 2, 1, b'k', 0, 2, b'v', b'w']),
            (KvOp::Txn(txn()), txn_bytes.concat()),
            (KvOp::DeletePrefix { prefix: K }, vec![0, 4, 1, b'k']),
            (KvOp::Add { key: K, delta: -1 }, vec![0, 5, 1, b'k', 1]),
            (KvOp::Add { key: K, delta: 100 }, vec![0, 5, 1, b'k', 0xc8, 1]),
            (KvOp::PutBound { key: K, value: V, lease: LEASE }, vec![0, 6, 1, b'k', 2, b'v', b'w', 0xac, 2]),
            (KvOp::GrantLease { ttl_ms: 1000 }, vec![0, 7, 0xe8, 7]),
            (KvOp::KeepAlive { leases: vec![StateNdx(1), LEASE] }, vec![0, 8, 2, 1, 0xac, 2]),
            (KvOp::RevokeLease { lease: LEASE }, vec![0, 9, 0xac, 2]),
            (KvOp::Compact { through: LEASE }, vec![0, 10, 0xac, 2]),
            (KvOp::Configure(settings), vec![0, 11, 1, 1, 0, 1, 0xac, 2, 1, 2]),
        ]
    }

    #[test]
    fn the_encoding_stays_as_it_is() {
        for (op, bytes) in encodings() {
            assert_eq!(op.encode(), bytes, "{op:?}");
        }
    }

    #[test]
    fn operations_read_back_without_their_first_byte() {
        for (op, bytes) in encodings() {
            let Some(Operation::App(bytes)) = Operation::split(&bytes) else {
                panic!("{op:?} is not an application's operation")
            };
            assert_eq!(KvOp::decode(bytes), Ok(op));
        }
    }

    #[test]
    fn the_encoding_of_answers_stays_as_it_is() {
        let results = vec![
            KvResult::Put { existed: true },
            KvResult::Deleted { count: 300 },
            KvResult::Counted { value: -1 },
        ];
        for (reply, bytes) in [
            (KvReply::Written { previous: Some(LEASE) }, vec![0, 1, 0xac, 2]),
            (KvReply::Deleted { existed: true }, vec![1, 1]),
            (KvReply::Txn { failed: Some(5), results }, vec![2, 1, 5, 3, 0, 1, 1, 0xac, 2, 2, 1]),
            (KvReply::DeletedMany { count: 300 }, vec![3, 0xac, 2]),
            (KvReply::Counted { value: -2 }, vec![4, 3]),
            (KvReply::Leased, vec![5]),
            (KvReply::KeptAlive { gone: vec![LEASE] }, vec![6, 1, 0xac, 2]),
            (KvReply::Compacted { oldest: LEASE }, vec![7, 0xac, 2]),
            (KvReply::Configured, vec![8]),
        ] {
            assert_eq!(wire::encode(&reply), bytes, "{reply:?}");
            assert_eq!(KvReply::decode(&bytes), Ok(reply));
        }
    }

    #[test]
    fn the_largest_key_and_value_fit_into_one_command() {
        let (key, value) = (Bytes::from(vec![1; KV_KEY_BYTES_MAX]), Bytes::from(vec![2; KV_VALUE_BYTES_MAX]));
        let (expected, lease) = (Some(StateNdx(u64::MAX)), StateNdx(u64::MAX));
        let bound = KvChange::Put { key: key.clone(), value: value.clone(), lease: Some(lease) };
        let txn = KvTxn { then: vec![bound], ..KvTxn::default() };
        for largest in [
            KvOp::CompareAndSet { key: key.clone(), expected, value: value.clone() },
            KvOp::PutBound { key, value, lease },
            KvOp::Txn(txn),
        ] {
            assert!(largest.encode().len() <= OPERATION_BYTES_MAX);
        }
    }

    #[test]
    fn the_largest_answers_fit_into_a_receipt() {
        let results = vec![KvResult::Counted { value: i64::MIN }; KV_TXN_OPS_MAX];
        let gone = vec![StateNdx(u64::MAX); KV_KEEP_ALIVE_MAX];
        for largest in [KvReply::Txn { failed: Some(u32::MAX), results }, KvReply::KeptAlive { gone }] {
            assert!(wire::encode(&largest).len() <= ANSWER_BYTES_MAX);
        }
    }
}
