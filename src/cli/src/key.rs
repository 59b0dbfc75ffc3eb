//! `synod key show`: whose key is this?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::output::Output;
use crate::public_key;

/// Look at keys
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod key show admin.pem
  synod key show node1.pem        # the key in a certificate: the node's id
  synod key show admin.pem --output json")]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show id, algorithm and public key of a private key, a public key or a certificate (PEM)
    ///
    /// The id is the SHA3-256 of the public key (SubjectPublicKeyInfo, DER): the CommanderId of a commander, the NodeId
    /// of a node. The private half is never shown.
    #[command(after_help = "Examples:\n  synod key show admin.pem\n  synod key show node1.pem --output json")]
    Show {
        /// The file
        file: PathBuf,
    },
}

impl Key {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Command::Show { file } = self.command;
        let (key, holds) = public_key::load(&file)?;
        let (id, algorithm, pem) = (key.id(), key.algorithm(), public_key::to_pem(&key)?);
        output.print(
            &json!({
                "id": id.to_string(),
                "shortId": id.short(),
                "algorithm": algorithm.to_string(),
                "holds": holds.name(),
                "publicKey": pem,
            }),
            format!(
                "{}: {}\nid         {id}\nshort id   {}\nalgorithm  {algorithm}\n{pem}",
                file.display(),
                holds.name(),
                id.short()
            ),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
