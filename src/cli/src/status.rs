//! `synod status`: how every node says the cluster is, side by side.

mod diverged;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use synod_gateway::{
    CertificateStatus, CertificateUse, ClusterStatus, GroupRole, NodeState, NodeStatus, ProgramStatus, Road,
    VersionRange,
};
use synod_types::limits::CERTIFICATE_WARNING_DAYS;
use synod_types::{AppNdx, Digest, NodeId, StateNdx, Versions};

use self::diverged::Diverged;
use crate::cert::{day, days_left};
use crate::connection::Connection;
use crate::exit::Failure;
use crate::member;
use crate::output::Output;
use crate::reader::{HttpNode, Reader};
use crate::table::{Table, printable};

/// Ask every node how the cluster is
///
/// One row for each node and application: the node's role in the application's group, its stateNdx, how many chosen
/// slots it has not applied yet, the hash chain at its stateNdx, and how it sees the other nodes. A chain that is not
/// the same at the same stateNdx is marked with "!": those nodes have executed different commands, which must never be.
///
/// PROGRAM is the version of the node's program, and the levels by whose rules it can execute; LEVEL is the one by whose rules the
/// application is executed. `synod upgrade` says more.
///
/// CERTIFIED is the newest state that enough members have signed: see `synod certificate`. A node that has signed something else than
/// another one came to is named in a line.
///
/// Of the certificate that a node shows to other nodes and commanders, and of each authority that it trusts: the first digits of
/// the fingerprint, and the day until which it is valid. What has less than 30 days left is warned of.
///
/// A learner has no vote: it is about to get one, or has lost it. Where an application does not go by the members that are wanted, or a
/// node asks to become one, a line says so; and where a node has come to another state than a majority, from which stateNdx on, and
/// which keys or zones were changed there.
///
/// Exit code: 0 if every node answers and agrees, 1 if one does not, 5 if none can be reached.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod status
  synod status --http 127.0.0.1:9101 --http 127.0.0.1:9102 --http 127.0.0.1:9103
  synod status --output json | jq '.nodes[].status.apps[].stateNdx'")]
pub(crate) struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// What one node answered, or why it did not.
pub(crate) type Answered = (HttpNode, Result<ClusterStatus, String>);

impl Status {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let reader = self.connection.cluster()?.reader()?;
        let answered = ask_all(&reader).await;
        let diverged = diverged::find(&answered, &reader).await;
        let disagreeing = disagreements(&answered);
        let nodes = answered.iter().map(|(node, status)| match status {
            Ok(status) => json!({ "name": node.name, "url": node.url, "reachable": true, "status": status }),
            Err(why) => json!({ "name": node.name, "url": node.url, "reachable": false, "why": why }),
        });
        let disagree = disagreeing.iter().map(|(app, ndx)| json!({ "appNdx": app, "stateNdx": ndx }));
        let json = json!({
            "nodes": nodes.collect::<Vec<_>>(),
            "chainsDiffer": disagree.collect::<Vec<_>>(),
            "expiring": expiring(&answered).iter().map(|(node, certificate)| json!({
                "name": node,
                "certificate": certificate.certificate,
                "notAfterMs": certificate.not_after_ms,
            })).collect::<Vec<_>>(),
            "warnings": of_members(&answered)
                .into_iter()
                .chain(of_programs(&answered))
                .chain(of_disks(&answered))
                .chain(of_signers(&answered))
                .collect::<Vec<_>>(),
            "diverged": diverged,
        });
        output.print(&json, text(&answered, &disagreeing, &diverged))?;
        let reachable = answered.iter().filter(|(_, status)| status.is_ok()).count();
        if reachable == 0 {
            return Err(Failure::Unreachable("no node can be reached".to_owned()).into());
        }
        let is_whole = reachable == answered.len() && disagreeing.is_empty() && diverged.is_empty();
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Asks all nodes at the same time.
pub(crate) async fn ask_all(reader: &Reader) -> Vec<Answered> {
    let asked: Vec<_> =
        reader.nodes().iter().map(|node| tokio::spawn(ask(reader.clone(), node.clone()))).collect();
    let mut answered = Vec::new();
    for (node, asked) in reader.nodes().iter().zip(asked) {
        let status = asked.await.unwrap_or_else(|why| Err(why.to_string()));
        answered.push((node.clone(), status));
    }
    answered
}

/// Asks one node.
pub(crate) async fn ask(reader: Reader, node: HttpNode) -> Result<ClusterStatus, String> {
    const WAIT: Duration = Duration::from_secs(5);
    let asking = reader.get_from(&node, "/v1/cluster", &[]);
    match tokio::time::timeout(WAIT, asking).await {
        Ok(Ok(answer)) => answer.json().map_err(|why| format!("{why:#}")),
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err(format!("{} does not answer within {} s", node.url, WAIT.as_secs())),
    }
}

/// Where two nodes have different chains at the same stateNdx.
pub(crate) fn disagreements(answered: &[Answered]) -> Vec<(AppNdx, StateNdx)> {
    let mut chains: BTreeMap<(AppNdx, StateNdx), Vec<Digest>> = BTreeMap::new();
    for app in answered.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|status| &status.apps)
    {
        let chains = chains.entry((app.app_ndx, app.state_ndx)).or_default();
        if !chains.contains(&app.chain) {
            chains.push(app.chain);
        }
    }
    chains.into_iter().filter(|(_, chains)| chains.len() > 1).map(|(place, _)| place).collect()
}

/// What has less than [`CERTIFICATE_WARNING_DAYS`] left, with the node that has it.
fn expiring(answered: &[Answered]) -> Vec<(&str, &CertificateStatus)> {
    let known = answered.iter().filter_map(|(_, status)| status.as_ref().ok());
    let all = known.flat_map(|status| status.certificates.iter().map(|one| (status.node_name.as_str(), one)));
    all.filter(|(_, one)| days_left(one.not_after_ms).is_none_or(|days| days < CERTIFICATE_WARNING_DAYS))
        .collect()
}

/// What to do about a certificate that is at its end.
fn warning(node: &str, CertificateStatus { certificate, not_after_ms, .. }: &CertificateStatus) -> String {
    let (what, then) = match certificate {
        CertificateUse::Node => ("certificate", format!("`synod cert renew --node {node}`")),
        CertificateUse::Ca => ("authority", "`synod cert new-ca`".to_owned()),
        CertificateUse::Http => ("certificate for readers", "put another in its place".to_owned()),
        CertificateUse::Dns => ("certificate for encrypted DNS", "put another in its place".to_owned()),
    };
    let day = day(*not_after_ms);
    match days_left(*not_after_ms) {
        Some(days) => format!("! {node}: its {what} expires in {days} days, on {day}: {then}"),
        None => format!("! {node}: its {what} expired on {day}: {then}"),
    }
}

/// Nodes that are no members, applications that do not go by the members that are wanted, and who asks to become one.
fn of_members(answered: &[Answered]) -> Vec<String> {
    let statuses = || answered.iter().filter_map(|(_, status)| status.as_ref().ok());
    let wanted = statuses().map(|status| status.epoch).max().unwrap_or_default();
    let is_member =
        |id: NodeId, status: &ClusterStatus| status.nodes.iter().any(|node| node.id == id && node.is_member);
    let mut lines = Vec::new();
    for status in statuses() {
        let name = &status.node_name;
        if !is_member(status.node_id, status) {
            let votes = status.apps.iter().any(|app| app.voters.contains(&status.node_id));
            let is_led = status.apps.iter().any(|app| app.leader.is_some());
            lines.push(if votes && is_led {
                format!("! {name} is removed, and votes until the others go on without it: leave it on")
            } else {
                format!("! {name} is no member of the cluster, and its answers grow old: ask another node")
            });
            continue;
        }
        for app in status.apps.iter().filter(|app| app.epoch < wanted) {
            lines.push(format!(
                "! {name}: application {} {} is in epoch {}, and epoch {wanted} is wanted: synod member list",
                app.app_ndx, app.name, app.epoch
            ));
        }
    }
    let latest = statuses().max_by_key(|status| status.epoch);
    for one in member::applicants(statuses()) {
        let applicant = one.applicant;
        if latest.is_some_and(|status| is_member(applicant.id, status)) {
            continue;
        }
        let (name, id) = (&applicant.name, applicant.id.short());
        lines.push(if applicant.was_member {
            format!("! {name} ({id}) was removed and still runs: switch it off, or let it in again: synod member pending")
        } else if applicant.conflict.is_some() {
            format!("! {name} ({id}) has another key than the {name} that is known: synod member pending")
        } else {
            format!("! {name} ({id}) asks to become a member: synod member pending")
        });
    }
    lines
}

/// The certificates of one kind, for a cell of a table.
fn certificates(status: &ClusterStatus, of: CertificateUse) -> String {
    let found = status.certificates.iter().filter(|one| one.certificate == of);
    let word = |one: &CertificateStatus| {
        let digits: String = one.fingerprint.chars().take(8).collect();
        format!("{digits} {}", day(one.not_after_ms))
    };
    found.map(word).collect::<Vec<_>>().join(", ")
}

fn text(answered: &[Answered], disagreeing: &[(AppNdx, StateNdx)], diverged: &[Diverged]) -> String {
    let mut text = String::new();
    if let Some(status) = answered.iter().find_map(|(_, status)| status.as_ref().ok()) {
        text.push_str(&format!("cluster {} ({})\n\n", status.cluster_name, status.cluster_id.short()));
    }
    let mut table = Table::new(&[
        "NODE",
        "PROGRAM",
        "APP",
        "LEVEL",
        "ROLE",
        "STATENDX",
        "CERTIFIED",
        "LAG",
        "CHAIN",
        "CERTIFICATE",
        "CA",
        "SEES",
    ]);
    let mut missing = String::new();
    for (node, status) in answered {
        match status {
            Ok(status) => {
                for (n, app) in status.apps.iter().enumerate() {
                    let mark = if disagreeing.contains(&(app.app_ndx, app.state_ndx)) { "!" } else { "" };
                    table.row([
                        if n == 0 { status.node_name.clone() } else { String::new() },
                        if n == 0 { program(status) } else { String::new() },
                        format!("{} {}", app.app_ndx, app.name),
                        app.level.to_string(),
                        role(app.role).to_owned(),
                        app.state_ndx.to_string(),
                        app.certified.map_or_else(|| "-".to_owned(), |certified| certified.to_string()),
                        app.lag.to_string(),
                        format!("{}{mark}", app.chain.short()),
                        if n == 0 { certificates(status, CertificateUse::Node) } else { String::new() },
                        if n == 0 { certificates(status, CertificateUse::Ca) } else { String::new() },
                        if n == 0 { seen(&status.nodes) } else { String::new() },
                    ]);
                }
            }
            Err(why) => {
                let dash = || "-".to_owned();
                table.row([node.name.clone(), dash(), dash(), dash(), "unreachable".to_owned()]);
                missing.push_str(&format!("\n{}: {}", node.name, printable(why)));
            }
        }
    }
    text.push_str(&table.to_string());
    text.push_str(&missing);
    for (node, certificate) in expiring(answered) {
        text.push_str(&format!("\n{}", printable(&warning(node, certificate))));
    }
    for line in of_members(answered) {
        text.push_str(&format!("\n{}", printable(&line)));
    }
    for line in of_programs(answered).into_iter().chain(of_disks(answered)).chain(of_signers(answered)) {
        text.push_str(&format!("\n{}", printable(&line)));
    }
    for one in diverged {
        text.push_str(&format!("\n{}", printable(&one.line())));
    }
    for (app, ndx) in disagreeing {
        text.push_str(&format!(
            "\n!! nodes have different chains in application {app} at stateNdx {ndx}: they executed different commands. \
             Stop writing, keep every data directory, and report this."
        ));
    }
    text
}

/// A node's program, with the levels by whose rules it can execute.
fn program(status: &ClusterStatus) -> String {
    let own = status.nodes.iter().find(|node| node.id == status.node_id);
    match own.and_then(|own| own.program.as_ref()) {
        Some(ProgramStatus { version, levels: VersionRange { min, max }, .. }) => {
            printable(&format!("{version} ({})", Versions { min: *min, max: *max }))
        }
        None => printable(&status.version),
    }
}

/// Nodes that do not speak with each other since their programs are too far apart, and a switch that can be made.
fn of_programs(answered: &[Answered]) -> Vec<String> {
    let statuses = || answered.iter().filter_map(|(_, status)| status.as_ref().ok());
    let mut lines = Vec::new();
    for status in statuses() {
        for node in &status.nodes {
            let line = |why| format!("! {} has no session with {}: {why}", status.node_name, node.name);
            lines.extend(node.refused.as_ref().map(line));
        }
    }
    let nodes = || statuses().flat_map(|status| &status.nodes).filter(|node| node.is_member);
    let known = nodes().filter_map(|node| node.program.as_ref()).map(|program| program.levels.max).max();
    let is_behind = |newest| statuses().flat_map(|status| &status.apps).any(|app| app.level < newest);
    lines.extend(known.filter(|newest| is_behind(*newest)).map(|newest| {
        format!("! a member has a program for level {newest}, and not every application is on it: synod upgrade status")
    }));
    lines
}

/// Nodes that have signed a state to which another one did not come.
fn of_signers(answered: &[Answered]) -> Vec<String> {
    let statuses = || answered.iter().filter_map(|(_, status)| status.as_ref().ok());
    let mut lines = Vec::new();
    for status in statuses() {
        for app in &status.apps {
            for signer in &app.conflicting {
                let known = status.nodes.iter().find(|node| node.id == *signer);
                let name = known.map_or_else(|| signer.short(), |known| known.name.clone());
                lines.push(format!(
                    "! {}: in application {} {} {name} has signed a state to which this node did not come: one of the two is wrong; \
                     compare both with a third, and audit their logs: synod audit",
                    status.node_name, app.app_ndx, app.name
                ));
            }
        }
    }
    lines
}

/// Nodes on whose disks something was damaged.
fn of_disks(answered: &[Answered]) -> Vec<String> {
    let statuses = answered.iter().filter_map(|(_, status)| status.as_ref().ok());
    let damaged = statuses.filter(|status| status.scrub.damaged > 0);
    let line = |status: &ClusterStatus| {
        let (node, damaged, mended) = (&status.node_name, status.scrub.damaged, status.scrub.mended);
        format!(
            "! {node}: {damaged} damaged records and files were found on its disk since it started, and {mended} were had from \
             elsewhere: see its log, and to its disk"
        )
    };
    damaged.map(line).collect()
}

fn role(role: GroupRole) -> &'static str {
    match role {
        GroupRole::Leader => "leader",
        GroupRole::Candidate => "candidate",
        GroupRole::Follower => "follower",
        GroupRole::Learner => "learner",
    }
}

/// The other nodes, as one node sees them.
fn seen(nodes: &[NodeStatus]) -> String {
    let words = |node: &NodeStatus| match (node.state, node.rtt_us) {
        (NodeState::Own, _) => None,
        (NodeState::Up, Some(rtt_us)) => {
            Some(format!("{} {}.{:02} ms", node.name, rtt_us / 1000, rtt_us % 1000 / 10))
        }
        (NodeState::Up, None) => Some(format!("{} up", node.name)),
        (NodeState::Down, _) => match node.road {
            Some(road @ (Road::Unjoined | Road::Allowed)) => {
                Some(format!("{} DOWN ({})", node.name, road.name()))
            }
            _ => Some(format!("{} DOWN", node.name)),
        },
    };
    nodes.iter().filter_map(words).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use synod_gateway::{AppStatus, Leader};
    use synod_types::{ClusterId, Epoch, Slot, TimeMs};

    use super::*;

    fn certificate(of: CertificateUse, n: u8, not_after_ms: u64) -> CertificateStatus {
        let fingerprint = Digest([n; 32]).to_string();
        CertificateStatus { certificate: of, fingerprint, not_after_ms: TimeMs(not_after_ms) }
    }

    fn program() -> ProgramStatus {
        let range = |max| VersionRange { min: 1, max };
        ProgramStatus { version: "0.1.0".to_owned(), wire: range(1), levels: range(2) }
    }

    fn answered(n: u8, role: GroupRole, state_ndx: u64, chain: u8) -> Answered {
        let id = |n: u8| NodeId(Digest([n; 32]));
        let name = |n: u8| format!("node{n}");
        let other = |m: u8| NodeStatus {
            id: id(m),
            name: name(m),
            address: "127.0.0.1:1".to_owned(),
            is_member: true,
            state: if m == n {
                NodeState::Own
            } else if m == 3 {
                NodeState::Down
            } else {
                NodeState::Up
            },
            rtt_us: (m < 3 && m != n).then_some(1234),
            program: Some(program()),
            wire: None,
            refused: None,
            heard: None,
            road: None,
        };
        let app = AppStatus {
            level: 2,
            app_ndx: AppNdx(1),
            name: "kv".to_owned(),
            kind: "kv".to_owned(),
            role,
            epoch: Epoch(0),
            voters: vec![id(1), id(2), id(3)],
            diverged: None,
            certified: Some(StateNdx(40)),
            conflicting: Vec::new(),
            leader: Some(Leader { id: id(1), name: name(1) }),
            state_ndx: StateNdx(state_ndx),
            applied: Slot(state_ndx),
            chosen: Slot(42),
            lag: 42 - state_ndx,
            chain: Digest([chain; 32]),
            commanders: 1,
        };
        let status = ClusterStatus {
            cluster_id: ClusterId(Digest([0xcc; 32])),
            cluster_name: "demo".to_owned(),
            node_id: id(n),
            node_name: name(n),
            version: "0.1.0".to_owned(),
            nodes: (1..=3).map(other).collect(),
            epoch: Epoch(0),
            applicants: Vec::new(),
            apps: vec![app],
            certificates: vec![
                certificate(CertificateUse::Node, n, 2_111_000_000_000),
                certificate(CertificateUse::Ca, 0xca, 2_420_000_000_000),
            ],
            scrub: synod_gateway::ScrubStatus::default(),
        };
        (HttpNode::named(name(n), "h:1"), Ok(status))
    }

    #[test]
    fn the_table_reads_well() {
        let gone = (
            HttpNode::named("node3".to_owned(), "h:3"),
            Err("http://h:3 is not reachable: refused".to_owned()),
        );
        let all = [answered(1, GroupRole::Leader, 42, 7), answered(2, GroupRole::Follower, 40, 8), gone];
        let disagreeing = disagreements(&all);
        assert!(disagreeing.is_empty(), "different states have different chains");
        let expected = "\
cluster demo (cccccccccccc)

NODE   PROGRAM      APP   LEVEL  ROLE         STATENDX  CERTIFIED  LAG  CHAIN         CERTIFICATE          CA                   SEES
node1  0.1.0 (1-2)  1 kv  2      leader       42        40         0    070707070707  01010101 2036-11-22  cacacaca 2046-09-08  node2 1.23 ms, node3 DOWN
node2  0.1.0 (1-2)  1 kv  2      follower     40        40         2    080808080808  02020202 2036-11-22  cacacaca 2046-09-08  node1 1.23 ms, node3 DOWN
node3  -            -     -      unreachable

node3: http://h:3 is not reachable: refused";
        assert_eq!(text(&all, &disagreeing, &[]), expected);
    }

    #[test]
    fn a_switch_that_is_due_is_said_and_so_is_who_is_refused() {
        let mut all = [answered(1, GroupRole::Leader, 42, 7), answered(2, GroupRole::Follower, 42, 7)];
        assert_eq!(of_programs(&all), [""; 0]);
        let Ok(one) = &mut all[0].1 else { unreachable!() };
        one.apps[0].level = 1;
        one.nodes[1].refused = Some("no wire version in common".to_owned());
        let text = text(&all, &[], &[]);
        for line in [
            "! node1 has no session with node2: no wire version in common",
            "! a member has a program for level 2, and not every application is on it: synod upgrade status",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn who_has_signed_what_is_not_so_is_named() {
        let mut all = [answered(1, GroupRole::Leader, 42, 7), answered(2, GroupRole::Follower, 42, 7)];
        let Ok(one) = &mut all[0].1 else { unreachable!() };
        one.apps[0].conflicting = vec![one.nodes[1].id, NodeId(Digest([9; 32]))];
        let text = text(&all, &[], &[]);
        for name in ["node2", "090909090909"] {
            let line = format!(
                "! node1: in application 1 kv {name} has signed a state to which this node did not come"
            );
            assert!(text.contains(&line), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_to_be_known_of_members_is_said() {
        let mut all = [answered(1, GroupRole::Leader, 42, 7), answered(2, GroupRole::Learner, 42, 7)];
        let [Ok(one), Ok(two)] = all.each_mut().map(|(_, status)| status.as_mut()) else { unreachable!() };
        (one.epoch, two.epoch, two.apps[0].epoch) = (Epoch(1), Epoch(1), Epoch(1));
        let applicant = |n: u8, was_member| synod_gateway::ApplicantStatus {
            program: None,
            id: NodeId(Digest([n; 32])),
            name: format!("node{n}"),
            address: "h:1".to_owned(),
            conflict: None,
            was_member,
        };
        one.applicants = vec![applicant(4, false), applicant(5, true), applicant(2, false)];
        two.nodes[1].is_member = false;
        two.apps[0].voters.pop();
        let text = text(&all, &[], &[]);
        for line in [
            "! node1: application 1 kv is in epoch 0, and epoch 1 is wanted: synod member list",
            "! node2 is removed, and votes until the others go on without it: leave it on",
            "! node4 (040404040404) asks to become a member: synod member pending",
            "! node5 (050505050505) was removed and still runs",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_about_to_expire_is_warned_of() {
        let now = crate::time::now().0;
        let day = 24 * 60 * 60 * 1000;
        let mut one = answered(1, GroupRole::Leader, 42, 7);
        let Ok(status) = &mut one.1 else { unreachable!() };
        status.certificates = vec![
            certificate(CertificateUse::Node, 1, now + 29 * day + day / 2),
            certificate(CertificateUse::Ca, 2, now + 30 * day + day / 2),
            certificate(CertificateUse::Http, 3, now - 1),
        ];
        let all = [one];
        let text = text(&all, &[], &[]);
        assert!(text.contains("! node1: its certificate expires in 29 days"), "{text}");
        assert!(text.contains("synod cert renew --node node1"), "{text}");
        assert!(text.contains("! node1: its certificate for readers expired on"), "{text}");
        assert_eq!(expiring(&all).len(), 2, "30 days are enough");
    }

    #[test]
    fn nodes_that_disagree_are_marked() {
        let all = [answered(1, GroupRole::Leader, 42, 7), answered(2, GroupRole::Follower, 42, 9)];
        let disagreeing = disagreements(&all);
        assert_eq!(disagreeing, [(AppNdx(1), StateNdx(42))]);
        let text = text(&all, &disagreeing, &[]);
        assert!(text.contains("070707070707!") && text.contains("090909090909!"), "{text}");
        assert!(text.contains("different chains in application 1 at stateNdx 42"), "{text}");
    }
}
