//! Snapshots, and the files to which states refer, as those get them who make a backup.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use synod_gateway::{FileRead, Files as _, Snapshots};
use synod_types::{
    AppNdx, Certificate, Checkpoint, CheckpointSignature, ContentKey, Digest, NodeId, Slot, StateNdx, wire,
};

use crate::house::ask_with;
use crate::zones_house::{Stored, ZonesHouse};

/// What this node has of them.
#[derive(Default)]
pub struct HouseSnapshots {
    pub newest: Mutex<Option<Certificate>>,
    pub files: Arc<Stored>,
}

impl Snapshots for HouseSnapshots {
    fn newest(&self, app: AppNdx) -> Option<Certificate> {
        self.newest.lock().unwrap().clone().filter(|certificate| certificate.checkpoint.app == app)
    }

    fn file(&self, key: ContentKey) -> FileRead<'_> {
        self.files.read(key)
    }
}

fn certificate() -> Certificate {
    let checkpoint = Checkpoint {
        app: AppNdx(4),
        slot: Slot(9),
        state_ndx: StateNdx(7),
        chain: Digest([3; 32]),
        index: ContentKey::of(b"a list of chunks"),
    };
    let signature =
        CheckpointSignature { key: Bytes::from_static(b"a key"), signature: Bytes::from_static(b"signed") };
    Certificate { checkpoint, signatures: vec![signature] }
}

#[tokio::test]
async fn the_newest_snapshot_is_given_with_who_has_signed_it() {
    let house = ZonesHouse::open().await;
    let target = "/v1/apps/names/snapshot";
    house.get(target).await.assert_problem(404, "no-such-snapshot", target);
    *house.snapshots.newest.lock().unwrap() = Some(certificate());
    let answer = house.get(target).await;
    assert_eq!((answer.status, answer.state_ndx()), (200, "0"));
    assert_eq!(
        (answer.header("content-type"), answer.header("vary")),
        ("application/octet-stream", "accept")
    );
    // Other programs read these bytes.
    let bytes = answer.body.strip_prefix(b"synod/certificate/v1\0").unwrap();
    assert_eq!(wire::decode::<Certificate>(bytes).unwrap(), certificate());
    let json = house.get_as(target, "application/json").await.json();
    let signer = NodeId(Digest::of(&[b"a key"]));
    assert_eq!((&json["slot"], &json["stateNdx"]), (&9.into(), &7.into()));
    assert_eq!(json["signedBy"], serde_json::json!([signer.to_string()]));
    assert_eq!(json["index"], certificate().checkpoint.index.to_string());
    let known = ask_with(house.addr(), "GET", target, &[("If-None-Match", answer.header("etag"))]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    house.get_as(target, "text/html").await.assert_problem(406, "not-acceptable", target);
    house.get("/v1/apps/other/snapshot").await.assert_problem(
        404,
        "no-such-snapshot",
        "/v1/apps/other/snapshot",
    );
    let early = "/v1/apps/names/snapshot?min=5&wait=0";
    house.get(early).await.assert_problem(504, "timeout", target);
}

#[tokio::test]
async fn files_of_snapshots_are_given_by_their_keys() {
    let house = ZonesHouse::open().await;
    let chunk = Bytes::from_static(b"a chunk");
    let key = ContentKey::of(&chunk);
    let target = format!("/v1/apps/4/snapshot/{key}");
    house.get(&target).await.assert_problem(503, "file-not-here", &target);
    house.snapshots.files.files.lock().unwrap().insert(key, chunk.clone());
    let answer = house.get(&target).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &chunk[..]));
    assert_eq!(answer.header("etag"), format!("\"{key}\""));
    let known = ask_with(house.addr(), "GET", &target, &[("If-None-Match", answer.header("etag"))]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    for wrong in ["/v1/apps/4/snapshot/12", "/v1/apps/4/snapshot/%ff"] {
        house.get(wrong).await.assert_problem(400, "invalid-path", wrong);
    }
    house.get(&format!("{target}?at=1")).await.assert_problem(400, "invalid-parameters", &target);
    let nowhere = format!("/v1/apps/9/snapshot/{key}");
    house.get(&nowhere).await.assert_problem(404, "unknown-app", &nowhere);
}

/// What is stored and not referred to is nobody's to read.
#[tokio::test]
async fn only_files_to_which_a_state_refers_are_given() {
    let mut house = ZonesHouse::open().await;
    let first = house.set("a.example", 1, "");
    let second = house.set("a.example", 2, "");
    let hidden = Bytes::from_static(b"uploaded, and in no zone yet");
    let key = ContentKey::of(&hidden);
    house.stored.files.lock().unwrap().insert(key, hidden);
    let file = |app: u32, key: &dyn std::fmt::Display| format!("/v1/apps/{app}/files/{key}");
    for key in [first, second] {
        let answer = house.get(&file(4, &key)).await;
        assert_eq!((answer.status, answer.state_ndx()), (200, "2"), "also what a zone held before");
        assert_eq!(ContentKey::of(&answer.body).to_string(), key.to_string());
    }
    for (app, key) in [(4, key.to_string()), (7, first.to_string()), (1, first.to_string())] {
        let target = file(app, &key);
        house.get(&target).await.assert_problem(404, "no-such-file", &target);
    }
    house.stored.files.lock().unwrap().clear();
    let target = file(4, &first);
    house.get(&target).await.assert_problem(503, "file-not-here", &target);
}

#[tokio::test]
async fn files_have_so_many_places() {
    let house = ZonesHouse::open().await;
    let chunk = Bytes::from_static(b"a chunk");
    let key = ContentKey::of(&chunk);
    house.snapshots.files.files.lock().unwrap().insert(key, chunk);
    let target = format!("/v1/apps/4/snapshot/{key}");
    let shut = house.snapshots.files.gate.write().await;
    let addr = house.addr();
    let waiting: Vec<_> = (0..17)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move { ask_with(addr, "GET", &target, &[]).await.status })
        })
        .collect();
    // One more than there are places comes back at once.
    let mut statuses = Vec::new();
    let (sender, mut done) = tokio::sync::mpsc::channel(17);
    for one in waiting {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(one.await.unwrap()).await.unwrap() });
    }
    drop(sender);
    statuses.push(done.recv().await.unwrap());
    drop(shut);
    while let Some(status) = done.recv().await {
        statuses.push(status);
    }
    assert_eq!(statuses[0], 503);
    assert_eq!((statuses.len(), statuses.iter().filter(|status| **status == 200).count()), (17, 16));
}
