//! Nodes that are stopped and started one after the other, while commands come in.

mod founding;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use founding::Founded;
use synod_app_kv::{KvAnswer, KvOp, KvQuery};
use synod_client::{Client, CommandOptions};
use synod_gateway::{Consistency, Read};
use synod_node::Node;
use synod_types::{AppNdx, Outcome, StateNdx};

const KV: AppNdx = AppNdx(1);
/// So many at a time, each with one command after the other.
const CLIENTS: usize = 4;
/// Commands before a node is stopped, and again before the next one is.
const BETWEEN: u64 = 40;

fn add() -> Bytes {
    KvOp::Add { key: b"count".to_vec().into(), delta: 1 }.encode().into()
}

async fn count(node: &Node, min: StateNdx) -> u64 {
    let query = KvQuery::Get { key: b"count".to_vec().into(), at: None }.encode();
    let read = Read { consistency: Consistency::Local, min: Some(min), wait: Duration::from_secs(20) };
    let answer = node.gateway().query(KV, read, &query).await.expect("the read is answered");
    match KvAnswer::decode(&answer.body).expect("an answer of kv") {
        KvAnswer::Get(Some(entry)) => {
            String::from_utf8_lossy(&entry.value).parse().expect("a counter is a number")
        }
        other => panic!("there is a counter, and not {other:?}"),
    }
}

/// What was done.
#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    done: AtomicU64,
    state_ndx: AtomicU64,
}

/// Counts up until it is over; every command must be executed. Says how long the slowest one took.
async fn load(client: Client, tally: Arc<Tally>) -> Duration {
    let mut slowest = Duration::ZERO;
    while !tally.is_over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let receipt = client.execute(KV, add(), CommandOptions::default()).await;
        let receipt = receipt.expect("no command fails while a majority runs");
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        slowest = slowest.max(begun.elapsed());
        tally.state_ndx.fetch_max(receipt.state_ndx.0, Ordering::SeqCst);
        tally.done.fetch_add(1, Ordering::SeqCst);
    }
    slowest
}

async fn more(tally: &Tally) {
    let enough = tally.done.load(Ordering::SeqCst) + BETWEEN;
    while tally.done.load(Ordering::SeqCst) < enough {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_fails_or_counts_twice_while_each_node_is_restarted() {
    let founded = Founded::new(3);
    let mut nodes: Vec<Option<Node>> = founded.start_all().await.into_iter().map(Some).collect();
    let tally = Arc::new(Tally::default());
    let client = founded.client(founded.endpoints());
    let loads: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(load(client.clone(), Arc::clone(&tally)))).collect();
    for (i, place) in nodes.iter_mut().enumerate() {
        more(&tally).await;
        place.take().expect("it runs").stop().await;
        more(&tally).await;
        *place = Some(founded.start(i).await);
        // The next one is stopped when this one is one of a majority again.
        let behind = StateNdx(tally.state_ndx.load(Ordering::SeqCst));
        count(place.as_ref().expect("it runs"), behind).await;
    }
    more(&tally).await;
    tally.is_over.store(true, Ordering::SeqCst);
    let mut slowest = Duration::ZERO;
    for load in loads {
        slowest = slowest.max(load.await.expect("no command fails"));
    }
    let done = tally.done.load(Ordering::SeqCst);
    println!("{done} commands over three restarts, the slowest took {slowest:?}");
    let last = StateNdx(tally.state_ndx.load(Ordering::SeqCst));
    client.close().await;
    for node in nodes.into_iter().flatten() {
        assert_eq!(count(&node, last).await, done);
        node.stop().await;
    }
}
