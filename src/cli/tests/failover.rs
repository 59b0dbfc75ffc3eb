//! How long no command is executed when the leader is killed, and when it is stopped.
//!
//! `cargo test --release -p synod --test failover -- --ignored --nocapture` does each fifty times.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::time::{Duration, Instant};

use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, put};

/// How a leader goes.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_goes_is_replaced() {
    for end in [End::Killed, End::Stopped] {
        measure(end, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: measures"]
async fn how_long_nothing_is_executed() {
    for (end, how) in [(End::Killed, "killed"), (End::Stopped, "stopped")] {
        let mut gaps = measure(end, 50).await;
        gaps.sort_unstable();
        let at = |share: usize| gaps[(gaps.len() * share).div_ceil(100) - 1];
        println!("{how} {} times: p50 {:?}, p99 {:?}, longest {:?}", gaps.len(), at(50), at(99), at(100));
    }
}

/// Has the leader go so many times, and tells for each how long a command took that one of the others was given at that moment:
/// killed, or, stopped, the slowest of all that came until the leader was gone.
async fn measure(end: End, times: usize) -> Vec<Duration> {
    let mut cluster = Cluster::start(3).await;
    let mut gaps = Vec::new();
    for time in 0..times {
        let leader = loop {
            if let Some(leader) = cluster.leader(KV).await {
                break leader;
            }
        };
        let survivor = (leader + 1 + time % 2) % 3;
        let timeouts = Timeouts { attempt: Duration::from_secs(30), ..Timeouts::default() };
        let client = cluster.client_of(cluster.administrator(), vec![cluster.endpoint(survivor)], timeouts);
        let execute = async || {
            let begun = Instant::now();
            let receipt = client.execute(KV, put("key", time.to_string()), CommandOptions::default()).await;
            receipt.unwrap();
            begun.elapsed()
        };
        for _ in 0..20 {
            execute().await;
        }
        gaps.push(match end {
            End::Killed => {
                cluster.kill(leader);
                execute().await
            }
            End::Stopped => {
                let mut stopping = Box::pin(cluster.stop(leader));
                let mut slowest = Duration::ZERO;
                loop {
                    let mut executing = Box::pin(execute());
                    tokio::select! {
                        biased;
                        took = &mut executing => slowest = slowest.max(took),
                        () = &mut stopping => break slowest.max(executing.await),
                    }
                }
            }
        });
        client.close().await;
        cluster.spawn(leader);
        cluster.ready(leader).await;
    }
    cluster.stop_all().await;
    gaps
}
