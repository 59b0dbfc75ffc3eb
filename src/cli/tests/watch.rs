//! Commanders write, nodes are killed and started again, and two watchers follow, one by a stream and one by asking for
//! pages, from node to node: 200 times each. What each of them was told is what the log says: every change, once, in order.
//!
//! A schedule is replayed with `SYNOD_WATCH_SEED=N`; what is in flight at a kill differs all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustls::RootCertStore;
use serde_json::Value;
use synod::reader::{HttpNode, Reader};
use synod::watcher::{Event, Selection, StateChanges, Transport, Watcher};
use synod_app_kv::{KvChange, KvCompare, KvCondition, KvOp, KvTxn};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, eventually};
use synod_machine::authority::{AuthorityOp, Grant, Role};
use synod_types::{Outcome, StateNdx};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const SEED: &str = "SYNOD_WATCH_SEED";
const NODES: usize = 3;
const WRITERS: usize = 3;
/// How often each watcher goes to another node.
const RECONNECTS: usize = 200;
/// Events after which it does, at most.
const EVENTS_MAX: usize = 8;
/// How often a node is killed.
const KILLS: usize = 12;
/// Keys of each writer, of which half are followed.
const KEYS: usize = 6;
/// What is followed.
const FOLLOWED: &str = "followed/";
const IMPATIENT: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(500),
    total: Duration::from_secs(2),
    upload: Duration::from_secs(2),
    idle: Duration::from_secs(1),
};

/// What a receipt says, of the keys that are followed: the state, and what each key holds behind it.
type Written = BTreeMap<u64, BTreeMap<String, Option<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_what_the_log_says_whatever_nodes_fail() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    eprintln!("to replay this schedule: {SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut cluster = Cluster::start(NODES).await;
    let reader = reader(&cluster);

    let (watched, mut progress) = watch::channel([0; 2]);
    let watched = Arc::new(watched);
    let mut watchers = JoinSet::new();
    for (n, transport) in [Transport::Stream, Transport::Poll].into_iter().enumerate() {
        let selection = Selection::Prefix(FOLLOWED.to_owned());
        let watcher = Watcher::new(&reader, "kv", selection, Some(0), transport);
        let (random, watched) = (StdRng::seed_from_u64(random.next_u64()), watched.clone());
        watchers.spawn(follow(n, watcher, random, watched));
    }

    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(Mutex::new(Written::new()));
    let mut writers = JoinSet::new();
    for (n, key) in granted(&cluster).await.into_iter().enumerate() {
        let client = cluster.client(key, n % NODES, IMPATIENT);
        let random = StdRng::seed_from_u64(random.next_u64());
        writers.spawn(write(n, client, random, stop.clone(), written.clone()));
    }

    // A kill each time that both watchers have come further.
    for kill in 1..=KILLS {
        let goal = RECONNECTS * kill / (KILLS + 1);
        let reached = progress.wait_for(|told| told.iter().all(|reconnects| *reconnects >= goal));
        assert!(timeout(PATIENCE, reached).await.is_ok(), "no progress before kill {kill}");
        let victim = random.random_range(0..NODES);
        cluster.kill(victim);
        cluster.spawn(victim);
        cluster.ready(victim).await;
    }
    let reached = progress.wait_for(|told| told.iter().all(|reconnects| *reconnects >= RECONNECTS));
    assert!(timeout(PATIENCE, reached).await.is_ok(), "the watchers do not come to their end");
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }

    // One more write, which both watchers wait for: it is the last thing that they are told.
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let last =
        client.execute(KV, synod_cluster::put(format!("{FOLLOWED}end"), "end"), CommandOptions::default());
    let last = last.await.unwrap().state_ndx;
    client.close().await;
    let mut told = Vec::new();
    while let Some(ended) = timeout(PATIENCE, watchers.join_next()).await.expect("they see the last write") {
        told.push(ended.unwrap());
    }

    let log = replay(&cluster, &reader, last).await;
    for (states, reconnects) in &told {
        assert!(*reconnects >= RECONNECTS, "only {reconnects} reconnects");
        assert_eq!(states.len(), log.len(), "as many states as in the log");
        assert_eq!(*states, log);
    }
    let written = std::mem::take(&mut *written.lock().unwrap());
    for (state_ndx, keys) in &written {
        let found = log.iter().find(|state| state.state_ndx == *state_ndx);
        let found = found.map(|state| {
            let changes = state.changes.iter();
            changes.map(|change| (change.key.clone().unwrap(), change.value.clone())).collect()
        });
        assert_eq!(found.as_ref(), Some(keys), "what the receipt of state {state_ndx} says");
    }
    cluster.stop_all().await;
    eprintln!(
        "{} states told, {} of them by receipts; {KILLS} kills, {} reconnects; {:.1} s",
        log.len(),
        written.len(),
        told.iter().map(|(_, reconnects)| reconnects).sum::<usize>(),
        begun.elapsed().as_secs_f64()
    );
}

fn reader(cluster: &Cluster) -> Reader {
    let nodes = cluster.founded.nodes.iter();
    let nodes = nodes.map(|node| HttpNode::named(node.plan.name.clone(), &node.plan.http.to_string()));
    Reader::new(nodes.collect(), &RootCertStore::empty().into(), PATIENCE).unwrap()
}

/// Writers with keys of their own.
async fn granted(cluster: &Cluster) -> Vec<SigningKey> {
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let keys: Vec<SigningKey> = (0..WRITERS).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect();
    for (n, key) in keys.iter().enumerate() {
        let key = key.public().spki_der().clone();
        let op = AuthorityOp::Grant(Grant::unlimited(key, format!("writer {n}"), Role::Writer));
        client.execute(KV, op.encode().into(), CommandOptions::default()).await.unwrap();
    }
    client.close().await;
    keys
}

/// Follows to the last write, and goes to another node after a few events each time. Gives what it was told, and how often it
/// went on elsewhere.
async fn follow(
    n: usize,
    mut watcher: Watcher,
    mut random: StdRng,
    watched: Arc<watch::Sender<[usize; 2]>>,
) -> (Vec<StateChanges>, usize) {
    let (mut states, mut reconnects) = (Vec::new(), 0);
    loop {
        for _ in 0..random.random_range(1..=EVENTS_MAX) {
            let Event::Change(state) = watcher.next().await.unwrap() else { continue };
            let is_last = state.changes.iter().any(|change| change.key.as_deref() == Some("followed/end"));
            states.push(state);
            if is_last {
                return (states, reconnects);
            }
        }
        watcher.leave();
        reconnects += 1;
        watched.send_modify(|all| all[n] = reconnects);
    }
}

/// Writes until it is told to stop; keeps what receipts say.
async fn write(
    number: usize,
    client: Client,
    mut random: StdRng,
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("{FOLLOWED}{number}/{}", random.random_range(0..KEYS));
        let other = format!("other/{number}/{}", random.random_range(0..KEYS));
        let value = format!("{number}:{n}");
        let (op, keys) = match random.random_range(0..10) {
            0..4 => {
                (KvOp::Put { key: key.clone().into(), value: value.clone().into() }, vec![(key, Some(value))])
            }
            4 => (KvOp::Put { key: other.into(), value: value.into() }, vec![]),
            // A key that does not exist is not changed by its removal: what the receipt does not say, the log does.
            5 => (KvOp::Delete { key: key.into() }, vec![]),
            6 => (KvOp::DeletePrefix { prefix: format!("{FOLLOWED}{number}/").into() }, vec![]),
            _ => {
                let second = format!("{FOLLOWED}{number}/second");
                let put = |key: &String, value: &str| KvChange::Put {
                    key: Bytes::from(key.clone()),
                    value: Bytes::from(value.to_owned()),
                    lease: None,
                };
                let txn = KvTxn {
                    compare: vec![KvCompare { key: other.clone().into(), condition: KvCondition::Exists }],
                    then: vec![
                        put(&key, "replaced"),
                        put(&other, &value),
                        put(&key, &value),
                        put(&second, &value),
                    ],
                    otherwise: vec![put(&key, &value), put(&second, &value)],
                };
                (KvOp::Txn(txn), vec![(key, Some(value.clone())), (second, Some(value))])
            }
        };
        // What becomes of a command that is not answered, the log says.
        let executed = client.execute(KV, op.encode().into(), CommandOptions::default()).await;
        if let Ok(receipt) = executed
            && matches!(receipt.outcome, Outcome::Done(_))
            && !keys.is_empty()
        {
            written.lock().unwrap().insert(receipt.state_ndx.0, keys.into_iter().collect());
        }
    }
    client.close().await;
}

/// What each node has in its history, which is the same for all of them, page by page.
async fn replay(cluster: &Cluster, reader: &Reader, last: StateNdx) -> Vec<StateChanges> {
    let mut logs = Vec::new();
    for n in 0..NODES {
        let one =
            Reader::new(vec![reader.nodes()[n].clone()], &RootCertStore::empty().into(), PATIENCE).unwrap();
        eventually("every node has caught up", async || {
            cluster.readers.state(n, "").await.is_ok_and(|state| state.state_ndx >= last)
        })
        .await;
        let selection = Selection::Prefix(FOLLOWED.to_owned());
        let mut watcher = Watcher::new(&one, "1", selection, Some(0), Transport::Poll);
        let mut log = Vec::new();
        while watcher.through() < Some(last.0) {
            if let Event::Change(state) = watcher.next().await.unwrap() {
                log.push(state);
            }
        }
        logs.push(log);
    }
    assert!(logs.windows(2).all(|two| two[0] == two[1]), "the nodes have one history");
    logs.remove(0)
}

/// The tools, as people use them, against a cluster of processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_write_read_watch_and_lock() {
    let mut cluster = Cluster::start(1).await;
    let tool = Tool { client: cluster.path("client.toml") };
    let done = |json: &Value| json["outcome"]["done"].clone();

    let first = tool.json(&["put", "config/a", "1"]).await;
    let made = first["stateNdx"].as_u64().unwrap();
    let txn =
        format!("if changed config/a = {made}\nthen put config/b \"two words\"\nthen delete config/a\n");
    let file = cluster.path("txn.txt");
    std::fs::write(&file, txn).unwrap();
    let moved = tool.json(&["txn", file.to_str().unwrap()]).await;
    assert_eq!(done(&moved)["succeeded"], true, "{moved}");
    let again = tool.json(&["txn", file.to_str().unwrap()]).await;
    assert_eq!(done(&again)["failed"], 0, "{again}");
    assert_eq!(done(&tool.json(&["add", "n", "-5"]).await)["value"], -5);
    assert_eq!(tool.json(&["get", "config/a", "--at", &made.to_string()]).await["value"], "1");
    let (code, _, said) = tool.run(&["get", "config/a"]).await;
    assert_eq!(code, Some(1), "{said}");
    let history = tool.json(&["history", "config/a"]).await;
    assert_eq!(history["versions"][0]["removed"], true, "{history}");
    assert_eq!(tool.json(&["list", "--all"]).await["entries"][0]["value"], "two words");

    let after = made.to_string();
    let follow = ["watch", "--after", &after, "--count", "2", "--prefix", "config/"];
    let ((code, lines, _), _) = tokio::join!(tool.run(&follow), tool.json(&["put", "config/c", "3"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (Some(0), 2));
    assert_eq!(
        (&lines[0]["stateNdx"], &lines[0]["changes"][0]["removed"]),
        (&moved["stateNdx"], &"deleted".into())
    );
    assert_eq!(
        (&lines[1]["changes"][0]["key"], &lines[1]["changes"][0]["value"]),
        (&"config/c".into(), &"3".into())
    );

    let lease = tool.json(&["lease", "grant", "--ttl", "1h"]).await["stateNdx"].as_u64().unwrap().to_string();
    tool.json(&["put", "service/web", "x", "--lease", &lease]).await;
    assert_eq!(tool.json(&["lease", "show", &lease]).await["keys"][0]["key"], "service/web");
    assert_eq!(tool.json(&["lease", "list"]).await["leases"][0]["ttlMs"], 3_600_000);
    assert_eq!(done(&tool.json(&["lease", "keep-alive", &lease]).await)["gone"], Value::Array(Vec::new()));
    assert_eq!(done(&tool.json(&["lease", "revoke", &lease]).await)["deleted"], 1);
    let (code, ..) = tool.run(&["lease", "show", &lease]).await;
    assert_eq!(code, Some(1));

    assert_eq!(tool.json(&["usage"]).await["keys"], 3);
    tool.json(&["settings", "--history-states", "1000"]).await;
    assert_eq!(tool.json(&["usage"]).await["history"]["statesMax"], 1000);
    let compacted = tool.json(&["compact", &made.to_string()]).await;
    assert_eq!(done(&compacted)["oldest"], made);
    let (code, _, said) = tool.run(&["watch", "--after", "0", "--count", "1"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is forgotten"), "{said}");
    assert_eq!(done(&tool.json(&["delete", "--prefix", "config/"]).await)["deleted"], 2);

    locks(&tool, &cluster).await;
    cluster.stop_all().await;
}

/// Locks are held by one at a time, passed on in order, and end with their command.
async fn locks(tool: &Tool, cluster: &Cluster) {
    let (code, told, _) = tool
        .run(&["lock", "job/a", "--value", "me", "--", "sh", "-c", "echo $SYNOD_FENCING_TOKEN; exit 7"])
        .await;
    assert_eq!(code, Some(7), "the command's own exit code");
    let first: u64 = told.trim().parse().unwrap();

    // Who is elected stays so until it is interrupted; the next one takes over with a higher token.
    let mut elected = tool.command(&["elect", "job/a", "--value", "one"]).spawn().unwrap();
    let mut lines = BufReader::new(elected.stdout.take().unwrap()).lines();
    let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let second = line["fencingToken"].as_u64().unwrap();
    assert!(second > first, "{line}");
    let waiting = async { tool.run(&["lock", "job/a", "--", "sh", "-c", "echo $SYNOD_FENCING_TOKEN"]).await };
    let release = async {
        eventually("somebody waits", async || {
            let lock: Value = cluster.readers.get_json(0, "/v1/apps/kv/locks/job/a").await.unwrap();
            lock["holder"]["fencingToken"] == second && lock["waitingCount"] == 1
        })
        .await;
        // The lease is taken from who is elected, who notices when it keeps it alive; the lock passes on at once.
        let lease = line["lease"].as_u64().unwrap().to_string();
        tool.json(&["lease", "revoke", &lease]).await;
    };
    let ((code, told, said), ()) = tokio::join!(waiting, release);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.trim().parse::<u64>().unwrap() > second && said.contains("1 ahead"), "{told} {said}");
    let status = timeout(PATIENCE, elected.wait()).await.expect("it notices that it is over").unwrap();
    assert_eq!(status.code(), Some(3));
    let free: Value = cluster.readers.get_json(0, "/v1/apps/kv/locks/job/a").await.unwrap();
    assert_eq!((&free["holder"], &free["waitingCount"]), (&Value::Null, &0.into()), "nobody is left behind");
}

/// `synod kv`.
struct Tool {
    client: std::path::PathBuf,
}

impl Tool {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(synod_cluster::program());
        let split = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        // The shortest time for which a lock is kept, for it is waited for.
        let ttl = matches!(arguments[0], "lock" | "elect").then_some(["--ttl", "3s"]);
        command.args(["kv", "--output", "json"]).args(&arguments[..split]).args(ttl.into_iter().flatten());
        command.arg("--client").arg(&self.client).args(&arguments[split..]);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    /// Exit code, standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = timeout(PATIENCE, self.command(arguments).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// What it prints when all is well.
    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, told, said) = self.run(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {told}{said}");
        serde_json::from_str(&told).unwrap()
    }
}
