//! Values with their proofs, from a state that somebody vouches for.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use synod_app_kv::{KvEntry, KvOp, proof as kv_proof};
use synod_app_zones::{Content, Version, ZoneName, proof as zone_proof};
use synod_gateway::{Certified, ProofForm, View};
use synod_types::{AppNdx, CommanderId, Digest, Epoch, StateCertificate, StateNdx, Statement, TimeMs};

use crate::certificates::HouseCertificates;
use crate::house::House;
use crate::zones_house::ZonesHouse;

impl HouseCertificates {
    /// A certificate of a state, which nobody signed: what is in it is for others to test.
    pub fn certify(&self, view: View) {
        let statement = Statement {
            app: view.app_ndx,
            epoch: Epoch(0),
            members: Digest::default(),
            slot: view.applied,
            state_ndx: view.state_ndx,
            chain: view.chain,
            root: view.app.root(),
        };
        let certificate =
            Arc::new(StateCertificate { statement, members: Vec::new(), signatures: Vec::new() });
        self.0.lock().unwrap().insert(0, Arc::clone(&certificate));
        *self.1.lock().unwrap() = Some(Certified { certificate, view: Arc::new(view) });
    }
}

fn root(json: &Value) -> Digest {
    json["certificate"]["certificate"]["root"].as_str().unwrap().parse().unwrap()
}

fn proof(json: &Value) -> synod_merkle::Proof {
    serde_json::from_value::<ProofForm>(json["proof"].clone()).unwrap().read().unwrap()
}

fn entry(json: &Value, key: &'static [u8]) -> Option<KvEntry> {
    let entry = json["entry"].as_object()?;
    let state = |name: &str| StateNdx(entry[name].as_u64().unwrap());
    Some(KvEntry {
        key: Bytes::from_static(key),
        value: Bytes::copy_from_slice(entry["value"].as_str().unwrap().as_bytes()),
        created: state("created"),
        changed: state("changed"),
        lease: None,
    })
}

#[tokio::test]
async fn a_key_is_proved_of_the_newest_state_with_a_certificate() {
    let mut house = House::open().await;
    for n in 0..50 {
        house.put(format!("other {n}").as_bytes(), b"x");
    }
    house.put(b"a", b"first");
    let target = "/v1/apps/1/kv/a?proof=1";
    house.get(target).await.assert_problem(404, "no-such-certificate", "/v1/apps/1/kv/a");
    house.certify();
    house.put(b"a", b"second");
    house.put(b"b", b"new");

    let answer = house.get(target).await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "51"));
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    assert_eq!((&json["appNdx"], &json["stateNdx"]), (&1.into(), &51.into()));
    let held = entry(&json, b"a");
    assert_eq!(
        held.as_ref().unwrap().value,
        "first",
        "of the state that is certified, not of the present one"
    );
    assert_eq!(kv_proof::verify(&root(&json), b"a", held.as_ref(), &proof(&json)), Ok(()));

    // What was not there then is proved to be absent.
    let absent = house.get("/v1/apps/1/kv/b?proof=1").await.json();
    assert_eq!(entry(&absent, b"b"), None);
    assert!(absent["entry"].is_null());
    assert_eq!(kv_proof::verify(&root(&absent), b"b", None, &proof(&absent)), Ok(()));
    assert!(kv_proof::verify(&root(&absent), b"a", None, &proof(&json)).is_err());

    house.certify();
    let later = house.get(target).await.json();
    assert_eq!((&later["stateNdx"], &later["entry"]["value"]), (&53.into(), &"second".into()));
}

#[tokio::test]
async fn a_proof_of_a_later_state_is_not_there_yet() {
    let mut house = House::open().await;
    house.put(b"a", b"first");
    house.certify();
    house.put(b"a", b"second");
    assert_eq!(house.get("/v1/apps/1/kv/a?proof=1&min=1").await.status, 200);
    let late = house.get("/v1/apps/1/kv/a?proof=1&min=2").await;
    let json = late.assert_problem(404, "no-such-certificate", "/v1/apps/1/kv/a");
    assert!(json["detail"].as_str().unwrap().contains("certificate is 1, and 2"), "{json}");
}

#[tokio::test]
async fn what_does_not_go_with_a_proof_is_said() {
    let mut house = House::open().await;
    house.execute(&KvOp::Put { key: Bytes::from_static(b"a"), value: Bytes::new() });
    house.certify();
    let target = "/v1/apps/1/kv/a";
    for wrong in
        ["proof=0", "proof=yes", "proof=1&at=1", "proof=1&consistency=linearizable", "proof=1&wait=1"]
    {
        house.get(&format!("{target}?{wrong}")).await.assert_problem(400, "invalid-parameters", target);
    }
    house.get("/v1/apps/1/kv?proof=1").await.assert_problem(400, "invalid-parameters", "/v1/apps/1/kv");
}

#[tokio::test]
async fn a_zone_is_proved() {
    let mut house = ZonesHouse::open().await;
    house.set("a.example", 1, "www A 192.0.2.2\n");
    let target = "/v1/apps/names/zones/a.example?proof=1";
    house.get(target).await.assert_problem(404, "no-such-certificate", "/v1/apps/names/zones/a.example");
    house.certify(AppNdx(4));
    let answer = house.get_as(target, "text/dns").await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "1"));
    let json = answer.json();
    let held = &json["version"];
    let number = |name: &str| held[name].as_u64().unwrap();
    let version = Version {
        content: Some(Content {
            key: held["key"].as_str().unwrap().parse().unwrap(),
            bytes: number("bytes"),
            serial: u32::try_from(number("serial")).unwrap(),
        }),
        changed: StateNdx(number("changed")),
        time: TimeMs(number("timeMs")),
        commander: CommanderId(held["commander"].as_str().unwrap().parse().unwrap()),
        rolled_back_to: None,
    };
    let zone = ZoneName::parse("a.example").unwrap();
    assert_eq!(zone_proof::verify(&root(&json), &zone, Some(&version), &proof(&json)), Ok(()));

    let absent = house.get("/v1/apps/names/zones/b.example?proof=1").await.json();
    assert!(absent["version"].is_null());
    let other = ZoneName::parse("b.example").unwrap();
    assert_eq!(zone_proof::verify(&root(&absent), &other, None, &proof(&absent)), Ok(()));
}
