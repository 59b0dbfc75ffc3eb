//! What the recorded nodes are busy with: commands of several writers, and zones whose files are uploaded first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use synod::founding::{KV, ZONES};
use synod_app_kv::KvOp;
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_client::{Client, CommandOptions};
use synod_types::{AppNdx, ContentKey, Outcome, Receipt, Seq, SignedCommand};
use tokio::task::JoinSet;

use crate::cluster::Cluster;

/// Writers at each node.
const WRITERS: usize = 3;
/// Keys, so that many values are written over.
const KEYS: u32 = 200;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Commands of each writer.
    pub commands: u32,
    /// Bytes of the largest value.
    pub value_bytes_max: usize,
    /// Zones that are set one after another, with a file each.
    pub zones: u32,
    /// Bytes of the largest zone file, or so.
    pub zone_bytes_max: usize,
}

/// A command that a client was told the outcome of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When it was told, in nanoseconds since 1970.
    pub received: u64,
    /// By which node.
    pub node: usize,
    /// What it had sent.
    pub command: SignedCommand,
    /// What it was told.
    pub receipt: Receipt,
}

/// A file of which a client was told that nodes hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// When it was told, in nanoseconds since 1970.
    pub received: u64,
    /// By which node.
    pub node: usize,
    /// The file.
    pub content: ContentKey,
    /// Who signed that it holds the file.
    pub holders: Vec<usize>,
}

/// All that clients were told.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Commands.
    pub commands: Vec<Acknowledged>,
    /// Files.
    pub files: Vec<Stored>,
}

/// Nanoseconds since 1970.
fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// Puts the load on every node of a cluster, with other numbers than the commands before it had.
///
/// # Errors
/// Something was refused.
pub async fn run(cluster: &Cluster, load: Load, seed: u64, before: &Told) -> Result<Told> {
    let of_kv = before.commands.iter().filter(|told| told.receipt.app == KV).count();
    let next = Arc::new(AtomicU64::new(u64::try_from(of_kv)? + 1));
    let serials = u32::try_from(before.files.len())?;
    let mut tasks: JoinSet<Result<Told>> = JoinSet::new();
    for node in 0..cluster.nodes() {
        for writer in 0..WRITERS {
            let number = u64::try_from(node * WRITERS + writer)?;
            let random = StdRng::seed_from_u64(seed.wrapping_add(number));
            let client = cluster.client_at(node)?;
            tasks.spawn(write(client, node, load, random, next.clone()));
        }
    }
    tasks.spawn(set_zones(cluster.clone(), load, serials, StdRng::seed_from_u64(!seed)));
    let mut told = Told::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.context("a task of the load panicked")??;
        told.commands.extend(part.commands);
        told.files.extend(part.files);
    }
    told.commands.sort_by_key(|acknowledged| acknowledged.received);
    Ok(told)
}

async fn write(
    client: Client,
    node: usize,
    load: Load,
    mut random: StdRng,
    next: Arc<AtomicU64>,
) -> Result<Told> {
    let mut told = Told::default();
    for _ in 0..load.commands {
        let seq = Seq(next.fetch_add(1, Ordering::Relaxed));
        let mut value = vec![0; random.random_range(1..=load.value_bytes_max)];
        random.fill(&mut value[..]);
        let key = format!("key/{}", random.random_range(0..KEYS));
        let op = KvOp::Put { key: key.into(), value: value.into() }.encode();
        told.commands.push(submit(&client, node, KV, seq, op).await?);
    }
    client.close().await;
    Ok(told)
}

async fn set_zones(cluster: Cluster, load: Load, before: u32, mut random: StdRng) -> Result<Told> {
    let clients = (0..cluster.nodes()).map(|n| cluster.client_at(n)).collect::<Result<Vec<_>>>()?;
    let mut told = Told::default();
    for serial in before + 1..=before + load.zones {
        let node = random.random_range(0..clients.len());
        let (client, seq) = (&clients[node], Seq(u64::from(serial)));
        let (content, op) = {
            let file = zone_file(serial, load.zone_bytes_max, &mut random);
            let bytes = u64::try_from(file.len())?;
            let uploaded = client.upload(ZONES, file.into(), |_, _| {}).await?;
            let holders =
                uploaded.receipts.iter().filter_map(|receipt| cluster.node_with(receipt.node)).collect();
            told.files.push(Stored { received: now()?, node, content: uploaded.content, holders });
            (uploaded.content, zone_op(serial, uploaded.content, bytes)?)
        };
        told.commands.push(submit(client, node, ZONES, seq, op).await.with_context(|| content.to_string())?);
    }
    for client in clients {
        client.close().await;
    }
    Ok(told)
}

fn zone_op(serial: u32, content: ContentKey, bytes: u64) -> Result<Vec<u8>> {
    let zone = ZoneName::parse(&format!("zone{}.example", serial % 3))?;
    let expected = Expected::Any;
    Ok(ZonesOp::Set(ZoneChange { zone, content, bytes, serial, force: false, expected }).encode())
}

fn zone_file(serial: u32, bytes_max: usize, random: &mut StdRng) -> String {
    let mut file =
        format!("$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n");
    let bytes = random.random_range(0..=bytes_max);
    for number in 0.. {
        if file.len() >= bytes {
            break;
        }
        file.push_str(&format!("host{number} TXT \"{:032x}\"\n", random.random::<u128>()));
    }
    file
}

/// Submits a command, which must be done.
///
/// # Errors
/// It is not.
pub async fn submit(
    client: &Client,
    node: usize,
    app: AppNdx,
    seq: Seq,
    op: Vec<u8>,
) -> Result<Acknowledged> {
    let command = client.commander().sign(app, seq, op.into(), CommandOptions::default())?;
    let receipt = client.submit(&command).await?;
    let received = now()?;
    if let Outcome::Refused(refusal) = &receipt.outcome {
        bail!("refused: {refusal:?}");
    }
    Ok(Acknowledged { received, node, command, receipt })
}
