//! What a key holds is proved, whatever changed it, and an answer that says something else is not.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod stage;

use bytes::Bytes;
use stage::{apply, apply_in, ask, bytes, context, delete, expire, put, refused};
use synod_app_kv::proof::{KvProofError, verify};
use synod_app_kv::{Kv, KvAnswer, KvChange, KvEntry, KvOp, KvQuery, KvSettings, KvTxn};
use synod_machine::{Application as _, Context};
use synod_merkle::Proof;
use synod_types::{Digest, LeaseMs, StateNdx};

fn prove(kv: &Kv, key: &str) -> (Option<KvEntry>, Proof) {
    match ask(kv, &KvQuery::Prove { key: bytes(key) }) {
        KvAnswer::Proved { entry, proof } => (entry, proof),
        other => panic!("a proof was answered with {other:?}"),
    }
}

/// Each of these keys is proved, there or not, and the root is that of the same state made anew.
#[track_caller]
fn assert_proved(kv: &Kv, keys: &[&str]) {
    let root = kv.root();
    for key in keys {
        let (entry, proof) = prove(kv, key);
        assert_eq!(entry.is_some(), stage::entry(kv, key).is_some());
        assert_eq!(verify(&root, key.as_bytes(), entry.as_ref(), &proof), Ok(()), "{key}");
    }
    let mut restored = Kv::new();
    restored.restore(&kv.snapshot()).unwrap();
    assert_eq!(restored.root(), root, "a restored state has another root");
}

#[test]
fn whatever_changes_a_key_changes_the_root() {
    let mut kv = Kv::new();
    let keys = ["a", "b", "c", "leased"];
    let mut roots = vec![kv.root()];
    let mut after = |kv: &Kv| {
        assert_proved(kv, &keys);
        let root = kv.root();
        assert!(!roots.contains(&root), "the root of an earlier state");
        roots.push(root);
    };
    apply(&mut kv, 1, &put("a", "1")).unwrap();
    after(&kv);
    apply(&mut kv, 2, &put("b", "1")).unwrap();
    after(&kv);
    // The same value, and another state that wrote it.
    apply(&mut kv, 3, &put("a", "1")).unwrap();
    after(&kv);
    apply(&mut kv, 4, &delete("b")).unwrap();
    after(&kv);
    let then = vec![
        KvChange::Put { key: bytes("b"), value: bytes("2"), lease: None },
        KvChange::Delete { key: bytes("a") },
        KvChange::Put { key: bytes("c"), value: bytes("3"), lease: None },
    ];
    apply(&mut kv, 5, &KvOp::Txn(KvTxn { compare: vec![], then, otherwise: vec![] })).unwrap();
    after(&kv);
    apply(&mut kv, 6, &KvOp::GrantLease { ttl_ms: 1_000 }).unwrap();
    let leased = KvChange::Put { key: bytes("leased"), value: bytes("x"), lease: Some(StateNdx(6)) };
    apply(&mut kv, 7, &KvOp::Txn(KvTxn { compare: vec![], then: vec![leased], otherwise: vec![] })).unwrap();
    after(&kv);
    assert_eq!(prove(&kv, "leased").0.unwrap().lease, Some(StateNdx(6)));
    assert_eq!(expire(&mut kv, 8, 2_000), 1);
    // As before the lease.
    assert_proved(&kv, &keys);
    assert_eq!(kv.root(), roots[5]);
    assert_eq!(prove(&kv, "leased").0, None);
}

#[test]
fn what_is_taken_back_leaves_no_trace() {
    let mut kv = Kv::new();
    apply(&mut kv, 1, &put("a", "1")).unwrap();
    let root = kv.root();
    let then = vec![
        KvChange::Put { key: bytes("a"), value: bytes("2"), lease: None },
        KvChange::Put { key: bytes("b"), value: bytes("2"), lease: None },
        // There is no such lease, so nothing of this is done.
        KvChange::Put { key: bytes("c"), value: bytes("2"), lease: Some(StateNdx(77)) },
    ];
    let txn = KvOp::Txn(KvTxn { compare: vec![], then, otherwise: vec![] });
    refused(&mut kv, &context(2), &txn);
    assert_eq!(kv.root(), root);
    assert_proved(&kv, &["a", "b", "c"]);
}

#[test]
fn a_fork_keeps_its_root_and_its_proofs() {
    let mut kv = Kv::new();
    for n in 1..=500 {
        apply(&mut kv, n, &put(&format!("key {}", n % 100), "1")).unwrap();
    }
    let fork = kv.fork();
    let root = fork.root();
    for n in 501..=600 {
        apply(&mut kv, n, &put(&format!("key {}", n % 100), "2")).unwrap();
        assert_ne!(kv.root(), root);
    }
    assert_eq!(fork.root(), root);
    let answer = fork.query(StateNdx(500), &KvQuery::Prove { key: bytes("key 7") }.encode()).unwrap();
    let KvAnswer::Proved { entry, proof } = KvAnswer::decode(&answer).unwrap() else { panic!("no proof") };
    assert_eq!(entry.as_ref().unwrap().value, "1");
    assert_eq!(verify(&root, b"key 7", entry.as_ref(), &proof), Ok(()));
    assert!(matches!(
        verify(&kv.root(), b"key 7", entry.as_ref(), &proof),
        Err(KvProofError::OtherRoot { .. })
    ));
}

/// Where little history is kept, what changed is found without it; where it is compacted, too.
#[test]
fn history_is_not_needed() {
    let settings = |states| KvSettings { history_states: Some(states), ..KvSettings::default() };
    for states in [0, 3, 1_000_000] {
        let mut kv = Kv::new();
        apply(&mut kv, 1, &KvOp::Configure(settings(states))).unwrap();
        for n in 2..200 {
            let key = format!("key {}", n * 7 % 50);
            apply(&mut kv, n, &if n % 5 == 0 { delete(&key) } else { put(&key, &n.to_string()) }).ok();
            if n % 7 == 0 {
                assert_proved(&kv, &[&key, "key 3", "none"]);
            }
            if n % 20 == 0 {
                apply(&mut kv, n + 1000, &KvOp::Compact { through: StateNdx(n) }).ok();
            }
        }
        assert_proved(&kv, &["key 1", "key 2", "none"]);
    }
}

#[test]
fn an_answer_that_was_changed_is_refused() {
    let mut kv = Kv::new();
    for n in 1..=100 {
        apply(&mut kv, n, &put(&format!("key {n}"), &format!("value {n}"))).unwrap();
    }
    let root = kv.root();
    let (entry, proof) = prove(&kv, "key 7");
    let entry = entry.unwrap();
    let check = |entry: Option<&KvEntry>| verify(&root, b"key 7", entry, &proof);
    assert_eq!(check(Some(&entry)), Ok(()));
    let other = Err(KvProofError::OtherEntry);
    assert_eq!(check(Some(&KvEntry { value: bytes("value 8"), ..entry.clone() })), other);
    assert_eq!(check(Some(&KvEntry { value: Bytes::new(), ..entry.clone() })), other);
    assert_eq!(check(Some(&KvEntry { created: StateNdx(6), ..entry.clone() })), other);
    assert_eq!(check(Some(&KvEntry { changed: StateNdx(8), ..entry.clone() })), other);
    assert_eq!(check(Some(&KvEntry { lease: Some(StateNdx(1)), ..entry.clone() })), other);
    assert_eq!(check(Some(&KvEntry { key: bytes("key 8"), ..entry.clone() })), Err(KvProofError::OtherKey));
    assert_eq!(check(None), Err(KvProofError::Present));

    let (none, absent) = prove(&kv, "key 700");
    assert_eq!(none, None);
    assert_eq!(verify(&root, b"key 700", None, &absent), Ok(()));
    assert_eq!(
        verify(&root, b"key 700", Some(&KvEntry { key: bytes("key 700"), ..entry.clone() }), &absent),
        Err(KvProofError::Absent)
    );
    let bare = Digest::default();
    assert!(matches!(verify(&bare, b"key 7", Some(&entry), &proof), Err(KvProofError::OtherRoot { .. })));
}

#[test]
fn a_new_term_changes_no_root() {
    let mut kv = Kv::new();
    let at = Context { clock: LeaseMs(10), ..context(1) };
    apply_in(&mut kv, &at, &KvOp::GrantLease { ttl_ms: 5_000 }).unwrap();
    let root = kv.root();
    kv.on_new_term(LeaseMs(500));
    assert_eq!(kv.root(), root);
}
