//! Sessions over QUIC, as a client sees them that does not keep to the rules.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::Endpoint;
use support::raw::{Raw, quic};
use support::{APP, Behaviour, CLUSTER, FakeNode, Tls, body_of, command, seal, soon};
use synod_auth::{Algorithm, SigningKey};
use synod_backend::Backend;
use synod_types::limits::{
    BACKEND_BAD_SIGNATURE_US, BACKEND_SESSION_COMMANDS_MAX, COMMAND_BYTES_MAX, FRAME_BYTES_MAX,
    HELLO_FRAME_BYTES_MAX, OPERATION_BYTES_MAX,
};
use synod_types::request::{Reply, Request, RequestFrame};
use synod_types::session::{Control, SessionErrorCode};
use synod_types::{AppNdx, ClusterId, Digest, Program, RefusalCode, Seq, SignedCommand, Versions, wire};
use tokio::net::UdpSocket;
use tokio::time::timeout;

struct House {
    tls: Tls,
    node: Arc<FakeNode>,
    backend: Backend,
    key: SigningKey,
}

fn house(behaviour: Behaviour) -> House {
    let tls = Tls::new();
    let node = FakeNode::new(behaviour);
    let backend = tls.start(&node);
    House { tls, node, backend, key: SigningKey::generate(Algorithm::Ed25519) }
}

#[tokio::test]
async fn a_session_begins_with_a_hello() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let mut raw = Raw::connect(&tls, &backend).await;
    raw.submit(command(&key, 1, "x")).await;
    raw.ends_with(SessionErrorCode::MissingHello, 1).await;
    assert_eq!(backend.counters().sessions_broken, 1);
}

#[tokio::test]
async fn a_hello_is_for_this_cluster_this_session_and_its_own_key() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let mut raw = Raw::connect(&tls, &backend).await;
    let elsewhere = raw.hello(&key, ClusterId(Digest([8; 32])));
    raw.ask(elsewhere).await;
    raw.ends_with(SessionErrorCode::BadSignature, 1).await;

    let mut raw = Raw::connect(&tls, &backend).await;
    let stolen = Raw::connect(&tls, &backend).await.hello(&key, CLUSTER);
    raw.ask(stolen).await;
    raw.ends_with(SessionErrorCode::BadSignature, 1).await;

    let mut raw = Raw::connect(&tls, &backend).await;
    let Request::Control(Control::Hello(mut hello)) = raw.hello(&key, CLUSTER) else { unreachable!() };
    hello.id = Digest([1; 32]);
    raw.ask(Request::Control(Control::Hello(hello))).await;
    raw.ends_with(SessionErrorCode::WrongId, 1).await;
    assert_eq!(backend.counters().sessions, 0);
}

#[tokio::test]
async fn both_ends_need_a_wire_version_in_common() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let program = |min, max| Program { wire: Versions { min, max }, ..Program::of_commander() };
    let mut raw = Raw::connect(&tls, &backend).await;
    let hello = raw.hello_of(&key, CLUSTER, &program(7, 9));
    raw.ask(hello).await;
    raw.ends_with(SessionErrorCode::NoCommonVersion, 1).await;
    let mut raw = Raw::connect(&tls, &backend).await;
    let hello = raw.hello_of(&key, CLUSTER, &program(1, 9));
    raw.ask(hello).await;
    assert!(matches!(raw.reply().await, Some(Reply::Control(Control::Welcome(_)))));
}

#[tokio::test]
async fn a_second_hello_ends_the_session() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let hello = raw.hello(&key, CLUSTER);
    raw.ask(hello).await;
    raw.ends_with(SessionErrorCode::SecondHello, 2).await;
}

#[tokio::test]
async fn a_wrong_number_ends_the_session() {
    for msg_n in [0, 1, 3, u64::MAX] {
        let House { tls, backend, key, .. } = house(Behaviour::Execute);
        let mut raw = Raw::open(&tls, &backend, &key).await;
        raw.ask_as(msg_n, Request::NextSeq { app: APP }).await;
        raw.ends_with(SessionErrorCode::WrongMsgN, msg_n).await;
    }
}

#[tokio::test]
async fn frames_that_are_not_frames_end_the_session() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let too_long = |max: usize| u32::try_from(max + 1).unwrap().to_be_bytes().to_vec();
    let random: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(151) ^ 0x5a).collect();
    let garbage = [&[0, 0, 0, 200], &random[..]].concat();

    for bytes in [too_long(HELLO_FRAME_BYTES_MAX), garbage.clone()] {
        let mut raw = Raw::connect(&tls, &backend).await;
        raw.write(&bytes).await;
        raw.ends_with(SessionErrorCode::UnexpectedFrame, 1).await;
    }
    let empty = vec![0; 4];
    for bytes in [too_long(COMMAND_BYTES_MAX + 16), garbage, random, empty] {
        let mut raw = Raw::open(&tls, &backend, &key).await;
        raw.write(&bytes).await;
        raw.ends_with(SessionErrorCode::UnexpectedFrame, 2).await;
    }
    let mut truncated = Raw::open(&tls, &backend, &key).await;
    truncated.write(&[0, 0, 0, 9, 1, 2, 3]).await;
    truncated.send.finish().unwrap();
    truncated.ends_with(SessionErrorCode::UnexpectedFrame, 2).await;
    let mut unexpected = Raw::open(&tls, &backend, &key).await;
    unexpected.ask(Request::Control(Control::Ack { your_msg_n: 1 })).await;
    unexpected.ends_with(SessionErrorCode::UnexpectedFrame, 2).await;
}

#[tokio::test]
async fn what_comes_before_a_broken_frame_is_done() {
    let House { tls, backend, key, node } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let mut out = Vec::new();
    for seq in 1..=20 {
        let request = Request::Submit(command(&key, seq, "x"));
        wire::put(&mut out, FRAME_BYTES_MAX, &RequestFrame { msg_n: seq + 1, request }).unwrap();
    }
    out.extend([255; 4]);
    raw.write(&out).await;
    for _ in 0..20 {
        assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
    }
    raw.ends_with(SessionErrorCode::UnexpectedFrame, 22).await;
    assert_eq!(node.ledger.executed(), 20);
}

#[tokio::test]
async fn bad_signatures_are_refused_and_counted_one_by_one_and_in_batches() {
    let House { tls, backend, key, node } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let other = SigningKey::generate(Algorithm::Ed25519);
    let mut forged = command(&key, 1, "x");
    forged.signature = vec![0; 64].into();
    let mut foreign = command(&key, 1, "x");
    foreign.key = other.public().spki_der().clone();
    for bad in [forged.clone(), foreign] {
        let number = raw.submit(bad).await;
        assert_eq!(raw.refusal().await, (number, RefusalCode::BadSignature));
    }
    let mut out = Vec::new();
    for seq in 1..=40 {
        let good = command(&key, seq, "x");
        let request = Request::Submit(if seq % 2 == 0 { forged.clone() } else { good });
        let frame = RequestFrame { msg_n: raw.sent.advance(), request };
        wire::put(&mut out, FRAME_BYTES_MAX, &frame).unwrap();
    }
    raw.write(&out).await;
    let mut refused = 0;
    for _ in 0..40 {
        match raw.reply().await {
            Some(Reply::Refused { refusal, .. }) if refusal.code == RefusalCode::BadSignature => refused += 1,
            Some(Reply::Executed { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((refused, node.ledger.executed()), (20, 20));
    let counters = backend.counters();
    assert_eq!(counters.refused_with(RefusalCode::BadSignature), 22);
    assert_eq!((counters.commands, counters.executed, counters.bytes_held), (42, 20, 0));
    assert_eq!((counters.sessions_open, counters.sessions_broken), (1, 0));
}

#[tokio::test]
async fn no_flipped_bit_of_a_command_gets_past_the_port() {
    let House { tls, backend, key, node } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let good = command(&key, 1, "x");
    let flip = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let bits = |bytes: &[u8]| 0..bytes.len() * 8;
    let bodies =
        bits(&good.body).map(|bit| SignedCommand { body: flip(&good.body, bit).into(), ..good.clone() });
    let signatures = bits(&good.signature)
        .map(|bit| SignedCommand { signature: flip(&good.signature, bit).into(), ..good.clone() });
    let keys = bits(&good.key).map(|bit| SignedCommand { key: flip(&good.key, bit).into(), ..good.clone() });
    let forged: Vec<_> = bodies.chain(signatures).chain(keys).collect();
    // Before and after the one that is good, which is remembered as verified.
    for round in 0..2 {
        for commands in forged.chunks(BACKEND_SESSION_COMMANDS_MAX / 8) {
            for command in commands {
                raw.submit(command.clone()).await;
            }
            for _ in commands {
                let (_, code) = raw.refusal().await;
                let expected = [
                    RefusalCode::BadSignature,
                    RefusalCode::Malformed,
                    RefusalCode::WrongCluster,
                    RefusalCode::TooLarge,
                ];
                assert!(expected.contains(&code), "{code:?}");
            }
        }
        assert_eq!(node.ledger.executed(), round);
        raw.submit(good.clone()).await;
        assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
    }
}

#[tokio::test]
async fn who_sends_bad_signatures_is_slowed_down_and_nobody_else() {
    const FORGED: u64 = 2_000;
    let House { tls, backend, key, node } = house(Behaviour::Execute);
    let mut forgers = [Raw::open(&tls, &backend, &key).await, Raw::open(&tls, &backend, &key).await];
    for seq in 1..=FORGED {
        let forged = SignedCommand { signature: vec![1; 64].into(), ..command(&key, seq, "x") };
        for forger in &mut forgers {
            forger.submit(forged.clone()).await;
        }
    }
    // One has been answered something, so by now it waits.
    forgers[0].refusal().await;
    let begun = Instant::now();
    let mut raw = Raw::open(&tls, &backend, &key).await;
    for seq in 1..=20 {
        raw.submit(command(&key, seq, "x")).await;
        assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
    }
    let refused = || backend.counters().refused_with(RefusalCode::BadSignature);
    assert!(refused() < 2 * FORGED, "all of them were looked at while somebody else waited");
    let waited = [FORGED - 1, FORGED].into_iter().zip(&mut forgers);
    for (left, forger) in waited {
        for _ in 0..left {
            assert_eq!(forger.refusal().await.1, RefusalCode::BadSignature);
        }
    }
    assert_eq!((refused(), node.ledger.executed()), (2 * FORGED, 20));
    // Each waits for its own and for the other's, but for what was looked at last.
    let wanted = Duration::from_micros(FORGED * BACKEND_BAD_SIGNATURE_US);
    assert!(begun.elapsed() >= wanted, "{:?} for all of them, and not {wanted:?}", begun.elapsed());
}

#[tokio::test]
async fn the_operation_limit_is_exact() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    for bytes in [OPERATION_BYTES_MAX - 1, OPERATION_BYTES_MAX] {
        let number = raw.submit(seal(&key, body_of(&key, bytes.try_into().unwrap(), bytes))).await;
        match raw.reply().await {
            Some(Reply::Executed { your_msg_n, .. }) => assert_eq!(your_msg_n, number),
            other => panic!("{bytes} bytes: {other:?}"),
        }
    }
    let number = raw.submit(seal(&key, body_of(&key, 1, OPERATION_BYTES_MAX + 1))).await;
    assert_eq!(raw.refusal().await, (number, RefusalCode::TooLarge));
}

#[tokio::test]
async fn a_session_has_so_many_commands_in_flight_and_no_more() {
    let House { tls, backend, key, node } = house(Behaviour::Hold);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let same = command(&key, 1, "x");
    for _ in 0..BACKEND_SESSION_COMMANDS_MAX {
        raw.submit(same.clone()).await;
    }
    let number = raw.submit(same.clone()).await;
    assert_eq!(raw.refusal().await, (number, RefusalCode::Busy));
    node.holds(BACKEND_SESSION_COMMANDS_MAX).await;
    node.release();
    for _ in 0..BACKEND_SESSION_COMMANDS_MAX {
        assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
    }
    node.behave(Behaviour::Execute);
    raw.submit(same).await;
    assert!(matches!(raw.reply().await, Some(Reply::Executed { .. })));
}

#[tokio::test]
async fn questions_and_courtesies_are_answered() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    raw.submit(command(&key, 5, "x")).await;
    assert!(matches!(raw.reply().await, Some(Reply::Executed { your_msg_n: 2, .. })));
    raw.ask(Request::NextSeq { app: APP }).await;
    assert_eq!(raw.reply().await, Some(Reply::NextSeq { your_msg_n: 3, seq: Seq(6) }));
    raw.ask(Request::NextSeq { app: AppNdx(99) }).await;
    assert_eq!(raw.refusal().await, (4, RefusalCode::UnknownApp));
    raw.ask(Request::Control(Control::KeepAlive)).await;
    assert_eq!(raw.reply().await, Some(Reply::Control(Control::Ack { your_msg_n: 5 })));
    raw.ask(Request::Control(Control::Bye)).await;
    assert_eq!(raw.reply().await, Some(Reply::Control(Control::Ack { your_msg_n: 6 })));
    assert_eq!(raw.reply().await, None);
}

#[tokio::test]
async fn closing_answers_what_is_in_flight_and_refuses_what_is_new() {
    let House { tls, backend, key, node } = house(Behaviour::Hold);
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let first = raw.submit(command(&key, 1, "x")).await;
    node.holds(1).await;
    let closing = tokio::spawn(backend.close());
    let refused = loop {
        // Until the back end has noticed that it closes, it still takes commands.
        let number = raw.submit(command(&key, 2, "y")).await;
        raw.ask(Request::Control(Control::KeepAlive)).await;
        match raw.reply().await {
            Some(Reply::Refused { your_msg_n, refusal }) => {
                assert_eq!((your_msg_n, refusal.code), (number, RefusalCode::Stopping));
                break number;
            }
            other => assert_eq!(other, Some(Reply::Control(Control::Ack { your_msg_n: number + 1 }))),
        }
    };
    assert_eq!(raw.reply().await, Some(Reply::Control(Control::Ack { your_msg_n: refused + 1 })));
    node.release();
    let mut answered = Vec::new();
    loop {
        match raw.reply().await {
            Some(Reply::Executed { your_msg_n, .. }) => answered.push(your_msg_n),
            Some(Reply::Control(Control::Bye)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered.contains(&first));
    assert_eq!(raw.reply().await, None);
    soon(closing).await.unwrap();
}

/// Of a client that gives up, the first packet may be lost and the last one arrive: it opens a connection and closes it
/// in one, which quinn keeps until it has been idle for too long.
#[tokio::test]
async fn a_client_that_has_given_up_does_not_hold_up_closing() {
    let House { tls, backend, key, .. } = house(Behaviour::Execute);
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(quic(&tls), relay.local_addr().unwrap(), "localhost").unwrap();
    let mut packet = [0; 2048];
    let lost = soon(relay.recv(&mut packet)).await.unwrap();
    drop(connecting);
    let last = soon(relay.recv(&mut packet)).await.unwrap();
    assert!(lost >= 1200 && last >= 1200, "each could open a connection");
    relay.send_to(&packet[..last], backend.local_addr()).await.unwrap();
    // It came first, so by now it was let in.
    drop(Raw::open(&tls, &backend, &key).await);
    let closing = timeout(Duration::from_secs(15), backend.close());
    assert!(closing.await.is_ok(), "who has given up is waited for");
}
