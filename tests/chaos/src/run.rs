//! One run: a new cluster, all workloads at once, faults, healing, and then the checks.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use synod_cluster::Cluster;
use synod_cluster::disk::Disk;
use tokio::task::LocalSet;

use crate::apps;
use crate::network::Network;
use crate::report::{Figures, Report};
use crate::schedule::Schedule;
use crate::storm::{DISK, rage};
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
    let has_disks = plan.schedule.fills_disks();
    let (mut cluster, network, disks) = found(plan.nodes, has_disks, &mut random).await;
    // Kept until it is known that nobody has to look at it.
    cluster.directory.disable_cleanup(true);
    let mut scratch = Scratch(Some(cluster.directory.path().to_owned()));
    let directory = cluster.directory.path().to_owned();
    fs::write(directory.join("schedule.txt"), plan.schedule.to_string()).unwrap();
    // A task of its own ends with its panic, and is dropped, with its nodes, where this function is.
    let local = LocalSet::new();
    let running = local.spawn_local(go(disks, cluster, network, plan, random));
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

/// Founds a cluster whose nodes reach each other through our links, and starts it.
async fn found(nodes: usize, has_disks: bool, random: &mut StdRng) -> (Cluster, Network, Vec<Disk>) {
    let mut tries = 1;
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
        for n in 0..if has_disks { nodes } else { 0 } {
            let at = cluster.directory.path().join(format!("disk-{}", cluster.name(n)));
            let disk = Disk::mount(&at, DISK).expect("small disks are mounted, which takes root");
            let file = format!("{}-disk.toml", cluster.name(n));
            cluster.founded.nodes[n].config = cluster.with_data_dir(n, &file, &disk.path().join("data"));
            disks.push(disk);
        }
        match cluster.try_start_all().await {
            Ok(()) => return (cluster, network, disks),
            Err(log) if tries < FOUND_TRIES && log.contains("in use") => tries += 1,
            Err(log) => panic!("{log}"),
        }
    }
}

/// The disks come first, since what comes first is dropped last: nobody uses them any more when they are unmounted.
async fn go(
    disks: Vec<Disk>,
    mut cluster: Cluster,
    network: Network,
    plan: Plan,
    mut random: StdRng,
) -> (Figures, Result<(), String>) {
    let mut figures = Figures::default();
    let workloads = Workloads::start(&cluster, &mut random).await;
    figures.storm = rage(&mut cluster, &network, &disks, &plan.schedule).await;
    figures.network = network.tally();
    let result = workloads.finish(&cluster, &mut figures).await;
    if result.is_ok() {
        cluster.stop_all().await;
    } else {
        keep_disks(&disks, cluster);
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
