//! The demo's story: numbered steps with their times, and what each of them found.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::json;

use crate::output::Output;

/// Columns in which a step's title stands, dots behind it.
const TITLE_COLUMNS: usize = 66;

/// Tells the steps as they happen.
pub(super) struct Report {
    output: Output,
    begun: Instant,
    steps: u32,
    current: String,
}

/// What a step did, for people: the lines below its title.
pub(super) type Lines = Vec<String>;

impl Report {
    pub(super) fn new(output: Output) -> Report {
        Report { output, begun: Instant::now(), steps: 0, current: String::new() }
    }

    /// How many steps there were, and how long they took.
    pub(super) fn total(&self) -> (u32, Duration) {
        (self.steps, self.begun.elapsed())
    }

    /// The step that runs does not end any more.
    pub(super) fn broken_off(&self, why: impl Display) -> anyhow::Error {
        // Its title stands at the beginning of a line without an end.
        let said = self.say("BROKEN OFF\n").err();
        said.unwrap_or_else(|| anyhow!("{}: {why}", self.current))
    }

    /// Runs a step. `name` is what its failure is called.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        title: &str,
        work: impl Future<Output = anyhow::Result<(T, Lines)>>,
    ) -> anyhow::Result<T> {
        self.steps += 1;
        self.current = format!("step {} ({name})", self.steps);
        let step = self.steps;
        let begun = Instant::now();
        if self.output == Output::Text {
            self.text(format_args!("{step:>2}  {title} "))?;
        }
        let done = work.await;
        let ms = begun.elapsed().as_millis();
        match &done {
            Ok((_, lines)) => match self.output {
                Output::Text => {
                    let dots = ".".repeat(TITLE_COLUMNS.saturating_sub(title.chars().count()));
                    self.text(format_args!("{dots} {ms:>5} ms\n"))?;
                    for line in lines {
                        self.text(format_args!("      {line}\n"))?;
                    }
                }
                Output::Json => {
                    self.output.print(
                        &json!({ "step": step, "name": name, "ok": true, "ms": ms, "found": lines }),
                        "",
                    )?;
                }
            },
            Err(error) => match self.output {
                Output::Text => self.text(format_args!("FAILED after {ms} ms\n"))?,
                Output::Json => {
                    let why = format!("{error:#}");
                    self.output.print(
                        &json!({ "step": step, "name": name, "ok": false, "ms": ms, "error": why }),
                        "",
                    )?;
                }
            },
        }
        done.map(|(value, _)| value).with_context(|| format!("{} failed", self.current))
    }

    /// Prints text as it is, for people only.
    pub(super) fn say(&self, text: impl Display) -> anyhow::Result<()> {
        match self.output {
            Output::Text => self.text(text),
            Output::Json => Ok(()),
        }
    }

    fn text(&self, text: impl Display) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.to_string().as_bytes())?;
        Ok(out.flush()?)
    }
}
