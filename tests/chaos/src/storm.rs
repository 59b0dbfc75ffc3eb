//! Does to a cluster what a schedule says. Time is what a fault is made of, so this sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use synod_client::CommandOptions;
use synod_cluster::clock::Clock;
use synod_cluster::disk::Disk;
use synod_cluster::{Cluster, put};
use synod_journal::failpoint::Point;
use tokio::time::{Instant, sleep, sleep_until};

use crate::apps::BALLAST;
use crate::failing::{Failing, Failpoints};
use crate::fault::{Fault, Kind, Way};
use crate::network::Network;
use crate::registers::TIMEOUTS;
use crate::schedule::{Schedule, Step, Strike};

/// A node's disk, where disks are to be filled.
pub const DISK: &str = "1g";
/// One write of what fills disks: a journal has some room ahead, and meets a full disk only behind it.
const BALLAST_BYTES: usize = 256 << 10;
/// One of those that the journal keeps in bulk, and how often one comes.
const LARGE_BYTES: usize = 48 << 10;
const LARGE_EVERY: Duration = Duration::from_millis(200);

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
    /// How many ended by themselves, or did not start, since a call of their disk failed.
    pub broken: usize,
}

/// What nodes stand on, each of it the nodes' own, and there if the schedule has faults that take it.
pub struct Grounds<'a> {
    /// What carries their messages.
    pub network: &'a Network,
    /// What can be filled.
    pub disks: &'a [Disk],
    /// What calls of disks are told.
    pub failpoints: Option<&'a Failpoints>,
    /// What shows them what time it is.
    pub clocks: &'a [Clock],
}

impl Grounds<'_> {
    fn failpoints(&self) -> &Failpoints {
        self.failpoints.expect("whoever has a schedule with such faults prepares for them")
    }
}

/// Goes through the schedule. Then every node runs, every link is perfect, every clock is right and every disk is good.
pub async fn rage(cluster: &mut Cluster, grounds: &Grounds<'_>, schedule: &Schedule) -> Storm {
    let mut storm = Storm::default();
    for step in &schedule.steps {
        sleep(step.calm).await;
        strike(cluster, grounds, step, &mut storm).await;
    }
    grounds.clocks.iter().for_each(|clock| clock.set(0));
    storm
}

/// Nodes, and what befalls them; each only one of these.
#[derive(Default)]
struct Victims {
    killed: Vec<usize>,
    paused: Vec<usize>,
    full: Vec<usize>,
    failing: Vec<(usize, (Point, u32))>,
    slow: Vec<(usize, Duration)>,
}

impl Victims {
    /// Whoever is killed cannot be paused, too, and so on.
    fn tell_apart(&mut self) {
        let Victims { killed, paused, full, failing, slow } = self;
        killed.sort_unstable();
        killed.dedup();
        paused.sort_unstable();
        paused.dedup();
        paused.retain(|node| !killed.contains(node));
        full.retain(|node| !killed.contains(node) && !paused.contains(node));
        let is_free = |node: &usize| ![&*killed, &*paused, &*full].iter().any(|taken| taken.contains(node));
        failing.retain(|(node, _)| is_free(node));
        slow.retain(|(node, _)| is_free(node) && !failing.iter().any(|(failing, _)| failing == node));
    }
}

async fn strike(cluster: &mut Cluster, grounds: &Grounds<'_>, step: &Step, storm: &mut Storm) {
    let network = grounds.network;
    let (mut befallen, mut flapping) = (Victims::default(), None);
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
            Fault::Kill { .. } => befallen.killed.extend_from_slice(victims),
            Fault::KillAll => befallen.killed.extend_from_slice(&order),
            Fault::Pause { .. } => befallen.paused.extend_from_slice(victims),
            Fault::Flap { period, .. } => flapping = Some((period, directions(*fault, &order))),
            Fault::Isolate | Fault::CutLink | Fault::OneWay(_) => {
                cut(network, &directions(*fault, &order), true);
            }
            Fault::ClockStep { seconds, .. } => {
                victims.iter().for_each(|node| grounds.clocks[*node].set(seconds));
            }
            Fault::DiskError { point, passes } => {
                befallen.failing.extend(victims.iter().map(|node| (*node, (point, passes))));
            }
            Fault::SlowDisk { sync, .. } => {
                befallen.slow.extend(victims.iter().map(|node| (*node, sync)));
            }
            Fault::FullDisk => befallen.full.extend_from_slice(victims),
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
    befallen.tell_apart();
    let Victims { mut killed, paused, full, failing, slow } = befallen;
    full.iter().for_each(|node| grounds.disks[*node].fill());
    killed.iter().for_each(|node| cluster.kill(*node));
    paused.iter().for_each(|node| cluster.pause(*node));
    slow.iter().for_each(|(node, sync)| grounds.failpoints().slow(*node, *sync));
    storm.kills += killed.len();
    storm.pauses += paused.len();
    let mut broken = Vec::new();
    for (node, call) in failing {
        storm.kills += usize::from(Failing::begins_with_kill(call.0));
        broken.push(Failing::begin(cluster, grounds.failpoints(), node, call).await);
    }

    // Where all are dead nothing goes on that could go wrong.
    if killed.len() < cluster.len() {
        let end = Instant::now() + step.hold;
        let (period, directions) = flapping.unwrap_or((step.hold, Vec::new()));
        tokio::select! {
            () = sleep_until(end) => {}
            () = flap(network, &directions, period) => {}
            () = pour(cluster, BALLAST_BYTES, Duration::ZERO), if !full.is_empty() => {}
            () = pour(cluster, LARGE_BYTES, LARGE_EVERY), if full.is_empty() => {}
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
        grounds.disks[node].resize(DISK);
        killed.push(node);
    }
    for failing in broken {
        killed.push(failing.node);
        let is_by_itself = failing.end(cluster, grounds.failpoints()).await;
        storm.broken += usize::from(is_by_itself);
        storm.kills += usize::from(!is_by_itself);
    }
    for (node, _) in slow {
        grounds.failpoints().heal(node);
        assert!(cluster.runs(node), "a slow disk ended {}:\n{}", cluster.name(node), cluster.log(node));
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

/// Writes a value of so many bytes again and again, for ever.
async fn pour(cluster: &Cluster, bytes: usize, every: Duration) {
    let client = cluster.client(cluster.administrator(), 0, TIMEOUTS);
    loop {
        let _ = client.execute(BALLAST, put("ballast", vec![b'x'; bytes]), CommandOptions::default()).await;
        sleep(every).await;
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
