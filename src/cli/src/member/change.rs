//! `synod member accept`, `add`, `remove`, `replace` and `reject`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use synod_machine::authority::{AuthorityOp, AuthorityReply, Member, MemberOp};
use synod_node::apps;
use synod_node::config::Address;
use synod_types::name::is_name;
use synod_types::{NodeId, Outcome};
use tokio::time::{Instant, sleep};

use super::census::{Census, id_digits};
use super::pending;
use super::settling::{self, Goal, Settled};
use crate::commander::explained;
use crate::connection::{Cluster, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::printable;
use crate::write::{self, WriteOptions};

/// How long a node is waited for that has not asked yet.
const ASKS_WITHIN: Duration = Duration::from_secs(10);
/// How often is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Let a node in that asks to become a member
///
/// Its address and its whole id are those with which it has called, so it has to run; `synod member pending` shows it. The digits
/// of its id have to come from the node itself: whoever has the authority's key can ask under any name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod member accept node4 --id 5c1f02b9a7e3
  synod member accept node2 --id 90ab17c55d02 --replaces node2   # node2 lost its disk, and has a new key
  synod member accept node4 --id 5c1f02b9a7e3 --replaces node1   # in the place of another one, at once")]
pub(super) struct Accept {
    /// Its name
    name: String,
    /// Its id, or at least 12 of its first digits, as the node itself has them
    #[arg(long, value_name = "HEX")]
    id: String,
    /// The member whose place it gets, at once: its name or id
    #[arg(long, value_name = "NODE")]
    replaces: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Make a node a member that need not run yet
///
/// It votes as soon as it is there and has nearly everything. Until then the cluster goes on as it was.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  synod member add node4 --id 5c1f02b9a7e3…d1 --address d.example:7101 --wait 0")]
pub(super) struct Add {
    /// Its name, as in its certificate
    name: String,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    common: Common,
}

/// Remove a member
///
/// It votes on until a majority of the others is there and goes on without it. If it leads, another one does first.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod member remove node1\n  synod member remove 5c1f02b9a7e3")]
pub(super) struct Remove {
    /// Its name, or at least 12 digits of its id
    node: String,
    #[command(flatten)]
    common: Common,
}

/// Have another node take the place of a member, at once
///
/// The number of members stays as it is, so that a cluster of three that has lost a disk never has four of which one is gone.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  synod member replace node2 --by node2 --id 90ab17c55d02…77 --address b.example:7101")]
pub(super) struct Replace {
    /// Who goes: its name, or at least 12 digits of its id
    node: String,
    /// Who comes: its name, as in its certificate
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    common: Common,
}

/// Turn away a node that asks to become a member
///
/// It is told so and is not shown any more. To take that back, add it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod member reject node9\n  synod member reject 5c1f02b9a7e3")]
pub(super) struct Reject {
    /// Its name, or at least 12 digits of its id
    node: String,
    #[command(flatten)]
    common: Common,
}

/// A node that need not run yet, and where it will.
#[derive(Args, Debug)]
struct Newcomer {
    /// The hash of its key, 64 hex digits
    #[arg(long, value_name = "HEX")]
    id: NodeId,
    /// Where the other nodes reach it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
}

#[derive(Args, Debug)]
struct Common {
    /// Wait so long until every application goes by the new members; 0: only until the change is ordered
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: u64,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Accept {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.common.connection.cluster()?;
        // It may just have been started.
        let end = Instant::now() + ASKS_WITHIN.min(Duration::from_secs(self.common.wait));
        let census = loop {
            let census = Census::take(&cluster).await?;
            let is_known = census.applicants().iter().any(|one| one.applicant.name == self.name)
                || self.replaces.is_none() && census.members().any(|member| member.name == self.name);
            if is_known || Instant::now() >= end {
                break census;
            }
            sleep(LOOK_AGAIN).await;
        };
        let by = applicant(&census, &self.name, &self.id)?;
        let mut gone = String::new();
        let op = match &self.replaces {
            Some(replaced) => {
                let member = census.member(replaced)?;
                gone.clone_from(&member.name);
                MemberOp::Replace { node: member.id, by }
            }
            // Only a new key for a known name: the state would refuse it, and this says what to do.
            None if census.members().any(|member| member.name == by.name) => {
                let known = census.applicants().into_iter().find(|one| one.applicant.id == by.id);
                let command = known.map(|one| pending::accept(&one, &census)).unwrap_or_default();
                return Err(Failure::Usage(format!(
                    "{} is a member, which has another key. If that one is lost for good: {command}",
                    by.name
                ))
                .into());
            }
            None => MemberOp::Add(by),
        };
        self.common.make(&cluster, op, &gone, output).await
    }
}

impl Add {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Add { name, newcomer, common } = self;
        let cluster = common.connection.cluster()?;
        common.make(&cluster, MemberOp::Add(newcomer.member(name)?), "", output).await
    }
}

impl Remove {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.common.connection.cluster()?;
        let census = Census::take(&cluster).await?;
        let member = census.member(&self.node)?;
        self.common.make(&cluster, MemberOp::Remove { node: member.id }, &member.name, output).await
    }
}

impl Replace {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Replace { node, by, newcomer, common } = self;
        let cluster = common.connection.cluster()?;
        let by = newcomer.member(by)?;
        let census = Census::take(&cluster).await?;
        let member = census.member(&node)?;
        common.make(&cluster, MemberOp::Replace { node: member.id, by }, &member.name, output).await
    }
}

impl Reject {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.common.connection.cluster()?;
        let node = match self.node.parse::<NodeId>() {
            Ok(id) => id,
            Err(_) => rejected(&Census::take(&cluster).await?, &self.node)?,
        };
        self.common.make(&cluster, MemberOp::Reject { node }, "", output).await
    }
}

impl Newcomer {
    /// The node as the arguments describe it.
    fn member(self, name: String) -> Result<Member, Failure> {
        let Newcomer { id, address } = self;
        if !is_name(&name) {
            let text = "a node's name has 1 to 63 of a-z, 0-9, '-', '_' and '.'";
            return Err(Failure::Usage(text.to_owned()));
        }
        let address =
            Address::parse(&address, 1..=u16::MAX).map_err(|why| Failure::Usage(why.to_string()))?;
        Ok(Member { id, name, address: address.to_string() })
    }
}

/// The applicant that has this name and an id that begins so.
fn applicant(census: &Census, name: &str, id: &str) -> Result<Member, Failure> {
    let digits = id_digits(id)?;
    let mut all = census.applicants();
    all.retain(|one| one.applicant.name == name);
    if all.is_empty() {
        let text = if census
            .members()
            .any(|node| node.name == name && node.id.to_string().starts_with(&digits))
        {
            format!("{} is a member already", printable(name))
        } else {
            format!(
                "no node called {} asks to become a member. It has to run and to reach a member that is in the client file; \
                 `synod member pending` shows those that do",
                printable(name)
            )
        };
        return Err(Failure::Usage(text));
    }
    let known: Vec<String> = all.iter().map(|one| one.applicant.id.to_string()).collect();
    all.retain(|one| one.applicant.id.to_string().starts_with(&digits));
    match &all[..] {
        [one] => {
            let applicant = &one.applicant;
            Ok(Member { id: applicant.id, name: name.to_owned(), address: applicant.address.clone() })
        }
        [] => Err(Failure::Usage(format!(
            "who asks as {} has another key than {digits}…: {}. Whoever that is, it is not the node whose id you have",
            printable(name),
            known.join(", ")
        ))),
        _ => Err(Failure::Usage(format!(
            "{digits} begins more than one id: {}; give more digits",
            known.join(", ")
        ))),
    }
}

/// The applicant that this name or beginning of an id stands for.
fn rejected(census: &Census, text: &str) -> Result<NodeId, Failure> {
    let mut all = census.applicants();
    let digits = id_digits(text).ok();
    let is_meant = |id: NodeId| digits.as_ref().is_some_and(|digits| id.to_string().starts_with(digits));
    all.retain(|one| one.applicant.name == text || is_meant(one.applicant.id));
    match &all[..] {
        [one] => Ok(one.applicant.id),
        [] => Err(Failure::Usage(format!(
            "no node that is called {0}, or has an id that begins with that, asks to become a member; `synod member pending` shows \
             those that do. A node that does not ask just now is named by its whole id",
            printable(text)
        ))),
        many => {
            let ids: Vec<String> = many.iter().map(|one| one.applicant.id.to_string()).collect();
            let text = printable(text);
            Err(Failure::Usage(format!(
                "several nodes ask as {text}: name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

impl Common {
    /// Has the change executed in the application that keeps the members, prints its receipt, and waits until all go by it. `gone`
    /// is the name of the member that is to be none.
    async fn make(
        self,
        cluster: &Cluster,
        op: MemberOp,
        gone: &str,
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let (genesis, _) = cluster.genesis()?;
        let home = apps::home(&genesis);
        let goal = Goal::of(&op, gone);
        let words = op.to_string();
        let client = cluster.client()?;
        let operation = AuthorityOp::Member(op).encode();
        let receipt = write::executed(&client, home, operation, &self.options).await;
        client.close().await;
        let receipt = receipt?;
        let is_made = matches!(
            &receipt.outcome,
            Outcome::Done(answer) if AuthorityReply::decode(answer) == Ok(AuthorityReply::Done)
        );
        let explain = |answer: &[u8]| {
            let (json, words) = explained(answer, None, words.clone(), &home.to_string());
            (json!({ "members": words, "pending": json["pending"] }), words)
        };
        let mut told = write::told(&receipt, explain);
        let goal = goal.filter(|_| is_made);
        let Some(goal) = goal else {
            output.print(&told.json, told.text)?;
            return Ok(ExitCode::from(told.code));
        };
        if self.wait == 0 {
            output.print(&told.json, format!("{}\n{}", told.text, goal.not_waited()))?;
            return Ok(ExitCode::SUCCESS);
        }
        if output == Output::Text {
            output.print(&told.json, &told.text)?;
        }
        let Settled { missing, took, epoch } = settling::wait(&cluster.reader()?, &goal, self.wait).await;
        let end = if missing.is_empty() {
            Ok(goal.settled(epoch, took))
        } else {
            Err(Failure::NotLive(goal.unsettled(&missing, took)))
        };
        match output {
            Output::Text => output.print(&told.json, end?)?,
            Output::Json => {
                told.json["settled"] = json!({
                    "reached": missing.is_empty(),
                    "ms": took.as_millis(),
                    "epoch": epoch,
                    "missing": missing,
                });
                output.print(&told.json, "")?;
                end?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use synod_gateway::NodeState;

    use super::super::census::tests::{applicant as applies, census, id, node, status};
    use super::*;

    fn asked() -> Census {
        let mut one =
            status(1, 0, vec![node(1, true, NodeState::Own), node(2, true, NodeState::Up)], Vec::new());
        one.applicants = vec![
            applies(4, "node4", None),
            applies(9, "node2", Some("known")),
            applies(7, "twin", None),
            applies(8, "twin", None),
        ];
        census(vec![one])
    }

    #[test]
    fn nobody_is_accepted_who_was_not_compared() {
        let census = asked();
        let by = applicant(&census, "node4", "0404040404040404").unwrap();
        assert_eq!((by.id, &by.address[..]), (id(4), "h4:7101"));
        assert_eq!(applicant(&census, "twin", &"08".repeat(6)).unwrap().id, id(8));
        for (name, digits, why) in [
            ("node4", "0404", "12 of its first digits"),
            ("node4", "050505050505", "another key than 050505050505"),
            ("node5", "050505050505", "no node called node5 asks"),
            ("node1", "010101010101", "is a member already"),
        ] {
            let error = applicant(&census, name, digits).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(rejected(&census, "node4"), Ok(id(4)));
        assert_eq!(rejected(&census, "070707070707"), Ok(id(7)));
        assert!(rejected(&census, "twin").unwrap_err().to_string().contains("several"));
        assert!(rejected(&census, "nobody").unwrap_err().to_string().contains("no node"));
    }

    #[test]
    fn what_cannot_be_a_node_is_said_before_it_is_signed() {
        let member = |name: &str, address: &str| {
            Newcomer { id: id(4), address: address.to_owned() }.member(name.to_owned())
        };
        assert!(member("node4", "[::1]:7101").is_ok());
        assert!(member("Node4", "h:7101").is_err());
        assert!(member("node4", "h").is_err());
    }
}
