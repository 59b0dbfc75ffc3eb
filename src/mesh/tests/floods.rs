//! Many who want nothing, at the nodes' port: a member gets its session all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod flood;
mod world;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use flood::{Flood, Sender};
use quinn::ClientConfig;
use quinn::crypto::rustls::QuicClientConfig;
use synod_auth::tls::backend_client;
use synod_types::limits::{MESH_OPENING_MAX, MESH_OPENING_MS_MAX};
use tokio::time::timeout;
use world::{Node, Seat, World, eventually, start};

/// All of 127.0.0.0/8 is this host.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Whoever knows the protocol's name, and has no certificate.
fn anybody(seat: &Seat) -> ClientConfig {
    let tls = backend_client(&seat.identity.roots(), &[b"synod-mesh/1"]).unwrap();
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Gets a session for the second seat while the first one is flooded: before any handshake is given up that was begun there.
async fn gets_a_session(seats: &mut [Seat], flooded: &Node) {
    let member = start(seats, 1);
    let (member_id, flooded_id) = (seats[1].id(), seats[0].id());
    let up = eventually("both are up", || flooded.peer(member_id).is_up() && member.peer(flooded_id).is_up());
    let limit = Duration::from_millis(MESH_OPENING_MS_MAX) / 2;
    assert!(timeout(limit, up).await.is_ok(), "a member has no session: {:?}", flooded.mesh.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_packets_from_forged_addresses_keep_no_member_out() {
    let mut seats = World::new().seats(2);
    let node = start(&mut seats, 0);
    let count = 4 * MESH_OPENING_MAX;
    let mut flood =
        Flood::begin(seats[0].address, ELSEWHERE, Sender::Forged, count, &anybody(&seats[0])).await;
    flood.is_asked_for_proof(MESH_OPENING_MAX).await;
    gets_a_session(&mut seats, &node).await;
    assert_eq!(node.mesh.counters().ignored, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_keeps_no_member_out() {
    let mut seats = World::new().seats(2);
    let node = start(&mut seats, 0);
    let count = 4 * MESH_OPENING_MAX;
    let _flood = Flood::begin(seats[0].address, ELSEWHERE, Sender::Slow, count, &anybody(&seats[0])).await;
    eventually("the node ignores it", || node.mesh.counters().ignored >= 100).await;
    gets_a_session(&mut seats, &node).await;
}
