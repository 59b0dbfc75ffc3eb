//! What a put takes while many follow what it changes: measured in turns, without them and with them, so that whatever else
//! the machine does falls on both.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use super::put::Load;
use super::{Bench, Tally};

/// Puts a second if nothing is said.
const RATE: u32 = 200;

/// What came out.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Result {
    watchers: usize,
    clients: usize,
    rate: u32,
    rounds: u32,
    without: Writes,
    with: Writes,
    /// By how many percent the median with watchers is more than without.
    p50_more_percent: f64,
    /// What the watchers were told, all together.
    events: u64,
    events_per_second: f64,
    /// Streams that ended before they were to.
    ended: usize,
}

/// What puts took.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Writes {
    operations: u64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
}

impl Writes {
    fn of(tally: &Tally) -> Writes {
        Writes {
            operations: tally.done,
            errors: tally.errors,
            p50_us: tally.latency_us.value_at_quantile(0.5),
            p99_us: tally.latency_us.value_at_quantile(0.99),
        }
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Result { watchers, clients, rate, rounds, without, with, p50_more_percent, events, .. } = self;
        writeln!(f, "watch watchers={watchers} clients={clients} rate={rate}/s rounds={rounds}")?;
        for (name, Writes { operations, errors, p50_us, p99_us }) in [("without", without), ("with", with)] {
            writeln!(f, "  {name:8} puts={operations} errors={errors} p50={p50_us}us p99={p99_us}us")?;
        }
        let Result { events_per_second, ended, .. } = self;
        write!(
            f,
            "  p50 {p50_more_percent:+.1} %  events={events} events/s={events_per_second:.0} ended={ended}"
        )
    }
}

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Result> {
    let cluster = bench.connection.cluster()?;
    let hosts: Vec<String> = cluster
        .reader()?
        .nodes()
        .iter()
        .map(|node| node.url.trim_start_matches("http://").to_owned())
        .collect();
    let rate = bench.rate.map_or(RATE, NonZero::get);
    let seconds = usize::try_from(bench.seconds.get())?;
    let rounds = bench.rounds.get();
    // Both halves of every round, and one command more for each client.
    let count = 2 * usize::try_from(rounds)? * (seconds * usize::try_from(rate)? + bench.clients.get());
    let load = Load::prepare(bench, NonZero::new(rate), count).await?;

    let (mut without, mut with) = (Tally::empty()?, Tally::empty()?);
    let (mut events, mut watched_seconds, mut ended) = (0, 0.0, 0);
    for round in 1..=rounds {
        without.add(&load.run(bench).await?)?;
        let watchers = Watchers::open(bench, &hosts).await?;
        let before = watchers.events();
        let begun = Instant::now();
        with.add(&load.run(bench).await?)?;
        watched_seconds += begun.elapsed().as_secs_f64();
        events += watchers.events() - before;
        ended += watchers.close().await;
        eprintln!("round {round} of {rounds} is over");
    }
    load.close().await;
    let (without, with) = (Writes::of(&without), Writes::of(&with));
    let as_f64 = |us: u64| f64::from(u32::try_from(us).unwrap_or(u32::MAX));
    Ok(Result {
        watchers: bench.watchers.get(),
        clients: bench.clients.get(),
        rate,
        rounds,
        p50_more_percent: 100.0 * (as_f64(with.p50_us) / as_f64(without.p50_us.max(1)) - 1.0),
        without,
        with,
        events,
        events_per_second: as_f64(events) / watched_seconds,
        ended,
    })
}

/// Open streams, each on a connection of its own.
struct Watchers {
    tasks: JoinSet<anyhow::Result<()>>,
    events: Arc<AtomicU64>,
}

impl Watchers {
    /// Opens them at all nodes in turn, and waits until each was told where it begins.
    async fn open(bench: &Bench, hosts: &[String]) -> anyhow::Result<Watchers> {
        let mut watchers = Watchers { tasks: JoinSet::new(), events: Arc::new(AtomicU64::new(0)) };
        let path = format!("/v1/apps/{}/watch", bench.app);
        for n in 0..bench.watchers.get() {
            let host = &hosts[n % hosts.len()];
            let (mut body, connection) = open(host, &path).await?;
            // Where it begins.
            body.frame().await.context("a stream ended at its beginning")??;
            let events = Arc::clone(&watchers.events);
            watchers.tasks.spawn(async move {
                // Ends the connection with this task.
                let _connection = connection;
                let mut was_newline = false;
                while let Some(frame) = body.frame().await {
                    let data = frame?.into_data().unwrap_or_default();
                    let mut ends = 0;
                    for &byte in &data {
                        ends += u64::from(was_newline && byte == b'\n');
                        was_newline = byte == b'\n';
                    }
                    events.fetch_add(ends, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(watchers)
    }

    /// How many events have come, of all streams.
    fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Closes the streams; gives how many had ended before.
    async fn close(mut self) -> usize {
        let mut ended = 0;
        while self.tasks.try_join_next().is_some() {
            ended += 1;
        }
        self.tasks.shutdown().await;
        ended
    }
}

/// Aborts a connection when it is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn open(host: &str, path: &str) -> anyhow::Result<(Incoming, Connection)> {
    let stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to {host}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let request = Request::get(path).header("host", host).header("accept", "text/event-stream");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    anyhow::ensure!(answer.status().is_success(), "a stream was refused with status {}", answer.status());
    Ok((answer.into_body(), connection))
}
