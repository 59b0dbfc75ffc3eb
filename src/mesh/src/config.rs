//! What a mesh is made of, checked before anything is opened.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use synod_auth::TlsIdentity;
use synod_types::host_port::{self, is_host_port};
use synod_types::limits::{ADDRESS_BYTES_MAX, MESH_NODES_MAX};
use synod_types::{ClusterId, NodeId, Program};

/// What a node has to know to join the mesh.
#[derive(Debug)]
pub struct MeshConfig {
    /// The cluster; a Hello is signed for it.
    pub cluster: ClusterId,
    /// The node's key and certificate, and the authorities that it trusts. What is in it may change while the mesh runs.
    pub identity: Arc<TlsIdentity>,
    /// Where to listen, and from where to call.
    pub listen: Listen,
    /// Where the others reach this node, as `host:port`; told to them in the Hello.
    pub address: String,
    /// Names this node's data directory; told to the others in the Hello.
    pub directory: [u8; 16],
    /// Whose data directory is whose, as this node remembers it.
    pub directories: Arc<dyn Directories>,
    /// The shortest wait before a peer is called again; the longest is ten times as long.
    pub retry_delay: Duration,
    /// What this program is, as the others are told it in the Hello.
    pub program: Program,
    /// Bytes a second of [`Priority::Bulk`](crate::Priority::Bulk) to all peers together, not 0.
    pub catch_up_rate: u32,
    /// All other nodes of the cluster, to begin with; see [`crate::Mesh::set_peers`].
    pub peers: Vec<PeerConfig>,
}

/// Remembers with which data directory each node made its promises. One that comes with another has forgotten them: it could
/// promise the opposite, so nothing that it says may be taken.
pub trait Directories: fmt::Debug + Send + Sync {
    /// Whether `node` has had this directory all the time. The first one that it comes with is remembered, durably, before
    /// anything is taken from it.
    fn is_known(&self, node: NodeId, directory: [u8; 16]) -> bool;
}

/// Remembers nothing: every node is believed.
#[derive(Clone, Copy, Debug)]
pub struct NoDirectories;

impl Directories for NoDirectories {
    fn is_known(&self, _: NodeId, _: [u8; 16]) -> bool {
        true
    }
}

/// Where a node listens.
#[derive(Debug)]
pub enum Listen {
    /// On this UDP address. Port 0: on one that is free, see [`crate::Mesh::local_address`].
    Address(SocketAddr),
    /// On a socket that is bound already.
    Socket(UdpSocket),
}

/// Another node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// SHA3-256 of its public key: the only thing that it is trusted for.
    pub id: NodeId,
    /// What people call it. Nobody else may apply under this name.
    pub name: String,
    /// `host:port`; the name is resolved at each try.
    pub address: String,
    /// The name that its certificate must be valid for.
    pub server_name: String,
}

impl fmt::Display for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} at {})", self.name, self.id, self.address)
    }
}

impl PeerConfig {
    /// Whether both say that the same node is called in the same way.
    pub(crate) fn is_called_as(&self, other: &PeerConfig) -> bool {
        (&self.address, &self.server_name) == (&other.address, &other.server_name)
    }
}

/// Why there is no mesh, or why it does not get other peers.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The address cannot be used.
    #[error(
        "cannot listen for other nodes on UDP {address}: {source}; \
         stop what uses this address, or configure another one"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// TLS does not take the certificates.
    #[error("the node's certificate cannot be used between nodes: {0}")]
    Tls(String),
    /// Too many nodes.
    #[error("{0} nodes are configured; a mesh has at most {MESH_NODES_MAX}")]
    TooManyNodes(usize),
    /// The same node twice, or this node itself among the others.
    #[error("node {0} is configured twice; each node's key must be its own")]
    DuplicateNode(NodeId),
    /// This node's own address is none.
    #[error("{0:?} is not an address of the form host:port with at most {ADDRESS_BYTES_MAX} bytes")]
    BadAddress(String),
}

impl MeshConfig {
    pub(crate) fn check(&self) -> Result<(), MeshError> {
        if host_port::split(&self.address).is_err() {
            return Err(MeshError::BadAddress(self.address.clone()));
        }
        check_peers(self.identity.node_id(), &self.peers)
    }
}

/// Checks all other nodes of a mesh in which this node has the id `own`.
pub(crate) fn check_peers(own: NodeId, peers: &[PeerConfig]) -> Result<(), MeshError> {
    let nodes = peers.len() + 1;
    if nodes > MESH_NODES_MAX {
        return Err(MeshError::TooManyNodes(nodes));
    }
    let mut seen = vec![own];
    for peer in peers {
        if seen.contains(&peer.id) {
            return Err(MeshError::DuplicateNode(peer.id));
        }
        seen.push(peer.id);
    }
    Ok(())
}

/// Those that can be called. One that cannot must not cost this node its sessions with the others, so it is named and left out.
pub(crate) fn callable(mut peers: Vec<PeerConfig>) -> Vec<PeerConfig> {
    peers.retain(|peer| {
        let is_callable = is_host_port(&peer.address);
        if !is_callable {
            tracing::error!(%peer, "a node cannot be called: its address is not host:port; replace this member by itself, with \
                another address, or give the address in the configuration (synod member list)");
        }
        is_callable
    });
    peers
}
