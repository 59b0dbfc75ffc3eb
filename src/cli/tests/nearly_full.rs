//! Disks that are nearly full: commands are refused with the reason, reads go on, and where there is room again everything goes
//! on by itself. Nothing that was acknowledged is lost.
//!
//! Needs file systems of its own, which takes root; anybody else is told that nothing was tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::time::Duration;

use synod_client::{Client, CommandOptions, SubmitError, Timeouts};
use synod_cluster::disk::Disk;
use synod_cluster::{Cluster, KV, eventually, put};
use synod_types::{Outcome, RefusalCode, Seq, StateNdx};

const DISK: &str = "96m";
const RESERVE: u64 = 8 << 20;
/// Less than the reserve, and more than what a node writes that takes no commands.
const LEFT: u64 = 4 << 20;

/// Commands with one seq after the other.
struct Writer {
    client: Client,
    seq: u64,
}

impl Writer {
    async fn write(&mut self) -> StateNdx {
        self.seq += 1;
        self.try_write().await.unwrap()
    }

    /// The same command until it is executed.
    async fn try_write(&self) -> Result<StateNdx, SubmitError> {
        let operation = put(format!("k{}", self.seq), format!("{}", self.seq));
        let commander = self.client.commander();
        let command = commander.sign(KV, Seq(self.seq), operation, CommandOptions::default()).unwrap();
        let receipt = self.client.submit(&command).await?;
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        Ok(receipt.state_ndx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives_through_disks_that_are_nearly_full() {
    let directory = tempfile::tempdir().unwrap();
    let disks: Option<Vec<Disk>> =
        (0..3).map(|n| Disk::mount(&directory.path().join(format!("disk{n}")), DISK)).collect();
    let Some(disks) = disks else {
        eprintln!("SKIPPED, nothing was tested: mounting a small file system takes root");
        return;
    };
    // Declared behind the disks, so that its nodes are gone before they are unmounted.
    let mut cluster = Cluster::found(3);
    for (n, disk) in disks.iter().enumerate() {
        let file = format!("small{n}.toml");
        cluster.founded.nodes[n].config =
            cluster.with_data_dir(n, &file, &disk.path().join("data"), Some(RESERVE));
    }
    cluster.try_start_all().await.unwrap();
    let timeouts = Timeouts { total: Duration::from_secs(1), ..Timeouts::default() };
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut writer = Writer { client, seq: 0 };
    for _ in 0..20 {
        writer.write().await;
    }

    // One: another node leads, and the others take commands.
    let full = cluster.leader(KV).await.unwrap();
    disks[full].leave(LEFT);
    eventually("another node leads", async || cluster.leader(KV).await.is_some_and(|leader| leader != full))
        .await;
    let mut last = StateNdx(0);
    for _ in 0..20 {
        last = writer.write().await;
    }
    let endpoint = vec![cluster.endpoint(full)];
    let there = cluster.client_of(cluster.administrator(), endpoint, timeouts);
    let direct = Writer { client: there, seq: writer.seq + 1 };
    let Err(SubmitError::Refused(refusal)) = direct.try_write().await else {
        panic!("a node without room takes a command")
    };
    assert_eq!(refusal.code, RefusalCode::NoSpace, "{refusal}");
    assert!(refusal.text.contains("disk is nearly full"), "{refusal}");
    cluster.readers.state(full, "").await.unwrap();

    // All: commands are refused at once, readers are answered, and no node ends.
    disks.iter().for_each(|disk| disk.leave(LEFT));
    writer.seq += 1;
    let impatient = cluster.client(cluster.administrator(), 0, timeouts);
    let patient = std::mem::replace(&mut writer.client, impatient);
    let mut refusals = Vec::new();
    eventually("commands are refused", async || match writer.try_write().await {
        // The disk that filled up last took it.
        Ok(state_ndx) => {
            last = state_ndx;
            writer.seq += 1;
            false
        }
        Err(SubmitError::Refused(refusal)) => {
            let is_no_space = refusal.code == RefusalCode::NoSpace;
            refusals.push(refusal);
            is_no_space
        }
        Err(_) => false,
    })
    .await;
    for n in 0..cluster.len() {
        assert!(cluster.runs(n), "{}", cluster.log(n));
        cluster.readers.state(n, "").await.unwrap();
    }

    // Room again.
    disks.iter().for_each(|disk| disk.resize(DISK));
    writer.client = patient;
    eventually("commands are taken", async || match writer.try_write().await {
        Ok(state_ndx) => {
            last = state_ndx;
            true
        }
        Err(_) => false,
    })
    .await;
    for _ in 0..20 {
        last = writer.write().await;
    }
    let mut states = Vec::new();
    for n in 0..cluster.len() {
        states.push(cluster.readers.state(n, &format!("?min={last}&wait=30")).await.unwrap());
    }
    assert!(states.iter().all(|state| *state == states[0] && state.state_ndx == last), "{states:?}");
    for seq in 1..=writer.seq {
        let path = format!("/v1/apps/{KV}/kv/k{seq}?min={last}&wait=30");
        assert_eq!(cluster.readers.get(full, &path).await.unwrap(), seq.to_string());
    }
    cluster.stop_all().await;
}
