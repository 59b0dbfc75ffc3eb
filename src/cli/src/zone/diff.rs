//! `synod zone diff`: what a file would change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use synod_zone::diff::Retimed;
use synod_zone::{Diff as Differences, Name, Record, Rtype, diff, zone_file};

use super::current::{self, Current};
use super::file::SourceFile;
use super::zone_name;
use crate::connection::Connection;
use crate::exit::{self, Failure};
use crate::output::Output;

/// Compare a zone of the cluster with a file: which records a `set` would add, remove and change
///
/// The file need not be in order, only readable. Exit code 0: no difference, whatever the order and the layout of the
/// two; 1: there are differences; 2 and above: they could not be compared. A zone that does not exist has no records.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone diff example.org example.org.zone
  synod zone diff example.org example.org.zone --at 17      # with what the zone held in that state
  synod zone diff example.org - < generated.zone && echo nothing to publish")]
pub(super) struct Diff {
    /// The zone
    #[arg(value_name = "FQDN")]
    zone: String,
    /// The zone file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Compare with what the zone held in an earlier state
    #[arg(long, value_name = "STATENDX")]
    at: Option<u64>,
    /// The application: its number or its name [default: the first of kind zones]
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Diff {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        self.compare(output).await.map_err(exit::not_1)
    }

    async fn compare(self, output: Output) -> anyhow::Result<ExitCode> {
        let origin = zone_name(&self.zone)?;
        let file = SourceFile::read(&self.file)?;
        let parsed =
            zone_file::parse(&file.bytes, &origin).map_err(|faults| file.rejected(faults).unreadable())?;
        let cluster = self.connection.cluster()?;
        let current = Current::of(&cluster, cluster.zones_app(self.app.as_deref())?)?;
        let at = self.at.map(|at| ("at", at.to_string()));
        let held = match current.file(&origin, at.as_slice()).await {
            Ok(answer) => current::records(&origin, &answer.body)?,
            Err(Failure::NoSuchKey(_)) if self.at.is_none() => Vec::new(),
            Err(other) => return Err(other.into()),
        };
        let differences = diff(&held, &parsed.records);
        output.print(&json_of(&origin, &differences), text(&differences))?;
        Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What changed of one name and type.
#[derive(Default)]
struct Rrset<'a> {
    removed: Vec<&'a Record>,
    added: Vec<&'a Record>,
    retimed: Option<&'a Retimed>,
}

/// The differences by name and type, in canonical order.
fn rrsets(differences: &Differences) -> BTreeMap<(&Name, Rtype), Rrset<'_>> {
    let mut rrsets: BTreeMap<(&Name, Rtype), Rrset<'_>> = BTreeMap::new();
    for record in &differences.removed {
        rrsets.entry((&record.owner, record.rtype)).or_default().removed.push(record);
    }
    for record in &differences.added {
        rrsets.entry((&record.owner, record.rtype)).or_default().added.push(record);
    }
    for retimed in &differences.retimed {
        rrsets.entry((&retimed.owner, retimed.rtype)).or_default().retimed = Some(retimed);
    }
    rrsets
}

impl Rrset<'_> {
    /// Records that others of the same name and type take the place of.
    fn changed(&self) -> usize {
        self.removed.len().min(self.added.len())
    }
}

/// One line for each record, those of a name and type together; a summary at the end.
fn text(differences: &Differences) -> String {
    if differences.is_empty() {
        return "no differences".to_owned();
    }
    let mut text = String::new();
    let (mut added, mut removed, mut changed) = (0, 0, 0);
    let mut line =
        |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a String takes everything");
    for rrset in rrsets(differences).values() {
        changed += rrset.changed();
        added += rrset.added.len() - rrset.changed();
        removed += rrset.removed.len() - rrset.changed();
        for record in &rrset.removed {
            line(format_args!("- {record}"));
        }
        for record in &rrset.added {
            line(format_args!("+ {record}"));
        }
        if let Some(Retimed { owner, rtype, old_ttl, new_ttl }) = rrset.retimed {
            line(format_args!("~ {owner} {rtype}: TTL {old_ttl} becomes {new_ttl}"));
        }
    }
    let retimed = differences.retimed.len();
    line(format_args!("{added} added, {removed} removed, {changed} changed, {retimed} with another TTL"));
    text
}

fn json_of(origin: &Name, differences: &Differences) -> Value {
    let rrsets = rrsets(differences);
    let rrsets = rrsets.iter().map(|((owner, rtype), rrset)| {
        let texts =
            |records: &[&Record]| records.iter().map(|record| record.to_string()).collect::<Vec<String>>();
        json!({
            "owner": owner.to_string(),
            "type": rtype.to_string(),
            "removed": texts(&rrset.removed),
            "added": texts(&rrset.added),
            "oldTtl": rrset.retimed.map(|retimed| retimed.old_ttl),
            "newTtl": rrset.retimed.map(|retimed| retimed.new_ttl),
        })
    });
    json!({
        "zone": origin.to_string(),
        "equal": differences.is_empty(),
        "differences": rrsets.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<Record> {
        zone_file::parse(text.as_bytes(), &Name::parse("example.org").unwrap()).unwrap().records
    }

    #[test]
    fn differences_read_well() {
        let old = records(
            "$TTL 300\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nwww A 192.0.2.1\ngone TXT x\nmail A 192.0.2.9\nmail MX 1 mail\n",
        );
        let new = records(
            "$TTL 300\n@ SOA ns h 2 2 3 4 5\n@ NS ns\nwww A 192.0.2.2\nwww A 192.0.2.3\nnew AAAA 2001:db8::1\n\
             mail 60 A 192.0.2.9\nmail MX 1 mail\n",
        );
        let expected = "\
- example.org. 300 IN SOA ns.example.org. h.example.org. 1 2 3 4 5
+ example.org. 300 IN SOA ns.example.org. h.example.org. 2 2 3 4 5
- gone.example.org. 300 IN TXT \"x\"
~ mail.example.org. A: TTL 300 becomes 60
+ new.example.org. 300 IN AAAA 2001:db8::1
- www.example.org. 300 IN A 192.0.2.1
+ www.example.org. 300 IN A 192.0.2.2
+ www.example.org. 300 IN A 192.0.2.3
2 added, 1 removed, 2 changed, 1 with another TTL
";
        let differences = diff(&old, &new);
        assert_eq!(text(&differences), expected);
        let json = json_of(&Name::parse("example.org").unwrap(), &differences);
        assert_eq!(json["equal"], false);
        assert_eq!(json["differences"][2]["newTtl"], 60);
        assert_eq!(text(&diff(&old, &old)), "no differences");
    }
}
