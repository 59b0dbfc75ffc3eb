//! Every node is restarted in turn while clients write: no command fails, and none is executed twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_app_kv::KvOp;
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, eventually};
use synod_types::Outcome;
use tokio::task::JoinSet;

const WRITERS: usize = 8;
/// Writes between one restart and the next.
const BETWEEN: u64 = 200;

/// Adds one to a number until it is told to stop; gives how often, and how long the slowest took.
async fn count(client: Client, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (u64, Duration) {
    let add: Bytes = KvOp::Add { key: Bytes::from_static(b"count"), delta: 1 }.encode().into();
    let (mut added, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let receipt = client.execute(KV, add.clone(), CommandOptions::default()).await.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        slowest = slowest.max(begun.elapsed());
        added += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    (added, slowest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_write_and_doubles_none() {
    let mut cluster = Cluster::start(3).await;
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(count(client.clone(), Arc::clone(&done), Arc::clone(&stop)));
    }
    for n in 0..cluster.len() {
        let before = done.load(Ordering::Relaxed);
        eventually("writes go on", async || done.load(Ordering::Relaxed) >= before + BETWEEN).await;
        cluster.stop(n).await;
        cluster.spawn(n);
        cluster.ready(n).await;
    }
    stop.store(true, Ordering::Relaxed);
    let counted =
        tokio::time::timeout(PATIENCE, writers.join_all()).await.expect("every writer comes to its end");
    let added: u64 = counted.iter().map(|(added, _)| added).sum();
    let slowest = counted.into_iter().map(|(_, slowest)| slowest).max().unwrap();
    eprintln!("{added} writes, the slowest took {slowest:?}");
    for n in 0..cluster.len() {
        let read = cluster.readers.key(n, "count", "?consistency=linearizable", PATIENCE).await.unwrap();
        assert_eq!(read.found.unwrap().0, added.to_string(), "as often as it was acknowledged");
    }
    client.close().await;
    cluster.stop_all().await;
}
