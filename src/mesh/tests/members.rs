//! Members that come and go while the mesh runs, and nodes that would be members.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod by_hand;
mod world;

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use by_hand::{ByHand, called, caller, welcome};
use quinn::{TransportConfig, VarInt};
use synod_mesh::{Applicant, Conflict, LinkState, MeshConfig, MeshError, PeerConfig, PeerStatus, Priority};
use synod_types::limits::{APPLICANTS_MAX, FRAME_BYTES_MAX};
use synod_types::session::{Control, SessionErrorCode};
use synod_types::{ClusterId, Digest, Message, NodeId, wire};
use tokio::time::interval;
use world::{CLUSTER, Node, Seat, World, eventually, message, restart, start_all, within};

/// A node that waits for ever where it has to wait by itself.
fn patient(config: MeshConfig) -> MeshConfig {
    MeshConfig { retry_delay: Duration::from_secs(60), ..config }
}

fn peers(seats: &[Seat]) -> Vec<PeerConfig> {
    seats.iter().map(Seat::peer).collect()
}

fn ids(node: &Node) -> Vec<NodeId> {
    node.mesh.peers().iter().map(|peer| peer.id).collect()
}

/// What is different when a session is another.
fn session(node: &Node, seat: &Seat) -> (Option<SystemTime>, u64) {
    let PeerStatus { connected_since, reconnects, .. } = node.peer(seat.id());
    (connected_since, reconnects)
}

fn says(node: &Node, seat: &Seat, what: &str) -> bool {
    node.peer(seat.id()).last_error.is_some_and(|why| why.contains(what))
}

/// The only node that applies.
fn applicant(node: &Node) -> Option<Applicant> {
    let mut applicants = node.mesh.applicants();
    assert!(applicants.len() <= 1, "{applicants:?}");
    applicants.pop()
}

fn framed(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::put(&mut bytes, FRAME_BYTES_MAX, message).unwrap();
    bytes
}

#[tokio::test]
async fn a_member_is_added_while_messages_flow() {
    let mut seats = World::new().seats(3);
    let mut new = seats.pop().unwrap();
    let nodes = start_all(&mut seats).await;
    let (sender, receiver) = (&nodes[0], &nodes[1]);
    let before = [session(sender, &seats[1]), session(receiver, &seats[0])];
    let sent = std::cell::Cell::new(0);
    let flow = async {
        let mut ticks = interval(Duration::from_millis(1));
        loop {
            ticks.tick().await;
            sender.mesh.send(seats[1].id(), &message(Priority::Replication, sent.get()));
            sent.set(sent.get() + 1);
        }
    };
    let addition = async {
        eventually("messages flow", || sent.get() > 20).await;
        let added = Node::start(new.config(peers(&seats)));
        for (node, other) in [(sender, &seats[1]), (receiver, &seats[0])] {
            // In this order, as they are listed from then on.
            node.mesh.set_peers(vec![new.peer(), other.peer()]).unwrap();
            assert_eq!(ids(node), [new.id(), other.id()]);
        }
        eventually("all are up", || nodes.iter().chain([&added]).all(Node::is_together)).await;
        for seat in &seats {
            added.mesh.send(seat.id(), &message(Priority::Control, 1));
        }
        nodes.iter().for_each(|node| node.mesh.send(new.id(), &message(Priority::Control, 2)));
        eventually("it gets messages", || added.received.lock().unwrap().len() == 2).await;
        let heard = |node: &Node| !node.received_from(new.id(), Priority::Control).is_empty();
        eventually("it is heard", || nodes.iter().all(heard)).await;
        added
    };
    let _added = tokio::select! {
        added = addition => added,
        () = flow => unreachable!("messages flow for ever"),
    };
    let expected: Vec<_> = (0..sent.get()).map(|number| message(Priority::Replication, number)).collect();
    eventually("no message is lost", || {
        receiver.received_from(seats[0].id(), Priority::Replication) == expected
    })
    .await;
    assert_eq!([session(sender, &seats[1]), session(receiver, &seats[0])], before);
    assert_eq!(sender.peer(seats[1].id()).dropped, 0);
}

#[tokio::test]
async fn a_removed_member_is_cut_off_and_the_others_stay() {
    let mut seats = World::new().seats(3);
    let nodes = start_all(&mut seats).await;
    let stay = [(0, 1), (1, 0), (1, 2), (2, 1)];
    let sessions = || stay.map(|(node, seat)| session(&nodes[node], &seats[seat]));
    let before = sessions();
    let (node, removed) = (&nodes[0], &nodes[2]);
    node.mesh.set_peers(vec![seats[1].peer()]).unwrap();
    assert_eq!(ids(node), [seats[1].id()]);
    node.mesh.send(seats[2].id(), &message(Priority::Control, 1));
    assert_eq!(node.mesh.counters().unsendable, 1);
    eventually("it is cut off in both directions", || {
        let peer = removed.peer(seats[0].id());
        peer.outbound != LinkState::Up && peer.inbound == LinkState::Down
    })
    .await;
    // It has its own opinion of who is a member, and calls again.
    eventually("it is told to ask", || says(removed, &seats[0], "Pending")).await;
    eventually("it applies", || applicant(node).is_some_and(|applicant| applicant.id == seats[2].id())).await;
    assert!(node.received.lock().unwrap().is_empty());
    assert!(removed.received.lock().unwrap().is_empty());
    assert_eq!(sessions(), before);
    assert_eq!(node.mesh.counters().violations, 0);

    node.mesh.set_peers(peers(&seats[1..])).unwrap();
    eventually("it is a member again", || removed.peer(seats[0].id()).is_up() && node.is_together()).await;
    assert_eq!(applicant(node), None);
    assert_eq!(sessions(), before);
}

/// A node, and a member that calls it by hand and has said a message.
async fn heard_by_hand(transport: TransportConfig) -> (Node, Seat, ByHand, quinn::SendStream) {
    let world = World::new();
    let (mut seat, member) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let node = Node::start(seat.config(vec![member.peer()]));
    let mut session = ByHand::call_with(&caller(), &member.identity, seat.address, transport).await;
    session.greet(&member.identity, "localhost:1").await;
    session.hear_welcome().await;
    let stream = session.stream(&[&[1], &framed(&message(Priority::Control, 1))[..]].concat()).await;
    eventually("the message arrives", || node.received.lock().unwrap().len() == 1).await;
    (node, member, session, stream)
}

#[tokio::test]
async fn a_removed_member_is_told_so_and_not_listened_to() {
    let (node, member, session, mut stream) = heard_by_hand(TransportConfig::default()).await;
    node.mesh.set_peers(vec![]).unwrap();
    // The session may have ended already.
    let _ = stream.write_all(&framed(&message(Priority::Control, 2))).await;
    let why = session.expect_refusal(SessionErrorCode::Removed).await;
    assert_eq!(why, "is no member any more");
    assert_eq!(node.received_from(member.id(), Priority::Control), [message(Priority::Control, 1)]);
    assert_eq!(node.mesh.counters(), Default::default());
    within("the mesh closes", node.mesh.close()).await;
    assert_eq!(node.received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_removed_member_that_takes_no_error_is_closed_with_a_code() {
    // The Ack fits into this window, and no Error does.
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(16));
    let (node, _, session, _stream) = heard_by_hand(transport).await;
    node.mesh.set_peers(vec![]).unwrap();
    session.expect_close(4).await;
}

#[tokio::test]
async fn a_removed_member_is_told_so_where_it_was_called_and_called_again_once_it_is_back() {
    let world = World::new();
    let identity = world.identity();
    let endpoint = called(&identity);
    let mut member = Seat::new(identity);
    member.address = endpoint.local_addr().unwrap();
    let node = Node::start(patient(Seat::new(world.identity()).config(vec![member.peer()])));
    for _ in 0..2 {
        let mut session = ByHand::take(&endpoint).await;
        session.say(1, welcome()).await;
        eventually("it is up", || node.peer(member.id()).outbound == LinkState::Up).await;
        node.mesh.set_peers(vec![]).unwrap();
        session.expect_refusal(SessionErrorCode::Removed).await;
        assert_eq!(ids(&node), []);
        node.mesh.set_peers(vec![member.peer()]).unwrap();
    }
    let mut session = ByHand::take(&endpoint).await;
    let refusal = |code| Control::Error { your_msg_n: 1, code, description: "not now".into() };
    // Whoever is no member there waits no longer than a few seconds, though this node would wait a minute.
    session.say(1, refusal(SessionErrorCode::Pending)).await;
    session.expect_close(0).await;
    eventually("the node says why", || says(&node, &member, "Pending: \"not now\"")).await;
    let mut session = ByHand::take(&endpoint).await;
    session.say(1, welcome()).await;
    eventually("it is up", || node.peer(member.id()).outbound == LinkState::Up).await;
}

#[tokio::test]
async fn peers_that_contradict_each_other_change_nothing() {
    let mut seats = World::new().seats(3);
    let new = seats.pop().unwrap();
    let nodes = start_all(&mut seats).await;
    let before = session(&nodes[0], &seats[1]);
    let refused = |peers: Vec<PeerConfig>| nodes[0].mesh.set_peers(peers).unwrap_err();
    assert!(matches!(refused(vec![new.peer(), seats[0].peer()]), MeshError::DuplicateNode(_)));
    assert!(matches!(refused(vec![new.peer(), new.peer()]), MeshError::DuplicateNode(_)));
    let many = |n: u8| PeerConfig { id: NodeId(Digest([n; 32])), ..new.peer() };
    assert!(matches!(refused((1..=30).map(many).collect()), MeshError::TooManyNodes(31)));
    assert_eq!(ids(&nodes[0]), [seats[1].id()]);
    assert!(nodes[0].peer(seats[1].id()).is_up());
    assert_eq!(session(&nodes[0], &seats[1]), before);

    within("the mesh closes", nodes[0].mesh.close()).await;
    nodes[0].mesh.set_peers(vec![new.peer()]).unwrap();
    assert_eq!(ids(&nodes[0]), [seats[1].id()], "what is closed stays as it is");
}

#[tokio::test]
async fn a_changed_address_is_called() {
    let mut seats = World::new().seats(2);
    let node = Node::start(patient(seats[0].config(vec![])));
    let member = Node::start(patient(seats[1].config(vec![])));
    // Nobody answers there, and nobody says so either.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let elsewhere = PeerConfig { address: silent.local_addr().unwrap().to_string(), ..seats[1].peer() };
    node.mesh.set_peers(vec![elsewhere.clone()]).unwrap();
    member.mesh.set_peers(vec![seats[0].peer()]).unwrap();
    eventually("the member calls", || node.peer(seats[1].id()).inbound == LinkState::Up).await;
    assert_ne!(node.peer(seats[1].id()).outbound, LinkState::Up);
    node.mesh.set_peers(vec![seats[1].peer()]).unwrap();
    eventually("it is found", || node.is_together() && member.is_together()).await;
    node.mesh.send(seats[1].id(), &message(Priority::Control, 1));
    eventually("it gets messages", || member.received.lock().unwrap().len() == 1).await;

    let (before, called) = (session(&node, &seats[1]), session(&member, &seats[0]));
    node.mesh.set_peers(vec![PeerConfig { name: "renamed".into(), ..seats[1].peer() }]).unwrap();
    assert_eq!(node.peer(seats[1].id()).name, "renamed");
    assert_eq!(session(&node, &seats[1]), before, "a name is no address");
    node.mesh.set_peers(vec![elsewhere]).unwrap();
    eventually("its session ends", || node.peer(seats[1].id()).outbound != LinkState::Up).await;

    within("the mesh closes", member.mesh.close()).await;
    seats[1].move_elsewhere();
    let caller = seats[0].peer();
    let member = Node::start(seats[1].config(vec![caller]));
    node.mesh.set_peers(vec![seats[1].peer()]).unwrap();
    eventually("it is found where it is now", || node.is_together() && member.is_together()).await;
    assert_ne!(session(&member, &seats[0]).0, called.0);
    let peer = node.peer(seats[1].id());
    assert_eq!((peer.reconnects, peer.sent_frames), (1, 1), "it is the same peer");
    assert_eq!(peer.address, seats[1].address.to_string());
}

#[tokio::test]
async fn another_name_is_asked_for_in_a_new_session() {
    let world = World::new();
    let mut seats = world.seats(2);
    let nodes = start_all(&mut seats).await;
    let called = |server_name: String| PeerConfig { server_name, ..seats[1].peer() };
    nodes[0].mesh.set_peers(vec![called("other.example".into())]).unwrap();
    eventually("the certificate is for other names", || says(&nodes[0], &seats[1], "other.example")).await;
    nodes[0].mesh.set_peers(vec![called(seats[1].name())]).unwrap();
    eventually("it has this name, too", || nodes[0].is_together()).await;
    assert_eq!(nodes[0].peer(seats[1].id()).reconnects, 1);
}

#[tokio::test]
async fn an_applicant_is_listed_and_refused_and_then_accepted() {
    let world = World::new();
    let mut seats = world.seats(3);
    let mut new = seats.pop().unwrap();
    let nodes = start_all(&mut seats).await;
    let (seat, begin) = (&seats[0], SystemTime::now());
    let other = Node::start(patient(new.config(vec![seat.peer()])));
    let node = &nodes[0];
    eventually("it applies", || applicant(node).is_some()).await;
    let Applicant { id, name, address, program, first_seen, last_seen, conflict } = applicant(node).unwrap();
    assert_eq!(program, synod_types::Program::of_node());
    assert_eq!((id, &name, address), (new.id(), &new.name(), new.address.to_string()));
    assert!(begin <= first_seen && first_seen <= last_seen && last_seen <= SystemTime::now());
    assert_eq!(conflict, None);
    eventually("it is told what to do", || {
        let why = "an administrator has to accept this node: synod member accept ";
        says(&other, seat, &format!("Pending: \"{why}{name}\""))
    })
    .await;
    other.mesh.send(seat.id(), &message(Priority::Control, 1));
    assert_eq!(other.peer(seat.id()).dropped, 1, "there is no session");
    eventually("it asks again", || node.mesh.counters().applicants >= 3).await;
    let listed = applicant(node).unwrap();
    assert!(listed.first_seen == first_seen && listed.last_seen > last_seen);

    node.mesh.set_peers(vec![seats[1].peer(), new.peer()]).unwrap();
    assert_eq!(applicant(node), None);
    // It is called at once, and calls back: nobody waits the minute that it would wait by itself.
    eventually("they are together", || node.is_together() && other.is_together()).await;
    assert_eq!(applicant(node), None);
    assert_eq!(node.mesh.counters().strangers, 0);
    other.mesh.send(seat.id(), &message(Priority::Control, 2));
    eventually("it is heard", || node.received_from(new.id(), Priority::Control).len() == 1).await;
    assert_eq!(nodes[1].peer(seat.id()).reconnects, 0);
}

#[tokio::test]
async fn an_applicant_that_cannot_be_called_gets_through_once_it_is_accepted() {
    let world = World::new();
    let (mut seat, mut new) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let node = Node::start(seat.config(vec![]));
    let other = Node::start(patient(new.config(vec![seat.peer()])));
    eventually("it applies", || applicant(&node).is_some()).await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let elsewhere = PeerConfig { address: silent.local_addr().unwrap().to_string(), ..new.peer() };
    node.mesh.set_peers(vec![elsewhere]).unwrap();
    eventually("it has its session", || other.peer(seat.id()).outbound == LinkState::Up).await;
    assert_eq!(node.peer(new.id()).inbound, LinkState::Up);
}

#[tokio::test]
async fn a_rejected_applicant_is_told_so_and_not_listed() {
    let world = World::new();
    let (mut seat, mut new) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let node = Node::start(seat.config(vec![]));
    let other = Node::start(new.config(vec![seat.peer()]));
    eventually("it applies", || applicant(&node).is_some()).await;
    node.mesh.set_rejected(vec![new.id()]);
    assert_eq!(applicant(&node), None);
    eventually("it is told", || says(&other, &seat, "Rejected")).await;
    let before = node.mesh.counters().applicants;
    eventually("it calls again", || node.mesh.counters().applicants > before).await;
    assert_eq!(applicant(&node), None);
    assert_eq!(node.mesh.counters().strangers, 0);
    node.mesh.set_rejected(vec![]);
    eventually("it applies again", || applicant(&node).is_some()).await;
    node.mesh.set_rejected(vec![new.id()]);
    node.mesh.set_peers(vec![new.peer()]).unwrap();
    eventually("who is a member is not rejected", || node.is_together() && other.is_together()).await;
}

#[tokio::test]
async fn a_known_name_with_another_key_is_a_conflict() {
    let world = World::new();
    let [mut seat, member] = ["n1", "n2"].map(|name| Seat::new(world.identity_named(&[name, "localhost"])));
    let node = Node::start(seat.config(vec![member.peer()]));
    for known in [&member, &seat] {
        let mut new = Seat::new(world.identity_named(&[&known.name(), "localhost"]));
        let other = Node::start(new.config(vec![seat.peer()]));
        let of = |id| node.mesh.applicants().into_iter().find(|applicant| applicant.id == id);
        eventually("it applies", || of(new.id()).is_some()).await;
        let found = of(new.id()).unwrap();
        assert_eq!((found.name, found.conflict), (known.name(), Some(Conflict { known: known.id() })));
        eventually("it is told", || {
            says(&other, &seat, "NameTaken") && says(&other, &seat, &known.id().to_string())
        })
        .await;
        within("the mesh closes", other.mesh.close()).await;
    }
    // A name that a member has beside its own is none that is held against anybody.
    let mut new = Seat::new(world.identity_named(&["localhost"]));
    let _other = Node::start(new.config(vec![seat.peer()]));
    let is_listed = |found: &Applicant| found.id == new.id() && found.conflict.is_none();
    eventually("it applies", || node.mesh.applicants().iter().any(is_listed)).await;
}

#[tokio::test]
async fn many_applicants_stay_within_the_bound() {
    const COUNT: usize = 100;
    let world = World::new();
    let mut seat = Seat::new(world.identity());
    let node = Node::start(seat.config(vec![]));
    let identities: Vec<_> = (0..COUNT).map(|_| world.identity()).collect();
    let endpoint = caller();
    for (number, identity) in identities.iter().enumerate() {
        let mut session = ByHand::call(&endpoint, identity, seat.address).await;
        session.greet(identity, &format!("host-{number}:7101")).await;
        session.expect_refusal(SessionErrorCode::Pending).await;
    }
    let called: Vec<_> = identities.iter().map(|identity| identity.node_id()).collect();
    let listed: Vec<_> = node.mesh.applicants().iter().map(|applicant| applicant.id).collect();
    assert_eq!(listed, called[COUNT - APPLICANTS_MAX..]);
    let counters = node.mesh.counters();
    assert_eq!((counters.applicants, counters.strangers), (u64::try_from(COUNT).unwrap(), 0));
}

#[tokio::test]
async fn who_cannot_be_an_applicant_is_a_stranger() {
    let world = World::new();
    let mut seat = Seat::new(world.identity());
    let node = Node::start(seat.config(vec![]));
    let endpoint = caller();
    let call = |identity| ByHand::call(&endpoint, identity, seat.address);
    // No name that a node can have, and this very node: no word is said.
    let nameless = world.identity_named(&["Not-A-Name", "n7"]);
    call(&nameless).await.expect_close(0).await;
    call(&seat.identity).await.expect_close(0).await;

    let new = world.identity();
    for address in ["", "nowhere", "host:70000", ":7101", "ho st:7101", "h\u{f6}st:7101"] {
        let mut session = call(&new).await;
        session.greet(&new, address).await;
        session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
    }
    let mut session = call(&new).await;
    let hello = session.hello(&new, ClusterId(Digest([8; 32])), "localhost:1");
    session.say(1, Control::Hello(Box::new(hello))).await;
    session.expect_refusal(SessionErrorCode::BadSignature).await;
    let mut session = call(&new).await;
    let hello = session.hello(&world.identity(), CLUSTER, "localhost:1");
    session.say(1, Control::Hello(Box::new(hello))).await;
    session.expect_refusal(SessionErrorCode::WrongId).await;
    let mut session = call(&new).await;
    let _stream = session.stream(&[&[1], &framed(&message(Priority::Control, 1))[..]].concat()).await;
    session.say(1, Control::KeepAlive).await;
    session.expect_refusal(SessionErrorCode::MissingHello).await;

    eventually("all are counted", || node.mesh.counters().strangers == 11).await;
    let counters = node.mesh.counters();
    assert_eq!((counters.applicants, counters.refused_hellos, counters.violations), (0, 0, 0));
    assert_eq!(applicant(&node), None);
    assert!(node.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_was_removed_is_a_member_again_after_a_restart_of_either() {
    let mut seats = World::new().seats(2);
    let nodes = start_all(&mut seats).await;
    nodes[0].mesh.set_peers(vec![]).unwrap();
    eventually("it applies", || applicant(&nodes[0]).is_some()).await;
    within("the mesh closes", nodes[1].mesh.close()).await;
    let again = restart(&mut seats[1], &[]).await;
    nodes[0].mesh.set_peers(vec![seats[1].peer()]).unwrap();
    eventually("the one that was started again says what the other lacks", || {
        says(&nodes[0], &seats[1], "synod member accept") && applicant(&again).is_some()
    })
    .await;
    again.mesh.set_peers(vec![seats[0].peer()]).unwrap();
    eventually("they are together", || nodes[0].is_together() && again.is_together()).await;
}
