//! The front end as its clients see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod certificates;
mod changes;
mod connections;
mod diffs;
mod exchanges;
mod forms;
mod house;
mod interface;
mod kv;
mod log;
mod reads;
mod snapshots;
mod vectors;
mod watching;
mod zones;
mod zones_house;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use house::{House, NODE, ask, commander, leader};
use synod_machine::authority::{AuthorityOp, Grant, Role};
use synod_types::limits::CHANGE_PENDING_MS_MAX;
use synod_types::{Digest, TimeMs};

#[tokio::test]
async fn applications_are_listed_and_found_by_number_and_name() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    house.publisher.set_leader(Some(leader()));

    let list = house.get("/v1/apps").await;
    assert_eq!((list.status, list.state_ndx()), (200, "1=1, 2=0"));
    let json = list.json();
    assert_eq!(json["apps"].as_array().unwrap().len(), 2);
    assert_eq!((&json["apps"][1]["kind"], &json["apps"][1]["leader"]), (&"blank".into(), &().into()));

    let by_number = house.get("/v1/apps/1").await;
    assert_eq!((by_number.status, by_number.state_ndx()), (200, "1"));
    assert_eq!(by_number.json(), json["apps"][0]);
    assert_eq!(house.get("/v1/apps/config").await.json(), json["apps"][0]);
    assert_eq!(house.get("/v1/apps/c%6Fnfig").await.json(), json["apps"][0]);
    let app = by_number.json();
    assert_eq!((&app["appNdx"], &app["name"], &app["stateNdx"]), (&1.into(), &"config".into(), &1.into()));
    assert_eq!(app["leader"]["id"], NODE.to_string());
    assert_eq!(app["chain"], house.gateway.find("1").unwrap().view().chain.to_string());
}

#[tokio::test]
async fn commanders_are_listed() {
    let house = House::open().await;
    let answer = house.get("/v1/apps/config/commanders").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "0"));
    let json = answer.json();
    let ada = &json["commanders"][0];
    assert_eq!((&ada["id"], &ada["name"]), (&commander().to_string().into(), &"ada".into()));
    assert_eq!((&ada["role"], &ada["since"]), (&"administrator".into(), &0.into()));
    for absent in ["revoked", "validFromMs", "validToMs", "predecessor", "successor"] {
        assert!(ada[absent].is_null(), "{absent}: {ada}");
    }
    assert_eq!((&ada["scopes"], &json["signaturesNeeded"]), (&serde_json::json!([]), &1.into()));
}

#[tokio::test]
async fn what_was_done_to_commanders_is_told_page_by_page() {
    let mut house = House::open().await;
    for n in 1..=5_u8 {
        let grant = Grant::unlimited(vec![n].into(), format!("writer {n}"), Role::Writer);
        house.command(AuthorityOp::Grant(Grant { valid_to: Some(TimeMs(9)), ..grant }).encode());
    }
    let answer = house.get("/v1/apps/config/commanders/log?limit=2").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "5"));
    let page = answer.json();
    let latest = &page["entries"][0];
    assert_eq!(
        (&latest["stateNdx"], &latest["step"], &latest["what"]),
        (&5.into(), &"made".into(), &"grant".into())
    );
    assert_eq!((&latest["by"], &latest["name"]), (&commander().to_string().into(), &"writer 5".into()));
    assert_eq!((&latest["validToMs"], &latest["change"]), (&9.into(), &().into()));
    assert_eq!(page["next"], "/v1/apps/config/commanders/log?before=4&limit=2&min=5");
    let mut states = vec![5, 4];
    let mut next = page["next"].clone();
    while let Some(address) = next.as_str() {
        let page = house.get(address).await.json();
        states.extend(
            page["entries"].as_array().unwrap().iter().map(|entry| entry["stateNdx"].as_u64().unwrap()),
        );
        assert_eq!(page["more"], page["next"].is_string());
        next = page["next"].clone();
    }
    assert_eq!(states, [5, 4, 3, 2, 1]);
    let target = "/v1/apps/config/commanders/log";
    house.get(&format!("{target}?limit=0&before=0")).await.assert_problem(400, "invalid-parameters", target);
}

#[tokio::test]
async fn what_waits_for_signatures_can_be_read_and_hashed() {
    let mut house = House::open_by(2).await;
    let op = AuthorityOp::Grant(Grant::unlimited(b"a key".to_vec().into(), "writer", Role::Writer));
    house.command(op.encode());
    let answer = house.get("/v1/apps/config/commanders/pending").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "1"));
    let json = answer.json();
    assert_eq!(json["signaturesNeeded"], 2);
    let waiting = &json["pending"][0];
    let operation = STANDARD.decode(waiting["operation"].as_str().unwrap()).unwrap();
    assert_eq!(operation, op.encode());
    assert_eq!(waiting["digest"], Digest::of(&[&operation]).to_string());
    assert_eq!((&waiting["change"], &waiting["signatures"]), (&1.into(), &1.into()));
    assert_eq!(waiting["approvals"], serde_json::json!([commander().to_string()]));
    assert_eq!(
        waiting["lapsesMs"].as_u64().unwrap() - waiting["timeMs"].as_u64().unwrap(),
        CHANGE_PENDING_MS_MAX
    );
    assert_eq!(house.get("/v1/apps/blank/commanders/pending").await.json()["pending"], serde_json::json!([]));
}

#[tokio::test]
async fn the_cluster_is_shown() {
    let house = House::open().await;
    let answer = house.get("/v1/cluster").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "1=0, 2=0"));
    let json = answer.json();
    assert_eq!((&json["nodeName"], &json["nodes"][0]["state"]), (&"a".into(), &"self".into()));
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn readiness_follows_the_applications_and_the_end() {
    let house = House::open().await;
    let live = house.get("/livez").await;
    assert_eq!((live.status, live.state_ndx()), (200, "1=0, 2=0"));

    let json = house.get("/readyz").await.assert_problem(503, "not-ready", "/readyz");
    assert!(json["detail"].as_str().unwrap().ends_with("application 1, 2"), "{json}");
    house.publisher.set_leader(Some(leader()));
    house.publisher.set_caught_up();
    let json = house.get("/readyz").await.assert_problem(503, "not-ready", "/readyz");
    assert!(json["detail"].as_str().unwrap().ends_with("application 2"), "{json}");
    house.blank.set_leader(Some(leader()));
    house.blank.set_caught_up();
    let ready = house.get("/readyz").await;
    assert_eq!((ready.status, ready.state_ndx()), (200, "1=0, 2=0"));

    house.gateway.stop();
    house.get("/readyz").await.assert_problem(503, "stopping", "/readyz");
    assert_eq!(house.get("/livez").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_says_so_with_a_state() {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    for target in ["/", "/v1", "/v1/apps/", "/v1/apps/1/", "/v1/apps/1/stones", "/v2/apps", "/v1/cluster/x"] {
        let answer = house.get(target).await;
        answer.assert_problem(404, "not-found", target);
        assert_eq!(answer.state_ndx(), "1=1, 2=0");
    }
    for target in ["/v1/apps/3", "/v1/apps/nope/kv/a", "/v1/apps/%FF/kv", "/v1/apps/-1/commanders"] {
        let answer = house.get(target).await;
        answer.assert_problem(404, "unknown-app", target);
        assert_eq!(answer.state_ndx(), "1=1, 2=0");
    }
    let answer = house.get("/v1/apps/blank/kv/a").await;
    answer.assert_problem(404, "wrong-kind", "/v1/apps/blank/kv/a");
    assert_eq!(answer.state_ndx(), "0");
    house.get("/v1/apps/2/kv").await.assert_problem(404, "wrong-kind", "/v1/apps/2/kv");
    house.get("/v1/apps/1/zones").await.assert_problem(404, "wrong-kind", "/v1/apps/1/zones");
    for target in ["/v1/zones", "/v1/zones/a.example", "/v1/zones/a.example/diff"] {
        let answer = house.get(target).await;
        answer.assert_problem(404, "unknown-app", target);
        assert_eq!(answer.state_ndx(), "1=1, 2=0");
    }
    let answer = house.get("/v1/apps/1/kv/nope").await;
    answer.assert_problem(404, "no-such-key", "/v1/apps/1/kv/nope");
    assert_eq!(answer.state_ndx(), "1");
}

#[tokio::test]
async fn only_get_and_head_are_answered() {
    let mut house = House::open().await;
    house.put(b"a", b"12345");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for (target, state) in [
            ("/v1/apps/1/kv/a", "1"),
            ("/v1/apps", "1=1, 2=0"),
            ("/v1/apps/9", "1=1, 2=0"),
            ("/v1/zones", "1=1, 2=0"),
            ("/v1/changes/1/1", "1"),
            ("/livez", "1=1, 2=0"),
        ] {
            let answer = ask(house.addr(), method, target).await;
            answer.assert_problem(405, "method-not-allowed", target);
            assert_eq!(
                (answer.header("allow"), answer.state_ndx()),
                ("GET, HEAD", state),
                "{method} {target}"
            );
        }
    }
    let head = ask(house.addr(), "HEAD", "/v1/apps/1/kv/a").await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "5"));
    assert_eq!((head.state_ndx(), head.header("last-change")), ("1", "1"));
    let head = ask(house.addr(), "HEAD", "/v1/apps/1/kv/b").await;
    assert_eq!((head.status, head.body.len(), head.state_ndx()), (404, 0, "1"));
}

#[tokio::test]
async fn every_wrong_parameter_is_named() {
    let house = House::open().await;
    let target = "/v1/apps/1/kv?limit=0&min=x&consistency=best&wait=31&order=desc&prefix=%4";
    let answer = house.get(target).await;
    let json = answer.assert_problem(400, "invalid-parameters", "/v1/apps/1/kv");
    assert_eq!(answer.state_ndx(), "0");
    let named: Vec<_> =
        json["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["prefix", "consistency", "min", "wait", "limit", "order"]);
    for name in named {
        assert!(json["detail"].as_str().unwrap().contains(name), "{json}");
    }
    for target in ["/v1/apps", "/v1/cluster", "/livez", "/readyz", "/v1/apps/1", "/v1/apps/1/kv/a"] {
        house.get(&format!("{target}?x")).await.assert_problem(400, "invalid-parameters", target);
    }
}
