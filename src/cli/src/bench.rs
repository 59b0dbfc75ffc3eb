//! `synod bench`: closed-loop load. Every client has one operation in flight; the result is one line.

mod get;
mod put;
mod watch;

use std::fmt;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::connection::Connection;
use crate::output::Output;

/// The longest latency that is told apart, in microseconds; a longer one counts as this.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Load a cluster and measure it
///
/// Commands are signed before the clock starts. Puts go to random keys; gets read random keys, from one node's HTTP port,
/// at the local level. Watch puts at an even rate, in turns without and with so many streams of changes open that follow
/// every key, and compares what a put takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod bench put --clients 64 --connections 8 --seconds 10
  synod bench put --clients 1000 --connections 16 --to all
  synod bench put --puts 100 --commands 20000
  synod bench get --clients 64
  synod bench watch --watchers 1000 --rate 200 --clients 8 --seconds 5 --rounds 3")]
pub(crate) struct Bench {
    /// What to do
    operation: Operation,
    /// The key-value application: its number or its name
    #[arg(long, default_value = "kv")]
    app: String,
    /// Operations in flight at a time
    #[arg(long, default_value = "64")]
    clients: NonZero<usize>,
    /// Sessions that puts share; for gets every client has its own connection
    #[arg(long, default_value = "8")]
    connections: NonZero<usize>,
    /// How long; a put run ends earlier if its commands are used up
    #[arg(long, default_value = "10")]
    seconds: NonZero<u64>,
    /// Commands that are signed beforehand [default: 20,000 a second]
    #[arg(long)]
    commands: Option<NonZero<usize>>,
    /// Keys that one command sets, in one transaction if there are several; operations are counted as commands
    #[arg(long, default_value = "1")]
    puts: NonZero<usize>,
    /// Bytes of a value
    #[arg(long, default_value = "256")]
    value_bytes: usize,
    /// Keys to choose from
    #[arg(long, default_value = "100000")]
    keys: NonZero<u32>,
    /// Puts a second, of all clients together [default: as many as get done; 200 for watch]
    #[arg(long, value_name = "PUTS")]
    rate: Option<NonZero<u32>>,
    /// Of watch: streams that are open
    #[arg(long, default_value = "1000")]
    watchers: NonZero<usize>,
    /// Of watch: how often both are measured, each for --seconds
    #[arg(long, default_value = "3")]
    rounds: NonZero<u32>,
    /// Which nodes get the load
    #[arg(long, value_enum, default_value_t)]
    to: Target,
    #[command(flatten)]
    connection: Connection,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// Signed writes through the back end
    Put,
    /// Local reads over HTTP
    Get,
    /// Signed writes, with and without streams of changes
    Watch,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Target {
    /// The application's leader
    #[default]
    Leader,
    /// All nodes in turn
    All,
}

/// What came out.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Result {
    operation: &'static str,
    clients: usize,
    connections: usize,
    seconds: f64,
    operations: u64,
    ops_per_second: f64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Result {
            operation, clients, connections, ops_per_second, errors, p50_us, p99_us, max_us, ..
        } = self;
        write!(
            f,
            "{operation} clients={clients} connections={connections} ops/s={ops_per_second:.0} errors={errors} \
             p50={p50_us}us p99={p99_us}us max={max_us}us"
        )
    }
}

impl Bench {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        // More than one thread, unlike the other tools: the load must not be the bottleneck.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (operation, connections, tally) = match self.operation {
            Operation::Put => ("put", self.connections.get(), runtime.block_on(put::run(&self))?),
            Operation::Get => ("get", self.clients.get(), runtime.block_on(get::run(&self))?),
            Operation::Watch => {
                let result = runtime.block_on(watch::run(&self))?;
                output.print(&result, &result)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let done = u32::try_from(tally.done).unwrap_or(u32::MAX);
        let result = Result {
            operation,
            clients: self.clients.get(),
            connections,
            seconds: tally.took.as_secs_f64(),
            operations: tally.done,
            ops_per_second: f64::from(done) / tally.took.as_secs_f64(),
            errors: tally.errors,
            p50_us: tally.latency_us.value_at_quantile(0.5),
            p99_us: tally.latency_us.value_at_quantile(0.99),
            max_us: tally.latency_us.max(),
        };
        output.print(&result, &result)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The nodes that get the load, by name; `None`: all of them.
    async fn target(&self) -> anyhow::Result<Option<String>> {
        if self.to == Target::All {
            return Ok(None);
        }
        let answer = self.connection.cluster()?.reader()?.get(&format!("/v1/apps/{}", self.app), &[]).await?;
        let app: serde_json::Value = answer.json()?;
        let leader = app["leader"]["name"].as_str();
        Ok(Some(leader.context("the application has no leader now; see `synod status`")?.to_owned()))
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.get())
    }
}

/// A key among `count`, always of the same length.
fn key(count: NonZero<u32>) -> String {
    format!("k{:07}", rand::random_range(0..count.get()))
}

/// What the clients counted.
struct Tally {
    latency_us: Histogram<u64>,
    done: u64,
    errors: u64,
    took: Duration,
}

impl Tally {
    fn empty() -> anyhow::Result<Tally> {
        Ok(Tally { latency_us: Histogram::new(3)?, done: 0, errors: 0, took: Duration::ZERO })
    }

    /// Adds what others counted.
    fn add(&mut self, other: &Tally) -> anyhow::Result<()> {
        self.latency_us.add(&other.latency_us)?;
        self.done += other.done;
        self.errors += other.errors;
        Ok(())
    }

    /// Counts one operation that began at `begun`.
    fn count(&mut self, begun: Instant, is_ok: bool) -> anyhow::Result<()> {
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX).min(LATENCY_US_MAX);
        self.latency_us.record(us)?;
        *(if is_ok { &mut self.done } else { &mut self.errors }) += 1;
        Ok(())
    }
}

/// Runs one task for each client until the time is up, and adds up what they counted.
async fn measure<F>(
    clients: usize,
    duration: Duration,
    client: impl Fn(usize, Arc<AtomicBool>) -> F,
) -> anyhow::Result<Tally>
where
    F: Future<Output = anyhow::Result<Tally>> + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients).map(|n| tokio::spawn(client(n, Arc::clone(&stop)))).collect();
    let timer = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            tokio::time::sleep(duration).await;
            stop.store(true, Ordering::Relaxed);
        }
    });
    let mut sum = Tally::empty()?;
    for task in tasks {
        sum.add(&task.await??)?;
    }
    timer.abort();
    sum.took = begun.elapsed();
    Ok(sum)
}
