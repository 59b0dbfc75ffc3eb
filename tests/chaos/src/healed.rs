//! When all is healed: the last reads and writes, and what they have to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use synod_auth::SigningKey;
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, Page, eventually, put};
use synod_history::{History, Input, Operation, Output, Verdict};
use synod_types::StateNdx;

use crate::apps::{self, COUNTERS, REGISTERS};
use crate::commanders::again;
use crate::registers::{Ground, HOT_KEYS};
use crate::report::UNDECIDED;
use crate::zones::{Answers, Promises};
use crate::{accounts, record, watchers, zones};

/// The client that only reads, and the one that writes the last key.
const READER: u32 = 100;
const LAST_WRITER: u32 = 101;
/// Far more than the search takes.
const STEPS_MAX: u64 = 20_000_000;

/// Waits until every node can answer a linearizable read of every application: there are leaders, and all hear of them.
pub async fn recover(cluster: &Cluster) {
    for (node, app) in (0..cluster.len()).flat_map(|node| apps::ALL.map(|app| (node, app))) {
        let path = format!("/v1/apps/{app}?consistency=linearizable&wait=1");
        eventually("a node answers linearizable reads when all is healed", async || {
            cluster.readers.get(node, &path).await.is_ok()
        })
        .await;
    }
}

/// Reads every register at every node.
pub async fn read_registers(ground: &Ground) -> Vec<Operation<Input, Output>> {
    let mut reads = Vec::new();
    for (node, key) in (0..ground.readers().len()).flat_map(|node| HOT_KEYS.map(|key| (node, key))) {
        eventually("a node answers when all is healed", async || {
            let read = ground.read(READER, node, key).await;
            let is_there = read.is_some();
            reads.extend(read);
            is_there
        })
        .await;
    }
    reads
}

/// Reads all accounts at every node.
pub async fn read_balances(cluster: &Cluster) -> Vec<accounts::Balances> {
    let mut balances = Vec::new();
    for node in 0..cluster.len() {
        eventually("a node shows all accounts when all is healed", async || {
            let page = accounts::read(&cluster.readers, node, accounts::Freshness::Linearizable).await;
            let is_there = page.is_some();
            balances.extend(page.map(|page| accounts::Balances::of(page, StateNdx(0))));
            is_there
        })
        .await;
    }
    balances
}

/// Writes the key that watchers wait for; gives the state that this made, too.
pub async fn write_end(
    cluster: &Cluster,
    key: &SigningKey,
    ground: &Ground,
) -> (StateNdx, Operation<Input, Output>) {
    let client = cluster.client(again(key), 0, Timeouts::default());
    let input = Input::Put { key: watchers::END.into(), value: watchers::END.into() };
    let invoked = ground.now();
    let operation = put(watchers::END, watchers::END);
    let receipt = client.execute(REGISTERS, operation, CommandOptions::default()).await.unwrap();
    let outcome = record::answered(&input, &receipt, ground.now());
    client.close().await;
    (receipt.state_ndx, Operation { client: LAST_WRITER, invoked, input, outcome })
}

/// Asks every name server for every zone; what was promised under faults holds now, too.
pub async fn ask_name_servers(cluster: &Cluster, promises: &Promises) -> Answers {
    let mut answers = Answers::default();
    for (node, server) in zones::name_servers(cluster).into_iter().enumerate() {
        for zone in 0..zones::NAMES.len() {
            eventually("a name server answers when all is healed", async || {
                answers.ask(server, node, zone, promises).await
            })
            .await;
        }
    }
    answers
}

/// What each node says that the counters hold.
///
/// # Errors
/// A node that does not answer.
pub async fn read_counters(cluster: &Cluster) -> Result<Vec<BTreeMap<String, String>>, String> {
    let mut all = Vec::new();
    for node in 0..cluster.len() {
        let path = format!("/v1/apps/{COUNTERS}/kv?limit=1000");
        let page: Page = cluster.readers.get_json(node, &path).await.map_err(|why| why.to_string())?;
        all.push(page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect());
    }
    Ok(all)
}

/// Both checks of what clients of registers were told; gives the steps of the search.
///
/// # Errors
/// The answer that no order explains.
pub fn linearizable(recorded: &History, settled: &History) -> Result<u64, String> {
    let accepted = |what: &str, verdict| match verdict {
        Verdict::Linearizable => Ok(()),
        Verdict::Violation(why) => Err(format!("{what}: {why}")),
        Verdict::Undecided(why) => Err(format!("{what}{UNDECIDED}{why}")),
    };
    accepted("replayed", settled.replay())?;
    let mut steps = 0;
    for (what, history) in [("as recorded", recorded), ("settled", settled)] {
        let search = history.search(STEPS_MAX);
        steps += search.steps;
        accepted(what, search.verdict)?;
    }
    Ok(steps)
}

/// Writes a history down.
pub fn keep(directory: &Path, name: &str, history: &History) {
    fs::write(directory.join(format!("history-{name}.txt")), history.to_string()).unwrap();
}
