//! `synod commander list`, `log` and `pending`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use synod_machine::authority::{AuthorityOp, Grant};

use super::current::{self, Commanders, Deed, Listed, Terms, short};
use crate::connection::Connection;
use crate::output::Output;
use crate::reader::ReadOptions;
use crate::table::{Table, printable};
use crate::time;

/// List all commanders, revoked ones too
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  synod commander list --app 1\n  synod commander list --app kv --min 12\n  \
                  synod commander list --app kv --output json | jq '.commanders[] | select(.revoked == null)'"
)]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
}

/// Show what was done to the commanders, the latest first
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  synod commander log --app 1\n  synod commander log --app kv --before 120 --limit 20"
)]
pub(super) struct Log {
    /// At most so many entries, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only entries before this state
    #[arg(long, value_name = "STATENDX", value_parser = clap::value_parser!(u64).range(1..))]
    before: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Show the changes that wait for further administrators to sign them
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod commander pending --app 1")]
pub(super) struct Pending {
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// The application: its number or its name
    #[arg(long, value_name = "APP")]
    app: String,
    #[command(flatten)]
    read: ReadOptions,
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Common { app, read, connection } = self.common;
        let list = current::read(&connection.cluster()?, &app, "", &read.parameters()).await?;
        output.print(&list, list_text(&list))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Log {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Common { app, read, connection } = self.common;
        let cluster = connection.cluster()?;
        let mut parameters = read.parameters();
        let names = current::read(&cluster, &app, "", &parameters).await?;
        parameters.push(("limit", self.limit.to_string()));
        parameters.extend(self.before.map(|before| ("before", before.to_string())));
        let log = current::read(&cluster, &app, "/log", &parameters).await?;
        output.print(&log, log_text(&log, &names))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Pending {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Common { app, read, connection } = self.common;
        let cluster = connection.cluster()?;
        let names = current::read(&cluster, &app, "", &read.parameters()).await?;
        let pending = current::read(&cluster, &app, "/pending", &read.parameters()).await?;
        output.print(&pending, pending_text(&pending, &names, &app)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list_text(list: &Commanders) -> String {
    let mut table = Table::new(&["COMMANDER", "NAME", "ROLE", "SCOPES", "SINCE", "VALID", "REVOKED"]);
    for Listed { id, terms, since, revoked, successor, .. } in &list.commanders {
        let since = if *since == 0 { "genesis".to_owned() } else { since.to_string() };
        let revoked = match (revoked, successor) {
            (None, _) => "-".to_owned(),
            (Some(revoked), None) => revoked.to_string(),
            (Some(revoked), Some(successor)) => format!("{revoked}, now {}", short(successor)),
        };
        let scopes = if terms.scopes.is_empty() { "all".to_owned() } else { terms.scopes.join(" ") };
        let valid = validity(terms.valid_from_ms, terms.valid_to_ms).unwrap_or_else(|| "always".to_owned());
        table.row([short(id), terms.name.clone(), terms.role.clone(), scopes, since, valid, revoked]);
    }
    let needed = match list.signatures_needed {
        1 => String::new(),
        needed => format!("each change needs the signatures of {needed} administrators\n"),
    };
    format!("{table}{needed}stateNdx {}\n", list.state_ndx)
}

fn log_text(log: &current::Log, names: &Commanders) -> String {
    let mut table = Table::new(&["STATENDX", "TIME", "BY", "STEP", "WHAT"]);
    for entry in &log.entries {
        let change = entry.change.map(|change| format!(" {change}")).unwrap_or_default();
        table.row([
            entry.state_ndx.to_string(),
            time::shown(entry.time_ms),
            names.shown(&entry.by),
            format!("{}{change}", entry.step),
            deed(&entry.deed, names),
        ]);
    }
    let more = log.entries.last().filter(|_| log.more);
    let more = more.map(|last| format!("there are more: --before {}\n", last.state_ndx)).unwrap_or_default();
    format!("{table}stateNdx {}\n{more}", log.state_ndx)
}

fn pending_text(pending: &current::Pending, names: &Commanders, app: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let needed = pending.signatures_needed;
    for waiting in &pending.pending {
        let current::Waiting { change, time_ms, lapses_ms, by, digest, approvals, signatures, .. } = waiting;
        let what = printable(&operation(&waiting.operation()?, names));
        let by = printable(&names.shown(by));
        let (begun, lapses) = (time::shown(*time_ms), time::shown(*lapses_ms));
        let signed: Vec<String> = approvals.iter().map(|id| printable(&names.shown(id))).collect();
        write!(
            text,
            "change {change}: {what}\n  proposed by {by} at {begun}, lapses after {lapses}\n  signed by {signatures} of \
             {needed}: {}\n  to sign it: synod commander approve {change} --app {app} --digest {digest}\n\n",
            signed.join(", ")
        )?;
    }
    if pending.pending.is_empty() {
        text.push_str("nothing is pending\n");
    }
    writeln!(text, "stateNdx {}", pending.state_ndx)?;
    Ok(text)
}

/// What was done, in words.
fn deed(deed: &Deed, names: &Commanders) -> String {
    match &deed.terms {
        Some(terms) => granted(terms, &deed.commander),
        None if let Some(level) = deed.level => format!("raise to level {level}"),
        None => match (&deed.members, deed.what.as_str()) {
            (Some(members), _) => members.clone(),
            (None, "rotate") => format!("rotate to {}", names.shown(&deed.commander)),
            (None, what) => format!("{what} {}", names.shown(&deed.commander)),
        },
    }
}

/// What an operation would do, in words.
pub(super) fn operation(op: &AuthorityOp, names: &Commanders) -> String {
    match op {
        AuthorityOp::Grant(grant) => {
            let Grant { key: _, name, role, scopes, valid_from, valid_to } = grant.clone();
            let (valid_from_ms, valid_to_ms) = (valid_from.map(|time| time.0), valid_to.map(|time| time.0));
            let terms = Terms { name, role: role.name().to_owned(), scopes, valid_from_ms, valid_to_ms };
            granted(&terms, &grant.commander().to_string())
        }
        AuthorityOp::Revoke { commander } => format!("revoke {}", names.shown(&commander.to_string())),
        AuthorityOp::Rotate { .. } => "rotate a key".to_owned(),
        AuthorityOp::Approve { change, .. } => format!("approve change {change}"),
        AuthorityOp::Withdraw { change } => format!("withdraw change {change}"),
        AuthorityOp::Member(op) => op.to_string(),
        AuthorityOp::Lead { node: Some(node) } => format!("have {} lead", node.short()),
        AuthorityOp::Lead { node: None } => "have any node lead".to_owned(),
        AuthorityOp::Raise { to } => format!("raise to level {to}"),
    }
}

fn granted(terms: &Terms, id: &str) -> String {
    let Terms { name, role, scopes, valid_from_ms, valid_to_ms } = terms;
    let mut text = format!("grant {role} {name} ({})", short(id));
    if !scopes.is_empty() {
        text.push_str(&format!(", within {}", scopes.join(" ")));
    }
    if let Some(validity) = validity(*valid_from_ms, *valid_to_ms) {
        text.push_str(&format!(", valid {validity}"));
    }
    text
}

fn validity(from: Option<u64>, to: Option<u64>) -> Option<String> {
    match (from.map(time::shown), to.map(time::shown)) {
        (None, None) => None,
        (Some(from), None) => Some(format!("from {from}")),
        (None, Some(to)) => Some(format!("until {to}")),
        (Some(from), Some(to)) => Some(format!("from {from} until {to}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::current::tests::{commanders, listed};
    use super::*;

    fn all() -> Commanders {
        let admin = listed("8f3c2a91b0de0000", "admin", 0, None);
        let mut old = listed("1122334455667788", "old\nkey", 4, Some(17));
        old.successor = Some("99aabbccddeeff00".to_owned());
        let mut new = listed("99aabbccddeeff00", "ci", 17, None);
        new.terms.scopes = vec!["a.example".to_owned(), "b.example".to_owned()];
        new.terms.valid_to_ms = Some(1_795_253_849_617);
        commanders(vec![admin, old, new])
    }

    #[test]
    fn the_list_reads_well() {
        let expected = "\
COMMANDER     NAME      ROLE    SCOPES               SINCE    VALID                       REVOKED
8f3c2a91b0de  admin     writer  all                  genesis  always                      -
112233445566  old\\nkey  writer  all                  4        always                      17, now 99aabbccddee
99aabbccddee  ci        writer  a.example b.example  17       until 2026-11-21 09:37:29Z  -
stateNdx 18
";
        assert_eq!(list_text(&all()), expected);
    }

    #[test]
    fn the_log_reads_well() {
        let by = "8f3c2a91b0de0000".to_owned();
        let entry = |state_ndx, step: &str, change, what: &str, terms| current::Entry {
            state_ndx,
            time_ms: 1_795_253_849_617,
            by: by.clone(),
            step: step.to_owned(),
            change,
            deed: Deed {
                what: what.to_owned(),
                commander: "99aabbccddeeff00".to_owned(),
                members: None,
                level: None,
                terms,
            },
        };
        let terms = all().commanders[2].terms.clone();
        let entries = vec![
            entry(20, "completed", Some(18), "revoke", None),
            entry(17, "made", None, "rotate", None),
            entry(4, "made", None, "grant", Some(terms)),
        ];
        let expected = "\
STATENDX  TIME                  BY                    STEP          WHAT
20        2026-11-21 09:37:29Z  admin (8f3c2a91b0de)  completed 18  revoke ci (99aabbccddee)
17        2026-11-21 09:37:29Z  admin (8f3c2a91b0de)  made          rotate to ci (99aabbccddee)
4         2026-11-21 09:37:29Z  admin (8f3c2a91b0de)  made          grant writer ci (99aabbccddee), within a.example \
b.example, valid until 2026-11-21 09:37:29Z
stateNdx 21
there are more: --before 4
";
        assert_eq!(
            log_text(&current::Log { app_ndx: 1, state_ndx: 21, entries, more: true }, &all()),
            expected
        );
    }
}
