//! Who the nodes are, put together from what every node that answers says.

use synod_gateway::{ApplicantStatus, ClusterStatus, NodeStatus};
use synod_types::NodeId;

use crate::connection::Cluster;
use crate::exit::Failure;
use crate::status::{Answered, ask_all};
use crate::table::printable;

/// Digits of an id that name a node to a person who has compared them: 48 bits, which nobody finds a second key for in passing.
pub(super) const ID_DIGITS_MIN: usize = 12;

/// What the nodes of the client file say.
pub(crate) struct Census(Vec<Answered>);

/// A node that asks to become a member, and the nodes that it has asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applied {
    /// Who it is, as the first of them says.
    pub(crate) applicant: ApplicantStatus,
    /// The names of those that say so.
    pub(crate) told_by: Vec<String>,
}

impl Census {
    /// Asks all nodes at the same time.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if none answers.
    pub(crate) async fn take(cluster: &Cluster) -> anyhow::Result<Census> {
        let (_, id) = cluster.genesis()?;
        let mut answered = ask_all(&cluster.reader()?).await;
        for (node, status) in &mut answered {
            if let Ok(other) = status
                && other.cluster_id != id
            {
                let other = other.cluster_id.short();
                *status = Err(format!("{} at {} is a node of another cluster, {other}", node.name, node.url));
            }
        }
        if answered.iter().all(|(_, status)| status.is_err()) {
            let why: Vec<String> =
                answered.iter().filter_map(|(_, status)| status.as_ref().err().cloned()).collect();
            return Err(Failure::Unreachable(format!("no node can be reached: {}", why.join("; "))).into());
        }
        Ok(Census(answered))
    }

    /// From the nodes that answer.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = &ClusterStatus> {
        self.0.iter().filter_map(|(_, status)| status.as_ref().ok())
    }

    /// Of the node that has come furthest: one that was removed, or was away, may know of earlier members only.
    pub(crate) fn latest(&self) -> &ClusterStatus {
        let furthest = self.statuses().max_by_key(|status| {
            let has_leader = status.apps.iter().all(|app| app.leader.is_some());
            (status.epoch, has_leader)
        });
        furthest.expect("a census has one answer at least")
    }

    /// The nodes that are to vote.
    pub(crate) fn members(&self) -> impl Iterator<Item = &NodeStatus> {
        self.latest().nodes.iter().filter(|node| node.is_member)
    }

    /// Those that ask to become one.
    pub(crate) fn applicants(&self) -> Vec<Applied> {
        let latest = self.latest();
        let is_member = |id: NodeId| latest.nodes.iter().any(|node| node.is_member && node.id == id);
        let mut all = applicants(self.statuses());
        // A node that is behind may list one that has become a member.
        all.retain(|one| !is_member(one.applicant.id));
        all
    }

    /// The member with this name, or with an id that begins so.
    ///
    /// # Errors
    /// [`Failure::Usage`] with those that there are.
    pub(crate) fn member(&self, text: &str) -> Result<&NodeStatus, Failure> {
        let by_name = self.members().find(|member| member.name == text);
        let by_id = || {
            let digits = id_digits(text).ok()?;
            self.members().find(|member| member.id.to_string().starts_with(&digits))
        };
        by_name.or_else(by_id).ok_or_else(|| {
            let names: Vec<&str> = self.members().map(|member| member.name.as_str()).collect();
            Failure::Usage(format!("{} is no member; the members are {}", printable(text), names.join(", ")))
        })
    }
}

/// Those that ask to become members, as these say; each once.
pub(crate) fn applicants<'a>(statuses: impl Iterator<Item = &'a ClusterStatus>) -> Vec<Applied> {
    let mut all: Vec<Applied> = Vec::new();
    for status in statuses {
        for applicant in &status.applicants {
            let told_by = status.node_name.clone();
            match all.iter_mut().find(|one| one.applicant.id == applicant.id) {
                Some(known) => known.told_by.push(told_by),
                None => all.push(Applied { applicant: applicant.clone(), told_by: vec![told_by] }),
            }
        }
    }
    all.sort_by(|a, b| (&a.applicant.name, a.applicant.id).cmp(&(&b.applicant.name, b.applicant.id)));
    all
}

/// The beginning of an id, or all of it: enough of it to know which key is meant.
pub(super) fn id_digits(text: &str) -> Result<String, Failure> {
    let text = text.to_ascii_lowercase();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (ID_DIGITS_MIN..=64).contains(&text.len()) {
        return Ok(text);
    }
    Err(Failure::Usage(format!(
        "{:?} is not the id of a node: give {ID_DIGITS_MIN} of its first digits at least, as the node itself has them \
         (`synod cert show node.pem`, or its log): they are compared with what the node has shown, so take them from nowhere \
         else",
        printable(&text)
    )))
}

#[cfg(test)]
pub(super) mod tests {
    use synod_gateway::{AppStatus, GroupRole, NodeState};
    use synod_types::{AppNdx, ClusterId, Digest, Epoch, Slot, StateNdx};

    use super::*;
    use crate::reader::HttpNode;

    pub(in super::super) fn id(n: u8) -> NodeId {
        NodeId(Digest([n; 32]))
    }

    pub(in super::super) fn node(n: u8, is_member: bool, state: NodeState) -> NodeStatus {
        let (name, address) = (format!("node{n}"), format!("h{n}:7101"));
        NodeStatus {
            id: id(n),
            name,
            address,
            is_member,
            state,
            rtt_us: None,
            program: None,
            wire: None,
            refused: None,
            heard: None,
            road: None,
        }
    }

    /// One application, `epoch` of which these vote in.
    pub(in super::super) fn app(ndx: u32, role: GroupRole, epoch: u64, voters: &[u8]) -> AppStatus {
        AppStatus {
            level: 1,
            app_ndx: AppNdx(ndx),
            name: if ndx == 1 { "kv" } else { "zones" }.to_owned(),
            kind: "kv".to_owned(),
            role,
            epoch: Epoch(epoch),
            voters: voters.iter().map(|n| id(*n)).collect(),
            diverged: None,
            certified: None,
            conflicting: Vec::new(),
            leader: None,
            state_ndx: StateNdx(0),
            applied: Slot(0),
            chosen: Slot(0),
            lag: 0,
            chain: Digest([0; 32]),
            commanders: 1,
        }
    }

    /// What node `n` says.
    pub(in super::super) fn status(
        n: u8,
        epoch: u64,
        nodes: Vec<NodeStatus>,
        apps: Vec<AppStatus>,
    ) -> ClusterStatus {
        ClusterStatus {
            cluster_id: ClusterId(Digest([0xcc; 32])),
            cluster_name: "demo".to_owned(),
            node_id: id(n),
            node_name: format!("node{n}"),
            version: "0.1.0".to_owned(),
            epoch: Epoch(epoch),
            nodes,
            applicants: Vec::new(),
            apps,
            certificates: Vec::new(),
            scrub: synod_gateway::ScrubStatus::default(),
        }
    }

    pub(in super::super) fn census(statuses: Vec<ClusterStatus>) -> Census {
        let named = |status: ClusterStatus| (HttpNode::named(status.node_name.clone(), "h:1"), Ok(status));
        Census(statuses.into_iter().map(named).collect())
    }

    pub(in super::super) fn applicant(n: u8, name: &str, conflict: Option<&str>) -> ApplicantStatus {
        ApplicantStatus {
            program: None,
            id: id(n),
            name: name.to_owned(),
            address: format!("h{n}:7101"),
            conflict: conflict.map(str::to_owned),
            was_member: false,
        }
    }

    #[test]
    fn who_has_come_furthest_says_who_the_members_are() {
        let old =
            status(1, 0, vec![node(1, true, NodeState::Own), node(2, true, NodeState::Down)], Vec::new());
        let mut new =
            status(2, 1, vec![node(2, true, NodeState::Own), node(3, true, NodeState::Up)], Vec::new());
        let mut late = old.clone();
        late.applicants = vec![applicant(3, "node3", None), applicant(9, "node9", None)];
        new.applicants = vec![applicant(9, "node9", None)];
        let census = census(vec![late, new]);
        let names: Vec<&str> = census.members().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["node2", "node3"]);
        let applied = census.applicants();
        assert_eq!(applied.len(), 1, "node3 is a member by now");
        assert_eq!(applied[0].told_by, ["node1", "node2"]);
        assert_eq!(census.member("node3").unwrap().id, id(3));
        assert_eq!(census.member("030303030303").unwrap().id, id(3));
        for bad in ["node1", "0303", "node9", ""] {
            assert!(census.member(bad).unwrap_err().to_string().contains("node2, node3"), "{bad:?}");
        }
    }

    #[test]
    fn nobody_is_meant_by_a_few_digits() {
        assert_eq!(id_digits("5C1F02B9A7E3"), Ok("5c1f02b9a7e3".to_owned()));
        for bad in ["", "5c1f02b9a7e", "5c1f02b9a7eg", &"5".repeat(65)] {
            assert!(id_digits(bad).is_err(), "{bad:?}");
        }
    }
}
