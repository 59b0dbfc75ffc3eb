//! What the tests of the application share: bytes in, bytes out, as the machine and the front ends do it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::Bytes;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvOp, KvQuery, KvReply, KvSelection, KvStateChanges, KvUsage};
use synod_machine::{Application, Context, Moment};
use synod_types::{CommanderId, Digest, LeaseMs, Refusal, RefusalCode, StateNdx, TimeMs};

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put(key: &str, value: &str) -> KvOp {
    KvOp::Put { key: bytes(key), value: bytes(value) }
}

pub fn cas(key: &str, expected: Option<u64>, value: &str) -> KvOp {
    KvOp::CompareAndSet { key: bytes(key), expected: expected.map(StateNdx), value: bytes(value) }
}

pub fn delete(key: &str) -> KvOp {
    KvOp::Delete { key: bytes(key) }
}

pub fn commander(name: &str) -> CommanderId {
    CommanderId(Digest::of(&[name.as_bytes()]))
}

pub fn context(state_ndx: u64) -> Context {
    Context {
        state_ndx: StateNdx(state_ndx),
        time: TimeMs(0),
        clock: LeaseMs(0),
        commander: CommanderId::default(),
    }
}

pub fn apply(kv: &mut Kv, state_ndx: u64, op: &KvOp) -> Result<KvReply, Refusal> {
    apply_in(kv, &context(state_ndx), op)
}

/// Executes; what is refused must have changed nothing.
pub fn apply_in(kv: &mut Kv, context: &Context, op: &KvOp) -> Result<KvReply, Refusal> {
    let answer = kv.apply(context, &op.encode()[1..])?;
    Ok(KvReply::decode(&answer).expect("a reply"))
}

/// The code of a refusal that leaves the state as it was.
pub fn refused(kv: &mut Kv, context: &Context, op: &KvOp) -> RefusalCode {
    let before = kv.digest();
    let refusal = apply_in(kv, context, op).expect_err("it is refused");
    assert_eq!(kv.digest(), before, "{op:?} was refused, and changed something");
    refusal.code
}

pub fn expire(kv: &mut Kv, state_ndx: u64, clock: u64) -> u64 {
    let moment = Moment { state_ndx: StateNdx(state_ndx), time: TimeMs(0), clock: LeaseMs(clock) };
    match KvReply::decode(&kv.expire(&moment)) {
        Ok(KvReply::DeletedMany { count }) => count,
        other => panic!("an expiry was answered with {other:?}"),
    }
}

pub fn ask(kv: &dyn Application, query: &KvQuery) -> KvAnswer {
    ask_in(kv, u64::MAX, query)
}

/// Asks in state `state_ndx`.
pub fn ask_in(kv: &dyn Application, state_ndx: u64, query: &KvQuery) -> KvAnswer {
    let answer = kv.query(StateNdx(state_ndx), &query.encode()).expect("a query");
    KvAnswer::decode(&answer).expect("an answer")
}

pub fn entry(kv: &dyn Application, key: &str) -> Option<KvEntry> {
    match ask(kv, &KvQuery::Get { key: bytes(key), at: None }) {
        KvAnswer::Get(found) => found,
        other => panic!("a get was answered with {other:?}"),
    }
}

/// Value, and the states that made and changed it.
pub fn get(kv: &dyn Application, key: &str) -> Option<(Bytes, u64, u64)> {
    entry(kv, key).map(|entry| (entry.value, entry.created.0, entry.changed.0))
}

pub fn range(kv: &dyn Application, prefix: &str, after: Option<&str>, limit: u32) -> (Vec<KvEntry>, bool) {
    let query = KvQuery::Range { prefix: bytes(prefix), after: after.map(bytes), limit, at: None };
    match ask(kv, &query) {
        KvAnswer::Range { entries, more } => (entries, more),
        other => panic!("a range was answered with {other:?}"),
    }
}

pub fn keys(kv: &dyn Application, prefix: &str, after: Option<&str>, limit: u32) -> (Vec<String>, bool) {
    let (entries, more) = range(kv, prefix, after, limit);
    (entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect(), more)
}

pub fn usage(kv: &dyn Application) -> KvUsage {
    match ask(kv, &KvQuery::Usage) {
        KvAnswer::Usage(usage) => usage,
        other => panic!("usage was answered with {other:?}"),
    }
}

pub fn all() -> KvSelection {
    KvSelection::Prefix(Bytes::new())
}

/// One page of changes, and up to where it goes.
pub fn changes(
    kv: &dyn Application,
    state_ndx: u64,
    after: u64,
    of: KvSelection,
    limit: u32,
) -> (Vec<KvStateChanges>, u64) {
    match ask_in(kv, state_ndx, &KvQuery::Changes { after: StateNdx(after), of, limit }) {
        KvAnswer::Changes { states, through } => (states, through.0),
        other => panic!("changes were answered with {other:?}"),
    }
}
