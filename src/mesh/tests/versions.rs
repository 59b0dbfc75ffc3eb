//! Nodes whose programs speak different wire versions.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

mod by_hand;
mod world;

use by_hand::{ByHand, caller};
use synod_mesh::{LinkState, MeshConfig, PeerConfig, PeerStatus, Priority};
use synod_types::session::{Control, SessionErrorCode};
use synod_types::{Program, Versions};
use world::{CLUSTER, Node, Seat, World, eventually, message};

fn program(min: u32, max: u32) -> Program {
    Program { wire: Versions { min, max }, version: format!("{max}.0.0"), ..Program::of_node() }
}

fn start(seat: &mut Seat, program: Program, peers: Vec<PeerConfig>) -> Node {
    Node::start(MeshConfig { program, ..seat.config(peers) })
}

fn refused(peer: &PeerStatus) -> bool {
    peer.refused == Some(SessionErrorCode::NoCommonVersion)
        && peer.last_error.as_ref().is_some_and(|why| why.contains("no wire version in common"))
}

#[tokio::test]
async fn two_programs_take_the_highest_version_in_common() {
    let mut seats = World::new().seats(2);
    let peers: Vec<_> = seats.iter().map(Seat::peer).collect();
    let old = start(&mut seats[0], program(1, 3), vec![peers[1].clone()]);
    let new = start(&mut seats[1], program(2, 5), vec![peers[0].clone()]);
    eventually("both are up", || old.is_together() && new.is_together()).await;
    let (seen, found) = (old.peer(peers[1].id), new.peer(peers[0].id));
    assert_eq!((seen.wire, found.wire), (Some(3), Some(3)));
    assert_eq!((seen.program, found.program), (Some(program(2, 5)), Some(program(1, 3))));
    old.mesh.send(peers[1].id, &message(Priority::Control, 7));
    eventually("the message arrives", || {
        new.received_from(peers[0].id, Priority::Control) == [message(Priority::Control, 7)]
    })
    .await;
}

#[tokio::test]
async fn where_there_is_none_both_say_which_they_speak_and_the_others_go_on() {
    let mut seats = World::new().seats(3);
    let peers: Vec<_> = seats.iter().map(Seat::peer).collect();
    let others = |own: usize| (0..3).filter(|n| *n != own).map(|n| peers[n].clone()).collect();
    let old = start(&mut seats[0], program(1, 1), others(0));
    let between = start(&mut seats[1], program(1, 2), others(1));
    let new = start(&mut seats[2], program(2, 3), others(2));
    let (id_old, id_between, id_new) = (peers[0].id, peers[1].id, peers[2].id);
    eventually("the one between has both", || between.is_together()).await;
    assert_eq!((between.peer(id_old).wire, between.peer(id_new).wire), (Some(1), Some(2)));
    eventually("each refuses the other", || refused(&old.peer(id_new)) && refused(&new.peer(id_old))).await;
    let why = old.peer(id_new).last_error.unwrap();
    assert!(why.contains("2-3 are spoken here, and 1 there"), "{why}");
    // What it speaks is shown all the same, and it counts as nobody who is there.
    assert_eq!(new.peer(id_old).program, Some(program(1, 1)));
    assert_eq!(new.peer(id_old).levels(), None);
    assert_eq!(new.peer(id_between).levels(), Some(Program::of_node().levels));
    assert_eq!(new.peer(id_old).inbound, LinkState::Down);
}

#[tokio::test]
async fn a_hello_of_a_program_to_come_is_understood() {
    let world = World::new();
    let (mut seat, member) = (Seat::new(world.identity()), Seat::new(world.identity()));
    let node = Node::start(seat.config(vec![member.peer()]));
    let hello_of = async |program: Program| {
        let mut session = ByHand::call(&caller(), &member.identity, seat.address).await;
        let key = member.identity.public_key().spki_der();
        let signing_key = member.identity.signing_key();
        let exporter = session.exporter();
        let hello = synod_auth::sign_hello(signing_key, &CLUSTER, &program, key, "h:1", [0; 16], &exporter);
        session.say(1, Control::Hello(Box::new(hello))).await;
        session
    };
    let description =
        hello_of(program(1000, 2000)).await.expect_refusal(SessionErrorCode::NoCommonVersion).await;
    let spoken = format!("{} are spoken here, and 1000-2000 there", synod_types::versions::MESH_WIRE);
    assert!(description.contains(&spoken), "{description}");
    hello_of(program(1, 2000)).await.hear_welcome().await;
    eventually("it is up", || node.peer(member.id()).inbound == LinkState::Up).await;
    let long = Program { version: "1".repeat(65), ..program(1, 1) };
    hello_of(long).await.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
}

#[tokio::test]
async fn an_error_that_is_new_is_an_error() {
    let world = World::new();
    let identity = world.identity();
    let endpoint = by_hand::called(&identity);
    let mut member = Seat::new(identity);
    member.address = endpoint.local_addr().unwrap();
    let node = Node::start(Seat::new(world.identity()).config(vec![member.peer()]));
    let mut session = ByHand::take(&endpoint).await;
    let code = SessionErrorCode::Other(77);
    session.say(1, Control::Error { your_msg_n: 1, code, description: "on Sundays".to_owned() }).await;
    session.expect_close(0).await;
    eventually("the node says why", || {
        let peer = node.peer(member.id());
        peer.refused == Some(code) && peer.last_error.is_some_and(|why| why.contains("on Sundays"))
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_none_costs_no_other_session() {
    let mut seats = World::new().seats(3);
    let nodes = world::start_all(&mut seats).await;
    let mut peers: Vec<_> = seats[1..].iter().map(Seat::peer).collect();
    for bad in ["h", "a b:7", "h:0", "::1:7"] {
        peers[1].address = bad.to_owned();
        nodes[0].mesh.set_peers(peers.clone()).unwrap();
        let known: Vec<_> = nodes[0].mesh.peers().iter().map(|peer| peer.id).collect();
        assert_eq!(known, [seats[1].id()], "{bad}");
        assert!(nodes[0].peer(seats[1].id()).is_up());
    }
    nodes[0].mesh.set_peers(vec![seats[1].peer(), seats[2].peer()]).unwrap();
    eventually("all are up again", || nodes[0].is_together()).await;
}
