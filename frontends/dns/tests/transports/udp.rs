//! Answers over UDP.

use std::num::NonZero;
use std::time::Duration;

use synod_dns::Transport;
use synod_zone::Rtype;
use tokio::net::UdpSocket;

use crate::house::{House, PATIENCE, query, zone_with_big_answers};

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    buffer.truncate(received.expect("an answer comes").unwrap());
    buffer
}

#[tokio::test]
async fn the_engines_bytes_are_sent() {
    let house = House::open().await;
    house.world.set(zone_with_big_answers(4000));
    let socket = house.udp().await;
    for (id, (name, qtype)) in (1..).zip([
        ("www.example.", Rtype::A),
        ("WWW.eXample.", Rtype::AAAA),
        ("alias.example.", Rtype::A),
        ("nowhere.example.", Rtype::A),
        ("big.example.", Rtype::TXT),
        ("elsewhere.", Rtype::A),
    ]) {
        let query = query(id, name, qtype);
        socket.send(&query).await.unwrap();
        assert_eq!(receive(&socket).await, house.says(Transport::Udp, &query), "{name}");
    }
    let counts = house.server.counts();
    assert_eq!((counts.udp.queries, counts.udp.truncated, counts.udp.malformed), (6, 1, 0));
    assert_eq!((counts.udp.replies[0], counts.udp.replies[3], counts.udp.replies[5]), (4, 1, 1));
    assert_eq!(counts.tcp.queries, 0);
}

#[tokio::test]
async fn what_is_no_query_gets_no_answer_and_does_no_harm() {
    let house = House::open().await;
    let socket = house.udp().await;
    let good = query(1, "www.example.", Rtype::A);
    let mut response = good.clone();
    response[2] |= 0x80;
    let too_long = [&good[..], &[0; 8000]].concat();
    for bad in [&b""[..], b"x", &good[..11], &response, &too_long] {
        socket.send(bad).await.unwrap();
    }
    socket.send(&good).await.unwrap();
    // The answer to the last one is the first that comes.
    assert_eq!(receive(&socket).await, house.says(Transport::Udp, &good));
    let counts = house.server.counts();
    assert_eq!((counts.udp.queries, counts.udp.malformed), (6, 5));
}

#[tokio::test]
async fn garbage_is_answered_with_formerr_at_most() {
    let house = House::open().await;
    let socket = house.udp().await;
    let good = query(1, "www.example.", Rtype::A);
    for end in 12..good.len() {
        let cut = &good[..end];
        socket.send(cut).await.unwrap();
        let answer = receive(&socket).await;
        assert_eq!((&answer[..2], answer[3] & 0x0f), (&good[..2], 1), "{end} bytes");
    }
    // A name that points at itself.
    let mut loops = good[..12].to_vec();
    loops.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    socket.send(&loops).await.unwrap();
    assert_eq!(receive(&socket).await[3] & 0x0f, 1);
}

#[tokio::test]
async fn threads_share_the_clients() {
    let house = House::with(|config| config.udp_threads = NonZero::new(3).unwrap()).await;
    for id in 0..40 {
        let socket = house.udp().await;
        let query = query(id, "www.example.", Rtype::A);
        socket.send(&query).await.unwrap();
        assert_eq!(receive(&socket).await, house.says(Transport::Udp, &query));
    }
    assert_eq!(house.server.counts().udp.queries, 40);
    let begin = std::time::Instant::now();
    house.server.close().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "nothing was there to wait for");
}

#[tokio::test]
async fn both_families_can_be_served_with_one_port_each() {
    let house = House::with(|config| config.listen.push("[::1]:0".parse().unwrap())).await;
    let query = query(5, "www.example.", Rtype::A);
    for addr in &house.server.local_addrs().plain {
        let socket = UdpSocket::bind((addr.ip(), 0)).await.unwrap();
        socket.connect(addr).await.unwrap();
        socket.send(&query).await.unwrap();
        assert_eq!(receive(&socket).await, house.says(Transport::Udp, &query), "{addr}");
    }
}
