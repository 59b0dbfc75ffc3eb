//! The application that worlds run, and the operations that their clients draw.

use bytes::Bytes;
use synod_app_kv::{
    Kv, KvAnswer, KvChange, KvCompare, KvCondition, KvOp, KvQuery, KvRelation, KvSettings, KvTxn, lock,
};
use synod_machine::authority::MemberOp;
use synod_machine::{Application, AuthorityOp, Grant, Member, Role, View};
use synod_types::limits::KV_LEASE_MS_MIN;
use synod_types::{Digest, Level, NodeId, StateNdx};

use crate::client::commander_of;
use crate::random::Random;

/// Keys that clients share: few, so that they meet.
const KEYS: u64 = 12;
/// For how long a client's lease lasts at most.
pub const LEASE_MS_MAX: u64 = 6000;

/// An empty application.
pub fn application() -> Box<dyn Application> {
    Box::new(Kv::new())
}

/// Sets a key.
pub fn put(key: &str, value: &str) -> Bytes {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    KvOp::Put { key, value }.encode().into()
}

/// Any operation on any key. `state_ndx` is a state that compares may name, and leases.
pub fn any(state_ndx: StateNdx, random: &mut Random) -> Bytes {
    let key = key(random);
    let value = value(random);
    let operation = match random.below(20) {
        0 => KvOp::Delete { key },
        1 => KvOp::CompareAndSet { key, expected: None, value },
        2 | 3 => KvOp::CompareAndSet { key, expected: Some(state_ndx), value },
        4 | 5 => KvOp::Txn(txn(state_ndx, random)),
        6 => KvOp::Add { key: Bytes::from(format!("n{}", random.below(3))), delta: change(random) },
        7 => KvOp::GrantLease { ttl_ms: random.within(KV_LEASE_MS_MIN..=LEASE_MS_MAX) },
        8 => on_a_lease(key, value, state_ndx, random),
        9 => rare(state_ndx, random),
        _ => KvOp::Put { key, value },
    };
    operation.encode().into()
}

fn key(random: &mut Random) -> Bytes {
    Bytes::from(format!("k{}", random.below(KEYS)))
}

fn value(random: &mut Random) -> Bytes {
    Bytes::from(random.next_u64().to_be_bytes().to_vec())
}

fn change(random: &mut Random) -> i64 {
    i64::try_from(random.below(20)).expect("a small number") - 10
}

fn txn(state_ndx: StateNdx, random: &mut Random) -> KvTxn {
    let condition = match random.below(4) {
        0 => KvCondition::Exists,
        1 => KvCondition::Absent,
        2 => KvCondition::Changed(KvRelation::Equal, state_ndx),
        _ => KvCondition::Created(KvRelation::Less, state_ndx),
    };
    KvTxn {
        compare: vec![KvCompare { key: key(random), condition }],
        then: changes(random),
        otherwise: changes(random),
    }
}

fn changes(random: &mut Random) -> Vec<KvChange> {
    let any = |_| match random.below(5) {
        0 => KvChange::Delete { key: key(random) },
        // It may be no counter, and then refuses the whole.
        1 => KvChange::Add { key: key(random), delta: change(random) },
        _ => KvChange::Put { key: key(random), value: value(random), lease: None },
    };
    (0..4).map(any).collect()
}

/// A lease is named by a state that granted it: perhaps this one did.
fn on_a_lease(key: Bytes, value: Bytes, lease: StateNdx, random: &mut Random) -> KvOp {
    match random.below(4) {
        0 => KvOp::KeepAlive { leases: vec![lease] },
        1 => KvOp::RevokeLease { lease },
        2 => lock::enter(b"lock", lease, value),
        _ => KvOp::PutBound { key, value, lease },
    }
}

fn rare(state_ndx: StateNdx, random: &mut Random) -> KvOp {
    match random.below(4) {
        0 => KvOp::DeletePrefix { prefix: Bytes::from_static(b"k1") },
        1 => KvOp::Compact { through: state_ndx },
        _ => KvOp::Configure(KvSettings {
            history_states: Some(random.below(50)),
            history_age_ms: Some(random.below(10_000)),
            ..KvSettings::default()
        }),
    }
}

/// An operation on leases. `leases` are some that were granted, the last one last.
pub fn on_leases(leases: &[StateNdx], random: &mut Random) -> Bytes {
    let operation = match (leases, random.below(10)) {
        ([], _) | (_, 0 | 1) => KvOp::GrantLease { ttl_ms: *random.pick(&[1000, 1000, 1500, 3000]) },
        (_, 2) => {
            let (key, value, lease) = (key(random), value(random), *random.pick(leases));
            KvOp::PutBound { key, value, lease }
        }
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

/// The leases that there are in a state.
pub fn leases(view: &View) -> Vec<StateNdx> {
    let mut found: Vec<StateNdx> = Vec::new();
    loop {
        let query = KvQuery::Leases { after: found.last().copied(), limit: 0 }.encode();
        let answer = view.app.query(view.state_ndx, &query).expect("it is a query of this application");
        match KvAnswer::decode(&answer) {
            Ok(KvAnswer::Leases { leases, more }) => {
                found.extend(leases.into_iter().map(|lease| lease.lease));
                if !more {
                    return found;
                }
            }
            other => panic!("a question about leases is answered by {other:?}"),
        }
    }
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

/// Raises the application to the next level, or adds a member at an address that only the first one takes. Who votes in a world
/// is not in its applications' states, so it comes to a refusal either way, and the level says to which.
pub fn on_a_level(random: &mut Random) -> Bytes {
    if random.chance(300) {
        return raise(Level::HOST_PORT);
    }
    let address = random.pick(&["a b:7101", "h:0", "h:7101"]).to_string();
    let member = Member { id: NodeId(Digest::of(&[b"newcomer"])), name: "newcomer".to_owned(), address };
    AuthorityOp::Member(MemberOp::Add(member)).encode().into()
}

/// Raises the application to this level.
pub fn raise(to: Level) -> Bytes {
    AuthorityOp::Raise { to }.encode().into()
}
