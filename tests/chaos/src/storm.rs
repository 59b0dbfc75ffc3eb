//! Does to a cluster what a schedule says. Time is what a fault is made of, so this sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use synod_client::CommandOptions;
use synod_cluster::disk::Disk;
use synod_cluster::{Cluster, put};
use tokio::time::{Instant, sleep, sleep_until};

use crate::apps::BALLAST;
use crate::fault::{Fault, Kind, Way};
use crate::network::Network;
use crate::registers::TIMEOUTS;
use crate::schedule::{Schedule, Step, Strike};

/// A node's disk, where disks are to be filled.
pub const DISK: &str = "1g";
/// One write of what fills disks.
const BALLAST_BYTES: usize = 256 << 10;

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Storm {
    /// How many faults there were of each kind.
    pub faults: BTreeMap<Kind, usize>,
    /// How many processes were killed.
    pub kills: usize,
    /// How many were paused.
    pub pauses: usize,
    /// How many ended by themselves, on a full disk.
    pub full: usize,
}

/// Goes through the schedule, for which `disks` are the nodes' if any is to be filled. Then every node runs, and every link
/// is perfect.
pub async fn rage(cluster: &mut Cluster, network: &Network, disks: &[Disk], schedule: &Schedule) -> Storm {
    let mut storm = Storm::default();
    for step in &schedule.steps {
        sleep(step.calm).await;
        strike(cluster, network, disks, step, &mut storm).await;
    }
    storm
}

async fn strike(cluster: &mut Cluster, network: &Network, disks: &[Disk], step: &Step, storm: &mut Storm) {
    let end = Instant::now() + step.hold;
    let (mut killed, mut paused, mut full, mut flapping) = (Vec::new(), Vec::new(), Vec::new(), None);
    for Strike { fault, leader_of, order } in &step.strikes {
        let mut order = order.clone();
        if let Some(app) = leader_of
            && let Some(leader) = cluster.leader(*app).await
        {
            order.sort_by_key(|node| *node != leader);
        }
        let victims = &order[..fault.victims()];
        *storm.faults.entry(fault.kind()).or_default() += 1;
        match *fault {
            Fault::Kill { .. } => killed.extend_from_slice(victims),
            Fault::KillAll => killed.extend_from_slice(&order),
            Fault::Pause { .. } => paused.extend_from_slice(victims),
            Fault::Flap { period, .. } => flapping = Some((period, directions(*fault, &order))),
            Fault::Isolate | Fault::CutLink | Fault::OneWay(_) => {
                cut(network, &directions(*fault, &order), true);
            }
            Fault::FullDisk => full.extend_from_slice(victims),
            Fault::Delay { delay, jitter } => network.change_all(|conditions| {
                (conditions.delay, conditions.jitter) = (delay, jitter);
            }),
            Fault::Loss(percent) => network.change_all(|conditions| conditions.loss = share(percent)),
            Fault::Duplication(percent) => {
                network.change_all(|conditions| conditions.duplication = share(percent));
            }
            Fault::Reordering(percent) => {
                network.change_all(|conditions| conditions.reordering = share(percent));
            }
        }
    }
    killed.sort_unstable();
    killed.dedup();
    paused.sort_unstable();
    paused.dedup();
    paused.retain(|node| !killed.contains(node));
    full.retain(|node| !killed.contains(node) && !paused.contains(node));
    full.iter().for_each(|node| disks[*node].fill());
    killed.iter().for_each(|node| cluster.kill(*node));
    paused.iter().for_each(|node| cluster.pause(*node));
    storm.kills += killed.len();
    storm.pauses += paused.len();

    // Where all are dead nothing goes on that could go wrong.
    if killed.len() < cluster.len() {
        let (period, directions) = flapping.unwrap_or((step.hold, Vec::new()));
        tokio::select! {
            () = sleep_until(end) => {}
            () = flap(network, &directions, period) => {}
            () = flood(cluster), if !full.is_empty() => {}
        }
    }
    for node in full {
        let ended = cluster.kill_anyway(node);
        assert!(
            ended.code().is_none() || cluster.log(node).contains("the disk is full"),
            "{ended}\n{}",
            cluster.log(node)
        );
        storm.full += usize::from(ended.code().is_some());
        disks[node].resize(DISK);
        killed.push(node);
    }
    killed.iter().for_each(|node| cluster.spawn(*node));
    paused.iter().for_each(|node| cluster.resume(*node));
    network.heal();
    for node in killed {
        cluster.ready(node).await;
    }
}

/// Cuts and heals for ever.
async fn flap(network: &Network, directions: &[(usize, usize)], period: Duration) {
    let mut is_cut = false;
    loop {
        is_cut = !is_cut;
        cut(network, directions, is_cut);
        sleep(period).await;
    }
}

/// Writes much, for ever: a journal has some room ahead, and meets a full disk only behind it.
async fn flood(cluster: &Cluster) {
    let client = cluster.client(cluster.administrator(), 0, TIMEOUTS);
    loop {
        let _ = client
            .execute(BALLAST, put("ballast", vec![b'x'; BALLAST_BYTES]), CommandOptions::default())
            .await;
    }
}

/// The directions that a fault cuts, as who sends and who is to receive.
fn directions(fault: Fault, order: &[usize]) -> Vec<(usize, usize)> {
    let (first, others) = (order[0], &order[1..]);
    let away = others.iter().map(|other| (first, *other));
    let here = others.iter().map(|other| (*other, first));
    match fault {
        Fault::CutLink | Fault::Flap { is_node: false, .. } => vec![(first, others[0]), (others[0], first)],
        Fault::OneWay(Way::Link) => vec![(first, others[0])],
        Fault::OneWay(Way::Deaf) => here.collect(),
        Fault::OneWay(Way::Mute) => away.collect(),
        _ => away.chain(here).collect(),
    }
}

fn cut(network: &Network, directions: &[(usize, usize)], is_cut: bool) {
    for (from, to) in directions {
        network.change(*from, *to, |conditions| conditions.is_cut = is_cut);
    }
}

fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}
