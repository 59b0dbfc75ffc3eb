//! Forms of an answer: by `Accept`, compressed, and not at all where the client has it.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::house::{Answer, House, ask_with};
use crate::zones_house::ZonesHouse;

impl House {
    async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        ask_with(self.addr(), "GET", target, headers).await
    }
}

const KEY: &str = "/v1/apps/1/kv/a";

#[tokio::test]
async fn a_value_is_bytes_or_all_that_is_known_of_it() {
    let mut house = House::open().await;
    house.put(b"a", b"\xff\x00");
    house.put(b"a", b"text");
    house.put(b"b", b"\xff");
    for (accept, form) in [
        ("*/*", "application/octet-stream"),
        ("text/html, */*;q=0.1", "application/octet-stream"),
        ("application/octet-stream", "application/octet-stream"),
        ("application/json", "application/json"),
        ("application/*;q=0.5, application/json", "application/json"),
        ("application/octet-stream;q=0.1, application/json;q=0.2", "application/json"),
    ] {
        let answer = house.get_with(KEY, &[("Accept", accept)]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, form), "{accept}");
        assert_eq!((answer.state_ndx(), answer.header("last-change")), ("3", "2"));
        assert_eq!(answer.header("vary"), "accept");
    }
    let json = house.get_with(KEY, &[("Accept", "application/json")]).await.json();
    assert_eq!(json, json!({"key": "a", "value": "text", "created": 1, "changed": 2}));
    let json = house.get_with("/v1/apps/1/kv/b", &[("Accept", "application/json")]).await.json();
    assert_eq!(json, json!({"key": "b", "valueBase64": "/w==", "created": 3, "changed": 3}));
    let refused = house.get_with(KEY, &[("Accept", "image/png, application/json;q=0")]).await;
    refused.assert_problem(406, "not-acceptable", KEY);
    assert_eq!(refused.state_ndx(), "3");
}

#[tokio::test]
async fn a_client_that_has_the_value_gets_none() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    let raw = house.get(KEY).await;
    let json = house.get_with(KEY, &[("Accept", "application/json")]).await;
    let (raw_tag, json_tag) = (raw.header("etag").to_owned(), json.header("etag").to_owned());
    assert_ne!(raw_tag, json_tag, "other bytes have another tag");
    house.put(b"b", b"elsewhere");

    for method in ["GET", "HEAD"] {
        for known in [&*raw_tag, "*", &format!("W/{raw_tag}"), &format!("\"x\", {raw_tag}")] {
            let answer = ask_with(house.addr(), method, KEY, &[("If-None-Match", known)]).await;
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
            assert_eq!((answer.state_ndx(), answer.header("last-change")), ("2", "1"));
            assert_eq!((answer.header("etag"), answer.header("vary")), (&*raw_tag, "accept"));
            assert!(!answer.headers.contains_key("content-length"), "{answer:?}");
            assert!(!answer.headers.contains_key("content-type"), "{answer:?}");
        }
    }
    let other_form = [("If-None-Match", &*raw_tag), ("Accept", "application/json")];
    assert_eq!(house.get_with(KEY, &other_form).await.status, 200);
    house.put(b"a", b"1");
    let answer = house.get_with(KEY, &[("If-None-Match", &raw_tag)]).await;
    assert_eq!((answer.status, &answer.body[..], answer.header("last-change")), (200, &b"1"[..], "3"));
    let gone = house.get_with("/v1/apps/1/kv/none", &[("If-None-Match", "*")]).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn a_page_is_known_until_the_application_changes() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    let tag = house.get("/v1/apps/1/kv").await.header("etag").to_owned();
    let known = house.get_with("/v1/apps/1/kv", &[("If-None-Match", &tag)]).await;
    assert_eq!((known.status, known.state_ndx()), (304, "1"));
    house.put(b"b", b"2");
    let answer = house.get_with("/v1/apps/1/kv", &[("If-None-Match", &tag)]).await;
    assert_eq!((answer.status, answer.json()["entries"].as_array().unwrap().len()), (200, 2));
}

#[tokio::test]
async fn a_zone_and_its_file_are_known_by_tags_of_their_own() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "");
    let get = |headers: &'static [(&'static str, &'static str)]| {
        ask_with(house.addr(), "GET", "/v1/zones/a.example", headers)
    };
    let (json, file) = (get(&[]).await, get(&[("Accept", "text/dns")]).await);
    assert!(json.header("etag").starts_with("W/\""), "its stateNdx goes on");
    assert!(file.header("etag").starts_with('"'));
    for (tag, accept) in [(json.header("etag"), "application/json"), (file.header("etag"), "text/dns")] {
        for (of, expected) in [("application/json", 304), ("text/dns", 304)] {
            let headers = [("If-None-Match", tag), ("Accept", of)];
            let answer = ask_with(house.addr(), "GET", "/v1/zones/a.example", &headers).await;
            let expected = if of == accept { expected } else { 200 };
            assert_eq!(answer.status, expected, "{of} with the tag of {accept}");
        }
    }
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

#[tokio::test]
async fn long_text_is_compressed_for_those_who_take_it() {
    let mut house = House::open().await;
    house.put(b"a", &[b'x'; 10_000]);
    let target = "/v1/apps/1/kv?limit=1";
    let plain = house.get(target).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_eq!(plain.header("vary"), "accept-encoding", "a cache has to know");
    let answer = house.get_with(target, &[("Accept-Encoding", "br, gzip;q=0.5")]).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"));
    assert_eq!((answer.header("vary"), answer.state_ndx()), ("accept-encoding", "1"));
    // The bytes are others, so the tag is weak; and it is still known.
    assert_eq!(answer.header("etag"), format!("W/{}", plain.header("etag")));
    let again = [("Accept-Encoding", "gzip"), ("If-None-Match", answer.header("etag"))];
    assert_eq!(house.get_with(target, &again).await.status, 304);
    let body = answer.unchunked();
    assert!(body.len() < 1000, "{}", body.len());
    assert_eq!(unzipped(&body), plain.body);
    let head = ask_with(house.addr(), "HEAD", target, &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((head.status, head.header("content-encoding"), head.body.len()), (200, "gzip", 0));

    // Not bytes of which nothing is known, nor what is short, nor for whoever does not want it.
    let headers = [("Accept-Encoding", "gzip")];
    for target in [KEY, "/v1/apps", "/livez"] {
        let answer = house.get_with(target, &headers).await;
        assert!(!answer.headers.contains_key("content-encoding"), "{target}");
    }
    for accepted in ["identity", "gzip;q=0", "br"] {
        let answer = house.get_with(target, &[("Accept-Encoding", accepted)]).await;
        assert!(!answer.headers.contains_key("content-encoding"), "{accepted}");
    }
    let page = house.get_with("/docs", &headers).await;
    assert!(unzipped(&page.unchunked()).ends_with(b"</html>\n"));
}
