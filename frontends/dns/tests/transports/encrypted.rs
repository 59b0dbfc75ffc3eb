//! DNS over TLS, HTTPS and QUIC.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, VarInt};
use rustls::RootCertStore;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use synod_dns::{DnsConfig, Encrypted, Transport};
use synod_zone::Rtype;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::{House, PATIENCE, framed, next_message, query, rcode, read_to_end, zone_with_big_answers};

/// A front end with all transports, and what its clients trust.
struct Vault {
    house: House,
    certificate: CertificateDer<'static>,
    shown: Arc<Shown>,
}

fn any_port() -> Option<SocketAddr> {
    Some("127.0.0.1:0".parse().unwrap())
}

/// What is shown, which can change.
#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

/// A certificate for `localhost` and its key.
fn certificate() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(vec![certificate.clone()], key.into(), &provider).unwrap();
    (certificate, Arc::new(certified))
}

impl Vault {
    async fn open() -> Vault {
        Vault::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut DnsConfig)) -> Vault {
        let (certificate, certified) = certificate();
        let shown = Arc::new(Shown(Mutex::new(certified)));
        let encrypted = Encrypted {
            certificate: Arc::<Shown>::clone(&shown),
            tls: any_port(),
            https: any_port(),
            quic: any_port(),
        };
        let house = House::with(|config| {
            config.encrypted = Some(encrypted);
            change(config);
        })
        .await;
        Vault { house, certificate, shown }
    }

    fn client_tls(&self, alpn: &[u8]) -> rustls::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        tls
    }

    async fn tls(&self, addr: Option<SocketAddr>, alpn: &[u8]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(addr.unwrap()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(self.client_tls(alpn)));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    async fn https(&self) -> SendRequest<Full<Bytes>> {
        let stream = self.tls(self.house.server.local_addrs().https, b"h2").await;
        let (client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn quic_config(&self) -> quinn::ClientConfig {
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(self.client_tls(b"doq")).unwrap()))
    }

    async fn quic(&self) -> (Endpoint, Connection) {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = self.house.server.local_addrs().quic.unwrap();
        let connecting = endpoint.connect_with(self.quic_config(), addr, "localhost").unwrap();
        let connection = connecting.await.unwrap();
        (endpoint, connection)
    }
}

/// One query on a stream of its own; what comes back is behind its length.
async fn ask_over_quic(connection: &Connection, query: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&framed(query)).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(1 << 20).await.unwrap()
}

/// Status, Cache-Control and body.
async fn send(
    client: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> (StatusCode, Option<String>, Vec<u8>) {
    client.ready().await.unwrap();
    let response = client.send_request(request).await.unwrap();
    let cache = response.headers().get("cache-control").map(|value| value.to_str().unwrap().to_owned());
    let (status, is_dns) =
        (response.status(), response.headers()["content-type"] == "application/dns-message");
    assert_eq!(is_dns, status == StatusCode::OK);
    (status, cache, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://localhost{target}")).body(Full::default()).unwrap()
}

fn post(content_type: &str, body: &[u8]) -> Request<Full<Bytes>> {
    Request::post("https://localhost/dns-query")
        .header("content-type", content_type)
        .body(Full::from(Bytes::copy_from_slice(body)))
        .unwrap()
}

#[tokio::test]
async fn tls_carries_the_engines_bytes() {
    let vault = Vault::open().await;
    vault.house.world.set(zone_with_big_answers(60_000));
    let mut stream = vault.tls(vault.house.server.local_addrs().tls, b"dot").await;
    let queries = [("www.example.", Rtype::A), ("big.example.", Rtype::TXT), ("no.example.", Rtype::A)];
    let queries = queries.map(|(name, qtype)| query(7, name, qtype));
    stream.write_all(&queries.each_ref().map(|query| framed(query)).concat()).await.unwrap();
    for query in &queries {
        assert_eq!(next_message(&mut stream).await, vault.house.says(Transport::Stream, query));
    }
    let counts = vault.house.server.counts();
    assert_eq!((counts.tls.queries, counts.tls.connections, counts.tcp.queries), (3, 1, 0));
}

#[tokio::test]
async fn https_carries_the_engines_bytes_by_get_and_post() {
    let vault = Vault::open().await;
    vault.house.world.set(zone_with_big_answers(60_000));
    let mut client = vault.https().await;
    for (name, qtype, max_age) in [
        ("www.example.", Rtype::A, 300),
        ("short.example.", Rtype::A, 30),
        // As long as a resolver may remember it: the SOA's last field.
        ("no.example.", Rtype::A, 60),
        ("big.example.", Rtype::TXT, 300),
        ("elsewhere.", Rtype::A, 0),
    ] {
        let query = query(0, name, qtype);
        let expected =
            (StatusCode::OK, Some(format!("max-age={max_age}")), vault.house.says(Transport::Stream, &query));
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(&query);
        for target in [format!("/dns-query?dns={encoded}"), format!("/dns-query?x=1&dns={encoded}&y")] {
            assert_eq!(send(&mut client, get(&target)).await, expected, "GET {name}");
        }
        let posted = send(&mut client, post("application/dns-message", &query)).await;
        assert_eq!(posted, expected, "POST {name}");
    }
    let counts = vault.house.server.counts();
    assert_eq!((counts.https.queries, counts.https.connections), (15, 1));
}

#[tokio::test]
async fn https_says_what_is_wrong_with_a_request() {
    let vault = Vault::open().await;
    let mut client = vault.https().await;
    let good = query(0, "www.example.", Rtype::A);
    let put = Request::put("https://localhost/dns-query").body(Full::from(good.clone())).unwrap();
    for (request, status) in [
        (get("/"), StatusCode::NOT_FOUND),
        (get("/dns-query"), StatusCode::BAD_REQUEST),
        (get("/dns-query?dns="), StatusCode::BAD_REQUEST),
        (get("/dns-query?dns=a+b/"), StatusCode::BAD_REQUEST),
        (get("/dns-query?dns=AAAA"), StatusCode::BAD_REQUEST),
        (put, StatusCode::METHOD_NOT_ALLOWED),
        (post("text/plain", &good), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post("application/dns-message", b""), StatusCode::BAD_REQUEST),
        (post("application/dns-message", &vec![0; 65_536]), StatusCode::PAYLOAD_TOO_LARGE),
        (post("application/dns-message", &good), StatusCode::OK),
    ] {
        let what = format!("{request:?}");
        assert_eq!(send(&mut client, request).await.0, status, "{what}");
    }
    // A whole zone is no single message.
    let (status, _, answer) =
        send(&mut client, post("application/dns-message", &query(0, "example.", Rtype::AXFR))).await;
    assert_eq!((status, rcode(&answer)), (StatusCode::OK, 5));
}

#[tokio::test]
async fn quic_carries_the_engines_bytes() {
    let vault = Vault::with(|config| config.transfer_to = vec!["127.0.0.1/32".parse().unwrap()]).await;
    vault.house.world.set(zone_with_big_answers(60_000));
    let (_endpoint, connection) = vault.quic().await;
    for _ in 0..100 {
        for (name, qtype) in [("www.example.", Rtype::A), ("big.example.", Rtype::TXT)] {
            let query = query(0, name, qtype);
            let answer = ask_over_quic(&connection, &query).await;
            assert_eq!(answer, framed(&vault.house.says(Transport::Stream, &query)), "{name}");
        }
    }
    // A zone comes on one stream, in as many messages as it takes.
    let zone = ask_over_quic(&connection, &query(0, "example.", Rtype::AXFR)).await;
    assert!(zone.len() > 60_000);
    let counts = vault.house.server.counts();
    assert_eq!((counts.quic.queries, counts.quic.connections, counts.quic.transfers), (201, 1, 1));
}

#[tokio::test]
async fn quic_clients_that_do_not_keep_to_the_protocol_are_cut_off() {
    let vault = Vault::open().await;
    let good = framed(&query(0, "www.example.", Rtype::A));
    let with_id = framed(&query(1, "www.example.", Rtype::A));
    let two = [&good[..], &good].concat();
    let cut = &good[..20];
    for bad in [&b""[..], b"\0", cut, &with_id, &two] {
        let (_endpoint, connection) = vault.quic().await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(bad).await.unwrap();
        send.finish().unwrap();
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code, VarInt::from_u32(2), "{bad:?}");
    }
}

#[tokio::test]
async fn handshakes_that_never_end_hold_up_nobody() {
    let vault = Vault::open().await;
    let addrs = vault.house.server.local_addrs().clone();
    // The first packets of clients, caught on their way; they come from elsewhere, and nothing follows them.
    let trap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let (mut silent, mut destinations) = (Vec::new(), BTreeSet::new());
    let mut packet = [0; 2048];
    for _ in 0..20 {
        let trap_addr = trap.local_addr().unwrap();
        let caught = endpoint.connect_with(vault.quic_config(), trap_addr, "localhost").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let bytes = loop {
            let bytes = trap.recv(&mut packet).await.unwrap();
            // The connection that it is for: an earlier client may have repeated itself.
            if destinations.insert(packet[6..14].to_vec()) {
                break bytes;
            }
        };
        socket.send_to(&packet[..bytes], addrs.quic.unwrap()).await.unwrap();
        silent.push((socket, TcpStream::connect(addrs.tls.unwrap()).await.unwrap(), caught));
    }
    for (socket, ..) in &silent {
        // The server has taken it for a handshake.
        socket.recv(&mut packet).await.unwrap();
    }
    let query = query(0, "www.example.", Rtype::A);
    let begin = std::time::Instant::now();
    let (_endpoint, connection) = vault.quic().await;
    let expected = vault.house.says(Transport::Stream, &query);
    assert_eq!(ask_over_quic(&connection, &query).await, framed(&expected));
    let mut stream = vault.tls(addrs.tls, b"dot").await;
    stream.write_all(&framed(&query)).await.unwrap();
    assert_eq!(next_message(&mut stream).await, expected);
    assert!(begin.elapsed() < PATIENCE, "one after the other, the handshakes before would take 100 s");
    drop(silent);
}

#[tokio::test]
async fn idle_connections_end() {
    let vault = Vault::with(|config| config.streams.idle = Duration::from_millis(50)).await;
    let mut stream = vault.tls(vault.house.server.local_addrs().tls, b"dot").await;
    let client = vault.https().await;
    let (_endpoint, connection) = vault.quic().await;
    assert_eq!(read_to_end(&mut stream).await, b"");
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(
        matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(0))
    );
    let gone = async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the server closes");
}

#[tokio::test]
async fn all_transports_share_the_places() {
    let vault = Vault::with(|config| config.streams.connections = 1).await;
    let query = query(0, "www.example.", Rtype::A);
    let (_endpoint, connection) = vault.quic().await;
    ask_over_quic(&connection, &query).await;
    let mut client = vault.https().await;
    assert_eq!(send(&mut client, post("application/dns-message", &query)).await.0, StatusCode::OK);
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
    assert_eq!(close.error_code, VarInt::from_u32(4));
    let mut stream = vault.tls(vault.house.server.local_addrs().tls, b"dot").await;
    stream.write_all(&framed(&query)).await.unwrap();
    next_message(&mut stream).await;
    let gone = async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the server closes");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_keeps_neither_a_place_nor_the_server() {
    let vault = Vault::with(|config| {
        config.streams.connections = 1;
        config.encrypted.as_mut().unwrap().quic = None;
    })
    .await;
    let addrs = vault.house.server.local_addrs().clone();
    let begin = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(addrs.tls.unwrap()).await.unwrap();
    while vault.house.server.counts().tls.connections == 0 {
        tokio::task::yield_now().await;
    }
    let mut later = TcpStream::connect(addrs.https.unwrap()).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, b"");
    vault.house.server.close().await;
    assert_eq!(read_to_end(&mut later).await, b"");
    assert!(begin.elapsed() < Duration::from_secs(1), "nobody waited for the end of a handshake");
}

#[tokio::test]
async fn closing_ends_every_transport() {
    let vault = Vault::open().await;
    let mut stream = vault.tls(vault.house.server.local_addrs().tls, b"dot").await;
    let client = vault.https().await;
    let (_endpoint, connection) = vault.quic().await;
    let world = Arc::downgrade(&vault.house.world);
    tokio::time::timeout(PATIENCE, vault.house.server.close()).await.expect("closing comes to an end");
    assert_eq!(read_to_end(&mut stream).await, b"");
    tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    drop(client);
    drop(vault.house.world);
    assert!(world.upgrade().is_none(), "no task answers any more");
}

#[tokio::test]
async fn who_comes_later_sees_the_new_certificate() {
    let mut vault = Vault::open().await;
    let addrs = vault.house.server.local_addrs().clone();
    let mut early = vault.tls(addrs.tls, b"dot").await;
    let (certificate, certified) = certificate();
    *vault.shown.0.lock().unwrap() = certified;
    // Whoever trusts the new one alone gets through on all of them, and who is there already stays.
    vault.certificate = certificate;
    let query = query(0, "www.example.", Rtype::A);
    let expected = vault.house.says(Transport::Stream, &query);
    let mut late = vault.tls(addrs.tls, b"dot").await;
    for stream in [&mut early, &mut late] {
        stream.write_all(&framed(&query)).await.unwrap();
        assert_eq!(next_message(stream).await, expected);
    }
    let mut client = vault.https().await;
    let (status, _, body) = send(&mut client, post("application/dns-message", &query)).await;
    assert_eq!((status, body), (StatusCode::OK, expected.clone()));
    let (_endpoint, connection) = vault.quic().await;
    assert_eq!(ask_over_quic(&connection, &query).await, framed(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_gets_answers() {
    if Command::new("kdig").arg("-V").output().is_err() {
        eprintln!("SKIPPED: kdig is not installed (Debian: apt-get install knot-dnsutils)");
        return;
    }
    let vault = Vault::with(|config| config.transfer_to = vec!["127.0.0.1/32".parse().unwrap()]).await;
    let addrs = vault.house.server.local_addrs().clone();
    for (options, addr) in [
        (&[][..], Some(vault.house.addr())),
        (&["+tcp"], Some(vault.house.addr())),
        (&["+tls"], addrs.tls),
        (&["+https"], addrs.https),
        (&["+https", "+https-get"], addrs.https),
        (&["+quic"], addrs.quic),
    ] {
        let port = addr.unwrap().port().to_string();
        let asked = tokio::task::spawn_blocking(move || {
            let mut kdig = Command::new("kdig");
            kdig.args(["@127.0.0.1", "-p", &port, "+retry=0", "+time=20"]).args(options);
            kdig.args(["alias.example", "A"]).output().unwrap()
        });
        let output = String::from_utf8(asked.await.unwrap().stdout).unwrap();
        assert!(output.contains("status: NOERROR"), "{options:?}: {output}");
        assert!(output.contains("192.0.2.2"), "{options:?}: {output}");
    }
}
