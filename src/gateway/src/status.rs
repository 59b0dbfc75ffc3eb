//! How the cluster is, as one node sees it: plain data that the node fills in and front ends pass on. In JSON, ids and
//! digests are lower-case hex and field names are camelCase.

use serde::{Deserialize, Serialize};
use synod_types::{AppNdx, ClusterId, Digest, Epoch, NodeId, Slot, StateNdx, TimeMs};
use utoipa::ToSchema;

/// The whole picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// SHA3-256 of the genesis document.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub cluster_id: ClusterId,
    /// The name that genesis gives the cluster.
    pub cluster_name: String,
    /// The node that says all this.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// The version of its program.
    pub version: String,
    /// The epoch of the members that are wanted; the applications come to it.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Every node of the cluster, this one too; also such as are no members any more or not yet.
    pub nodes: Vec<NodeStatus>,
    /// Nodes that ask this one to become members.
    #[serde(default)]
    pub applicants: Vec<ApplicantStatus>,
    /// Every application, as this node takes part in it.
    pub apps: Vec<AppStatus>,
    /// What the node shows in TLS and whom it trusts, as it is now.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// What reading everything on the node's disk has found since the node started.
    #[serde(default)]
    pub scrub: ScrubStatus,
}

/// What was found by reading everything on a node's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScrubStatus {
    /// When everything had been read last, in milliseconds since 1970; absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, nullable = false)]
    pub passed_ms: Option<TimeMs>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Records and files that were damaged.
    pub damaged: u64,
    /// Of these, those that are whole again.
    pub mended: u64,
}

/// A certificate that a node has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// What it is for.
    pub certificate: CertificateUse,
    /// SHA-256 of the certificate in lower-case hex.
    pub fingerprint: String,
    /// The last second at which it is valid, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub not_after_ms: TimeMs,
}

impl ClusterStatus {
    /// Whether the node that says this has no part in the cluster: it is no member that is wanted, and where it believes that it
    /// votes still, it sees nobody who leads. Who was removed does not always learn of the decree that ended its vote.
    pub fn is_outside(&self) -> bool {
        let is_member = self.nodes.iter().any(|node| node.id == self.node_id && node.is_member);
        let takes_part = |app: &AppStatus| app.leader.is_some() && app.voters.contains(&self.node_id);
        !is_member && !self.apps.iter().any(takes_part)
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertificateUse {
    /// The node shows it to other nodes and to commanders.
    Node,
    /// It is an authority that the node trusts. There is one for each authority.
    Ca,
    /// The readers' port shows it.
    Http,
    /// Encrypted DNS shows it.
    Dns,
}

impl CertificateUse {
    /// As in JSON, in measurements and in the log.
    pub fn name(self) -> &'static str {
        match self {
            CertificateUse::Node => "node",
            CertificateUse::Ca => "ca",
            CertificateUse::Http => "http",
            CertificateUse::Dns => "dns",
        }
    }
}

/// One node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// SHA3-256 of its public key.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where the others reach it, as `host:port`.
    pub address: String,
    /// Whether it is to vote.
    #[serde(default = "yes")]
    pub is_member: bool,
    /// Whether this node has a session with it.
    pub state: NodeState,
    /// How far this node and that one have come with each other; absent for this node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub road: Option<Road>,
    /// Round trip to it in microseconds; absent for this node itself and where none was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rtt_us: Option<u64>,
    /// Its program, as it said last; absent: it has not said since this node started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub program: Option<ProgramStatus>,
    /// The wire version in which this node speaks to it; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub wire: Option<u32>,
    /// Why there is no session with it, where that is because the two programs have no wire version in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refused: Option<String>,
    /// What it said of itself last, as this node has heard it, if need be from others; absent: nothing yet, or it is this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub heard: Option<HeardStatus>,
}

/// What a node said of itself, signed by it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeardStatus {
    /// Its applications.
    pub apps: Vec<HeardAppStatus>,
    /// Files that it holds for them.
    pub files: u64,
    /// Milliseconds since this node heard it. A node says something when it changes.
    pub age_ms: u64,
}

/// How far a node said it was with an application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeardAppStatus {
    /// Which.
    #[schema(value_type = u32)]
    pub app_ndx: AppNdx,
    /// How many commands it had executed.
    #[schema(value_type = u64)]
    pub state_ndx: StateNdx,
    /// The newest state of which it held a certificate; 0: none.
    #[schema(value_type = u64)]
    pub certified: StateNdx,
}

/// What a node's program is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Its version.
    pub version: String,
    /// The wire versions that it speaks with other nodes.
    pub wire: VersionRange,
    /// The levels by whose rules it can execute.
    pub levels: VersionRange,
}

/// All versions from one to another, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

fn yes() -> bool {
    true
}

fn first_level() -> u32 {
    1
}

/// A node that asks to become a member, with a certificate of an authority that is trusted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicantStatus {
    /// SHA3-256 of its public key.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// Its name, as in its certificate.
    pub name: String,
    /// Where it says that it is reached, as `host:port`.
    pub address: String,
    /// Its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub program: Option<ProgramStatus>,
    /// Whether it was a member and was removed.
    #[serde(default)]
    pub was_member: bool,
    /// Why it cannot simply be accepted; absent: it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub conflict: Option<String>,
}

/// How a node looks from this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It is this node.
    #[serde(rename = "self")]
    Own,
    /// There is a session with it.
    Up,
    /// There is none.
    Down,
}

/// How far two nodes have come with each other. Each state needs the one before; whatever fails, they fall back to what still holds,
/// and go on from there by themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Road {
    /// The other one does not take this one for a member: it waits to be accepted, was removed or rejected, or is not who it was.
    Unjoined,
    /// Each takes the other for a member, as far as this one knows, and there is no session.
    Joined,
    /// One of them has a session with the other, and messages flow in one direction.
    Allowed,
    /// Messages flow in both directions.
    Alive,
}

impl Road {
    /// As in JSON and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Road::Unjoined => "unjoined",
            Road::Joined => "joined",
            Road::Allowed => "allowed",
            Road::Alive => "alive",
        }
    }
}

/// One application, as this node takes part in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// Its number.
    #[schema(value_type = u32)]
    pub app_ndx: AppNdx,
    /// Its name in the configuration.
    pub name: String,
    /// Which kind of application it is.
    pub kind: String,
    /// What this node is in its group.
    pub role: GroupRole,
    /// The level by whose rules this node executes it now.
    #[serde(default = "first_level")]
    pub level: u32,
    /// The epoch to which this node knows it to have come.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Whose votes decide in it.
    #[serde(default, with = "as_texts")]
    #[schema(value_type = Vec<String>)]
    pub voters: Vec<NodeId>,
    /// The first state that is known to be another one than that of a majority; absent: it is the same. From such an application
    /// nobody is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u64>)]
    pub diverged: Option<StateNdx>,
    /// Who leads it; absent while nobody is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub leader: Option<Leader>,
    /// The newest state of which this node holds a certificate; absent: it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u64>)]
    pub certified: Option<StateNdx>,
    /// The nodes that have signed a state to which this one did not come, since it started: one of the two is wrong.
    #[serde(default, with = "as_texts", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub conflicting: Vec<NodeId>,
    /// How many commands this node has executed.
    #[schema(value_type = u64)]
    pub state_ndx: StateNdx,
    /// The last slot that this node has applied.
    #[schema(value_type = u64)]
    pub applied: Slot,
    /// The last slot that this node knows to be chosen.
    #[schema(value_type = u64)]
    pub chosen: Slot,
    /// Slots known to be chosen and not applied here yet.
    pub lag: u64,
    /// The hash chain's value at `state_ndx`.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub chain: Digest,
    /// How many commanders it knows, revoked ones too.
    pub commanders: u64,
}

/// What a node is in an application's group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupRole {
    /// It orders commands.
    Leader,
    /// It tries to become the leader.
    Candidate,
    /// It follows a leader, or waits for one.
    Follower,
    /// It has no vote.
    Learner,
}

/// A node that leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Leader {
    /// SHA3-256 of its public key.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub id: NodeId,
    /// Its name.
    pub name: String,
}

/// Ids as people read them.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The same, of several.
mod as_texts {
    use serde::{Deserialize, Deserializer, Serializer};
    use synod_types::NodeId;

    pub(super) fn serialize<S: Serializer>(ids: &[NodeId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeId>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}
