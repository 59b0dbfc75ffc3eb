//! The bytes of operations, of what they answer, and of a state's snapshot, as an older program wrote them: they are in logs, in hash
//! chains and on disks.

use bytes::Bytes;
use synod_app_kv::{Kv, KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvReply, KvSettings, KvTxn};
use synod_machine::{Application as _, Context, Moment};
use synod_types::{CommanderId, Digest, LeaseMs, StateNdx, TimeMs, wire};

fn file(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Each operation and what is in one, in an order in which all of them do something.
fn operations() -> Vec<(&'static str, KvOp)> {
    let (key, value) = (bytes("config/a"), bytes("one"));
    let conditions = [
        KvCondition::Exists,
        KvCondition::Absent,
        KvCondition::Value(KvRelation::Equal, value.clone()),
        KvCondition::Created(KvRelation::Less, StateNdx(300)),
        KvCondition::Changed(KvRelation::Greater, StateNdx(1)),
        KvCondition::Value(KvRelation::NotEqual, bytes("two")),
    ];
    let compare = |key: &Bytes, condition| KvCompare { key: key.clone(), condition };
    let changes = vec![
        KvChange::Put { key: bytes("txn/put"), value: bytes("bound"), lease: Some(StateNdx(4)) },
        KvChange::Put { key: bytes("txn/free"), value: Bytes::new(), lease: None },
        KvChange::Delete { key: bytes("config/b") },
        KvChange::DeletePrefix { prefix: bytes("none/") },
        KvChange::Add { key: bytes("counter"), delta: 300 },
    ];
    let [exists, absent, equal, created, changed, other] = conditions;
    let holds = [exists, equal, created, changed, other];
    let mut all: Vec<KvCompare> = holds.map(|condition| compare(&key, condition)).into();
    all.push(compare(&bytes("nothing"), absent.clone()));
    let then = KvTxn { compare: all, then: changes.clone(), otherwise: Vec::new() };
    let otherwise = KvTxn { compare: vec![compare(&key, absent)], then: Vec::new(), otherwise: changes };
    let settings = KvSettings {
        quota_bytes: Some(1 << 20),
        history_states: Some(1000),
        history_bytes: None,
        history_age_ms: Some(86_400_000),
    };
    vec![
        ("put", KvOp::Put { key: key.clone(), value: bytes("zero") }),
        ("compare-and-set", KvOp::CompareAndSet { key: key.clone(), expected: Some(StateNdx(1)), value }),
        (
            "compare-and-set-new",
            KvOp::CompareAndSet { key: bytes("config/b"), expected: None, value: bytes("b") },
        ),
        ("grant-lease", KvOp::GrantLease { ttl_ms: 60_000 }),
        ("put-bound", KvOp::PutBound { key: bytes("bound"), value: bytes("b"), lease: StateNdx(4) }),
        ("txn-then", KvOp::Txn(then)),
        ("txn-otherwise", KvOp::Txn(otherwise)),
        ("add", KvOp::Add { key: bytes("counter"), delta: -601 }),
        ("keep-alive", KvOp::KeepAlive { leases: vec![StateNdx(4), StateNdx(400)] }),
        ("configure", KvOp::Configure(settings)),
        ("delete", KvOp::Delete { key }),
        ("grant-another-lease", KvOp::GrantLease { ttl_ms: 1000 }),
        ("put-bound-to-it", KvOp::PutBound { key: bytes("short"), value: bytes("s"), lease: StateNdx(12) }),
        ("delete-prefix", KvOp::DeletePrefix { prefix: bytes("txn/f") }),
        ("grant-a-third-lease", KvOp::GrantLease { ttl_ms: 5000 }),
        ("revoke-lease", KvOp::RevokeLease { lease: StateNdx(15) }),
        ("compact", KvOp::Compact { through: StateNdx(5) }),
    ]
}

#[test]
fn operations_answers_and_the_state_that_they_make_stay_what_they_are() {
    let mut kv = Kv::new();
    let (mut commands, mut answers) = (Vec::new(), Vec::new());
    for (n, (name, operation)) in (1..).zip(operations()) {
        let encoded = operation.encode();
        assert_eq!(KvOp::decode(&encoded[1..]), Ok(operation));
        let commander = CommanderId(Digest([9; 32]));
        let context =
            Context { state_ndx: StateNdx(n), time: TimeMs(1000 + n), clock: LeaseMs(10 * n), commander };
        let answer = kv.apply(&context, &encoded[1..]).expect(name);
        let reply = KvReply::decode(&answer).expect(name);
        assert_eq!(wire::encode(&reply), answer);
        commands.push((name, encoded));
        answers.push((name, answer.to_vec()));
    }
    let moment = Moment { state_ndx: StateNdx(18), time: TimeMs(9000), clock: LeaseMs(1120) };
    assert_eq!(kv.due(), Some(moment.clock));
    answers.push(("expiry", kv.expire(&moment).to_vec()));

    for (name, kept) in synod_golden::holds(file("operations.hex"), commands) {
        assert!(KvOp::decode(&kept[1..]).is_ok(), "{name}");
    }
    synod_golden::holds(file("answers.hex"), answers);
    let kept = synod_golden::holds(file("snapshot-v1.hex"), [("state", kv.snapshot())]);
    let mut restored = Kv::new();
    restored.restore(&kept["state"]).expect("it was a snapshot once");
    assert_eq!(restored.snapshot(), kv.snapshot());
}
