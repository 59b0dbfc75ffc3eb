//! Certificates and authorities that change while the mesh runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod by_hand;
mod world;

use std::sync::Arc;

use by_hand::{ByHand, caller};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use synod_auth::{CertificateAuthority, TlsIdentity};
use synod_mesh::{PeerStatus, Priority};
use synod_types::session::{Control, SessionErrorCode};
use world::{Node, Seat, World, eventually, message, start_all, within};

const NAME: &str = "localhost";

/// Opens a TLS session as this identity does, now; what comes of it.
async fn call(identity: &TlsIdentity, seat: &Seat) -> Option<(Endpoint, Connection)> {
    let tls = identity.mesh_client(&[b"synod-mesh/1"]).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, seat.address, NAME).unwrap();
    let connection = within("the handshake", connecting).await.ok()?;
    // In TLS 1.3 the server judges last: it has taken the certificate when it lets a stream through.
    Some((endpoint, connection))
}

/// The certificate that a node shows to who calls it now.
async fn shown(identity: &TlsIdentity, seat: &Seat) -> CertificateDer<'static> {
    let (_endpoint, connection) = call(identity, seat).await.expect("it answers");
    let chain: Box<Vec<CertificateDer<'static>>> = connection.peer_identity().unwrap().downcast().unwrap();
    chain[0].clone()
}

/// Gives an identity another certificate for its key.
fn renew(world: &World, authority: &CertificateAuthority, seat: &Seat) {
    let pem = authority.issue_node(seat.identity.public_key(), &[NAME.to_owned()]).unwrap();
    std::fs::write(world.path(&format!("{}.pem", seat.id())), pem).unwrap();
    assert!(seat.identity.reload(NAME).unwrap());
}

fn all_up(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| node.mesh.peers().iter().all(PeerStatus::is_up))
}

fn reconnects(nodes: &[Node]) -> u64 {
    nodes.iter().flat_map(|node| node.mesh.peers()).map(|peer| peer.reconnects).sum()
}

#[tokio::test]
async fn new_sessions_show_the_new_certificate_and_old_ones_live_on() {
    let world = World::new();
    let authority = CertificateAuthority::load(world.path("ca.pem"), world.path("ca.key")).unwrap();
    let mut seats = world.seats(2);
    let nodes = start_all(&mut seats).await;
    let other = world.identity();
    let file =
        |seat: &Seat| CertificateDer::from_pem_file(world.path(&format!("{}.pem", seat.id()))).unwrap();
    let old = file(&seats[0]);
    assert_eq!(shown(&other, &seats[0]).await, old);
    renew(&world, &authority, &seats[0]);
    nodes[0].mesh.close_untrusted();
    assert_ne!(file(&seats[0]), old);
    assert_eq!(shown(&other, &seats[0]).await, file(&seats[0]));

    nodes[0].mesh.send(seats[1].id(), &message(Priority::Control, 7));
    eventually("what is sent arrives", || {
        !nodes[1].received_from(seats[0].id(), Priority::Control).is_empty()
    })
    .await;
    assert!(all_up(&nodes));
    assert_eq!(reconnects(&nodes), 0, "no session was closed");
}

#[tokio::test]
async fn an_authority_is_exchanged_under_a_mesh_that_runs() {
    let world = World::new();
    let mut seats = world.seats(3);
    let nodes = start_all(&mut seats).await;
    let old = std::fs::read_to_string(world.path("ca.pem")).unwrap();
    let new = CertificateAuthority::generate("new").unwrap();
    // Somebody with a certificate of the old authority, whose own trust never changes.
    let [id, both] = [world.identity().node_id().to_string(), "both.pem".to_owned()];
    std::fs::write(world.path(&both), format!("{old}{}", new.certificate_pem())).unwrap();
    let file = |ending: &str| world.path(&format!("{id}.{ending}"));
    let late = TlsIdentity::load(file("pem"), file("key"), world.path(&both)).unwrap();

    let trust = |bundle: &str| {
        std::fs::write(world.path("ca.pem"), bundle).unwrap();
        for (seat, node) in seats.iter().zip(&nodes) {
            assert!(seat.identity.reload(NAME).unwrap());
            node.mesh.close_untrusted();
        }
    };
    trust(&format!("{old}{}", new.certificate_pem()));
    seats.iter().for_each(|seat| renew(&world, &new, seat));
    assert!(all_up(&nodes));
    assert_eq!(reconnects(&nodes), 0, "both authorities are trusted");
    // Its authority is still trusted. It says no Hello, and is no applicant.
    let mut before = ByHand::call(&caller(), &late, seats[0].address).await;
    before.say(1, Control::KeepAlive).await;
    before.expect_refusal(SessionErrorCode::MissingHello).await;
    eventually("the stranger is counted", || nodes[0].mesh.counters().strangers == 1).await;

    trust(new.certificate_pem());
    // Every session began with certificates of the old authority.
    eventually("all sessions are new", || reconnects(&nodes) >= 6 && all_up(&nodes)).await;
    for (seat, node) in seats.iter().zip(&nodes) {
        for other in seats.iter().filter(|other| other.id() != seat.id()) {
            node.mesh.send(other.id(), &message(Priority::Control, 1));
        }
    }
    eventually("everybody hears everybody", || {
        let heard = |node: &Node, from: &Seat| !node.received_from(from.id(), Priority::Control).is_empty();
        let others = |node: &Node| seats.iter().filter(|seat| heard(node, seat)).count();
        nodes.iter().all(|node| others(node) == 2)
    })
    .await;
    if let Some((_endpoint, refused)) = call(&late, &seats[0]).await {
        let end = within("it is refused", refused.closed()).await;
        assert!(end.to_string().contains("certificate"), "{end}");
    }
    eventually("the stranger is counted again", || nodes[0].mesh.counters().strangers > 1).await;
}

#[tokio::test]
async fn whose_authority_is_dropped_has_no_session_until_it_has_another_certificate() {
    let world = World::new();
    let mut seats = world.seats(2);
    let nodes = start_all(&mut seats).await;
    let old = std::fs::read_to_string(world.path("ca.pem")).unwrap();
    let new = CertificateAuthority::generate("new").unwrap();
    std::fs::write(world.path("ca.pem"), format!("{old}{}", new.certificate_pem())).unwrap();
    seats.iter().for_each(|seat| assert!(seat.identity.reload(NAME).unwrap()));
    // Only the first one gets a certificate of the new authority, and trusts it alone from now on.
    renew(&world, &new, &seats[0]);
    std::fs::write(world.path("ca.pem"), new.certificate_pem()).unwrap();
    assert!(seats[0].identity.reload(NAME).unwrap());
    let why = seats[1].identity.reload(NAME).unwrap_err().to_string();
    assert!(why.contains("is of no authority in"), "{why}");
    nodes[0].mesh.close_untrusted();
    eventually("its sessions are closed, and no other is opened", || {
        let peer = nodes[0].peer(seats[1].id());
        !peer.is_up() && peer.last_error.is_some_and(|why| why.contains("certificate"))
    })
    .await;
    renew(&world, &new, &seats[1]);
    eventually("they are together again", || all_up(&nodes)).await;
}
