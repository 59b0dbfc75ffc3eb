//! Closed-loop load on an etcd cluster: the peer's side of bench/compare.
//!
//! usage: etcd-load put|txn|ser ENDPOINT[,ENDPOINT…] CLIENTS CONNECTIONS SECONDS [PUTS]
//!
//! `put` writes 256-byte values to random ones of 100,000 keys, `txn` writes PUTS of them in one transaction, `ser` reads one
//! key serializably. Prints one line: operations a second, errors, latencies.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions, Txn, TxnOp};
use hdrhistogram::Histogram;

/// What `synod bench` writes by default.
const KEYS: u32 = 100_000;
const VALUE: [u8; 256] = [b'x'; 256];

#[derive(Clone, Copy)]
enum Mode {
    Put,
    Txn(usize),
    Read,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (mode, endpoints, numbers) = match &args[..] {
        [mode, endpoints, numbers @ ..] if numbers.len() >= 3 => (mode.as_str(), endpoints, numbers),
        _ => return Err("usage: etcd-load put|txn|ser ENDPOINT[,ENDPOINT…] CLIENTS CONNECTIONS SECONDS [PUTS]".into()),
    };
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<usize>, _>>()?;
    let (clients, connections, seconds) = (numbers[0], numbers[1], numbers[2]);
    let work = match mode {
        "put" => Mode::Put,
        "txn" => Mode::Txn(numbers.get(3).copied().unwrap_or(100)),
        "ser" => Mode::Read,
        other => return Err(format!("there is no mode {other:?}").into()),
    };
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let mut pool = Vec::new();
    for n in 0..connections {
        pool.push(Client::connect([endpoints[n % endpoints.len()]], None).await?);
    }
    pool[0].put(key(), VALUE, None).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> =
        (0..clients).map(|n| tokio::spawn(load(pool[n % connections].clone(), work, Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latency_us = Histogram::<u64>::new(3)?;
    let (mut done, mut errors) = (0, 0);
    for task in tasks {
        let (latencies, d, e) = task.await?;
        latency_us.add(&latencies)?;
        done += d;
        errors += e;
    }
    println!(
        "{mode} clients={clients} connections={connections} ops/s={:.0} errors={errors} p50={}us p99={}us max={}us",
        f64::from(done) / begun.elapsed().as_secs_f64(),
        latency_us.value_at_quantile(0.5),
        latency_us.value_at_quantile(0.99),
        latency_us.max(),
    );
    Ok(())
}

fn key() -> String {
    format!("k{:07}", rand::random_range(0..KEYS))
}

/// One client, with one operation in flight.
async fn load(mut client: Client, mode: Mode, stop: Arc<AtomicBool>) -> (Histogram<u64>, u32, u32) {
    let mut latency_us = Histogram::new(3).expect("three digits");
    let (mut done, mut errors) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let is_ok = match mode {
            Mode::Put => client.put(key(), VALUE, None).await.is_ok(),
            Mode::Txn(puts) => {
                // etcd refuses two puts of one key in one transaction.
                let keys: std::collections::BTreeSet<String> = (0..puts).map(|_| key()).collect();
                let puts: Vec<TxnOp> = keys.into_iter().map(|key| TxnOp::put(key, VALUE, None)).collect();
                client.txn(Txn::new().and_then(puts)).await.is_ok()
            }
            Mode::Read => client.get(key(), Some(GetOptions::new().with_serializable())).await.is_ok(),
        };
        *(if is_ok { &mut done } else { &mut errors }) += 1;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        latency_us.record(micros).expect("the histogram grows");
    }
    (latency_us, done, errors)
}
