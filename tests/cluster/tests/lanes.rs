//! An application in processes of its own, one beside each node: killed, hung and lying, under writes.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use synod_app_kv::KvOp;
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, ExecuteError, SubmitError, Timeouts};
use synod_cluster::worker::{COUNTER, LIES_FROM, PID_FILE, Worker, apps, certified};
use synod_cluster::{Cluster, KV, Readers, eventually, put};
use synod_machine::Role;
use synod_machine::authority::{AuthorityOp, Grant};
use synod_types::command::Operation;
use synod_types::{AppNdx, Outcome, RefusalCode, StateNdx};

/// The program, as tests want it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_synod-counter");
const KILLS: usize = 100;
const WRITERS: usize = 8;
/// Of the measurement: clients, rounds of each kind, and how long one is.
const CLIENTS: usize = 128;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// Commands of each kind in a round of a lone client.
const LONE_COMMANDS: usize = 2_000;

const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(5),
    total: Duration::from_secs(60),
    upload: Duration::from_secs(60),
    idle: Duration::from_secs(5),
};

fn start(cluster: &Cluster, n: usize) -> Worker {
    Worker::start(cluster, n, &[PROGRAM.into()], &[])
}

fn operation(text: &str) -> Bytes {
    [&[Operation::APP], text.as_bytes()].concat().into()
}

/// A key that may count.
async fn writer(admin: &Client) -> SigningKey {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let grant = Grant::unlimited(key.public().spki_der().to_vec().into(), "writer", Role::Writer);
    let granted =
        admin.execute(COUNTER, AuthorityOp::Grant(grant).encode().into(), CommandOptions::default()).await;
    assert!(matches!(granted.unwrap().outcome, Outcome::Done(_)));
    key
}

/// What a node's application answers; its problem, if it does not.
async fn ask(readers: &Readers, n: usize, query: &str) -> Result<String, String> {
    let path = format!("/v1/apps/{COUNTER}/query/{query}");
    match readers.get(n, &path).await {
        Ok(answer) => Ok(String::from_utf8(answer.to_vec()).unwrap()),
        Err(why) => Err(why.status().map_or_else(|| why.to_string(), |status| status.as_u16().to_string())),
    }
}

async fn answered(readers: &Readers, n: usize) {
    eventually("the application answers", async || ask(readers, n, "*").await.is_ok()).await;
}

/// Adds one; gives the value that this made.
async fn add(client: &Client, name: &str) -> u64 {
    loop {
        let executed = client.execute(COUNTER, operation(name), CommandOptions::default()).await;
        let receipt = match executed {
            Ok(receipt) => receipt,
            // Too many wait to be checked, which is no answer to anything that was ordered.
            Err(ExecuteError::Submit(SubmitError::Refused(refusal))) if refusal.code == RefusalCode::Busy => {
                continue;
            }
            Err(why) => panic!("{why}"),
        };
        let Outcome::Done(answer) = receipt.outcome else { panic!("{receipt:?}") };
        return std::str::from_utf8(&answer).unwrap().parse().unwrap();
    }
}

async fn states(cluster: &Cluster) -> Vec<(Value, Value)> {
    let mut states = Vec::new();
    for n in 0..cluster.len() {
        let state: Value = cluster.readers.get_json(n, &format!("/v1/apps/{COUNTER}")).await.unwrap();
        states.push((state["stateNdx"].clone(), state["chain"].clone()));
    }
    states
}

async fn alike(cluster: &Cluster) {
    eventually("all nodes have the same state", async || {
        let states = states(cluster).await;
        states.iter().all(|state| *state == states[0])
    })
    .await;
    let first = ask(&cluster.readers, 0, "*").await.unwrap();
    for n in 1..cluster.len() {
        assert_eq!(ask(&cluster.readers, n, "*").await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_in_mid_stream_lose_and_double_nothing() {
    let mut cluster = Cluster::found_apps(3, apps());
    // The least that there may be, so that logs are cut on the way.
    (0..3).for_each(|n| cluster.configure(n, "\n[snapshots]\ncommands = 100"));
    cluster.try_start_all().await.unwrap();
    assert_eq!(ask(&cluster.readers, 0, "x").await, Err("503".to_owned()), "nobody is there yet");
    let mut workers: Vec<Worker> = (0..3).map(|n| start(&cluster, n)).collect();
    for n in 0..3 {
        answered(&cluster.readers, n).await;
    }

    let admin = cluster.client(cluster.administrator(), 0, PATIENT);
    let mut keys = Vec::new();
    for _ in 0..WRITERS {
        keys.push(writer(&admin).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let total = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = keys
        .into_iter()
        .enumerate()
        .map(|(writer, key)| {
            let client = cluster.client(key, writer % 3, PATIENT);
            let (stop, total) = (Arc::clone(&stop), Arc::clone(&total));
            tokio::spawn(async move {
                let (name, mut count) = (format!("writer{writer}"), 0);
                while !stop.load(Ordering::Relaxed) {
                    let value = add(&client, &name).await;
                    count += 1;
                    assert_eq!(value, count, "{name}: each is executed once");
                    total.fetch_add(1, Ordering::Relaxed);
                }
                client.close().await;
                (name, count)
            })
        })
        .collect();
    for kill in 0..KILLS {
        // In the middle of the stream, which goes on at the others.
        let before = total.load(Ordering::Relaxed);
        eventually("commands are executed", async || total.load(Ordering::Relaxed) > before + WRITERS).await;
        let n = kill % 3;
        workers[n].kill();
        if kill % 10 == 0 {
            // The other applications of this node do not notice.
            let value = Bytes::from(kill.to_string());
            let receipt = admin.execute(KV, put("kills", value), CommandOptions::default()).await.unwrap();
            let path = format!("/v1/apps/kv/kv/kills?min={}", receipt.state_ndx);
            assert_eq!(cluster.readers.get(n, &path).await.unwrap(), kill.to_string());
            assert_eq!(ask(&cluster.readers, n, "x").await, Err("503".to_owned()));
        }
        workers[n] = start(&cluster, n);
        if kill % 25 == 24 {
            // Now the node goes, too, and begins with its snapshot and its log.
            cluster.kill(n);
            workers[n].kill();
            cluster.spawn(n);
            cluster.ready(n).await;
            workers[n] = start(&cluster, n);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    for writer in writers {
        expected.push(writer.await.unwrap());
    }
    for n in 0..3 {
        answered(&cluster.readers, n).await;
    }
    alike(&cluster).await;
    let lines: String = expected.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
    assert_eq!(ask(&cluster.readers, 2, "*?consistency=linearizable").await.unwrap(), lines);
    let executed: u64 = expected.iter().map(|(_, count)| count).sum();
    println!("{executed} commands over {KILLS} kills");
    let all: String = (0..3).map(|n| cluster.log(n)).collect();
    assert!(all.contains("applying what was chosen meanwhile"), "nobody was ever away");
    let certified = certified(&cluster.readers, 0).await;
    assert!(certified > Some(StateNdx(100)), "a majority has signed what processes gave: {certified:?}");

    // Who executes the log again has no such process, and says so.
    let url = &cluster.founded.nodes[0].plan.http;
    let audited = cluster.expect_json(0, &format!("audit --url {url} --quiet"));
    assert_eq!(audited["notAudited"][0]["appNdx"], COUNTER.0, "{audited}");
    cluster.expect(2, &format!("audit --url {url} --quiet --app {COUNTER}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_its_process_again_when_it_dies_and_when_it_hangs() {
    let mut cluster = Cluster::found_apps(1, apps());
    let pid_file = cluster.path("pid");
    cluster.configure(0, &format!("command = [{PROGRAM:?}]\nanswer = 500"));
    cluster.set_environment(0, vec![(PID_FILE, pid_file.clone().into_os_string())]);
    cluster.try_start_all().await.unwrap();
    answered(&cluster.readers, 0).await;
    let client = cluster.client(cluster.administrator(), 0, PATIENT);
    assert_eq!(add(&client, "a").await, 1);
    let pid = || Pid::from_raw(fs::read_to_string(&pid_file).unwrap().parse().unwrap()).unwrap();
    for (count, signal) in (2..).zip([Signal::KILL, Signal::STOP]) {
        let before = pid();
        kill_process(before, signal).unwrap();
        // It is executed when the next process is there, which has the first one's state.
        assert_eq!(add(&client, "a").await, count);
        assert_ne!(pid(), before);
    }
    assert_eq!(ask(&cluster.readers, 0, "a").await.unwrap(), "3");
    let why = client.execute(COUNTER, operation("a five"), CommandOptions::default()).await.unwrap_err();
    assert!(why.to_string().contains("malformed"), "refused before it was ordered: {why}");
    assert_eq!(states(&cluster).await[0].0, 3);
    let last = pid();
    cluster.stop(0).await;
    eventually("its process ends with it", async || rustix::process::test_kill_process(last).is_err()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_not_the_same_twice_is_found_out_by_its_own_node() {
    let mut cluster = Cluster::found_apps(1, apps());
    cluster.try_start_all().await.unwrap();
    let first = start(&cluster, 0);
    answered(&cluster.readers, 0).await;
    let client = cluster.client(cluster.administrator(), 0, PATIENT);
    for count in 1..=3 {
        assert_eq!(add(&client, "a").await, count);
    }
    drop(first);
    let environment = [(LIES_FROM, OsString::from("2"))];
    let liar = Worker::start(&cluster, 0, &[PROGRAM.into()], &environment);
    let fenced = "did not come to the same outcome twice: it depends on something else";
    eventually("nobody has to ask for it", async || cluster.log(0).contains(fenced)).await;
    let file = cluster.data_dir(0).join(format!("diverged-{COUNTER}"));
    eventually("it is written down", async || file.exists()).await;
    let evidence: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!((&evidence["stateNdx"], &evidence["isExact"]), (&2.into(), &true.into()));
    assert_eq!(ask(&cluster.readers, 0, "a").await, Err("503".to_owned()));
    drop(liar);
    cluster.stop(0).await;
    let config = cluster.founded.nodes[0].config.clone();
    let (said, _) = cluster.expect(0, &format!("repair --config {}", config.display()));
    assert!(said.contains("application 3: differed from itself from state 2 on"), "{said}");
    cluster.spawn(0);
    cluster.ready(0).await;
    let _mended = start(&cluster, 0);
    assert_eq!(add(&client, "a").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_answers_otherwise_than_the_others_is_found_out() {
    let mut cluster = Cluster::found_apps(3, apps());
    cluster.try_start_all().await.unwrap();
    let honest: Vec<Worker> = (0..2).map(|n| start(&cluster, n)).collect();
    let environment = [(LIES_FROM, OsString::from("3"))];
    let liar = Worker::start(&cluster, 2, &[PROGRAM.into()], &environment);
    for n in 0..3 {
        answered(&cluster.readers, n).await;
    }
    let client = cluster.client(cluster.administrator(), 0, PATIENT);
    for count in 1..=5 {
        assert_eq!(add(&client, "a").await, count);
    }
    eventually("the liar's node answers nobody", async || {
        ask(&cluster.readers, 2, "a").await == Err("503".to_owned())
    })
    .await;
    eventually("it is written down", async || cluster.log(2).contains("differs from")).await;
    assert_eq!(ask(&cluster.readers, 0, "a?consistency=linearizable").await.unwrap(), "5");
    eventually("the other one comes there, too", async || {
        ask(&cluster.readers, 1, "a").await.is_ok_and(|value| value == "5")
    })
    .await;

    // The program is mended: its node makes the state again.
    cluster.stop(2).await;
    drop(liar);
    cluster.expect(0, &format!("repair --config {}", cluster.founded.nodes[2].config.display()));
    cluster.spawn(2);
    cluster.ready(2).await;
    let _mended = start(&cluster, 2);
    eventually("it has the state of the others", async || {
        ask(&cluster.readers, 2, "a").await.is_ok_and(|value| value == "5")
    })
    .await;
    alike(&cluster).await;
    drop(honest);
}

/// What a command takes, in µs.
async fn taken(client: &Client, app: AppNdx, work: &Bytes) -> f64 {
    let asked = Instant::now();
    let receipt = client.execute(app, work.clone(), CommandOptions::default()).await.unwrap();
    assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
    asked.elapsed().as_secs_f64() * 1e6
}

/// Commands a second and the median of what one took in µs, of clients that each wait for their answers.
async fn measured(clients: &[Client], app: AppNdx, work: &Bytes) -> (f64, f64) {
    let begun = Instant::now();
    let running = clients.iter().map(|client| {
        let (client, work) = (client.clone(), work.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < ROUND {
                took.push(taken(&client, app, &work).await);
            }
            took
        })
    });
    let mut took = Vec::new();
    for client in running.collect::<Vec<_>>() {
        took.extend(client.await.unwrap());
    }
    let rate = f64::from(u32::try_from(took.len()).unwrap()) / begun.elapsed().as_secs_f64();
    (rate, median(took))
}

/// What a lone command takes with each of two applications in µs, the median: now one, now the other, so that whatever else the
/// machine does concerns both.
async fn taken_in_turn(client: &Client, works: [(AppNdx, &Bytes); 2]) -> [f64; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..LONE_COMMANDS {
        for ((app, work), took) in works.into_iter().zip(&mut took) {
            took.push(taken(client, app, work).await);
        }
    }
    took.map(median)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// What a command costs more where its application is in a process of its own: whole clusters, both kinds in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: measures"]
async fn through_a_lane_and_without() {
    let mut cluster = Cluster::found_apps(3, apps());
    cluster.try_start_all().await.unwrap();
    let _workers: Vec<Worker> = (0..3).map(|n| start(&cluster, n)).collect();
    for n in 0..3 {
        answered(&cluster.readers, n).await;
    }
    let admin = cluster.client(cluster.administrator(), 0, PATIENT);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let key = writer(&admin).await;
        let grant = Grant::unlimited(key.public().spki_der().to_vec().into(), "writer", Role::Writer);
        let granted = admin.execute(KV, AuthorityOp::Grant(grant).encode().into(), CommandOptions::default());
        assert!(matches!(granted.await.unwrap().outcome, Outcome::Done(_)));
        clients.push(cluster.client(key, 0, PATIENT));
    }
    let here: Bytes = KvOp::Add { key: Bytes::from_static(b"a"), delta: 1 }.encode().into();
    for _ in 0..ROUNDS {
        let [inside, apart] = taken_in_turn(&clients[0], [(KV, &here), (COUNTER, &operation("a"))]).await;
        println!(
            "a lone command: {inside:.0} µs in the node, {apart:.0} µs through a lane, {:.0} µs longer",
            apart - inside
        );
    }
    println!("clients  in the node: commands/s, median  through a lane  of it  longer by");
    for count in [16, CLIENTS] {
        let (mut inside, mut apart) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for _ in 0..ROUNDS {
            for (app, work, rounds) in [(KV, &here, &mut inside), (COUNTER, &operation("a"), &mut apart)] {
                let (rate, took) = measured(&clients[..count], app, work).await;
                rounds.0.push(rate);
                rounds.1.push(took);
            }
        }
        let (rate, took) = (median(inside.0), median(inside.1));
        let (rate_apart, took_apart) = (median(apart.0), median(apart.1));
        let (of, longer) = (100.0 * rate_apart / rate, took_apart - took);
        println!(
            "{count:<7}  {rate:.0}, {took:.0} µs  {rate_apart:.0}, {took_apart:.0} µs  {of:.0} %  {longer:.0} µs"
        );
    }
    for client in clients.into_iter().chain([admin]) {
        client.close().await;
    }
    cluster.stop_all().await;
}
