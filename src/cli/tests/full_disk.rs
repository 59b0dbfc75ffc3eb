//! The disk of one node that keeps no reserve fills up: that node says so and ends, the others go on, and it comes back where there is room.
//!
//! Needs a file system of its own, which takes root; anybody else is told that nothing was tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::process::Command;

use synod_client::{CommandOptions, Timeouts};
use synod_cluster::disk::Disk;
use synod_cluster::{Cluster, KV, eventually, put};
use synod_types::{Outcome, Seq, StateNdx};

/// Room for a new journal and some hundred commands.
const DISK: &str = "24m";
const VALUE_BYTES: usize = 64 << 10;
/// Many times what the disk can hold.
const COMMANDS_MAX: u64 = 3_000;
/// Commands that the two others execute afterwards.
const COMMANDS_AFTER: u64 = 20;

fn value(seq: u64) -> Vec<u8> {
    format!("{seq:08}").repeat(VALUE_BYTES / 8).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_full_disk_ends_and_the_others_go_on() {
    fill_the_disk_of(2).await;
}

/// The second node is the one that is preferred to lead application 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_full_disk_ends_and_the_others_go_on() {
    fill_the_disk_of(1).await;
}

async fn fill_the_disk_of(full: usize) {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&directory.path().join("disk"), DISK) else {
        eprintln!("SKIPPED, nothing was tested: mounting a small file system takes root");
        return;
    };
    // Declared behind the disk, so that its nodes are gone before the disk is unmounted.
    let mut cluster = Cluster::found(3);
    let small = disk.path().join("data");
    cluster.founded.nodes[full].config = cluster.with_data_dir(full, "small.toml", &small, Some(0));
    for node in 0..cluster.len() {
        cluster.spawn(node);
    }
    for node in 0..cluster.len() {
        cluster.ready(node).await;
    }
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let write = async |seq: u64| -> StateNdx {
        let operation = put(format!("k{seq}"), value(seq));
        let command = client.commander().sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
        let receipt = client.submit(&command).await.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        receipt.state_ndx
    };
    let mut seq = 0;
    while cluster.runs(full) {
        assert!(seq < COMMANDS_MAX, "the disk never fills up");
        seq += 1;
        write(seq).await;
    }
    let status = cluster.ended(full).await;
    let log = cluster.log(full);
    assert_eq!(status.code(), Some(1), "{log}");
    let last_words = log.lines().last().unwrap();
    for expected in
        ["error", "the node cannot go on", "the disk is full", "see to its disk, then start it again"]
    {
        assert!(last_words.contains(expected), "{expected:?} is not what ends\n{log}");
    }

    let mut last = StateNdx(0);
    for _ in 0..COMMANDS_AFTER {
        seq += 1;
        last = write(seq).await;
    }
    for node in (0..cluster.len()).filter(|node| *node != full) {
        assert_has_all(&cluster, node, seq, last).await;
    }

    // Opened as an operator would: copied to where there is room.
    let copied = Command::new("cp").arg("-a").arg(&small).arg(directory.path()).status();
    assert!(copied.unwrap().success());
    let large = directory.path().join("data");
    cluster.founded.nodes[full].config = cluster.with_data_dir(full, "large.toml", &large, None);
    cluster.spawn(full);
    cluster.ready(full).await;
    assert_has_all(&cluster, full, seq, last).await;
    seq += 1;
    last = write(seq).await;
    let mut states = Vec::new();
    for node in 0..cluster.len() {
        states.push(cluster.readers.state(node, &format!("?min={last}&wait=30")).await.unwrap());
    }
    assert!(states.iter().all(|state| *state == states[0] && state.state_ndx == last), "{states:?}");
    eventually("all see each other", async || cluster.readers.up(full).await.len() == 2).await;
    client.close().await;
    cluster.stop_all().await;
}

/// Every key up to the last one is there, read in `state_ndx`.
async fn assert_has_all(cluster: &Cluster, node: usize, last: u64, state_ndx: StateNdx) {
    for seq in (1..=last).rev() {
        let path = format!("/v1/apps/{KV}/kv/k{seq}?min={state_ndx}&wait=30");
        let found = cluster.readers.get(node, &path).await.unwrap();
        assert!(found == value(seq), "k{seq} at {}", cluster.name(node));
    }
}
