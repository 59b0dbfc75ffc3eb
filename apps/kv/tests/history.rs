//! What was before: reads of earlier states, versions of a key, changes behind a state, and how they are forgotten.

mod stage;

use bytes::Bytes;
use stage::{all, apply, apply_in, ask, ask_in, bytes, changes, context, delete, put, refused, usage};
use synod_app_kv::{Kv, KvAnswer, KvChange, KvOp, KvQuery, KvReply, KvSelection, KvSettings, KvTxn};
use synod_machine::{Application as _, Context};
use synod_types::limits::{
    KV_CHANGES_SCANNED_MAX, KV_DELETE_MANY_MAX, KV_ENTRY_BYTES, KV_HISTORY_DROPPED_MAX, KV_RANGE_BYTES_MAX,
    KV_RANGE_ENTRIES_MAX,
};
use synod_types::{RefusalCode, StateNdx, TimeMs};

/// "a" is "1" in state 1 and "3" in 3, and removed in 4; "b" is there from state 2 on; "a" is "6" from state 6 on.
fn with_history() -> Kv {
    let mut kv = Kv::new();
    for (ndx, op) in
        [(1, put("a", "1")), (2, put("b", "2")), (3, put("a", "3")), (4, delete("a")), (6, put("a", "6"))]
    {
        apply(&mut kv, ndx, &op).expect("it is done");
    }
    kv
}

/// The value in a state; `Err` with the oldest state, or without one where the state is not there yet.
fn value_at(kv: &Kv, key: &str, at: u64) -> Result<Option<Bytes>, Option<u64>> {
    match ask_in(kv, 7, &KvQuery::Get { key: bytes(key), at: Some(StateNdx(at)) }) {
        KvAnswer::Get(found) => Ok(found.map(|entry| entry.value)),
        KvAnswer::Compacted { oldest } => Err(Some(oldest.0)),
        KvAnswer::NotYet => Err(None),
        other => panic!("a get was answered with {other:?}"),
    }
}

fn keys_at(kv: &Kv, at: u64, after: Option<&str>, limit: u32) -> (Vec<Bytes>, bool) {
    let at = Some(StateNdx(at));
    match ask(kv, &KvQuery::Range { prefix: Bytes::new(), after: after.map(bytes), limit, at }) {
        KvAnswer::Range { entries, more } => (entries.into_iter().map(|entry| entry.key).collect(), more),
        other => panic!("a range was answered with {other:?}"),
    }
}

/// The states that changed the key, negative where it was removed, and whether there are more.
fn versions(kv: &Kv, key: &str, before: Option<u64>, limit: u32) -> (Vec<i64>, bool) {
    let before = before.map(StateNdx);
    match ask(kv, &KvQuery::History { key: bytes(key), before, limit }) {
        KvAnswer::History { versions, more, oldest } => {
            assert_eq!(oldest, kv.state().oldest());
            let sign = |version: &synod_app_kv::KvVersion| if version.entry.is_some() { 1 } else { -1 };
            let states =
                versions.iter().map(|v| sign(v) * i64::try_from(v.changed.0).expect("a small number"));
            (states.collect(), more)
        }
        other => panic!("a history was answered with {other:?}"),
    }
}

#[test]
fn a_key_is_read_as_it_was_in_each_state() {
    let kv = with_history();
    let values = [None, Some("1"), Some("1"), Some("3"), None, None, Some("6"), Some("6")];
    for (at, value) in (0..).zip(values) {
        assert_eq!(value_at(&kv, "a", at), Ok(value.map(bytes)), "state {at}");
    }
    assert_eq!(value_at(&kv, "a", 8), Err(None), "state 7 is the present one");
    assert_eq!(value_at(&kv, "aa", 3), Ok(None));
    assert_eq!(value_at(&kv, "", 3), Ok(None));
    let keys = [&[][..], &["a"], &["a", "b"], &["a", "b"], &["b"], &["b"], &["a", "b"]];
    for (at, keys) in (0..).zip(keys) {
        assert_eq!(keys_at(&kv, at, None, 0), (keys.iter().map(|key| bytes(key)).collect(), false));
    }
    assert_eq!(keys_at(&kv, 3, None, 1), (vec![bytes("a")], true));
    assert_eq!(keys_at(&kv, 3, Some("a"), 1), (vec![bytes("b")], false));
}

#[test]
fn a_key_has_versions_and_removals_are_some_of_them() {
    let kv = with_history();
    assert_eq!(versions(&kv, "a", None, 0), (vec![6, -4, 3, 1], false));
    assert_eq!(versions(&kv, "a", None, 3), (vec![6, -4, 3], true));
    assert_eq!(versions(&kv, "a", Some(3), 3), (vec![1], false));
    assert_eq!(versions(&kv, "a", Some(6), 1), (vec![-4], true));
    assert_eq!(versions(&kv, "a", Some(4), 0), (vec![3, 1], false));
    assert_eq!(versions(&kv, "a", Some(5), 0), (vec![-4, 3, 1], false));
    assert_eq!(versions(&kv, "a", Some(0), 0), (vec![], false));
    assert_eq!(versions(&kv, "b", None, 0), (vec![2], false));
    assert_eq!(versions(&kv, "none", None, 0), (vec![], false));
    let mut kv = kv;
    let compact = KvOp::Compact { through: StateNdx(3) };
    assert_eq!(apply(&mut kv, 7, &compact), Ok(KvReply::Compacted { oldest: StateNdx(3) }));
    assert_eq!(versions(&kv, "a", None, 0), (vec![6, -4, 3], false));
    assert_eq!(versions(&kv, "b", None, 0), (vec![2], false), "it holds still");
    apply(&mut kv, 8, &KvOp::Compact { through: StateNdx(5) }).unwrap();
    assert_eq!(versions(&kv, "a", None, 0), (vec![6], false));
    assert_eq!(versions(&kv, "a", Some(6), 0), (vec![], false));
}

#[test]
fn a_compacted_state_is_not_read_and_not_watched_from() {
    let mut kv = with_history();
    let compact = |through| KvOp::Compact { through: StateNdx(through) };
    let compacted = |oldest| Ok(KvReply::Compacted { oldest: StateNdx(oldest) });
    assert_eq!(refused(&mut kv, &context(7), &compact(8)), RefusalCode::Conflict);
    assert_eq!(apply(&mut kv, 7, &compact(3)), compacted(3));
    assert_eq!(value_at(&kv, "a", 2), Err(Some(3)));
    assert_eq!(value_at(&kv, "a", 3), Ok(Some(bytes("3"))));
    assert_eq!(value_at(&kv, "a", 4), Ok(None));
    let behind =
        |kv: &Kv, after| ask_in(kv, 7, &KvQuery::Changes { after: StateNdx(after), of: all(), limit: 0 });
    assert_eq!(behind(&kv, 2), KvAnswer::Compacted { oldest: StateNdx(3) });
    assert_eq!(behind(&kv, 8), KvAnswer::NotYet);
    assert!(
        matches!(behind(&kv, 3), KvAnswer::Changes { states, through } if states.len() == 2 && through.0 == 7)
    );
    assert_eq!(apply(&mut kv, 8, &compact(1)), compacted(3), "the present oldest state");
    assert_eq!(apply(&mut kv, 9, &compact(9)), compacted(9));
    assert_eq!((usage(&kv).history_states, usage(&kv).history_bytes), (0, 0));
    assert_eq!(keys_at(&kv, 9, None, 0).0, [bytes("a"), bytes("b")]);
}

#[test]
fn changes_come_by_key_and_prefix_state_by_state() {
    let kv = with_history();
    let states = |of, after, limit| {
        let (states, through) = changes(&kv, 7, after, of, limit);
        (states.iter().map(|state| state.state_ndx.0).collect::<Vec<_>>(), through)
    };
    let key = |key| KvSelection::Key(bytes(key));
    assert_eq!(states(all(), 0, 0), (vec![1, 2, 3, 4, 6], 7));
    assert_eq!(states(key("a"), 0, 0), (vec![1, 3, 4, 6], 7));
    assert_eq!(states(key("b"), 0, 0), (vec![2], 7));
    assert_eq!(states(key("b"), 2, 0), (vec![], 7));
    assert_eq!(states(KvSelection::Prefix(bytes("b")), 1, 0), (vec![2], 7));
    assert_eq!(states(key("a"), 0, 2), (vec![1, 3], 3), "what comes behind is asked for again");
    assert_eq!(states(key("a"), 3, 2), (vec![4, 6], 7));
    assert_eq!(states(key("a"), 0, 3), (vec![1, 3, 4], 4));
    let (states, _) = changes(&kv, 7, 3, key("a"), 0);
    assert_eq!(states[0].changes[0].entry, None);
    assert_eq!(states[1].changes[0].entry.as_ref().unwrap().value, bytes("6"));
}

#[test]
fn one_question_looks_through_so_many_states_and_says_how_far() {
    let mut kv = Kv::new();
    let scanned = u64::try_from(KV_CHANGES_SCANNED_MAX).unwrap();
    for ndx in 1..=scanned + 2 {
        let key = if ndx == scanned + 1 { "b" } else { "a" };
        apply(&mut kv, ndx, &put(key, "")).unwrap();
    }
    let of = || KvSelection::Key(bytes("b"));
    assert_eq!(changes(&kv, scanned + 9, 0, of(), 0), (vec![], scanned));
    let (states, through) = changes(&kv, scanned + 9, scanned, of(), 0);
    assert_eq!((states.len(), states[0].state_ndx.0, through), (1, scanned + 1, scanned + 9));
}

fn puts(count: usize, value_bytes: usize) -> KvOp {
    let put =
        |n| KvChange::Put { key: bytes(&format!("{n:05}")), value: vec![0; value_bytes].into(), lease: None };
    KvOp::Txn(KvTxn { then: (0..count).map(put).collect(), ..KvTxn::default() })
}

#[test]
fn a_state_comes_whole_even_where_it_is_more_than_a_page() {
    let mut kv = Kv::new();
    let mut ndx = 0;
    for first in (0..KV_DELETE_MANY_MAX).step_by(100) {
        ndx += 1;
        let put = |n| KvChange::Put { key: bytes(&format!("{n:05}")), value: Bytes::new(), lease: None };
        let then = (first..first + 100).map(put).collect();
        apply(&mut kv, ndx, &KvOp::Txn(KvTxn { then, ..KvTxn::default() })).unwrap();
    }
    apply(&mut kv, ndx + 1, &KvOp::DeletePrefix { prefix: bytes("0") }).unwrap();
    apply(&mut kv, ndx + 2, &put("a", "")).unwrap();
    let (states, through) = changes(&kv, ndx + 2, ndx - 1, all(), 0);
    assert_eq!((states.len(), through), (1, ndx), "the next one has no room");
    let (states, through) = changes(&kv, ndx + 2, ndx, all(), 0);
    assert_eq!((states.len(), states[0].changes.len(), through), (1, KV_DELETE_MANY_MAX, ndx + 1));
    let (states, through) = changes(&kv, ndx + 2, 0, all(), 0);
    assert_eq!((states.len(), through), (KV_RANGE_ENTRIES_MAX / 100, 10));
}

#[test]
fn a_page_of_changes_has_a_limit_on_bytes() {
    let mut kv = Kv::new();
    let value_bytes = KV_RANGE_BYTES_MAX / 32 - 5;
    for ndx in 1..=5 {
        apply(&mut kv, ndx, &puts(8, value_bytes)).unwrap();
    }
    let (states, through) = changes(&kv, 5, 0, all(), 0);
    assert_eq!((states.len(), through), (4, 4), "four are exactly a page");
    apply(&mut kv, 6, &puts(8, value_bytes + 1)).unwrap();
    let (states, through) = changes(&kv, 6, 2, all(), 0);
    assert_eq!((states.len(), through), (3, 5));
}

#[test]
fn history_is_kept_by_count_bytes_and_age() {
    let settings = KvSettings::default();
    let in_force = |settings: KvSettings| {
        let mut kv = Kv::new();
        apply(&mut kv, 1, &KvOp::Configure(settings)).unwrap();
        for ndx in 2..=9 {
            let context = Context { time: TimeMs(ndx * 10), ..context(ndx) };
            apply_in(&mut kv, &context, &put("k", "value")).unwrap();
        }
        (usage(&kv).history_states, usage(&kv).oldest.0)
    };
    assert_eq!(in_force(settings), (8, 0));
    assert_eq!(in_force(KvSettings { history_states: Some(3), ..settings }), (3, 6));
    assert_eq!(in_force(KvSettings { history_states: Some(0), ..settings }), (0, 9));
    assert_eq!(in_force(KvSettings { history_age_ms: Some(30), ..settings }), (4, 5));
    assert_eq!(in_force(KvSettings { history_age_ms: Some(0), ..settings }), (1, 8));
    // A change counts for its key, and for what it superseded.
    let each = 2 * (1 + KV_ENTRY_BYTES) + 5;
    assert_eq!(in_force(KvSettings { history_bytes: Some(3 * each), ..settings }), (3, 6));
    assert_eq!(in_force(KvSettings { history_bytes: Some(3 * each - 1), ..settings }), (2, 7));
    assert_eq!(in_force(KvSettings { history_bytes: Some(0), ..settings }), (0, 9));
}

#[test]
fn what_is_too_much_goes_bit_by_bit() {
    let mut kv = Kv::new();
    for ndx in 1..=1_000 {
        apply(&mut kv, ndx, &put("k", "v")).unwrap();
    }
    let few = KvSettings { history_states: Some(10), ..KvSettings::default() };
    apply(&mut kv, 1_001, &KvOp::Configure(few)).unwrap();
    let dropped = u64::try_from(KV_HISTORY_DROPPED_MAX).unwrap();
    assert_eq!((usage(&kv).history_states, usage(&kv).oldest.0), (1_000 - dropped, dropped));
    apply(&mut kv, 1_002, &put("k", "v")).unwrap();
    assert_eq!(usage(&kv).history_states, 1_001 - dropped - (dropped + 2));

    // Compaction is in force at once, and drops more.
    let mut kv = Kv::new();
    let many = u64::try_from(KV_DELETE_MANY_MAX).unwrap() + 100;
    for ndx in 1..=many {
        apply(&mut kv, ndx, &put("k", "v")).unwrap();
    }
    apply(&mut kv, many + 1, &KvOp::Compact { through: StateNdx(many) }).unwrap();
    assert_eq!((usage(&kv).oldest.0, usage(&kv).history_states), (many, 100 - dropped));
    assert_eq!(versions(&kv, "k", None, 0), (vec![i64::try_from(many).unwrap()], false));
    apply(&mut kv, many + 2, &put("k", "v")).unwrap();
    assert_eq!(usage(&kv).history_states, 1);
    assert_eq!(kv.due(), None);
}
