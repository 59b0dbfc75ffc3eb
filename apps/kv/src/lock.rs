//! Locks and elections, on top of keys and leases: a queue.
//!
//! Who wants a lock, or stands in an election, puts a key of its own under the queue's prefix, bound to its lease. Whose key
//! was made first holds the lock. The state that made the key is the **fencing token** of its grant: who gets the lock later
//! has a higher one, so that whatever the lock guards can refuse a holder who does not know yet that it is over. A key ends
//! with its lease, and the next one holds the lock; who waits watches the prefix.

use bytes::Bytes;
use synod_types::StateNdx;

use crate::op::{KvChange, KvCompare, KvCondition, KvOp, KvTxn};

/// The prefix of the keys of a queue: its name and a slash.
pub fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of whoever stands in the queue with a lease: the prefix, and the lease as 16 hex digits.
pub fn key(name: &[u8], lease: StateNdx) -> Bytes {
    [name, b"/", format!("{:016x}", lease.0).as_bytes()].concat().into()
}

/// Stands in the queue. Done twice, it keeps its place.
pub fn enter(name: &[u8], lease: StateNdx, value: Bytes) -> KvOp {
    let key = key(name, lease);
    let compare = vec![KvCompare { key: key.clone(), condition: KvCondition::Absent }];
    KvOp::Txn(KvTxn {
        compare,
        then: vec![KvChange::Put { key, value, lease: Some(lease) }],
        otherwise: Vec::new(),
    })
}

/// Leaves the queue, and so releases the lock if it holds it.
pub fn leave(name: &[u8], lease: StateNdx) -> KvOp {
    KvOp::Delete { key: key(name, lease) }
}
