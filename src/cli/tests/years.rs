//! What a cluster does that has run for long, measured: a start with a million commands behind it, a node that is a gigabyte behind, one
//! that stood still, and whether memory and disk stay what they are.
//!
//! `cargo test --release -p synod --test years -- --ignored --nocapture --test-threads 1` measures all of it, in some fifty minutes;
//! with `YEARS_MINUTES=2` the last one takes so long, and not thirty.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use synod_cluster::{Cluster, KV, program};

const MIB: u64 = 1 << 20;

/// What `synod bench put` says.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Load {
    operations: u64,
    ops_per_second: f64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Load { operations, ops_per_second, errors, p50_us, p99_us, max_us } = self;
        let ms = |us: &u64| Duration::from_micros(*us);
        let (p50, p99, max) = (ms(p50_us), ms(p99_us), ms(max_us));
        write!(
            f,
            "{operations} writes, {ops_per_second:.0}/s, {errors} errors, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}"
        )
    }
}

/// Begins to load a cluster.
fn begin(cluster: &Cluster, arguments: &str) -> Child {
    let mut command = Command::new(program());
    command.args(["bench", "put", "--output", "json"]).args(arguments.split_whitespace());
    command.env("SYNOD_CLIENT", cluster.path("client.toml")).current_dir(cluster.directory.path());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn end(load: Child) -> Load {
    let output = load.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).expect("the load says what came of it")
}

fn load(cluster: &Cluster, arguments: &str) -> Load {
    end(begin(cluster, arguments))
}

/// Bytes of all files below.
fn bytes_below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes_below(&entry.path()),
        Ok(file) => file.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// A cluster whose nodes have this at the end of their configurations.
async fn start(configuration: &str) -> Cluster {
    let mut cluster = Cluster::found(3);
    (0..cluster.len()).for_each(|n| cluster.configure(n, configuration));
    cluster.try_start_all().await.unwrap();
    for n in 0..cluster.len() {
        while cluster.readers.get(n, "/readyz").await.is_err() {}
    }
    cluster
}

async fn leader(cluster: &Cluster) -> usize {
    loop {
        if let Some(leader) = cluster.leader(KV).await {
            return leader;
        }
    }
}

/// Waits until a node has everything; gives how long that took.
async fn catches_up(cluster: &Cluster, n: usize) -> Duration {
    let begun = Instant::now();
    loop {
        let there = cluster.readers.state(n, "").await;
        let others = cluster.readers.state((n + 1) % cluster.len(), "").await.unwrap();
        if there.is_ok_and(|there| there.state_ndx.0 + 1000 >= others.state_ndx.0) {
            return begun.elapsed();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: measures"]
async fn a_start_with_a_million_commands_behind_it() {
    let mut cluster = start("").await;
    // Each writes 256 bytes to one of 100,000 keys; 20,000 come behind the snapshot of a million.
    let written = load(&cluster, "--clients 1000 --connections 16 --seconds 1800 --commands 1020000");
    println!("load: {written}");
    assert_eq!(written.errors, 0);
    for n in 0..cluster.len() {
        cluster.stop(n).await;
        let begun = Instant::now();
        cluster.spawn(n);
        cluster.ready(n).await;
        let took = begun.elapsed();
        let dir = cluster.data_dir(n);
        let (log, snapshots) = (bytes_below(&dir.join("log")), bytes_below(&dir.join("snapshots")));
        println!(
            "{}: serves {took:.2?} after its start; log {} MiB, snapshots {} MiB, memory {} MiB",
            cluster.name(n),
            log / MIB,
            snapshots / MIB,
            cluster.memory(n) / MIB
        );
    }
    let state = cluster.readers.state(0, "").await.unwrap().state_ndx;
    println!(
        "stateNdx {state}; {} bytes of a value and key, {} MiB of all commands' values",
        256 + 8,
        state.0 * 264 / MIB
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: measures"]
async fn a_node_that_is_a_gigabyte_behind() {
    // The log goes back further than that, so that all of it is taken from the others' logs.
    let mut cluster = start("[snapshots]\nlog_bytes = 4294967296").await;
    const SHAPE: &str = "--clients 256 --connections 16 --value-bytes 4096 --keys 10000";
    let leader = leader(&cluster).await;
    let late = (leader + 1) % 3;
    let peak = load(&cluster, &format!("{SHAPE} --seconds 15 --commands 90000"));
    println!("peak, all three nodes: {peak}");
    cluster.kill(late);
    // 262,144 values of 4 KiB.
    let behind = load(&cluster, &format!("{SHAPE} --seconds 1800 --commands 262144"));
    println!("while it was down: {behind}");
    let half = (peak.ops_per_second / 2.0).round();
    let during = begin(&cluster, &format!("{SHAPE} --seconds 120 --rate {half} --commands {}", half * 125.0));
    let begun = Instant::now();
    cluster.spawn(late);
    let took = {
        let caught_up = catches_up(&cluster, late).await;
        println!("it has everything {caught_up:.1?} after its start");
        begun.elapsed()
    };
    let during = end(during);
    println!("at half of the peak, for 120 s from its start: {during}");
    assert_eq!(peak.errors + behind.errors + during.errors, 0);
    assert!(took < Duration::from_secs(600), "{took:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: measures"]
async fn a_node_that_stood_still_for_ten_seconds() {
    let mut cluster = start("").await;
    for what in ["leader", "follower"] {
        let leader = leader(&cluster).await;
        let still = if what == "leader" { leader } else { (leader + 1) % 3 };
        let others =
            "--clients 64 --connections 9 --to all --seconds 20 --rate 300 --commands 6000".to_owned();
        let writing = begin(&cluster, &others);
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.pause(still);
        tokio::time::sleep(Duration::from_secs(10)).await;
        cluster.resume(still);
        let took = catches_up(&cluster, still).await;
        println!(
            "the {what} stood still for 10 s, and has everything {took:.2?} later; meanwhile, at all nodes: {}",
            end(writing)
        );
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour: measures"]
async fn memory_and_disk_stay_flat() {
    let minutes: u64 = std::env::var("YEARS_MINUTES").map_or(30, |text| text.parse().unwrap());
    let mut cluster = start("[snapshots]\nlog_bytes = 33554432").await;
    // What is remembered is full after less than two minutes, and not after a quarter of an hour as without this.
    cluster.expect(0, "kv settings --history-states 100000");
    println!("minute  writes/s  p99  MiB of memory, of disk, at each node");
    let mut samples = Vec::new();
    for minute in 1..=minutes {
        let load = load(
            &cluster,
            "--clients 64 --connections 8 --rate 1000 --seconds 60 --commands 60000 --keys 20000",
        );
        assert_eq!(load.errors, 0);
        let of_all = |of: &dyn Fn(usize) -> u64| (0..3).map(|n| of(n) / MIB).collect::<Vec<_>>();
        let memory = of_all(&|n| cluster.memory(n));
        let disk = of_all(&|n| bytes_below(&cluster.data_dir(n)));
        println!(
            "{minute}  {:.0}  {:.1?}  {memory:?}  {disk:?}",
            load.ops_per_second,
            Duration::from_micros(load.p99_us)
        );
        samples.push((memory.iter().sum::<u64>(), disk.iter().sum::<u64>()));
    }
    let third = samples.len() / 3;
    let most = |part: &[(u64, u64)]| {
        (part.iter().map(|one| one.0).max().unwrap(), part.iter().map(|one| one.1).max().unwrap())
    };
    if third > 0 {
        let (middle, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
        println!(
            "the most memory and disk of all three nodes, in MiB: {middle:?} in the second third, {last:?} in the last one"
        );
        assert!(last.0 * 10 <= middle.0 * 12 && last.1 * 10 <= middle.1 * 12, "{middle:?} {last:?}");
    }
    cluster.stop_all().await;
}
