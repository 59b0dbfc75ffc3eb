//! HTTP and DNS in a process of their own: they answer what the node answers, and each of the two comes and goes without the other.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::Value;
use synod::dns_query::{self, DnsAnswer};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::front::{Fronts, Reply, of_node};
use synod_cluster::worker::apps;
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put};
use synod_lane::front::{Asked, FrontAnswer, FrontHello, FrontReception, Told};
use synod_lane::{Link, LinkError};
use synod_sdk::Encoding;
use synod_zone::{Name, Rtype};

/// SERVFAIL (RFC 1035).
const SERVFAIL: u8 = 2;

/// A cluster of one node, with front ends that run.
async fn stage() -> (Cluster, Fronts) {
    stage_of(Cluster::found(1), "").await
}

async fn stage_of(mut cluster: Cluster, more: &str) -> (Cluster, Fronts) {
    (0..cluster.len()).for_each(|n| cluster.configure(n, &format!("\n{more}\n[front_ends]")));
    cluster.try_start_all().await.unwrap();
    let mut fronts = Fronts::of(&cluster, cluster.len() - 1);
    fronts.start().await;
    (cluster, fronts)
}

async fn write(client: &Client, key: &str, value: &str) -> u64 {
    let receipt = client.execute(KV, put(key.to_owned(), value.to_owned()), CommandOptions::default()).await;
    receipt.unwrap().state_ndx.0
}

fn set_zone(cluster: &Cluster, serial: u32, www: &str) -> u64 {
    let text = format!(
        "$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\nwww A {www}\n"
    );
    std::fs::write(cluster.directory.path().join("zone"), text).unwrap();
    cluster.expect_json(0, "zone set example.org zone")["stateNdx"].as_u64().unwrap()
}

async fn resolve(server: std::net::SocketAddr) -> DnsAnswer {
    let www = Name::parse("www.example.org").unwrap();
    dns_query::ask(server, &www, Rtype::A, PATIENCE).await.unwrap()
}

fn name_server(cluster: &Cluster, n: usize) -> std::net::SocketAddr {
    cluster.founded.nodes[n].plan.dns.as_ref().unwrap().to_string().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_read_over_them() {
    let (mut cluster, mut fronts) = stage().await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut last = 0;
    for n in 0..20 {
        last = write(&client, "key", &format!("value {n}")).await;
        let read = fronts.get(&format!("/v1/apps/kv/kv/key?min={last}&wait=30")).await;
        assert_eq!(
            (read.status, &read.body[..]),
            (StatusCode::OK, format!("value {n}").as_bytes()),
            "{read:?}"
        );
        assert_eq!(read.header("state-ndx"), last.to_string());
    }
    let newest = fronts.get("/v1/apps/kv/kv/key?consistency=linearizable").await;
    assert_eq!((newest.status, newest.header("state-ndx")), (StatusCode::OK, &*last.to_string()));

    // They go, and the node does not notice; they come, and have what was written meanwhile.
    fronts.kill();
    let written = write(&client, "key", "meanwhile").await;
    fronts.start().await;
    let path = "/v1/apps/kv/kv/key";
    let read = fronts.get(path).await;
    assert_eq!((&read.body[..], read.header("state-ndx")), (&b"meanwhile"[..], &*written.to_string()));

    // The node goes, and they answer what was there; it comes, and they go on.
    cluster.stop(0).await;
    eventually("they notice", async || fronts.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    assert_eq!(fronts.get(path).await.body, read.body);
    let nobody = fronts.get("/v1/apps/kv/kv/key?consistency=linearizable").await;
    assert_eq!((nobody.status, &*nobody.problem()), (StatusCode::SERVICE_UNAVAILABLE, "no-leader"));
    cluster.spawn(0);
    cluster.ready(0).await;
    let written = write(&client, "key", "again").await;
    let read = fronts.get(&format!("{path}?min={written}&wait=30")).await;
    assert_eq!((&read.body[..], read.status), (&b"again"[..], StatusCode::OK));
    assert_eq!(of_node(&cluster, 0, path).await.body, read.body);
    eventually("they are ready", async || fronts.get("/readyz").await.status == StatusCode::OK).await;
    fronts.stop().await;
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_answer_what_the_node_answers() {
    let (mut cluster, mut fronts) = stage_of(Cluster::found_apps(1, apps()), "").await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut last = 0;
    for n in 0..5 {
        last = write(&client, &format!("key{}", n % 2), &format!("value {n}")).await;
    }
    let first = set_zone(&cluster, 1, "192.0.2.80");
    let zones = set_zone(&cluster, 2, "192.0.2.90");
    for (app, state_ndx) in [("kv", last), ("zones", zones)] {
        assert_eq!(
            fronts.get(&format!("/v1/apps/{app}?min={state_ndx}&wait=30")).await.status,
            StatusCode::OK
        );
        let path = if app == "kv" { "/v1/apps/kv/kv/key0?proof=1" } else { "/v1/zones/example.org?proof=1" };
        eventually("the last state is certified", async || {
            let proved = fronts.get(path).await;
            proved.status == StatusCode::OK && proved.json()["stateNdx"] == state_ndx
        })
        .await;
    }
    let diff = format!("/v1/zones/example.org/diff?from={first}&to={zones}");
    let changes = format!("/v1/changes/kv/{last}?wait=30");
    for path in [
        "/v1/apps/kv",
        "/v1/apps/2",
        "/v1/apps/kv/commanders",
        "/v1/apps/kv/kv/key0",
        "/v1/apps/kv/kv/key0?at=1",
        "/v1/apps/kv/kv/nothing",
        "/v1/apps/kv/kv?prefix=key",
        "/v1/apps/kv/history/key1",
        "/v1/apps/kv/usage",
        "/v1/apps/kv/leases",
        "/v1/apps/kv/watch?after=0",
        "/v1/apps/kv/log?after=0&limit=3",
        "/v1/apps/zones/log?after=1&limit=1000",
        "/v1/apps/kv/snapshot",
        "/v1/apps/kv/certificates",
        "/v1/apps/kv/certificates?limit=1",
        "/v1/apps/kv/certificates/latest",
        "/v1/apps/kv/certificates/999",
        "/v1/apps/kv/kv/key0?proof=1",
        "/v1/apps/kv/kv/nothing?proof=1",
        "/v1/zones",
        "/v1/zones/example.org",
        "/v1/zones/example.org?proof=1",
        "/v1/zones/example.org/history",
        &diff,
        &changes,
        "/v1/apps/nothing",
        "/problems/no-such-key",
        "/openapi.json",
        "/livez",
    ] {
        let (own, nodes) = (fronts.get(path).await, of_node(&cluster, 0, path).await);
        // Where no application is asked, all are named; the third is not here.
        let at = nodes.header("state-ndx").trim_end_matches(", 3=0");
        assert_eq!((own.status, own.header("state-ndx")), (nodes.status, at), "{path} {own:?}");
        assert_eq!(String::from_utf8_lossy(&own.body), String::from_utf8_lossy(&nodes.body), "{path}");
    }
    let file = fronts.request("/v1/zones/example.org").header(ACCEPT, "text/dns").send().await.unwrap();
    assert_eq!(
        &file.bytes().await.unwrap()[..],
        std::fs::read(cluster.directory.path().join("zone")).unwrap()
    );
    // The cluster as the node sees it. How long ago something was heard is another thing.
    eventually("the picture is the same", async || {
        fronts.get("/v1/cluster").await.json() == of_node(&cluster, 0, "/v1/cluster").await.json()
    })
    .await;

    // What is in a process of its own is not here, and keeps nobody waiting.
    assert_eq!(fronts.get("/readyz").await.status, StatusCode::OK);
    let counter = fronts.get("/v1/apps/counter").await;
    assert_eq!((counter.status, &*counter.problem()), (StatusCode::NOT_FOUND, "unknown-app"));
    let detail = counter.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("in a process of its own"), "{detail}");
    let seen = fronts.request("/v1/apps/kv/kv/key0").header("state-vector", format!("1={last}, 3=99"));
    assert_eq!(seen.send().await.unwrap().status(), StatusCode::OK, "who has seen it elsewhere is answered");
    let names = |reply: Reply| -> Vec<Value> {
        reply.json()["apps"].as_array().unwrap().iter().map(|app| app["name"].clone()).collect()
    };
    assert_eq!(names(fronts.get("/v1/apps").await), ["kv", "zones"]);

    // Names.
    let answer = resolve(fronts.dns()).await;
    assert_eq!(answer, resolve(name_server(&cluster, 0)).await);
    assert_eq!(
        (answer.records.len(), answer.serial, answer.state_ndx.map(|at| at.0)),
        (1, Some(2), Some(zones))
    );

    // Who follows changes here is told of the next one.
    let mut stream = fronts
        .request(&format!("/v1/apps/kv/watch?prefix=key&after={last}"))
        .header(ACCEPT, "text/event-stream")
        .send()
        .await
        .unwrap();
    write(&client, "key9", "followed").await;
    let mut seen = String::new();
    while !seen.contains("key9") {
        let part = tokio::time::timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap();
        seen += std::str::from_utf8(&part.expect("the stream goes on")).unwrap();
    }
    drop(stream);

    let measured = String::from_utf8(fronts.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "synod_front_connected 1",
        "synod_front_connections_total 1",
        "synod_front_behind_slots{app=\"1\"} 0",
    ] {
        assert!(measured.lines().any(|one| one == line), "{line}\n{measured}");
    }

    // A name server whose node is away answers as long as its state counts as fresh, and again when the node is back.
    cluster.stop(0).await;
    assert_eq!(resolve(fronts.dns()).await.records, answer.records);
    eventually("the state is too old", async || resolve(fronts.dns()).await.rcode == SERVFAIL).await;
    let status = fronts.get("/v1/cluster").await.json();
    assert_eq!(
        (&status["apps"][0]["leader"], &status["apps"][0]["stateNdx"]),
        (&Value::Null, &(last + 1).into())
    );
    cluster.spawn(0);
    cluster.ready(0).await;
    eventually("the state is fresh", async || resolve(fronts.dns()).await == answer).await;
    let zones = set_zone(&cluster, 3, "192.0.2.99");
    fronts.get(&format!("/v1/apps/zones?min={zones}&wait=30")).await;
    assert_eq!(resolve(fronts.dns()).await.state_ndx.map(|at| at.0), Some(zones));
    fronts.stop().await;
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_far_behind_takes_a_whole_state() {
    let (mut cluster, mut fronts) = stage_of(Cluster::found(1), "[snapshots]\ncommands = 100").await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let first = write(&client, "key", "before").await;
    fronts.get(&format!("/v1/apps/kv?min={first}&wait=30")).await;
    // They stand still, and the node starts again, so that nothing of what comes waits for them.
    fronts.pause();
    cluster.stop(0).await;
    cluster.spawn(0);
    cluster.ready(0).await;
    let mut last = 0;
    for n in 0..350 {
        last = write(&client, &format!("key{}", n % 50), &format!("value {n}")).await;
    }
    let log = "/v1/apps/kv/log?after=0&limit=1";
    eventually("the log is cut", async || of_node(&cluster, 0, log).await.problem_if_any() == "log-cut")
        .await;
    fronts.resume();
    let read = fronts.get(&format!("/v1/apps/kv/kv?limit=100&min={last}&wait=30")).await;
    assert_eq!(read.json(), of_node(&cluster, 0, "/v1/apps/kv/kv?limit=100").await.json());
    eventually("they ask their node again", async || fronts.get(log).await.problem() == "log-cut").await;
    let measured = String::from_utf8(fronts.get("/metrics").await.body.to_vec()).unwrap();
    let taken = measured.lines().filter(|line| line.starts_with("synod_front_wholes_total{app=\"1\"}"));
    assert_eq!(taken.collect::<Vec<_>>(), ["synod_front_wholes_total{app=\"1\"} 2"], "{measured}");
    // And goes on behind it.
    let last = write(&client, "key", "behind").await;
    assert_eq!(fronts.get(&format!("/v1/apps/kv/kv/key?min={last}&wait=30")).await.body, "behind");
    fronts.stop().await;
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linearizable_reads_see_what_other_nodes_acknowledged_while_everything_comes_and_goes() {
    let (mut cluster, mut fronts) = stage_of(Cluster::found(3), "").await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    for round in 0..3 {
        for n in 0..10 {
            let value = format!("{round} {n}");
            write(&client, "key", &value).await;
            let read = fronts.get("/v1/apps/kv/kv/key?consistency=linearizable&wait=30").await;
            // A write that comes again after a change of leaders is one that was acknowledged, too.
            assert_eq!((read.status, &read.body[..]), (StatusCode::OK, value.as_bytes()), "{read:?}");
        }
        match round {
            0 => {
                for n in 0..8 {
                    fronts.kill();
                    fronts.spawn();
                    let value = format!("while they start {n}");
                    let last = write(&client, "key", &value).await;
                    fronts.ready().await;
                    let read = fronts.get(&format!("/v1/apps/kv/kv/key?min={last}&wait=30")).await;
                    assert_eq!(read.body, value);
                }
            }
            1 => {
                cluster.kill(2);
                let last = write(&client, "key", "while their node is away").await;
                let read = fronts.get("/v1/apps/kv/kv/key").await;
                assert_eq!((read.status, &read.body[..]), (StatusCode::OK, &b"1 9"[..]));
                cluster.spawn(2);
                cluster.ready(2).await;
                let read = fronts.get(&format!("/v1/apps/kv/kv/key?min={last}&wait=30")).await;
                assert_eq!(read.body, "while their node is away");
                // Until then nobody tells them what they would have to wait for.
                eventually("they are ready", async || fronts.get("/readyz").await.status == StatusCode::OK)
                    .await;
            }
            _ => {}
        }
    }
    let [own, others] = [fronts.get("/v1/apps/kv").await, of_node(&cluster, 0, "/v1/apps/kv").await];
    assert_eq!(
        (&own.json()["stateNdx"], &own.json()["chain"]),
        (&others.json()["stateNdx"], &others.json()["chain"])
    );
    fronts.stop().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_are_handed_over_keep_who_comes_while_nobody_is_there() {
    let mut cluster = Cluster::found(1);
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    write(&client, "key", "value").await;
    set_zone(&cluster, 1, "192.0.2.80");
    let mut fronts = Fronts::of(&cluster, 0);
    let given = fronts.open();
    fronts.start_on(&given).await;
    assert_eq!(fronts.get("/v1/apps/kv/kv/key").await.body, "value");
    // The node has only just begun, and finds out whether its state is the newest.
    eventually("the name is resolved", async || resolve(fronts.dns()).await.records.len() == 1).await;
    let answer = resolve(fronts.dns()).await;
    fronts.kill();
    // Nobody is there, and nobody is turned away.
    let (mut next, again) = (fronts.request("/v1/apps/kv/kv/key").send(), resolve(fronts.dns()));
    let mut next = std::pin::pin!(&mut next);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut next).await.is_err(), "who answers?");
    let (started, answered, again) = tokio::join!(fronts.start_on(&given), next, again);
    assert_eq!((started, answered.unwrap().status(), again), ((), StatusCode::OK, answer));
    let config = fronts.config().display();
    assert_eq!(cluster.expect(0, &format!("health --front --config {config}")).0, "ready\n");
    fronts.kill();
    drop(given);

    // A socket that nobody wants is a mistake.
    let given = fronts.open();
    let text = std::fs::read_to_string(fronts.config()).unwrap();
    let (before, _) = text.split_once("[dns]").unwrap();
    std::fs::write(fronts.config(), before).unwrap();
    let said = fronts.refused_on(&given);
    assert!(
        said.contains("was handed over to this process, and neither http nor dns has that address"),
        "{said}"
    );
    cluster.stop(0).await;
}

/// Between front ends and their node; what is told of decrees has another chain from now on.
fn lie(socket: &Path, node: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let node = node.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let node = UnixStream::connect(&node).unwrap();
            std::thread::spawn(move || {
                let link = |stream: UnixStream| Link::new(stream, Encoding::MessagePack, None).unwrap();
                let front = stream.unwrap();
                let (mut asked, mut told) = (link(front.try_clone().unwrap()), link(front));
                let (mut to_node, mut from_node) = (link(node.try_clone().unwrap()), link(node));
                to_node.send(&asked.receive::<FrontHello>().unwrap()).unwrap();
                told.send(&from_node.receive::<FrontReception>().unwrap()).unwrap();
                std::thread::spawn(move || -> Result<(), LinkError> {
                    loop {
                        to_node.send(&asked.receive::<Asked>()?)?;
                    }
                });
                let carried = || -> Result<(), LinkError> {
                    loop {
                        let mut one = from_node.receive::<Told>()?;
                        if let FrontAnswer::Decrees { chain, .. } = &mut one.tell {
                            *chain = "07".repeat(32);
                        }
                        told.send(&one)?;
                    }
                };
                let mut carried = carried;
                let _ended = carried();
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_another_state_than_the_node_ends() {
    let mut cluster = Cluster::found(1);
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    let mut fronts = Fronts::of(&cluster, 0);
    let text = std::fs::read_to_string(fronts.config()).unwrap();
    let socket = cluster.directory.path().join("liar.sock");
    lie(&socket, &cluster.data_dir(0).join("lanes").join("front-ends.sock"));
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(fronts.config(), format!("socket = {socket:?}\n{rest}")).unwrap();
    fronts.spawn();
    let status = fronts.ended().await;
    assert_eq!(status.code(), Some(1), "{}", fronts.log());
    assert!(fronts.log().contains("one of the two programs is wrong"), "{}", fronts.log());
    cluster.stop(0).await;
}

#[test]
fn mistakes_in_their_configuration_are_all_told() {
    let cluster = Cluster::found(1);
    let write = |text: &str| std::fs::write(cluster.path("front.toml"), text).unwrap();
    write("socket = \"s\"\n[http]\naddr = \"127.0.0.1:0\"");
    let config = cluster.path("front.toml");
    let command = format!("front --config {} --check", config.display());
    assert!(cluster.expect(0, &command).0.contains("is in order"));
    write("sockte = \"s\"\n[dns]\n");
    let (_, said) = cluster.expect(1, &command);
    for mistake in ["did you mean \"socket\"?", "socket: is missing", "dns.addr: is missing"] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
}
