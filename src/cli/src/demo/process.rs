//! One node as a process of its own, as an operator would run it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::founding::FoundedNode;

/// How long a node may take to open its ports.
const READY_WAIT: Duration = Duration::from_secs(10);
/// How long a node may take to stop in order. Then it is killed.
const STOP_WAIT: Duration = Duration::from_secs(6);
/// Bytes of the end of a log that a failure shows.
const LOG_SHOWN_BYTES: usize = 2000;

/// A running node. Its standard input is a leash: when this process ends, however it ends, the pipe closes and the node
/// stops.
pub(super) struct NodeProcess {
    child: Child,
    leash: Option<ChildStdin>,
    pid: u32,
}

/// The line that a node prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
}

impl NodeProcess {
    /// Starts a node and waits until its ports are open.
    pub(super) async fn start(node: &FoundedNode) -> anyhow::Result<NodeProcess> {
        let name = &node.plan.name;
        let log = log_path(node);
        // Appended, so that the log of a node that was killed is still there.
        let log_file = File::options().create(true).append(true).open(&log);
        let log_file = log_file.with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["node", "--output", "json", "--until-stdin-closes", "--config"])
            .arg(&node.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C at the terminal is for the demo, which then stops its nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().context("the process has just been started")?;
        let leash = child.stdin.take();
        let stdout = child.stdout.take().context("its standard output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(READY_WAIT, lines.next_line()).await;
        let line =
            line.map_err(|_| anyhow!("{name} was not ready in {} s; {}", READY_WAIT.as_secs(), tail(&log)))?;
        let is_ready = |line: &str| serde_json::from_str::<Ready>(line).is_ok_and(|ready| ready.ready);
        match line? {
            Some(line) if is_ready(&line) => Ok(NodeProcess { child, leash, pid }),
            Some(line) => bail!("{name} said {line:?} where it should have said that it is ready"),
            None => bail!("{name} did not start; {}", tail(&log)),
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it with SIGKILL: it gets no chance to do anything more.
    pub(super) async fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.child.start_kill()?;
        Ok(self.child.wait().await?)
    }

    /// Lets it stop in order; kills it if it does not.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.leash.take());
        if timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

/// Where the node's log goes.
pub(super) fn log_path(node: &FoundedNode) -> PathBuf {
    node.config.with_extension("log")
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let start = text.ceil_char_boundary(text.len().saturating_sub(LOG_SHOWN_BYTES));
    format!("its log {} ends in:\n{}", log.display(), text[start..].trim_end())
}
