//! Meshes among themselves: they find each other, carry messages, part, and find each other again.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

mod world;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use synod_auth::Unverified;
use synod_mesh::{LinkState, Listen, Mesh, MeshConfig, MeshError, Priority};
use synod_types::limits::{MESH_NODES_MAX, PEER_QUEUE_BYTES_MAX};
use synod_types::{AppNdx, CommandId, Digest, Message, Refusal, RefusalCode};
use tokio::sync::Semaphore;
use world::{Node, Seat, World, eventually, message, restart, start, start_all, within};

/// A message for replication of about `bytes` bytes.
fn large(bytes: usize) -> Message {
    let refusal = Refusal { code: RefusalCode::Busy, text: "x".repeat(bytes) };
    Message::ForwardRefused { app: AppNdx(1), refused: vec![(CommandId(Digest([0; 32])), refusal)] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_exchange_messages_in_order() {
    const MESSAGES: u64 = 300;
    let mut seats = World::new().seats(5);
    let nodes = start_all(&mut seats).await;
    for node in &nodes {
        let others: Vec<_> = node.mesh.peers().iter().map(|peer| peer.id).collect();
        assert_eq!(others.len(), 4);
        for number in 0..MESSAGES {
            for priority in Priority::ALL {
                node.mesh.send_to(&others, &message(priority, number));
            }
        }
    }
    let expected = usize::try_from(MESSAGES).unwrap() * Priority::ALL.len() * 4;
    eventually("all messages arrive", || {
        nodes.iter().all(|node| node.received.lock().unwrap().len() == expected)
    })
    .await;
    for node in &nodes {
        for peer in node.mesh.peers() {
            for priority in Priority::ALL {
                let sent: Vec<_> = (0..MESSAGES).map(|number| message(priority, number)).collect();
                assert!(node.received_from(peer.id, priority) == sent, "{priority:?}");
            }
            assert_eq!((peer.sent_frames, peer.dropped, peer.reconnects), (3 * MESSAGES, 0, 0));
            assert_eq!(peer.received_frames, 3 * MESSAGES);
            assert!(peer.rtt.is_some() && peer.connected_since.is_some());
        }
        assert_eq!(node.mesh.counters(), Default::default());
    }
    for node in &nodes {
        within("the mesh closes", node.mesh.close()).await;
    }
}

#[tokio::test]
async fn a_node_that_leaves_says_bye_and_is_found_again() {
    let mut seats = World::new().seats(2);
    let nodes = start_all(&mut seats).await;
    let (left, stays) = (&nodes[0], &nodes[1]);
    let id = seats[0].id();
    within("the mesh closes", left.mesh.close()).await;
    eventually("the other sees it", || !stays.peer(id).is_up()).await;
    // What came first is the Bye, unless a new attempt has failed since.
    eventually("both directions are down", || {
        let peer = stays.peer(id);
        peer.outbound != LinkState::Up && peer.inbound == LinkState::Down
    })
    .await;
    assert_eq!(stays.mesh.counters(), Default::default());
    stays.mesh.send(id, &message(Priority::Control, 1));
    assert_eq!(stays.peer(id).dropped, 1);

    let peers = [seats[1].peer()];
    let again = restart(&mut seats[0], &peers).await;
    eventually("it is found again", || stays.peer(id).is_up()).await;
    assert_eq!(stays.peer(id).reconnects, 1);
    stays.mesh.send(id, &message(Priority::Control, 2));
    eventually("it gets messages", || again.received.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn both_may_leave_at_once() {
    let mut seats = World::new().seats(2);
    let nodes = start_all(&mut seats).await;
    let (first, second) = (nodes[0].mesh.close(), nodes[1].mesh.close());
    within("both close", async { tokio::join!(first, second) }).await;
}

#[test]
fn a_node_that_was_killed_resets_its_old_sessions() {
    let mut seats = World::new().seats(2);
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (killed, stays) = (runtime(), runtime());
    let victim = killed.block_on(async { start(&mut seats, 0) });
    let node = stays.block_on(async { start(&mut seats, 1) });
    let id = seats[0].id();
    stays.block_on(eventually("both are up", || node.peer(id).is_up()));
    // Nothing is said any more: the runtime with all its tasks is gone before the mesh is dropped.
    killed.shutdown_background();
    drop(victim);

    let peers = [seats[1].peer()];
    let again = stays.block_on(restart(&mut seats[0], &peers));
    stays
        .block_on(eventually("both are up again", || node.peer(id).is_up() && node.peer(id).reconnects == 1));
    let why = node.peer(id).last_error.unwrap();
    assert!(why.contains("reset by peer"), "the old session ended otherwise: {why}");
    stays.block_on(within("both close", async { tokio::join!(again.mesh.close(), node.mesh.close()) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_inbox_fills_its_own_queue_and_delays_no_heartbeat() {
    let world = World::new();
    let (mut slow, mut sender) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let gate = Arc::new(Semaphore::new(0));
    let heartbeat = Arc::new(AtomicBool::new(false));
    let peers = vec![sender.peer()];
    let slow_mesh = Mesh::start(slow.config(peers), {
        let (gate, heartbeat) = (gate.clone(), heartbeat.clone());
        move |_, priority, Unverified(_)| {
            let (gate, heartbeat) = (gate.clone(), heartbeat.clone());
            async move {
                match priority {
                    Priority::Control => heartbeat.store(true, Ordering::SeqCst),
                    Priority::Replication | Priority::Bulk => gate.acquire().await.unwrap().forget(),
                }
            }
        }
    })
    .unwrap();
    let node = Node::start(sender.config(vec![slow.peer()]));
    eventually("both are up", || node.peer(slow.id()).is_up()).await;

    let big = large(1 << 20);
    let room = PEER_QUEUE_BYTES_MAX >> 20;
    let mut sent = 0u64;
    while node.peer(slow.id()).dropped == 0 {
        node.mesh.send(slow.id(), &big);
        sent += 1;
        assert!(sent < 1000, "nothing was dropped");
        tokio::task::yield_now().await;
    }
    assert!(sent >= u64::try_from(room).unwrap());
    node.mesh.send(slow.id(), &message(Priority::Control, 1));
    eventually("the heartbeat overtakes", || heartbeat.load(Ordering::SeqCst)).await;

    gate.add_permits(1000);
    let expected = sent - node.peer(slow.id()).dropped + 1;
    eventually("what was queued arrives", || slow_mesh.peers()[0].received_frames == expected).await;
}

#[tokio::test]
async fn a_message_over_the_limit_or_for_nobody_is_counted() {
    let mut seats = World::new().seats(2);
    let node = start(&mut seats, 0);
    node.mesh.send(seats[1].id(), &large(synod_types::limits::FRAME_BYTES_MAX));
    node.mesh.send(seats[0].id(), &message(Priority::Control, 1));
    assert_eq!(node.mesh.counters().unsendable, 2);
    assert_eq!(node.peer(seats[1].id()).dropped, 0);
}

#[tokio::test]
async fn a_stranger_is_refused_and_counted_in_both_directions() {
    let (world, elsewhere) = (World::new(), World::new());
    let mut seat = Seat::new(world.identity());
    // It knows where the node is and who it is, and has a certificate of another authority.
    let mut stranger = Seat::new(elsewhere.identity());
    let node = Node::start(seat.config(vec![stranger.peer()]));
    let other = Node::start(stranger.config(vec![seat.peer()]));
    let counted = |node: &Node| node.mesh.counters().strangers >= 2;
    eventually("both count strangers", || counted(&node) && counted(&other)).await;
    let peer = node.peer(stranger.id());
    assert!(peer.outbound != LinkState::Up && peer.inbound == LinkState::Down);
    assert!(node.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_of_no_member_is_refused_and_counted() {
    let world = World::new();
    let (mut seat, mut outsider) = (Seat::new(world.identity()), Seat::new(world.identity()));
    // At the outsider's address the node expects somebody else.
    let mut expected = outsider.peer();
    expected.id = world.identity().node_id();
    let id = expected.id;
    let node = Node::start(seat.config(vec![expected]));
    let other = Node::start(outsider.config(vec![seat.peer()]));
    // Its own calls find another node there; the outsider's calls make it an applicant.
    eventually("the node counts both directions", || {
        let counters = node.mesh.counters();
        counters.strangers >= 1 && counters.applicants >= 1
    })
    .await;
    eventually("it says who answers", || {
        node.peer(id).last_error.is_some_and(|why| why.contains("answers at this address"))
    })
    .await;
    let why = || other.peer(seat.id()).last_error;
    eventually("the outsider is told", || why().is_some_and(|why| why.contains("NameTaken"))).await;
    assert_ne!(other.peer(seat.id()).outbound, LinkState::Up);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = World::new().seats(1)[0].config(vec![]);
    config.listen = Listen::Address(address);
    let error = Mesh::start(config, |_, _, _| std::future::ready(())).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused() {
    let world = World::new();
    let mut seats = world.seats(MESH_NODES_MAX + 1);
    let peers: Vec<_> = seats.iter().map(Seat::peer).collect();
    let mut refused = |peers: &[_]| {
        let config = seats[0].config(peers.to_vec());
        Mesh::start(config, |_, _, _| std::future::ready(())).unwrap_err()
    };
    assert!(matches!(refused(&peers[1..]), MeshError::TooManyNodes(31)));
    assert!(matches!(refused(&peers[..1]), MeshError::DuplicateNode(_)));
    assert!(matches!(refused(&[peers[1].clone(), peers[1].clone()]), MeshError::DuplicateNode(_)));
    for address in ["no-port", "host:70000", ":7101", "two words:7101"] {
        // Of the node itself: that of another one may come from the cluster's state, and costs nobody else a session.
        let config = MeshConfig { address: address.into(), ..seats[0].config(vec![]) };
        let refused = Mesh::start(config, |_, _, _| std::future::ready(())).unwrap_err();
        assert!(matches!(refused, MeshError::BadAddress(_)), "{address}");
    }
}
