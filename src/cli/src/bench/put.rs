//! Signed writes.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use synod_app_kv::{KvChange, KvOp, KvTxn};
use synod_client::{Client, CommandOptions, Commander};
use synod_types::{AppNdx, Seq, SignedCommand};
use tokio::time::interval_at;

use super::{Bench, Tally, key, measure};

/// Commands that are signed for each second if nothing is said.
const COMMANDS_PER_SECOND: usize = 20_000;

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Tally> {
    let seconds = usize::try_from(bench.seconds.get())?;
    let count = bench.commands.map_or(seconds * COMMANDS_PER_SECOND, NonZero::get);
    let load = Load::prepare(bench, bench.rate, count).await?;
    let tally = load.run(bench).await;
    load.close().await;
    tally
}

/// Commands that are signed, and clients to submit them.
pub(super) struct Load {
    pool: Vec<Client>,
    commands: Arc<[SignedCommand]>,
    /// The next command to submit.
    next: Arc<AtomicUsize>,
    /// From one command of a client to its next one; `None`: as soon as that is done.
    pause: Option<Duration>,
}

impl Load {
    /// Signs `count` commands, for `rate` of them a second.
    pub(super) async fn prepare(
        bench: &Bench,
        rate: Option<NonZero<u32>>,
        count: usize,
    ) -> anyhow::Result<Load> {
        let cluster = bench.connection.cluster()?;
        let app = cluster.app(&bench.app)?;
        let target = bench.target().await?;
        let names = match target {
            Some(name) => vec![name],
            None => cluster.endpoints().iter().map(|endpoint| endpoint.server_name.clone()).collect(),
        };
        let pool = (0..bench.connections.get())
            .map(|n| cluster.only_at(&names[n % names.len()]).client())
            .collect::<anyhow::Result<Vec<Client>>>()?;
        let mut first = Seq(0);
        for client in &pool {
            first = first.max(client.next_seq(app).await?);
        }
        eprintln!("signing {count} commands");
        let commands = sign(bench, pool[0].commander(), app, first, count)?.into();
        let clients = u32::try_from(bench.clients.get())?;
        let pause = rate.map(|rate| Duration::from_secs(1) * clients / rate.get());
        Ok(Load { pool, commands, next: Arc::new(AtomicUsize::new(0)), pause })
    }

    /// Submits commands until the time is up, or they are used up.
    pub(super) async fn run(&self, bench: &Bench) -> anyhow::Result<Tally> {
        let clients = u32::try_from(bench.clients.get())?;
        measure(bench.clients.get(), bench.duration(), |n, stop| {
            let (client, commands, next) =
                (self.pool[n % self.pool.len()].clone(), Arc::clone(&self.commands), Arc::clone(&self.next));
            // Evenly spread from the first one on.
            let mut turns = self.pause.map(|pause| {
                let first = pause * u32::try_from(n).unwrap_or(0) / clients;
                interval_at(tokio::time::Instant::now() + first, pause)
            });
            async move {
                let mut tally = Tally::empty()?;
                while !stop.load(Ordering::Relaxed)
                    && let Some(command) = commands.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if let Some(turns) = &mut turns {
                        turns.tick().await;
                    }
                    let begun = Instant::now();
                    let result = client.submit(command).await;
                    if let (Err(why), 0) = (&result, tally.errors) {
                        eprintln!("{why}");
                    }
                    tally.count(begun, result.is_ok())?;
                }
                Ok(tally)
            }
        })
        .await
    }

    pub(super) async fn close(&self) {
        for client in &self.pool {
            client.close().await;
        }
    }
}

/// Signs on every core.
fn sign(
    bench: &Bench,
    commander: &Commander,
    app: AppNdx,
    first: Seq,
    count: usize,
) -> anyhow::Result<Vec<SignedCommand>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let value = vec![b'x'; bench.value_bytes];
    let one = |n: usize| -> anyhow::Result<SignedCommand> {
        let (key, value) = (|| key(bench.keys).into_bytes().into(), || value.clone().into());
        let operation = match bench.puts.get() {
            1 => KvOp::Put { key: key(), value: value() },
            puts => {
                let put = |_| KvChange::Put { key: key(), value: value(), lease: None };
                KvOp::Txn(KvTxn { then: (0..puts).map(put).collect(), ..KvTxn::default() })
            }
        };
        let operation = operation.encode().into();
        let seq = Seq(first.0 + u64::try_from(n)?);
        Ok(commander.sign(app, seq, operation, CommandOptions::default())?)
    };
    thread::scope(|scope| {
        let part = count.div_ceil(threads);
        let parts: Vec<_> = (0..threads)
            .map(|n| {
                let one = &one;
                scope.spawn(move || (n * part..count.min((n + 1) * part)).map(one).collect::<Vec<_>>())
            })
            .collect();
        let mut commands = Vec::with_capacity(count);
        for part in parts {
            let part = part.join().ok().context("a signing thread panicked")?;
            commands.extend(part.into_iter().collect::<anyhow::Result<Vec<_>>>()?);
        }
        Ok(commands)
    })
}
