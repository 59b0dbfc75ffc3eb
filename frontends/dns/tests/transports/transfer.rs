//! Zones as a whole.

use std::time::Duration;

use synod_dns::{DnsConfig, Transport};
use synod_zone::{Name, Record, Rtype, Zone};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::house::{House, framed, next_message, query, rcode, zone};

fn allow_loopback(config: &mut DnsConfig) {
    config.transfer_to = vec!["192.0.2.0/24".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
}

/// A zone of so many hosts, with names to compress in every place where there may be some, and with a record that fits
/// no message of the usual length.
fn big_zone(hosts: usize, serial: u32) -> Zone {
    let mut text = format!(
        "$ORIGIN example.\n$TTL 300\n@ IN SOA Ns hostmaster {serial} 3600 600 86400 60\n@ IN NS Ns\nNs IN A 192.0.2.1\n"
    );
    for host in 0..hosts {
        text.push_str(&format!("h{host}.Net{} IN A 10.0.{}.{}\n", host % 7, host / 256 % 256, host % 256));
        match host % 4 {
            0 => text.push_str(&format!("h{host}.net{} 60 IN MX 10 Mail.Net{}\n", host % 7, host % 5)),
            1 => text.push_str(&format!("c{host} IN CNAME h{host}.net{}\n", host % 7)),
            2 => text.push_str(&format!("_s._tcp.h{host} IN SRV 0 0 {} h{host}\n", host % 65_536)),
            _ => text.push_str(&format!("t{host} IN TXT \"{}\"\n", "t".repeat(host % 200))),
        }
    }
    let strings: String = (0..120).map(|number| format!(" {number}{}", "l".repeat(250))).collect();
    text.push_str(&format!("long IN TXT{strings}\n"));
    zone(&text)
}

/// Asks for a zone, and reads messages until the SOA has come twice.
async fn transfer(stream: &mut TcpStream, query: &[u8]) -> (Vec<Vec<u8>>, Vec<Record>) {
    stream.write_all(&framed(query)).await.unwrap();
    let (mut messages, mut records) = (Vec::new(), Vec::new());
    while records.iter().filter(|record: &&Record| record.rtype == Rtype::SOA).count() < 2 {
        let message = next_message(stream).await;
        records.extend(answers(&message));
        messages.push(message);
    }
    (messages, records)
}

/// The records of the answer section, spelled out.
fn answers(message: &[u8]) -> Vec<Record> {
    let count = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..count(4) {
        at = name(message, at).1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..count(6) {
        let (owner, fixed) = name(message, at);
        let field = |at: usize| u16::from_be_bytes([message[fixed + at], message[fixed + at + 1]]);
        let (rtype, class, data) = (Rtype(field(0)), field(2), fixed + 10);
        let ttl = u32::from(field(4)) << 16 | u32::from(field(6));
        at = data + usize::from(field(8));
        assert_eq!(class, 1);
        records.push(Record { owner, ttl, rtype, rdata: spelled_out(message, rtype, data, at).into() });
    }
    records
}

/// Data in which names may be compressed (RFC 3597 section 4).
fn spelled_out(message: &[u8], rtype: Rtype, from: usize, to: usize) -> Vec<u8> {
    let (prefix, names) = match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR => (0, 1),
        Rtype::SOA => (0, 2),
        Rtype::MX => (2, 1),
        _ => return message[from..to].to_vec(),
    };
    let mut data = message[from..from + prefix].to_vec();
    let mut at = from + prefix;
    for _ in 0..names {
        let (name, end) = name(message, at);
        data.extend_from_slice(name.as_wire());
        at = end;
    }
    data.extend_from_slice(&message[at..to]);
    data
}

/// The name at a place of the message, and where it ends there.
fn name(message: &[u8], mut at: usize) -> (Name, usize) {
    let (mut wire, mut end) = (Vec::new(), None);
    loop {
        let length = usize::from(message[at]);
        if length >= 0xc0 {
            end.get_or_insert(at + 2);
            at = (length & 0x3f) << 8 | usize::from(message[at + 1]);
            continue;
        }
        wire.extend_from_slice(&message[at..=at + length]);
        at += 1 + length;
        if length == 0 {
            return (Name::from_wire(&wire).unwrap(), end.unwrap_or(at));
        }
    }
}

/// What a transfer consists of: everything, its case kept, and the SOA again.
fn whole(zone: &Zone) -> Vec<(Vec<u8>, Record)> {
    let mut records: Vec<Record> = zone.records().collect();
    records.push(records[0].clone());
    exactly(records)
}

/// With the owner's bytes: names are equal whatever their case.
fn exactly(records: Vec<Record>) -> Vec<(Vec<u8>, Record)> {
    records.into_iter().map(|record| (record.owner.as_wire().to_vec(), record)).collect()
}

#[tokio::test]
async fn a_transferred_zone_is_the_zone() {
    let house = House::with(allow_loopback).await;
    house.world.set(big_zone(20_000, 7));
    let zone = house.world.zone();
    for qtype in [Rtype::AXFR, Rtype::IXFR] {
        let mut query = query(0x1234, "EXAMPLE.", qtype);
        query[2] |= 0x01;
        if qtype == Rtype::IXFR {
            // The SOA that the client has, with serial 3.
            query[9] = 1;
            query.extend_from_slice(&[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0, 0, 0, 0, 3]);
            query.extend_from_slice(&[0; 16]);
        }
        // EDNS, too.
        query[11] = 1;
        query.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        let mut stream = house.connect().await;
        let (messages, records) = transfer(&mut stream, &query).await;
        assert!(exactly(records) == whole(&zone), "the records are the zone's, in its order");
        assert!(messages.len() > 20, "{} messages", messages.len());
        for (nth, message) in messages.iter().enumerate() {
            // ID; QR, AA and RD, no TC; NOERROR.
            assert_eq!(message[..4], [0x12, 0x34, 0x85, 0x00]);
            let (questions, additional) = if nth == 0 { (1, 1) } else { (0, 0) };
            assert_eq!(message[4..6], [0, questions]);
            assert_eq!(message[8..12], [0, 0, 0, additional]);
            let is_long = message.len() > 16 << 10;
            assert!(
                !is_long || answers(message).len() == 1,
                "one record may be longer than a message should be"
            );
        }
        // The question as it came.
        assert_eq!(messages[0][12..25], query[12..25]);

        // The connection goes on.
        let next = crate::house::query(2, "ns.example.", Rtype::A);
        stream.write_all(&framed(&next)).await.unwrap();
        assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &next));
    }
    let counts = house.server.counts();
    assert_eq!((counts.tcp.transfers, counts.tcp.transfers_refused), (2, 0));
}

#[tokio::test]
async fn names_are_compressed() {
    let house = House::with(allow_loopback).await;
    house.world.set(big_zone(1000, 7));
    let zone = house.world.zone();
    let mut stream = house.connect().await;
    let (messages, _) = transfer(&mut stream, &query(1, "example.", Rtype::AXFR)).await;
    let sent: usize = messages.iter().map(Vec::len).sum();
    let spelled_out: usize =
        zone.records().map(|record| record.owner.as_wire().len() + 10 + record.rdata.len()).sum();
    assert!(sent < spelled_out * 9 / 10, "{sent} bytes, {spelled_out} without compression");
}

#[tokio::test]
async fn who_is_not_allowed_is_refused() {
    let house = House::with(|config| config.transfer_to = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let default = House::open().await;
    for house in [house, default] {
        let mut stream = house.connect().await;
        let axfr = query(7, "example.", Rtype::AXFR);
        stream.write_all(&framed(&axfr)).await.unwrap();
        let answer = next_message(&mut stream).await;
        assert_eq!((rcode(&answer), &answer[..2], &answer[6..12]), (5, &axfr[..2], &[0; 6][..]));
        assert_eq!(house.server.counts().tcp.transfers_refused, 1);
        // Anything else is answered.
        let soa = query(8, "example.", Rtype::SOA);
        stream.write_all(&framed(&soa)).await.unwrap();
        assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &soa));
    }
}

/// A connection through which little goes until it is read.
async fn narrow(house: &House) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(house.addr()).await.unwrap()
}

#[tokio::test]
async fn a_zone_that_changes_meanwhile_is_transferred_as_it_was() {
    let house = House::with(allow_loopback).await;
    house.world.set(big_zone(40_000, 7));
    let old = whole(&house.world.zone());
    let mut stream = narrow(&house).await;
    stream.write_all(&framed(&query(1, "example.", Rtype::AXFR))).await.unwrap();
    let mut records = answers(&next_message(&mut stream).await);
    house.world.set(big_zone(10, 8));
    assert_eq!(house.server.counts().tcp.transfers, 0, "most of it is still to come");
    while records.iter().filter(|record| record.rtype == Rtype::SOA).count() < 2 {
        records.extend(answers(&next_message(&mut stream).await));
    }
    assert!(exactly(records) == old);
    // Who asks now gets the new one.
    let (_, records) = transfer(&mut stream, &query(2, "example.", Rtype::AXFR)).await;
    assert!(exactly(records) == whole(&house.world.zone()));
}

#[tokio::test(start_paused = true)]
async fn transfers_wait_for_their_turn_but_not_forever() {
    let house = House::with(|config| {
        allow_loopback(config);
        config.streams.transfers = 1;
        config.streams.write_stall = Duration::from_secs(3600);
    })
    .await;
    house.world.set(big_zone(40_000, 7));
    let axfr = query(1, "example.", Rtype::AXFR);
    let mut first = narrow(&house).await;
    first.write_all(&framed(&axfr)).await.unwrap();
    next_message(&mut first).await;

    let mut second = house.connect().await;
    second.write_all(&framed(&axfr)).await.unwrap();
    assert_eq!(rcode(&next_message(&mut second).await), 2);
    // It gives up its turn with its connection.
    drop(first);
    let (_, records) = transfer(&mut second, &axfr).await;
    assert_eq!(records.len(), house.world.zone().record_count() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_loses_its_transfer() {
    let house = House::with(allow_loopback).await;
    house.world.set(big_zone(40_000, 7));
    let mut stream = narrow(&house).await;
    stream.write_all(&framed(&query(1, "example.", Rtype::AXFR))).await.unwrap();
    while house.server.counts().tcp.dropped == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(house.server.counts().tcp.transfers, 0);
}
