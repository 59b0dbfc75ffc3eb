//! `synod kv watch`: what changes, as it changes.

use std::process::ExitCode;

use clap::Args;

use super::answers::{cut, shown};
use super::options::Place;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::printable;
use crate::watcher::{Event, KeyChange, Selection, StateChanges, Transport, WatchError, Watcher};

/// Print what changes, as it changes
///
/// When a node fails or stops, another one goes on from the same state: no change is lost, and none comes twice. With
/// --output json there is one line for each state that changed something, with all that it changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  synod kv watch\n  synod kv watch greeting\n  \
                        synod kv watch --prefix service/ --after 1200 --output json\n  \
                        synod kv watch --prefix jobs/ --count 1   # wait for a job")]
pub(crate) struct Watch {
    /// Only this key
    #[arg(conflicts_with = "prefix")]
    key: Option<String>,
    /// Only keys that begin with this
    #[arg(long)]
    prefix: Option<String>,
    /// What has changed behind this state; without it, from now on
    #[arg(long, value_name = "STATENDX")]
    after: Option<u64>,
    /// Stop when so many states have changed something
    #[arg(long, value_name = "STATES")]
    count: Option<u64>,
    /// Ask for page after page instead of keeping a stream open
    #[arg(long)]
    poll: bool,
    #[command(flatten)]
    place: Place,
}

impl Watch {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let reader = self.place.connection.cluster()?.reader()?;
        let selection = match self.key {
            Some(key) => Selection::Key(key),
            None => Selection::Prefix(self.prefix.unwrap_or_default()),
        };
        let transport = if self.poll { Transport::Poll } else { Transport::Stream };
        let mut watcher = Watcher::new(&reader, &self.place.app, selection, self.after, transport);
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            if let Event::Change(changes) = watcher.next().await.map_err(Failure::from)? {
                output.print(&changes, lines(&changes))?;
                left -= 1;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line for each key.
fn lines(changes: &StateChanges) -> String {
    let line = |change: &KeyChange| {
        let key = shown(change.key.as_ref(), change.key_base64.as_ref());
        let what = match &change.removed {
            Some(how) => format!("({how})"),
            None => cut(shown(change.value.as_ref(), change.value_base64.as_ref())),
        };
        format!("{}  {}  {}\n", changes.state_ndx, printable(&key), printable(&what))
    };
    changes.changes.iter().map(line).collect()
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Failure {
        let text = error.to_string();
        match error {
            WatchError::Compacted { .. } | WatchError::Refused(_) => Failure::Refused(text),
            WatchError::Unreachable(_) => Failure::Unreachable(text),
        }
    }
}
