//! The key-value application as the machine and the front ends see it: bytes in, bytes out.

mod stage;

use proptest::prelude::*;
use stage::{apply, bytes, cas, context, delete, get, keys, put, range};
use synod_app_kv::{Kv, KvOp, KvReply};
use synod_machine::Application as _;
use synod_types::limits::{KV_RANGE_BYTES_MAX, KV_RANGE_ENTRIES_MAX, KV_VALUE_BYTES_MAX};
use synod_types::{Refusal, RefusalCode, StateNdx};

#[test]
fn a_key_knows_the_states_that_made_and_changed_it() {
    let mut kv = Kv::new();
    assert_eq!(get(&kv, "a"), None);
    assert_eq!(apply(&mut kv, 3, &put("a", "1")), Ok(KvReply::Written { previous: None }));
    assert_eq!(apply(&mut kv, 5, &put("a", "2")), Ok(KvReply::Written { previous: Some(StateNdx(3)) }));
    assert_eq!(get(&kv, "a"), Some((bytes("2"), 3, 5)));
    assert_eq!(apply(&mut kv, 6, &delete("a")), Ok(KvReply::Deleted { existed: true }));
    assert_eq!(apply(&mut kv, 7, &delete("a")), Ok(KvReply::Deleted { existed: false }));
    assert_eq!(get(&kv, "a"), None);
    assert_eq!(apply(&mut kv, 8, &put("a", "")), Ok(KvReply::Written { previous: None }));
    assert_eq!(get(&kv, "a"), Some((bytes(""), 8, 8)));
}

#[test]
fn compare_and_set_changes_what_was_seen_and_nothing_else() {
    let mut kv = Kv::new();
    let conflict = |result: Result<KvReply, Refusal>, names: &str| {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Conflict);
        assert!(refusal.text.contains(names), "{:?} does not name {names:?}", refusal.text);
    };
    conflict(apply(&mut kv, 1, &cas("a", Some(9), "x")), "the key does not exist");
    assert_eq!(apply(&mut kv, 2, &cas("a", None, "1")), Ok(KvReply::Written { previous: None }));
    let digest = kv.digest();
    conflict(apply(&mut kv, 3, &cas("a", None, "x")), "stateNdx 2;");
    conflict(apply(&mut kv, 4, &cas("a", Some(1), "x")), "stateNdx 2;");
    conflict(apply(&mut kv, 5, &cas("a", Some(3), "x")), "stateNdx 2;");
    assert_eq!(kv.digest(), digest, "a refused command changed something");
    let written = apply(&mut kv, 6, &cas("a", Some(2), "2"));
    assert_eq!(written, Ok(KvReply::Written { previous: Some(StateNdx(2)) }));
    assert_eq!(get(&kv, "a"), Some((bytes("2"), 2, 6)));
}

#[test]
fn ranges_go_by_prefix_and_page() {
    let mut kv = Kv::new();
    for (ndx, key) in ["a", "b", "b/1", "b/2", "b/3", "b0", "c"].into_iter().enumerate() {
        apply(&mut kv, u64::try_from(ndx).unwrap() + 1, &put(key, "v")).unwrap();
    }
    let all = |more| (["b/1", "b/2", "b/3"].map(str::to_owned).to_vec(), more);
    assert_eq!(keys(&kv, "b/", None, 0), all(false));
    assert_eq!(keys(&kv, "b/", None, 3), all(false), "three are all");
    assert_eq!(keys(&kv, "b/", None, 2), (vec!["b/1".to_owned(), "b/2".to_owned()], true));
    assert_eq!(keys(&kv, "b/", Some("b/2"), 2), (vec!["b/3".to_owned()], false));
    assert_eq!(keys(&kv, "b/", Some("b/3"), 2), (vec![], false));
    assert_eq!(keys(&kv, "b/", Some("a"), 0), all(false), "before the prefix is no place to start");
    assert_eq!(keys(&kv, "b/", Some("c"), 0), (vec![], false));
    assert_eq!(keys(&kv, "", None, 0).0.len(), 7);
    assert_eq!(keys(&kv, "d", None, 0), (vec![], false));
}

#[test]
fn a_page_has_a_limit_on_entries() {
    let filled = |count: usize| {
        let mut kv = Kv::new();
        for (state_ndx, n) in (1..).zip(0..count) {
            apply(&mut kv, state_ndx, &put(&format!("{n:05}"), "")).unwrap();
        }
        kv
    };
    for (count, more) in
        [(KV_RANGE_ENTRIES_MAX - 1, false), (KV_RANGE_ENTRIES_MAX, false), (KV_RANGE_ENTRIES_MAX + 1, true)]
    {
        for limit in [0, 1000, 1001, u32::MAX] {
            let (entries, said_more) = range(&filled(count), "", None, limit);
            assert_eq!((entries.len(), said_more), (count.min(KV_RANGE_ENTRIES_MAX), more));
        }
    }
}

#[test]
fn a_page_has_a_limit_on_bytes() {
    // Five keys of one byte; the first four pages' worth of bytes are exact.
    let filled = |last: usize| {
        let mut kv = Kv::new();
        let quarter = KV_RANGE_BYTES_MAX / 4 - 16_384;
        assert!(quarter < KV_VALUE_BYTES_MAX);
        let sizes = [("a", quarter), ("b", quarter), ("c", quarter), ("d", quarter), ("e", last)];
        for (state_ndx, (key, value)) in (1..).zip(sizes) {
            let op = KvOp::Put { key: bytes(key), value: vec![0; value].into() };
            apply(&mut kv, state_ndx, &op).unwrap();
        }
        kv
    };
    let rest = 4 * 16_384 - 5;
    for (last, count) in [(rest - 1, 5), (rest, 5), (rest + 1, 4)] {
        let (entries, more) = range(&filled(last), "", None, 0);
        assert_eq!((entries.len(), more), (count, count < 5));
    }
}

#[test]
fn a_fork_does_not_see_what_comes_later() {
    let mut kv = Kv::new();
    apply(&mut kv, 1, &put("a", "1")).unwrap();
    let fork = kv.fork();
    apply(&mut kv, 2, &put("a", "2")).unwrap();
    apply(&mut kv, 3, &put("b", "2")).unwrap();
    assert_eq!(get(fork.as_ref(), "a"), Some((bytes("1"), 1, 1)));
    assert_eq!(get(fork.as_ref(), "b"), None);
    assert_eq!(get(&kv, "a"), Some((bytes("2"), 1, 2)));
}

#[test]
fn what_is_kept_does_not_keep_the_batch() {
    let mut kv = Kv::new();
    let operation = put("key", "value").encode();
    kv.apply(&context(1), &operation[1..]).unwrap();
    let held = operation.as_ptr_range();
    let entry = kv.state().entry(b"key").unwrap();
    assert!(!held.contains(&entry.value.as_ptr()));
    let (key, _) = kv.state().range(b"", None).next().unwrap();
    assert!(!held.contains(&key.as_ptr()));
}

#[test]
fn a_restored_application_is_the_same_and_a_damaged_one_is_not_taken() {
    let mut kv = Kv::new();
    for n in 1..200_u64 {
        apply(&mut kv, n, &put(&format!("key {}", n % 70), &"v".repeat(usize::try_from(n % 7).unwrap())))
            .unwrap();
    }
    apply(&mut kv, 200, &delete("key 3")).unwrap();
    let snapshot = kv.snapshot();
    let mut restored = Kv::new();
    restored.restore(&snapshot).unwrap();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.digest(), kv.digest());
    assert_eq!(restored.state().bytes(), kv.state().bytes());
    assert_eq!(
        apply(&mut restored, 201, &cas("key 5", Some(145), "x")),
        apply(&mut kv, 201, &cas("key 5", Some(145), "x"))
    );
    assert_eq!(restored.digest(), kv.digest());

    let before = restored.digest();
    for len in 0..snapshot.len() {
        assert!(restored.restore(&snapshot[..len]).is_err(), "{len} bytes were taken for a snapshot");
    }
    assert_eq!(restored.digest(), before, "a failed restore changed something");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut kv = Kv::new();
        apply(&mut kv, 1, &put("a", "1")).unwrap();
        let checked = kv.check(&bytes);
        let applied = kv.apply(&context(2), &bytes).map(drop);
        // What the entry refuses, execution refuses in the same words.
        if checked.is_err() {
            prop_assert_eq!(applied, checked);
        }
        let _ = kv.query(StateNdx(1), &bytes);
        let _ = kv.restore(&bytes);
        let mut snapshot = b"synod/kv/v1\0".to_vec();
        snapshot.extend_from_slice(&bytes);
        let _ = kv.restore(&snapshot);
    }
}
