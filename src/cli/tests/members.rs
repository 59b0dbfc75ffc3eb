//! Members that come and go while commanders write: nodes are added, removed and replaced, with the commands of
//! docs/OPERATIONS.md, and no write fails.
//!
//! `cargo test --release -p synod --test members -- --ignored --nocapture` adds what takes minutes. A schedule of kills is replayed with
//! `SYNOD_MEMBERS_SEED=N`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, State, ZONES, eventually, put};
use synod_gateway::ClusterStatus;
use synod_types::{Outcome, StateNdx};
use tokio::task::JoinHandle;

const SEED: &str = "SYNOD_MEMBERS_SEED";
/// Keys of one writer, each written again and again.
const KEYS: u64 = 100;
/// Within this, those who stay have cut off who was removed.
const CUT_OFF: Duration = Duration::from_secs(5);
/// Patient: a test may have killed the leader a moment ago, and the next one as well.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(3),
    total: Duration::from_secs(60),
    upload: Duration::from_secs(60),
    idle: Duration::from_secs(1),
};

/// Writes key after key; no write may fail.
struct Writer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    task: JoinHandle<Written>,
}

/// What a writer was told.
struct Written {
    /// The number of the last write that was acknowledged, of each key.
    last: BTreeMap<String, u64>,
    /// The highest state among the receipts.
    state_ndx: StateNdx,
    count: u64,
    /// The longest that one write took.
    slowest: Duration,
}

impl Writer {
    /// A writer with a key of its own, whose keys begin with `name`, and that prefers the node `first`.
    fn start(cluster: &Cluster, name: &'static str, first: usize) -> Writer {
        let key = SigningKey::generate(Algorithm::Ed25519);
        key.save_new(cluster.directory.path().join(format!("{name}.pem"))).unwrap();
        cluster.expect(0, &format!("commander add {name} --app kv --key {name}.pem --role writer"));
        let client = cluster.client(key, first, PATIENT);
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(write(client, name, Arc::clone(&stop), Arc::clone(&count)));
        Writer { stop, count, task }
    }

    /// Waits until so many more writes are acknowledged.
    async fn more(&self, writes: u64) {
        let until = self.count.load(Ordering::Relaxed) + writes;
        eventually("writes go on", async || {
            assert!(!self.task.is_finished(), "the writer has ended");
            self.count.load(Ordering::Relaxed) >= until
        })
        .await;
    }

    async fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn write(client: Client, name: &'static str, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Written {
    let mut written =
        Written { last: BTreeMap::new(), state_ndx: StateNdx(0), count: 0, slowest: Duration::ZERO };
    while !stop.load(Ordering::Relaxed) {
        let n = written.count;
        let key = format!("{name}-{:03}", n % KEYS);
        let begun = Instant::now();
        let receipt = client.execute(KV, put(key.clone(), n.to_string()), CommandOptions::default()).await;
        let receipt = receipt.unwrap_or_else(|why| panic!("write {n} of {name} failed: {why}"));
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        written.slowest = written.slowest.max(begun.elapsed());
        written.last.insert(key, n);
        written.state_ndx = receipt.state_ndx;
        written.count += 1;
        count.store(written.count, Ordering::Relaxed);
    }
    client.close().await;
    written
}

/// Each of these nodes has everything that was acknowledged, and all have executed the same.
async fn check(cluster: &Cluster, nodes: &[usize], written: &[Written]) {
    let state_ndx = written.iter().map(|written| written.state_ndx).max().unwrap();
    for &node in nodes {
        let state = cluster.readers.state(node, &format!("?min={state_ndx}&wait=30")).await;
        state.unwrap_or_else(|why| panic!("{}: {why}\n{}", cluster.name(node), cluster.log(node)));
        let page = cluster.readers.entries(node).await;
        let held: BTreeMap<&str, u64> =
            page.entries.iter().map(|entry| (entry.key.as_str(), entry.value.parse().unwrap())).collect();
        for (key, n) in written.iter().flat_map(|written| &written.last) {
            assert_eq!(held.get(key.as_str()), Some(n), "{key} at {}", cluster.name(node));
        }
    }
    eventually("all have the same state and chain", async || {
        let mut states: Vec<Option<State>> = Vec::new();
        for &node in nodes {
            states.push(cluster.readers.state(node, "").await.ok());
        }
        states.iter().all(|state| state.is_some() && *state == states[0])
    })
    .await;
}

async fn status(cluster: &Cluster, node: usize) -> Option<ClusterStatus> {
    cluster.readers.get_json(node, "/v1/cluster").await.ok()
}

/// Who asks to become a member, as `synod member pending` says.
fn pending(cluster: &Cluster) -> Vec<Value> {
    cluster.expect_json(0, "member pending")["applicants"].as_array().unwrap().clone()
}

/// Prepares nodes, starts them, and waits until they ask to become members.
async fn bring(cluster: &mut Cluster, names: &[&str]) -> Vec<usize> {
    let nodes: Vec<usize> = names.iter().map(|name| cluster.prepare(name)).collect();
    for &node in &nodes {
        cluster.spawn(node);
    }
    for &node in &nodes {
        cluster.ready(node).await;
    }
    eventually("they ask to become members", async || {
        let pending = pending(cluster);
        nodes.iter().all(|&node| {
            let id = cluster.founded.nodes[node].id.to_string();
            pending.iter().any(|one| one["id"] == *id && one["conflict"].is_null())
        })
    })
    .await;
    nodes
}

fn accept(cluster: &Cluster, node: usize) -> u64 {
    let command = format!("member accept {} --id {}", cluster.name(node), cluster.digits(node));
    settled(cluster, &command)
}

/// Has the members changed; gives the milliseconds until all applications go by it.
fn settled(cluster: &Cluster, command: &str) -> u64 {
    let made = cluster.expect_json(0, command);
    assert_eq!(made["settled"]["reached"], true, "{made}");
    made["settled"]["ms"].as_u64().unwrap()
}

/// Waits until none of `staying` has a session with `gone`; gives how long that took.
async fn cut_off(cluster: &Cluster, staying: &[usize], gone: usize) -> Duration {
    let begun = Instant::now();
    eventually("who was removed is cut off", async || {
        for &node in staying {
            let Some(status) = status(cluster, node).await else { return false };
            let id = cluster.founded.nodes[gone].id;
            if status.nodes.iter().any(|other| other.id == id) {
                return false;
            }
        }
        cluster.readers.up(gone).await.is_empty()
    })
    .await;
    begun.elapsed()
}

/// The names that `synod member list` gives the state `member`.
fn members(cluster: &Cluster) -> Vec<String> {
    let list = cluster.expect_json(0, "member list");
    let nodes = list["nodes"].as_array().unwrap().iter();
    let mut names: Vec<String> = nodes
        .filter(|node| node["state"] == "member")
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_added_and_removed_and_no_write_fails() {
    let mut cluster = Cluster::start(3).await;
    // It prefers the node that will be removed.
    let sticky = Writer::start(&cluster, "sticky", leading(&cluster).unwrap_or(0));
    sticky.more(20).await;
    let added = bring(&mut cluster, &["node4", "node5"]).await;
    let (text, _) = cluster.expect(0, "status");
    assert!(text.contains("! node4 (") && text.contains("asks to become a member"), "{text}");
    // Nobody sends clients to a node that is no member.
    assert!(cluster.readers.get(3, "/readyz").await.is_err());
    // It knows the new nodes, too.
    let roaming = Writer::start(&cluster, "roaming", 3);
    for &node in &added {
        println!("{} votes after {} ms", cluster.name(node), accept(&cluster, node));
        sticky.more(20).await;
    }
    roaming.more(20).await;
    assert_eq!(members(&cluster), ["node1", "node2", "node3", "node4", "node5"]);
    eventually("the new nodes are ready", async || {
        cluster.readers.get(3, "/readyz").await.is_ok() && cluster.readers.get(4, "/readyz").await.is_ok()
    })
    .await;

    // The leader goes, and one more of the first ones.
    let leader = (0..3).find(|&n| Some(n) == leading(&cluster)).unwrap_or(0);
    let also = (leader + 1) % 3;
    let mut staying: Vec<usize> = (0..5).filter(|&n| n != leader).collect();
    for gone in [leader, also] {
        staying.retain(|&node| node != gone);
        let (text, _) = cluster.expect(0, &format!("member remove {}", cluster.name(gone)));
        assert!(text.contains("can be switched off now"), "{text}");
        let took = cut_off(&cluster, &staying, gone).await;
        println!("{} is cut off {took:?} after the command has ended", cluster.name(gone));
        assert!(took < CUT_OFF);
        sticky.more(20).await;
        roaming.more(20).await;
    }
    for gone in [leader, also] {
        // Who asks it all the same is sent on, and is told no number that was used.
        let endpoints = [gone, 3].map(|node| cluster.endpoint(node)).to_vec();
        let late = cluster.client_of(cluster.administrator(), endpoints, PATIENT);
        let begun = Instant::now();
        late.execute(KV, put("late", "0"), CommandOptions::default()).await.unwrap();
        println!("a command that comes to {} first takes {:?}", cluster.name(gone), begun.elapsed());
        late.close().await;
        let refused = cluster.readers.get(gone, "/readyz").await.unwrap_err();
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(503));
    }
    let (text, _) = cluster.expect(0, "status");
    assert!(text.contains(&format!("! {} is no member of the cluster", cluster.name(leader))), "{text}");
    let written = [sticky.end().await, roaming.end().await];
    check(&cluster, &staying, &written).await;
    for (name, written) in ["sticky", "roaming"].iter().zip(&written) {
        println!("{name}: {} writes, the slowest took {:?}", written.count, written.slowest);
    }
    cluster.stop_all().await;
}

/// Who leads the key-value application, as `synod leader list` says.
fn leading(cluster: &Cluster) -> Option<usize> {
    let list = cluster.expect_json(0, "leader list");
    let app = list["apps"].as_array().unwrap().iter().find(|app| app["appNdx"] == KV.0).unwrap().clone();
    let id = app["leader"]["id"].as_str()?.to_owned();
    (0..cluster.len()).find(|&n| cluster.founded.nodes[n].id.to_string() == id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_becomes_seven_and_one_again() {
    let mut cluster = Cluster::start(1).await;
    let writer = Writer::start(&cluster, "sticky", 0);
    let begun = Instant::now();
    for names in [["node2", "node3"], ["node4", "node5"], ["node6", "node7"]] {
        for node in bring(&mut cluster, &names).await {
            println!("{} votes after {} ms", cluster.name(node), accept(&cluster, node));
        }
        writer.more(20).await;
        println!("{} members after {:?}", cluster.len(), begun.elapsed());
    }
    // The first one knows the first node only, and that goes.
    let mut written = vec![writer.end().await];
    let roaming = Writer::start(&cluster, "roaming", 6);
    for gone in (0..6).rev() {
        // The last that stays is one that was not there at first.
        println!(
            "{} goes after {} ms",
            cluster.name(gone),
            settled(&cluster, &format!("member remove {}", cluster.name(gone)))
        );
        cluster.stop(gone).await;
        roaming.more(20).await;
    }
    println!("one member after {:?}", begun.elapsed());
    written.push(roaming.end().await);
    check(&cluster, &[6], &written).await;
    for written in &written {
        println!("{} writes, the slowest took {:?}", written.count, written.slowest);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_replaced_and_a_stranger_is_turned_away() {
    let mut cluster = Cluster::start(3).await;
    let writer = Writer::start(&cluster, "sticky", 0);
    writer.more(20).await;
    let lost = cluster.founded.nodes[1].id.to_string();
    cluster.kill(1);
    cluster.prepare_again(1);
    cluster.spawn(1);
    cluster.ready(1).await;
    let id = cluster.founded.nodes[1].id.to_string();
    eventually("a changed key is reported", async || {
        let pending = pending(&cluster);
        pending
            .iter()
            .any(|one| one["id"] == *id && one["conflict"].as_str().is_some_and(|why| why.contains(&lost)))
    })
    .await;
    let (text, _) = cluster.expect(0, "status");
    assert!(text.contains("has another key than the node2 that is known"), "{text}");
    let digits = cluster.digits(1);
    let (_, said) = cluster.expect(2, &format!("member accept node2 --id {digits}"));
    assert!(said.contains(&format!("synod member accept node2 --id {digits} --replaces node2")), "{said}");
    let took = settled(&cluster, &format!("member accept node2 --id {digits} --replaces node2"));
    println!("replaced after {took} ms");
    writer.more(20).await;
    assert_eq!(members(&cluster), ["node1", "node2", "node3"]);

    // Of another node nobody wants to know.
    let stranger = bring(&mut cluster, &["node9"]).await[0];
    let id = cluster.founded.nodes[stranger].id.to_string();
    let (_, said) = cluster.expect(2, "member accept node9 --id 000000000000");
    assert!(said.contains("another key than 000000000000"), "{said}");
    cluster.expect(2, "member accept node9 --id 0000");
    cluster.expect(0, "member reject node9");
    eventually("it is not shown any more", async || pending(&cluster).is_empty()).await;
    eventually("it is told so", async || cluster.log(stranger).contains("has rejected this node")).await;
    cluster.expect(2, "member reject node9");
    // That can be taken back.
    let address = cluster.founded.nodes[stranger].plan.mesh.to_string();
    settled(&cluster, &format!("member add node9 --id {id} --address {address}"));
    assert_eq!(members(&cluster), ["node1", "node2", "node3", "node9"]);

    // The tools go by the members that there are, not by those of genesis.
    let zone = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
    std::fs::write(cluster.directory.path().join("zone"), zone).unwrap();
    let (text, _) = cluster.expect(0, "zone set example.org zone --wait all");
    assert!(text.contains("live at node1, node2, node3, node9"), "{text}");
    cluster.expect(0, "cert renew --dir cluster --node node9");
    cluster.expect(0, "cert renew --dir cluster --node node2-again");
    let urls = [0, stranger].map(|node| format!("--url {}", cluster.founded.nodes[node].plan.http)).join(" ");
    cluster.expect(0, &format!("audit {urls} --quiet"));

    let written = [writer.end().await];
    check(&cluster, &[0, 1, 2, stranger], &written).await;
    println!("{} writes, the slowest took {:?}", written[0].count, written[0].slowest);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_administrators_sign_and_a_majority_is_waited_for() {
    let mut cluster = Cluster::start_by(3, 2, 2).await;
    let (text, _) = cluster.expect(0, "member remove node3");
    assert!(
        text.contains("is signed by 1 of 2 administrators") && text.contains("synod commander approve"),
        "{text}"
    );
    let pending = cluster.expect_json(0, "commander pending --app 1");
    let (change, digest) =
        (&pending["pending"][0]["change"], pending["pending"][0]["digest"].as_str().unwrap());
    // In bytes as docs/PROTOCOL.md says: 01 05 01 and the node.
    assert!(pending["pending"][0]["operation"].as_str().unwrap().starts_with("AQUB"), "{pending}");
    assert_eq!(members(&cluster), ["node1", "node2", "node3"]);
    let approve =
        format!("commander approve {change} --app 1 --digest {digest} --sign-with cluster/admin2.pem");
    cluster.expect(0, &approve);
    eventually("two are left", async || members(&cluster) == ["node1", "node2"]).await;
    cluster.stop_all().await;

    // Three, one of which is down: to remove one that is there leaves no majority, and the old members go on.
    let mut cluster = Cluster::start(3).await;
    cluster.kill(2);
    let (_, said) = cluster.expect(6, "member remove node2 --wait 2");
    assert!(said.contains("is ordered") && said.contains("node3 does not answer"), "{said}");
    cluster.expect(0, "kv put still written");
    cluster.spawn(2);
    eventually("it is made by itself", async || members(&cluster) == ["node1", "node3"]).await;
    cluster.stop_all().await;
}

/// What a node votes in follows from decrees that it has seen before: it must not forget that with the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_started_again_knows_who_votes() {
    let mut cluster = Cluster::start(1).await;
    for node in bring(&mut cluster, &["node2", "node3"]).await {
        accept(&cluster, node);
    }
    settled(&cluster, "member remove node1");
    cluster.stop_all().await;
    for node in [1, 2] {
        cluster.spawn(node);
    }
    eventually("every node is in the last epoch of every application", async || {
        let mut epochs = Vec::new();
        for node in [1, 2] {
            let apps = status(&cluster, node).await.map(|status| status.apps).unwrap_or_default();
            epochs.extend(apps.into_iter().map(|app| (app.epoch.0, app.voters.len(), app.leader.is_some())));
        }
        epochs == [(3, 2, true); 4]
    })
    .await;
    cluster.expect(0, "kv put still written");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_transferred_under_writes() {
    let mut cluster = Cluster::start(3).await;
    let writer = Writer::start(&cluster, "sticky", 0);
    writer.more(20).await;
    let first = leading(&cluster).unwrap();
    for step in 1..=6 {
        let to = (first + step) % 3;
        let made = cluster.expect_json(0, &format!("leader transfer --app kv --to {}", cluster.name(to)));
        assert_eq!(made["settled"]["reached"], true, "{made}");
        assert_eq!(leading(&cluster), Some(to));
        println!("{} leads after {} ms", cluster.name(to), made["settled"]["ms"]);
        writer.more(20).await;
    }
    cluster.expect(0, "leader release --app kv");
    cluster.expect(2, "leader transfer --app kv --to node9");
    let app = ZONES.0;
    cluster.expect(0, &format!("leader transfer --app {app} --to node3"));
    let written = [writer.end().await];
    check(&cluster, &[0, 1, 2], &written).await;
    println!("{} writes, the longest time without one was {:?}", written[0].count, written[0].slowest);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_members_change_lose_nothing() {
    storms(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: twenty clusters"]
async fn many_kills_while_members_change_lose_nothing() {
    storms(20).await;
}

async fn storms(times: u64) {
    let given = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
    let first: u64 = given.unwrap_or_else(rand::random);
    let seeds = (0..if given.is_some() { 1 } else { times }).map(|n| first.wrapping_add(n));
    for seed in seeds {
        eprintln!("to replay this schedule: {SEED}={seed}");
        storm(seed).await;
    }
}

/// Three members become five and three again, while one node at a time is killed and started again.
async fn storm(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(3).await;
    let added = bring(&mut cluster, &["node4", "node5"]).await;
    let writers =
        [Writer::start(&cluster, "a", 0), Writer::start(&cluster, "b", 3), Writer::start(&cluster, "c", 2)];
    let mut steps: Vec<String> = added
        .iter()
        .map(|&node| {
            let plan = &cluster.founded.nodes[node].plan;
            let id = cluster.founded.nodes[node].id;
            format!("member add {} --id {id} --address {} --wait 0", plan.name, plan.mesh)
        })
        .collect();
    let mut gone: Vec<usize> = (0..5).collect();
    while gone.len() > 2 {
        gone.swap_remove(random.random_range(0..gone.len()));
    }
    steps.extend(gone.iter().map(|&node| format!("member remove {} --wait 0", cluster.name(node))));
    let staying: Vec<usize> = (0..5).filter(|node| !gone.contains(node)).collect();
    let mut kills = 0;
    for step in steps {
        // Within one step more than one kill, each at a moment that the writers' progress gives.
        cluster.expect(0, &step);
        for _ in 0..random.random_range(1..=3) {
            let victim = random.random_range(0..5);
            writers[kills % 3].more(random.random_range(0..30)).await;
            if cluster.runs(victim) {
                cluster.kill(victim);
                kills += 1;
                writers[kills % 3].more(random.random_range(0..10)).await;
                cluster.spawn(victim);
                cluster.ready(victim).await;
            }
        }
        eventually("the change is made", async || {
            let list = cluster.expect_json(0, "member list");
            let wanted = &list["epoch"];
            list["apps"].as_array().unwrap().iter().all(|app| app["epoch"] == *wanted)
        })
        .await;
    }
    let mut written = Vec::new();
    for writer in writers {
        writer.more(10).await;
        written.push(writer.end().await);
    }
    let mut names: Vec<&str> = staying.iter().map(|&node| cluster.name(node)).collect();
    names.sort_unstable();
    eventually("those who stay vote", async || members(&cluster) == names).await;
    check(&cluster, &staying, &written).await;
    let (count, slowest) = (
        written.iter().map(|written| written.count).sum::<u64>(),
        written.iter().map(|written| written.slowest).max().unwrap(),
    );
    println!("seed {seed}: {kills} kills, {count} writes, the slowest took {slowest:?}");
    cluster.stop_all().await;
}
