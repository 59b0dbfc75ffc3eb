//! A real node under attack: connections that say next to nothing, declarations of far more than will come, and commands
//! that nobody signed. Whoever wants something of it is served, and its memory stays what it is.
//!
//! How much of their speed valid commands keep beside invalid ones is measured on an optimized build:
//! `cargo test --release --workspace --test floods -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{ClientConnection, StreamOwned};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, SubmitError};
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put};
use synod_node::config::Address;
use synod_types::limits::HTTP_HEAD_WAIT_MS_MAX;
use synod_types::{RefusalCode, Seq, SignedCommand};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections, unless this process may not have so many files open.
const CONNECTIONS: u64 = 10_000;
/// Files that the rest of the test takes.
const OTHER_FILES: u64 = 500;
/// Bytes by which a node's memory may grow for an attack. What it holds for a connection is a few KiB.
const GROWTH_BYTES_MAX: u64 = 128 << 20;
/// All of 127.0.0.0/8 is this host: the attack has an address of its own, as it would have elsewhere.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection from elsewhere; `None`: the port is so full that even the kernel takes no more.
async fn connect(to: &Address) -> Option<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((ELSEWHERE, 0))).unwrap();
    let to = to.to_string().parse().unwrap();
    Some(timeout(Duration::from_secs(5), socket.connect(to)).await.ok()?.unwrap())
}

/// Everything that a node offers works for somebody who is new, long before slow clients are given up.
async fn serves(cluster: &Cluster, n: usize, key: &str) {
    let limit = Duration::from_millis(HTTP_HEAD_WAIT_MS_MAX / 2);
    assert!(timeout(limit, answers(cluster, n, key)).await.is_ok(), "{key}: not served within {limit:?}");
}

async fn answers(cluster: &Cluster, n: usize, key: &str) {
    let client = cluster.client_at(cluster.administrator(), n);
    let receipt = client.execute(KV, put(key.to_owned(), "v"), CommandOptions::default()).await.unwrap();
    client.close().await;
    // The readers' port, the commanders' over TCP, and the name server's; none of these connections is an old one.
    let plan = &cluster.founded.nodes[n].plan;
    let tools = reqwest::Client::builder().use_preconfigured_tls(cluster.backend_tls()).no_proxy();
    let tools = tools.build().unwrap();
    for url in [
        format!("http://{}/v1/apps/{KV}/kv/{key}?min={}", plan.http, receipt.state_ndx),
        format!("https://{}/v1/seq/{KV}/{}", plan.backend, client.commander().id()),
    ] {
        assert_eq!(tools.get(url).send().await.unwrap().status().as_u16(), 200);
    }
    let mut dns = TcpStream::connect(plan.dns.as_ref().unwrap().to_string()).unwrap();
    dns.set_read_timeout(Some(PATIENCE)).unwrap();
    // id, flags, one question: . NS IN
    dns.write_all(b"\0\x11\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01").unwrap();
    let mut answer = [0; 4];
    dns.read_exact(&mut answer).unwrap();
    assert_eq!(answer[2..], [0x12, 0x34]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_connections_take_no_service_and_little_memory() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let count = CONNECTIONS.min(maximum.unwrap_or(CONNECTIONS + OTHER_FILES).saturating_sub(OTHER_FILES));
    let mut cluster = Cluster::start(3).await;
    serves(&cluster, 0, "before").await;
    let before = cluster.memory(0);
    let plan = cluster.founded.nodes[0].plan.clone();
    let dns = plan.dns.clone().unwrap();
    let (mut connections, mut full) = (Vec::new(), BTreeSet::new());
    for n in 0..count {
        // The readers' port has the most of them, and waits for each the longest.
        let (port, begin): (_, &[u8]) = match 4 * n / count {
            0 => (&dns, &[0xff, 0xff, 0x12]),
            1 => (&plan.backend, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
            _ => (&plan.http, b"GET /v1/apps HTTP/1.1\r\nHost: x\r\nX-Slow: "),
        };
        // To wait there would give the node time to give up the first ones.
        if full.contains(&port.port) {
            continue;
        }
        let Some(connection) = connect(port).await else {
            full.insert(port.port);
            continue;
        };
        // The node may have hung up already.
        let _ = connection.try_write(begin);
        connections.push(connection);
    }
    serves(&cluster, 0, "among-them").await;
    // A byte now and then, as those do who want to be waited for.
    for _ in 0..3 {
        for connection in &connections {
            let _ = connection.try_write(b"a");
        }
        serves(&cluster, 0, "still").await;
    }
    let grown = cluster.memory(0).saturating_sub(before);
    eprintln!("{} slow connections, {} KiB more memory", connections.len(), grown >> 10);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    assert!(cluster.runs(0) && !cluster.log(0).contains("panicked"), "{}", cluster.log(0));
    drop(connections);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_costs_nothing_until_it_comes() {
    /// Of each kind.
    const DECLARATIONS: usize = 200;
    let mut cluster = Cluster::start(3).await;
    serves(&cluster, 0, "before").await;
    let before = cluster.memory(0);
    let plan = cluster.founded.nodes[0].plan.clone();
    let tls = Arc::new(cluster.backend_tls());
    let declared = |bytes: u64| {
        format!(
            "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\nfew"
        )
    };
    let mut connections = Vec::new();
    let mut plain = Vec::new();
    for n in 0..DECLARATIONS {
        // The largest that is taken, and far more than that.
        let bytes = if n % 2 == 0 { 1 << 20 } else { u64::MAX >> 1 };
        let name = plan.name.clone().try_into().unwrap();
        let session = ClientConnection::new(Arc::clone(&tls), name).unwrap();
        let stream = TcpStream::connect(plan.backend.to_string()).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(declared(bytes).as_bytes()).unwrap();
        connections.push(stream);
        for (port, begin) in [
            (&plan.http, declared(bytes)),
            (&plan.http, format!("GET /{} HTTP/1.1\r\n", "a".repeat(40_000))),
            (&plan.http, format!("GET / HTTP/1.1\r\nX: {}\r\n", "a".repeat(80_000))),
        ] {
            let mut stream = TcpStream::connect(port.to_string()).unwrap();
            let _ = stream.write_all(begin.as_bytes());
            plain.push(stream);
        }
        let mut dns = TcpStream::connect(plan.dns.as_ref().unwrap().to_string()).unwrap();
        let _ = dns.write_all(&[0xff, 0xff]);
        plain.push(dns);
    }
    serves(&cluster, 0, "among-them").await;
    let grown = cluster.memory(0).saturating_sub(before);
    eprintln!("{} declarations, {} KiB more memory", 5 * DECLARATIONS, grown >> 10);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    assert!(cluster.runs(0) && !cluster.log(0).contains("panicked"), "{}", cluster.log(0));
    drop((connections, plain));
    cluster.stop_all().await;
}

/// Time for which it is counted what is executed.
const MEASURED: Duration = Duration::from_secs(5);
/// Valid commands in flight, and invalid ones: ten times as many at each node.
const VALID_IN_FLIGHT: usize = 96;
const INVALID_IN_FLIGHT: usize = 10 * VALID_IN_FLIGHT;
/// What valid commands keep of their speed.
const KEPT_MIN: f64 = 0.7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for an optimized build on a machine that does nothing else"]
async fn valid_commands_keep_their_speed_beside_invalid_ones() {
    let mut cluster = Cluster::start(3).await;
    let seq = Arc::new(AtomicU64::new(0));
    let writers: Vec<Client> = (0..3).map(|n| cluster.client_at(cluster.administrator(), n)).collect();
    let before = executed_in(&writers, &seq).await;
    let (mut attack, refused) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for n in 0..3 {
        // Sessions of keys that nobody knows; what they submit is not even signed with them.
        let key = || SigningKey::generate(Algorithm::Ed25519);
        let client = cluster.client_at(key(), n);
        let commander = client.commander();
        for number in 0..INVALID_IN_FLIGHT {
            let seq = Seq(u64::try_from(number).unwrap() + 1);
            let signed = commander.sign(KV, seq, put("k", "v"), CommandOptions::default()).unwrap();
            let forged = SignedCommand { signature: key().sign(&signed.body).into(), ..signed };
            attack.spawn(attack_with(forged, client.clone(), refused.clone()));
        }
    }
    eventually("the attack is under way", async || refused.load(Ordering::Relaxed) > 100).await;
    let so_far = refused.load(Ordering::Relaxed);
    let during = executed_in(&writers, &seq).await;
    let refused = refused.load(Ordering::Relaxed) - so_far;
    attack.shutdown().await;
    let after = executed_in(&writers, &seq).await;
    let kept = 2.0 * during / (before + after);
    eprintln!(
        "{before:.0} valid commands a second before, {during:.0} beside {:.0} invalid ones, {after:.0} after: {:.0} % kept",
        f64::from(u32::try_from(refused).unwrap()) / MEASURED.as_secs_f64(),
        100.0 * kept
    );
    assert!(kept >= KEPT_MIN, "{kept}");
    cluster.stop_all().await;
}

/// Submits one command again and again, as fast as it is refused.
async fn attack_with(forged: SignedCommand, client: Client, refused: Arc<AtomicU64>) {
    loop {
        match client.submit(&forged).await {
            Err(SubmitError::Refused(refusal)) => {
                assert!(matches!(refusal.code, RefusalCode::BadSignature | RefusalCode::Busy), "{refusal}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
            // It waits longer than it likes.
            Err(_) => {}
            Ok(receipt) => panic!("{receipt:?}"),
        }
    }
}

/// How many commands are executed in a second.
async fn executed_in(writers: &[Client], seq: &Arc<AtomicU64>) -> f64 {
    let (begun, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut writing = JoinSet::new();
    for number in 0..VALID_IN_FLIGHT {
        let (client, seq, count) = (writers[number % writers.len()].clone(), seq.clone(), count.clone());
        writing.spawn(async move {
            while begun.elapsed() < MEASURED {
                let seq = Seq(seq.fetch_add(1, Ordering::Relaxed) + 1);
                let command = client.commander().sign(KV, seq, put("k", "v"), CommandOptions::default());
                client.submit(&command.unwrap()).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = writing.join_next().await {
        ended.unwrap();
    }
    f64::from(u32::try_from(count.load(Ordering::Relaxed)).unwrap()) / begun.elapsed().as_secs_f64()
}
