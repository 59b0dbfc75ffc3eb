//! Disks that go bad under a node of three, and under all of them.

mod founding;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use founding::Founded;
use synod_app_kv::{KvAnswer, KvOp, KvQuery};
use synod_auth::{Genesis, verify_bundle};
use synod_client::{Client, CommandOptions};
use synod_gateway::{Consistency, GatewayError, Read, ScrubStatus};
use synod_journal::record::{self, Entry};
use synod_journal::sled_store::SledStore;
use synod_journal::store::Store as _;
use synod_node::Node;
use synod_types::{AppNdx, Slot, StateNdx, Threshold};

const KV: AppNdx = AppNdx(1);
/// Further back than what is verified when a node starts, and behind no snapshot.
const OLD: Slot = Slot(50);
const COMMANDS: u64 = 420;
const EVERY: u64 = 300;
const LOCAL: Read = Read { consistency: Consistency::Local, min: None, wait: Duration::from_secs(20) };
const LIMIT: Duration = Duration::from_secs(120);

fn put(key: &str, value: &str) -> Bytes {
    KvOp::Put { key: key.as_bytes().to_vec().into(), value: value.as_bytes().to_vec().into() }.encode().into()
}

async fn write(client: &Client, count: u64) -> StateNdx {
    let mut last = StateNdx(0);
    for n in 0..count {
        let receipt =
            client.execute(KV, put(&format!("key {}", n % 17), "v"), CommandOptions::default()).await;
        last = receipt.expect("a majority runs").state_ndx;
    }
    last
}

/// Waits until a node has come to a state.
async fn reach(node: &Node, min: StateNdx) {
    let query = KvQuery::Get { key: b"key 1".to_vec().into(), at: None }.encode();
    let answer = node.gateway().query(KV, Read { min: Some(min), ..LOCAL }, &query).await;
    let answer = KvAnswer::decode(&answer.expect("the read is answered").body).expect("an answer of kv");
    assert!(matches!(answer, KvAnswer::Get(Some(_))), "{answer:?}");
}

fn chain(node: &Node) -> (StateNdx, synod_types::Digest) {
    let view = node.gateway().apps()[0].view();
    (view.state_ndx, view.chain)
}

async fn stop(nodes: Vec<Node>) {
    for node in nodes {
        node.stop().await;
    }
}

/// Changes the record of a slot behind a stopped node's back.
fn damage_record(founded: &Founded, node: usize, slot: Slot) {
    let mut store = SledStore::open(&founded.data_dir(node).join("log")).expect("the node is stopped");
    let key = record::accepted_key(KV, slot, 0);
    let mut value = store.read(&key).expect("it is read").expect("it is there");
    let middle = value.len() / 2;
    value[middle] ^= 1;
    store.append(vec![Entry { key, value }]).expect("it is written");
    store.make_durable().expect("it is synced");
}

fn flip_middle(file: &Path) {
    let mut bytes = fs::read(file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("it is written");
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("nobody removes it").path());
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| files_in(folder)));
    files
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "{what}");
}

fn scrub(node: &Node) -> ScrubStatus {
    node.gateway().status().scrub
}

/// The slot behind which a node's log begins.
async fn cut(node: &Node) -> Slot {
    match node.gateway().log(KV, LOCAL, Slot(0), 1).await {
        Err(GatewayError::LogCut { cut, .. }) => cut,
        Ok(_) => Slot(0),
        Err(why) => panic!("{why}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_on_the_disk_of_a_node_that_runs_is_found_and_had_again() {
    let founded = Founded::with_scrubbing(3, EVERY);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let last = write(&client, COMMANDS).await;
    reach(&nodes[2], last).await;
    client.close().await;
    nodes.pop().expect("three nodes").stop().await;
    damage_record(&founded, 2, OLD);
    nodes.push(founded.start(2).await);
    let node = &nodes[2];
    until("the record is mended", async || scrub(node).mended >= 1).await;

    let snapshots = founded.data_dir(2).join("snapshots");
    let chunk = files_in(&snapshots.join("chunks/files")).pop().expect("a snapshot was made");
    flip_middle(&chunk);
    let is_file = |path: &PathBuf| path.is_file();
    let mut certificate =
        fs::read_dir(&snapshots).expect("it is there").map(|entry| entry.expect("it stays").path());
    let certificate = certificate.find(is_file).expect("a snapshot was made");
    flip_middle(&certificate);
    until("all is mended", async || scrub(node).damaged >= 3 && scrub(node).mended >= 3).await;
    assert_eq!(scrub(node).damaged, scrub(node).mended);
    nodes.pop().expect("three nodes").stop().await;

    // After a pass from its disk alone nothing is missing.
    nodes.push(founded.start(2).await);
    let node = &nodes[2];
    until("a pass is through", async || scrub(node).passed_ms.is_some()).await;
    assert_eq!((scrub(node).damaged, scrub(node).mended), (0, 0));
    assert!(scrub(node).bytes > 0);
    reach(node, last).await;
    assert_eq!(chain(&nodes[0]), chain(&nodes[2]));
    stop(nodes).await;
}

/// The states of which a node has certificates.
async fn certified(node: &Node) -> Vec<StateNdx> {
    let certificates = node.gateway().certificates(KV, None, 100).await;
    certificates.iter().map(|certificate| certificate.statement.state_ndx).collect()
}

/// Waits until all nodes have a certificate of this state.
async fn all_certified(nodes: &[Node], state_ndx: StateNdx) {
    for node in nodes {
        until("the state is certified", async || certified(node).await.contains(&state_ndx)).await;
    }
}

/// What is on a node's disk of a certificate of the first epoch.
fn certificate_file(founded: &Founded, node: usize, state_ndx: StateNdx) -> PathBuf {
    founded.data_dir(node).join("certificates").join(format!("{KV}-{state_ndx}-0"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_damaged_is_written_again_or_fetched_or_dropped() {
    let founded = Founded::with_scrubbing(3, EVERY);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    // What was written last is certified when nothing more comes.
    let mut states = Vec::new();
    for count in [3, 4] {
        let last = write(&client, count).await;
        all_certified(&nodes, last).await;
        states.push(last);
    }
    client.close().await;
    let [first, second] = states[..] else { panic!("{states:?}") };

    // While the node runs it has each in memory.
    for state in [first, second] {
        let (file, node) = (certificate_file(&founded, 2, state), &nodes[2]);
        let (whole, before) = (fs::read(&file).expect("it is there"), scrub(node));
        flip_middle(&file);
        until("it is mended", async || scrub(node).mended > before.mended).await;
        assert_eq!(fs::read(&file).expect("it is there"), whole);
        assert_eq!(scrub(node).damaged - before.damaged, 1);
    }

    // What was damaged while the node was stopped comes from the others.
    nodes.pop().expect("three nodes").stop().await;
    flip_middle(&certificate_file(&founded, 2, first));
    nodes.push(founded.start(2).await);
    until("it is fetched", async || certified(&nodes[2]).await.contains(&first)).await;
    let bundle = nodes[2].gateway().certificate_bundle(KV, Some(first)).await.expect("it is given out");
    let genesis = fs::read(founded.path().join("genesis.json")).expect("it is there");
    let (genesis, cluster) = Genesis::parse(&genesis).expect("it is in order");
    let proved = verify_bundle(&bundle, cluster, &genesis.founding_voters(), Threshold::Majority);
    assert!(proved.is_ok(), "{proved:?}");
    until("it is counted", async || scrub(&nodes[2]).mended >= 1).await;

    // What no node has any more is dropped, and never given out.
    stop(nodes).await;
    (0..3).for_each(|node| flip_middle(&certificate_file(&founded, node, first)));
    let nodes = founded.start_all().await;
    for (node, running) in nodes.iter().enumerate() {
        let file = certificate_file(&founded, node, first);
        until("it is dropped", async || !file.exists()).await;
        assert_eq!(certified(running).await, [second], "the other one is whole");
        assert!(running.gateway().certificate_bundle(KV, Some(first)).await.is_none());
        assert!(scrub(running).damaged > scrub(running).mended);
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_damaged_on_all_nodes_is_behind_a_snapshot_before_it_is_needed() {
    let founded = Founded::with_scrubbing(3, EVERY);
    let nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let last = write(&client, COMMANDS).await;
    for node in &nodes {
        reach(node, last).await;
    }
    client.close().await;
    let before = chain(&nodes[0]);
    stop(nodes).await;
    for node in 0..3 {
        damage_record(&founded, node, OLD);
    }
    let nodes = founded.start_all().await;
    for node in &nodes {
        until("the log is cut behind the damaged record", async || cut(node).await >= OLD).await;
        reach(node, last).await;
        assert_eq!(chain(node), before);
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_damaged_on_all_nodes_and_needed_stops_each_with_its_name() {
    let founded = Founded::new(3);
    let nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let last = write(&client, 20).await;
    for node in &nodes {
        reach(node, last).await;
    }
    client.close().await;
    stop(nodes).await;
    for node in 0..3 {
        damage_record(&founded, node, Slot(10));
    }
    let nodes = founded.start_all().await;
    for node in &nodes {
        let why = tokio::time::timeout(LIMIT, node.failed()).await.expect("it stops");
        assert!(why.contains("the record of slot 10 of application 1 is damaged here"), "{why}");
        assert!(why.contains("restore the cluster from a backup"), "{why}");
        assert!(chain(node).0 < last);
    }
    stop(nodes).await;
}

/// Copies a directory in place of another one.
fn replace(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("nobody has it open");
    }
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it is there").map(|entry| entry.expect("nobody removes it")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            replace(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it is copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_flipped_byte_a_node_is_refused_or_comes_to_the_same_state() {
    let founded = Founded::with_snapshots(3, EVERY);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints()[..2].to_vec());
    write(&client, 60).await;
    let kept = tempfile::tempdir().expect("a directory");
    let (kept, data) = (kept.path().join("kept"), founded.data_dir(2));
    let mut outcomes = (0, 0);
    for turn in 0..24 {
        nodes.pop().expect("three nodes").stop().await;
        replace(&data, &kept);
        let mut files = files_in(&data);
        files.retain(|file| file.metadata().is_ok_and(|file| file.len() > 0));
        files.sort();
        // The log itself every other time.
        let log = data.join("log/db");
        let file = if turn % 2 == 0 { &log } else { &files[turn / 2 % files.len()] };
        let mut bytes = fs::read(file).expect("it is there");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let at = (turn * 7919 + 13) * 104_729 % used;
        bytes[at] ^= 0x20;
        fs::write(file, bytes).expect("it is written");
        let last = write(&client, 3).await;
        match founded.try_start(2).await {
            Ok(node) => {
                outcomes.0 += 1;
                reach(&node, last).await;
                assert_eq!(chain(&nodes[0]), chain(&node), "{} byte {at}", file.display());
                nodes.push(node);
            }
            Err(why) => {
                outcomes.1 += 1;
                println!("{} byte {at}: {why}", file.display());
                // In the end it was not lost for good.
                replace(&kept, &data);
                nodes.push(founded.start(2).await);
                reach(&nodes[2], last).await;
            }
        }
    }
    println!("{} came up, {} were refused", outcomes.0, outcomes.1);
    client.close().await;
    stop(nodes).await;
}
