//! Clients write and read a few keys of a real cluster while its nodes are killed and paused. What the clients were told
//! is then checked twice: whether there is one order of all operations that explains every answer, and whether the order
//! that the answers claim by their stateNdx is one (`synod-history`).
//!
//! One run belongs to the tests; its schedule is replayed with `SYNOD_LINEARIZABLE_SEED=N`, though which operations meet
//! which fault differs all the same. The long proof:
//!
//! ```text
//! cargo test -p synod --test linearizable -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod report;
mod storm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use report::Report;
use synod_auth::{Algorithm, SigningKey};
use synod_chaos::record::{self, Record};
use synod_chaos::registers::{self, Ground, HOT_KEYS, client};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put};
use synod_history::{Answer, History, Input, Operation, Outcome, Output, Verdict, Word};
use synod_machine::authority::{AuthorityOp, Grant, Role};
use synod_types::StateNdx;
use tokio::sync::watch;
use tokio::task::JoinSet;

const SEED: &str = "SYNOD_LINEARIZABLE_SEED";
const NODES: usize = 3;
const CLIENTS: u32 = 8;
/// Far more than the search takes, and far less than a test may take.
const STEPS_MAX: u64 = 20_000_000;
/// Long enough for each kind of fault.
const ONE_RUN: Duration = Duration::from_secs(8);
const LONG_RUNS: u64 = 30;
const LONG_RUN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_are_told_has_one_order() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    eprintln!("to replay this schedule: {SEED}={seed}");
    eprintln!("{}", run(seed, ONE_RUN).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn what_clients_are_told_in_thirty_long_runs_has_one_order() {
    let mut operations = 0;
    for seed in 1..=LONG_RUNS {
        let report = run(seed, LONG_RUN).await;
        operations += report.operations;
        eprintln!("run {seed} of {LONG_RUNS}: {report}");
    }
    eprintln!("{LONG_RUNS} runs, {operations} operations: no violation, none undecided");
}

async fn run(seed: u64, length: Duration) -> Report {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(NODES).await;
    let keys: Vec<SigningKey> = (0..CLIENTS).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect();
    let start = grant_all(&cluster, &keys).await;

    let ground = Arc::new(Ground::new(cluster.readers.clone()));
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for (number, key) in (1..).zip(&keys) {
        let connection = cluster.client(again(key), first_node(number), registers::TIMEOUTS);
        let random = StdRng::seed_from_u64(random.next_u64());
        clients.spawn(client(number, connection, random, ground.clone(), stopped.clone()));
    }
    let storm = tokio::select! {
        storm = storm::rage(&mut cluster, &mut random, length) => storm,
        Some(ended) = clients.join_next() => panic!("a client has ended: {:?}", ended.err()),
    };
    stop.send(true).unwrap();
    let mut records: Vec<Record> = Vec::new();
    while let Some(ended) = clients.join_next().await {
        records.extend(ended.unwrap());
    }

    // As the clients knew it at the end; and what became of the rest, for whoever submits it again.
    let mut recorded = History { start, operations: operations(&records) };
    let asking = cluster.client(again(&keys[0]), 0, Timeouts::default());
    record::settle(&mut records, &asking, &ground).await;
    asking.close().await;
    let mut settled = History { start, operations: operations(&records) };
    let last = read_everything(&ground).await;
    recorded.operations.extend(last.iter().cloned());
    settled.operations.extend(last);
    cluster.stop_all().await;

    replayed(seed, &settled);
    let first = accepted(seed, "recorded", &recorded);
    let second = accepted(seed, "settled", &settled);
    refused(&swapped(&settled));
    Report::new(&recorded, storm, first + second)
}

/// The node that a client asks first.
fn first_node(number: u32) -> usize {
    usize::try_from(number).unwrap() % NODES
}

fn again(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem()).unwrap()
}

fn operations(records: &[Record]) -> Vec<Operation<Input, Output>> {
    records.iter().map(|record| record.operation.clone()).collect()
}

/// Gives the state in which everybody may write.
async fn grant_all(cluster: &Cluster, keys: &[SigningKey]) -> StateNdx {
    let administrator = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut start = StateNdx(0);
    for (n, key) in keys.iter().enumerate() {
        let key = key.public().spki_der().clone();
        let op = AuthorityOp::Grant(Grant::unlimited(key, format!("client {n}"), Role::Writer));
        let granted = administrator.execute(KV, op.encode().into(), CommandOptions::default()).await;
        start = granted.unwrap().state_ndx;
    }
    administrator.close().await;
    start
}

/// Reads every key at every node, when all is over.
async fn read_everything(ground: &Ground) -> Vec<Operation<Input, Output>> {
    let mut reads = Vec::new();
    for node in 0..NODES {
        for key in HOT_KEYS {
            eventually("a node answers again", async || {
                let read = ground.read(CLIENTS + 1, node, key).await;
                read.is_some_and(|read| {
                    reads.push(read);
                    true
                })
            })
            .await;
        }
    }
    reads
}

/// Where a history is kept that is not as it should be.
fn kept(seed: u64, what: &str, history: &History) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{seed}-{what}.txt"));
    std::fs::write(&path, history.to_string()).unwrap();
    path
}

/// The search accepts it; gives its steps.
fn accepted(seed: u64, what: &str, history: &History) -> u64 {
    let search = history.search(STEPS_MAX);
    if search.verdict != Verdict::Linearizable {
        panic!("seed {seed}, {:?}: {:?}", kept(seed, what, history), search.verdict);
    }
    search.steps
}

fn replayed(seed: u64, history: &History) {
    let verdict = history.replay();
    if verdict != Verdict::Linearizable {
        panic!("seed {seed}, {:?}: {verdict:?}", kept(seed, "replayed", history));
    }
}

#[track_caller]
fn refused(history: &History) {
    let search = history.search(STEPS_MAX).verdict;
    assert!(
        matches!(search, Verdict::Violation(_)),
        "the search does not refuse a false history: {search:?}"
    );
    let replay = history.replay();
    assert!(
        matches!(replay, Verdict::Violation(_)),
        "the replay does not refuse a false history: {replay:?}"
    );
}

/// The same history, but for two reads of a key, one behind the other, that have changed their answers. The first one's
/// write had ended before, so that no order explains the second one.
fn swapped(history: &History) -> History {
    let found = |place: &usize| match &history.operations[*place] {
        Operation {
            input: Input::Get { key },
            invoked,
            outcome: Outcome::Answered { returned, output },
            ..
        } => match &output.answer {
            Answer::Found(entry) => Some((key, entry.changed, *invoked, *returned)),
            _ => None,
        },
        _ => None,
    };
    let mut reads: Vec<usize> =
        (0..history.operations.len()).filter(|place| found(place).is_some()).collect();
    reads.sort_by_key(|place| found(place).map(|(key, _, invoked, _)| (key, invoked)));
    let pair = reads.iter().zip(&reads[1..]).find(|(one, other)| {
        let (Some((key, changed, invoked, returned)), Some(other)) = (found(one), found(other)) else {
            return false;
        };
        let is_before = key == other.0 && changed < other.1 && returned < other.2;
        is_before
            && history.operations.iter().any(|write| {
                let is_write =
                    write.output().is_some_and(|output| output.at == changed) && !write.input.is_read();
                is_write && write.answered().is_some_and(|answered| answered < invoked)
            })
    });
    let (&one, &other) = pair.expect("some key changed between two reads");
    let mut swapped = history.clone();
    let answers = [one, other].map(|place| history.operations[place].output().unwrap().clone());
    for (place, answer) in [other, one].into_iter().zip(answers) {
        if let Outcome::Answered { output, .. } = &mut swapped.operations[place].outcome {
            *output = answer;
        }
    }
    swapped
}

/// A node that comes back alone knows what it knew, and gives it to whoever asks for no more than that. Taken for
/// linearizable, such a read is refused by both checks. Asked for a linearizable one, the node waits for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_read_is_not_taken_for_a_linearizable_one() {
    const LATE: usize = 2;
    let mut cluster = Cluster::start(NODES).await;
    let ground = Ground::new(cluster.readers.clone());
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut history = History::default();
    write(&mut history, &client, &ground, "before").await;
    cluster.readers.state(LATE, "?min=1&wait=30").await.unwrap();
    cluster.kill(LATE);
    write(&mut history, &client, &ground, "after").await;
    client.close().await;
    for node in (0..NODES).filter(|node| *node != LATE) {
        cluster.kill(node);
    }
    cluster.spawn(LATE);
    cluster.ready(LATE).await;

    let invoked = ground.now();
    let local = cluster.readers.key(LATE, "a", "", PATIENCE).await.expect("a local read asks nobody");
    let local = ground.found(1, "a", invoked, local);
    assert_eq!(cluster.readers.key(LATE, "a", "?consistency=linearizable&wait=0.2", PATIENCE).await, None);
    let mut stale = history.clone();
    stale.operations.push(local);
    refused(&stale);

    for node in (0..NODES).filter(|node| *node != LATE) {
        cluster.spawn(node);
    }
    eventually("a linearizable read is answered", async || {
        let read = ground.read(1, LATE, "a").await;
        let is_there = read.is_some();
        history.operations.extend(read);
        is_there
    })
    .await;
    assert_eq!(history.search(STEPS_MAX).verdict, Verdict::Linearizable);
    assert_eq!(history.replay(), Verdict::Linearizable);
    for node in 0..NODES {
        cluster.ready(node).await;
    }
    cluster.stop_all().await;
}

async fn write(history: &mut History, client: &Client, ground: &Ground, value: &'static str) {
    let invoked = ground.now();
    let receipt = client.execute(KV, put("a", value), CommandOptions::default()).await.unwrap();
    let input = Input::Put { key: "a".into(), value: Word::from(value) };
    let outcome = record::answered(&input, &receipt, ground.now());
    history.operations.push(Operation { client: 0, invoked, input, outcome });
}
