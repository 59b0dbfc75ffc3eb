//! The token of what a client has seen: no node shows it anything from before.

use crate::house::{House, ask_with};

const VECTOR: &str = "state-vector";

#[tokio::test]
async fn who_has_seen_a_state_elsewhere_waits_for_it_here() {
    let mut house = House::open().await;
    house.put(b"key", b"1");
    let addr = house.addr();
    // The application that is read is not the one of which the client has seen more.
    let reader =
        tokio::spawn(
            async move { ask_with(addr, "GET", "/v1/apps/2?wait=30", &[(VECTOR, "1=2, 2=0")]).await },
        );
    house.put(b"key", b"2");
    let answer = reader.await.unwrap();
    assert_eq!((answer.status, answer.header(VECTOR)), (200, "1=2, 2=0"));

    let answer = ask_with(addr, "GET", "/v1/apps/1/kv/key", &[(VECTOR, "1=1")]).await;
    assert_eq!((answer.body.as_slice(), answer.header(VECTOR)), (&b"2"[..], "1=2, 2=0"));
}

#[tokio::test]
async fn what_was_seen_elsewhere_stays_in_the_token_where_it_is_not_awaited() {
    let mut house = House::open().await;
    house.put(b"key", b"1");
    let answer = ask_with(house.addr(), "GET", "/v1/apps/1/kv/key?wait=0", &[(VECTOR, "1=1, 2=7")]).await;
    answer.assert_problem(504, "timeout", "/v1/apps/1/kv/key");
    assert_eq!(answer.header(VECTOR), "1=1, 2=7");
}

#[tokio::test]
async fn who_sends_no_token_gets_none_and_an_empty_one_begins() {
    let house = House::open().await;
    assert!(!house.get("/v1/apps/1").await.headers.contains_key(VECTOR));
    let answer = ask_with(house.addr(), "GET", "/v1/apps", &[(VECTOR, "")]).await;
    assert_eq!((answer.status, answer.header(VECTOR)), (200, "1=0, 2=0"));
    let answer = ask_with(house.addr(), "GET", "/v1/nothing", &[(VECTOR, "1=0")]).await;
    assert_eq!((answer.status, answer.header(VECTOR)), (404, "1=0, 2=0"));
}

#[tokio::test]
async fn a_token_that_is_none_is_a_mistake() {
    let house = House::open().await;
    for (text, slug, status) in [("1:7", "invalid-header", 400), ("9=1", "unknown-app", 404)] {
        let answer = ask_with(house.addr(), "GET", "/v1/apps/1", &[(VECTOR, text)]).await;
        answer.assert_problem(status, slug, "/v1/apps/1");
    }
}
