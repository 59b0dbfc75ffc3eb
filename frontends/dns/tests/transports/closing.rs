//! Starting where others are, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;

use synod_dns::{DnsConfig, DnsError, DnsServer, Transport};
use synod_zone::Rtype;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::house::{House, PATIENCE, World, framed, next_message, query, read_to_end};

async fn start(house: &House, addr: SocketAddr) -> Result<DnsServer, DnsError> {
    DnsServer::start(DnsConfig::at(addr), Arc::<World>::clone(&house.world)).await
}

#[tokio::test]
async fn closing_frees_everything() {
    let house = House::open().await;
    let addr = house.addr();
    let mut idle = house.connect().await;
    let mut half = house.connect().await;
    let mut busy = house.connect().await;
    let query = query(1, "www.example.", Rtype::A);
    half.write_all(&framed(&query)[..10]).await.unwrap();
    busy.write_all(&framed(&query)).await.unwrap();
    let answer = house.says(Transport::Stream, &query);
    assert_eq!(next_message(&mut busy).await, answer);

    let world = Arc::downgrade(&house.world);
    tokio::time::timeout(PATIENCE, house.server.close()).await.expect("closing comes to an end");
    for stream in [&mut idle, &mut half, &mut busy] {
        assert_eq!(read_to_end(stream).await, b"");
    }
    drop(house.world);
    assert!(world.upgrade().is_none(), "no thread and no task answers any more");
    // Both sockets are gone, or these would fail.
    let _tcp = TcpListener::bind(addr).await.unwrap();
    let _udp = UdpSocket::bind(addr).await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_stops_too() {
    let house = House::open().await;
    let addr = house.addr();
    let mut idle = house.connect().await;
    let query = query(1, "www.example.", Rtype::A);
    idle.write_all(&framed(&query)).await.unwrap();
    next_message(&mut idle).await;
    drop(house.server);
    assert_eq!(read_to_end(&mut idle).await, b"");
    let freed = async {
        while UdpSocket::bind(addr).await.is_err() || TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the port is free again");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let house = House::open().await;
    let taken = house.addr();
    let error = start(&house, taken).await.err().unwrap();
    assert!(matches!(error, DnsError::PortInUse { carrier: "TCP", addr } if addr == taken), "{error}");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");

    // A port that is free for UDP may be another connection's for TCP: then another one is tried.
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let taken = udp.local_addr().unwrap();
        let error = start(&house, taken).await.err().unwrap();
        if matches!(error, DnsError::PortInUse { carrier: "TCP", .. }) {
            continue;
        }
        assert!(matches!(error, DnsError::PortInUse { carrier: "UDP", addr } if addr == taken), "{error}");
        return;
    }
    panic!("no port is free for TCP");
}

#[tokio::test]
async fn an_address_of_another_host_is_named() {
    let house = House::open().await;
    let elsewhere = "192.0.2.1:5353".parse().unwrap();
    let error = start(&house, elsewhere).await.err().unwrap();
    assert!(matches!(error, DnsError::Listen { addr, .. } if addr == elsewhere), "{error}");
}
