//! A session by hand, against the rules of the protocol: what a member with a broken or hostile program may send.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

mod by_hand;
mod world;

use std::time::Duration;

use by_hand::{ByHand, called, caller, welcome};
use quinn::{Endpoint, VarInt};
use synod_auth::sign_hello;
use synod_mesh::{LinkState, Priority};
use synod_types::limits::{FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
use synod_types::session::{Control, ControlFrame, Hello, SessionErrorCode};
use synod_types::{ClusterId, Digest, Program, wire};
use world::{CLUSTER, Node, Seat, World, eventually, message};

/// A member that speaks by hand, and the node that it calls.
struct Bench {
    world: World,
    node: Node,
    seat: Seat,
    member: Seat,
    endpoint: Endpoint,
}

impl Bench {
    fn new() -> Bench {
        let world = World::new();
        let (mut seat, member) = (Seat::new(world.identity()), Seat::new(world.identity()));
        let node = Node::start(seat.config(vec![member.peer()]));
        Bench { world, node, seat, member, endpoint: caller() }
    }

    async fn connect(&self) -> ByHand {
        ByHand::call(&self.endpoint, &self.member.identity, self.seat.address).await
    }

    fn hello(&self, session: &ByHand, cluster: ClusterId) -> Hello {
        session.hello(&self.member.identity, cluster, "localhost:1")
    }

    /// A session whose Hello is acknowledged.
    async fn opened(&self) -> ByHand {
        let mut session = self.connect().await;
        session.greet(&self.member.identity, "localhost:1").await;
        session.hear_welcome().await;
        session
    }
}

#[tokio::test]
async fn a_session_by_the_rules() {
    let bench = Bench::new();
    let mut session = bench.opened().await;
    let id = bench.member.id();
    eventually("the session is up", || bench.node.peer(id).inbound == LinkState::Up).await;
    session.say(2, Control::KeepAlive).await;
    assert_eq!(session.hear().await, ControlFrame { msg_n: 2, control: Control::Ack { your_msg_n: 2 } });
    let sent = message(Priority::Bulk, 5);
    let mut bytes = vec![3];
    wire::put(&mut bytes, FRAME_BYTES_MAX, &sent).unwrap();
    // Byte after byte: no piece of a frame is ever taken for a whole one.
    let mut stream = session.stream(&[]).await;
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    eventually("the message arrives", || bench.node.received_from(id, Priority::Bulk) == [sent.clone()])
        .await;
    session.say(3, Control::Bye).await;
    assert_eq!(session.hear().await, ControlFrame { msg_n: 3, control: Control::Ack { your_msg_n: 3 } });
    session.connection.close(VarInt::from_u32(0), b"");
    eventually("the session is down", || bench.node.peer(id).inbound == LinkState::Down).await;
    assert_eq!(bench.node.mesh.counters(), Default::default());
    eventually("the Bye is counted", || bench.node.mesh.session_ends().get("bye") == Some(&1)).await;
}

/// Clusters of 2 to 7: each of the others says Hello, 15 times KeepAlive, and Bye, all at once, and each gets its answers alone.
#[tokio::test]
async fn hello_fifteen_rounds_and_bye_of_one_to_six_others() {
    const ROUNDS: u64 = 15;
    let world = World::new();
    for others in 1..=6 {
        let mut seat = Seat::new(world.identity());
        let members: Vec<Seat> = (0..others).map(|_| Seat::new(world.identity())).collect();
        let node = Node::start(seat.config(members.iter().map(Seat::peer).collect()));
        let endpoint = caller();
        let mut sessions = Vec::new();
        for member in &members {
            let mut session = ByHand::call(&endpoint, &member.identity, seat.address).await;
            session.greet(&member.identity, "localhost:1").await;
            session.hear_welcome().await;
            sessions.push(session);
        }
        eventually("all are joined", || {
            members.iter().all(|member| node.peer(member.id()).inbound == LinkState::Up)
        })
        .await;
        for msg_n in 2..2 + ROUNDS {
            for session in &mut sessions {
                session.say(msg_n, Control::KeepAlive).await;
            }
            for session in &mut sessions {
                assert_eq!(
                    session.hear().await,
                    ControlFrame { msg_n, control: Control::Ack { your_msg_n: msg_n } }
                );
            }
        }
        let msg_n = 2 + ROUNDS;
        for session in &mut sessions {
            session.say(msg_n, Control::Bye).await;
            assert_eq!(
                session.hear().await,
                ControlFrame { msg_n, control: Control::Ack { your_msg_n: msg_n } }
            );
            session.connection.close(VarInt::from_u32(0), b"");
        }
        eventually("all are gone", || {
            members.iter().all(|member| node.peer(member.id()).inbound == LinkState::Down)
        })
        .await;
        assert_eq!(node.mesh.counters(), Default::default(), "nothing of it was out of order");
    }
}

#[tokio::test]
async fn each_wrong_hello_has_its_error() {
    let bench = Bench::new();
    let other = bench.world.identity();
    type Spoil<'a> = Box<dyn Fn(Hello, &ByHand) -> Hello + 'a>;
    let cases: Vec<(SessionErrorCode, Spoil)> = vec![
        // Another node's id, even with that node's own signature, under this member's certificate.
        (SessionErrorCode::WrongId, Box::new(|hello, _| Hello { id: other.node_id().0, ..hello })),
        (SessionErrorCode::WrongId, {
            Box::new(|hello, session| {
                let exporter = session.exporter();
                sign_hello(
                    other.signing_key(),
                    &CLUSTER,
                    &Program::of_node(),
                    &hello.communication_key,
                    "",
                    [0; 16],
                    &exporter,
                )
            })
        }),
        (SessionErrorCode::WrongCommunicationKey, {
            Box::new(|hello, session| {
                let exporter = session.exporter();
                let key = other.public_key().spki_der();
                sign_hello(
                    bench.member.identity.signing_key(),
                    &CLUSTER,
                    &Program::of_node(),
                    key,
                    &hello.address,
                    [0; 16],
                    &exporter,
                )
            })
        }),
        // The id is right, and the key is not the one that it is the hash of.
        (SessionErrorCode::WrongId, {
            Box::new(|hello, _| Hello { signing_key: other.public_key().spki_der().to_vec(), ..hello })
        }),
        (
            SessionErrorCode::BadSignature,
            Box::new(|hello, _| Hello { address: "elsewhere:1".into(), ..hello }),
        ),
        (SessionErrorCode::BadSignature, {
            Box::new(|_, session| bench.hello(session, ClusterId(Digest([8; 32]))))
        }),
        // Carried over from another TLS session.
        (SessionErrorCode::BadSignature, {
            Box::new(|hello, _| {
                let key = hello.communication_key;
                sign_hello(
                    bench.member.identity.signing_key(),
                    &CLUSTER,
                    &Program::of_node(),
                    &key,
                    "",
                    [0; 16],
                    &[9; 32],
                )
            })
        }),
    ];
    let count = cases.len();
    for (code, spoil) in cases {
        let mut session = bench.connect().await;
        let hello = spoil(bench.hello(&session, CLUSTER), &session);
        session.say(1, Control::Hello(Box::new(hello))).await;
        session.expect_refusal(code).await;
    }
    let counters = bench.node.mesh.counters();
    assert_eq!((counters.refused_hellos, counters.violations), (u64::try_from(count).unwrap(), 0));
    assert_eq!(bench.node.peer(bench.member.id()).inbound, LinkState::Down);
}

#[tokio::test]
async fn nothing_is_taken_before_the_hello() {
    let bench = Bench::new();
    for control in [Control::KeepAlive, Control::Bye, Control::Ack { your_msg_n: 1 }] {
        let mut session = bench.connect().await;
        let mut data = vec![1];
        wire::put(&mut data, FRAME_BYTES_MAX, &message(Priority::Control, 1)).unwrap();
        let _stream = session.stream(&data).await;
        session.say(1, control).await;
        session.expect_refusal(SessionErrorCode::MissingHello).await;
    }
    let mut session = bench.connect().await;
    let hello = bench.hello(&session, CLUSTER);
    session.say(2, Control::Hello(Box::new(hello))).await;
    session.expect_refusal(SessionErrorCode::WrongMsgN).await;
    let mut session = bench.connect().await;
    let declared = u32::try_from(HELLO_FRAME_BYTES_MAX + 1).unwrap();
    session.send.write_all(&declared.to_be_bytes()).await.unwrap();
    session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
    assert!(bench.node.received.lock().unwrap().is_empty());
    assert_eq!(bench.node.mesh.counters().refused_hellos, 5);
}

#[tokio::test]
async fn each_wrong_control_frame_has_its_error() {
    let bench = Bench::new();
    let mut expected = 0;
    for (msg_n, control, code) in [
        (1, Control::KeepAlive, SessionErrorCode::WrongMsgN),
        (3, Control::KeepAlive, SessionErrorCode::WrongMsgN),
        (2, Control::Ack { your_msg_n: 1 }, SessionErrorCode::UnexpectedFrame),
    ] {
        let mut session = bench.opened().await;
        session.say(msg_n, control).await;
        session.expect_refusal(code).await;
        expected += 1;
    }
    let mut session = bench.opened().await;
    let hello = bench.hello(&session, CLUSTER);
    session.say(2, Control::Hello(Box::new(hello))).await;
    session.expect_refusal(SessionErrorCode::SecondHello).await;
    for garbage in [&[0, 0, 0, 3, 9, 9, 9][..], &[0xff; 64]] {
        let mut session = bench.opened().await;
        session.send.write_all(garbage).await.unwrap();
        session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
        expected += 1;
    }
    assert_eq!(bench.node.mesh.counters().violations, expected + 1);
    let ends = bench.node.mesh.session_ends();
    let times = |why| ends.get(why).copied().unwrap_or_default();
    assert_eq!((times("wrong-msg-n"), times("second-hello"), times("unexpected-frame")), (2, 1, 3));
}

#[tokio::test]
async fn each_wrong_data_stream_is_an_unexpected_frame() {
    let bench = Bench::new();
    let over = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let mut trailing = vec![1];
    let whole = wire::encode(&message(Priority::Control, 1));
    synod_types::frame::put_frame(&mut trailing, FRAME_BYTES_MAX, |out| {
        out.extend(&whole);
        out.push(0);
    })
    .unwrap();
    let oversize = [&[2][..], &over].concat();
    // Random, and the same each time: a linear congruential generator.
    let noise =
        std::iter::successors(Some(1u32), |x| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    let mut random = vec![3, 0, 0, 3, 232];
    random.extend(noise.take(250).flat_map(u32::to_be_bytes));
    // A Forward of so many commands that no memory would hold them, and none of them in the frame.
    let countless = [2, 0, 0, 0, 12, 3, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127];
    let cases: [&[u8]; 8] =
        [&[0], &[4], &[1, 0, 0, 0, 0], &oversize, &trailing, &random, &countless, &[2, 255, 255, 255, 255]];
    for bytes in cases {
        let session = bench.opened().await;
        let _stream = session.stream(bytes).await;
        session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
    }
    let session = bench.opened().await;
    let _streams = (session.stream(&[2]).await, session.stream(&[2]).await);
    session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
    let session = bench.opened().await;
    session.stream(&[2]).await.finish().unwrap();
    session.expect_refusal(SessionErrorCode::UnexpectedFrame).await;
    assert_eq!(bench.node.mesh.counters().violations, 10);
    assert!(bench.node.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_newer_session_replaces_the_older() {
    let bench = Bench::new();
    let first = bench.opened().await;
    let mut second = bench.opened().await;
    first.expect_close(2).await;
    second.say(2, Control::KeepAlive).await;
    assert_eq!(second.hear().await.msg_n, 2);
    assert_eq!(bench.node.peer(bench.member.id()).inbound, LinkState::Up);
    assert_eq!(bench.node.mesh.counters().violations, 0);
}

/// A member that is called by a node and answers by hand.
struct Called {
    node: Node,
    member: Seat,
    endpoint: Endpoint,
}

impl Called {
    fn new() -> Called {
        let world = World::new();
        let identity = world.identity();
        let endpoint = called(&identity);
        let mut member = Seat::new(identity);
        member.address = endpoint.local_addr().unwrap();
        let node = Node::start(Seat::new(world.identity()).config(vec![member.peer()]));
        Called { node, member, endpoint }
    }

    async fn greeted(&self) -> ByHand {
        ByHand::take(&self.endpoint).await
    }
}

#[tokio::test]
async fn who_is_called_has_to_follow_the_rules_as_well() {
    let called = Called::new();
    for (msg_n, control, code) in [
        (2, Control::Ack { your_msg_n: 1 }, SessionErrorCode::WrongMsgN),
        (1, Control::Ack { your_msg_n: 1 }, SessionErrorCode::UnexpectedFrame),
        (1, Control::Ack { your_msg_n: 2 }, SessionErrorCode::UnexpectedFrame),
        (1, Control::KeepAlive, SessionErrorCode::UnexpectedFrame),
    ] {
        let mut session = called.greeted().await;
        session.say(msg_n, control).await;
        session.expect_refusal(code).await;
    }
    let mut session = called.greeted().await;
    let refusal = Control::Error { your_msg_n: 1, code: SessionErrorCode::Busy, description: "later".into() };
    session.say(1, refusal).await;
    session.expect_close(0).await;
    eventually("the node says why", || {
        called.node.peer(called.member.id()).last_error.is_some_and(|why| why.contains("later"))
    })
    .await;
}

#[tokio::test]
async fn who_does_not_answer_keep_alives_is_dead() {
    let called = Called::new();
    let mut session = called.greeted().await;
    session.say(1, welcome()).await;
    for msg_n in 2..=4 {
        assert_eq!(session.hear().await, ControlFrame { msg_n, control: Control::KeepAlive });
    }
    let status = called.node.peer(called.member.id());
    assert_eq!(status.outbound, LinkState::Up);
    assert!(status.rtt.is_some_and(|rtt| rtt < Duration::from_secs(1)));
    session.expect_close(0).await;
    eventually("the node says why", || {
        called.node.peer(called.member.id()).last_error.is_some_and(|why| why.contains("not answered"))
    })
    .await;
    assert!(called.node.mesh.session_ends().get("silent").is_some_and(|times| *times >= 1));
}
