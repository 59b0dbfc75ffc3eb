//! Many who want nothing, at the commanders' port: whoever wants something gets in all the same.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../../mesh/tests/flood/mod.rs"]
mod flood;
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flood::{Flood, Sender};
use reqwest::StatusCode;
use support::raw::{Raw, quic};
use support::{Behaviour, FakeNode, Tls, command, soon};
use synod_auth::{Algorithm, SigningKey};
use synod_backend::Backend;
use synod_types::limits::{
    BACKEND_HANDSHAKES_MAX, BACKEND_HTTP_CONNECTIONS_MAX, BACKEND_HTTP_CONNECTIONS_PER_ADDRESS_MAX,
};
use synod_types::request::Reply;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::time::interval;

/// All of 127.0.0.0/8 is this host.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn house() -> (Tls, Arc<FakeNode>, Backend, SigningKey) {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    (tls, node, backend, SigningKey::generate(Algorithm::Ed25519))
}

/// A new session has its command executed.
async fn executes(tls: &Tls, backend: &Backend, key: &SigningKey, seq: u64) {
    let mut raw = Raw::open(tls, backend, key).await;
    raw.submit(command(key, seq, "x")).await;
    assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_packets_from_forged_addresses_keep_nobody_out() {
    let (tls, _node, backend, key) = house();
    let count = 2 * BACKEND_HANDSHAKES_MAX;
    let mut flood = Flood::begin(backend.local_addr(), ELSEWHERE, Sender::Forged, count, &quic(&tls)).await;
    flood.is_asked_for_proof(50).await;
    for seq in 1..=5 {
        executes(&tls, &backend, &key, seq).await;
    }
    assert_eq!(backend.counters().sessions_turned_away, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_all_handshakes() {
    let (tls, _node, backend, key) = house();
    let count = 3 * BACKEND_HANDSHAKES_MAX;
    let _flood = Flood::begin(backend.local_addr(), ELSEWHERE, Sender::Slow, count, &quic(&tls)).await;
    // It has proved its address, and still is turned away.
    let mut looks = interval(Duration::from_millis(2));
    soon(async {
        while backend.counters().sessions_turned_away < 50 {
            looks.tick().await;
        }
    })
    .await;
    for seq in 1..=5 {
        executes(&tls, &backend, &key, seq).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_all_connections_over_https() {
    let (tls, _node, backend, key) = house();
    let mut silent = Vec::new();
    for _ in 0..BACKEND_HTTP_CONNECTIONS_MAX + 100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ELSEWHERE, 0)).unwrap();
        silent.push(soon(socket.connect(backend.local_addr())).await.unwrap());
    }
    // The last ones are hung up on at once, long before they would be for their silence.
    let mut last = silent.pop().unwrap();
    assert!(matches!(soon(last.read(&mut [0])).await, Ok(0) | Err(_)));
    let client = (*tls.client).clone();
    let https = reqwest::Client::builder().use_preconfigured_tls(client).no_proxy().build().unwrap();
    let url = format!("https://{}/v1/commands", backend.local_addr());
    let body = synod_types::wire::encode(&command(&key, 1, "x"));
    let request = https.post(url).header("content-type", "application/octet-stream").body(body);
    assert_eq!(soon(request.send()).await.unwrap().status(), StatusCode::OK);
    let over = 100 + BACKEND_HTTP_CONNECTIONS_MAX - BACKEND_HTTP_CONNECTIONS_PER_ADDRESS_MAX;
    assert!(backend.counters().http_turned_away >= u64::try_from(over).unwrap());
}
