//! How far a change has come.

use serde_json::json;
use synod_types::{AppNdx, StateNdx};

use crate::house::{NODE, ask};
use crate::zones_house::{OTHER, ZonesHouse};

#[tokio::test]
async fn a_change_is_pending_until_every_node_has_it() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "");
    let target = "/v1/changes/4/1";
    let answer = |everywhere, state, at: Option<u64>| {
        json!({"appNdx": 4, "stateNdx": 1, "everywhere": everywhere, "nodes": [
            {"id": NODE.to_string(), "name": "a", "state": "applied", "stateNdx": 1, "up": true},
            {"id": OTHER.to_string(), "name": "b", "state": state, "stateNdx": at, "up": true},
        ]})
    };
    assert_eq!(house.get(target).await.json(), answer(false, "unknown", None));
    house.nodes.heard(OTHER, &[(AppNdx(4), StateNdx(0))]);
    assert_eq!(house.get(target).await.json(), answer(false, "pending", Some(0)));
    house.nodes.heard(OTHER, &[(AppNdx(4), StateNdx(1)), (AppNdx(7), StateNdx(0))]);
    for target in [target, "/v1/changes/names/1"] {
        let got = house.get(target).await;
        assert_eq!((got.status, got.state_ndx(), got.json()), (200, "1", answer(true, "applied", Some(1))));
    }
    let next = house.get("/v1/changes/4/2").await;
    assert_eq!((next.status, next.state_ndx()), (200, "1"));
    assert_eq!(
        (&next.json()["everywhere"], &next.json()["nodes"][0]["state"]),
        (&false.into(), &"pending".into())
    );
    house.nodes.forget(OTHER);
    assert_eq!(house.get(target).await.json(), answer(false, "unknown", None));
}

#[tokio::test]
async fn a_change_can_be_waited_for() {
    let mut house = ZonesHouse::open().await;
    let addr = house.addr();
    let waiting = tokio::spawn(async move { ask(addr, "GET", "/v1/changes/4/1?wait=30").await });
    house.set("a.example", 1, "");
    house.nodes.heard(OTHER, &[(AppNdx(4), StateNdx(1))]);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.state_ndx(), &answer.json()["everywhere"]), (200, "1", &true.into()));

    let behind = house.get("/v1/changes/4/2?wait=0.01").await;
    assert_eq!((behind.status, &behind.json()["everywhere"]), (200, &false.into()), "it says who is behind");

    let waiting = tokio::spawn(async move { ask(addr, "GET", "/v1/changes/4/2?wait=30").await });
    house.gateway.stop();
    waiting.await.unwrap().assert_problem(503, "stopping", "/v1/changes/4/2");
}

#[tokio::test]
async fn what_is_no_change_is_told() {
    let house = ZonesHouse::open().await;
    for target in ["/v1/changes/9/1", "/v1/changes/nope/1"] {
        house.get(target).await.assert_problem(404, "unknown-app", target);
    }
    for target in ["/v1/changes/4/x", "/v1/changes/4/-1", "/v1/changes/4/18446744073709551616"] {
        let answer = house.get(target).await;
        answer.assert_problem(400, "invalid-path", target);
        assert_eq!(answer.state_ndx(), "0");
    }
    for target in ["/v1/changes", "/v1/changes/4", "/v1/changes/4/"] {
        house.get(target).await.assert_problem(404, "not-found", target);
    }
    let target = "/v1/changes/4/1";
    house.get(&format!("{target}?wait=31")).await.assert_problem(400, "invalid-parameters", target);
    house.get(&format!("{target}?min=1")).await.assert_problem(400, "invalid-parameters", target);
}
