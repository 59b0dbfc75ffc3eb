//! How the cluster looks from this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use synod_auth::Genesis;
use synod_gateway::{AppDoor, AppStatus, ClusterStatus, GroupRole, NodeState, NodeStatus};
use synod_mesh::Mesh;
use synod_paxos::RoleName;
use synod_types::{AppNdx, ClusterId, NodeId};

use crate::certificates::Certificates;
use crate::driver::Groups;

/// Puts together what different parts of the node know.
pub(crate) struct StatusSource {
    pub cluster: ClusterId,
    pub genesis: Genesis,
    pub node: NodeId,
    pub name: String,
    pub address: String,
    pub mesh: Arc<Mesh>,
    pub groups: Arc<ArcSwap<Groups>>,
    pub doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    pub certificates: Arc<Certificates>,
}

impl StatusSource {
    /// The whole picture, now.
    pub(crate) fn status(&self) -> ClusterStatus {
        ClusterStatus {
            cluster_id: self.cluster,
            cluster_name: self.genesis.name.clone(),
            node_id: self.node,
            node_name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nodes: self.nodes(),
            apps: self.apps(),
            certificates: self.certificates.status(),
        }
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let peers = self.mesh.peers();
        let status = |node: &synod_auth::GenesisNode| {
            let id = node.id();
            let peer = peers.iter().find(|peer| peer.id == id);
            let state = match peer {
                _ if id == self.node => NodeState::Own,
                Some(peer) if peer.is_up() => NodeState::Up,
                _ => NodeState::Down,
            };
            let rtt_us = peer.and_then(|peer| u64::try_from(peer.rtt?.as_micros()).ok());
            let address = peer.map_or_else(|| self.address.clone(), |peer| peer.address.clone());
            NodeStatus { id, name: node.name.clone(), address, state, rtt_us }
        };
        self.genesis.nodes.iter().map(status).collect()
    }

    fn apps(&self) -> Vec<AppStatus> {
        let groups = self.groups.load();
        let status = |(&app_ndx, door): (&AppNdx, &Arc<AppDoor>)| {
            let view = door.view();
            let group = groups.get(&app_ndx);
            let chosen = group.map_or(view.applied, |group| group.known.max(view.applied));
            AppStatus {
                app_ndx,
                name: door.name().to_owned(),
                kind: door.kind().to_owned(),
                role: group.map_or(GroupRole::Follower, |group| match group.role {
                    RoleName::Leader => GroupRole::Leader,
                    RoleName::Candidate => GroupRole::Candidate,
                    RoleName::Follower => GroupRole::Follower,
                }),
                leader: door.leader().as_deref().cloned(),
                state_ndx: view.state_ndx,
                applied: view.applied,
                chosen,
                lag: chosen.0 - view.applied.0,
                chain: view.chain,
                commanders: u64::try_from(view.commanders().count()).expect("limited"),
            }
        };
        self.doors.iter().map(status).collect()
    }
}
