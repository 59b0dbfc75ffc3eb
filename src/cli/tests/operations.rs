//! The table of encoded operations and replies to which the Python client is held (clients/python/tests/operations.json)
//! is what this program encodes. `UPDATE_OPERATIONS=1` writes it anew after a change that is meant.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use synod_app_kv::{
    KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvReply, KvResult, KvSettings, KvTxn,
};
use synod_types::{StateNdx, wire};

const TABLE: &str = "../../clients/python/tests/operations.json";

#[test]
fn the_table_for_other_languages_is_what_this_program_encodes() {
    let row = |name: &str, bytes: Vec<u8>| json!({ "name": name, "bytes": hex::encode(bytes) });
    let operations: Vec<Value> = operations().iter().map(|(name, op)| row(name, op.encode())).collect();
    let replies: Vec<Value> = replies().iter().map(|(name, reply)| row(name, wire::encode(reply))).collect();
    let table = json!({ "operations": operations, "replies": replies });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if std::env::var_os("UPDATE_OPERATIONS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(committed, table, "{TABLE}: see the head of this test");
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn put(key: &'static str, value: &'static str, lease: Option<u64>) -> KvChange {
    KvChange::Put { key: bytes(key), value: bytes(value), lease: lease.map(StateNdx) }
}

fn compare(key: &'static str, condition: KvCondition) -> KvCompare {
    KvCompare { key: bytes(key), condition }
}

fn operations() -> Vec<(&'static str, KvOp)> {
    let key = bytes("k");
    let value = bytes("v");
    let add = |delta| KvOp::Add { key: bytes("n"), delta };
    let txn = KvTxn {
        compare: vec![
            compare("a", KvCondition::Exists),
            compare("b", KvCondition::Absent),
            compare("c", KvCondition::Value(KvRelation::Equal, bytes("x"))),
            compare("c", KvCondition::Value(KvRelation::NotEqual, Bytes::new())),
            compare("d", KvCondition::Created(KvRelation::Less, StateNdx(128))),
            compare("e", KvCondition::Changed(KvRelation::Greater, StateNdx(16384))),
        ],
        then: vec![
            put("a", "1", None),
            put("a", "2", Some(7)),
            KvChange::Delete { key: bytes("b") },
            KvChange::DeletePrefix { prefix: bytes("c/") },
            KvChange::Add { key: bytes("n"), delta: -1 },
        ],
        otherwise: vec![KvChange::Add { key: bytes("n"), delta: 1 }],
    };
    let settings =
        KvSettings { quota_bytes: Some(1 << 30), history_age_ms: Some(1000), ..KvSettings::default() };
    vec![
        ("put", KvOp::Put { key: key.clone(), value: value.clone() }),
        ("put, bytes", KvOp::Put { key: (0..=255).collect(), value: vec![0; 300].into() }),
        ("put, empty value", KvOp::Put { key: key.clone(), value: Bytes::new() }),
        ("put, bound", KvOp::PutBound { key: key.clone(), value: value.clone(), lease: StateNdx(300) }),
        ("delete", KvOp::Delete { key: key.clone() }),
        (
            "compare and set, absent",
            KvOp::CompareAndSet { key: key.clone(), expected: None, value: value.clone() },
        ),
        ("compare and set", KvOp::CompareAndSet { key, expected: Some(StateNdx(u64::MAX)), value }),
        ("transaction, empty", KvOp::Txn(KvTxn::default())),
        ("transaction", KvOp::Txn(txn)),
        ("delete prefix", KvOp::DeletePrefix { prefix: bytes("k/") }),
        ("add", add(1)),
        ("add, nothing", add(0)),
        ("add, least", add(i64::MIN)),
        ("add, most", add(i64::MAX)),
        ("grant lease", KvOp::GrantLease { ttl_ms: 60_000 }),
        ("keep alive", KvOp::KeepAlive { leases: vec![StateNdx(1), StateNdx(300)] }),
        ("revoke lease", KvOp::RevokeLease { lease: StateNdx(300) }),
        ("compact", KvOp::Compact { through: StateNdx(1000) }),
        ("configure", KvOp::Configure(settings)),
    ]
}

fn replies() -> Vec<(&'static str, KvReply)> {
    let results = vec![
        KvResult::Put { existed: true },
        KvResult::Deleted { count: 300 },
        KvResult::Counted { value: i64::MIN },
    ];
    vec![
        ("written, new", KvReply::Written { previous: None }),
        ("written", KvReply::Written { previous: Some(StateNdx(300)) }),
        ("deleted", KvReply::Deleted { existed: true }),
        ("deleted, nothing", KvReply::Deleted { existed: false }),
        ("transaction", KvReply::Txn { failed: None, results }),
        ("transaction, otherwise", KvReply::Txn { failed: Some(2), results: Vec::new() }),
        ("deleted many", KvReply::DeletedMany { count: u64::MAX }),
        ("counted", KvReply::Counted { value: -300 }),
        ("leased", KvReply::Leased),
        ("kept alive", KvReply::KeptAlive { gone: vec![StateNdx(7), StateNdx(300)] }),
        ("compacted", KvReply::Compacted { oldest: StateNdx(1000) }),
        ("configured", KvReply::Configured),
    ]
}
