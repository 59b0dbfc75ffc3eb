//! `synod member list`: every node, and where it votes.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use synod_gateway::{ClusterStatus, NodeState, NodeStatus};

use super::census::Census;
use crate::connection::Connection;
use crate::output::Output;
use crate::table::Table;

/// Show all nodes, which of them are members, and in which applications they vote
///
/// STATE is member: it is to vote, and does in every application; joining: it is to vote, and does not everywhere yet; leaving: it
/// is not to vote any more, and does somewhere still; no member: neither, but the asked node's configuration names it.
///
/// SEEN is whether the asked node has a session with it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod member list
  synod member list --http 127.0.0.1:9101                        # as this node sees it
  synod member list --output json | jq -r '.nodes[] | select(.state == \"member\") | .name'")]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let census = Census::take(&self.connection.cluster()?).await?;
        let status = census.latest();
        output.print(&json(status), text(status))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a node is, as a word, and the names of the applications in which it votes.
fn standing<'a>(status: &'a ClusterStatus, node: &NodeStatus) -> (&'static str, Vec<&'a str>) {
    let votes = status.apps.iter().filter(|app| app.voters.contains(&node.id));
    let votes: Vec<&str> = votes.map(|app| app.name.as_str()).collect();
    let word = match (node.is_member, votes.len()) {
        (true, count) if count == status.apps.len() => "member",
        (true, _) => "joining",
        (false, 0) => "no member",
        (false, _) => "leaving",
    };
    (word, votes)
}

fn seen(state: NodeState) -> &'static str {
    match state {
        NodeState::Own => "self",
        NodeState::Up => "up",
        NodeState::Down => "DOWN",
    }
}

fn json(status: &ClusterStatus) -> serde_json::Value {
    let nodes = status.nodes.iter().map(|node| {
        let (state, votes) = standing(status, node);
        json!({
            "name": node.name,
            "id": node.id.to_string(),
            "address": node.address,
            "state": state,
            "votesIn": votes,
            "seen": seen(node.state).to_lowercase(),
        })
    });
    let apps =
        status.apps.iter().map(|app| json!({ "appNdx": app.app_ndx, "name": app.name, "epoch": app.epoch }));
    json!({
        "asked": status.node_name,
        "epoch": status.epoch,
        "apps": apps.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

fn text(status: &ClusterStatus) -> String {
    let mut table = Table::new(&["NODE", "ID", "ADDRESS", "STATE", "VOTES IN", "SEEN"]);
    for node in &status.nodes {
        let (state, votes) = standing(status, node);
        let votes = if votes.is_empty() { "-".to_owned() } else { votes.join(", ") };
        table.row([
            node.name.clone(),
            node.id.short(),
            node.address.clone(),
            state.to_owned(),
            votes,
            seen(node.state).to_owned(),
        ]);
    }
    let epochs: Vec<String> =
        status.apps.iter().map(|app| format!("{} {} in {}", app.app_ndx, app.name, app.epoch)).collect();
    format!(
        "{table}\nas {} sees it: epoch {} is wanted; {}\n",
        status.node_name,
        status.epoch,
        epochs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use synod_gateway::GroupRole;

    use super::super::census::tests::{app, node, status};
    use super::*;

    #[test]
    fn the_table_reads_well() {
        let nodes = vec![
            node(1, true, NodeState::Own),
            node(2, false, NodeState::Up),
            node(3, true, NodeState::Down),
            node(4, false, NodeState::Down),
        ];
        let apps = vec![app(1, GroupRole::Leader, 4, &[1, 3]), app(2, GroupRole::Follower, 3, &[1, 2])];
        let expected = "\
NODE   ID            ADDRESS  STATE      VOTES IN   SEEN
node1  010101010101  h1:7101  member     kv, zones  self
node2  020202020202  h2:7101  leaving    zones      up
node3  030303030303  h3:7101  joining    kv         DOWN
node4  040404040404  h4:7101  no member  -          DOWN

as node1 sees it: epoch 4 is wanted; 1 kv in 4, 2 zones in 3
";
        assert_eq!(text(&status(1, 4, nodes, apps)), expected);
    }
}
