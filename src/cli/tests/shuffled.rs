//! Commands that come doubled, out of order and to different servers are executed once each, in one order everywhere (the promise of
//! paxos_go, with its own example).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeMap;

use synod_client::CommandOptions;
use synod_cluster::{Cluster, KV, put};
use synod_types::{Outcome, Seq, StateNdx};
use tokio::task::JoinSet;

/// As they are submitted: 1, 2, 3 and 6 twice each, and nothing in its place.
const SUBMITTED: [u64; 11] = [1, 2, 3, 6, 3, 2, 6, 5, 4, 1, 7];
const COMMANDS: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_doubled_and_unordered_to_different_servers_is_executed_once_in_one_order() {
    let mut cluster = Cluster::start(3).await;
    let clients: Vec<_> =
        (0..cluster.len()).map(|node| cluster.client_at(cluster.administrator(), node)).collect();
    let before = cluster.readers.state(0, "?consistency=linearizable").await.unwrap().state_ndx;
    let commander = clients[0].commander();
    let sign = |n: u64| {
        let work = put(format!("command {n}"), "done");
        (n, commander.sign(KV, Seq(n), work, CommandOptions::default()).unwrap())
    };
    let signed: BTreeMap<_, _> = (1..=COMMANDS).map(sign).collect();
    let mut submissions = JoinSet::new();
    for (place, n) in SUBMITTED.into_iter().enumerate() {
        let (client, command) = (clients[place % clients.len()].clone(), signed[&n].clone());
        submissions.spawn(async move { (n, client.submit(&command).await.unwrap()) });
    }
    let mut states: BTreeMap<u64, StateNdx> = BTreeMap::new();
    for (n, receipt) in submissions.join_all().await {
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{n}: {receipt:?}");
        let first = *states.entry(n).or_insert(receipt.state_ndx);
        assert_eq!(first, receipt.state_ndx, "command {n} has one place, whoever was asked");
    }
    let mut places: Vec<StateNdx> = states.into_values().collect();
    places.sort();
    let expected: Vec<StateNdx> = (1..=COMMANDS).map(|n| StateNdx(before.0 + n)).collect();
    assert_eq!(places, expected, "each was executed once, and nothing else");

    let last = expected.last().unwrap();
    let mut seen = Vec::new();
    for node in 0..cluster.len() {
        let state = cluster.readers.state(node, &format!("?min={last}&wait=30")).await.unwrap();
        let order: Vec<_> = cluster.readers.entries(node).await.entries;
        let order: BTreeMap<_, _> = order.into_iter().map(|entry| (entry.changed, entry.key)).collect();
        assert_eq!(order.len(), expected.len());
        seen.push((state, order));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    for client in clients {
        client.close().await;
    }
    cluster.stop_all().await;
}
