//! Which nodes a new cluster has, as arguments say.

use clap::Args;
use synod_app_zones::ZonesApp;
use synod_auth::GenesisApp;
use synod_types::limits::MEMBERS_MAX;

use super::{Layout, NodePlan};
use crate::exit::Failure;

/// The nodes of a cluster to be.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeArgs {
    /// How many nodes, all on one host: 1 to 15
    #[arg(long, default_value_t = 3, value_name = "N", conflicts_with = "hosts")]
    nodes: u16,
    /// Give each node a directory of its own, DIR/NAME, with all that it needs; empty ones may be there
    #[arg(long)]
    node_dirs: bool,
    /// Let no node answer DNS queries, though there is a zones application
    #[arg(long)]
    no_dns: bool,
    /// The host of all nodes: an IP address or a name
    #[arg(long, default_value = "127.0.0.1", conflicts_with = "hosts")]
    host: String,
    /// The hosts of the nodes, one for each node
    #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
    hosts: Vec<String>,
    /// The first node's port for the other nodes; its back end gets 1000 more, its HTTP 2000 more, its DNS 3000 more. The
    /// next node on the same host gets the next ports
    #[arg(long, default_value_t = 7101, value_name = "PORT")]
    base_port: u16,
}

impl NodeArgs {
    /// Where their files are.
    pub(crate) fn layout(&self) -> Layout {
        if self.node_dirs { Layout::NodeDirectories } else { Layout::Together }
    }

    /// The nodes, called node1, node2 and so on.
    pub(crate) fn plans<'a>(
        &self,
        apps: impl IntoIterator<Item = &'a GenesisApp>,
    ) -> anyhow::Result<Vec<NodePlan>> {
        let hosts = if self.hosts.is_empty() {
            vec![self.host.clone(); self.nodes.into()]
        } else {
            self.hosts.clone()
        };
        if !(1..=MEMBERS_MAX).contains(&hosts.len()) {
            return Err(Failure::Usage(format!("a cluster has 1 to {MEMBERS_MAX} nodes")).into());
        }
        let has_dns = !self.no_dns && apps.into_iter().any(|app| app.kind == ZonesApp::KIND);
        let mut nodes = Vec::new();
        for (n, host) in hosts.iter().enumerate() {
            let same_host = u16::try_from(hosts[..n].iter().filter(|other| *other == host).count())?;
            // No port at all is as bad as one that is too high.
            let base_port = self.base_port.checked_add(same_host).filter(|_| self.base_port > 0).unwrap_or(0);
            nodes.push(NodePlan::on(format!("node{}", n + 1), host, base_port, has_dns)?);
        }
        Ok(nodes)
    }
}
