//! HTTP and DNS in a process of their own: they answer what the node answers, and each of the two comes and goes without the other.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use reqwest::StatusCode;
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::front::{Fronts, of_node};
use synod_cluster::{Cluster, KV, eventually, put};

/// A cluster of one node, with front ends that run.
async fn stage() -> (Cluster, Fronts) {
    let mut cluster = Cluster::found(1);
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    let mut fronts = Fronts::of(&cluster, 0);
    fronts.start().await;
    (cluster, fronts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_read_over_them() {
    let (mut cluster, mut fronts) = stage().await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut last = 0;
    for n in 0..20 {
        let written = client.execute(KV, put("key", format!("value {n}")), CommandOptions::default()).await;
        last = written.unwrap().state_ndx.0;
        let read = fronts.get(&format!("/v1/apps/kv/kv/key?min={last}&wait=30")).await;
        assert_eq!(
            (read.status, &read.body[..]),
            (StatusCode::OK, format!("value {n}").as_bytes()),
            "{read:?}"
        );
        assert_eq!(read.header("state-ndx"), last.to_string());
    }
    let newest = fronts.get("/v1/apps/kv/kv/key?consistency=linearizable").await;
    assert_eq!((newest.status, newest.header("state-ndx")), (StatusCode::OK, &*last.to_string()));

    // They go, and the node does not notice; they come, and have what was written meanwhile.
    fronts.kill();
    let written = client.execute(KV, put("key", "meanwhile"), CommandOptions::default()).await.unwrap();
    fronts.start().await;
    let path = "/v1/apps/kv/kv/key";
    let read = fronts.get(path).await;
    assert_eq!(
        (&read.body[..], read.header("state-ndx")),
        (&b"meanwhile"[..], &*written.state_ndx.to_string())
    );

    // The node goes, and they answer what was there; it comes, and they go on.
    cluster.stop(0).await;
    eventually("they notice", async || fronts.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    assert_eq!(fronts.get(path).await.body, read.body);
    let nobody = fronts.get("/v1/apps/kv/kv/key?consistency=linearizable").await;
    assert_eq!((nobody.status, &*nobody.problem()), (StatusCode::SERVICE_UNAVAILABLE, "no-leader"));
    cluster.spawn(0);
    cluster.ready(0).await;
    let written = client.execute(KV, put("key", "again"), CommandOptions::default()).await.unwrap();
    let read = fronts.get(&format!("{path}?min={}&wait=30", written.state_ndx)).await;
    assert_eq!((&read.body[..], read.status), (&b"again"[..], StatusCode::OK));
    assert_eq!(of_node(&cluster, 0, path).await.body, read.body);
    eventually("they are ready", async || fronts.get("/readyz").await.status == StatusCode::OK).await;
    fronts.stop().await;
    cluster.stop(0).await;
}
