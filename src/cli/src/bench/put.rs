//! Signed writes.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use synod_app_kv::{KvChange, KvOp, KvTxn};
use synod_client::{Client, CommandOptions, Commander};
use synod_types::{AppNdx, Seq, SignedCommand};

use super::{Bench, Tally, key, measure};

/// Commands that are signed for each second if nothing is said.
const COMMANDS_PER_SECOND: usize = 20_000;

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Tally> {
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
    let seconds = usize::try_from(bench.seconds.get())?;
    let count = bench.commands.map_or(seconds * COMMANDS_PER_SECOND, NonZero::get);
    eprintln!("signing {count} commands");
    let commands: Arc<[SignedCommand]> = sign(bench, pool[0].commander(), app, first, count)?.into();

    let next = Arc::new(AtomicUsize::new(0));
    let tally = measure(bench.clients.get(), bench.duration(), |n, stop| {
        let (client, commands, next) =
            (pool[n % pool.len()].clone(), Arc::clone(&commands), Arc::clone(&next));
        async move {
            let mut tally = Tally::empty()?;
            while !stop.load(Ordering::Relaxed)
                && let Some(command) = commands.get(next.fetch_add(1, Ordering::Relaxed))
            {
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
    .await;
    for client in &pool {
        client.close().await;
    }
    tally
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
