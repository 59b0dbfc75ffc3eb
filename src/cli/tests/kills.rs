//! Nodes are killed, one at a time and all at once, while commanders write. Nothing that was acknowledged is lost, and
//! nothing is executed twice.
//!
//! A schedule is replayed with `SYNOD_KILLS_SEED=N`; which commands are in flight at a kill differs all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use synod_app_kv::{KvOp, KvReply};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, Readers, State, eventually};
use synod_machine::authority::{AuthorityOp, AuthorityReply, Grant, Role};
use synod_types::command::Operation;
use synod_types::limits::SESSION_WINDOW;
use synod_types::log::LogPage;
use synod_types::{
    CommandBody, CommandId, Decree, Digest, Outcome, Receipt, RefusalCode, Seq, SignedCommand, Slot,
    StateNdx, TimeMs, wire,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

const SEED: &str = "SYNOD_KILLS_SEED";
const NODES: usize = 3;
const KILLS: usize = 80;
const WRITERS: usize = 6;
/// Commands that the writers may have acknowledged from one kill to the next. Half of them are waited for, so that the
/// others are on their way when a node is killed.
const ROUND_COMMANDS: usize = 48;
/// Keys that all writers compare and set.
const SHARED_KEYS: usize = 4;
/// Keys of each writer.
const OWN_KEYS: usize = 8;
/// A writer gives up soon: its command is then one of unknown outcome.
const IMPATIENT: Timeouts = Timeouts {
    connect: Duration::from_millis(300),
    attempt: Duration::from_millis(300),
    total: Duration::from_millis(700),
    upload: Duration::from_millis(700),
    idle: Duration::from_secs(1),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_every_kill_and_is_executed_once() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    eprintln!("to replay this schedule: {SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let begun = Instant::now();

    let mut cluster = Cluster::start(NODES).await;
    let keys: Vec<Arc<SigningKey>> =
        (0..WRITERS).map(|_| Arc::new(SigningKey::generate(Algorithm::Ed25519))).collect();
    let ledger = Arc::new(Ledger::default());
    grant_all(&cluster, &keys, &ledger).await;

    let permits = Arc::new(Semaphore::new(0));
    let mut writers = JoinSet::new();
    for (number, key) in keys.iter().enumerate() {
        let client = client(&cluster, key, number % NODES, IMPATIENT);
        let random = StdRng::seed_from_u64(random.next_u64());
        writers.spawn(write(number, client, random, permits.clone(), ledger.clone()));
    }
    let reading = read(cluster.readers.clone(), StdRng::seed_from_u64(random.next_u64()), ledger.clone());
    let reading = tokio::spawn(reading);

    let storm = storm(&mut cluster, &mut random, &permits, &ledger);
    let kills = tokio::select! {
        kills = storm => kills,
        Some(ended) = writers.join_next() => panic!("a writer has ended: {ended:?}"),
    };
    permits.close();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    reading.abort();
    let reads = match reading.await {
        Err(stopped) if stopped.is_cancelled() => std::mem::take(&mut *ledger.reads.lock().unwrap()),
        ended => panic!("the reader has ended: {ended:?}"),
    };
    let stormed = begun.elapsed();

    let history = settle(&cluster, &keys, &ledger).await;
    let summary = history.check(&cluster, &reads).await;
    cluster.stop_all().await;
    eprintln!(
        "{kills} kills in {:.1} s, {:.1} s in all: {summary}",
        stormed.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
}

fn client(cluster: &Cluster, key: &SigningKey, first: usize, timeouts: Timeouts) -> Client {
    cluster.client(SigningKey::from_pem(&key.to_pem()).unwrap(), first, timeouts)
}

/// A command that was signed and sent.
#[derive(Clone)]
struct Issued {
    command: SignedCommand,
    /// The highest state that was acknowledged to anybody before it was first sent.
    floor: StateNdx,
    /// What the writer was told, if it was.
    acknowledged: Option<Receipt>,
}

/// What the writers know together.
#[derive(Default)]
struct Ledger {
    issued: Mutex<Vec<Issued>>,
    /// The state that last changed a key, as far as it was acknowledged.
    changed: Mutex<BTreeMap<Bytes, StateNdx>>,
    /// How many commands were acknowledged, and the highest state among them.
    acknowledged: watch::Sender<(usize, StateNdx)>,
    /// What was read linearizably on the way.
    reads: Mutex<Vec<State>>,
}

impl Ledger {
    fn issued(&self) -> MutexGuard<'_, Vec<Issued>> {
        self.issued.lock().unwrap()
    }

    fn floor(&self) -> StateNdx {
        self.acknowledged.borrow().1
    }

    fn issue(&self, command: SignedCommand) -> usize {
        let mut issued = self.issued();
        issued.push(Issued { command, floor: self.floor(), acknowledged: None });
        issued.len() - 1
    }

    fn acknowledge(&self, place: usize, receipt: Receipt) {
        let state_ndx = receipt.state_ndx;
        {
            let issued = &mut self.issued()[place];
            if let (Some(op), Outcome::Done(_)) = (kv_op(&issued.command), &receipt.outcome) {
                let mut changed = self.changed.lock().unwrap();
                let seen = changed.entry(key_of(&op).clone()).or_default();
                *seen = state_ndx.max(*seen);
            }
            issued.acknowledged = Some(receipt);
        }
        self.acknowledged.send_modify(|(count, highest)| {
            *count += 1;
            *highest = state_ndx.max(*highest);
        });
    }

    /// Waits until so many more commands were acknowledged.
    async fn progress(&self, more: usize) -> bool {
        let mut acknowledged = self.acknowledged.subscribe();
        let goal = acknowledged.borrow().0 + more;
        timeout(PATIENCE, acknowledged.wait_for(|(count, _)| *count >= goal)).await.is_ok()
    }
}

async fn grant_all(cluster: &Cluster, keys: &[Arc<SigningKey>], ledger: &Ledger) {
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    for (n, key) in keys.iter().enumerate() {
        let key = key.public().spki_der().clone();
        let op = AuthorityOp::Grant(Grant::unlimited(key, format!("writer {n}"), Role::Writer));
        let seq = Seq(u64::try_from(n).unwrap() + 1);
        let command =
            client.commander().sign(KV, seq, op.encode().into(), CommandOptions::default()).unwrap();
        let place = ledger.issue(command.clone());
        ledger.acknowledge(place, client.submit(&command).await.unwrap());
    }
    client.close().await;
}

/// Writes, one command after another, as long as there are permits: one for each command that is acknowledged.
async fn write(
    number: usize,
    client: Client,
    mut random: StdRng,
    permits: Arc<Semaphore>,
    ledger: Arc<Ledger>,
) {
    for seq in 1..=SESSION_WINDOW {
        let Ok(permit) = permits.acquire().await else { return client.close().await };
        let op = operation(number, seq, &mut random, &ledger);
        let operation = op.encode().into();
        let command = client.commander().sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
        let place = ledger.issue(command.clone());
        match client.submit(&command).await {
            Ok(receipt) => {
                ledger.acknowledge(place, receipt);
                permit.forget();
            }
            // Asked again when all is over.
            Err(SubmitError::Unknown { .. } | SubmitError::Unreachable { .. }) => {}
            Err(SubmitError::Refused(refusal)) => {
                assert!(refusal.code.is_transient(), "seq {seq} of writer {number}: {refusal}");
            }
        }
    }
    panic!("writer {number} needs receipts from behind its window");
}

/// Every value is unique.
fn operation(number: usize, seq: u64, random: &mut StdRng, ledger: &Ledger) -> KvOp {
    let value = Bytes::from(format!("{number}/{seq}"));
    let own = Bytes::from(format!("own/{number}/{}", random.random_range(0..OWN_KEYS)));
    let shared = Bytes::from(format!("shared/{}", random.random_range(0..SHARED_KEYS)));
    match random.random_range(0..10) {
        0..4 => KvOp::Put { key: own, value },
        4 => KvOp::Delete { key: own },
        5 => KvOp::CompareAndSet { key: own, expected: None, value },
        6 => KvOp::Put { key: shared, value },
        _ => {
            let expected = ledger.changed.lock().unwrap().get(&shared).copied();
            KvOp::CompareAndSet { key: shared, expected, value }
        }
    }
}

/// Reads linearizably, at any node, each time something was acknowledged. Who is down does not answer.
async fn read(readers: Readers, mut random: StdRng, ledger: Arc<Ledger>) {
    let mut acknowledged = ledger.acknowledged.subscribe();
    while acknowledged.changed().await.is_ok() {
        let floor = acknowledged.borrow_and_update().1;
        let node = random.random_range(0..NODES);
        let read = readers.state(node, "?consistency=linearizable&wait=0.5").await;
        if let Ok(state) = read {
            let at = state.state_ndx;
            assert!(at >= floor, "node {} answered in state {at} when {floor} was acknowledged", node + 1);
            ledger.reads.lock().unwrap().push(state);
        }
    }
}

/// Kills and starts nodes again, each time that the writers have come further.
async fn storm(cluster: &mut Cluster, random: &mut StdRng, permits: &Semaphore, ledger: &Ledger) -> usize {
    let (mut kills, mut all_at_once) = (0, 0);
    while kills < KILLS {
        permits.add_permits(ROUND_COMMANDS);
        progress(cluster, ledger, ROUND_COMMANDS / 2, "all nodes run").await;

        let mut order: Vec<usize> = (0..NODES).collect();
        order.shuffle(random);
        let victims = match random.random_range(0..10) {
            // The first one is the first round's, so that it is never missing.
            _ if kills == 0 => &order[..],
            0 | 1 => &order[..],
            2 | 3 => &order[..2],
            _ => &order[..1],
        };
        all_at_once += usize::from(victims.len() == NODES);
        for &victim in victims {
            cluster.kill(victim);
        }
        kills += victims.len();
        if victims.len() == 1 && random.random_bool(0.5) {
            progress(cluster, ledger, ROUND_COMMANDS / 4, "one node is down").await;
        }
        for &victim in victims {
            cluster.spawn(victim);
        }
        // Killed while it starts: it reads its journal, or has just begun to take part.
        if random.random_bool(0.2) {
            let victim = victims[0];
            cluster.kill(victim);
            kills += 1;
            cluster.spawn(victim);
        }
        for &victim in victims {
            cluster.ready(victim).await;
        }
    }
    assert!(all_at_once > 0, "all nodes were killed at once");
    permits.add_permits(ROUND_COMMANDS);
    progress(cluster, ledger, ROUND_COMMANDS, "after the last kill").await;
    kills
}

async fn progress(cluster: &Cluster, ledger: &Ledger, more: usize, when: &str) {
    if !ledger.progress(more).await {
        let logs: Vec<String> = (0..NODES).map(|n| tail(&cluster.log(n))).collect();
        panic!("no progress within {PATIENCE:?} while {when}; the logs end in\n{}", logs.join("\n---\n"));
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Every command with its receipt, in the order in which they were executed.
struct History {
    cluster_start: Digest,
    executed: Vec<(Issued, Receipt)>,
}

/// Submits every command again, which tells what became of those of unknown outcome; then once more, at a node of its
/// own choice each.
async fn settle(cluster: &Cluster, keys: &[Arc<SigningKey>], ledger: &Ledger) -> History {
    let issued = ledger.issued().clone();
    let anybody = client(cluster, &keys[0], 0, Timeouts::default());
    let mut executed: Vec<(Issued, Receipt)> = Vec::new();
    for batch in issued.chunks(64) {
        let receipts = submit_all(batch.iter().map(|one| (anybody.clone(), one.command.clone()))).await;
        executed.extend(batch.iter().cloned().zip(receipts));
    }
    anybody.close().await;
    for (one, receipt) in &executed {
        if let Some(acknowledged) = &one.acknowledged {
            assert_eq!(receipt, acknowledged, "the same bytes get the same receipt");
        }
    }
    executed.sort_by_key(|(_, receipt)| receipt.state_ndx);

    let last = executed.last().expect("commands were executed").1.state_ndx;
    for node in 0..NODES {
        eventually("every node has caught up", async || {
            cluster.readers.state(node, "").await.is_ok_and(|state| state.state_ndx == last)
        })
        .await;
    }
    let nodes: Vec<Client> = (0..NODES)
        .map(|node| cluster.client_at(SigningKey::from_pem(&keys[0].to_pem()).unwrap(), node))
        .collect();
    for batch in executed.chunks(64) {
        let somewhere = batch.iter().enumerate();
        let commands = somewhere.map(|(n, (one, _))| (nodes[n % NODES].clone(), one.command.clone()));
        for ((_, receipt), again) in batch.iter().zip(submit_all(commands).await) {
            assert_eq!(*receipt, again, "every node has the same receipt");
        }
    }
    for node in nodes {
        node.close().await;
    }
    History { cluster_start: chain_start(cluster), executed }
}

/// Submits commands at the same time; their receipts in the same order.
async fn submit_all(commands: impl Iterator<Item = (Client, SignedCommand)>) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    let submitting: Vec<_> = commands
        .map(|(client, command)| tokio::spawn(async move { client.submit(&command).await }))
        .collect();
    for submitting in submitting {
        receipts.push(submitting.await.unwrap().unwrap());
    }
    receipts
}

impl History {
    async fn check(&self, cluster: &Cluster, reads: &[State]) -> String {
        let times = times(cluster).await;
        let mut chains = vec![self.cluster_start];
        let mut model: BTreeMap<Bytes, (Bytes, StateNdx)> = BTreeMap::new();
        for (n, (one, receipt)) in self.executed.iter().enumerate() {
            // Each state was made by one of our commands and by no other: none was executed twice.
            let state_ndx = StateNdx(u64::try_from(n).unwrap() + 1);
            assert_eq!(receipt.state_ndx, state_ndx, "a state that no command made, or two made");
            assert!(one.floor < state_ndx, "executed before what was acknowledged before it was sent");
            let body = CommandBody::decode(&one.command.body).unwrap();
            assert_eq!((receipt.app, receipt.seq), (body.app, body.seq));
            // A command may be in the log more than once, and is executed once.
            let links = times[&one.command.id()].iter().map(|time| (chains[n], *time));
            let mut links =
                links.map(|(before, time)| chain_link(before, time, &one.command, &receipt.outcome));
            assert!(links.any(|link| link == receipt.chain), "the chain in stateNdx {state_ndx}");
            chains.push(receipt.chain);
            check_outcome(&mut model, state_ndx, one, receipt);
        }
        let chain_at = |at: StateNdx| chains[usize::try_from(at.0).unwrap()];
        assert!(!reads.is_empty(), "no linearizable read was answered");
        for read in reads {
            assert_eq!(read.chain(), chain_at(read.state_ndx), "read in stateNdx {}", read.state_ndx);
        }
        let expected: Vec<_> =
            model.iter().map(|(key, (value, changed))| (key.clone(), value.clone(), *changed)).collect();
        for node in 0..NODES {
            let state = cluster.readers.state(node, "").await.unwrap();
            assert_eq!(usize::try_from(state.state_ndx.0).unwrap(), self.executed.len());
            assert_eq!(state.chain(), chain_at(state.state_ndx), "{}", cluster.name(node));
            let found = cluster.readers.entries(node).await.entries.into_iter();
            let found: Vec<_> =
                found.map(|entry| (entry.key.into(), entry.value.into(), entry.changed)).collect();
            assert_eq!(found, expected, "{}", cluster.name(node));
        }
        let known = self.executed.iter().filter(|(one, _)| one.acknowledged.is_some()).count();
        let refused = |receipt: &Receipt| matches!(receipt.outcome, Outcome::Refused(_));
        let conflicts = self.executed.iter().filter(|(_, receipt)| refused(receipt)).count();
        format!(
            "{} commands, {} of them of unknown outcome at first, {conflicts} conflicts, {} linearizable reads",
            self.executed.len(),
            self.executed.len() - known,
            reads.len()
        )
    }
}

/// What the application has to answer, told by a model of it.
fn check_outcome(
    model: &mut BTreeMap<Bytes, (Bytes, StateNdx)>,
    state_ndx: StateNdx,
    one: &Issued,
    receipt: &Receipt,
) {
    let Some(op) = kv_op(&one.command) else {
        let done = wire::encode(&AuthorityReply::Done).into();
        return assert_eq!(receipt.outcome, Outcome::Done(done), "a grant");
    };
    let previous = model.get(key_of(&op)).map(|(_, changed)| *changed);
    let expected = match &op {
        KvOp::CompareAndSet { expected, .. } if *expected != previous => None,
        KvOp::Put { key, value } | KvOp::CompareAndSet { key, value, .. } => {
            model.insert(key.clone(), (value.clone(), state_ndx));
            Some(KvReply::Written { previous })
        }
        KvOp::Delete { key } => {
            model.remove(key);
            Some(KvReply::Deleted { existed: previous.is_some() })
        }
        other => unreachable!("this test commands no {other:?}"),
    };
    let found = match &receipt.outcome {
        Outcome::Done(answer) => Some(KvReply::decode(answer).unwrap()),
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Conflict, "{op:?}");
            None
        }
    };
    assert_eq!(found, expected, "{op:?} in stateNdx {state_ndx}");
}

fn kv_op(command: &SignedCommand) -> Option<KvOp> {
    let body = CommandBody::decode(&command.body).unwrap();
    match Operation::split(&body.operation).unwrap() {
        Operation::App(op) => Some(KvOp::decode(op).unwrap()),
        Operation::Authority(_) => None,
    }
}

fn key_of(op: &KvOp) -> &Bytes {
    match op {
        KvOp::Put { key, .. } | KvOp::Delete { key } | KvOp::CompareAndSet { key, .. } => key,
        other => unreachable!("this test commands no {other:?}"),
    }
}

/// The hash chain by its definition in docs/PROTOCOL.md, apart from the code that makes it.
fn chain_start(cluster: &Cluster) -> Digest {
    Digest::of(&[b"synod/chain/v1\0", cluster.founded.cluster.as_bytes(), &KV.0.to_be_bytes()])
}

fn chain_link(before: Digest, time: TimeMs, command: &SignedCommand, outcome: &Outcome) -> Digest {
    let outcome = Digest::of(&[&wire::encode(outcome)]);
    Digest::of(&[&before.0, &time.0.to_be_bytes(), command.id().as_bytes(), &outcome.0])
}

/// The times at which each command stands in the log.
async fn times(cluster: &Cluster) -> BTreeMap<CommandId, Vec<TimeMs>> {
    let mut times: BTreeMap<CommandId, Vec<TimeMs>> = BTreeMap::new();
    let (mut after, mut now) = (Slot(0), TimeMs(0));
    loop {
        let page = cluster.readers.get(0, &format!("/v1/apps/{KV}/log?after={after}")).await.unwrap();
        let page = LogPage::decode(&page).unwrap();
        for (slot, decree) in page.decrees {
            after = slot;
            if let Decree::Batch(batch) = decree {
                now = now.max(batch.time);
                batch.commands.iter().for_each(|command| times.entry(command.id()).or_default().push(now));
            }
        }
        if after >= page.applied {
            return times;
        }
    }
}
