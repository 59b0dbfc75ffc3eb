//! Zones, their files and their histories.

use serde_json::json;
use synod_app_zones::{Expected, ZoneName, ZonesOp};
use synod_types::limits::ZONES_LIST_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use tokio::task::JoinSet;

use crate::house::{ask, ask_accepting, commander};
use crate::zones_house::{ZonesHouse, file};

fn delete(zone: &str) -> ZonesOp {
    ZonesOp::Delete { zone: ZoneName::parse(zone).unwrap(), expected: Expected::Any }
}

#[tokio::test]
async fn a_zone_is_what_is_known_of_it_or_its_very_file() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 6, "");
    let key = house.set("a.example", 7, "; the author's own words\n").to_string();
    let text = file(7, "; the author's own words\n");
    let target = "/v1/zones/a.example";
    let expected = json!({
        "appNdx": 4, "stateNdx": 2, "zone": "a.example.", "key": key, "serial": 7, "bytes": text.len(), "changed": 2,
        "timeMs": 1_700_000_000_002_u64, "commander": commander().to_string(), "rolledBackTo": null, "earlier": 1,
        "broken": null,
    });
    for target in
        [target, "/v1/zones/A.EXAMPLE.", "/v1/apps/4/zones/a.example", "/v1/apps/names/zones/%61.example"]
    {
        for accept in ["*/*", "application/json", "text/dns;q=0.5, application/json"] {
            let answer = house.get_as(target, accept).await;
            assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{target} {accept}");
            assert_eq!((answer.state_ndx(), answer.header("last-change")), ("2", "2"));
            assert_eq!(answer.header("content-type"), "application/json");
        }
        let answer = house.get_as(target, "text/dns").await;
        assert_eq!((answer.status, &answer.body), (200, &text), "{target}");
        assert_eq!((answer.header("content-type"), answer.header("vary")), ("text/dns", "accept"));
        assert_eq!((answer.state_ndx(), answer.header("last-change")), ("2", "2"));
        assert_eq!(answer.header("etag"), format!("\"{key}\""));
    }
    let head = ask_accepting(house.addr(), "HEAD", target, "text/dns").await;
    assert_eq!(
        (head.status, head.body.len(), head.header("content-length")),
        (200, 0, &*text.len().to_string())
    );
    let answer = house.get_as(target, "image/png").await;
    answer.assert_problem(406, "not-acceptable", target);
    assert_eq!(answer.state_ndx(), "2");
}

#[tokio::test]
async fn a_zone_is_shown_as_it_was() {
    let mut house = ZonesHouse::open().await;
    let first = house.set("a.example", 6, "").to_string();
    house.set("b.example", 1, "");
    let second = house.set("a.example", 7, "").to_string();
    house.command(AppNdx(4), &delete("a.example"));
    for (at, key, changed, earlier) in [(1, &first, 1, 0), (2, &first, 1, 0), (3, &second, 3, 1)] {
        let target = format!("/v1/zones/a.example?at={at}");
        let answer = house.get(&target).await;
        let json = answer.json();
        assert_eq!(
            (&json["key"], &json["changed"], &json["earlier"]),
            (&json!(key), &json!(changed), &json!(earlier))
        );
        assert_eq!((answer.state_ndx(), answer.header("last-change")), ("4", &*changed.to_string()));
        let text = house.get_as(&target, "text/dns").await;
        assert_eq!(text.body, file(if changed == 1 { 6 } else { 7 }, ""));
    }
    for (at, problem) in [(0, "no-such-zone"), (4, "no-such-zone"), (5, "no-such-version")] {
        house.get(&format!("/v1/zones/a.example?at={at}")).await.assert_problem(
            404,
            problem,
            "/v1/zones/a.example",
        );
    }
    house.get("/v1/zones/a.example?at=x").await.assert_problem(
        400,
        "invalid-parameters",
        "/v1/zones/a.example",
    );
    house.get("/v1/zones/c.example?at=1").await.assert_problem(404, "no-such-zone", "/v1/zones/c.example");
}

#[tokio::test]
async fn any_name_has_an_address() {
    let mut house = ZonesHouse::open().await;
    for (name, path) in [
        (".", "."),
        ("0/25.2.0.192.in-addr.arpa", "0%2F25.2.0.192.in-addr.arpa"),
        ("a\\.b.example", "a%5C.b.example"),
        ("\\255.example", "%5C255.example"),
    ] {
        house.set(name, 1, "");
        let answer = house.get(&format!("/v1/zones/{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["zone"], ZoneName::parse(name).unwrap().to_string());
        assert_eq!(house.get(&format!("/v1/zones/{path}/history")).await.status, 200, "{path}");
    }
    for path in ["a..b", "%zz", "a%", "%FF.example/diff"] {
        let target = format!("/v1/zones/{path}");
        let answer = house.get(&target).await;
        if path.contains("FF") {
            answer.assert_problem(404, "no-such-zone", &target);
        } else {
            answer.assert_problem(400, "invalid-path", &target);
        }
        assert_eq!(answer.state_ndx(), "4");
    }
    let long = format!("/v1/zones/{}", vec!["a".repeat(63); 4].join("."));
    house.get(&long).await.assert_problem(400, "invalid-path", &long);
}

#[tokio::test]
async fn each_zones_application_has_addresses_and_the_first_has_short_ones() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "");
    house.set_in(AppNdx(7), "b.example", 5, &file(5, ""));
    let names = |page: serde_json::Value| -> Vec<String> {
        page["zones"]
            .as_array()
            .unwrap()
            .iter()
            .map(|zone| zone["zone"].as_str().unwrap().to_owned())
            .collect()
    };
    for (target, app, expected) in [
        ("/v1/zones", 4, "a.example."),
        ("/v1/apps/4/zones", 4, "a.example."),
        ("/v1/apps/other/zones", 7, "b.example."),
    ] {
        let answer = house.get(target).await;
        assert_eq!((answer.status, answer.state_ndx(), &answer.json()["appNdx"]), (200, "1", &app.into()));
        assert_eq!(names(answer.json()), [expected]);
    }
    house.get("/v1/zones/b.example").await.assert_problem(404, "no-such-zone", "/v1/zones/b.example");
    house.get("/v1/apps/blank/zones").await.assert_problem(404, "wrong-kind", "/v1/apps/blank/zones");
    house.get("/v1/apps/nope/zones/a").await.assert_problem(404, "unknown-app", "/v1/apps/nope/zones/a");
    for (target, state) in [("/v1/zones", "1"), ("/v1/zones/x/history", "1"), ("/v1/apps/7/zones/x", "1")] {
        let answer = ask(house.addr(), "PUT", target).await;
        answer.assert_problem(405, "method-not-allowed", target);
        assert_eq!(answer.state_ndx(), state);
    }
}

#[tokio::test]
async fn pages_follow_one_another() {
    let mut house = ZonesHouse::open().await;
    for name in ["org", "a.org", "b.a.org", "c.org", "com", "d.org"] {
        house.set(name, 1, "");
    }
    house.command(AppNdx(4), &delete("c.org"));
    let mut target = "/v1/zones?below=org&limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = house.get(&target).await;
        assert_eq!((answer.status, answer.state_ndx()), (200, "7"));
        let page = answer.json();
        let names: Vec<_> = page["zones"].as_array().unwrap().iter().map(|it| it["zone"].clone()).collect();
        pages.push(serde_json::Value::from(names));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut target),
            None => {
                assert_eq!(page["more"], false);
                break;
            }
        }
        assert_eq!((&page["more"], pages.len()), (&true.into(), 1));
        assert_eq!(target, "/v1/zones?after=a.org.&below=org.&limit=2&min=7");
    }
    assert_eq!(pages, [json!(["org.", "a.org."]), json!(["b.a.org.", "d.org."])]);
    let all = house.get("/v1/zones").await.json();
    assert_eq!(all["zones"].as_array().unwrap().len(), 5);
    assert_eq!(all["zones"][0]["zone"], "com.");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let house = ZonesHouse::open().await;
    let limit = ZONES_LIST_ENTRIES_MAX + 1;
    let target = format!("/v1/zones?below=a..b&after=&limit={limit}&min=x&prefix=a");
    let json = house.get(&target).await.assert_problem(400, "invalid-parameters", "/v1/zones");
    let named: Vec<_> = json["parameters"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(named, ["min", "below", "after", "limit", "prefix"]);
    for (path, wrong) in
        [("/v1/zones/a", "from"), ("/v1/zones/a/history", "limit"), ("/v1/zones/a/diff", "below")]
    {
        let answer = house.get(&format!("{path}?{wrong}=1")).await;
        answer.assert_problem(400, "invalid-parameters", path);
        assert_eq!(answer.state_ndx(), "0");
    }
}

#[tokio::test]
async fn a_history_begins_with_what_is_now() {
    let mut house = ZonesHouse::open().await;
    let first = house.set("a.example", 1, "").to_string();
    house.set("a.example", 2, "");
    house.command(AppNdx(4), &delete("a.example"));
    let target = "/v1/zones/a.example";
    let json = house.get(target).await.assert_problem(404, "no-such-zone", target);
    assert!(json["detail"].as_str().unwrap().contains("deleted in stateNdx 3; its history is at"), "{json}");
    let to = StateNdx(1);
    let zone = ZoneName::parse("a.example").unwrap();
    house.command(AppNdx(4), &ZonesOp::Rollback { zone, to, expected: Expected::Absent });

    let answer = house.get("/v1/zones/a.example/history").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "4"));
    let json = answer.json();
    assert_eq!((&json["zone"], &json["cut"]), (&"a.example.".into(), &false.into()));
    let versions = json["versions"].as_array().unwrap();
    let facts: Vec<_> =
        versions.iter().map(|it| json!([it["changed"], it["serial"], it["rolledBackTo"]])).collect();
    assert_eq!(facts, [json!([4, 1, 1]), json!([3, null, null]), json!([2, 2, null]), json!([1, 1, null])]);
    assert_eq!((&versions[0]["key"], &versions[1]["key"]), (&first.into(), &().into()));
    let target = "/v1/zones/b.example/history";
    house.get(target).await.assert_problem(404, "no-such-zone", target);
}

#[tokio::test]
async fn a_zone_whose_file_does_not_load_says_so() {
    let mut house = ZonesHouse::open().await;
    house.set_in(AppNdx(4), "a.example", 1, b"not a zone\n");
    let answer = house.get("/v1/zones/a.example").await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["broken"].as_str().unwrap().starts_with("line 1"), "{answer:?}");
    assert_eq!(house.get_as("/v1/zones/a.example", "text/dns").await.body, b"not a zone\n");
}

#[tokio::test]
async fn a_file_that_is_not_here_is_elsewhere() {
    let mut house = ZonesHouse::open().await;
    let key = house.set("a.example", 1, "").to_string();
    house.stored.files.lock().unwrap().clear();
    for (target, accept) in [("/v1/zones/a.example", "text/dns"), ("/v1/zones/a.example/diff", "*/*")] {
        let answer = house.get_as(target, accept).await;
        let json = answer.assert_problem(503, "file-not-here", target);
        assert!(json["detail"].as_str().unwrap().contains(&key), "{json}");
        assert_eq!((answer.state_ndx(), answer.header("retry-after")), ("1", "1"));
    }
    assert_eq!(house.get("/v1/zones/a.example").await.status, 200, "what is known of it needs no file");
}

#[tokio::test]
async fn files_and_comparisons_have_so_many_places() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "");
    let addr = house.addr();
    for (target, accept, places) in
        [("/v1/zones/a.example", "text/dns", 16), ("/v1/zones/a.example/diff", "*/*", 2)]
    {
        let stored = house.stored.clone();
        let shut = stored.gate.write().await;
        let mut asking = JoinSet::new();
        for _ in 0..places + 1 {
            asking.spawn(ask_accepting(addr, "GET", target, accept));
        }
        let refused = asking.join_next().await.unwrap().unwrap();
        refused.assert_problem(503, "busy", target);
        assert_eq!((refused.state_ndx(), refused.header("retry-after")), ("1", "1"));
        assert_eq!(house.get("/v1/zones/a.example").await.status, 200, "what needs no file needs no place");
        drop(shut);
        let answers = asking.join_all().await;
        assert!(answers.iter().all(|answer| answer.status == 200) && answers.len() == places, "{answers:?}");
    }
}

#[tokio::test]
async fn every_read_waits_for_its_minimum() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "");
    let addr = house.addr();
    let targets =
        ["", "/a.example", "/a.example/history", "/a.example/diff"].map(|end| format!("/v1/zones{end}"));
    for target in &targets {
        let answer = house.get(&format!("{target}?min=2&wait=0")).await;
        answer.assert_problem(504, "timeout", target);
        assert_eq!(answer.state_ndx(), "1");
    }
    let waiting = targets.map(|target| {
        tokio::spawn(async move { ask(addr, "GET", &format!("{target}?min=2&wait=30")).await })
    });
    house.set("a.example", 2, "");
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.state_ndx()), (200, "2"));
    }
    let target = "/v1/zones/a.example?consistency=linearizable&wait=30";
    let read = tokio::spawn(async move { ask(addr, "GET", target).await });
    let slot = house.gateway.app(AppNdx(4)).unwrap().view().applied;
    house.questions[1].next().await.unwrap().grant(slot);
    assert_eq!(read.await.unwrap().json()["serial"], 2);
}
