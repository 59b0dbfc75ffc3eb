//! What changed between two states of a zone.

use serde_json::{Value, json};
use synod_app_zones::{Expected, ZoneName, ZonesOp};
use synod_types::AppNdx;
use synod_types::limits::ZONE_HISTORY_MAX;

use crate::zones_house::ZonesHouse;

const DIFF: &str = "/v1/zones/a.example/diff";

/// States 1, 3 and 4 change a.example; 5 deletes it.
async fn house() -> ZonesHouse {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "www A 192.0.2.1\nold TXT x\n");
    house.set("b.example", 1, "");
    house.set("a.example", 2, "www 60 A 192.0.2.1\nnew TXT \"y z\"\n");
    house.set("a.example", 3, "www 60 A 192.0.2.2\nnew TXT \"y z\"\n");
    house
}

/// Records as a list of texts.
fn records(list: &Value) -> Vec<String> {
    let list_of = list["list"].as_array().unwrap();
    assert_eq!(list["count"], list_of.len());
    let text = |it: &Value| {
        let part = |name: &str| it[name].as_str().unwrap().to_owned();
        format!("{} {} {} {}", part("name"), it["ttl"], part("type"), part("data"))
    };
    list_of.iter().map(text).collect()
}

fn soa(serial: u32) -> String {
    format!("a.example. 3600 SOA ns.a.example. host.a.example. {serial} 7200 900 1209600 300")
}

#[tokio::test]
async fn two_states_are_compared() {
    let house = house().await;
    for target in [format!("{DIFF}?from=1&to=3"), format!("{DIFF}?from=2&to=3")] {
        let answer = house.get(&target).await;
        assert_eq!((answer.status, answer.state_ndx()), (200, "4"));
        let json = answer.json();
        assert_eq!(records(&json["added"]), [soa(2), "new.a.example. 3600 TXT \"y z\"".to_owned()]);
        assert_eq!(records(&json["removed"]), [soa(1), "old.a.example. 3600 TXT \"x\"".to_owned()]);
        let retimed = json!([{"name": "www.a.example.", "type": "A", "oldTtl": 3600, "newTtl": 60}]);
        assert_eq!((&json["retimed"]["list"], &json["retimed"]["count"]), (&retimed, &1.into()));
        assert_eq!(
            (&json["from"]["version"]["changed"], &json["to"]["version"]["serial"]),
            (&1.into(), &2.into())
        );
        assert_eq!((&json["zone"], &json["appNdx"]), (&"a.example.".into(), &4.into()));
    }
    let back = house.get(&format!("{DIFF}?from=3&to=1")).await.json();
    assert_eq!(records(&back["removed"]), [soa(2), "new.a.example. 3600 TXT \"y z\"".to_owned()]);
    let none = house.get(&format!("{DIFF}?from=1&to=2")).await.json();
    assert_eq!((records(&none["added"]), records(&none["removed"])), (vec![], vec![]));
}

#[tokio::test]
async fn the_last_two_versions_are_compared_if_nothing_else_is_asked_for() {
    let mut house = house().await;
    let sides = |json: &Value| json!([json["from"]["stateNdx"], json["to"]["stateNdx"]]);
    let json = house.get(DIFF).await.json();
    assert_eq!(sides(&json), json!([3, 4]));
    assert_eq!(records(&json["added"]), [soa(3), "www.a.example. 60 A 192.0.2.2".to_owned()]);
    let json = house.get(&format!("{DIFF}?to=3")).await.json();
    assert_eq!(sides(&json), json!([1, 3]));
    let json = house.get(&format!("{DIFF}?from=2")).await.json();
    assert_eq!(sides(&json), json!([2, 4]));

    let first = house.get(&format!("{DIFF}?to=1")).await.json();
    assert_eq!((sides(&first), &first["from"]["version"]), (json!([0, 1]), &Value::Null));
    assert_eq!((&first["added"]["count"], &first["removed"]["count"]), (&5.into(), &0.into()));

    let zone = ZoneName::parse("a.example").unwrap();
    house.command(AppNdx(4), &ZonesOp::Delete { zone, expected: Expected::Any });
    let last = house.get(DIFF).await.json();
    assert_eq!((sides(&last), &last["removed"]["count"]), (json!([4, 5]), &5.into()));
    assert_eq!(last["to"]["version"]["key"], Value::Null);
}

#[tokio::test]
async fn a_comparison_is_text_for_who_wants_text() {
    let house = house().await;
    let answer = house.get_as(DIFF, "text/plain").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert_eq!((answer.state_ndx(), answer.header("vary")), ("4", "accept"));
    let text = String::from_utf8(answer.body).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["--- a.example. in state 3", "+++ a.example. in state 4"]);
    assert!(lines.contains(&"- www.a.example. 60 IN A 192.0.2.1"), "{text}");
    assert!(lines.contains(&"+ www.a.example. 60 IN A 192.0.2.2"), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
    house.get_as(DIFF, "text/dns").await.assert_problem(406, "not-acceptable", DIFF);
}

#[tokio::test]
async fn what_is_not_known_cannot_be_compared() {
    let mut house = house().await;
    let json = house.get(&format!("{DIFF}?to=5")).await.assert_problem(404, "no-such-version", DIFF);
    assert!(json["detail"].as_str().unwrap().contains("min=5"), "{json}");
    let target = "/v1/zones/c.example/diff";
    house.get(target).await.assert_problem(404, "no-such-zone", target);
    for n in 0..u32::try_from(ZONE_HISTORY_MAX).unwrap() {
        house.set("a.example", 10 + n, "");
    }
    let json = house.get(&format!("{DIFF}?from=3")).await.assert_problem(404, "no-such-version", DIFF);
    assert!(json["detail"].as_str().unwrap().contains("back to state 4 only"), "{json}");
    assert_eq!(house.get(&format!("{DIFF}?from=4")).await.status, 200);
    house.set_in(AppNdx(4), "a.example", 99, b"@ SOA nonsense\n");
    house.get(DIFF).await.assert_problem(409, "broken-zone", DIFF);
}

#[tokio::test]
async fn a_list_has_a_limit_and_says_how_many_there_are() {
    let mut house = ZonesHouse::open().await;
    let hosts = |count: usize| (0..count).map(|n| format!("host-{n} A 192.0.2.1\n")).collect::<String>();
    let lengths = |json: &Value| {
        let length = |name: &str| {
            (json[name]["count"].as_u64().unwrap(), json[name]["list"].as_array().unwrap().len())
        };
        [length("added"), length("removed")]
    };
    house.set("a.example", 1, "");
    for (state, count, listed) in [(2, 9_999, 10_000), (3, 10_000, 10_000)] {
        house.set("a.example", state, &hosts(count));
        let json = house.get(&format!("{DIFF}?from=1")).await.json();
        // The SOA is another one, too.
        assert_eq!(lengths(&json), [(u64::try_from(count).unwrap() + 1, listed), (1, 1)]);
    }
    let text = String::from_utf8(house.get_as(&format!("{DIFF}?from=1"), "text/plain").await.body).unwrap();
    assert_eq!(text.lines().count(), 2 + 1 + 10_000 + 1);
    assert!(text.ends_with("\n; and 1 more\n"));
}
