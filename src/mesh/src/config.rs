//! What a mesh is made of, checked before anything is opened.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use synod_auth::TlsIdentity;
use synod_types::limits::MEMBERS_MAX;
use synod_types::{ClusterId, NodeId};

/// Bytes of `host:port`: a DNS name has at most 253.
const ADDRESS_BYTES_MAX: usize = 253 + 1 + 5;

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
    /// The shortest wait before a peer is called again; the longest is ten times as long.
    pub retry_delay: Duration,
    /// All other nodes of the cluster.
    pub peers: Vec<PeerConfig>,
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
    /// For people.
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

/// Why there is no mesh.
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
    #[error("{0} nodes are configured; a cluster has at most {MEMBERS_MAX}")]
    TooManyNodes(usize),
    /// The same node twice, or this node itself among the others.
    #[error("node {0} is configured twice; each node's key must be its own")]
    DuplicateNode(NodeId),
    /// An address that no Hello can carry.
    #[error("{0:?} is not an address of the form host:port with at most {ADDRESS_BYTES_MAX} bytes")]
    BadAddress(String),
}

impl MeshConfig {
    pub(crate) fn check(&self) -> Result<(), MeshError> {
        let nodes = self.peers.len() + 1;
        if nodes > MEMBERS_MAX {
            return Err(MeshError::TooManyNodes(nodes));
        }
        let mut seen = vec![self.identity.node_id()];
        for peer in &self.peers {
            if seen.contains(&peer.id) {
                return Err(MeshError::DuplicateNode(peer.id));
            }
            seen.push(peer.id);
        }
        for address in self.peers.iter().map(|peer| &peer.address).chain([&self.address]) {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || address.len() > ADDRESS_BYTES_MAX {
                return Err(MeshError::BadAddress(address.clone()));
            }
        }
        Ok(())
    }
}
