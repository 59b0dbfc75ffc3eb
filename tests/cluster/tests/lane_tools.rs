//! Tools that execute the log of an application in a process of its own by its own program: audits, backups, and clusters that go on
//! from a backup; with programs that are in order, and with such as are not.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::fs;
use std::process::{Command, Output};

use bytes::Bytes;
use serde_json::Value;
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::worker::{
    BABBLES, COUNTER, DIES_AT, FORGETS, HANGS_AT, LIES_FROM, PID_FILE, Worker, apps, certified,
};
use synod_cluster::{Cluster, Readers, base_port, eventually, program};
use synod_types::Outcome;
use synod_types::command::Operation;

/// The program, as tests want it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_synod-counter");
/// Commands before the backup: behind one snapshot, and not behind two, so that no log is cut.
const COMMANDS: u64 = 130;

fn start(cluster: &Cluster, n: usize) -> Worker {
    Worker::start(cluster, n, &[PROGRAM.into()], &[])
}

async fn start_all(cluster: &mut Cluster) -> Vec<Worker> {
    cluster.try_start_all().await.unwrap();
    (0..cluster.len()).map(|n| start(cluster, n)).collect()
}

/// Adds one to a counter; gives the value that this made.
async fn add(client: &Client, name: &str) -> u64 {
    let operation: Bytes = [&[Operation::APP], name.as_bytes()].concat().into();
    let receipt = client.execute(COUNTER, operation, CommandOptions::default()).await.unwrap();
    let Outcome::Done(answer) = receipt.outcome else { panic!("{receipt:?}") };
    std::str::from_utf8(&answer).unwrap().parse().unwrap()
}

/// Waits until a node's application answers a query so.
async fn answers(readers: &Readers, n: usize, query: &str, expected: &str) {
    let path = format!("/v1/apps/{COUNTER}/query/{query}");
    eventually("the application answers", async || {
        readers.get(n, &path).await.is_ok_and(|answer| answer == expected)
    })
    .await;
}

/// Waits until all nodes have executed as much.
async fn settled(cluster: &Cluster) {
    eventually("all nodes have executed all", async || {
        let mut states = Vec::new();
        for n in 0..cluster.len() {
            let state: Value = cluster.readers.get_json(n, &format!("/v1/apps/{COUNTER}")).await.unwrap();
            states.push((state["stateNdx"].clone(), state["applied"].clone()));
        }
        states.iter().all(|state| *state == states[0])
    })
    .await;
}

/// Runs a tool in the cluster's directory; arguments may have spaces.
fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(cluster.directory.path());
    command.env("SYNOD_CLIENT", cluster.path("client.toml")).output().unwrap()
}

/// The same of one that ends with this exit code and says these words.
#[track_caller]
fn fails(cluster: &Cluster, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(cluster, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

fn urls(cluster: &Cluster) -> String {
    let urls = cluster.founded.nodes.iter().map(|node| format!("--url {}", node.plan.http));
    urls.collect::<Vec<_>>().join(" ")
}

/// What is printed of the counters.
fn counters(apps: &Value) -> &Value {
    apps.as_array().unwrap().iter().find(|app| app["appNdx"] == COUNTER.0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_holds_is_audited_backed_up_and_restored() {
    let mut cluster = Cluster::found_apps(3, apps());
    (0..3).for_each(|n| cluster.configure(n, "\n[snapshots]\ncommands = 100"));
    let workers = start_all(&mut cluster).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    for n in 1..COMMANDS {
        assert_eq!(add(&client, "a").await, n);
    }
    assert_eq!(add(&client, "b").await, 1);
    client.close().await;
    let all = format!("a {}\nb 1\n", COMMANDS - 1);
    answers(&cluster.readers, 0, "*", &all).await;
    settled(&cluster).await;
    eventually("there is a snapshot", async || certified(&cluster.readers, 0).await.is_some()).await;
    let lane = format!("--lane counter={PROGRAM}");

    let audited = cluster.expect_json(0, &format!("audit {} --quiet {lane}", urls(&cluster)));
    assert_eq!(counters(&audited["apps"])["stateNdx"], COMMANDS, "{audited}");
    assert_eq!(counters(&audited["apps"])["comparedWith"].as_array().unwrap().len(), 3, "{audited}");
    assert_eq!(audited["notAudited"].as_array().unwrap().len(), 0, "{audited}");
    let (without, _) = cluster.expect(0, &format!("audit {} --quiet", urls(&cluster)));
    assert!(without.contains("NOT audited") && without.contains("--lane counter=COMMAND"), "{without}");

    let (_, said) = cluster.expect(2, "backup --to b.synod");
    assert!(said.contains("--lane counter=COMMAND"), "{said}");
    let made = cluster.expect_json(0, &format!("backup --to b.synod {lane}"));
    let held = counters(&made["manifest"]["apps"]);
    assert_eq!(
        (&held["stateNdx"], &held["begins"]["with"]),
        (&COMMANDS.into(), &"certified snapshot".into())
    );
    cluster.expect(0, "backup show b.synod");

    // Another cluster, whose processes begin with what is in the backup.
    let (_, said) = cluster.expect(2, "restore b.synod --dir nowhere");
    assert!(said.contains("--lane counter=COMMAND"), "{said}");
    assert!(!cluster.directory.path().join("nowhere").exists());
    let (mut again, printed) =
        cluster.heir(&format!("restore b.synod --nodes 3 --base-port {} {lane}", base_port(3)));
    assert_eq!(counters(&printed["apps"])["stateNdx"], COMMANDS);
    let new_workers = start_all(&mut again).await;
    for n in 0..3 {
        answers(&again.readers, n, "*", &all).await;
    }
    let client = again.client(again.administrator(), 0, Timeouts::default());
    assert_eq!(add(&client, "a").await, COMMANDS);
    client.close().await;
    answers(&again.readers, 2, "a?consistency=linearizable", &COMMANDS.to_string()).await;
    settled(&again).await;
    let (audited, _) = again.expect(0, &format!("audit {} --quiet {lane}", urls(&again)));
    assert!(audited.contains("for which genesis vouches"), "{audited}");
    let backup = cluster.directory.path().join("b.synod");
    again.expect(0, &format!("audit {} --quiet {lane} --origin {}", urls(&again), backup.display()));
    // A backup of what goes on from a backup.
    let second = again.expect_json(0, &format!("backup --to again.synod {lane}"));
    assert_eq!(counters(&second["manifest"]["apps"])["stateNdx"], COMMANDS + 1);
    again.stop_all().await;
    drop(new_workers);

    // The same of nodes that do not run.
    cluster.stop_all().await;
    drop(workers);
    let dirs: Vec<String> = (0..2).map(|n| format!("--data-dir {}", cluster.data_dir(n).display())).collect();
    let audited = cluster.expect_json(0, &format!("audit {} --quiet {lane}", dirs[0]));
    assert_eq!(audited["notAudited"].as_array().unwrap().len(), 0, "{audited}");
    let made = cluster.expect_json(0, &format!("backup --to off.synod {} {lane}", dirs.join(" ")));
    let of = |made: &Value| counters(&made["manifest"]["apps"])["chain"].clone();
    assert_eq!(of(&made), *counters(&printed["apps"]).get("chain").unwrap());
    let recover =
        format!("recover --from-minority {} {lane} --accept-that-commands-may-be-lost", dirs.join(" "));
    let (_, printed) = cluster.heir(&format!("{recover} --nodes 3 --base-port {}", base_port(3)));
    assert_eq!(counters(&printed["apps"])["stateNdx"], COMMANDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_in_the_wrong_is_named_with_application_and_slot() {
    let mut cluster = Cluster::found_apps(1, apps());
    let worker = start_all(&mut cluster).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    for n in 1..=5 {
        assert_eq!(add(&client, "a").await, n);
    }
    add(&client, "b").await;
    client.close().await;
    settled(&cluster).await;
    cluster.expect(0, &format!("backup --to b.synod --lane counter={PROGRAM}"));
    let url = cluster.founded.nodes[0].plan.http.to_string();
    let lane = |variable: &str, value: &str| format!("counter=env {variable}={value} '{PROGRAM}'");
    let audit = |lane: &str, code, words: &[&str]| {
        let arguments = ["audit", "--url", &url, "--quiet", "--lane-answer", "1", "--lane", lane];
        fails(&cluster, &arguments, code, words);
    };
    audit(&lane(LIES_FROM, "4"), 7, &["application 3, slot", "stateNdx 6: wrong-chain", "--lane"]);
    let died =
        "program-failed: the application's own program does not execute this slot: the other end closed";
    audit(&lane(DIES_AT, "4"), 7, &["application 3, slot", "stateNdx 3: ", died]);
    let hangs = "did not answer within 1000 ms";
    audit(&lane(HANGS_AT, "6"), 7, &["application 3, slot", "stateNdx 5: program-failed", hangs]);
    let forgets =
        "does not stand by its state: the application, restored from its own snapshot, gives another";
    audit(&lane(FORGETS, "yes"), 7, &["application 3, slot", "stateNdx 6: program-failed", forgets]);
    // What does not begin is no finding about the log.
    audit(
        &lane(BABBLES, "yes"),
        1,
        &["application 3 (counter): its program cannot be used", "makes no sense"],
    );
    audit("counter=false", 1, &["its program cannot be used: false", "it ended (exit status: 1) before"]);
    audit("counter=./nothing-here", 1, &["cannot start ./nothing-here"]);
    audit("counter='", 2, &["a quote in the command is not closed"]);
    audit("kv=true", 2, &["--lane: ", "it needs no lane"]);
    audit("nobody=true", 2, &["genesis names no application \"nobody\""]);

    let liar = lane(FORGETS, "yes");
    fails(&cluster, &["backup", "--to", "c.synod", "--lane", &liar], 7, &["program-failed"]);
    assert!(!cluster.directory.path().join("c.synod").exists(), "nothing is left of it");
    fails(&cluster, &["restore", "b.synod", "--dir", "c", "--lane", &liar], 7, &["program-failed"]);
    assert!(!cluster.directory.path().join("c").exists());
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_ends_with_the_tool_that_has_started_it() {
    let mut cluster = Cluster::found_apps(1, apps());
    let worker = start_all(&mut cluster).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    add(&client, "a").await;
    client.close().await;
    let (url, pid_file) = (cluster.founded.nodes[0].plan.http.to_string(), cluster.path("pid"));
    let lane = format!("{COUNTER}=env {PID_FILE}='{}' {PROGRAM}", pid_file.display());
    let output = run(&cluster, &["audit", "--url", &url, "--quiet", "--lane", &lane]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pid = fs::read_to_string(&pid_file).unwrap();
    let running = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(running.is_empty(), "it is gone: {}", String::from_utf8_lossy(&running));
    assert!(pid.parse::<u32>().is_ok(), "it was there: {pid}");
    drop(worker);
}
