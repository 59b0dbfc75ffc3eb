//! `--wait`: when a command is over that changes zones.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use synod_types::{AppNdx, StateNdx};
use synod_zone::Name;

use crate::connection::Cluster;
use crate::duration::duration;
use crate::exit::Failure;
use crate::member::Census;
use crate::output::Output;
use crate::propagation::{Change, Propagation, Reach, Standing, Standings, Waited};
use crate::write::Told;

/// When the command is over.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Waiting")]
pub(super) struct WaitOptions {
    /// Return when the change is live at every node, or at a majority. Without it: when one node has it, and all will
    #[arg(long, value_enum, value_name = "WHERE")]
    wait: Option<Reach>,
    /// How long --wait waits, as 500ms, 30s or 5m. Exit code 6 if the change is not live everywhere by then
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    wait_for: Duration,
}

/// Whom to ask, found out before anything is sent.
pub(super) struct Waiting {
    propagation: Propagation,
    reach: Reach,
    limit: Duration,
}

impl WaitOptions {
    /// What the options come to; `None`: nobody waits.
    pub(super) async fn prepare(self, cluster: &Cluster) -> anyhow::Result<Option<Waiting>> {
        let Some(reach) = self.wait else { return Ok(None) };
        let (genesis, id) = cluster.genesis()?;
        let members = match Census::take(cluster).await {
            Ok(census) => census.members().map(|member| member.id).collect(),
            // As good as any other answer, until somebody knows better.
            Err(_) => genesis.members(),
        };
        let propagation = Propagation::of(members, id, cluster.reader()?)?;
        Ok(Some(Waiting { propagation, reach, limit: self.wait_for }))
    }
}

impl Waiting {
    /// Waits, and says on standard error for whom.
    pub(super) async fn wait(&self, app: AppNdx, state_ndx: StateNdx, zone: &Name) -> anyhow::Result<Waited> {
        let change = Change { app, state_ndx, zone: Some(zone.clone()) };
        let tell = |standings: &Standings| {
            eprintln!("stateNdx {state_ndx} is ordered; waiting for {}", standings.missing());
        };
        Ok(self.propagation.wait(&change, self.reach, self.limit, tell).await?)
    }
}

/// Prints what is known of a change, and then, if anybody waits, where it is live. For programs that is one document.
pub(super) async fn print_and_wait(
    waiting: Option<&Waiting>,
    told: Told,
    app: AppNdx,
    state_ndx: StateNdx,
    zone: &Name,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let Told { mut json, text: receipt, code } = told;
    let waiting = match waiting {
        // What was refused goes nowhere.
        Some(waiting) if code == 0 => waiting,
        _ => {
            output.print(&json, receipt)?;
            return Ok(ExitCode::from(code));
        }
    };
    if output == Output::Text {
        output.print(&json, receipt)?;
    }
    let waited = waiting.wait(app, state_ndx, zone).await?;
    let live = text(&waited, state_ndx);
    match output {
        Output::Text => output.print(&json, live?)?,
        Output::Json => {
            json["live"] = self::json(&waited);
            output.print(&json, "")?;
            live?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For programs: where the change is live.
fn json(waited: &Waited) -> Value {
    let nodes = waited.standings.0.iter().map(|(name, standing)| match standing {
        Standing::Live => json!({ "name": name, "live": true }),
        other => json!({ "name": name, "live": false, "why": other.to_string() }),
    });
    json!({ "reached": waited.is_live, "ms": waited.took.as_millis(), "nodes": nodes.collect::<Vec<_>>() })
}

/// For people: the same on one line, where it is live as it was to be; otherwise the error.
fn text(waited: &Waited, state_ndx: StateNdx) -> Result<String, Failure> {
    let took = took(waited.took);
    if waited.is_live {
        let live: Vec<&str> = waited.standings.live().collect();
        return Ok(format!("live at {} after {took}", live.join(", ")));
    }
    Err(Failure::NotLive(format!(
        "stateNdx {state_ndx} is ordered, and after {took} not live at {}. It will be as soon as they are back; \
         the same command waits again",
        waited.standings.missing()
    )))
}

/// Milliseconds, or seconds where these are too many to read.
fn took(took: Duration) -> String {
    if took < Duration::from_secs(10) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{} s", took.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_said_with_the_number_under_which_the_change_is_ordered() {
        let standings =
            |last| Standings(vec![("node1".to_owned(), Standing::Live), ("node2".to_owned(), last)]);
        let took = Duration::from_millis(1234);
        let waited = Waited { is_live: true, standings: standings(Standing::Live), took };
        assert_eq!(text(&waited, StateNdx(7)).unwrap(), "live at node1, node2 after 1234 ms");
        let behind = standings(Standing::Behind(StateNdx(6)));
        let waited = Waited { is_live: false, standings: behind, took };
        let error = text(&waited, StateNdx(7)).unwrap_err().to_string();
        assert!(
            error.contains("stateNdx 7 is ordered") && error.contains("node2 (at stateNdx 6)"),
            "{error}"
        );
        assert_eq!(json(&waited)["nodes"][1]["why"], "at stateNdx 6");
    }
}
