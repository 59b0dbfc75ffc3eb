//! Logs that are cut off behind snapshots, and nodes that come back too late for the log.

mod founding;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use founding::Founded;
use synod_app_kv::{KvAnswer, KvOp, KvQuery};
use synod_client::{Client, CommandOptions};
use synod_gateway::{Consistency, GatewayError, Read};
use synod_node::Node;
use synod_types::{AppNdx, Slot, StateNdx};

const KV: AppNdx = AppNdx(1);
/// Commands from one snapshot to the next: the fewest that a configuration takes.
const EVERY: u64 = 100;
const LOCAL: Read = Read { consistency: Consistency::Local, min: None, wait: Duration::from_secs(20) };

fn put(key: &str, value: &str) -> Bytes {
    KvOp::Put { key: key.as_bytes().to_vec().into(), value: value.as_bytes().to_vec().into() }.encode().into()
}

async fn get(node: &Node, key: &str, min: StateNdx) -> Option<Vec<u8>> {
    let query = KvQuery::Get { key: key.as_bytes().to_vec().into(), at: None }.encode();
    let answer = node.gateway().query(KV, Read { min: Some(min), ..LOCAL }, &query).await;
    match KvAnswer::decode(&answer.expect("the read is answered").body).expect("an answer of kv") {
        KvAnswer::Get(entry) => entry.map(|entry| entry.value.to_vec()),
        other => panic!("a get is answered by a get, not by {other:?}"),
    }
}

/// The slot behind which a node's log begins.
async fn cut(node: &Node) -> Slot {
    match node.gateway().log(KV, LOCAL, Slot(0), 1).await {
        Err(GatewayError::LogCut { cut, .. }) => cut,
        Ok(_) => Slot(0),
        Err(why) => panic!("{why}"),
    }
}

/// Commands until these nodes have cut their logs behind slot `least`. Says which state came last.
async fn write_until_cut(client: &Client, nodes: &[&Node], least: Slot, last: &mut StateNdx) {
    for count in 0..100 * EVERY {
        let key = format!("key {}", count % 17);
        let receipt = client.execute(KV, put(&key, &count.to_string()), CommandOptions::default()).await;
        *last = receipt.expect("a majority runs").state_ndx;
        let mut are_cut = true;
        for node in nodes {
            are_cut &= cut(node).await > least;
        }
        if are_cut {
            return;
        }
    }
    panic!("no log was cut");
}

fn chains(nodes: &[Node]) -> Vec<(StateNdx, synod_types::Digest)> {
    let view = |node: &Node| {
        let view = node.gateway().apps()[0].view();
        (view.state_ndx, view.chain)
    };
    nodes.iter().map(view).collect()
}

async fn stop(nodes: Vec<Node>) {
    for node in nodes {
        node.stop().await;
    }
}

/// The files of a node's snapshots.
fn chunks(founded: &Founded, node: usize) -> Vec<PathBuf> {
    let files = founded.data_dir(node).join("snapshots/chunks/files");
    let inside = |folder: PathBuf| {
        let entries = fs::read_dir(folder).expect("it is there");
        entries.map(|entry| entry.expect("nobody removes it").path())
    };
    inside(files).flat_map(inside).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_too_late_for_the_log_gets_a_snapshot() {
    let founded = Founded::with_snapshots(3, EVERY);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints()[..2].to_vec());
    let first = client.execute(KV, put("first", "1"), CommandOptions::default()).await.expect("executed");
    assert_eq!(get(&nodes[2], "first", first.state_ndx).await, Some(b"1".to_vec()));
    nodes.pop().expect("three nodes").stop().await;
    let mut last = StateNdx(0);
    write_until_cut(&client, &[&nodes[0], &nodes[1]], Slot(0), &mut last).await;

    nodes.push(founded.start(2).await);
    assert_eq!(get(&nodes[2], "first", last).await, Some(b"1".to_vec()));
    let receipt = client.execute(KV, put("second", "2"), CommandOptions::default()).await.expect("executed");
    for node in &nodes {
        assert_eq!(get(node, "second", receipt.state_ndx).await, Some(b"2".to_vec()));
    }
    assert_eq!(chains(&nodes)[0], chains(&nodes)[2]);
    assert!(cut(&nodes[2]).await > Slot(0), "its log begins behind the snapshot that it got");

    // It goes on from there after a start, and takes part in the next snapshots.
    nodes.pop().expect("three nodes").stop().await;
    nodes.push(founded.start(2).await);
    assert_eq!(get(&nodes[2], "second", receipt.state_ndx).await, Some(b"2".to_vec()));
    let all: Vec<&Node> = nodes.iter().collect();
    let before = cut(&nodes[2]).await;
    write_until_cut(&client, &all, before, &mut last).await;
    client.close().await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_starts_from_its_snapshots_and_one_that_is_damaged_comes_from_the_others() {
    let founded = Founded::with_snapshots(3, EVERY);
    let nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let mut last = StateNdx(0);
    write_until_cut(&client, &nodes.iter().collect::<Vec<_>>(), Slot(0), &mut last).await;
    let receipt = client.execute(KV, put("last", "x"), CommandOptions::default()).await.expect("executed");
    for node in &nodes {
        assert_eq!(get(node, "last", receipt.state_ndx).await, Some(b"x".to_vec()));
    }
    client.close().await;
    let before = chains(&nodes);
    stop(nodes).await;

    // Every file of every snapshot of one node.
    let files = chunks(&founded, 2);
    assert!(files.len() >= 2);
    for file in files {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    let nodes = founded.start_all().await;
    for node in &nodes {
        assert_eq!(get(node, "last", receipt.state_ndx).await, Some(b"x".to_vec()));
    }
    assert_eq!(chains(&nodes), before);
    stop(nodes).await;
}
