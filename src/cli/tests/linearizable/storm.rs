//! Kills and pauses, by a seed: one node, two or all, the leader as often as not, for shorter and longer than an election
//! takes.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::sleep;

use crate::NODES;
use synod_cluster::{Cluster, KV, eventually};

/// How many processes were killed and paused.
pub struct Storm {
    pub kills: usize,
    pub pauses: usize,
    pub rounds: usize,
}

#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    /// One node is paused while another one is killed and comes back.
    Both,
}

/// Rages for so long, and leaves every node running. Time is what a pause is made of, so this sleeps.
pub async fn rage(cluster: &mut Cluster, random: &mut StdRng, length: Duration) -> Storm {
    let begun = Instant::now();
    let mut storm = Storm { kills: 0, pauses: 0, rounds: 0 };
    while begun.elapsed() < length {
        sleep(Duration::from_millis(random.random_range(100..800))).await;
        // The leader's pause and its death come first, so that they are never missing.
        let (fault, count) = match storm.rounds {
            0 => (Fault::Pause, 1),
            1 => (Fault::Kill, 1),
            _ => draw(random),
        };
        let mut nodes: Vec<usize> = (0..NODES).collect();
        nodes.shuffle(random);
        if storm.rounds < 2 || random.random_bool(0.5) {
            let leader = leader(cluster).await;
            nodes.sort_by_key(|node| *node != leader);
        }
        let hold = if random.random_bool(0.5) { 50..600 } else { 600..2500 };
        let hold = Duration::from_millis(random.random_range(hold));
        strike(cluster, fault, &nodes[..count], hold, &mut storm).await;
        storm.rounds += 1;
    }
    storm
}

/// A fault, and how many nodes meet it.
fn draw(random: &mut StdRng) -> (Fault, usize) {
    let count = match random.random_range(0..10) {
        0 | 1 => 2,
        2 => NODES,
        _ => 1,
    };
    match random.random_range(0..10) {
        0..4 => (Fault::Kill, count),
        4..9 => (Fault::Pause, count),
        _ => (Fault::Both, 2),
    }
}

async fn strike(cluster: &mut Cluster, fault: Fault, victims: &[usize], hold: Duration, storm: &mut Storm) {
    let (paused, killed) = match fault {
        Fault::Kill => (&[][..], victims),
        Fault::Pause => (victims, &[][..]),
        Fault::Both => victims.split_at(1),
    };
    paused.iter().for_each(|&node| cluster.pause(node));
    killed.iter().for_each(|&node| cluster.kill(node));
    storm.pauses += paused.len();
    storm.kills += killed.len();
    // Where all are dead nothing goes on that could go wrong.
    if killed.len() < NODES {
        sleep(hold).await;
    }
    killed.iter().for_each(|&node| cluster.spawn(node));
    paused.iter().for_each(|&node| cluster.resume(node));
    for &node in killed {
        cluster.ready(node).await;
    }
}

/// The leader of the application, as some node sees it.
async fn leader(cluster: &Cluster) -> usize {
    let mut leader = None;
    eventually("a node knows a leader", async || {
        leader = cluster.leader(KV).await;
        leader.is_some()
    })
    .await;
    leader.expect("it was waited for")
}
