//! Waits until every application goes by the members that a change has made.
//!
//! It asks the nodes of the client file themselves and decides nothing: what is missing when it gives up will come all the same.

use std::time::Duration;

use synod_gateway::{AppStatus, ClusterStatus, GroupRole, NodeState, NodeStatus};
use synod_machine::authority::{Member, MemberOp};
use synod_types::{Epoch, NodeId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::reader::Reader;
use crate::status::{Answered, ask_all};

/// The pause before all nodes are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What is to be so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Goal {
    /// The new member, with its name.
    added: Option<(NodeId, String)>,
    /// The member that is to be none, with its name.
    removed: Option<(NodeId, String)>,
}

/// What came of waiting.
pub(super) struct Settled {
    /// What is not so yet, in words; nothing: all is.
    pub(super) missing: Vec<String>,
    /// How long it took.
    pub(super) took: Duration,
    /// The epoch that the change made, if a node has said so.
    pub(super) epoch: Option<Epoch>,
}

impl Goal {
    /// What a change is to come to; `None`: nothing that could be waited for. `name` is how a member is called that is to be none.
    pub(super) fn of(op: &MemberOp, name: &str) -> Option<Goal> {
        let added = |by: &Member| Some((by.id, by.name.clone()));
        let removed = |node: &NodeId| Some((*node, name.to_owned()));
        match op {
            MemberOp::Add(by) => Some(Goal { added: added(by), removed: None }),
            MemberOp::Remove { node } => Some(Goal { added: None, removed: removed(node) }),
            MemberOp::Replace { node, by } => Some(Goal { added: added(by), removed: removed(node) }),
            MemberOp::Reject { .. } => None,
        }
    }

    /// Who is to be none, in words.
    fn gone(&self) -> Option<String> {
        self.removed.as_ref().map(|(id, name)| format!("{name} ({})", id.short()))
    }

    /// Whether a node has executed the change.
    fn is_known_to(&self, status: &ClusterStatus) -> bool {
        let is_member = |id: NodeId| status.nodes.iter().any(|node| node.is_member && node.id == id);
        self.added.as_ref().is_none_or(|(id, _)| is_member(*id))
            && self.removed.as_ref().is_none_or(|(id, _)| !is_member(*id))
    }

    /// What is not so yet, as these nodes say, and the epoch that is waited for.
    fn missing(&self, answered: &[Answered]) -> (Vec<String>, Option<Epoch>) {
        let statuses = || answered.iter().filter_map(|(_, status)| status.as_ref().ok());
        let knowing = statuses().filter(|status| self.is_known_to(status));
        let Some(latest) = knowing.max_by_key(|status| status.epoch) else {
            return (vec!["no node that answers has executed the change yet".to_owned()], None);
        };
        let epoch = latest.epoch;
        let members: Vec<&NodeStatus> = latest.nodes.iter().filter(|node| node.is_member).collect();
        let of = |member: &NodeStatus| statuses().find(|status| status.node_id == member.id);
        let missing = latest.apps.iter().filter_map(|app| {
            let is_there = |status: &&ClusterStatus| {
                status.apps.iter().any(|one| one.app_ndx == app.app_ndx && one.epoch >= epoch)
            };
            let there = members.iter().filter(|member| of(member).is_some_and(|status| is_there(&status)));
            // Who leads in the epoch has heard so from a majority, of which the client file may not know all.
            let leads = |one: &AppStatus| {
                one.app_ndx == app.app_ndx && one.epoch >= epoch && one.role == GroupRole::Leader
            };
            let is_led = statuses().any(|status| status.apps.iter().any(leads));
            let there = there.count();
            if is_led || 2 * there > members.len() {
                return None;
            }
            let is_silent = |member: &NodeStatus| {
                answered.iter().any(|(node, status)| node.name == member.name && status.is_err())
            };
            let words = members.iter().filter_map(|member| match of(member) {
                Some(status) if is_there(&status) => None,
                Some(status) => {
                    let one = status.apps.iter().find(|one| one.app_ndx == app.app_ndx)?;
                    Some(match one.lag {
                        0 => format!("{} is in epoch {}", member.name, one.epoch),
                        lag => format!("{} lags by {lag} slots", member.name),
                    })
                }
                None if is_silent(member) => Some(format!("{} does not answer", member.name)),
                None if member.state == NodeState::Down => {
                    Some(format!("{} is down, as {} sees it", member.name, latest.node_name))
                }
                None => Some(format!("{} is not in the client file", member.name)),
            });
            let words: Vec<String> = words.collect();
            Some(format!(
                "{} {} is not in epoch {epoch} at a majority of the new members ({})",
                app.app_ndx,
                app.name,
                words.join(", ")
            ))
        });
        (missing.collect(), Some(epoch))
    }

    /// What can be done now.
    pub(super) fn settled(&self, epoch: Option<Epoch>, took: Duration) -> String {
        let epoch = epoch.map(|epoch| format!(" (epoch {epoch})")).unwrap_or_default();
        let mut text =
            format!("all applications go by the new members{epoch}, after {} ms", took.as_millis());
        if let Some((_, name)) = &self.added {
            text.push_str(&format!("; {name} votes"));
        }
        if let Some(gone) = self.gone() {
            text.push_str(&format!("\n{gone} can be switched off now"));
        }
        text
    }

    /// What is to be looked at where nobody waited.
    pub(super) fn not_waited(&self) -> String {
        let mut text = "`synod member list` shows when all applications go by it".to_owned();
        if let Some(gone) = self.gone() {
            text.push_str(&format!("; {gone} is needed until then"));
        }
        text
    }

    /// What to do when it takes long.
    pub(super) fn unsettled(&self, missing: &[String], took: Duration) -> String {
        let keep = self.gone().map(|gone| format!(" Leave {gone} on until then.")).unwrap_or_default();
        format!(
            "the change is ordered, and after {} s not everywhere: {}. It will be as soon as they are there, without anything more to \
             do; `synod member list` shows it.{keep}",
            took.as_secs(),
            missing.join("; ")
        )
    }
}

/// Waits until the goal is reached, so many seconds at most.
pub(super) async fn wait(reader: &Reader, goal: &Goal, seconds: u64) -> Settled {
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let mut last = (vec!["no node has answered".to_owned()], None);
    loop {
        if let Ok(answered) = timeout_at(end, ask_all(reader)).await {
            last = goal.missing(&answered);
        }
        let is_over = last.0.is_empty() || Instant::now() + ASK_AGAIN >= end;
        if is_over {
            let (missing, epoch) = last;
            return Settled { missing, took: begun.elapsed(), epoch };
        }
        sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::census::tests::{app, id, node, status};
    use super::*;
    use crate::reader::HttpNode;

    fn said(statuses: Vec<ClusterStatus>) -> Vec<Answered> {
        let named = |status: ClusterStatus| (HttpNode::named(status.node_name.clone(), "h:1"), Ok(status));
        statuses.into_iter().map(named).collect()
    }

    #[test]
    fn a_majority_of_the_new_members_is_enough_and_a_leader_among_them() {
        let goal = Goal { added: Some((id(4), "node4".to_owned())), removed: None };
        let nodes = || {
            let up = |n| node(n, true, NodeState::Up);
            vec![up(1), up(2), up(3), node(4, true, NodeState::Down)]
        };
        let one = |n, epoch, role| status(n, 1, nodes(), vec![app(1, role, epoch, &[1, 2, 3, 4])]);
        let follower = GroupRole::Follower;
        let before = status(1, 0, vec![node(1, true, NodeState::Own)], vec![app(1, follower, 0, &[1])]);
        assert!(goal.missing(&said(vec![before])).0[0].contains("has executed"));

        let two = said(vec![one(1, 1, follower), one(2, 1, follower), one(3, 0, follower)]);
        let (missing, epoch) = goal.missing(&two);
        assert_eq!(epoch, Some(Epoch(1)));
        assert!(missing[0].contains("1 kv is not in epoch 1"), "{missing:?}");
        assert!(missing[0].contains("node3 is in epoch 0, node4 is down, as"), "{missing:?}");
        let three = said(vec![one(1, 1, follower), one(2, 1, follower), one(3, 1, follower)]);
        assert_eq!(goal.missing(&three).0, [""; 0]);
        let led = said(vec![one(1, 1, GroupRole::Leader), one(3, 0, follower)]);
        assert_eq!(goal.missing(&led).0, [""; 0]);
    }

    #[test]
    fn who_is_removed_is_waited_for_until_all_go_on_without_it() {
        let goal = Goal::of(&MemberOp::Remove { node: id(1) }, "node1").unwrap();
        let nodes = vec![node(2, true, NodeState::Own), node(1, false, NodeState::Up)];
        let one = |epoch, role| status(2, 1, nodes.clone(), vec![app(1, role, epoch, &[1, 2])]);
        assert_eq!(goal.missing(&said(vec![one(0, GroupRole::Leader)])).0.len(), 1);
        assert_eq!(
            goal.missing(&said(vec![one(1, GroupRole::Follower)])).0,
            [""; 0],
            "one of one is a majority"
        );
        assert!(
            goal.settled(Some(Epoch(1)), Duration::ZERO).contains("node1 (010101010101) can be switched off")
        );
        assert_eq!(Goal::of(&MemberOp::Reject { node: id(1) }, ""), None);
    }
}
