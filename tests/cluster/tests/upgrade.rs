//! Real processes with programs of two times: rolled from the old one to the new one under writes, switched, and what becomes of
//! an old one after that. The commands are those of docs/OPERATIONS.md, "Upgrading".
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use synod_app_kv::{KvOp, KvReply};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, ExecuteError, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, ZONES, eventually, other, put, test_program};
use synod_gateway::ClusterStatus;
use synod_machine::authority::{AuthorityOp, Grant, MemberOp};
use synod_machine::{Member, Role};
use synod_sdk::Encoding;
use synod_sdk::front::FrontEnd;
use synod_types::{AppNdx, Digest, Level, NodeId, Outcome, RefusalCode, StateNdx};
use tokio::task::JoinHandle;

const OLD: (&str, &str, &str) = ("0.0.9", "1", "1");
const NEW: (&str, &str, &str) = ("0.1.0", "1-2", "1-2");
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(2),
    total: Duration::from_secs(60),
    upload: Duration::from_secs(60),
    idle: Duration::from_secs(5),
};

fn cluster(administrators: usize, signatures_needed: u32) -> Cluster {
    // All tests of this file say the same.
    let _ = test_program(Path::new(env!("CARGO_BIN_EXE_synod-other")).to_owned());
    Cluster::found_on(3, administrators, signatures_needed, Level::FIRST)
}

fn install(cluster: &mut Cluster, n: usize, (version, wire, levels): (&str, &str, &str)) {
    cluster.set_environment(n, other::program(version, wire, levels));
}

/// Starts a node and waits until the others and it have sessions with each other.
async fn start(cluster: &mut Cluster, n: usize) {
    cluster.spawn(n);
    cluster.ready(n).await;
    together(cluster).await;
}

async fn together(cluster: &Cluster) {
    eventually("all nodes see each other", async || {
        for n in 0..cluster.len() {
            if cluster.readers.up(n).await.len() + 1 < cluster.len() {
                return false;
            }
        }
        true
    })
    .await;
}

async fn levels(cluster: &Cluster, n: usize) -> Vec<u32> {
    let status: ClusterStatus = cluster.readers.get_json(n, "/v1/cluster").await.unwrap();
    status.apps.iter().map(|app| app.level).collect()
}

/// Counts up by one, again and again, until it is told to stop; gives how far it came. No write fails, and none is made twice:
/// each is answered by the very next number.
fn count(client: Client) -> (Arc<AtomicBool>, JoinHandle<i64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let counting = tokio::spawn(async move {
        let mut counted = 0;
        let add = Bytes::from(KvOp::Add { key: Bytes::from_static(b"count"), delta: 1 }.encode());
        while !stopping.load(Ordering::Relaxed) {
            let written = client.execute(KV, add.clone(), CommandOptions::default()).await;
            let receipt = written.unwrap_or_else(|why| panic!("write {counted}: {why}"));
            let Outcome::Done(answer) = receipt.outcome else { panic!("{receipt:?}") };
            counted += 1;
            assert_eq!(KvReply::decode(&answer), Ok(KvReply::Counted { value: counted }));
        }
        client.close().await;
        counted
    });
    (stop, counting)
}

/// A key that may write.
async fn writer(admin: &Client) -> SigningKey {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let grant = Grant::unlimited(key.public().spki_der().to_vec().into(), "writer", Role::Writer);
    let granted =
        admin.execute(KV, AuthorityOp::Grant(grant).encode().into(), CommandOptions::default()).await;
    assert!(matches!(granted.unwrap().outcome, Outcome::Done(_)));
    key
}

/// The command that adds a member there.
fn member_at(address: &str) -> Bytes {
    let id = NodeId(Digest([9; 32]));
    let member = Member { id, name: "node9".to_owned(), address: address.to_owned() };
    AuthorityOp::Member(MemberOp::Add(member)).encode().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_rolled_to_a_new_program_under_writes_and_then_switched() {
    let mut cluster = cluster(1, 1);
    (0..3).for_each(|n| install(&mut cluster, n, OLD));
    cluster.try_start_all().await.unwrap();
    together(&cluster).await;
    let admin = cluster.client(cluster.administrator(), 0, PATIENT);
    // By the old rules, a member gets an address that no node can call. The others go on meanwhile, and it is removed again.
    let loose = admin.execute(KV, member_at("a b:7101"), CommandOptions::default()).await.unwrap();
    assert!(matches!(loose.outcome, Outcome::Done(_)), "{loose:?}");
    let named = "a node cannot be called: its address is not host:port";
    eventually("the bad address is named", async || (0..3).all(|n| cluster.log(n).contains(named))).await;
    cluster.expect(0, &format!("member remove {}", "09".repeat(6)));

    let writer = writer(&admin).await;
    let (stop, counting) = count(cluster.client(writer, 1, PATIENT));
    for n in 0..3 {
        cluster.stop(n).await;
        if n > 0 {
            let (_, said) = cluster.expect(3, "upgrade finish");
            let away = format!("{} is not there: start it, or remove it", cluster.name(n));
            assert!(said.contains(&away), "{said}");
        }
        install(&mut cluster, n, NEW);
        start(&mut cluster, n).await;
        if n < 2 {
            held_up(&cluster, &admin, n).await;
        }
    }
    assert_eq!(levels(&cluster, 0).await, [1, 1], "nothing has switched by itself");
    let told = cluster.expect_json(1, "upgrade status");
    assert_eq!((&told["newest"], told["holdsUp"].as_array().unwrap().len()), (&2.into(), 0), "{told}");

    let (printed, _) = cluster.expect(0, "upgrade finish --receipt switch.json");
    assert!(printed.contains("application kv is on level 2"), "{printed}");
    assert!(printed.contains("every member goes by the rules of level 2"), "{printed}");
    let (printed, _) = cluster.expect(0, "upgrade status");
    assert!(
        printed.contains("every application is on level 2, the newest that any member knows"),
        "{printed}"
    );
    let (printed, _) = cluster.expect(0, "upgrade finish");
    assert!(printed.contains("every application is on level 2 already"), "{printed}");
    stop.store(true, Ordering::Relaxed);
    let counted = counting.await.unwrap();
    assert!(counted > 10, "there were writes all the time: {counted}");

    // The new rule holds.
    let strict = admin.execute(KV, member_at("a b:7101"), CommandOptions::default()).await;
    match &strict {
        Err(ExecuteError::Submit(SubmitError::Refused(refusal))) => {
            assert_eq!(refusal.code, RefusalCode::Malformed);
        }
        other => panic!("{other:?}"),
    }
    for n in 0..3 {
        eventually("each node has switched", async || levels(&cluster, n).await == [2, 2]).await;
    }

    // Whoever gets the old program back stops before it has done anything, and says what to do.
    cluster.kill(2);
    install(&mut cluster, 2, OLD);
    cluster.spawn(2);
    assert_eq!(cluster.ended(2).await.code(), Some(1));
    let said = "is on level 2, and this program knows level 1: install a newer program on this node";
    assert!(cluster.log(2).contains(said), "{}", cluster.log(2));
    install(&mut cluster, 2, NEW);
    start(&mut cluster, 2).await;
    let last = admin.execute(KV, put("last", "v"), CommandOptions::default()).await.unwrap();
    admin.close().await;
    eventually("all are equal", async || {
        let states = [cluster.readers.state(0, "").await, cluster.readers.state(2, "").await];
        states.iter().all(|state| state.as_ref().is_ok_and(|state| state.chain() == last.chain))
    })
    .await;
    cluster.stop_all().await;
    // An audit executes the same log by the same rules.
    let (printed, _) =
        cluster.expect(0, "audit --data-dir cluster/data-node1 --genesis cluster/genesis.json");
    assert!(printed.contains("raise to level 2"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_two_administrators_must_sign_the_switch_waits_for_the_second() {
    let mut cluster = cluster(2, 2);
    cluster.try_start_all().await.unwrap();
    together(&cluster).await;
    let (printed, _) = cluster.expect(0, "upgrade finish");
    let command = "commander approve ";
    let approvals: Vec<&str> =
        printed.lines().filter_map(|line| Some(&line[line.find(command)?..])).collect();
    assert_eq!(approvals.len(), 2, "one for each application: {printed}");
    assert_eq!(levels(&cluster, 0).await, [1, 1]);
    for approval in approvals {
        cluster.expect(0, &format!("{approval} --sign-with cluster/admin2.pem"));
    }
    eventually("both have switched", async || levels(&cluster, 0).await == [2, 2]).await;
    cluster.expect(0, "upgrade status");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_programs_are_too_far_apart_say_so() {
    let mut cluster = cluster(1, 1);
    install(&mut cluster, 0, ("0.0.9", "1", "1"));
    install(&mut cluster, 1, ("0.1.0", "1-2", "1-2"));
    install(&mut cluster, 2, ("0.2.0", "2", "1-2"));
    cluster.try_start_all().await.unwrap();
    let why = "no wire version in common";
    eventually("both ends say why", async || {
        let (printed, _) = cluster.expect(1, "upgrade status");
        printed.contains(&format!("! node1: the peer refused this node: NoCommonVersion: \"{why}"))
            && printed.contains(&format!("! node3: the peer refused this node: NoCommonVersion: \"{why}"))
    })
    .await;
    let (printed, _) = cluster.expect(0, "status");
    assert!(printed.contains("node1 has no session with node3"), "{printed}");
    // The one between has both, so there is a majority for everything.
    let admin = cluster.client(cluster.administrator(), 1, PATIENT);
    let written = admin.execute(KV, put("k", "v"), CommandOptions::default()).await.unwrap();
    assert!(matches!(written.outcome, Outcome::Done(_)));
    admin.close().await;
    let refused = cluster.log(0) + &cluster.log(2);
    assert!(refused.contains("2 are spoken here, and 1 there"), "{refused}");
}

/// Node `n` is new and some other one is old: nobody gets the switch ordered.
async fn held_up(cluster: &Cluster, admin: &Client, n: usize) {
    let (printed, _) = cluster.expect(1, "upgrade status");
    let old = format!(
        "! {} has program 0.0.9, which knows level 1 at most: install the newer one",
        cluster.name(n + 1)
    );
    assert!(printed.contains(&old), "{printed}");
    assert!(printed.contains("the switch to level 2 waits for what is above"), "{printed}");
    let (_, said) = cluster.expect(3, "upgrade finish");
    assert!(said.contains("has program 0.0.9") && said.contains("Nothing was ordered"), "{said}");
    // Nor does who passes the tool by: the leader itself refuses it.
    for app in [KV, ZONES] {
        let before = state(cluster, app).await;
        let raise = AuthorityOp::Raise { to: Level::HOST_PORT }.encode();
        let refused = admin.execute(app, raise.into(), CommandOptions::default()).await;
        match &refused {
            Err(ExecuteError::Submit(SubmitError::Refused(refusal))) => {
                assert_eq!(refusal.code, RefusalCode::Conflict);
                let words = "not every member is known to have a program for level 2: ";
                assert!(refusal.text.contains(words), "{refusal:?}");
                assert!(refusal.text.contains("has level 1"), "{refusal:?}");
            }
            other => panic!("{other:?}"),
        }
        if app == ZONES {
            assert_eq!(state(cluster, app).await, before, "it left no trace");
        }
    }
}

async fn state(cluster: &Cluster, app: AppNdx) -> StateNdx {
    let path = format!("/v1/apps/{app}?consistency=linearizable");
    let state: synod_cluster::State = cluster.readers.get_json(0, &path).await.unwrap();
    state.state_ndx
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_not_asked_for_front_ends_and_the_others_are() {
    let mut cluster = cluster(1, 1);
    install(&mut cluster, 1, ("0.0.9", "1-2", "1-2"));
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    together(&cluster).await;
    let socket = cluster.data_dir(0).join("lanes").join("front-ends.sock");
    let asking = tokio::task::spawn_blocking(move || {
        let patience = Duration::from_secs(60);
        let mut front = FrontEnd::connect(&socket, "a test", Encoding::MessagePack, patience).unwrap();
        front.set_server(Some("node2"));
        let why = front.apps().unwrap_err().to_string();
        assert!(why.starts_with("server-away") && why.contains("older"), "{why}");
        let why = front.send_to("node2/desk", "", None).unwrap_err().to_string();
        assert!(why.starts_with("server-away"), "{why}");
        front.set_server(Some("node3"));
        assert_eq!(front.apps().unwrap().len(), 2);
    });
    asking.await.unwrap();
    cluster.stop_all().await;
}
