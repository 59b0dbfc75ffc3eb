//! Answers over TCP, and clients that behave badly.

use std::time::Duration;

use synod_dns::{StreamLimits, Transport};
use synod_zone::Rtype;
use tokio::io::AsyncWriteExt as _;

use crate::house::{House, framed, next_message, query, rcode, read_to_end, zone_with_big_answers};

#[tokio::test]
async fn the_engines_bytes_are_sent_whole() {
    let house = House::open().await;
    house.world.set(zone_with_big_answers(60_000));
    let mut stream = house.connect().await;
    for (id, (name, qtype)) in (1..).zip([
        ("www.example.", Rtype::A),
        ("big.example.", Rtype::TXT),
        ("nowhere.example.", Rtype::A),
        ("elsewhere.", Rtype::A),
    ]) {
        let query = query(id, name, qtype);
        stream.write_all(&framed(&query)).await.unwrap();
        let answer = next_message(&mut stream).await;
        assert_eq!(answer, house.says(Transport::Stream, &query), "{name}");
        assert!(name != "big.example." || answer.len() > 60_000);
    }
    assert_eq!(house.server.counts().tcp.truncated, 0);
}

#[tokio::test]
async fn queries_may_follow_each_other_without_waiting() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let queries: Vec<_> = (0..100).map(|id| query(id, "www.example.", Rtype::A)).collect();
    let all: Vec<u8> = queries.iter().flat_map(|query| framed(query)).collect();
    stream.write_all(&all).await.unwrap();
    for query in &queries {
        assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, query));
    }
    // Who sends no more still gets what is due.
    stream.write_all(&all).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer_bytes: usize =
        queries.iter().map(|query| 2 + house.says(Transport::Stream, query).len()).sum();
    assert_eq!(read_to_end(&mut stream).await.len(), answer_bytes);
}

#[tokio::test]
async fn a_query_may_come_byte_by_byte() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    stream.set_nodelay(true).unwrap();
    let query = query(77, "www.example.", Rtype::A);
    for byte in framed(&query) {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &query));
}

#[tokio::test]
async fn the_longest_message_is_read_and_refused() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    // A question with 64 KiB of nothing behind it is a question.
    let mut long = query(3, "www.example.", Rtype::A);
    long.resize(65_535, 0);
    stream.write_all(&framed(&long)).await.unwrap();
    assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &long));
    // 64 KiB of garbage in the shape of a query are not.
    let mut garbage: Vec<u8> = (0..65_535_u32).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    garbage[2..4].copy_from_slice(&[0, 0]);
    stream.write_all(&framed(&garbage)).await.unwrap();
    let answer = next_message(&mut stream).await;
    assert_eq!((rcode(&answer), &answer[..2]), (1, &garbage[..2]));
    // And the connection is still good.
    let query = query(4, "www.example.", Rtype::A);
    stream.write_all(&framed(&query)).await.unwrap();
    assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &query));
}

#[tokio::test]
async fn what_is_no_query_ends_the_connection() {
    let house = House::open().await;
    let good = query(1, "www.example.", Rtype::A);
    let mut response = good.clone();
    response[2] |= 0x80;
    for (nth, bad) in (1..).zip([&b""[..], b"x", &good[..11], &response]) {
        let mut stream = house.connect().await;
        let both = [framed(&good), framed(bad), framed(&good)].concat();
        stream.write_all(&both).await.unwrap();
        // What came before is answered.
        assert_eq!(next_message(&mut stream).await, house.says(Transport::Stream, &good));
        assert_eq!(read_to_end(&mut stream).await, b"");
        assert_eq!(house.server.counts().tcp.malformed, nth);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_and_part_of_a_query_do_not_stay() {
    let house = House::open().await;
    let query = framed(&query(1, "www.example.", Rtype::A));
    for part in [&query[..0], &query[..1], &query[..2], &query[..20]] {
        let begin = tokio::time::Instant::now();
        let mut stream = house.connect().await;
        stream.write_all(part).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, b"");
        let limit = StreamLimits::default().idle;
        assert!((limit..limit * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
    assert_eq!(house.server.counts().tcp.malformed, 0);
}

#[tokio::test(start_paused = true)]
async fn dripping_bytes_do_not_keep_a_connection() {
    let house = House::open().await;
    let (mut reading, mut writing) = house.connect().await.into_split();
    let begin = tokio::time::Instant::now();
    let dripping = tokio::spawn(async move {
        for byte in framed(&query(1, "www.example.", Rtype::A)) {
            tokio::time::sleep(Duration::from_secs(4)).await;
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    assert_eq!(read_to_end(&mut reading).await, b"");
    assert!(begin.elapsed() < StreamLimits::default().idle * 2);
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left_alone_and_then_cut() {
    let house = House::open().await;
    house.world.set(zone_with_big_answers(60_000));
    let (mut reading, mut writing) = house.connect().await.into_split();
    let query = framed(&query(1, "big.example.", Rtype::TXT));
    // Asks until the server reads no more, and then until it is cut off.
    let asked = tokio::spawn(async move {
        let mut queries = 0_u64;
        while writing.write_all(&query).await.is_ok() {
            queries += 1;
        }
        queries
    });
    let queries = asked.await.unwrap();
    let counts = house.server.counts();
    assert_eq!(counts.tcp.dropped, 1);
    // It did not answer what it could not send: the answers are a thousand times as long as the queries.
    assert!(counts.tcp.queries < queries, "{} of {queries} were answered", counts.tcp.queries);
    let received = read_to_end(&mut reading).await;
    assert!(received.len() < usize::try_from(counts.tcp.queries).unwrap() * 70_000);
}

#[tokio::test]
async fn a_new_client_takes_the_place_of_who_has_been_idle_longest() {
    let house = House::with(|config| config.streams.connections = 3).await;
    let good = query(1, "www.example.", Rtype::A);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = house.connect().await;
        stream.write_all(&framed(&good)).await.unwrap();
        next_message(&mut stream).await;
        streams.push(stream);
    }
    // The first one is heard of again, so the second has been idle longest.
    streams[0].write_all(&framed(&good)).await.unwrap();
    next_message(&mut streams[0]).await;
    let mut fourth = house.connect().await;
    fourth.write_all(&framed(&good)).await.unwrap();
    assert_eq!(next_message(&mut fourth).await, house.says(Transport::Stream, &good));
    assert_eq!(read_to_end(&mut streams[1]).await, b"");
    for nth in [0, 2] {
        streams[nth].write_all(&framed(&good)).await.unwrap();
        assert_eq!(next_message(&mut streams[nth]).await, house.says(Transport::Stream, &good));
    }
    let counts = house.server.counts();
    assert_eq!((counts.tcp.connections, counts.tcp.connections_refused), (4, 1));
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let house = House::with(|config| config.streams.connections_per_client = 1).await;
    let good = query(1, "www.example.", Rtype::A);
    let mut first = house.connect().await;
    first.write_all(&framed(&good)).await.unwrap();
    next_message(&mut first).await;
    let mut second = house.connect().await;
    second.write_all(&framed(&good)).await.unwrap();
    assert_eq!(next_message(&mut second).await, house.says(Transport::Stream, &good));
    assert_eq!(read_to_end(&mut first).await, b"");
}
