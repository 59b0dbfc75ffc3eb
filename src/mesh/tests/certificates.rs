//! Whoever shows a certificate that is wrong in anything gets no session, whether it calls or is called.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;
#[path = "../../auth/tests/wrong_certificates/mod.rs"]
mod wrong_certificates;

use std::future::IntoFuture as _;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use synod_auth::sign_hello;
use synod_mesh::LinkState;
use synod_types::frame::FrameReader;
use synod_types::limits::HELLO_FRAME_BYTES_MAX;
use synod_types::session::{Control, ControlFrame, Hello, Welcome};
use synod_types::{Program, wire};
use world::{CLUSTER, Node, Seat, World, eventually, within};
use wrong_certificates::Shown;

const ALPN: &[u8] = b"synod-mesh/1";

/// A cluster of a node and a member, and what somebody may show who has the member's key and wants its place.
fn stage() -> (World, Seat, Seat, Vec<Shown>) {
    let world = World::new();
    let (seat, member) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let anothers = CertificateDer::from_pem_file(world.path(&format!("{}.pem", seat.id()))).unwrap();
    let [authority, authority_key] = ["ca.pem", "ca.key"].map(|name| world.path(name));
    let key = member.identity.signing_key();
    let shown = wrong_certificates::all(&authority, &authority_key, key, "localhost", anothers);
    (world, seat, member, shown)
}

/// Calls, says Hello with the member's key, and waits for an answer.
async fn call(shown: &Shown, seat: &Seat, member: &Seat) -> Option<Control> {
    let tls = shown.client(&member.identity.roots(), ALPN);
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, seat.address, "localhost").unwrap();
    let connection = within("the handshake", connecting).await.ok()?;
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, b"").unwrap();
    let key = member.identity.public_key().spki_der();
    let hello = sign_hello(
        member.identity.signing_key(),
        &CLUSTER,
        &Program::of_node(),
        key,
        "localhost:1",
        [0; 16],
        &exporter,
    );
    let mut bytes = Vec::new();
    let frame = ControlFrame { msg_n: 1, control: Control::Hello(Box::new(hello)) };
    wire::put(&mut bytes, HELLO_FRAME_BYTES_MAX, &frame).unwrap();
    send.write_all(&bytes).await.ok()?;
    let mut frames = FrameReader::new(HELLO_FRAME_BYTES_MAX);
    loop {
        if let Some(frame) = frames.next_frame().unwrap() {
            return Some(wire::decode::<ControlFrame>(&frame).unwrap().control);
        }
        let chunk = within("an answer", recv.read_chunk(4096, true)).await.ok()??;
        frames.push(&chunk.bytes);
    }
}

#[tokio::test]
async fn who_calls_with_a_wrong_certificate_gets_no_session() {
    let (_world, mut seat, member, shown) = stage();
    let node = Node::start(seat.config(vec![member.peer()]));
    for shown in shown {
        let strangers = node.mesh.counters().strangers;
        let answer = call(&shown, &seat, &member).await;
        if shown.refused_as_client {
            assert_eq!(answer, None, "{}", shown.what);
            let counted = || node.mesh.counters().strangers > strangers;
            eventually("the stranger is counted", counted).await;
            assert_eq!(node.peer(member.id()).inbound, LinkState::Down, "{}", shown.what);
        } else {
            let welcome = Welcome { your_msg_n: 1, program: Program::of_node() };
            let welcome = Control::Welcome(Box::new(welcome));
            assert_eq!(answer, Some(welcome), "{}", shown.what);
            eventually("its session ends", || node.peer(member.id()).inbound == LinkState::Down).await;
        }
    }
    assert!(node.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_is_called_and_shows_a_wrong_certificate_gets_no_session() {
    let (world, _, mut member, shown) = stage();
    for shown in shown {
        let tls = shown.server(ALPN);
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        member.address = endpoint.local_addr().unwrap();
        let node = Node::start(Seat::new(world.identity()).config(vec![member.peer()]));
        let incoming = within("a call", endpoint.accept()).await.unwrap();
        let connection = within("the handshake", incoming.into_future()).await;
        if shown.refused_as_server {
            assert!(connection.is_err(), "{}", shown.what);
            let counted = || node.mesh.counters().strangers > 0;
            eventually("the stranger is counted", counted).await;
            assert_ne!(node.peer(member.id()).outbound, LinkState::Up, "{}", shown.what);
        } else {
            let connection = connection.unwrap_or_else(|why| panic!("{}: {why}", shown.what));
            assert!(within("its Hello", connection.accept_bi()).await.is_ok(), "{}", shown.what);
        }
    }
}
