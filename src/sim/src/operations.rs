//! The application that worlds run, and the operations that their clients draw.

use bytes::Bytes;
use synod_app_kv::{Kv, KvAnswer, KvOp, KvQuery};
use synod_machine::{Application, AuthorityOp, Role, View};
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

/// An operation on leases. `leases` are some that were granted, the last one last.
pub fn on_leases(leases: &[StateNdx], random: &mut Random) -> Bytes {
    let key = Bytes::from(format!("k{}", random.below(KEYS)));
    let operation = match (leases, random.below(10)) {
        ([], _) | (_, 0 | 1) => KvOp::GrantLease { ttl_ms: *random.pick(&[1000, 1000, 1500, 3000]) },
        (_, 2) => KvOp::PutBound { key, value: Bytes::from_static(b"bound"), lease: *random.pick(leases) },
        (_, 3) => KvOp::RevokeLease { lease: *random.pick(leases) },
        ([.., last], 4..7) => KvOp::KeepAlive { leases: vec![*last] },
        _ => KvOp::KeepAlive { leases: leases.to_vec() },
    };
    operation.encode().into()
}

/// Grants a lease.
pub fn grant_lease(ttl_ms: u64) -> Bytes {
    KvOp::GrantLease { ttl_ms }.encode().into()
}

/// Keeps a lease alive.
pub fn keep_alive(lease: StateNdx) -> Bytes {
    KvOp::KeepAlive { leases: vec![lease] }.encode().into()
}

/// The leases that there are in a state. Worlds have few.
pub fn leases(view: &View) -> Vec<StateNdx> {
    let query = KvQuery::Leases { after: None, limit: 0 }.encode();
    let answer =
        view.app.query(view.state_ndx, &query).ok().and_then(|answer| KvAnswer::decode(&answer).ok());
    match answer {
        Some(KvAnswer::Leases { leases, .. }) => leases.into_iter().map(|lease| lease.lease).collect(),
        _ => Vec::new(),
    }
}

/// Lets a key write.
pub fn grant(key: Bytes) -> Bytes {
    let name = String::from_utf8_lossy(&key).into_owned();
    AuthorityOp::Grant { key, name, role: Role::Writer }.encode().into()
}

/// Lets a key write no longer.
pub fn revoke(key: &[u8]) -> Bytes {
    AuthorityOp::Revoke { commander: commander_of(key) }.encode().into()
}
