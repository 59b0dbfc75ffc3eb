//! Certificates of states: real nodes come to them, and `synod certificate verify` proves them with the genesis document alone, also
//! after a node was replaced.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use synod_client::CommandOptions;
use synod_cluster::{Cluster, KV, eventually, put};
use synod_types::StateNdx;

async fn write(cluster: &Cluster, key: &str) -> StateNdx {
    let client = cluster.client_at(cluster.administrator(), 0);
    let receipt = client.execute(KV, put(key.to_owned(), "v"), CommandOptions::default()).await.unwrap();
    client.close().await;
    receipt.state_ndx
}

/// Waits until these nodes hold a certificate of a state or of a later one; gives what the first of them holds.
async fn certified(cluster: &Cluster, nodes: &[usize], state_ndx: StateNdx) -> Value {
    let mut found = Value::Null;
    eventually("a state is certified", async || {
        for &node in nodes {
            let latest = cluster.readers.get_json(node, "/v1/apps/kv/certificates/latest").await;
            let Ok(latest): Result<Value, _> = latest else { return false };
            if latest["certificate"]["stateNdx"].as_u64() < Some(state_ndx.0) {
                return false;
            }
            if node == nodes[0] {
                found = latest;
            }
        }
        true
    })
    .await;
    found
}

fn verify(cluster: &Cluster, exit: i32, file: &str) -> (Value, String) {
    let (printed, said) = cluster
        .expect(exit, &format!("certificate verify {file} --genesis cluster/genesis.json --output json"));
    (serde_json::from_str(&printed).unwrap_or_default(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_write_of_a_quiet_cluster_is_proved_offline_also_after_a_node_is_replaced() {
    let mut cluster = Cluster::start(3).await;
    let directory = cluster.directory.path().to_owned();
    let file = |name: &str| directory.join(name);
    let (_, said) = cluster.expect(1, "certificate get --app kv --at 999 --out early.cert");
    assert!(said.contains("has no certificate of state 999"), "{said}");
    let first = write(&cluster, "a").await;
    certified(&cluster, &[0, 1, 2], first).await;
    cluster.expect(0, "certificate get --app kv --out first.cert");
    let (text, _) = cluster.expect(0, "certificate verify first.cert --genesis cluster/genesis.json");
    assert!(text.contains(&format!("stateNdx {first}, epoch 0")) && text.contains("node1"), "{text}");
    let (proved, _) = verify(&cluster, 0, "first.cert");
    assert_eq!((&proved["proved"], &proved["stateNdx"]), (&true.into(), &first.0.into()));
    assert_eq!((&proved["epochsEnded"], proved["members"].as_array().unwrap().len()), (&0.into(), 3));
    let (status, _) = cluster.expect(0, "status");
    assert!(status.contains("CERTIFIED"), "{status}");

    // Another cluster's document, and a file in which something was changed.
    let other = Cluster::found(3);
    let genesis = other.path("genesis.json");
    let (_, said) =
        cluster.expect(7, &format!("certificate verify first.cert --genesis {}", genesis.display()));
    assert!(said.contains("the genesis document founds cluster"), "{said}");
    let good = std::fs::read_to_string(file("first.cert")).unwrap();
    let changed = good.replace(&format!("\"stateNdx\":{first},"), &format!("\"stateNdx\":{},", first.0 + 1));
    assert_ne!(good, changed);
    std::fs::write(file("changed.cert"), changed).unwrap();
    let (_, said) = verify(&cluster, 7, "changed.cert");
    assert!(said.contains("did not sign this"), "{said}");

    // What one node alone can prove after a restart.
    cluster.stop(2).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    certified(&cluster, &[2], first).await;

    // A node is lost with its disk, and another one takes its place.
    cluster.kill(1);
    cluster.prepare_again(1);
    cluster.spawn(1);
    cluster.ready(1).await;
    cluster.asks(1).await;
    let digits = cluster.digits(1);
    let made = cluster.expect_json(0, &format!("member accept node2 --id {digits} --replaces node2"));
    assert_eq!(made["settled"]["reached"], true, "{made}");
    let second = write(&cluster, "b").await;
    let latest = certified(&cluster, &[1, 0, 2], second).await;
    assert!(latest["certificate"]["epoch"].as_u64() > Some(0), "{latest}");
    eventually("the new node can prove who the members are", async || {
        let latest: Value = cluster.readers.get_json(1, "/v1/apps/kv/certificates/latest").await.unwrap();
        !latest["handovers"].as_array().unwrap().is_empty()
    })
    .await;
    let [node1, node2] = [0, 1].map(|n| cluster.founded.nodes[n].plan.http.to_string());
    cluster.expect(0, &format!("certificate get --app kv --http {node2} --out second.cert"));
    let (proved, _) = verify(&cluster, 0, "second.cert");
    assert_eq!((&proved["stateNdx"], &proved["epochsEnded"]), (&second.0.into(), &1.into()));
    let id = cluster.founded.nodes[1].id.to_string();
    assert!(proved["members"].as_array().unwrap().iter().any(|member| member["id"] == *id), "{proved}");
    // Earlier states are still proved.
    cluster.expect(0, &format!("certificate get --app kv --at {first} --http {node1} --out again.cert"));
    assert_eq!(verify(&cluster, 0, "again.cert").0["epoch"], 0);

    // The last member of the first epoch is not enough to prove who came.
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(file("second.cert")).unwrap()).unwrap();
    bundle["handovers"][0]["signatures"].as_array_mut().unwrap().truncate(1);
    std::fs::write(file("broken.cert"), bundle.to_string()).unwrap();
    let (_, said) = verify(&cluster, 7, "broken.cert");
    assert!(said.contains("the certificate that ends an epoch before epoch"), "{said}");
    cluster.stop_all().await;
}

/// Changes a byte of a file; gives what it was before.
fn flip(file: &Path) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(file, flipped).unwrap();
    whole
}

/// Whether a node can prove who the members are that came since genesis.
async fn proves_members(cluster: &Cluster, node: usize) -> bool {
    let latest: Result<Value, _> = cluster.readers.get_json(node, "/v1/apps/kv/certificates/latest").await;
    latest.is_ok_and(|latest| !latest["handovers"].as_array().unwrap().is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proves_the_members_is_had_again_when_it_is_damaged() {
    let mut cluster = Cluster::found(3);
    (0..3).for_each(|node| cluster.configure(node, "\n[scrub]\nevery = \"1s\""));
    cluster.try_start_all().await.unwrap();
    let added = cluster.prepare("node4");
    cluster.spawn(added);
    cluster.ready(added).await;
    cluster.asks(added).await;
    cluster.expect(0, &format!("member accept node4 --id {}", cluster.digits(added)));
    write(&cluster, "a").await;
    eventually("it can prove who the members are", async || proves_members(&cluster, 2).await).await;
    let files = fs::read_dir(cluster.data_dir(2).join("certificates")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let handover = files
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{KV}-handover-")))
        .unwrap();

    // While the node runs it has it in memory.
    let whole = flip(&handover);
    eventually("it is written again", async || fs::read(&handover).is_ok_and(|file| file == whole)).await;
    let scrub = async || -> (u64, u64) {
        let status: Value = cluster.readers.get_json(2, "/v1/cluster").await.unwrap();
        let count = |name: &str| status["scrub"][name].as_u64().unwrap();
        (count("damaged"), count("mended"))
    };
    eventually("it is counted", async || scrub().await == (1, 1)).await;
    assert!(cluster.log(2).contains("a certificate of a state is damaged"), "{}", cluster.log(2));

    // When it starts, the others see that it cannot prove it, and give it.
    cluster.stop(2).await;
    flip(&handover);
    let flipped = fs::read(&handover).unwrap();
    cluster.spawn(2);
    cluster.ready(2).await;
    eventually("it can prove it again", async || proves_members(&cluster, 2).await).await;
    assert!(cluster.log(2).contains("a certificate cannot be used"), "{}", cluster.log(2));
    eventually("the file is whole", async || fs::read(&handover).is_ok_and(|file| file != flipped)).await;
    cluster.stop_all().await;
}
