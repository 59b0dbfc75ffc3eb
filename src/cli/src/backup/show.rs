//! `synod backup show`: what is in a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use synod_backup::{Backup, ReadError};

use super::{made, unreadable};
use crate::output::Output;

/// Verify a backup as a whole, and show what is in it and who made it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod backup show 2026-11-29.synod
  synod backup show 2026-11-29.synod --files     # the files that are in it, each with its key")]
pub(super) struct Show {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List the files in it instead: key and bytes
    #[arg(long)]
    files: bool,
}

impl Show {
    pub(super) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut backup = Backup::open(&self.file).map_err(unreadable)?;
        let mut files = Vec::new();
        for nth in 0..backup.manifest().apps.len() {
            backup.state(nth).map_err(unreadable)?;
        }
        let listed = backup.files::<ReadError>(|key, file| {
            files.push((key, file.len()));
            Ok(())
        });
        listed.map_err(unreadable)?;
        if self.files {
            let json: Vec<_> = files
                .iter()
                .map(|(key, bytes)| serde_json::json!({ "key": key.to_string(), "bytes": bytes }))
                .collect();
            let text: String = files.iter().map(|(key, bytes)| format!("{key}  {bytes}\n")).collect();
            output.print(&json, text)?;
        } else {
            made::print(output, &self.file, backup.manifest(), backup.signer(), "verified")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
