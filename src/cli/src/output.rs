//! Results on standard output, as text or as JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How results are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document a line
    Json,
}

impl Output {
    /// Prints a result: `json` for programs, `text` for people.
    pub(crate) fn print(self, json: &impl Serialize, text: impl Display) -> anyhow::Result<()> {
        match self {
            Output::Text => line(text),
            Output::Json => line(serde_json::to_string(json)?),
        }
    }
}

/// Prints text and ends its last line.
fn line(text: impl Display) -> anyhow::Result<()> {
    let text = text.to_string();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints bytes as they are; on a terminal, what follows begins on a line of its own.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    if out.is_terminal() && !bytes.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
