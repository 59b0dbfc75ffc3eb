//! Cookies, and what a flood of questions brings upon the address that it claims to come from.

use std::num::NonZero;
use std::time::Instant;

use synod_dns::RateLimitConfig;
use synod_zone::Rtype;
use tokio::net::UdpSocket;

use crate::house::{House, PATIENCE, query};

const COOKIE: u16 = 10;

/// The query with a COOKIE option.
fn with_cookie(mut query: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    query[11] = 1;
    let len = u16::try_from(cookie.len()).unwrap();
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
    for number in [len + 4, COOKIE, len] {
        query.extend_from_slice(&number.to_be_bytes());
    }
    query.extend_from_slice(cookie);
    query
}

/// The cookie in an answer, whose last record it ends.
fn cookie_of(answer: &[u8]) -> Option<&[u8]> {
    let at = answer.len().checked_sub(28)?;
    (answer[at..at + 4] == [0, 10, 0, 24]).then_some(&answer[at + 4..])
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    buffer.truncate(received.expect("an answer comes").unwrap());
    buffer
}

async fn limited(per_second: u32, exempt: &[&str]) -> House {
    let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
    let per_second = NonZero::new(per_second).unwrap();
    House::with(|config| config.rate_limit = Some(RateLimitConfig { per_second, exempt })).await
}

#[tokio::test]
async fn who_has_a_cookie_gets_it_back_over_datagrams_and_streams() {
    let house = House::open().await;
    let socket = house.udp().await;
    let www = |id| query(id, "www.example.", Rtype::A);
    socket.send(&with_cookie(www(1), b"a client")).await.unwrap();
    let answer = receive(&socket).await;
    let cookie = cookie_of(&answer).unwrap().to_vec();
    assert_eq!((&cookie[..8], answer[3] & 0xf), (&b"a client"[..], 0));
    // A cookie without a question.
    let mut none = www(2)[..12].to_vec();
    none[5] = 0;
    socket.send(&with_cookie(none.clone(), &cookie)).await.unwrap();
    let answer = receive(&socket).await;
    assert_eq!((cookie_of(&answer).map(|cookie| &cookie[..8]), answer[3] & 0xf), (Some(&b"a client"[..]), 0));
    // No question and no cookie; what is no cookie.
    for (bad, cookie) in [(none, &[][..]), (www(3), &[1; 7]), (www(4), &[1; 9]), (www(5), &[1; 41])] {
        socket.send(&with_cookie(bad, cookie)).await.unwrap();
        assert_eq!(receive(&socket).await[3] & 0xf, 1, "FORMERR");
    }
}

#[tokio::test]
async fn a_flood_is_answered_so_often_and_the_rest_with_nothing_to_gain() {
    const FLOOD: u16 = 200;
    let house = limited(20, &["127.0.0.9/32"]).await;
    let socket = house.udp().await;
    socket.send(&with_cookie(query(1, "www.example.", Rtype::A), b"a client")).await.unwrap();
    let cookie = cookie_of(&receive(&socket).await).unwrap().to_vec();

    let begun = Instant::now();
    for id in 0..FLOOD {
        let plain = query(id, "www.example.", Rtype::A);
        // In pairs: of those beyond the limit, every other one is answered.
        let flood = if id / 2 % 2 == 0 { plain } else { with_cookie(plain, b"a client") };
        socket.send(&flood).await.unwrap();
        if id % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    // Who is known is answered all the same, and behind everything that came before.
    let last = with_cookie(query(FLOOD, "www.example.", Rtype::A), &cookie);
    socket.send(&last).await.unwrap();
    let (mut whole, mut truncated, mut bad_cookie) = (0_u32, 0_u32, 0_u32);
    loop {
        let answer = receive(&socket).await;
        let (is_truncated, answers) = (answer[2] & 2 != 0, answer[7]);
        if answer[..2] == FLOOD.to_be_bytes() {
            assert_eq!((is_truncated, answers), (false, 1), "the one with a cookie");
            break;
        }
        match (is_truncated, answers) {
            (true, 0) => {
                truncated += 1;
                assert!(answer.len() <= query(1, "www.example.", Rtype::A).len(), "no longer than the query");
            }
            (false, 0) => {
                bad_cookie += 1;
                let opt = answer.len() - 28 - 11;
                assert_eq!((answer[3] & 0xf, answer[opt + 5]), (7, 1), "BADCOOKIE is 23");
            }
            _ => whole += 1,
        }
    }
    let most = 20.0 * (1.0 + begun.elapsed().as_secs_f64());
    assert!(f64::from(whole) <= most, "{whole} answers, at most {most}");
    let counts = house.server.counts();
    let short = truncated + bad_cookie;
    assert!(truncated > 0 && bad_cookie > 0);
    assert!(counts.udp.limited >= u64::from(FLOOD) - u64::from(whole));
    assert!(u64::from(short) <= counts.udp.limited / 2 + 1, "every other one is met with silence");
}

#[tokio::test]
async fn what_is_exempt_is_answered_as_often_as_it_asks() {
    let house = limited(1, &["127.0.0.0/8"]).await;
    let socket = house.udp().await;
    for id in 0..50 {
        socket.send(&query(id, "www.example.", Rtype::A)).await.unwrap();
        assert_eq!(receive(&socket).await[7], 1);
    }
    assert_eq!(house.server.counts().udp.limited, 0);
}
