//! The two examples of an application in a process of its own, one in Rust and one in Python, in one cluster: they are the same state
//! machine.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::worker::{COUNTER, Worker, apps, certified};
use synod_cluster::{Cluster, eventually, program};
use synod_types::command::Operation;
use synod_types::{Outcome, StateNdx};

const RUST: &str = env!("CARGO_BIN_EXE_synod-counter");
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apps/sdk-python");

/// A Python that has msgpack: that of the system, or of the SDK's own tests.
fn python() -> Option<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python-sdk/bin/python"));
    let has_msgpack = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import msgpack"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    [PathBuf::from("python3"), own].into_iter().find(has_msgpack)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_in_two_languages_is_one() {
    let Some(python) = python() else {
        eprintln!(
            "SKIPPED: no python3 here has msgpack (apt-get install python3-msgpack, or apps/sdk-python/test)"
        );
        return;
    };
    let mut cluster = Cluster::found_apps(3, apps());
    (0..3).for_each(|n| cluster.configure(n, "\n[snapshots]\ncommands = 100\n[front_ends]"));
    cluster.try_start_all().await.unwrap();
    let example = format!("{SDK}/examples/counter.py");
    let python = [python.into_os_string(), example.into()];
    let python_path = [("PYTHONPATH", OsString::from(format!("{SDK}/src")))];
    let start = |cluster: &Cluster, n: usize| match n {
        0 => Worker::start(cluster, n, &[RUST.into()], &[]),
        _ => Worker::start(cluster, n, &python, &python_path),
    };
    let mut workers: Vec<Worker> = (0..3).map(|n| start(&cluster, n)).collect();
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let operations = [
        "a",
        "a +5",
        "b -1",
        "b",
        "a -3",
        "long +9223372036854775807",
        "long +9223372036854775807",
        "long +5",
    ];
    for round in 0..30 {
        for operation in operations {
            let bytes = [&[Operation::APP], operation.as_bytes()].concat();
            let receipt = client.execute(COUNTER, bytes.into(), CommandOptions::default()).await.unwrap();
            if (round, operation) == (0, "a +5") {
                assert_eq!(receipt.outcome, Outcome::Done("6".into()));
            }
        }
        if round % 10 == 5 {
            let n = 1 + usize::from(round == 15);
            workers[n].kill();
            workers[n] = start(&cluster, n);
        }
    }
    let path = format!("/v1/apps/{COUNTER}");
    let states = async |n: usize| -> Value { cluster.readers.get_json(n, &path).await.unwrap() };
    let answer = async |n: usize| cluster.readers.get(n, &format!("{path}/query/*?min=240")).await.ok();
    eventually("all have executed all", async || {
        let first = states(0).await;
        let mut alike = first["stateNdx"] == StateNdx(240).0;
        for n in 1..3 {
            alike &= states(n).await["chain"] == first["chain"];
        }
        alike
    })
    .await;
    let first = answer(0).await.unwrap();
    assert!(String::from_utf8(first.to_vec()).unwrap().starts_with("a 90\nb "), "{first:?}");
    for n in 1..3 {
        eventually("it answers", async || answer(n).await.is_some()).await;
        assert_eq!(answer(n).await.unwrap(), first);
    }
    // And Python reads what Rust holds.
    let socket = cluster.data_dir(0).join("lanes").join("front-ends.sock");
    let script = "import sys; from synod_sdk.front import FrontEnd; front = FrontEnd(sys.argv[1]); \
                  print(front.query('counter', b'a', linearizable=True).answer.decode(), front.wait('counter', 240, 60))";
    let mut front = Command::new(&python[0]);
    front.args(["-c", script]).arg(socket).env(python_path[0].0, &python_path[0].1);
    let printed = tokio::task::spawn_blocking(move || front.output().unwrap()).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&printed.stdout),
        "90 240\n",
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    eventually("a majority has signed the same state", async || {
        certified(&cluster.readers, 1).await >= Some(StateNdx(200))
    })
    .await;

    // What Rust and Python came to is backed up by Python.
    let words = python.map(|word| word.into_string().unwrap()).join(" ");
    let lane = format!("counter=env PYTHONPATH={SDK}/src {words}");
    let mut backup = Command::new(program());
    backup.args(["backup", "--to", "b.synod", "--output", "json", "--lane", &lane]);
    backup.current_dir(cluster.directory.path()).env("SYNOD_CLIENT", cluster.path("client.toml"));
    let made = tokio::task::spawn_blocking(move || backup.output().unwrap()).await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["manifest"]["apps"][2]["stateNdx"], StateNdx(240).0, "{made}");
}
