//! `synod submit`: an operation as raw bytes, or a command that is signed already.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use synod_types::limits::COMMAND_BYTES_MAX;
use synod_types::{SignedCommand, wire};

use crate::connection::Connection;
use crate::output::Output;
use crate::write::{self, WriteOptions};

/// Sign and submit an operation given as raw bytes, or submit a signed command again
///
/// The bytes are the whole operation, with its first byte, which says whose it is: 0 for the application's own, 1 for
/// one on its commanders (see "The operation" in docs/PROTOCOL.md). With --signed they are a signed command, as other
/// programs make it and as this one saves it where the outcome stays unknown: it is executed once at most, however
/// often it is submitted.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  printf '\\0\\0\\001k\\001v' | synod submit --app 1         # puts \"v\" under \"k\" in the key-value application
  echo 0000016b0176 | synod submit --app kv --hex           # the same
  synod submit --signed synod-command-8f3c2a91b0de.bin")]
pub(crate) struct Submit {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", required_unless_present = "signed", conflicts_with = "signed")]
    app: Option<String>,
    /// The file with the bytes; - or nothing for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The bytes are given as hex digits
    #[arg(long)]
    hex: bool,
    /// The bytes are a signed command
    #[arg(long)]
    signed: bool,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Submit {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.connection.cluster()?;
        let bytes = self.bytes()?;
        match &self.app {
            Some(app) => {
                let app = cluster.app(app)?;
                write::execute(&cluster, app, bytes, &self.options, output, write::hex).await
            }
            None => {
                let command: SignedCommand = wire::decode(&bytes).context("this is not a signed command")?;
                write::submit(&cluster.client()?, &command, &self.options, output).await
            }
        }
    }

    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = read_limited(self.file.as_deref())?;
        if !self.hex {
            return Ok(bytes);
        }
        let digits: Vec<u8> = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        hex::decode(digits).context("the input is not hex digits")
    }
}

/// All bytes of a file, or of standard input for `-` or nothing. What is far over a limit is cut off just above it: the
/// limits themselves are checked elsewhere.
pub(crate) fn read_limited(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    // As hex, everything takes twice its bytes.
    let limit = u64::try_from(COMMAND_BYTES_MAX)? * 2 + 64;
    let mut bytes = Vec::new();
    match file.filter(|path| *path != Path::new("-")) {
        None => std::io::stdin().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?,
        Some(path) => {
            let cannot_read = || format!("cannot read {}", path.display());
            let file = std::fs::File::open(path).with_context(cannot_read)?;
            file.take(limit).read_to_end(&mut bytes).with_context(cannot_read)?
        }
    };
    Ok(bytes)
}
