//! The files of one node: where they are, what its certificate names, and its configuration.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use synod_node::config::Address;
use synod_types::NodeId;

use crate::exit::Failure;
use crate::founding::CA;

/// The default ports of the back end, of HTTP and of DNS, above the port for the other nodes.
const BACKEND_PORT_OFFSET: u16 = 1000;
const HTTP_PORT_OFFSET: u16 = 2000;
const DNS_PORT_OFFSET: u16 = 3000;

/// Where the files of a node are, in the directory of its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// Beside those of all others, under the node's name.
    #[default]
    Together,
    /// In a directory with the node's name, with all that the node needs and nothing else.
    NodeDirectories,
}

/// A node to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Where it listens for the other nodes, and where they reach it.
    pub mesh: Address,
    /// Its commanders' port.
    pub backend: Address,
    /// Its readers' port.
    pub http: Address,
    /// Where it answers DNS queries; `None`: nowhere.
    pub dns: Option<Address>,
}

impl NodePlan {
    /// On this host, with `base_port` for the other nodes and the usual distance from it to each other port.
    pub(crate) fn on(name: String, host: &str, base_port: u16, has_dns: bool) -> Result<NodePlan, Failure> {
        let address = |offset: u16| {
            let port = base_port.checked_add(offset).filter(|_| base_port > 0);
            let port = port.ok_or_else(|| {
                Failure::Usage(format!("--base-port: {base_port} leaves no room for all ports"))
            })?;
            // Through the same reader as the configuration, which knows brackets and what a host is.
            let host = if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            Address::parse(&format!("{host}:{port}"), 1..=u16::MAX)
                .map_err(|why| Failure::Usage(why.to_string()))
        };
        Ok(NodePlan {
            name,
            mesh: address(0)?,
            backend: address(BACKEND_PORT_OFFSET)?,
            http: address(HTTP_PORT_OFFSET)?,
            dns: if has_dns { Some(address(DNS_PORT_OFFSET)?) } else { None },
        })
    }
}

/// The files of one node, from the cluster's directory.
pub struct NodeFiles {
    /// Its configuration.
    pub config: String,
    /// Its certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl NodeFiles {
    /// Those of the node with this name.
    pub fn of(layout: Layout, name: &str) -> NodeFiles {
        let at = |together: &str, alone: &str| match layout {
            Layout::Together => format!("{name}{together}"),
            Layout::NodeDirectories => format!("{name}/{alone}"),
        };
        NodeFiles {
            config: at(".toml", "node.toml"),
            certificate: at(".pem", "node.pem"),
            key: at("-key.pem", "node-key.pem"),
        }
    }
}

/// Another node, as a node's configuration names it.
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: String,
    /// Where it is reached, as `host:port`.
    pub(crate) address: String,
    /// `None`: the genesis document has it.
    pub(crate) id: Option<NodeId>,
}

/// A node's configuration.
pub(crate) struct NodeText<'a> {
    /// What it is, for people; without a full stop.
    pub(crate) headline: String,
    /// The node.
    pub(crate) node: &'a NodePlan,
    /// Where its files are.
    pub(crate) layout: Layout,
    /// `None`: the default.
    pub(crate) retry_delay: Option<Duration>,
    /// `None`: beside the configuration.
    pub(crate) data_dir: Option<&'a str>,
    /// Whom it calls when it starts.
    pub(crate) others: Vec<Peer>,
}

impl fmt::Display for NodeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeText { headline, node, layout, retry_delay, data_dir, others } = self;
        let NodePlan { name, mesh, backend, http, dns } = node;
        let files = NodeFiles::of(*layout, name);
        // Paths are relative to the configuration.
        let beside = |file: &str| file.rsplit('/').next().unwrap_or(file).to_owned();
        let (certificate, key) = (beside(&files.certificate), beside(&files.key));
        write!(f, "# {headline}. config/node.toml in Synod's source shows every field and default.\n\n")?;
        if let Some(delay) = retry_delay {
            write!(f, "retry_delay = {}\n\n", delay.as_millis())?;
        }
        if let Some(path) = data_dir {
            write!(f, "data_dir = {}\n\n", toml::Value::from(*path))?;
        }
        write!(
            f,
            "[me]\nid = \"{name}\"\naddr = \"{mesh}\"\n\
             \n[me.tls_config_info]\ncert_path = \"{certificate}\"\nkey_path = \"{key}\"\nca_cert_path = \"{CA}\"\n\
             \n[backend]\naddr = \"{backend}\"\n\
             \n[http]\naddr = \"{http}\"\n"
        )?;
        if let Some(dns) = dns {
            write!(f, "\n[dns]\naddr = \"{dns}\"\n")?;
        }
        for Peer { name, address, id } in others {
            write!(f, "\n[[servers]]\naddr = \"{address}\"\nserver_name = \"{name}\"\n")?;
            if let Some(id) = id {
                writeln!(f, "id = \"{id}\"")?;
            }
        }
        Ok(())
    }
}

/// What the tools' configuration says of a node.
pub(crate) fn in_client_file(node: &NodePlan) -> String {
    let NodePlan { name, mesh: _, backend, http, dns } = node;
    let dns = dns.as_ref().map(|dns| format!("dns = \"{dns}\"\n")).unwrap_or_default();
    format!("[[nodes]]\nname = \"{name}\"\nbackend = \"{backend}\"\nhttp = \"{http}\"\n{dns}")
}

/// What the node's certificate carries: its name, by which nodes and tools check it, and its hosts, for whoever knows
/// only where it is.
pub(crate) fn server_names(node: &NodePlan) -> Vec<String> {
    let mut names = vec![node.name.clone()];
    for address in [&node.mesh, &node.backend] {
        let is_loopback = address.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let aliases = if is_loopback { &["localhost", "127.0.0.1", "::1"][..] } else { &[] };
        for name in std::iter::once(address.host.as_str()).chain(aliases.iter().copied()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Writes a file that is not there yet, durably.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.as_mut().map_err(|why| std::io::Error::from(why.kind())).and_then(|file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot create {}", path.display()))
}
