//! A command is taken by a node while nobody leads, and the node is gone for good before anybody does: it is executed all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use synod_client::CommandOptions;
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put};

/// Who takes the command and dies, and who lives on beside it. Two of four lead nobody.
const TAKES: usize = 0;
const KEEPS: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_the_node_that_took_it() {
    let mut cluster = Cluster::start(4).await;
    eventually("somebody leads", async || cluster.leader(KV).await.is_some()).await;
    cluster.kill(2);
    cluster.kill(3);
    eventually("nobody leads any more", async || cluster.leader(KV).await.is_none()).await;

    let client = cluster.client_at(cluster.administrator(), TAKES);
    let waiting = tokio::spawn(async move {
        // Its node is killed, and nobody else is asked: that there is no answer is no fault.
        let _ = client.execute(KV, put("last", "words"), CommandOptions::default()).await;
    });
    eventually("the other node keeps it", async || {
        let metrics = cluster.readers.get(KEEPS, "/metrics").await.unwrap();
        let metrics = String::from_utf8_lossy(&metrics);
        metrics.lines().any(|line| line.starts_with(r#"synod_relayed_commands_total{what="kept"} 1"#))
    })
    .await;
    cluster.kill(TAKES);
    waiting.abort();

    for node in [2, 3] {
        cluster.spawn(node);
    }
    for node in [2, 3] {
        cluster.ready(node).await;
    }
    eventually("it is executed", async || {
        let read = cluster.readers.key(2, "last", "?consistency=linearizable", PATIENCE).await;
        read.and_then(|read| read.found).is_some_and(|(value, _)| value == "words")
    })
    .await;
    cluster.stop_all().await;
}
