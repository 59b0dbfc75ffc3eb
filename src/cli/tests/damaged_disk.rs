//! A byte of a node's log is changed behind its back, again and again: either the node comes to what the others have, or it ends and says
//! what to do, and whoever does that has the node again, and nothing is lost.
//!
//! Each byte of a small log: src/journal/tests/damage.rs. What the node mends by itself: src/node/tests/damage.rs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, eventually, put};
use synod_types::{Outcome, StateNdx};

const DAMAGED: usize = 1;
const TURNS: usize = 5;
const WRITES: usize = 40;

/// Writes keys that nobody writes again; gives the last state.
async fn write(client: &Client, turn: usize) -> StateNdx {
    let mut last = StateNdx(0);
    for n in 0..WRITES {
        let written = client.execute(KV, put(format!("{turn}-{n}"), "v"), CommandOptions::default()).await;
        let receipt = written.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        last = receipt.state_ndx;
    }
    last
}

/// Flips a bit of a byte in the part of the log that is used, so far behind its beginning.
fn damage(cluster: &Cluster, part: usize, of: usize) -> usize {
    let file = cluster.data_dir(DAMAGED).join("log/db");
    let mut bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = used * part / of;
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
    at
}

/// Waits until the node has ended by itself or is ready; `false`: it has ended.
async fn comes_up(cluster: &mut Cluster) -> bool {
    if cluster.try_ready(DAMAGED).await.is_ok() {
        return true;
    }
    let status = cluster.ended(DAMAGED).await;
    assert_eq!(status.code(), Some(1), "{}", cluster.log(DAMAGED));
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_cannot_mend_on_its_disk_it_has_again_when_it_is_replaced() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    write(&client, 0).await;
    let mut replaced = 0;
    for turn in 1..=TURNS {
        cluster.stop(DAMAGED).await;
        let at = damage(&cluster, 2 * turn - 1, 2 * TURNS);
        let last = write(&client, turn).await;
        cluster.spawn(DAMAGED);
        if comes_up(&mut cluster).await {
            println!("byte {at}: it came up");
        } else {
            let log = cluster.log(DAMAGED);
            let said = log.lines().last().unwrap_or_default().to_owned();
            println!("byte {at}: {said}");
            assert!(said.contains("synod member replace"), "{log}");
            cluster.prepare_again(DAMAGED);
            cluster.spawn(DAMAGED);
            cluster.ready(DAMAGED).await;
            let (name, digits) = (cluster.name(DAMAGED), cluster.digits(DAMAGED));
            let accepted =
                cluster.expect_json(0, &format!("member accept {name} --id {digits} --replaces {name}"));
            assert_eq!(accepted["settled"]["reached"], true, "{accepted}");
            replaced += 1;
        }
        let state = cluster.readers.state(DAMAGED, &format!("?min={last}&wait=30")).await;
        state.unwrap_or_else(|why| panic!("byte {at}: {why}\n{}", cluster.log(DAMAGED)));
        eventually("all nodes have come to the same", async || {
            let mut states = Vec::new();
            for node in 0..cluster.len() {
                states.push(cluster.readers.state(node, "").await.ok());
            }
            states[0].is_some() && states.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
    let keys = cluster.readers.entries(DAMAGED).await.entries.len();
    assert_eq!(keys, (TURNS + 1) * WRITES, "everything that was acknowledged is there");
    assert!(replaced > 0, "some damage is beyond mending");
    println!("{replaced} of {TURNS} times the node was replaced");
    client.close().await;
    cluster.stop_all().await;
}
