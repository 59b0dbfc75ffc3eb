//! What is the same at every address: names of exchanges, pages of other origins, TLS, and how many connections a client
//! has.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use synod_http::{ALPN, CorsOrigins, HttpConfig, HttpServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::house::{House, ask, ask_with, parse, read_to_end};

#[tokio::test]
async fn every_exchange_has_a_name() {
    let house = House::open().await;
    let given = ask_with(house.addr(), "GET", "/livez", &[("Request-Id", "0c9b-7")]).await;
    assert_eq!(given.header("request-id"), "0c9b-7");
    let mut seen = std::collections::BTreeSet::new();
    for target in ["/livez", "/nothing", "/v1/apps?x", &format!("/{}", "k".repeat(1 << 15))] {
        for headers in [&[][..], &[("Request-Id", "not one word")]] {
            let answer = ask_with(house.addr(), "GET", target, headers).await;
            let name = answer.header("request-id");
            assert!(!name.is_empty() && !name.contains(' ') && seen.insert(name.to_owned()), "{name:?}");
        }
    }
}

async fn house_with(cors: &[&str]) -> (House, HttpServer) {
    let house = House::open().await;
    let mut origins = CorsOrigins::default();
    cors.iter().for_each(|origin| origins.allow(origin).unwrap());
    let config = HttpConfig { cors: origins, ..HttpConfig::at("127.0.0.1:0".parse().unwrap()) };
    let server = HttpServer::start(config, house.gateway.clone()).await.unwrap();
    (house, server)
}

const ORIGIN: &str = "https://app.example";

#[tokio::test]
async fn pages_of_other_origins_read_where_they_may() {
    let (mut house, server) = house_with(&["http://localhost:3000", ORIGIN]).await;
    house.put(b"a", b"1");
    let target = "/v1/apps/1/kv/a";
    for (origin, allowed) in [(ORIGIN, ORIGIN), ("https://app.example:8443", ""), ("null", "")] {
        for target in [target, "/v1/apps/1/kv/none", "/nothing"] {
            let answer = ask_with(server.local_addr(), "GET", target, &[("Origin", origin)]).await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
            let exposed = answer.header("access-control-expose-headers");
            let names = ["state-ndx", "last-change", "etag", "request-id"];
            assert_eq!(names.iter().all(|name| exposed.contains(name)), !allowed.is_empty());
            assert!(answer.header("vary").contains("origin"), "a cache has to know: {answer:?}");
        }
    }
    let asks = [("Origin", ORIGIN), ("Access-Control-Request-Method", "GET")];
    let preflight = ask_with(server.local_addr(), "OPTIONS", target, &asks).await;
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    assert_eq!(preflight.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD");
    assert!(preflight.header("access-control-allow-headers").contains("if-none-match"));
    assert_ne!((preflight.state_ndx(), preflight.header("request-id")), ("", ""));
    // Whoever asks otherwise is told what there is.
    let options = ask_with(server.local_addr(), "OPTIONS", target, &[]).await;
    options.assert_problem(405, "method-not-allowed", target);
}

#[tokio::test]
async fn all_pages_read_or_none() {
    let (_house, server) = house_with(&["*"]).await;
    let answer = ask_with(server.local_addr(), "GET", "/livez", &[("Origin", ORIGIN)]).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("*", ""));

    let (_house, server) = house_with(&[]).await;
    let answer = ask_with(server.local_addr(), "GET", "/livez", &[("Origin", ORIGIN)]).await;
    assert!(answer.headers.keys().all(|name| !name.starts_with("access-control")), "{answer:?}");
    let asks = [("Origin", ORIGIN), ("Access-Control-Request-Method", "GET")];
    let preflight = ask_with(server.local_addr(), "OPTIONS", "/livez", &asks).await;
    preflight.assert_problem(405, "method-not-allowed", "/livez");
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_another_when_one_ends() {
    let house = House::open().await;
    let addr = "127.0.0.1:0".parse().unwrap();
    let config = HttpConfig { connections_per_address: 2, ..HttpConfig::at(addr) };
    let server = HttpServer::start(config, house.gateway.clone()).await.unwrap();
    let addr = server.local_addr();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        held.push(stream);
    }
    let mut third = TcpStream::connect(addr).await.unwrap();
    // Closed by its end, or by a reset where something was written to it meanwhile.
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
    // Its end is awaited, and with it that its place is free.
    let mut first = held.remove(0);
    first.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(!read_to_end(&mut first).await.is_empty());
    loop {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        // The server closes before it gives the place back, which may be a moment later.
        if stream.write_all(request).await.is_ok()
            && stream.read_to_end(&mut answer).await.is_ok()
            && !answer.is_empty()
        {
            assert_eq!(parse(&answer).status, 200);
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// A server's side and a client's side that trust each other.
fn tls() -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = &[&rustls::version::TLS13];
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![ALPN.to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
    (server, client)
}

#[tokio::test]
async fn the_same_is_answered_in_tls() {
    let mut house = House::open().await;
    house.put(b"a", b"secret");
    let (server, client) = tls();
    let config = HttpConfig { tls: Some(server.into()), ..HttpConfig::at("127.0.0.1:0".parse().unwrap()) };
    let server = HttpServer::start(config, house.gateway.clone()).await.unwrap();

    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN));
    let request = b"GET /v1/apps/1/kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let answer = parse(&bytes);
    assert_eq!((answer.status, &answer.body[..], answer.state_ndx()), (200, &b"secret"[..], "1"));

    // Who speaks plain HTTP gets no answer, and closing waits for nobody who has not finished a handshake.
    let mut plain = TcpStream::connect(server.local_addr()).await.unwrap();
    plain.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    let _silent = TcpStream::connect(server.local_addr()).await.unwrap();
    server.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_does_not_keep_a_handshake_waiting() {
    let house = House::open().await;
    let config = HttpConfig { tls: Some(tls().0.into()), ..HttpConfig::at("127.0.0.1:0".parse().unwrap()) };
    let server = HttpServer::start(config, house.gateway.clone()).await.unwrap();
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, b"");
}

#[tokio::test]
async fn nothing_is_kept_by_a_cache_without_asking() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    for target in ["/v1/apps/1/kv/a", "/v1/apps/1/kv", "/v1/apps/1/kv/none", "/v1/cluster"] {
        assert_eq!(ask(house.addr(), "GET", target).await.header("cache-control"), "no-cache", "{target}");
    }
}
