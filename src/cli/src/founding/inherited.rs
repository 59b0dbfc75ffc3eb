//! What is printed of a cluster that goes on from another one.

use std::fmt;

use serde_json::{Value, json};
use synod_node::apps;

use super::CLIENT;
use super::heirs::{Before, Inherited};
use crate::output::Output;
use crate::table::Table;
use crate::time;

/// Prints what was founded; `more` is for programs alone.
pub(crate) fn print(
    output: Output,
    made: &Inherited,
    before: &Before<'_>,
    more: Option<(&str, Value)>,
) -> anyhow::Result<()> {
    let apps = before.views.iter().map(|view| {
        json!({
            "appNdx": view.app_ndx,
            "stateNdx": view.state_ndx,
            "slot": view.applied,
            "chain": view.chain.to_string(),
            "timeMs": view.time,
        })
    });
    let nodes = made.nodes.iter().map(|node| {
        json!({
            "name": node.name,
            "id": node.id.to_string(),
            "config": node.config,
            "data": node.data,
            "mesh": node.plan.mesh.to_string(),
            "backend": node.plan.backend.to_string(),
            "http": node.plan.http.to_string(),
            "dns": node.plan.dns.as_ref().map(ToString::to_string),
        })
    });
    let mut json = json!({
        "clusterId": made.cluster.to_string(),
        "clusterBefore": before.cluster.to_string(),
        "clusterName": made.genesis.name,
        "client": made.directory.join(CLIENT),
        "apps": apps.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
    });
    if let Some((name, value)) = more {
        json[name] = value;
    }
    output.print(&json, Report { made, before })
}

/// What was made, and what to do next.
struct Report<'a> {
    made: &'a Inherited,
    before: &'a Before<'a>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { made: Inherited { directory, genesis, cluster, nodes }, before } = self;
        writeln!(f, "cluster {} is founded: {cluster}", genesis.name)?;
        writeln!(f, "it goes on from cluster {}\n", before.cluster)?;
        let mut table = Table::new(&["APP", "NAME", "STATENDX", "CHAIN", "TIME"]);
        for (app, view) in genesis.apps.iter().zip(before.views) {
            let cells = [view.state_ndx.to_string(), view.chain.short(), time::shown(view.time.0)];
            table.row([app.ndx.to_string(), app.name.clone()].into_iter().chain(cells));
        }
        writeln!(f, "{table}")?;
        let home = apps::home(genesis);
        let mut table =
            Table::new(&["NODE", "ID", "NODES' PORT", "COMMANDERS' PORT", "READERS' PORT", "CONFIGURATION"]);
        for node in nodes {
            let addresses = [&node.plan.mesh, &node.plan.backend, &node.plan.http].map(ToString::to_string);
            let config = node.config.display().to_string();
            table.row([node.name.clone(), node.id.short()].into_iter().chain(addresses).chain([config]));
        }
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "Next, switch off what still runs of the cluster before, and keep its data directories. Then, for each node:"
        )?;
        for node in nodes {
            let (name, host) = (&node.name, &node.plan.mesh.host);
            if let Some(path) = &node.key_goes_to {
                writeln!(f, "  {name}: put its own key, which only {host} has, to {}", path.display())?;
            }
            if let Some(path) = &node.data_goes_to {
                writeln!(
                    f,
                    "  {name}: move {} to {path} on {host}, which must not be there",
                    node.data.display()
                )?;
            }
            writeln!(f, "  {name}: synod node --config {}", node.config.display())?;
        }
        writeln!(
            f,
            "A node that has no data directory gets everything from the others, if one of them has it.\n"
        )?;
        for name in before.lanes() {
            writeln!(
                f,
                "{name} is a process of its own: start it beside each node, or have the node do it, in [[lanes]] of its configuration.\n"
            )?;
        }
        let client = directory.join(CLIENT);
        let client = std::path::absolute(&client).unwrap_or(client);
        writeln!(f, "  export SYNOD_CLIENT={}", client.display())?;
        writeln!(f, "  synod status")?;
        writeln!(f, "Who commands is in the states, as before: synod commander list --app {home}")
    }
}
