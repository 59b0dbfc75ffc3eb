//! `synod node`: runs a node.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use serde_json::json;
use synod_node::Config;
use synod_node::config::{ConfigErrors, LogFilter};
use synod_types::Program;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::output::Output;

/// The environment variable that says what is logged, whatever the configuration says.
const RUST_LOG: &str = "RUST_LOG";

/// Run a node until SIGINT or SIGTERM
///
/// When every port is open, one line with the addresses goes to standard output (a JSON object with --output json);
/// the log goes to standard error. At SIGHUP, what is logged is read from the configuration again, and so are certificates and
/// their keys, which are also read when their files change. A second signal ends the process at once, which a node survives like any crash.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod node --config cluster/node1.toml
  synod node --config cluster/node1.toml --check       # report all mistakes, start nothing
  RUST_LOG=info,synod_mesh=debug synod node --config cluster/node1.toml --log-format json")]
pub(crate) struct Node {
    /// The configuration: .toml or .json
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and the files that it names, and start nothing
    #[arg(long)]
    check: bool,
    /// How the log is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Stop also when standard input is closed, so that whoever started the node leaves none behind
    #[arg(long)]
    until_stdin_closes: bool,
}

/// How the log is written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Node {
    pub(crate) fn run(self, program: Program, output: Output) -> anyhow::Result<ExitCode> {
        let config = Config { program, ..Config::load(&self.config)? };
        if self.check {
            let text = format!("{} is in order: node {}", self.config.display(), config.me.id);
            output.print(&json!({ "ok": true, "node": config.me.id }), text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let filter = Log::start(self.log_format, &config.log);
        raise_file_limit();
        leave_no_core_dump();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.worker_threads.get())
            .enable_all()
            .build()
            .context("the operating system does not let this program start threads")?;
        runtime.block_on(self.serve(config, filter, output))
    }

    async fn serve(self, config: Config, log: Log, output: Output) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let name = config.me.id.clone();
        let node = synod_node::Node::start(config).await?;
        let addresses = node.addresses();
        let dns = addresses.dns.map(|dns| format!(", dns {dns}")).unwrap_or_default();
        let said = output.print(
            &json!({
                "ready": true,
                "node": name,
                "pid": std::process::id(),
                "mesh": addresses.mesh,
                "backend": addresses.backend,
                "http": addresses.http,
                "dns": addresses.dns,
            }),
            format!(
                "{name} is ready: nodes {}, commanders {}, readers http://{}{dns}",
                addresses.mesh, addresses.backend, addresses.http
            ),
        );
        if let Err(why) = said {
            warn!(%why, "nobody reads that this node is ready; it runs all the same");
        }
        tell_supervisor(NotifyState::Ready);

        let mut stdin_ends = pin!(end_of_stdin());
        let failure = loop {
            tokio::select! {
                _ = interrupt.recv() => break None,
                _ = terminate.recv() => break None,
                () = &mut stdin_ends, if self.until_stdin_closes => break None,
                why = node.failed() => break Some(why),
                _ = hangup.recv() => {
                    log.read_again(|| Config::load(&self.config).map(|config| config.log));
                    node.read_certificates_again();
                }
            }
        };
        info!("stopping in order");
        tell_supervisor(NotifyState::Stopping);
        tokio::select! {
            () = node.stop() => {}
            _ = interrupt.recv() => anyhow::bail!("interrupted while stopping"),
            _ = terminate.recv() => anyhow::bail!("interrupted while stopping"),
        }
        match failure {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => anyhow::bail!("the node cannot go on: {why}"),
        }
    }
}

/// Lets this process have as many files and connections open as it may: where the limit that it begins with is low, that is for
/// programs that cannot count so far.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(why) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%why, "the limit of open files stays as it is");
    }
}

/// Says how the node is to systemd, where that started it (sd_notify(3)).
pub(crate) fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(why) = sd_notify::notify(&[state]) {
        warn!(%why, "systemd does not take what this node says of itself");
    }
}

/// A dump of the process's memory would have its private key in it. With a limit of one byte Linux writes none, and starts
/// none of the programs that may be configured to take it instead, which it does with a limit of 0 (core(5)).
pub(crate) fn leave_no_core_dump() {
    let limit = Rlimit { current: Some(1), maximum: Some(1) };
    if let Err(why) = setrlimit(Resource::Core, limit) {
        warn!(%why, "a crash may leave a core dump, with this node's private key in it");
    }
}

/// What is logged, which may change while the node runs.
pub(crate) struct Log(reload::Handle<Targets, Registry>);

impl Log {
    /// Logs to standard error from now on.
    pub(crate) fn start(format: LogFormat, filter: &LogFilter) -> Log {
        let from_environment = std::env::var(RUST_LOG).ok().and_then(|filter| filter.parse::<Targets>().ok());
        let (filter, handle) = reload::Layer::new(from_environment.unwrap_or_else(|| filter.targets()));
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        let registry = tracing_subscriber::registry().with(filter);
        match format {
            LogFormat::Text => registry.with(lines).init(),
            LogFormat::Json => registry.with(lines.json()).init(),
        }
        Log(handle)
    }

    /// Takes what the configuration says now, if it is in order.
    pub(crate) fn read_again(&self, read: impl FnOnce() -> Result<LogFilter, ConfigErrors>) {
        if std::env::var_os(RUST_LOG).is_some() {
            return warn!("{RUST_LOG} says what is logged; the configuration is not read again");
        }
        match read() {
            Ok(filter) => {
                // Said before, since it may be below the new level.
                info!(log = %filter, "what is logged changes");
                if let Err(why) = self.0.reload(filter.targets()) {
                    error!(%why, "what is logged stays as it was");
                }
            }
            Err(why) => error!(%why, "what is logged stays as it was"),
        }
    }
}

/// Returns when nothing more can come from standard input.
pub(crate) async fn end_of_stdin() {
    let (sender, ended) = oneshot::channel();
    // A thread of its own, which ends with the process: a read of standard input cannot be called off.
    let reading = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    match reading {
        // However the thread ended, there is nothing more to wait for.
        Ok(_) => drop(ended.await),
        Err(why) => {
            warn!(%why, "cannot watch standard input; this process stops by a signal only");
            std::future::pending().await
        }
    }
}
