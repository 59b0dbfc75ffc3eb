//! One run: a new cluster, all workloads at once, faults, healing, and then the checks.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use synod_cluster::Cluster;
use synod_cluster::clock::{self, Clock};
use synod_cluster::disk::Disk;
use tokio::task::LocalSet;

use crate::apps;
use crate::failing::Failpoints;
use crate::fault::Kind;
use crate::network::Network;
use crate::report::{Figures, Report};
use crate::schedule::Schedule;
use crate::storm::{DISK, Grounds, rage};
use crate::workloads::{Workloads, panicked};

/// How often a cluster is founded because another process took one of its ports in between.
const FOUND_TRIES: usize = 5;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Chance is drawn from it, but for the schedule, which was drawn before.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// What is done to them.
    pub schedule: Schedule,
}

/// Makes a run and says what came of it. What panics is a violation, too.
pub async fn run(plan: Plan) -> Report {
    let begun = Instant::now();
    let seed = plan.seed;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut cluster, own) = found(&plan, &mut random).await;
    // Kept until it is known that nobody has to look at it.
    cluster.directory.disable_cleanup(true);
    let mut scratch = Scratch(Some(cluster.directory.path().to_owned()));
    let directory = cluster.directory.path().to_owned();
    fs::write(directory.join("schedule.txt"), plan.schedule.to_string()).unwrap();
    // A task of its own ends with its panic, and is dropped, with its nodes, where this function is.
    let local = LocalSet::new();
    let running = local.spawn_local(go(own, cluster, plan, random, begun));
    let (figures, violation) = match local.run_until(running).await {
        Ok((figures, result)) => (figures, result.err()),
        Err(ended) => (Figures::default(), Some(panicked(ended))),
    };
    let kept = violation.as_ref().and_then(|violation| {
        let _ = fs::write(directory.join("violation.txt"), violation);
        scratch.0.take()
    });
    Report { seed, figures, violation, kept, seconds: begun.elapsed().as_secs_f64() }
}

/// A directory that is removed with this, unless it is taken out.
struct Scratch(Option<PathBuf>);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(directory) = &self.0 {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// What is the nodes' own, as far as the schedule takes it.
struct Own {
    disks: Vec<Disk>,
    network: Network,
    failpoints: Option<Failpoints>,
    clocks: Vec<Clock>,
}

/// Founds a cluster whose nodes reach each other through our links, and starts it.
async fn found(plan: &Plan, random: &mut StdRng) -> (Cluster, Own) {
    let Plan { nodes, schedule, .. } = plan;
    let (nodes, mut tries) = (*nodes, 1);
    loop {
        let mut cluster = Cluster::found_apps(nodes, apps::founded());
        let mesh: Vec<String> = cluster.founded.nodes.iter().map(|node| node.plan.mesh.to_string()).collect();
        let addresses: Vec<SocketAddr> = mesh.iter().map(|address| address.parse().unwrap()).collect();
        let network = Network::open(addresses, random).await.unwrap();
        for n in 0..nodes {
            let file = format!("{}-linked.toml", cluster.name(n));
            let linked = |text| {
                let others = (0..nodes).filter(|other| *other != n);
                others.fold(text, |text: String, other| {
                    text.replace(&mesh[other], &network.address(n, other).to_string())
                })
            };
            cluster.founded.nodes[n].config = cluster.changed_config(n, &file, linked);
        }
        let mut disks = Vec::new();
        for n in 0..if schedule.has(&[Kind::FullDisk]) { nodes } else { 0 } {
            let at = cluster.directory.path().join(format!("disk-{}", cluster.name(n)));
            let disk = Disk::mount(&at, DISK).expect("small disks are mounted, which takes root");
            let file = format!("{}-disk.toml", cluster.name(n));
            cluster.founded.nodes[n].config =
                cluster.with_data_dir(n, &file, &disk.path().join("data"), Some(0));
            disks.push(disk);
        }
        let failpoints = schedule.has(&Kind::DISKS).then(|| Failpoints::new(&mut cluster));
        let clocks = if schedule.has(&[Kind::ClockStep]) { clocks(&mut cluster) } else { Vec::new() };
        match cluster.try_start_all().await {
            Ok(()) => return (cluster, Own { disks, network, failpoints, clocks }),
            Err(log) if tries < FOUND_TRIES && log.contains("in use") => tries += 1,
            Err(log) => panic!("{log}"),
        }
    }
}

/// Gives each node a clock of its own.
fn clocks(cluster: &mut Cluster) -> Vec<Clock> {
    let library = clock::library().expect("libfaketime is installed where clocks are to be set");
    let mut clocks = Vec::new();
    for n in 0..cluster.len() {
        let clock = Clock::new(cluster.directory.path().join(format!("{}.clock", cluster.name(n))));
        cluster.set_environment(n, clock.environment(&library));
        clocks.push(clock);
    }
    clocks
}

/// What is the nodes' own comes first, since what comes first is dropped last: nobody uses a disk any more when it is unmounted.
async fn go(
    own: Own,
    mut cluster: Cluster,
    plan: Plan,
    mut random: StdRng,
    begun: Instant,
) -> (Figures, Result<(), String>) {
    let mut figures = Figures::default();
    let workloads = Workloads::start(&cluster, &mut random).await;
    let Own { disks, network, failpoints, clocks } = &own;
    let grounds = Grounds { network, disks, failpoints: failpoints.as_ref(), clocks };
    figures.storm = rage(&mut cluster, &grounds, &plan.schedule).await;
    figures.network = network.tally();
    let result = workloads.finish(&cluster, &mut figures, begun).await;
    if result.is_ok() {
        cluster.stop_all().await;
    } else {
        keep_disks(disks, cluster);
    }
    (figures, result)
}

/// Copies what is on disks that end with this run.
fn keep_disks(disks: &[Disk], cluster: Cluster) {
    let directory = cluster.directory.path().to_owned();
    // Nobody writes any more.
    drop(cluster);
    for (n, disk) in disks.iter().enumerate() {
        let to = directory.join(format!("kept-disk-node{}", n + 1));
        let _ = Command::new("cp").arg("-a").arg(disk.path()).arg(to).status();
    }
}
