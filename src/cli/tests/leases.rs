//! Leases of real processes: they run out everywhere in the same state, and not because a leader was killed or stood
//! still.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_app_kv::{KvOp, KvReply};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_gateway::ClusterStatus;
use synod_types::{Outcome, Receipt, StateNdx};

use synod_cluster::{Cluster, KV, Readers, State, eventually};

const NODES: usize = 3;
/// What is kept alive lasts so long: far longer than a command takes.
const KEPT_MS: u64 = 4000;
/// What is not, so long.
const LEFT_MS: u64 = 1000;

async fn execute(client: &Client, op: &KvOp) -> Receipt {
    client.execute(KV, op.encode().into(), CommandOptions::default()).await.unwrap()
}

/// Grants a lease and binds a key to it; gives its name and the state in which it has that key.
async fn lease(client: &Client, ttl_ms: u64, key: &str) -> (StateNdx, StateNdx) {
    let lease = execute(client, &KvOp::GrantLease { ttl_ms }).await.state_ndx;
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"value"));
    let bound = execute(client, &KvOp::PutBound { key, value, lease }).await;
    assert!(matches!(bound.outcome, Outcome::Done(_)), "{bound:?}");
    (lease, bound.state_ndx)
}

/// Keeps a lease alive for so long, without a break; it is there each time.
async fn keep_alive(client: &Client, lease: StateNdx, for_ms: u64) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(for_ms) {
        let receipt = execute(client, &KvOp::KeepAlive { leases: vec![lease] }).await;
        let Outcome::Done(answer) = &receipt.outcome else { panic!("{receipt:?}") };
        assert_eq!(KvReply::decode(answer).unwrap(), KvReply::KeptAlive { gone: Vec::new() });
    }
}

async fn has_key(readers: &Readers, n: usize, key: &str) -> bool {
    readers.entries(n).await.entries.iter().any(|entry| entry.key == key)
}

/// The node that leads, by the word of another one.
async fn leader(cluster: &Cluster, asked: usize) -> usize {
    let mut leader = None;
    eventually("there is a leader", async || {
        let status: Result<ClusterStatus, _> = cluster.readers.get_json(asked, "/v1/cluster").await;
        let apps = status.map(|status| status.apps).unwrap_or_default();
        leader = apps.into_iter().find(|app| app.app_ndx == KV).and_then(|app| app.leader);
        leader.is_some()
    })
    .await;
    let leader = leader.unwrap().name;
    (0..cluster.len()).find(|&n| cluster.name(n) == leader).unwrap()
}

fn signal(cluster: &Cluster, n: usize, signal: &str) {
    let pid = cluster.pid(n).to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test]
async fn what_is_not_kept_alive_ends_everywhere_in_the_same_state() {
    let mut cluster = Cluster::start(NODES).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let (_, bound) = lease(&client, LEFT_MS, "left").await;
    let mut states: Vec<State> = Vec::new();
    for n in 0..NODES {
        let readers = cluster.readers.clone();
        eventually("the key is gone", async || {
            // Not before the node has had it.
            let page = readers.entries(n).await;
            page.state_ndx > bound && page.entries.is_empty()
        })
        .await;
        states.push(cluster.readers.state(n, "").await.unwrap());
    }
    assert_eq!(states[0].state_ndx, StateNdx(bound.0 + 1), "the expiry is a state of its own");
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");

    // Who starts again finds the same, from its log.
    cluster.kill(0);
    cluster.spawn(0);
    cluster.ready(0).await;
    let again = cluster.readers.state(0, &format!("?min={}", states[0].state_ndx)).await.unwrap();
    assert_eq!(again, states[0]);
    client.close().await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn what_is_kept_alive_outlives_its_leaders() {
    let mut cluster = Cluster::start(NODES).await;
    let first = leader(&cluster, 0).await;
    let entry = (first + 1) % NODES;
    let client = cluster.client(cluster.administrator(), entry, Timeouts::default());
    let (kept, _) = lease(&client, KEPT_MS, "kept").await;
    lease(&client, LEFT_MS, "left").await;

    cluster.kill(first);
    keep_alive(&client, kept, 2 * KEPT_MS).await;
    cluster.spawn(first);
    cluster.ready(first).await;

    // The next leader stands still for longer than the lease lasts, and others lead meanwhile.
    let second = leader(&cluster, entry).await;
    let other = (0..NODES).find(|&n| n != second).unwrap();
    let elsewhere = cluster.client(cluster.administrator(), other, Timeouts::default());
    signal(&cluster, second, "-STOP");
    keep_alive(&elsewhere, kept, 2 * KEPT_MS).await;
    signal(&cluster, second, "-CONT");
    keep_alive(&elsewhere, kept, KEPT_MS).await;

    let last = execute(&elsewhere, &KvOp::KeepAlive { leases: vec![kept] }).await.state_ndx;
    for n in 0..NODES {
        let readers = cluster.readers.clone();
        eventually("the node has executed it all", async || {
            readers.state(n, "").await.is_ok_and(|state| state.state_ndx >= last)
        })
        .await;
        assert!(!has_key(&cluster.readers, n, "left").await);
    }
    // Nobody keeps it alive any more.
    let mut states: Vec<State> = Vec::new();
    for n in 0..NODES {
        let readers = cluster.readers.clone();
        eventually("the key is gone", async || !has_key(&readers, n, "kept").await).await;
        states.push(cluster.readers.state(n, "").await.unwrap());
    }
    assert_eq!(states[0].state_ndx, StateNdx(last.0 + 1), "only that has changed since");
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    client.close().await;
    elsewhere.close().await;
    cluster.stop_all().await;
}
