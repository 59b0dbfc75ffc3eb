//! The real program, started again on what is left: one node, or three that were cut at the same moment. They must know
//! all that clients had been told, go on, and come to equal chains.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use synod::founding::{KV, ZONES};
use synod_app_kv::KvOp;
use synod_client::Client;
use synod_types::{AppNdx, Receipt, Seq};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Node};
use crate::image::Image;
use crate::load::{Acknowledged, submit};
use crate::recording::Recording;
use crate::timeline::Playback;

/// A number that no command of the load had.
const NEW: Seq = Seq(4_000);
/// Commands that are asked about at a time.
const AT_A_TIME: usize = 32;

/// Builds what is left of a whole cluster in `target`, all of it cut at the same moment, and has it start and know what
/// was told. Says how many commands had been. The inner error is a violation.
///
/// # Errors
/// The image cannot be built.
pub async fn check(recording: &Recording, image: &Image, target: &Path) -> Result<Result<usize>> {
    let cluster = write(recording, image, target)?;
    let told: Vec<&Acknowledged> = recording.commands_told_before(image.moment).collect();
    Ok(must_know(&cluster, &told).await.map(|()| told.len()))
}

/// Builds what is left of a whole cluster in `target`.
///
/// # Errors
/// The image cannot be built.
pub fn write(recording: &Recording, image: &Image, target: &Path) -> Result<Cluster> {
    for (n, timeline) in recording.timelines.iter().enumerate() {
        image.write(n, &Playback::new(timeline).disk_at(image.moment)?, target)?;
    }
    recording.cluster.copy(target)
}

/// Starts every node of a cluster and asks for everything that was told before: the same bytes must get the same receipt.
/// Then executes one more command, and has each node say what its chains are: they are the same.
///
/// # Errors
/// What is lost, or does not start.
async fn must_know(cluster: &Cluster, told: &[&Acknowledged]) -> Result<()> {
    let running = cluster.start()?;
    let clients = (0..cluster.nodes()).map(|n| cluster.client_at(n)).collect::<Result<Vec<Client>>>()?;
    for some in told.chunks(AT_A_TIME) {
        let mut asked = JoinSet::new();
        for (n, told) in some.iter().enumerate() {
            let (client, told) = (clients[n % clients.len()].clone(), (*told).clone());
            asked.spawn(async move { is_known(&client, &told).await });
        }
        while let Some(known) = asked.join_next().await {
            known.context("a question panicked")??;
        }
    }
    let put = KvOp::Put { key: "after".into(), value: "the loss".into() }.encode();
    let mut lasts = vec![submit(&clients[0], 0, KV, NEW, put).await.context("no new command is executed")?];
    lasts.extend(last_of(told, ZONES).cloned());
    // Who answers has executed it, and the receipt carries the chain: all nodes have the same one.
    for last in &lasts {
        for client in &clients {
            is_known(client, last).await.context("the nodes have different chains")?;
        }
    }
    for client in clients {
        client.close().await;
    }
    running.into_iter().try_for_each(Node::stop)
}

fn last_of<'a>(told: &[&'a Acknowledged], app: AppNdx) -> Option<&'a Acknowledged> {
    let of_app = told.iter().copied().filter(|told| told.receipt.app == app);
    of_app.max_by_key(|told| told.receipt.state_ndx)
}

async fn is_known(client: &Client, told: &Acknowledged) -> Result<()> {
    let Receipt { app, state_ndx, .. } = told.receipt;
    let what = || format!("the command of application {app} in stateNdx {state_ndx}");
    let receipt = client.submit(&told.command).await.with_context(what)?;
    ensure!(receipt == told.receipt, "{} is now another: {receipt:?}", what());
    Ok(())
}
