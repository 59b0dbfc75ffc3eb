//! A node whose disk was lost and that comes back with an empty directory under its old key has forgotten what it promised. The
//! others refuse it, and it ends and says what to do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, put};
use synod_types::{Outcome, Seq};

const LOST: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_its_disk_does_not_come_back_as_who_it_was() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let write = async |seq: u64| {
        let operation = put(format!("k{seq}"), format!("{seq}"));
        let command = client.commander().sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
        let receipt = client.submit(&command).await.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        receipt.state_ndx
    };
    write(1).await;
    cluster.stop(LOST).await;
    let data_dir = cluster.data_dir(LOST);
    let kept = data_dir.with_extension("kept");
    std::fs::rename(&data_dir, &kept).unwrap();

    cluster.spawn(LOST);
    let status = cluster.ended(LOST).await;
    let log = cluster.log(LOST);
    assert_eq!(status.code(), Some(1), "{log}");
    let last_words = log.lines().last().unwrap();
    for expected in ["error", "another data directory", "forgotten what it promised", "synod member replace"]
    {
        assert!(last_words.contains(expected), "{expected:?} is not what ends\n{log}");
    }
    write(2).await;

    // It was not lost after all.
    std::fs::remove_dir_all(&data_dir).unwrap();
    std::fs::rename(&kept, &data_dir).unwrap();
    cluster.spawn(LOST);
    cluster.ready(LOST).await;
    let last = write(3).await;
    cluster.readers.state(LOST, &format!("?min={last}&wait=30")).await.unwrap();
    client.close().await;
    cluster.stop_all().await;
}
