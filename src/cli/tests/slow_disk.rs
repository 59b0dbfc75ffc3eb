//! A disk that became slow, and fails nothing: its node has others lead.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::time::Duration;

use synod_chaos::failing::Failpoints;
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, eventually, put};
use synod_types::{Outcome, Seq};

/// Far more than a sync takes here, and far less than what would be taken for a disk that does not answer.
const SLOW: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_has_others_lead() {
    let mut cluster = Cluster::found(3);
    let disks = Failpoints::new(&mut cluster);
    cluster.try_start_all().await.unwrap();
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut seq = 0;
    let mut write = async || {
        seq += 1;
        let operation = put(format!("k{seq}"), "v");
        let command = client.commander().sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
        let receipt = client.submit(&command).await.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
    };
    write().await;
    let slow = cluster.leader(KV).await.unwrap();
    disks.slow(slow, SLOW);
    eventually("another node leads", async || {
        write().await;
        cluster.leader(KV).await.is_some_and(|leader| leader != slow)
    })
    .await;
    assert!(cluster.log(slow).contains("much slower than those of the others"), "{}", cluster.log(slow));
    for _ in 0..20 {
        write().await;
    }
    assert_ne!(cluster.leader(KV).await, Some(slow));
    disks.heal(slow);
}
