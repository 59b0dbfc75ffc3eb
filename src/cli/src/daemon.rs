//! What a program does that serves until it is told to stop: a node, and front ends in a process of their own.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use serde_json::Value;
use synod_node::config::{ConfigErrors, LogFilter};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::output::Output;

/// The environment variable that says what is logged, whatever the configuration says.
const RUST_LOG: &str = "RUST_LOG";

/// How it is started.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The configuration: .toml or .json
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and the files that it names, and start nothing
    #[arg(long)]
    pub check: bool,
    /// How the log is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Stop also when standard input is closed, so that whoever started the process leaves none behind
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// How the log is written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What serves.
pub(crate) trait Daemon {
    /// What it is, for people.
    const NAME: &str;

    /// Returns when it cannot go on, and why.
    fn failed(&self) -> impl Future<Output = String>;

    /// Reads certificates and keys again.
    fn read_certificates_again(&self);

    /// Returns when it has stopped in order.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Prepares the process and runs `serve` on so many threads.
///
/// # Errors
/// What the operating system refuses, and those of `serve`.
pub(crate) fn run<F: Future<Output = anyhow::Result<ExitCode>>>(
    threads: NonZero<usize>,
    log: (LogFormat, &LogFilter),
    serve: impl FnOnce(Log) -> F,
) -> anyhow::Result<ExitCode> {
    let log = Log::start(log.0, log.1);
    raise_file_limit();
    leave_no_core_dump();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.get())
        .enable_all()
        .build()
        .context("the operating system does not let this program start threads")?;
    runtime.block_on(serve(log))
}

/// How the process is told what to do.
pub(crate) struct Orders {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    stdin_ends: Pin<Box<dyn Future<Output = ()>>>,
}

impl Orders {
    /// Listens from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn listen(until_stdin_closes: bool) -> io::Result<Orders> {
        let stdin_ends =
            async move { if until_stdin_closes { end_of_stdin().await } else { pending().await } };
        Ok(Orders {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            stdin_ends: Box::pin(stdin_ends),
        })
    }

    /// Returns when the process is to stop.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = &mut self.stdin_ends => {}
        }
    }

    /// Serves until the process is to stop, or cannot go on. `filter` reads what is to be logged from the configuration.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn follow<D: Daemon>(
        mut self,
        daemon: D,
        log: Log,
        filter: impl Fn() -> Result<LogFilter, ConfigErrors>,
    ) -> anyhow::Result<ExitCode> {
        let failure = loop {
            let Orders { interrupt, terminate, hangup, stdin_ends } = &mut self;
            tokio::select! {
                _ = interrupt.recv() => break None,
                _ = terminate.recv() => break None,
                () = stdin_ends => break None,
                why = daemon.failed() => break Some(why),
                _ = hangup.recv() => {
                    log.read_again(&filter);
                    daemon.read_certificates_again();
                }
            }
        };
        info!("stopping in order");
        tell_supervisor(NotifyState::Stopping);
        tokio::select! {
            () = daemon.stop() => {}
            _ = self.interrupt.recv() => anyhow::bail!("interrupted while stopping"),
            _ = self.terminate.recv() => anyhow::bail!("interrupted while stopping"),
        }
        match failure {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => anyhow::bail!("the {} cannot go on: {why}", D::NAME),
        }
    }
}

/// Says that everything is open.
pub(crate) fn announce(output: Output, json: &Value, text: String) {
    if let Err(why) = output.print(json, text) {
        warn!(%why, "nobody reads that this process is ready; it runs all the same");
    }
    tell_supervisor(NotifyState::Ready);
}

/// Lets this process have as many files and connections open as it may: where the limit that it begins with is low, that is for
/// programs that cannot count so far.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(why) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%why, "the limit of open files stays as it is");
    }
}

/// Says how this process is to systemd, where that started it (sd_notify(3)).
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(why) = sd_notify::notify(&[state]) {
        warn!(%why, "systemd does not take what this process says of itself");
    }
}

/// A dump of the process's memory would have its private key in it. With a limit of one byte Linux writes none, and starts
/// none of the programs that may be configured to take it instead, which it does with a limit of 0 (core(5)).
fn leave_no_core_dump() {
    let limit = Rlimit { current: Some(1), maximum: Some(1) };
    if let Err(why) = setrlimit(Resource::Core, limit) {
        warn!(%why, "a crash may leave a core dump, with its private key in it");
    }
}

/// What is logged, which may change while the process runs.
pub(crate) struct Log(reload::Handle<Targets, Registry>);

impl Log {
    /// Logs to standard error from now on.
    fn start(format: LogFormat, filter: &LogFilter) -> Log {
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
    fn read_again(&self, read: impl FnOnce() -> Result<LogFilter, ConfigErrors>) {
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
async fn end_of_stdin() {
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
