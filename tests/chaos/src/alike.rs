//! When all is healed, every node is in the same state as the others, by its hash chain and by what it holds.

use std::collections::BTreeMap;

use serde_json::Value;
use synod_cluster::{Cluster, Readers, eventually};
use synod_gateway::{AppStatus, ClusterStatus};
use synod_types::{AppNdx, Digest, StateNdx};

use crate::apps;

/// Waits until all nodes have executed as much, and checks that it came to the same.
///
/// # Errors
/// Where two nodes differ.
pub async fn check(cluster: &Cluster) -> Result<(), String> {
    let mut all = Vec::new();
    eventually("every node has executed what every other one has", async || {
        all = states(&cluster.readers).await;
        all.iter().all(|one| !one.is_empty() && ndxs(one) == ndxs(&all[0]))
    })
    .await;
    for (n, one) in all.iter().enumerate() {
        if *one != all[0] {
            return Err(format!("{} and node1 have other chains: {one:?} and {:?}", cluster.name(n), all[0]));
        }
    }
    for app in apps::ALL {
        let mut first = None;
        for n in 0..cluster.len() {
            let held = held(&cluster.readers, n, app).await?;
            let first = first.get_or_insert_with(|| held.clone());
            if *first != held {
                let name = cluster.name(n);
                return Err(format!(
                    "{name} and node1 hold other things in application {app}: {held} and {first}"
                ));
            }
        }
    }
    Ok(())
}

/// Executes everything again, from genesis, by the log of the first node; all nodes have to have come to the same chains.
///
/// # Errors
/// What the audit says.
pub fn audit(cluster: &Cluster) -> Result<(), String> {
    let urls: Vec<String> =
        cluster.founded.nodes.iter().map(|node| format!("--url {}", node.plan.http)).collect();
    let audited = cluster.run(&format!("audit --quiet {}", urls.join(" ")));
    let said = String::from_utf8_lossy(&audited.stderr);
    if audited.status.success() { Ok(()) } else { Err(said.into_owned()) }
}

/// How much each application of each node has executed, and its chain; nothing of a node that does not answer.
async fn states(readers: &Readers) -> Vec<BTreeMap<AppNdx, (StateNdx, Digest)>> {
    let mut all = Vec::new();
    for n in 0..readers.len() {
        let status: Result<ClusterStatus, _> = readers.get_json(n, "/v1/cluster").await;
        let apps = status.map(|status| status.apps).unwrap_or_default();
        let state = |app: &AppStatus| (app.app_ndx, (app.state_ndx, app.chain));
        all.push(apps.iter().map(state).collect());
    }
    all
}

fn ndxs(states: &BTreeMap<AppNdx, (StateNdx, Digest)>) -> Vec<StateNdx> {
    states.values().map(|(state_ndx, _)| *state_ndx).collect()
}

/// Everything that an application holds, and in which state.
async fn held(readers: &Readers, n: usize, app: AppNdx) -> Result<Value, String> {
    let what = if app == apps::ZONES { "zones" } else { "kv" };
    let page: Value = readers
        .get_json(n, &format!("/v1/apps/{app}/{what}?limit=1000"))
        .await
        .map_err(|why| format!("node{} does not answer when all is healed: {why}", n + 1))?;
    assert_eq!(page["more"], false, "one page is everything");
    Ok(page)
}
