//! How the cluster looks from this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use synod_gateway::{
    AppDoor, AppStatus, ApplicantStatus, Certificates as _, ClusterStatus, GroupRole, HeardAppStatus,
    HeardStatus, NodeState, NodeStatus, ProgramStatus, Road, VersionRange,
};
use synod_machine::Member;
use synod_mesh::{LinkState, Mesh, PeerStatus};
use synod_paxos::RoleName;
use synod_types::session::SessionErrorCode;
use synod_types::{AppNdx, AppStanding, ClusterId, Epoch, NodeId, Program, Versions};

use crate::certificates::Certificates;
use crate::cosigning::Cosigning;
use crate::driver::Groups;
use crate::hearsay::{Heard, Hearsay};
use crate::roster::{Known, Roster};
use crate::scrub::Findings;

/// Puts together what different parts of the node know.
pub(crate) struct StatusSource {
    pub cluster: ClusterId,
    pub cluster_name: String,
    pub program: Program,
    pub node: NodeId,
    pub name: String,
    pub roster: Arc<Roster>,
    pub mesh: Arc<Mesh>,
    pub groups: Arc<ArcSwap<Groups>>,
    pub doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    pub certificates: Arc<Certificates>,
    pub cosigning: Cosigning,
    pub hearsay: Hearsay,
    pub findings: Findings,
}

impl StatusSource {
    /// The whole picture, now.
    pub(crate) fn status(&self) -> ClusterStatus {
        let known = self.roster.load();
        ClusterStatus {
            cluster_id: self.cluster,
            cluster_name: self.cluster_name.clone(),
            node_id: self.node,
            node_name: self.name.clone(),
            version: self.program.version.clone(),
            epoch: known.members.configuration().epoch,
            nodes: self.nodes(&known),
            applicants: self.applicants(&known),
            apps: self.apps(&known),
            certificates: self.certificates.status(),
            scrub: self.findings.status(self.groups.load().values().map(|group| group.mended).sum()),
        }
    }

    fn nodes(&self, known: &Known) -> Vec<NodeStatus> {
        let peers = self.mesh.peers();
        let status = |node: &Member| {
            let id = node.id;
            let peer = peers.iter().find(|peer| peer.id == id);
            let state = match peer {
                _ if id == self.node => NodeState::Own,
                Some(peer) if peer.is_up() => NodeState::Up,
                _ => NodeState::Down,
            };
            let rtt_us = peer.and_then(|peer| u64::try_from(peer.rtt?.as_micros()).ok());
            let is_member = known.members.iter().any(|member| member.id == id);
            let program = if id == self.node {
                Some(&self.program)
            } else {
                peer.and_then(|peer| peer.program.as_ref())
            };
            NodeStatus {
                id,
                name: node.name.clone(),
                address: node.address.clone(),
                is_member,
                state,
                road: peer.map(road),
                rtt_us,
                program: program.map(program_status),
                wire: peer.and_then(|peer| peer.wire),
                refused: peer.and_then(no_common_version),
                heard: self.hearsay.of(id).map(heard_status),
            }
        };
        known.nodes.iter().map(status).collect()
    }

    fn applicants(&self, known: &Known) -> Vec<ApplicantStatus> {
        let status = |one: synod_mesh::Applicant| ApplicantStatus {
            id: one.id,
            name: one.name,
            address: one.address,
            program: Some(program_status(&one.program)),
            was_member: known.members.removed().iter().any(|former| former.id == one.id),
            conflict: one.conflict.map(|conflict| {
                format!("its name is known with another key, {}: has it lost its own?", conflict.known)
            }),
        };
        self.mesh.applicants().into_iter().map(status).collect()
    }

    fn apps(&self, known: &Known) -> Vec<AppStatus> {
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
                    RoleName::Follower if !group.is_voter => GroupRole::Learner,
                    RoleName::Follower => GroupRole::Follower,
                }),
                level: view.level().0,
                epoch: known.voters.get(&app_ndx).map_or(Epoch(0), |voters| voters.epoch),
                voters: known.voters(app_ndx).to_vec(),
                diverged: door.fence().map(|fence| fence.state_ndx),
                leader: door.leader().as_deref().cloned(),
                certified: self.cosigning.newest(app_ndx).map(|newest| newest.statement.state_ndx),
                conflicting: self.cosigning.conflicting(app_ndx),
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

fn program_status(program: &Program) -> ProgramStatus {
    let range = |Versions { min, max }| VersionRange { min, max };
    let Program { wire, levels, version } = program;
    ProgramStatus { version: version.clone(), wire: range(*wire), levels: range(*levels) }
}

/// How far this node and a peer have come with each other.
fn road(peer: &PeerStatus) -> Road {
    let is_not_taken = peer.refused.as_ref().is_some_and(|why| {
        matches!(
            why,
            SessionErrorCode::Removed
                | SessionErrorCode::Pending
                | SessionErrorCode::Rejected
                | SessionErrorCode::NameTaken
                | SessionErrorCode::OtherDirectory
        )
    });
    match (peer.outbound, peer.inbound) {
        (LinkState::Up, LinkState::Up) => Road::Alive,
        (LinkState::Up, _) | (_, LinkState::Up) => Road::Allowed,
        _ if is_not_taken => Road::Unjoined,
        _ => Road::Joined,
    }
}

fn heard_status(heard: Heard) -> HeardStatus {
    let Heard { standing, at } = heard;
    let app = |app: &AppStanding| HeardAppStatus {
        app_ndx: app.app,
        state_ndx: app.state_ndx,
        certified: app.certified,
    };
    let age_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    HeardStatus { apps: standing.apps.iter().map(app).collect(), files: standing.files, age_ms }
}

/// Why there is no session with a peer, if that is because its program is too old or too new.
fn no_common_version(peer: &PeerStatus) -> Option<String> {
    let is_it = peer.refused == Some(SessionErrorCode::NoCommonVersion);
    peer.last_error.clone().filter(|_| is_it)
}
