//! The application that worlds run, and the operations that their clients draw.

use bytes::Bytes;
use synod_app_kv::{Kv, KvOp};
use synod_machine::{Application, AuthorityOp, Grant, Role};
use synod_types::StateNdx;

use crate::client::commander_of;
use crate::random::Random;

/// Keys that clients share: few, so that they meet.
const KEYS: u64 = 12;

/// An empty application.
pub fn application() -> Box<dyn Application> {
    Box::new(Kv::new())
}

/// Sets a key.
pub fn put(key: &str, value: &str) -> Bytes {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    KvOp::Put { key, value }.encode().into()
}

/// Any operation on any key. `state_ndx` is a state that compares may name.
pub fn any(state_ndx: StateNdx, random: &mut Random) -> Bytes {
    let key = Bytes::from(format!("k{}", random.below(KEYS)));
    let value = Bytes::from(random.next_u64().to_be_bytes().to_vec());
    let operation = match random.below(10) {
        0 => KvOp::Delete { key },
        1 => KvOp::CompareAndSet { key, expected: None, value },
        2 => KvOp::CompareAndSet { key, expected: Some(state_ndx), value },
        _ => KvOp::Put { key, value },
    };
    operation.encode().into()
}

/// Lets a key write.
pub fn grant(key: Bytes) -> Bytes {
    let name = String::from_utf8_lossy(&key).into_owned();
    AuthorityOp::Grant(Grant::unlimited(key, name, Role::Writer)).encode().into()
}

/// Lets a key write no longer.
pub fn revoke(key: &[u8]) -> Bytes {
    AuthorityOp::Revoke { commander: commander_of(key) }.encode().into()
}
