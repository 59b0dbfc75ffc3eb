//! Leases, on the lease clock alone; and the locks on top of them.

mod stage;

use stage::{all, apply_in, ask, bytes, changes, commander, context, entry, expire, get, keys, put, refused};
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvLease, KvOp, KvQuery, KvReply, lock};
use synod_machine::{Application as _, Context};
use synod_types::limits::{KV_DELETE_MANY_BYTES_MAX, KV_DELETE_MANY_MAX, KV_KEY_BYTES_MAX, KV_LEASES_MAX};
use synod_types::{CommanderId, LeaseMs, RefusalCode, StateNdx};

/// The state, and the lease clock.
fn at(state_ndx: u64, clock: u64) -> Context {
    Context { clock: LeaseMs(clock), ..context(state_ndx) }
}

fn grant(kv: &mut Kv, state_ndx: u64, clock: u64, ttl_ms: u64) {
    assert_eq!(apply_in(kv, &at(state_ndx, clock), &KvOp::GrantLease { ttl_ms }), Ok(KvReply::Leased));
}

fn bind(key: &str, lease: u64) -> KvOp {
    KvOp::PutBound { key: bytes(key), value: bytes("v"), lease: StateNdx(lease) }
}

fn keep_alive(leases: &[u64]) -> KvOp {
    KvOp::KeepAlive { leases: leases.iter().map(|&lease| StateNdx(lease)).collect() }
}

fn kept(gone: &[u64]) -> Result<KvReply, synod_types::Refusal> {
    Ok(KvReply::KeptAlive { gone: gone.iter().map(|&lease| StateNdx(lease)).collect() })
}

fn lease(kv: &Kv, lease: u64) -> Option<(KvLease, Vec<bytes::Bytes>)> {
    match ask(kv, &KvQuery::Lease { lease: StateNdx(lease) }) {
        KvAnswer::Lease(found) => found,
        other => panic!("a lease was answered with {other:?}"),
    }
}

fn queue(kv: &Kv, prefix: bytes::Bytes, limit: u32) -> (Vec<KvEntry>, u64) {
    match ask(kv, &KvQuery::Queue { prefix, limit }) {
        KvAnswer::Queue { entries, count } => (entries, count),
        other => panic!("a queue was answered with {other:?}"),
    }
}

#[test]
fn a_lease_runs_out_with_its_keys_unless_it_is_kept_alive() {
    let mut kv = Kv::new();
    assert_eq!(kv.due(), None);
    grant(&mut kv, 1, 100, 1_000);
    grant(&mut kv, 2, 200, 5_000);
    assert_eq!(kv.due(), Some(LeaseMs(1_100)));
    apply_in(&mut kv, &at(3, 200), &bind("a", 1)).unwrap();
    apply_in(&mut kv, &at(4, 300), &bind("b", 1)).unwrap();
    apply_in(&mut kv, &at(5, 300), &bind("c", 2)).unwrap();
    assert_eq!(entry(&kv, "a").unwrap().lease, Some(StateNdx(1)));

    assert_eq!(apply_in(&mut kv, &at(6, 400), &keep_alive(&[1, 77])), kept(&[77]));
    assert_eq!(kv.due(), Some(LeaseMs(1_400)));
    let (known, bound) = lease(&kv, 1).unwrap();
    let commander = CommanderId::default();
    assert_eq!(known, KvLease { lease: StateNdx(1), ttl_ms: 1_000, left_ms: 1_000, commander });
    assert_eq!(bound, [bytes("a"), bytes("b")]);

    assert_eq!(expire(&mut kv, 7, 1_400), 2);
    assert_eq!(keys(&kv, "", None, 0).0, ["c"]);
    assert_eq!(lease(&kv, 1), None);
    assert_eq!(kv.due(), Some(LeaseMs(5_200)));
    let (states, _) = changes(&kv, 7, 6, all(), 0);
    assert!(states[0].changes.iter().all(|change| change.expired && change.entry.is_none()));
    assert_eq!(states[0].changes.len(), 2);
    assert_eq!(apply_in(&mut kv, &at(8, 1_400), &keep_alive(&[1, 2])), kept(&[1]), "it stays over");
    assert_eq!(refused(&mut kv, &at(9, 1_400), &bind("a", 1)), RefusalCode::Conflict);
}

#[test]
fn a_new_term_gives_each_lease_its_whole_time() {
    let mut kv = Kv::new();
    grant(&mut kv, 1, 0, 3_000);
    grant(&mut kv, 2, 0, 1_000);
    apply_in(&mut kv, &at(3, 0), &bind("a", 2)).unwrap();
    kv.on_new_term(LeaseMs(999));
    assert_eq!(kv.due(), Some(LeaseMs(1_999)));
    let left = |ndx| lease(&kv, ndx).unwrap().0.left_ms;
    assert_eq!((left(1), left(2)), (3_000, 1_000));
    assert_eq!(expire(&mut kv, 4, 1_999), 1);
    assert_eq!(kv.due(), Some(LeaseMs(3_999)));
}

#[test]
fn a_revoked_lease_takes_its_keys_along_which_did_not_expire() {
    let mut kv = Kv::new();
    grant(&mut kv, 1, 0, 1_000);
    apply_in(&mut kv, &at(2, 0), &bind("a", 1)).unwrap();
    apply_in(&mut kv, &at(3, 0), &put("b", "")).unwrap();
    let revoke = KvOp::RevokeLease { lease: StateNdx(1) };
    assert_eq!(apply_in(&mut kv, &at(4, 0), &revoke), Ok(KvReply::DeletedMany { count: 1 }));
    assert_eq!(keys(&kv, "", None, 0).0, ["b"]);
    assert_eq!(kv.due(), None);
    let (states, _) = changes(&kv, 4, 3, all(), 0);
    assert!(!states[0].changes[0].expired);
    assert_eq!(refused(&mut kv, &at(5, 0), &revoke), RefusalCode::Conflict);
}

#[test]
fn who_writes_a_bound_key_frees_it_but_counting_does_not() {
    let mut kv = Kv::new();
    grant(&mut kv, 1, 0, 1_000);
    grant(&mut kv, 2, 0, 2_000);
    for (ndx, key) in (3..).zip(["put", "cas", "other", "deleted"]) {
        apply_in(&mut kv, &at(ndx, 0), &bind(key, 1)).unwrap();
    }
    let number = KvOp::PutBound { key: bytes("n"), value: bytes("1"), lease: StateNdx(1) };
    apply_in(&mut kv, &at(7, 0), &number).unwrap();
    apply_in(&mut kv, &at(8, 0), &put("put", "")).unwrap();
    let cas = KvOp::CompareAndSet { key: bytes("cas"), expected: Some(StateNdx(4)), value: bytes("") };
    apply_in(&mut kv, &at(9, 0), &cas).unwrap();
    apply_in(&mut kv, &at(10, 0), &bind("other", 2)).unwrap();
    apply_in(&mut kv, &at(11, 0), &KvOp::Delete { key: bytes("deleted") }).unwrap();
    apply_in(&mut kv, &at(12, 0), &put("deleted", "")).unwrap();
    apply_in(&mut kv, &at(13, 0), &KvOp::Add { key: bytes("n"), delta: 1 }).unwrap();
    assert_eq!(lease(&kv, 1).unwrap().1, [bytes("n")]);
    assert_eq!(expire(&mut kv, 14, 1_000), 1);
    assert_eq!(keys(&kv, "", None, 0).0, ["cas", "deleted", "other", "put"]);
    assert_eq!(expire(&mut kv, 15, 2_000), 1);
    assert_eq!(keys(&kv, "", None, 0).0, ["cas", "deleted", "put"]);
}

#[test]
fn a_lease_is_its_commanders_own() {
    let mut kv = Kv::new();
    grant(&mut kv, 1, 0, 1_000);
    let other = |state_ndx| Context { commander: commander("other"), ..at(state_ndx, 10) };
    for op in [bind("a", 1), keep_alive(&[1]), keep_alive(&[7, 1]), KvOp::RevokeLease { lease: StateNdx(1) }]
    {
        assert_eq!(refused(&mut kv, &other(2), &op), RefusalCode::Conflict, "{op:?}");
    }
    let enter = lock::enter(b"l", StateNdx(1), bytes(""));
    assert_eq!(refused(&mut kv, &other(3), &enter), RefusalCode::Conflict);
    apply_in(&mut kv, &at(4, 10), &bind("a", 1)).unwrap();
    assert!(apply_in(&mut kv, &other(5), &put("a", "free")).is_ok(), "the key is not the lease's alone");
    assert_eq!(expire(&mut kv, 6, 1_000), 0);
    assert_eq!(get(&kv, "a"), Some((bytes("free"), 4, 5)));
}

#[test]
fn a_lease_has_10000_keys_of_4_mib_at_most() {
    let mut kv = Kv::new();
    grant(&mut kv, 1, 0, 1_000);
    grant(&mut kv, 2, 0, 1_000);
    let max = u64::try_from(KV_DELETE_MANY_MAX).unwrap();
    for n in 0..max {
        apply_in(&mut kv, &at(n + 3, 0), &bind(&format!("{n:05}"), 1)).unwrap();
    }
    let next = max + 3;
    assert_eq!(refused(&mut kv, &at(next, 0), &bind("more", 1)), RefusalCode::QuotaExceeded);
    assert!(apply_in(&mut kv, &at(next, 0), &bind("00000", 1)).is_ok(), "it is bound already");
    let fits = u64::try_from(KV_DELETE_MANY_BYTES_MAX / KV_KEY_BYTES_MAX).unwrap();
    let long = |n: u64| format!("{n:0width$}", width = KV_KEY_BYTES_MAX);
    for n in 0..fits {
        apply_in(&mut kv, &at(next + 1 + n, 0), &bind(&long(n), 2)).unwrap();
    }
    let next = next + 1 + fits;
    assert_eq!(refused(&mut kv, &at(next, 0), &bind("more", 2)), RefusalCode::QuotaExceeded);

    // Both have run out: what is too much for one command is left for the next one.
    assert_eq!(expire(&mut kv, next, 1_000), max);
    assert_eq!(kv.due(), Some(LeaseMs(1_000)));
    assert_eq!(expire(&mut kv, next + 1, 1_000), fits);
    assert_eq!((kv.due(), keys(&kv, "", None, 0).0.len()), (None, 0));
}

#[test]
fn there_are_100000_leases_at_most() {
    let mut kv = Kv::new();
    let max = u64::try_from(KV_LEASES_MAX).unwrap();
    for n in 1..=max {
        grant(&mut kv, n, 0, 1_000);
    }
    let one_more = KvOp::GrantLease { ttl_ms: 1_000 };
    assert_eq!(refused(&mut kv, &at(max + 1, 0), &one_more), RefusalCode::QuotaExceeded);
    apply_in(&mut kv, &at(max + 2, 0), &KvOp::RevokeLease { lease: StateNdx(1) }).unwrap();
    grant(&mut kv, max + 3, 0, 1_000);
    let mut after = None;
    let mut seen = 0;
    loop {
        let KvAnswer::Leases { leases, more } = ask(&kv, &KvQuery::Leases { after, limit: 0 }) else {
            panic!("leases were answered with something else")
        };
        seen += leases.len();
        after = leases.last().map(|lease| lease.lease);
        if !more {
            break;
        }
    }
    assert_eq!((seen, after), (KV_LEASES_MAX, Some(StateNdx(max + 3))));
    // All run out at once; one expiry ends no more of them than there may be keys.
    let mut ticks = 0;
    while kv.due().is_some() {
        ticks += 1;
        expire(&mut kv, max + 3 + ticks, 1_000);
    }
    assert_eq!(ticks, 10);
}

#[test]
fn the_first_in_a_queue_holds_the_lock_with_a_growing_token() {
    let mut kv = Kv::new();
    for n in 1..=3 {
        grant(&mut kv, n, 0, 1_000 * (4 - n));
    }
    let enter = |lease| lock::enter(b"db", StateNdx(lease), bytes("me"));
    for (ndx, lease) in [(4, 3), (5, 1), (6, 2), (7, 3)] {
        apply_in(&mut kv, &at(ndx, 0), &enter(lease)).unwrap();
    }
    apply_in(&mut kv, &at(8, 0), &put("db2/0", "another queue")).unwrap();
    apply_in(&mut kv, &at(9, 0), &put("db/backup/0", "another one")).unwrap();
    let members = |kv: &Kv, limit| {
        let (entries, count) = queue(kv, lock::prefix(b"db"), limit);
        let leases: Vec<_> = entries.iter().map(|entry| entry.lease.unwrap().0).collect();
        (leases, entries.first().map_or(0, |first| first.created.0), count)
    };
    assert_eq!(members(&kv, 0), (vec![3, 1, 2], 4, 3), "who enters twice keeps its place");
    assert_eq!(members(&kv, 1), (vec![3], 4, 3));
    expire(&mut kv, 10, 1_000);
    assert_eq!(members(&kv, 0), (vec![1, 2], 5, 2), "the lease of the holder ran out");
    apply_in(&mut kv, &at(11, 1_000), &lock::leave(b"db", StateNdx(1))).unwrap();
    assert_eq!(members(&kv, 0), (vec![2], 6, 1));
    apply_in(&mut kv, &at(12, 1_000), &enter(1)).unwrap();
    assert_eq!(members(&kv, 0), (vec![2, 1], 6, 2), "who comes back stands at the end");
}
