//! Keys, pages, and the state that a read waits for.

use serde_json::json;
use synod_gateway::ReadRefused;
use synod_types::limits::{KV_KEY_BYTES_MAX, KV_RANGE_ENTRIES_MAX};

use crate::house::{House, ask};

#[tokio::test]
async fn any_bytes_are_a_key() {
    let mut house = House::open().await;
    let keys: &[(&[u8], &str)] = &[
        (b"plain", "plain"),
        (b"a/b/c", "a/b/c"),
        (b"a/b", "a%2Fb"),
        (b"/", "/"),
        (b"//x/", "//x/"),
        (b"100%", "100%25"),
        (b"a+b c", "a+b%20c"),
        (b"\xff\x00\xfe", "%FF%00%fe"),
        ("schlüssel".as_bytes(), "schl%C3%BCssel"),
        (b"?#&=", "%3F%23%26%3d"),
    ];
    for (n, (key, _)) in keys.iter().enumerate() {
        house.put(key, format!("value {n}").as_bytes());
    }
    for (n, (_, path)) in keys.iter().enumerate() {
        let answer = house.get(&format!("/v1/apps/1/kv/{path}")).await;
        assert_eq!((answer.status, answer.body), (200, format!("value {n}").into_bytes()), "{path}");
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        assert_eq!(answer.headers["last-change"], (n + 1).to_string());
        assert_eq!(answer.headers["state-ndx"], keys.len().to_string());
    }
    for path in ["%", "a%2", "%zz"] {
        let target = format!("/v1/apps/1/kv/{path}");
        let answer = house.get(&target).await;
        answer.assert_problem(400, "invalid-path", &target);
        assert_eq!(answer.state_ndx(), keys.len().to_string());
    }
    house.get("/v1/apps/1/kv/").await.assert_problem(404, "no-such-key", "/v1/apps/1/kv/");
}

#[tokio::test]
async fn the_longest_key_fits_with_every_byte_escaped() {
    let mut house = House::open().await;
    house.put(&[0xfe; KV_KEY_BYTES_MAX], b"long");
    let escaped = "%FE".repeat(KV_KEY_BYTES_MAX);
    assert_eq!(house.get(&format!("/v1/apps/1/kv/{escaped}")).await.body, b"long");
    let page = house.get(&format!("/v1/apps/1/kv?prefix={escaped}&after={escaped}")).await;
    assert_eq!((page.status, page.json()["entries"].clone()), (200, json!([])));
    assert_eq!(house.get(&format!("/v1/apps/1/kv/{escaped}%FE")).await.status, 404);
}

#[tokio::test]
async fn pages_follow_one_another() {
    let mut house = House::open().await;
    house.put(b"a", b"other");
    house.put(b"k/\xff", b"\x80\x81");
    house.put(b"k/1", "ä".as_bytes());
    house.put(b"k/2", b"");
    house.put(b"l", b"other");
    house.put(b"k/1", b"again");

    let first = house.get("/v1/apps/1/kv?prefix=k/&limit=2").await;
    assert_eq!((first.status, first.state_ndx()), (200, "6"));
    let next = "/v1/apps/1/kv?prefix=k%2F&after=k%2F2&limit=2&min=6";
    let expected = json!({
        "appNdx": 1, "stateNdx": 6, "more": true, "next": next,
        "entries": [
            {"key": "k/1", "value": "again", "created": 3, "changed": 6},
            {"key": "k/2", "value": "", "created": 4, "changed": 4},
        ],
    });
    assert_eq!(first.json(), expected);
    let second = house.get(next).await.json();
    assert_eq!((&second["more"], &second["next"]), (&false.into(), &().into()));
    let bytes = json!([{"keyBase64": "ay//", "valueBase64": "gIE=", "created": 2, "changed": 2}]);
    assert_eq!(second["entries"], bytes);

    let all = house.get("/v1/apps/config/kv").await.json();
    assert_eq!(all["entries"].as_array().unwrap().len(), 5);
    let none = house.get("/v1/apps/1/kv?prefix=nope").await.json();
    assert_eq!((&none["entries"], &none["more"]), (&json!([]), &false.into()));
}

#[tokio::test]
async fn a_page_that_is_not_utf8_leads_on() {
    let mut house = House::open().await;
    for key in [b"\xf0", b"\xf1", b"\xf2"] {
        house.put(key, b"");
    }
    let mut target = "/v1/apps/1/kv?limit=1".to_owned();
    let mut keys = Vec::new();
    while keys.len() < 3 {
        let page = house.get(&target).await.json();
        keys.push(page["entries"][0]["keyBase64"].as_str().unwrap().to_owned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut target),
            None => break,
        }
    }
    assert_eq!(keys, ["8A==", "8Q==", "8g=="]);
}

#[tokio::test]
async fn the_limit_of_a_page_is_exact() {
    let mut house = House::open().await;
    for n in 0..=KV_RANGE_ENTRIES_MAX {
        house.put(format!("{n:05}").as_bytes(), b"");
    }
    let entries = |json: serde_json::Value| json["entries"].as_array().map(Vec::len);
    assert_eq!(entries(house.get("/v1/apps/1/kv").await.json()), Some(100), "unless it is asked for more");
    for limit in [KV_RANGE_ENTRIES_MAX - 1, KV_RANGE_ENTRIES_MAX] {
        let page = house.get(&format!("/v1/apps/1/kv?limit={limit}")).await.json();
        assert_eq!((&page["more"], entries(page.clone())), (&true.into(), Some(limit)));
    }
    for limit in [0, KV_RANGE_ENTRIES_MAX + 1] {
        let answer = house.get(&format!("/v1/apps/1/kv?limit={limit}")).await;
        answer.assert_problem(400, "invalid-parameters", "/v1/apps/1/kv");
    }
}

#[tokio::test]
async fn a_read_waits_for_its_minimum() {
    let mut house = House::open().await;
    let addr = house.addr();
    let waiting = [
        "/v1/apps/1/kv/a?min=2&wait=30",
        "/v1/apps/1/kv?min=2",
        "/v1/apps/1?min=2",
        "/v1/apps/1/commanders?min=2",
    ]
    .map(|target| tokio::spawn(async move { ask(addr, "GET", target).await }));
    house.put(b"a", b"1");
    house.put(b"a", b"2");
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.state_ndx()), (200, "2"));
    }
}

#[tokio::test]
async fn a_wait_ends_in_time_and_says_how_far_it_came() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    for (target, instance) in [
        ("/v1/apps/1/kv/a?min=2&wait=0", "/v1/apps/1/kv/a"),
        ("/v1/apps/1?min=2&wait=0.01", "/v1/apps/1"),
        ("/v1/apps/1/kv/a?consistency=linearizable&wait=0.01", "/v1/apps/1/kv/a"),
    ] {
        let answer = house.get(target).await;
        answer.assert_problem(504, "timeout", instance);
        assert_eq!(answer.state_ndx(), "1");
    }
    assert_eq!(house.get("/v1/apps/1/kv/a?min=1&wait=0").await.status, 200);
}

#[tokio::test]
async fn a_linearizable_read_answers_from_what_the_leader_confirmed() {
    let mut house = House::open().await;
    let addr = house.addr();
    let target = "/v1/apps/1/kv/a?consistency=linearizable&wait=30";
    let read = tokio::spawn(async move { ask(addr, "GET", target).await });
    let question = house.questions.next().await.unwrap();
    assert_eq!(house.get("/v1/apps/1/kv/a?consistency=local").await.status, 404);
    let index = house.slot().next().next();
    question.grant(index);
    house.put(b"a", b"1");
    assert!(!read.is_finished(), "slot 1 is not slot 2");
    house.noop();
    let answer = read.await.unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.state_ndx()), (200, &b"1"[..], "1"));
    assert_eq!(house.state_ndx().to_string(), answer.state_ndx());
}

#[tokio::test]
async fn a_linearizable_read_that_nobody_confirms_is_refused() {
    let mut house = House::open().await;
    for (why, slug) in [
        (ReadRefused::NoLeader, "no-leader"),
        (ReadRefused::Busy, "busy"),
        (ReadRefused::Stopping, "stopping"),
    ] {
        let read = ask(house.addr(), "GET", "/v1/apps/1/kv?consistency=linearizable&wait=0.1");
        tokio::pin!(read);
        // A reader asks again after some refusals; all of them are alike here.
        let answer = loop {
            tokio::select! {
                answer = &mut read => break answer,
                question = house.questions.next() => question.unwrap().refuse(why),
            }
        };
        answer.assert_problem(503, slug, "/v1/apps/1/kv");
        assert_eq!((answer.state_ndx(), answer.header("retry-after")), ("0", "1"));
    }
}
