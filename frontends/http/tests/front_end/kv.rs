//! Keys as they were, their history, leases, locks and usage.

use bytes::Bytes;
use serde_json::json;
use synod_app_kv::{KvChange, KvOp, KvTxn, lock};
use synod_types::StateNdx;

use crate::house::{House, ask, commander};

#[tokio::test]
async fn keys_are_read_as_they_were() {
    let mut house = House::open().await;
    house.put(b"a", b"first");
    house.put(b"b", b"other");
    house.put(b"a", b"second");
    house.execute(&KvOp::Delete { key: Bytes::from_static(b"a") });
    for (at, body) in [(1, "first"), (2, "first"), (3, "second")] {
        let answer = house.get(&format!("/v1/apps/1/kv/a?at={at}")).await;
        assert_eq!((answer.status, answer.body), (200, body.as_bytes().to_vec()), "at {at}");
        let last_change = if at == 3 { "3" } else { "1" };
        assert_eq!(
            (&answer.headers["state-ndx"][..], &answer.headers["last-change"][..]),
            ("4", last_change)
        );
    }
    for at in [0, 4] {
        let answer = house.get(&format!("/v1/apps/1/kv/a?at={at}")).await;
        let json = answer.assert_problem(404, "no-such-key", "/v1/apps/1/kv/a");
        assert!(json["detail"].as_str().unwrap().ends_with(&format!("in state {at}")), "{json}");
    }

    let page = house.get("/v1/apps/1/kv?at=2&limit=1").await.json();
    let next = "/v1/apps/1/kv?prefix=&after=a&limit=1&at=2&min=4";
    assert_eq!((&page["at"], &page["stateNdx"], &page["next"]), (&2.into(), &4.into(), &next.into()));
    assert_eq!(page["entries"][0]["value"], "first");
    let page = house.get(next).await.json();
    assert_eq!(
        (&page["entries"], &page["more"]),
        (&json!([{"key": "b", "value": "other", "created": 2, "changed": 2}]), &false.into())
    );
}

#[tokio::test]
async fn a_state_to_come_is_waited_for_and_a_forgotten_one_is_gone() {
    let mut house = House::open().await;
    let addr = house.addr();
    house.put(b"a", b"first");
    house.get("/v1/apps/1/kv/a?at=2&wait=0").await.assert_problem(504, "timeout", "/v1/apps/1/kv/a");
    let waiting = tokio::spawn(async move { ask(addr, "GET", "/v1/apps/1/kv/a?at=2&wait=30s").await });
    house.put(b"a", b"second");
    assert_eq!(waiting.await.unwrap().body, b"second");

    house.execute(&KvOp::Compact { through: StateNdx(2) });
    assert_eq!(house.get("/v1/apps/1/kv/a?at=2").await.body, b"second");
    for target in ["/v1/apps/1/kv/a", "/v1/apps/1/kv"] {
        let json = house.get(&format!("{target}?at=1")).await.assert_problem(410, "compacted", target);
        assert_eq!(json["oldest"], 2, "{json}");
    }
}

#[tokio::test]
async fn a_key_has_a_history() {
    let mut house = House::open().await;
    house.put(b"a/b", b"first");
    house.put(b"a", b"other");
    house.execute(&KvOp::Delete { key: Bytes::from_static(b"a/b") });
    house.put(b"a/b", b"\xff");
    let page = house.get("/v1/apps/1/history/a/b?limit=2").await.json();
    let next = "/v1/apps/1/history/a/b?before=3&limit=2&min=4";
    let expected = json!({
        "appNdx": 1, "stateNdx": 4, "key": "a/b", "oldest": 0, "more": true, "next": next,
        "versions": [
            {"changed": 4, "removed": false, "valueBase64": "/w==", "created": 4},
            {"changed": 3, "removed": true},
        ],
    });
    assert_eq!(page, expected);
    let page = house.get(next).await.json();
    let first = json!([{"changed": 1, "removed": false, "value": "first", "created": 1}]);
    assert_eq!((&page["versions"], &page["more"], &page["next"]), (&first, &false.into(), &().into()));
    house.get("/v1/apps/1/history/b").await.assert_problem(404, "no-such-key", "/v1/apps/1/history/b");
    house.get("/v1/apps/2/history/b").await.assert_problem(404, "wrong-kind", "/v1/apps/2/history/b");
}

#[tokio::test]
async fn leases_are_listed_and_shown_with_their_keys() {
    let mut house = House::open().await;
    house.execute(&KvOp::GrantLease { ttl_ms: 5000 });
    house.execute(&KvOp::GrantLease { ttl_ms: 7000 });
    let bound = |key: &'static [u8]| KvOp::PutBound {
        key: Bytes::from_static(key),
        value: Bytes::new(),
        lease: StateNdx(1),
    };
    house.execute(&bound(b"x"));
    house.execute(&bound(b"\xfe"));
    // A millisecond passes from one command of the house to the next.
    let lease = |lease: u64, ttl_ms: u64| {
        let left_ms = ttl_ms - (4 - lease);
        json!({"lease": lease, "ttlMs": ttl_ms, "leftMs": left_ms, "commander": commander().to_string()})
    };
    let page = house.get("/v1/apps/1/leases?limit=1").await.json();
    let next = "/v1/apps/1/leases?after=1&limit=1&min=4";
    assert_eq!((&page["leases"], &page["next"]), (&json!([lease(1, 5000)]), &next.into()));
    assert_eq!(house.get(next).await.json()["leases"], json!([lease(2, 7000)]));

    let shown = house.get("/v1/apps/1/leases/1").await.json();
    assert_eq!(shown["keys"], json!([{"key": "x"}, {"keyBase64": "/g=="}]));
    assert_eq!((&shown["ttlMs"], &shown["stateNdx"]), (&5000.into(), &4.into()));
    let entries = house.get("/v1/apps/1/kv").await.json()["entries"].clone();
    assert_eq!(entries[0], json!({"key": "x", "value": "", "created": 3, "changed": 3, "lease": 1}));
    house.get("/v1/apps/1/leases/3").await.assert_problem(404, "no-such-lease", "/v1/apps/1/leases/3");
    house.get("/v1/apps/1/leases/x").await.assert_problem(400, "invalid-path", "/v1/apps/1/leases/x");
}

#[tokio::test]
async fn a_lock_shows_its_holder_and_who_waits() {
    let mut house = House::open().await;
    let addr = house.addr();
    let free = house.get("/v1/apps/1/locks/db/backup").await.json();
    let expected = json!({"appNdx": 1, "stateNdx": 0, "name": "db/backup", "holder": null, "waiting": [], "waitingCount": 0});
    assert_eq!(free, expected);
    for n in 1..=2_u64 {
        house.execute(&KvOp::GrantLease { ttl_ms: 5000 });
        let value = Bytes::from(format!("host{n}"));
        house.execute(&lock::enter(b"db/backup", StateNdx(2 * n - 1), value));
    }
    // Another lock, whose name begins with this one's, has a queue of its own.
    house.execute(&KvOp::GrantLease { ttl_ms: 5000 });
    house.execute(&lock::enter(b"db", StateNdx(5), Bytes::new()));
    let held = house.get("/v1/apps/1/locks/db/backup").await.json();
    assert_eq!(held["holder"], json!({"fencingToken": 2, "lease": 1, "value": "host1"}));
    assert_eq!(held["waiting"], json!([{"fencingToken": 4, "lease": 3, "value": "host2"}]));
    let other = house.get("/v1/apps/1/locks/db").await.json();
    assert_eq!((&other["holder"]["fencingToken"], &other["waitingCount"]), (&6.into(), &0.into()));

    let target = "/v1/apps/1/locks/db/backup?after=6&wait=30";
    let waiting = tokio::spawn(async move { ask(addr, "GET", target).await });
    house.put(b"elsewhere", b"");
    house.execute(&KvOp::RevokeLease { lease: StateNdx(1) });
    let passed_on = waiting.await.unwrap().json();
    assert_eq!(passed_on["holder"], json!({"fencingToken": 4, "lease": 3, "value": "host2"}));
    assert_eq!((&passed_on["stateNdx"], &passed_on["waitingCount"]), (&8.into(), &0.into()));
    let unchanged = house.get("/v1/apps/1/locks/db/backup?after=8&wait=0").await.json();
    assert_eq!(unchanged["holder"]["fencingToken"], 4, "it says how things stand when the time is over");
}

#[tokio::test]
async fn usage_says_how_much_is_kept() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    house.execute(&KvOp::Txn(KvTxn {
        then: vec![
            KvChange::Put { key: Bytes::from_static(b"b"), value: Bytes::new(), lease: None },
            KvChange::Delete { key: Bytes::from_static(b"a") },
        ],
        ..KvTxn::default()
    }));
    house.execute(&KvOp::GrantLease { ttl_ms: 5000 });
    let usage = house.get("/v1/apps/1/usage").await.json();
    assert_eq!((&usage["keys"], &usage["leases"], &usage["stateNdx"]), (&1.into(), &1.into(), &3.into()));
    assert_eq!((&usage["history"]["oldest"], &usage["history"]["states"]), (&0.into(), &2.into()));
    assert!(usage["bytes"].as_u64().unwrap() > 0 && usage["quotaBytes"].as_u64().unwrap() > 0, "{usage}");
}
