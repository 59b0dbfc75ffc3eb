//! What comes to running nodes and should not: commands that are wrong, commanders that are gone, nodes that do not
//! belong here, and noise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use synod::dns_query;
use synod_auth::{Algorithm, Genesis, SigningKey};
use synod_client::{Client, CommandOptions, Commander, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, eventually, put, refused};
use synod_machine::authority::{AuthorityOp, Grant, Role};
use synod_types::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX, OPERATION_BYTES_MAX, SESSION_WINDOW};
use synod_types::{
    AppNdx, ClusterId, CommandBody, Digest, Outcome, Receipt, Refusal, RefusalCode, Seq, SignedCommand,
    StateNdx, TimeMs, wire,
};

fn sign(client: &Client, seq: u64, operation: impl Into<Bytes>) -> SignedCommand {
    client.commander().sign(KV, Seq(seq), operation.into(), CommandOptions::default()).unwrap()
}

async fn done(client: &Client, command: &SignedCommand) -> Receipt {
    let receipt = client.submit(command).await.unwrap();
    assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
    receipt
}

async fn refusal(client: &Client, command: &SignedCommand) -> Refusal {
    match client.submit(command).await {
        Err(SubmitError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn grant(key: &SigningKey) -> Vec<u8> {
    AuthorityOp::Grant(Grant::unlimited(key.public().spki_der().clone(), "writer", Role::Writer)).encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_refused_for_what_is_wrong_with_it_at_every_node() {
    let mut cluster = Cluster::start(3).await;
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let writer_key = SigningKey::generate(Algorithm::Ed25519);
    // Far from 1, so that there is something below the window.
    let used = SESSION_WINDOW + 10;
    done(&admin, &sign(&admin, used, grant(&writer_key))).await;
    let last = done(&admin, &sign(&admin, used + 1, put("a", "1"))).await;

    let admin_key = Arc::clone(admin.commander().key());
    let elsewhere = Commander::new(admin_key.clone(), ClusterId(Digest([7; 32])));
    let writer = Commander::new(Arc::new(writer_key), cluster.founded.cluster);
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    let stranger = Commander::new(Arc::new(stranger), cluster.founded.cluster);
    let sign = |who: &Commander, app, seq, operation: Bytes, not_after| {
        who.sign(app, Seq(seq), operation, CommandOptions { not_after, expected: None }).unwrap()
    };
    let mut forged = sign(admin.commander(), KV, used + 2, put("a", "2"), None);
    let mut signature = forged.signature.to_vec();
    signature[9] ^= 1;
    forged.signature = signature.into();
    let mut cut = sign(admin.commander(), KV, used + 2, put("a", "2"), None);
    cut.body = cut.body.slice(..cut.body.len() - 1).into();
    cut.signature = admin_key.sign(&cut.body).into();

    let this = admin.commander();
    let wrong = [
        (RefusalCode::WrongCluster, sign(&elsewhere, KV, used + 2, put("a", "2"), None)),
        (RefusalCode::UnknownApp, sign(this, AppNdx(9), used + 2, put("a", "2"), None)),
        (RefusalCode::Expired, sign(this, KV, used + 2, put("a", "2"), Some(TimeMs(1)))),
        (RefusalCode::StaleSeq, sign(this, KV, 1, put("a", "2"), None)),
        (RefusalCode::SeqReused, sign(this, KV, used, put("a", "2"), None)),
        (RefusalCode::SeqTooFar, sign(this, KV, used + 2 + SESSION_WINDOW, put("a", "2"), None)),
        (RefusalCode::NotPermitted, sign(&writer, KV, 1, grant(stranger.key()).into(), None)),
        (RefusalCode::UnknownCommander, sign(&stranger, KV, 1, put("a", "2"), None)),
        (RefusalCode::Malformed, sign(this, KV, used + 2, Bytes::from_static(&[7, 7, 7]), None)),
        (RefusalCode::Malformed, cut),
        (RefusalCode::BadSignature, forged),
    ];
    for node in 0..cluster.len() {
        let client = cluster.client_at(cluster.administrator(), node);
        for (code, command) in &wrong {
            assert_eq!(refusal(&client, command).await.code, *code, "at {}", cluster.name(node));
        }
        client.close().await;
    }
    // None of them left a trace, and the seq that they wanted is still there.
    let next = done(&admin, &sign(this, KV, used + 2, put("a", "3"), None)).await;
    assert_eq!(next.state_ndx, last.state_ndx.next());
    admin.close().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_revoked_commander_has_in_flight_is_executed_before_it_or_never() {
    const COMMANDS: u64 = 200;
    let mut cluster = Cluster::start(3).await;
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let key = SigningKey::generate(Algorithm::Ed25519);
    done(&admin, &sign(&admin, 1, grant(&key))).await;

    let writer = cluster.client(key, 1, Timeouts::default());
    let commands: Vec<_> =
        (1..=COMMANDS).map(|seq| sign(&writer, seq, put(format!("k{seq}"), "v"))).collect();
    let submit = |command: &SignedCommand| {
        let (writer, command) = (writer.clone(), command.clone());
        tokio::spawn(async move { writer.submit(&command).await })
    };
    done(&writer, &commands[0]).await;
    let mut in_flight: Vec<_> = commands[1..].iter().map(submit).collect();
    let revoke = AuthorityOp::Revoke { commander: writer.commander().id() };
    let revoked = done(&admin, &sign(&admin, 2, revoke.encode())).await.state_ndx;

    let mut executed = vec![(0, done(&writer, &commands[0]).await)];
    for (n, submitted) in in_flight.drain(..).enumerate() {
        match submitted.await.unwrap() {
            Ok(receipt) => executed.push((n + 1, receipt)),
            Err(SubmitError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Revoked),
            Err(other) => panic!("{other}"),
        }
    }
    for (n, receipt) in &executed {
        assert!(receipt.state_ndx < revoked, "executed in {} behind the revocation", receipt.state_ndx);
        // What was executed keeps its receipt.
        assert_eq!(writer.submit(&commands[*n]).await.as_ref(), Ok(receipt));
    }
    let late = sign(&writer, COMMANDS + 1, put("late", "v"));
    assert_eq!(refusal(&writer, &late).await.code, RefusalCode::Revoked);
    // The first grant, what was executed, and the revocation: nothing else.
    let state = cluster.readers.state(0, &format!("?min={revoked}")).await.unwrap();
    assert_eq!(usize::try_from(state.state_ndx.0).unwrap(), executed.len() + 2);
    writer.close().await;
    admin.close().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sizes_of_operations_and_values_have_exact_limits() {
    let mut cluster = Cluster::start(3).await;
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let mut last = StateNdx(0);
    for (seq, bytes) in [(1, KV_VALUE_BYTES_MAX - 1), (2, KV_VALUE_BYTES_MAX)] {
        let key = vec![b'a' + u8::try_from(seq).unwrap(); KV_KEY_BYTES_MAX];
        let command = sign(&admin, seq, put(key.clone(), vec![7; bytes]));
        last = done(&admin, &command).await.state_ndx;
        let key = String::from_utf8(key).unwrap();
        for node in 0..cluster.len() {
            let value =
                cluster.readers.get(node, &format!("/v1/apps/{KV}/kv/{key}?min={last}")).await.unwrap();
            assert_eq!(value, vec![7; bytes], "at {}", cluster.name(node));
        }
    }
    let over = refusal(&admin, &sign(&admin, 3, put("k", vec![7; KV_VALUE_BYTES_MAX + 1]))).await;
    assert_eq!(over.code, RefusalCode::TooLarge);

    // Operations of exactly so many bytes reach the application, and it is the application that they are too large for.
    for bytes in [OPERATION_BYTES_MAX - 1, OPERATION_BYTES_MAX] {
        let around = put("k", vec![7; KV_VALUE_BYTES_MAX]).len() - KV_VALUE_BYTES_MAX;
        let operation = put("k", vec![7; bytes - around]);
        assert_eq!(operation.len(), bytes);
        let over = refusal(&admin, &sign(&admin, 3, operation)).await;
        assert_eq!(over.code, RefusalCode::TooLarge);
        assert!(over.text.starts_with("the value has"), "{over}");
    }
    // One byte more is not signed by the library, not sent by it, and not taken by a node.
    let operation = Bytes::from(vec![0; OPERATION_BYTES_MAX + 1]);
    let unsigned = admin.commander().sign(KV, Seq(3), operation.clone(), CommandOptions::default());
    assert!(unsigned.is_err());
    let command = signed_by_hand(&admin, 3, &operation);
    assert_eq!(refusal(&admin, &command).await.code, RefusalCode::TooLarge);
    let https = reqwest::Client::builder().use_preconfigured_tls(cluster.backend_tls()).no_proxy();
    let https = https.build().unwrap();
    for node in &cluster.founded.nodes {
        let url = format!("https://{}/v1/commands", node.plan.backend);
        let request = https.post(url).header("content-type", "application/octet-stream");
        let response = request.body(wire::encode(&command)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 413);
        let text = response.text().await.unwrap();
        assert!(text.contains("too-large") && text.contains("the command's body has"), "{text}");
    }
    let next = done(&admin, &sign(&admin, 3, put("k", "small"))).await;
    assert_eq!(next.state_ndx, last.next());
    admin.close().await;
    cluster.stop_all().await;
}

/// A command that the library refuses to make.
fn signed_by_hand(client: &Client, seq: u64, operation: &[u8]) -> SignedCommand {
    let commander = client.commander();
    let (cluster, app) = (commander.cluster(), KV);
    let small = CommandBody {
        cluster,
        app,
        commander: commander.id(),
        seq: Seq(seq),
        not_after: None,
        expected: None,
        operation: Bytes::new(),
    };
    let mut body = small.encode().unwrap().to_vec();
    let length_at = body.len() - 4;
    body[length_at..].copy_from_slice(&u32::try_from(operation.len()).unwrap().to_be_bytes());
    body.extend_from_slice(operation);
    let signature = commander.key().sign(&body).into();
    SignedCommand { body: body.into(), signature, key: commander.key().public().spki_der().clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_at_every_port_disturbs_nobody() {
    const DATAGRAMS: usize = 400;
    const CONNECTIONS: usize = 24;
    let mut cluster = Cluster::start(3).await;
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    done(&admin, &sign(&admin, 1, put("a", "1"))).await;

    let mut random = StdRng::seed_from_u64(6);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut connections = Vec::new();
    for node in &cluster.founded.nodes {
        let plan = &node.plan;
        let dns = plan.dns.as_ref().unwrap();
        for port in [&plan.mesh, &plan.backend, dns] {
            for n in 0..DATAGRAMS {
                let mut bytes = noise(&mut random, 1400);
                if n % 2 == 0 {
                    // As long as the first packet of a QUIC handshake (RFC 9000, 14.1), and looking like one.
                    bytes.resize(1200, 0);
                    bytes[0] |= 0xc0;
                    bytes[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
                }
                socket.send_to(&bytes, port.to_string()).unwrap();
            }
        }
        for bad in DNS_NOISE {
            socket.send_to(bad, dns.to_string()).unwrap();
        }
        for port in [&plan.backend, &plan.http, dns] {
            for n in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(port.to_string()).unwrap();
                let begin: &[u8] = match n % 3 {
                    0 => b"",
                    1 => &[0x16, 3, 1, 2, 0, 1, 0, 1],
                    _ => b"POST /v1/commands HTTP/1.1\r\nHost: x\r\n",
                };
                // The node may hang up while we talk.
                let _ = stream.write_all(&[begin, &noise(&mut random, 4000)].concat());
                connections.push(stream);
            }
        }
        for n in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(dns.to_string()).unwrap();
            let message = match n % 3 {
                // Half of a length; the beginning of a message of 64 KiB; a whole one of that size.
                0 => vec![0],
                1 => [&[0xff, 0xff][..], &noise(&mut random, 4000)].concat(),
                _ => vec![0xff; 2 + 0xffff],
            };
            let _ = stream.write_all(&message);
            for bad in DNS_NOISE {
                let _ =
                    stream.write_all(&[&u16::try_from(bad.len()).unwrap().to_be_bytes()[..], bad].concat());
            }
            connections.push(stream);
        }
    }
    // While these connections still are there, and the clients are new.
    for node in 0..cluster.len() {
        let client = cluster.client_at(cluster.administrator(), node);
        let seq = u64::try_from(node).unwrap() + 2;
        let receipt = done(&client, &sign(&client, seq, put("a", format!("{seq}")))).await;
        for reader in 0..cluster.len() {
            let path = format!("/v1/apps/{KV}/kv/a?min={}", receipt.state_ndx);
            assert_eq!(cluster.readers.get(reader, &path).await.unwrap(), format!("{seq}"));
        }
        client.close().await;
    }
    for node in 0..cluster.len() {
        assert!(cluster.runs(node), "{}", cluster.log(node));
        assert_eq!(cluster.readers.up(node).await.len(), 2, "{}", cluster.log(node));
        assert!(!cluster.log(node).contains("panicked"), "{}", cluster.log(node));
        let dns = cluster.founded.nodes[node].plan.dns.as_ref().unwrap();
        let server = SocketAddr::new(dns.host.parse().unwrap(), dns.port);
        assert_eq!(dns_query::ask_state(server, PATIENCE).await.unwrap(), Some(StateNdx(0)));
    }
    drop(connections);
    admin.close().await;
    cluster.stop_all().await;
}

/// DNS messages that look like some: a name that is a pointer to itself, two that point to each other, a label of a kind
/// that nobody defined, a question that is not there, 65,535 questions, and an OPT record that ends too early.
const DNS_NOISE: [&[u8]; 6] = [
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0e\xc0\x0c\x00\x01\x00\x01",
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x7fabc\x00\x00\x01\x00\x01",
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    b"\x12\x34\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x01\x00\x01",
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\xff\xff\x00\x13",
];

fn noise(random: &mut StdRng, bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..=bytes_max)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Same keys, same authority, another founding document: its Hello is for another cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_genesis_of_another_cluster_is_refused_by_the_others() {
    let mut cluster = Cluster::found(3);
    let right = cluster.founded.nodes[2].config.clone();
    let Genesis { created, nodes, administrators, apps, .. } = cluster.founded.genesis.clone();
    let other = Genesis::new("another".to_owned(), created, nodes, administrators, apps);
    std::fs::write(cluster.path("other.json"), other.to_bytes()).unwrap();
    let prepend = |text: String| "genesis = \"other.json\"\n".to_owned() + &text;
    cluster.founded.nodes[2].config = cluster.changed_config(2, "misled.toml", prepend);
    for node in 0..cluster.len() {
        cluster.spawn(node);
    }
    for node in 0..cluster.len() {
        cluster.ready(node).await;
    }
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let last = done(&admin, &sign(&admin, 1, put("a", "1"))).await.state_ndx;
    eventually("both sides say why", async || {
        let refused = (0..2).all(|node| cluster.log(node).contains("refused a Hello"));
        refused && cluster.log(2).contains("the peer refused this node: BadSignature")
    })
    .await;
    for (node, other) in [(0, "node2"), (1, "node1")] {
        assert_eq!(cluster.readers.up(node).await, [other], "not the misled one");
        assert!(cluster.readers.state(node, &format!("?min={last}")).await.is_ok());
    }
    assert!(cluster.readers.up(2).await.is_empty());
    assert_eq!(cluster.readers.state(2, "").await.unwrap().state_ndx, StateNdx(0));
    assert!(cluster.readers.state(2, "?consistency=linearizable&wait=0.1").await.is_err());

    // What it wrote meanwhile is another cluster's, which it says when it is led right.
    cluster.stop(2).await;
    let said = refused(&right);
    assert!(said.contains("data-node3 belongs to cluster "), "{said}");
    admin.close().await;
    cluster.stop_all().await;
}

/// Another authority's node at the address of one of ours: it calls the others, and they call it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_authority_is_a_stranger_in_both_directions() {
    let (mut cluster, mut elsewhere) = (Cluster::start(3).await, Cluster::found(3));
    cluster.stop(0).await;
    let pairs: Vec<(String, String)> = elsewhere
        .founded
        .nodes
        .iter()
        .zip(&cluster.founded.nodes)
        .map(|(theirs, ours)| (theirs.plan.mesh.to_string(), ours.plan.mesh.to_string()))
        .collect();
    let config = elsewhere.changed_config(0, "impostor.toml", |text| {
        pairs.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
    });
    elsewhere.founded.nodes[0].config = config;
    elsewhere.spawn(0);
    elsewhere.ready(0).await;

    let admin = cluster.client(cluster.administrator(), 1, Timeouts::default());
    done(&admin, &sign(&admin, 1, put("a", "1"))).await;
    eventually("the stranger gets no session", async || elsewhere.log(0).matches("no session").count() >= 2)
        .await;
    assert!(elsewhere.readers.up(0).await.is_empty());
    for (node, other) in [(1, "node3"), (2, "node2")] {
        assert_eq!(cluster.readers.up(node).await, [other], "not the stranger");
    }
    elsewhere.stop(0).await;
    cluster.spawn(0);
    cluster.ready(0).await;
    let last = done(&admin, &sign(&admin, 2, put("a", "2"))).await.state_ndx;
    for node in 0..3 {
        let value = cluster.readers.get(node, &format!("/v1/apps/{KV}/kv/a?min={last}")).await;
        assert_eq!(value.unwrap(), "2");
        eventually("all see each other", async || cluster.readers.up(node).await.len() == 2).await;
    }
    admin.close().await;
    cluster.stop_all().await;
}
