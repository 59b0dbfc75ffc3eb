//! `synod kv compact`, `settings` and `usage`: how much is kept.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use synod_app_kv::{KvOp, KvSettings};
use synod_types::StateNdx;

use super::answers::UsageAnswer;
use super::options::{Reading, Writing};
use crate::duration::duration;
use crate::output::Output;
use crate::table::Table;

/// Forget what was before a state
///
/// Earlier states cannot be read any more, and watches that are behind have to begin anew. The keys stay as they are.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod kv compact 1200")]
pub(crate) struct Compact {
    /// The oldest state that can still be read
    #[arg(value_name = "STATENDX")]
    through: u64,
    #[command(flatten)]
    writing: Writing,
}

impl Compact {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        self.writing.execute(KvOp::Compact { through: StateNdx(self.through) }, output).await
    }
}

/// Set limits of the application; what is not given stays as it is. For administrators
#[derive(Args, Debug)]
#[group(required = true, multiple = true, id = "limits")]
#[command(after_help = "Examples:\n  synod kv settings --quota-bytes 104857600\n  \
                        synod kv settings --history-states 100000 --history-age 1h")]
pub(crate) struct Settings {
    /// Bytes of all keys and values; beyond it, growth is refused
    #[arg(long, value_name = "BYTES", group = "limits")]
    quota_bytes: Option<u64>,
    /// States whose changes are remembered
    #[arg(long, value_name = "STATES", group = "limits")]
    history_states: Option<u64>,
    /// Bytes of earlier values that are remembered
    #[arg(long, value_name = "BYTES", group = "limits")]
    history_bytes: Option<u64>,
    /// For how long changes are remembered, as 30s, 5m or 12h
    #[arg(long, value_name = "DURATION", value_parser = duration, group = "limits")]
    history_age: Option<Duration>,
    #[command(flatten)]
    writing: Writing,
}

impl Settings {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let age_ms = self.history_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let settings = KvSettings {
            quota_bytes: self.quota_bytes,
            history_states: self.history_states,
            history_bytes: self.history_bytes,
            history_age_ms: age_ms,
        };
        self.writing.execute(KvOp::Configure(settings), output).await
    }
}

/// Show how full the application is, and how much of the past it remembers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod kv usage --app kv")]
pub(crate) struct Usage {
    #[command(flatten)]
    reading: Reading,
}

impl Usage {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let usage: UsageAnswer = self.reading.get_json("usage", &[]).await?;
        output.print(&usage, text(&usage))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(usage: &UsageAnswer) -> String {
    let history = &usage.history;
    let mut table = Table::new(&["WHAT", "NOW", "AT MOST"]);
    let mut row = |what: &str, now: String, max: String| table.row([what.to_owned(), now, max]);
    row("keys", usage.keys.to_string(), String::new());
    row("bytes of keys", usage.bytes.to_string(), usage.quota_bytes.to_string());
    row("leases", usage.leases.to_string(), String::new());
    row("states remembered", history.states.to_string(), history.states_max.to_string());
    row("bytes remembered", history.bytes.to_string(), history.bytes_max.to_string());
    row("remembered for", String::new(), format!("{} s", history.age_max_ms / 1000));
    format!("{table}stateNdx {}, remembered from {} on\n", usage.state_ndx, history.oldest)
}
