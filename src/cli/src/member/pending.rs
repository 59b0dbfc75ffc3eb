//! `synod member pending`: the nodes that ask to become members.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use synod_gateway::ProgramStatus;
use synod_types::Versions;

use super::census::{Applied, Census, ID_DIGITS_MIN};
use crate::connection::Connection;
use crate::output::Output;
use crate::table::printable;

/// Show the nodes that ask to become members, and how to accept them
///
/// All that have called one of the nodes in the client file within ten minutes. Each has a certificate of the cluster's authority and the
/// key that its id is the hash of; where it says that it is reached, nobody has tried.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod member pending
  synod member pending --output json | jq -r '.applicants[] | [.name, .id] | @tsv'")]
pub(super) struct Pending {
    #[command(flatten)]
    connection: Connection,
}

impl Pending {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let census = Census::take(&self.connection.cluster()?).await?;
        let applied = census.applicants();
        let applicants = applied.iter().map(|one| {
            json!({
                "name": one.applicant.name,
                "id": one.applicant.id.to_string(),
                "address": one.applicant.address,
                "conflict": one.applicant.conflict,
                "wasMember": one.applicant.was_member,
                "toldBy": one.told_by,
                "accept": accept(one, &census),
            })
        });
        output.print(&json!({ "applicants": applicants.collect::<Vec<_>>() }), text(&applied, &census))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The command that lets it in.
pub(super) fn accept(one: &Applied, census: &Census) -> String {
    let name = printable(&one.applicant.name);
    let id: String = one.applicant.id.to_string().chars().take(ID_DIGITS_MIN).collect();
    let has_name = census.members().any(|member| member.name == one.applicant.name);
    let replaces = if has_name { format!(" --replaces {name}") } else { String::new() };
    format!("synod member accept {name} --id {id}{replaces}")
}

fn text(applied: &[Applied], census: &Census) -> String {
    if applied.is_empty() {
        return "no node asks to become a member\n".to_owned();
    }
    let mut text = String::new();
    for one in applied {
        let Applied { applicant, told_by } = one;
        let mut line =
            |line: String| writeln!(text, "{}", printable(&line)).expect("a String takes everything");
        line(format!("{} at {}", applicant.name, applicant.address));
        line(format!("  id          {}", applicant.id));
        line(format!("  has asked   {}", told_by.join(", ")));
        if let Some(ProgramStatus { version, levels, .. }) = &applicant.program {
            line(format!("  program     {version}, level {}", Versions { min: levels.min, max: levels.max }));
            let level = census.statuses().flat_map(|status| &status.apps).map(|app| app.level).max();
            if let Some(level) = level.filter(|level| levels.max < *level) {
                line(format!(
                    "  ! the cluster is on level {level}: this program would stop there; install a newer one first"
                ));
            }
        }
        if let Some(conflict) = &applicant.conflict {
            line(format!("  ! conflict  {conflict}"));
        }
        if applicant.was_member {
            line("  ! it was a member and was removed: switch it off, unless it is to come back".to_owned());
        }
        line(format!("  to accept   {}", accept(one, census)));
        line(format!("  to reject   synod member reject {}", applicant.id.short()));
        text.push('\n');
    }
    text.push_str(
        "Compare each id with what the node itself has (`synod cert show node.pem`, `key's id`, on its host) before you accept it.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use synod_gateway::NodeState;

    use super::super::census::tests::{applicant, census, node, status};
    use super::*;

    #[test]
    fn what_is_shown_says_how_to_accept() {
        let mut one =
            status(1, 0, vec![node(1, true, NodeState::Own), node(2, true, NodeState::Up)], Vec::new());
        let conflict = Some("its name is known with another key, 02…: has it lost its own?");
        one.applicants = vec![applicant(4, "node4", None), applicant(9, "node2", conflict)];
        let census = census(vec![one]);
        let text = text(&census.applicants(), &census);
        for part in [
            "node4 at h4:7101",
            &"04".repeat(32),
            "synod member accept node4 --id 040404040404\n",
            "synod member accept node2 --id 090909090909 --replaces node2\n",
            "! conflict  its name is known",
            "has asked   node1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
