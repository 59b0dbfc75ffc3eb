//! A certificate that changes while the port is open: both transports show it to whoever comes, and nobody is cut off.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use support::{Behaviour, FakeNode, Tls, soon};
use synod_auth::CertificateAuthority;
use synod_backend::ALPN;

async fn quic(tls: &Tls, addr: SocketAddr) -> (Endpoint, Connection) {
    let mut client = (*tls.client).clone();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = soon(endpoint.connect_with(config, addr, "localhost").unwrap()).await.unwrap();
    (endpoint, connection)
}

fn shown_over_quic(connection: &Connection) -> CertificateDer<'static> {
    let chain: Box<Vec<CertificateDer<'static>>> = connection.peer_identity().unwrap().downcast().unwrap();
    chain[0].clone()
}

/// What a new connection over TCP is shown.
fn shown_over_tcp(tls: &Tls, addr: SocketAddr) -> CertificateDer<'static> {
    let mut client =
        rustls::ClientConnection::new(tls.client.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(addr).unwrap();
    client.complete_io(&mut socket).unwrap();
    client.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_later_sees_the_new_certificate() {
    let tls = Tls::new();
    let backend = tls.try_start("127.0.0.1:0".parse().unwrap(), &FakeNode::new(Behaviour::Execute)).unwrap();
    let addr = backend.local_addr();
    let file = || CertificateDer::from_pem_file(tls.path("node.pem")).unwrap();
    let old = file();
    let (_endpoint, early) = quic(&tls, addr).await;
    assert_eq!((shown_over_quic(&early), shown_over_tcp(&tls, addr)), (old.clone(), old.clone()));

    let authority = CertificateAuthority::load(tls.path("ca.pem"), tls.path("ca.key")).unwrap();
    let pem = authority.issue_node(tls.identity.public_key(), &["localhost".to_owned()]).unwrap();
    std::fs::write(tls.path("node.pem"), pem).unwrap();
    assert!(tls.identity.reload("localhost").unwrap());
    let new = file();
    assert_ne!(new, old);
    let (_endpoint, late) = quic(&tls, addr).await;
    assert_eq!((shown_over_quic(&late), shown_over_tcp(&tls, addr)), (new.clone(), new));
    assert!(early.close_reason().is_none(), "a connection keeps what it was made with");
    drop(backend);
}
