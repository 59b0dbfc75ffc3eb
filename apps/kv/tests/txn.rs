//! Transactions, prefix deletes, counters and the quota: what is done in one state, or not at all.

mod stage;

use stage::{all, apply, bytes, changes, context, entry, get, keys, put, refused, usage};
use synod_app_kv::{
    Kv, KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvReply, KvResult, KvSettings, KvTxn,
};
use synod_machine::Application as _;
use synod_types::limits::{KV_DELETE_MANY_BYTES_MAX, KV_DELETE_MANY_MAX, KV_KEY_BYTES_MAX};
use synod_types::{RefusalCode, StateNdx};

fn set(key: &str, value: &str) -> KvChange {
    KvChange::Put { key: bytes(key), value: bytes(value), lease: None }
}

fn remove(key: &str) -> KvChange {
    KvChange::Delete { key: bytes(key) }
}

fn remove_prefix(prefix: &str) -> KvChange {
    KvChange::DeletePrefix { prefix: bytes(prefix) }
}

fn count(key: &str, delta: i64) -> KvChange {
    KvChange::Add { key: bytes(key), delta }
}

fn txn(compare: &[(&str, KvCondition)], then: &[KvChange], otherwise: &[KvChange]) -> KvOp {
    let compare = compare
        .iter()
        .map(|(key, condition)| KvCompare { key: bytes(key), condition: condition.clone() })
        .collect();
    KvOp::Txn(KvTxn { compare, then: then.to_vec(), otherwise: otherwise.to_vec() })
}

fn done(failed: Option<u32>, results: &[KvResult]) -> Result<KvReply, synod_types::Refusal> {
    Ok(KvReply::Txn { failed, results: results.to_vec() })
}

const NEW: KvResult = KvResult::Put { existed: false };
const REPLACED: KvResult = KvResult::Put { existed: true };

/// "a" is made in state 1 and changed to "m" in state 2.
fn with_a() -> Kv {
    let mut kv = Kv::new();
    apply(&mut kv, 1, &put("a", "x")).expect("it is written");
    apply(&mut kv, 2, &put("a", "m")).expect("it is written");
    kv
}

#[test]
fn conditions_say_what_stands_how() {
    use KvCondition::{Absent, Changed, Created, Exists, Value};
    use KvRelation::{Equal, Greater, Less, NotEqual};
    let holds = |key, condition: KvCondition| {
        let reply = apply(&mut with_a(), 3, &txn(&[(key, condition)], &[set("b", "")], &[])).unwrap();
        let KvReply::Txn { failed, results } = reply else { panic!("{reply:?} is not of a transaction") };
        assert_eq!(failed, results.is_empty().then_some(0));
        failed.is_none()
    };
    assert!(holds("a", Exists) && !holds("none", Exists));
    assert!(!holds("a", Absent) && holds("none", Absent));
    // Each relation, to what is before, at and behind what is there.
    for (relation, to_lesser, to_same, to_greater) in [
        (Equal, false, true, false),
        (NotEqual, true, false, true),
        (Less, false, false, true),
        (Greater, true, false, false),
    ] {
        let value = |value| Value(relation, bytes(value));
        assert_eq!(holds("a", value("lzz")), to_lesser, "{relation:?}");
        assert_eq!(holds("a", value("m")), to_same, "{relation:?}");
        assert_eq!(holds("a", value("ma")), to_greater, "{relation:?}");
        let created = |ndx| Created(relation, StateNdx(ndx));
        assert_eq!([0, 1, 2].map(|ndx| holds("a", created(ndx))), [to_lesser, to_same, to_greater]);
        let changed = |ndx| Changed(relation, StateNdx(ndx));
        assert_eq!([1, 2, 3].map(|ndx| holds("a", changed(ndx))), [to_lesser, to_same, to_greater]);
        for of_none in [value("m"), created(0), changed(0)] {
            assert!(!holds("none", of_none.clone()), "{of_none:?} holds of a key that does not exist");
        }
    }
}

#[test]
fn one_of_two_lists_is_made_by_the_state_before() {
    let mut kv = with_a();
    let exists = |key: &'static str| (key, KvCondition::Exists);
    let both = txn(&[exists("a"), exists("b")], &[set("c", "then")], &[set("b", "otherwise"), remove("x")]);
    assert_eq!(apply(&mut kv, 3, &both), done(Some(1), &[NEW, KvResult::Deleted { count: 0 }]));
    assert_eq!(get(&kv, "b"), Some((bytes("otherwise"), 3, 3)));
    assert_eq!(apply(&mut kv, 4, &both), done(None, &[NEW]));
    assert_eq!(get(&kv, "c"), Some((bytes("then"), 4, 4)));
    assert_eq!(apply(&mut kv, 5, &txn(&[exists("nowhere")], &[set("d", "")], &[])), done(Some(0), &[]));
    assert_eq!(apply(&mut kv, 6, &txn(&[], &[], &[])), done(None, &[]));
}

#[test]
fn each_change_sees_the_ones_before_it_and_a_key_changes_once_in_a_state() {
    let mut kv = with_a();
    let changed = [
        set("n", "40"),
        count("n", 2),
        set("p/1", "1"),
        set("p/2", "2"),
        remove_prefix("p/"),
        remove("a"),
        set("a", "again"),
        set("a", "and again"),
        set("b", ""),
        remove("b"),
    ];
    let deleted = |count| KvResult::Deleted { count };
    let counted = KvResult::Counted { value: 42 };
    let results = [NEW, counted, NEW, NEW, deleted(2), deleted(1), NEW, REPLACED, NEW, deleted(1)];
    assert_eq!(apply(&mut kv, 3, &txn(&[], &changed, &[])), done(None, &results));
    assert_eq!(keys(&kv, "", None, 0).0, ["a", "n"]);
    assert_eq!(get(&kv, "a"), Some((bytes("and again"), 3, 3)), "it was removed in between");
    let (states, through) = changes(&kv, 3, 2, all(), 0);
    assert_eq!((states.len(), through), (1, 3));
    let keys: Vec<_> =
        states[0].changes.iter().map(|change| (&change.key[..], change.entry.is_some())).collect();
    assert_eq!(keys, [(&b"a"[..], true), (b"n", true)], "what was made and removed in one state never was");
}

#[test]
fn a_refused_change_refuses_all_of_them() {
    let mut kv = with_a();
    apply(&mut kv, 3, &put("p/1", "1")).unwrap();
    let lease = StateNdx(1);
    let unbound = KvChange::Put { key: bytes("b"), value: bytes(""), lease: Some(lease) };
    let before = [set("a", "other"), set("new", ""), remove("new"), remove_prefix("p/"), set("p/1", "2")];
    for (refusing, code) in [
        (count("a", 1), RefusalCode::Conflict),
        (unbound, RefusalCode::Conflict),
        (set("big", &"v".repeat(2000)), RefusalCode::QuotaExceeded),
    ] {
        let settings = KvSettings { quota_bytes: Some(2000), ..KvSettings::default() };
        apply(&mut kv, 4, &KvOp::Configure(settings)).unwrap();
        let changes = [&before[..], &[refusing]].concat();
        assert_eq!(refused(&mut kv, &context(5), &txn(&[], &changes, &[])), code);
        assert_eq!(get(&kv, "a"), Some((bytes("m"), 1, 2)));
    }
    let text = apply(&mut kv, 5, &txn(&[], &[set("b", ""), count("a", 1)], &[])).unwrap_err().text;
    assert!(text.starts_with("change 2 of 2: the key's value is not a whole number"), "{text:?}");
}

#[test]
fn counters_are_whole_numbers_of_64_bits() {
    let mut kv = Kv::new();
    let mut state_ndx = 0;
    let mut add = |kv: &mut Kv, key: &str, delta| {
        state_ndx += 1;
        let op = KvOp::Add { key: bytes(key), delta };
        match apply(kv, state_ndx, &op) {
            Ok(KvReply::Counted { value }) => Ok(value),
            Ok(other) => panic!("an addition was answered with {other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    };
    const CONFLICT: Result<i64, RefusalCode> = Err(RefusalCode::Conflict);
    assert_eq!(add(&mut kv, "n", 5), Ok(5), "what does not exist is 0");
    assert_eq!(add(&mut kv, "n", -12), Ok(-7));
    assert_eq!(get(&kv, "n"), Some((bytes("-7"), 1, 2)));
    assert_eq!(add(&mut kv, "n", i64::MAX), Ok(i64::MAX - 7));
    assert_eq!(add(&mut kv, "n", 7), Ok(i64::MAX));
    assert_eq!(add(&mut kv, "n", 1), CONFLICT);
    assert_eq!(add(&mut kv, "m", i64::MIN), Ok(i64::MIN));
    assert_eq!(add(&mut kv, "m", -1), CONFLICT);
    for (value, sum) in [
        ("12", Ok(13)),
        ("007", Ok(8)),
        ("-1", Ok(0)),
        ("", CONFLICT),
        ("+1", CONFLICT),
        (" 1", CONFLICT),
        ("1.0", CONFLICT),
        ("9223372036854775808", CONFLICT),
        ("\u{661}", CONFLICT),
    ] {
        let mut kv = Kv::new();
        apply(&mut kv, 1_000, &put("n", value)).unwrap();
        assert_eq!(add(&mut kv, "n", 1), sum, "{value:?}");
    }
}

#[test]
fn a_prefix_is_deleted_as_a_whole() {
    let mut kv = Kv::new();
    for (ndx, key) in (1..).zip(["a", "b", "b/1", "b/2", "b0", "c"]) {
        apply(&mut kv, ndx, &put(key, "v")).unwrap();
    }
    let delete = |prefix| KvOp::DeletePrefix { prefix: bytes(prefix) };
    assert_eq!(apply(&mut kv, 7, &delete("b/")), Ok(KvReply::DeletedMany { count: 2 }));
    assert_eq!(keys(&kv, "", None, 0).0, ["a", "b", "b0", "c"]);
    assert_eq!(apply(&mut kv, 8, &delete("b/")), Ok(KvReply::DeletedMany { count: 0 }));
    assert_eq!(apply(&mut kv, 9, &delete("b")), Ok(KvReply::DeletedMany { count: 2 }));
    assert_eq!(keys(&kv, "", None, 0).0, ["a", "c"]);
    let (states, _) = changes(&kv, 9, 6, all(), 0);
    let removed: Vec<_> = states.iter().map(|state| (state.state_ndx.0, state.changes.len())).collect();
    assert_eq!(removed, [(7, 2), (9, 2)], "nothing removed is no change");
}

#[test]
fn one_command_removes_10000_keys_by_prefixes_and_no_more() {
    let mut kv = Kv::new();
    let fill = |kv: &mut Kv, prefix: &str, from: usize, to: usize| {
        for chunk in (from..to).collect::<Vec<_>>().chunks(100) {
            let puts: Vec<_> = chunk.iter().map(|n| set(&format!("{prefix}{n:05}"), "")).collect();
            let state_ndx = u64::try_from(from + 1_000 * chunk[0] + prefix.len()).unwrap();
            apply(kv, state_ndx, &txn(&[], &puts, &[])).unwrap();
        }
    };
    fill(&mut kv, "k", 0, KV_DELETE_MANY_MAX + 1);
    let late = context(1_000_000_000);
    let delete = |prefix| KvOp::DeletePrefix { prefix: bytes(prefix) };
    assert_eq!(refused(&mut kv, &late, &delete("k")), RefusalCode::QuotaExceeded);
    let parts = [remove_prefix("k0000"), remove_prefix("k0"), remove_prefix("k1")];
    assert_eq!(refused(&mut kv, &late, &txn(&[], &parts, &[])), RefusalCode::QuotaExceeded);
    let all_but_one = [remove("k00000"), remove_prefix("k")];
    let deleted = |count| KvResult::Deleted { count };
    let removed = apply(&mut kv, late.state_ndx.0, &txn(&[], &all_but_one, &[]));
    assert_eq!(removed, done(None, &[deleted(1), deleted(u64::try_from(KV_DELETE_MANY_MAX).unwrap())]));
    assert_eq!((usage(&kv).keys, usage(&kv).bytes), (0, 0));
}

#[test]
fn the_names_that_one_command_removes_have_4_mib_at_most() {
    let fits = KV_DELETE_MANY_BYTES_MAX / KV_KEY_BYTES_MAX;
    let mut kv = Kv::new();
    let long = |n: usize| format!("{n:0width$}", width = KV_KEY_BYTES_MAX);
    for n in 0..=fits {
        apply(&mut kv, u64::try_from(n).unwrap() + 1, &put(&long(n), "")).unwrap();
    }
    let delete = KvOp::DeletePrefix { prefix: bytes("0") };
    assert_eq!(refused(&mut kv, &context(5_000), &delete), RefusalCode::QuotaExceeded);
    apply(&mut kv, 5_001, &KvOp::Delete { key: bytes(&long(0)) }).unwrap();
    let count = u64::try_from(fits).unwrap();
    assert_eq!(apply(&mut kv, 5_002, &delete), Ok(KvReply::DeletedMany { count }));
}

#[test]
fn a_quota_refuses_growth_and_nothing_else_and_clears_by_itself() {
    let mut kv = with_a();
    let held = usage(&kv).bytes;
    let quota = |bytes| KvOp::Configure(KvSettings { quota_bytes: Some(bytes), ..KvSettings::default() });
    assert_eq!(apply(&mut kv, 3, &quota(held)), Ok(KvReply::Configured));
    assert_eq!(usage(&kv).quota_bytes, held);
    assert_eq!(refused(&mut kv, &context(4), &put("b", "")), RefusalCode::QuotaExceeded);
    assert_eq!(refused(&mut kv, &context(4), &put("a", "mm")), RefusalCode::QuotaExceeded);
    let refusal = apply(&mut kv, 4, &put("b", "")).unwrap_err();
    assert!(refusal.text.ends_with("delete keys, or have the quota raised"), "{:?}", refusal.text);
    assert_eq!(apply(&mut kv, 5, &put("a", "n")), Ok(KvReply::Written { previous: Some(StateNdx(2)) }));

    apply(&mut kv, 6, &quota(0)).unwrap();
    assert!(apply(&mut kv, 7, &put("a", "o")).is_ok(), "the same size is no growth");
    assert!(apply(&mut kv, 8, &put("a", "")).is_ok(), "less is no growth");
    assert_eq!(refused(&mut kv, &context(9), &put("a", "p")), RefusalCode::QuotaExceeded);
    assert_eq!(apply(&mut kv, 9, &KvOp::GrantLease { ttl_ms: 1_000 }), Ok(KvReply::Leased));
    let compact = KvOp::Compact { through: StateNdx(9) };
    assert_eq!(apply(&mut kv, 10, &compact), Ok(KvReply::Compacted { oldest: StateNdx(9) }));
    assert!(apply(&mut kv, 11, &KvOp::Delete { key: bytes("a") }).is_ok());

    apply(&mut kv, 12, &quota(held)).unwrap();
    assert!(apply(&mut kv, 13, &put("a", "m")).is_ok(), "there is room again");
    let swap = txn(&[], &[remove("a"), set("b", "m")], &[]);
    assert_eq!(apply(&mut kv, 14, &swap), done(None, &[KvResult::Deleted { count: 1 }, NEW]));
    assert_eq!(entry(&kv, "a"), None);
}

#[test]
fn a_setting_that_is_not_given_stays() {
    let mut kv = Kv::new();
    let before = usage(&kv);
    let settings = KvSettings { history_states: Some(7), ..KvSettings::default() };
    apply(&mut kv, 1, &KvOp::Configure(settings)).unwrap();
    let after = usage(&kv);
    assert_eq!(after.history_max.states, 7);
    assert_eq!((after.quota_bytes, after.history_max.bytes), (before.quota_bytes, before.history_max.bytes));
    assert_eq!(after.history_max.age_ms, before.history_max.age_ms);
    let digest = kv.digest();
    apply(&mut kv, 2, &KvOp::Configure(KvSettings::default())).unwrap();
    assert_eq!(kv.digest(), digest);
}
