//! Who the nodes of the cluster are, as this node knows it now: with whom it speaks, and whose word counts.
//!
//! The members that are *wanted* stand in the state of the home application; whose votes decide in each group follows from
//! the group's log, and comes to what is wanted epoch by epoch. As long as some group has not come so far, this node goes on
//! speaking with who is to be removed. What the configuration names counts, too, so that a node that is new, or was away for
//! long, finds the others; but not who is known to have been removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use synod_machine::{Member, Members};
use synod_mesh::PeerConfig;
use synod_types::{AppNdx, Configuration, NodeId};

/// The shared view of it.
pub(crate) type Roster = ArcSwap<Known>;

/// What is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// This node.
    pub node: NodeId,
    /// As the home application's state has them.
    pub members: Members,
    /// Whose votes decide, in each group.
    pub voters: BTreeMap<AppNdx, Configuration>,
    /// Every node that matters, this one too, each with the address at which this node looks for it.
    pub nodes: Vec<Member>,
    /// The nodes of the configuration, and this one.
    configured: Vec<NodeId>,
}

/// Makes out of states what is known.
#[derive(Clone, Debug)]
pub(crate) struct Registrar {
    /// This node.
    pub own: Member,
    /// The others that the configuration names.
    pub servers: Vec<Member>,
}

impl Registrar {
    /// What follows from these states.
    pub(crate) fn known(&self, members: &Members, voters: BTreeMap<AppNdx, Configuration>) -> Known {
        let mut nodes: Vec<Member> = members.iter().map(|member| self.addressed(member)).collect();
        let missing = |nodes: &[Member], id: NodeId| nodes.iter().all(|node| node.id != id);
        for former in members.removed() {
            if missing(&nodes, former.id) && voters.values().any(|one| one.members.contains(&former.id)) {
                nodes.push(self.addressed(former));
            }
        }
        for server in self.servers.iter().chain([&self.own]) {
            let is_removed = members.removed().iter().any(|former| former.id == server.id);
            if missing(&nodes, server.id) && (!is_removed || server.id == self.own.id) {
                nodes.push(server.clone());
            }
        }
        let configured = self.servers.iter().chain([&self.own]).map(|server| server.id).collect();
        Known { node: self.own.id, members: members.clone(), voters, nodes, configured }
    }

    /// With the address at which this node looks for it.
    fn addressed(&self, member: &Member) -> Member {
        let own = self.servers.iter().chain([&self.own]).find(|server| server.id == member.id);
        match own {
            Some(own) if member.address.is_empty() || own.id == self.own.id => {
                Member { address: own.address.clone(), ..member.clone() }
            }
            _ => member.clone(),
        }
    }
}

impl Known {
    /// What a node is called.
    pub(crate) fn name(&self, node: NodeId) -> Option<&str> {
        self.nodes.iter().find(|known| known.id == node).map(|known| known.name.as_str())
    }

    /// The nodes with which this one speaks.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|known| self.is_peer(known)).map(|known| known.id)
    }

    /// The same for the mesh.
    pub(crate) fn peers(&self) -> Vec<PeerConfig> {
        let peer = |known: &Member| PeerConfig {
            id: known.id,
            name: known.name.clone(),
            address: known.address.clone(),
            server_name: known.name.clone(),
        };
        self.nodes.iter().filter(|known| self.is_peer(known)).map(peer).collect()
    }

    /// A first member of which this node's configuration says nothing has no address.
    fn is_peer(&self, known: &Member) -> bool {
        known.id != self.node && !known.address.is_empty()
    }

    /// Whose votes decide in a group.
    pub(crate) fn voters(&self, app: AppNdx) -> &[NodeId] {
        self.voters.get(&app).map_or(&[], |voters| &voters.members)
    }

    /// Sets of nodes of which a majority's word for a state of the application counts: those who decide as far as this node
    /// knows, those who are to, and those whom its owner has named to it.
    pub(crate) fn sets_that_vouch(&self, app: AppNdx) -> [Vec<NodeId>; 3] {
        [self.voters(app).to_vec(), self.members.configuration().members, self.configured.clone()]
    }

    /// Those that hold what is to last, such as files: who is to vote.
    pub(crate) fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|member| member.id)
    }
}

/// The shared view, with this in it.
pub(crate) fn share(known: Known) -> Arc<Roster> {
    Arc::new(ArcSwap::from_pointee(known))
}

#[cfg(test)]
pub(crate) mod tests {
    use synod_types::{Digest, Epoch};

    use super::*;

    fn member(n: u8, address: &str) -> Member {
        Member { id: NodeId(Digest([n; 32])), name: format!("node{n}"), address: address.to_owned() }
    }

    /// Of a node that knows nobody.
    pub(crate) fn of_one() -> Arc<Roster> {
        let own = member(1, "own:1");
        let members = Members::founded_by(std::slice::from_ref(&own));
        share(Registrar { own, servers: Vec::new() }.known(&members, voters(&[1])))
    }

    fn registrar() -> Registrar {
        Registrar { own: member(1, "own:1"), servers: vec![member(2, "two:1"), member(3, "three:1")] }
    }

    fn voters(nodes: &[u8]) -> BTreeMap<AppNdx, Configuration> {
        let members = nodes.iter().map(|&n| member(n, "").id).collect();
        BTreeMap::from([(AppNdx(1), Configuration { epoch: Epoch(1), members })])
    }

    fn addresses(known: &Known) -> Vec<(String, String)> {
        known.peers().into_iter().map(|peer| (peer.name, peer.address)).collect()
    }

    fn peers(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect()
    }

    #[test]
    fn first_members_are_where_the_configuration_says_and_others_where_the_state_does() {
        let first = Members::founded_by(&[member(1, ""), member(2, ""), member(3, ""), member(4, "four:9")]);
        let known = registrar().known(&first, voters(&[1, 2, 3]));
        assert_eq!(
            addresses(&known),
            peers(&[("node2", "two:1"), ("node3", "three:1"), ("node4", "four:9")])
        );
        assert_eq!(known.name(member(1, "").id), Some("node1"));
        assert_eq!(known.others().count(), 3);
    }

    #[test]
    fn whom_the_configuration_names_is_known_until_it_is_removed_everywhere() {
        let mut bytes = Members::founded_by(&[member(1, ""), member(2, ""), member(3, "")]);
        // As the machine does it; the test is about what follows.
        bytes = removed(&bytes, 3);
        let still = registrar().known(&bytes, voters(&[1, 2, 3]));
        assert_eq!(addresses(&still), peers(&[("node2", "two:1"), ("node3", "three:1")]), "it still votes");
        let gone = registrar().known(&bytes, voters(&[1, 2]));
        assert_eq!(addresses(&gone), peers(&[("node2", "two:1")]));
    }

    #[test]
    fn a_node_that_is_no_member_finds_the_members() {
        let joining = Registrar { own: member(9, "own:9"), servers: vec![member(2, "two:1")] };
        let known = joining.known(&Members::founded_by(&[member(1, ""), member(2, "")]), voters(&[1, 2]));
        assert_eq!(addresses(&known), peers(&[("node2", "two:1")]), "of node1 it has no address");
        assert_eq!(known.sets_that_vouch(AppNdx(1))[2], [member(2, "").id, member(9, "").id]);
    }

    fn removed(members: &Members, n: u8) -> Members {
        let mut machine = members.clone();
        machine.remove(member(n, "").id).unwrap();
        machine
    }
}
