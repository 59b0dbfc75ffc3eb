//! Who the members of the cluster are to be. One application keeps them, the one with the lowest number in genesis; the groups
//! of all follow, each with a decree that ends its epoch (see [`synod_types::Configuration`]).

use std::fmt;

use serde::{Deserialize, Serialize};
use synod_types::host_port::is_host_port;
use synod_types::limits::{ADDRESS_BYTES_MAX, MEMBERS_MAX, REJECTED_MAX, REMOVED_MAX};
use synod_types::name::is_name;
use synod_types::{Configuration, Epoch, Level, NodeId, Refusal, RefusalCode};

/// A member, or a node that is to become one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The hash of its key.
    pub id: NodeId,
    /// For people, and in its certificate; no two members share one.
    pub name: String,
    /// Where the other nodes reach it, as `host:port`; empty: where their configurations say, as for the first members.
    pub address: String,
}

/// What a command can do to the members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemberOp {
    /// One more.
    Add(Member),
    /// One less.
    Remove {
        /// Whom.
        node: NodeId,
    },
    /// Another one in the place of one, at once: a disk is lost, a machine is exchanged.
    Replace {
        /// Whose place.
        node: NodeId,
        /// Who gets it.
        by: Member,
    },
    /// A node that asks to become a member is turned away, until it is added all the same.
    Reject {
        /// Which.
        node: NodeId,
    },
}

/// The members that are wanted, who was turned away, and who was one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    epoch: Epoch,
    members: Vec<Member>,
    rejected: Vec<NodeId>,
    removed: Vec<Member>,
}

impl Members {
    /// The first members, as genesis names them.
    pub fn founded_by(members: &[Member]) -> Members {
        Members { epoch: Epoch(0), members: members.to_vec(), ..Members::default() }
    }

    /// Those of a cluster that goes on from a state of another one, in an epoch behind all of that one's.
    pub(super) fn succeeding(epoch: Epoch, members: &[Member]) -> Members {
        Members { epoch, members: members.to_vec(), ..Members::default() }
    }

    /// The members, in the order that all nodes share.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Who was turned away, the latest last.
    pub fn rejected(&self) -> &[NodeId] {
        &self.rejected
    }

    /// Who was a member and is none, the latest last, as far as it is remembered.
    pub fn removed(&self) -> &[Member] {
        &self.removed
    }

    /// What the groups are to come to: each change makes an epoch.
    pub fn configuration(&self) -> Configuration {
        Configuration { epoch: self.epoch, members: self.members.iter().map(|member| member.id).collect() }
    }

    /// On an error nothing has changed.
    pub(super) fn apply(&mut self, op: &MemberOp) -> Result<(), Refusal> {
        match op {
            MemberOp::Add(member) => {
                if self.members.len() >= MEMBERS_MAX {
                    let text = format!("the cluster has its {MEMBERS_MAX} members");
                    return Err(Refusal::new(RefusalCode::QuotaExceeded, text));
                }
                self.check_new(member, None)?;
                self.members.push(member.clone());
                self.welcome(member.id);
            }
            MemberOp::Remove { node } => {
                self.remove(*node)?;
            }
            MemberOp::Replace { node, by } => {
                let place = self.place(*node)?;
                self.check_new(by, Some(place))?;
                let former = std::mem::replace(&mut self.members[place], by.clone());
                push(&mut self.removed, former, REMOVED_MAX);
                self.welcome(by.id);
            }
            MemberOp::Reject { node } => {
                if self.members.iter().any(|member| member.id == *node) {
                    return Err(conflict(format_args!("node {} is a member; remove it", node.short())));
                }
                self.rejected.retain(|other| other != node);
                push(&mut self.rejected, *node, REJECTED_MAX);
            }
        }
        Ok(())
    }

    /// One less.
    ///
    /// # Errors
    /// `Conflict` if it is no member, or the only one.
    pub fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        let place = self.place(node)?;
        if self.members.len() == 1 {
            return Err(conflict("a cluster has one member at least"));
        }
        let former = self.members.remove(place);
        push(&mut self.removed, former, REMOVED_MAX);
        self.epoch.0 += 1;
        Ok(())
    }

    fn welcome(&mut self, node: NodeId) {
        self.rejected.retain(|other| *other != node);
        self.removed.retain(|other| other.id != node);
        self.epoch.0 += 1;
    }

    fn place(&self, node: NodeId) -> Result<usize, Refusal> {
        let place = self.members.iter().position(|member| member.id == node);
        place.ok_or_else(|| conflict(format_args!("node {} is no member", node.short())))
    }

    /// Checks that a node can become a member, whose place is taken from the one at `replaced`.
    fn check_new(&self, new: &Member, replaced: Option<usize>) -> Result<(), Refusal> {
        for (place, member) in self.members.iter().enumerate() {
            let short = member.id.short();
            if member.id == new.id {
                return Err(conflict(format_args!("node {short} is a member already, as {:?}", member.name)));
            }
            if member.name == new.name && replaced != Some(place) {
                return Err(conflict(format_args!(
                    "{:?} is node {short}, which has another key; replace it, if it lost that",
                    member.name
                )));
            }
        }
        Ok(())
    }

    /// Checks what comes with a snapshot.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !self.configuration().is_possible() {
            return Err("there can be no such members");
        }
        // They may have come by the rules of the beginning.
        if self.members.iter().any(|member| member.check(Level::FIRST).is_err()) {
            return Err("a member has a name or an address that is none");
        }
        if self.rejected.len() > REJECTED_MAX || self.removed.len() > REMOVED_MAX {
            return Err("too many nodes are turned away or were members");
        }
        Ok(())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {}", self.name, self.id.short(), self.address)
    }
}

/// In words.
impl fmt::Display for MemberOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberOp::Add(member) => write!(f, "add member {member}"),
            MemberOp::Remove { node } => write!(f, "remove member {}", node.short()),
            MemberOp::Replace { node, by } => write!(f, "replace member {} by {by}", node.short()),
            MemberOp::Reject { node } => write!(f, "turn node {} away", node.short()),
        }
    }
}

impl Member {
    fn check(&self, level: Level) -> Result<(), Refusal> {
        let malformed = |text| Err(Refusal::new(RefusalCode::Malformed, text));
        if !is_name(&self.name) {
            return malformed("a node's name has 1 to 63 of a-z, 0-9, '-', '_' and '.'");
        }
        let is_address = match level {
            Level::FIRST => is_loose_address,
            _ => is_host_port,
        };
        if !self.address.is_empty() && !is_address(&self.address) {
            return malformed("a node's address is host:port");
        }
        Ok(())
    }
}

/// What level 1 takes for an address: more than nodes can call.
fn is_loose_address(text: &str) -> bool {
    let is_whole = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    text.len() <= ADDRESS_BYTES_MAX && text.rsplit_once(':').is_some_and(is_whole)
}

impl MemberOp {
    pub(super) fn check(&self, level: Level) -> Result<(), Refusal> {
        match self {
            MemberOp::Add(member) | MemberOp::Replace { by: member, .. } => {
                member.check(level)?;
                // Only of the first members every node knows it by itself.
                match &member.address[..] {
                    "" => Err(Refusal::new(RefusalCode::Malformed, "a new node's address is missing")),
                    _ => Ok(()),
                }
            }
            MemberOp::Remove { .. } | MemberOp::Reject { .. } => Ok(()),
        }
    }
}

/// Adds the latest; the oldest goes where there are too many.
fn push<T>(nodes: &mut Vec<T>, node: T, max: usize) {
    nodes.push(node);
    let over = nodes.len().saturating_sub(max);
    nodes.drain(..over);
}

fn conflict(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Conflict, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Digest;

    fn member(n: u8) -> Member {
        Member { id: NodeId(Digest([n; 32])), name: format!("node{n}"), address: format!("h{n}:7") }
    }

    fn members(count: u8) -> Members {
        Members::founded_by(&(1..=count).map(member).collect::<Vec<_>>())
    }

    fn names(members: &Members) -> Vec<&str> {
        members.iter().map(|member| &member.name[..]).collect()
    }

    #[test]
    fn each_change_makes_an_epoch() {
        let mut all = members(3);
        all.apply(&MemberOp::Add(member(4))).unwrap();
        all.apply(&MemberOp::Remove { node: member(2).id }).unwrap();
        let by = Member { name: "node3".to_owned(), ..member(9) };
        all.apply(&MemberOp::Replace { node: member(3).id, by: by.clone() }).unwrap();
        assert_eq!(names(&all), ["node1", "node3", "node4"]);
        let Configuration { epoch, members } = all.configuration();
        assert_eq!((epoch, members), (Epoch(3), vec![member(1).id, by.id, member(4).id]));
        assert_eq!(all.removed(), [member(2), member(3)]);
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut all = members(3);
        let before = all.clone();
        let stolen = Member { name: "node2".to_owned(), ..member(8) };
        for (op, text) in [
            (MemberOp::Add(member(2)), "is a member already"),
            (MemberOp::Add(stolen.clone()), "which has another key"),
            (MemberOp::Replace { node: member(1).id, by: stolen }, "which has another key"),
            (MemberOp::Remove { node: member(7).id }, "is no member"),
            (MemberOp::Reject { node: member(1).id }, "is a member; remove it"),
        ] {
            let refusal = all.apply(&op).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Conflict);
            assert!(refusal.text.contains(text), "{refusal:?}");
            assert_eq!(all, before);
        }
        let mut one = members(1);
        assert!(one.apply(&MemberOp::Remove { node: member(1).id }).is_err());
        let mut full = members(15);
        assert_eq!(full.apply(&MemberOp::Add(member(16))).unwrap_err().code, RefusalCode::QuotaExceeded);
    }

    #[test]
    fn who_is_turned_away_can_be_added_all_the_same() {
        let mut all = members(3);
        for n in 4..=100 {
            all.apply(&MemberOp::Reject { node: member(n).id }).unwrap();
        }
        assert_eq!((all.rejected().len(), all.configuration().epoch), (REJECTED_MAX, Epoch(0)));
        all.apply(&MemberOp::Add(member(100))).unwrap();
        assert!(!all.rejected().contains(&member(100).id));
    }

    #[test]
    fn names_and_addresses_are_checked() {
        let with = |name: &str, address: &str, level: Level| {
            let member = Member { name: name.to_owned(), address: address.to_owned(), ..member(4) };
            MemberOp::Add(member).check(level).is_ok()
        };
        for level in [Level::FIRST, Level::HOST_PORT] {
            assert!(with("node4", "10.0.0.4:7101", level) && with("n-4.example", "[::1]:7101", level));
            for (name, address) in
                [("", "h:1"), ("Node", "h:1"), ("n", ""), ("n", "h"), ("n", ":1"), ("n", "h:x")]
            {
                assert!(!with(name, address, level), "{name:?} {address:?} {level}");
            }
        }
        for loose in ["a b:1", "::1:7", "h:0", "h:+7", "ä:7", "[no]:7"] {
            assert!(with("n", loose, Level::FIRST) && !with("n", loose, Level::HOST_PORT), "{loose:?}");
        }
    }
}
