//! `synod zone check`: by the rules by which a node checks a file before it takes it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::file::SourceFile;
use super::zone_name;
use crate::exit::Failure;
use crate::output::Output;

/// Check a zone file by the rules of the nodes, without a cluster
///
/// Faults are printed as compilers print them, FILE:LINE:COLUMN: TEXT. Exit code 0 if there are none, 1 if there are.
/// The zone is the one that the file names, by an $ORIGIN or by the full name of its SOA record, or the one after which
/// FQDN.zone is named.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod zone check example.org.zone
  synod zone check db.example --zone example.org
  synod zone check - --zone example.org < zone.txt")]
pub(super) struct Check {
    /// The zone file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The zone that the file is for
    #[arg(long, value_name = "FQDN")]
    zone: Option<String>,
}

impl Check {
    pub(super) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let file = SourceFile::read(&self.file)?;
        let origin = match &self.zone {
            Some(zone) => Ok(Some(zone_name(zone)?)),
            None => file.origin(),
        };
        let checked = match origin {
            Ok(Some(origin)) => file.check(&origin),
            Ok(None) => {
                let text = format!(
                    "{} does not say of which zone it is, by an $ORIGIN or by the full name of its SOA record: give --zone",
                    self.file.display()
                );
                return Err(Failure::Usage(text).into());
            }
            Err(rejected) => Err(rejected),
        };
        match checked {
            Ok(checked) => {
                let (zone, path) = (&checked.zone, checked.path.display());
                let (origin, serial, records) = (zone.origin(), zone.serial(), zone.record_count());
                let text = format!("{path}: zone {origin} is in order: serial {serial}, {records} records");
                output.print(&checked.json(), text)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(rejected) => {
                output.print(&rejected.json(), rejected.text())?;
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
