//! Commands are submitted again and again, through every node, while nodes are killed, the leader first of all. Each is
//! executed once, and each submission that is answered with a receipt gets the same one.
//!
//! The whole proof, 100,000 submissions of 1,000 commands:
//! `cargo test --release -p synod --test retries -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use synod_client::{Client, CommandOptions, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put};
use synod_gateway::ClusterStatus;
use synod_types::{Receipt, Seq, SignedCommand, StateNdx};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

const NODES: usize = 3;
/// Submissions in flight at one node.
const IN_FLIGHT: usize = 64;
/// A node that does not answer is given up soon: what became of the command is then unknown, and it is submitted again.
const IMPATIENT: Timeouts = Timeouts {
    connect: Duration::from_millis(300),
    attempt: Duration::from_millis(300),
    total: Duration::from_millis(700),
    upload: Duration::from_millis(700),
    idle: Duration::from_secs(1),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_submitted_again_is_executed_once_and_gets_the_same_receipt() {
    prove(200, 10_000, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute; CI runs it"]
async fn a_hundred_thousand_submissions_of_a_thousand_commands() {
    prove(1_000, 100_000, 30).await;
}

/// Submits `commands` different commands `submissions` times in all, answered ones, and kills nodes `kills` times meanwhile.
async fn prove(commands: u64, submissions: usize, kills: usize) {
    let begun = Instant::now();
    let mut cluster = Cluster::start(NODES).await;
    let signer = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let commander = signer.commander();
    let issued: Vec<Issued> = (1..=commands)
        .map(|seq| {
            let operation = put(format!("key/{}", seq % 7), format!("value {seq}"));
            let command = commander.sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
            Issued { command, receipt: OnceLock::new() }
        })
        .collect();
    let proof =
        Arc::new(Proof { issued, submissions, taken: AtomicUsize::new(0), answered: watch::Sender::new(0) });

    let mut submitting = JoinSet::new();
    for node in 0..NODES {
        let client = cluster.client_of(cluster.administrator(), vec![cluster.endpoint(node)], IMPATIENT);
        submitting.spawn(submit(proof.clone(), client));
    }
    let leaders = storm(&mut cluster, &proof, kills).await;
    let mut unanswered = 0;
    while let Some(ended) = submitting.join_next().await {
        unanswered += ended.unwrap();
    }
    let stormed = begun.elapsed();

    proof.check(&cluster).await;
    cluster.stop_all().await;
    eprintln!(
        "{submissions} submissions of {commands} commands were answered and {unanswered} more were not, over {kills} kills, \
         {leaders} of them of the leader, in {:.1} s, {:.1} s in all",
        stormed.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
}

/// A command, and the receipt that was given for it first.
struct Issued {
    command: SignedCommand,
    receipt: OnceLock<Receipt>,
}

struct Proof {
    issued: Vec<Issued>,
    /// How many answers are wanted.
    submissions: usize,
    /// How many were given to somebody to get.
    taken: AtomicUsize,
    /// How many there are.
    answered: watch::Sender<usize>,
}

/// Submits at one node until there are enough answers; gives how many submissions had none.
async fn submit(proof: Arc<Proof>, client: Client) -> usize {
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let unanswered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    loop {
        let place = room.clone().acquire_owned().await.unwrap();
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
        let number = proof.taken.fetch_add(1, Ordering::Relaxed);
        if number >= proof.submissions {
            break;
        }
        let (proof, client, unanswered) = (proof.clone(), client.clone(), unanswered.clone());
        tasks.spawn(async move {
            let issued = proof.drawn(number);
            loop {
                match client.submit(&issued.command).await {
                    Ok(receipt) => break issued.is_answered_by(&receipt),
                    Err(SubmitError::Unknown { .. } | SubmitError::Unreachable { .. }) => {}
                    Err(SubmitError::Refused(refusal)) => assert!(refusal.code.is_transient(), "{refusal}"),
                }
                unanswered.fetch_add(1, Ordering::Relaxed);
            }
            proof.answered.send_modify(|answered| *answered += 1);
            drop(place);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    client.close().await;
    unanswered.load(Ordering::Relaxed)
}

impl Proof {
    /// What is submitted the so manieth time: now the newest command, which many submit at all nodes at a time until the next one
    /// is the newest, so that kills find it on its way; now one from before, which may have a receipt.
    fn drawn(&self, number: usize) -> &Issued {
        let newest = number * self.issued.len() / self.submissions;
        let before = number.wrapping_mul(7_919) % (newest + 1);
        &self.issued[if number.is_multiple_of(2) { newest } else { before }]
    }

    /// Each command made one state, and there are no others.
    async fn check(&self, cluster: &Cluster) {
        let made: BTreeSet<StateNdx> =
            self.issued.iter().map(|issued| issued.receipt.get().unwrap().state_ndx).collect();
        let last = StateNdx(self.issued.len().try_into().unwrap());
        let all: BTreeSet<StateNdx> = (1..=last.0).map(StateNdx).collect();
        assert_eq!(made, all, "each command makes a state of its own, and nothing else makes one");
        let mut states = Vec::new();
        for node in 0..NODES {
            eventually("every node has caught up", async || {
                cluster.readers.state(node, "").await.is_ok_and(|state| state.state_ndx == last)
            })
            .await;
            states.push(cluster.readers.state(node, "").await.unwrap());
        }
        let newest = self.issued.iter().map(|issued| issued.receipt.get().unwrap());
        let newest = newest.max_by_key(|receipt| receipt.state_ndx).unwrap();
        for state in states {
            assert_eq!(state.chain(), newest.chain, "every node has the history of the receipts");
        }
    }
}

impl Issued {
    fn is_answered_by(&self, receipt: &Receipt) {
        let first = self.receipt.get_or_init(|| receipt.clone());
        assert_eq!(first, receipt, "the same bytes get the same receipt, whenever and wherever");
    }
}

/// Kills a node each time that there are so many more answers, the leader and another one in turn, and starts it again;
/// gives how many were leaders.
async fn storm(cluster: &mut Cluster, proof: &Proof, kills: usize) -> usize {
    let mut leaders = 0;
    let mut answered = proof.answered.subscribe();
    let step = proof.submissions / (kills + 1);
    for kill in 1..=kills {
        let enough = answered.wait_for(|answered| *answered >= kill * step);
        let enough = timeout(PATIENCE, enough).await.is_ok();
        assert!(enough, "no progress within {PATIENCE:?} before kill {kill}");
        let victim = if kill % 3 == 0 { (kill / 3) % NODES } else { leader(cluster).await };
        leaders += usize::from(kill % 3 != 0);
        cluster.kill(victim);
        cluster.spawn(victim);
        cluster.ready(victim).await;
    }
    leaders
}

/// Who leads the application.
async fn leader(cluster: &Cluster) -> usize {
    let mut leader = None;
    eventually("there is a leader", async || {
        for node in 0..NODES {
            let status: Result<ClusterStatus, _> = cluster.readers.get_json(node, "/v1/cluster").await;
            let apps = status.map(|status| status.apps).unwrap_or_default();
            let led = apps.into_iter().find(|app| app.app_ndx == KV).and_then(|app| app.leader);
            leader = led.and_then(|led| (0..NODES).find(|&node| cluster.name(node) == led.name));
            if leader.is_some() {
                break;
            }
        }
        leader.is_some()
    })
    .await;
    leader.unwrap()
}
