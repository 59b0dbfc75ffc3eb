//! Three nodes in one process: a zone file goes up at one, the command for it goes in at another, and all of them answer
//! DNS queries from it.

mod dns;
mod founding;

use std::time::Duration;

use bytes::Bytes;
use dns::{ask, ask_until};
use founding::Founded;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_client::{Client, CommandOptions, ExecuteError, SubmitError};
use synod_gateway::{Consistency, Read};
use synod_node::Node;
use synod_types::{AppNdx, ContentKey, Outcome, Receipt, Refusal, RefusalCode, StateNdx};
use tokio::task::JoinSet;

const ZONES: AppNdx = AppNdx(2);
const LIMIT: Duration = Duration::from_secs(30);

/// A zone file in which `www` has this address.
fn file(serial: u32, www: &str) -> Bytes {
    let text = format!(
        "$TTL 300\n@ SOA ns1 admin {serial} 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\nwww A {www}\n"
    );
    text.into()
}

/// A zone file of some 1.5 MB.
fn large_file(serial: u32) -> Bytes {
    let mut text = String::from_utf8(file(serial, "192.0.2.9").to_vec()).expect("text");
    for n in 0..50_000 {
        text.push_str(&format!("host-{n} A 10.{}.{}.{}\n", n >> 16, (n >> 8) & 255, n & 255));
    }
    text.into()
}

fn change(zone: &str, serial: u32, file: &[u8]) -> ZoneChange {
    ZoneChange {
        zone: ZoneName::parse(zone).expect("a name"),
        content: ContentKey::of(file),
        bytes: u64::try_from(file.len()).expect("small"),
        serial,
        force: false,
        expected: Expected::Any,
    }
}

async fn execute(client: &Client, op: ZonesOp) -> Result<Receipt, Refusal> {
    match client.execute(ZONES, op.encode().into(), CommandOptions::default()).await {
        Ok(receipt) => Ok(receipt),
        Err(ExecuteError::Submit(SubmitError::Refused(refusal))) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

/// Uploads a file at one node, and sets the zone at another.
async fn set(founded: &Founded, at: [usize; 2], zone: &str, serial: u32, file: &Bytes) -> StateNdx {
    let [upload_at, set_at] = at.map(|i| founded.client(vec![founded.endpoints().swap_remove(i)]));
    let uploaded = upload_at.upload(ZONES, file.clone(), |_, _| {}).await.expect("a majority takes it");
    assert!(uploaded.receipts.len() >= 2, "{} receipts", uploaded.receipts.len());
    let receipt = execute(&set_at, ZonesOp::Set(change(zone, serial, file))).await.expect("executed");
    assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
    upload_at.close().await;
    set_at.close().await;
    receipt.state_ndx
}

/// Waits until a node has this state and can tell that it is the newest.
async fn until_served(node: &Node, state_ndx: StateNdx) {
    let read = Read { consistency: Consistency::Local, min: Some(state_ndx), wait: LIMIT };
    node.gateway().view(ZONES, read).await.expect("the node gets there");
    let door = node.gateway().app(ZONES).expect("the application");
    let fresh = async {
        while !door.fresh_within(LIMIT) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, fresh)
        .await
        .expect("a node with a leader finds out that its state is the newest");
}

async fn stop(nodes: Vec<Node>) {
    let mut stopping: JoinSet<()> = nodes.into_iter().map(Node::stop).collect();
    while let Some(stopped) = stopping.join_next().await {
        stopped.expect("the node stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_set_anywhere_and_served_everywhere() {
    let founded = Founded::new(3);
    let nodes = founded.start_all().await;
    for (n, at) in [(1, [0, 1]), (2, [1, 2]), (3, [2, 0])] {
        let www = format!("192.0.2.{n}");
        let state_ndx = set(&founded, at, "example.", n, &file(n, &www)).await;
        for node in &nodes {
            until_served(node, state_ndx).await;
            let answer = ask(node, "www.example.", RecordType::A).await;
            assert_eq!((answer.code, &answer.records[..]), (ResponseCode::NoError, &[www.clone()][..]));
            assert!(answer.is_authoritative && answer.state_ndx >= Some(state_ndx), "{answer:?}");
            let state = ask(node, "_state.example.", RecordType::TXT).await;
            assert_eq!(state.records.len(), 1, "{state:?}");
            assert_eq!(state.records[0].trim_matches('"'), state_ndx.to_string());
        }
    }
    let change = nodes[0].gateway().await_everywhere(ZONES, StateNdx(3), LIMIT).await.expect("known");
    assert!(change.is_everywhere(), "{change:?}");

    // What is gone is not answered for, and comes back with its old content.
    let client = founded.client(founded.endpoints());
    let zone = ZoneName::parse("example.").expect("a name");
    let delete = ZonesOp::Delete {
        zone: zone.clone(),
        expected: Expected::Content(ContentKey::of(&file(3, "192.0.2.3"))),
    };
    let deleted = execute(&client, delete).await.expect("executed");
    for node in &nodes {
        until_served(node, deleted.state_ndx).await;
        assert_eq!(ask(node, "www.example.", RecordType::A).await.code, ResponseCode::Refused);
    }
    let back = ZonesOp::Rollback { zone, to: StateNdx(2), expected: Expected::Absent };
    let back = execute(&client, back).await.expect("executed");
    for node in &nodes {
        until_served(node, back.state_ndx).await;
        assert_eq!(ask(node, "www.example.", RecordType::A).await.records, ["192.0.2.2"]);
    }
    client.close().await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_the_files_that_it_missed_or_lost_from_the_others() {
    let founded = Founded::new(3);
    let mut nodes = founded.start_all().await;
    set(&founded, [0, 1], "lost.", 1, &file(1, "192.0.2.1")).await;
    // What comes behind has the journals remember that the first command was chosen, so that a start executes it.
    for serial in 1..4 {
        let state_ndx = set(&founded, [0, 1], "other.", serial, &file(serial, "192.0.2.1")).await;
        until_served(&nodes[2], state_ndx).await;
    }
    nodes.pop().expect("three nodes").stop().await;
    // What two nodes decide while the third is away, and a file that is long and replaced by another.
    set(&founded, [0, 1], "missed.", 1, &large_file(1)).await;
    let last = set(&founded, [1, 0], "missed.", 2, &large_file(2)).await;
    std::fs::remove_dir_all(founded.data_dir(2).join("content")).expect("the files of the third node");
    nodes.push(founded.start(2).await);
    let third = &nodes[2];
    let served = |answer: &dns::Answer| answer.code == ResponseCode::NoError;
    assert_eq!(ask_until(third, "www.lost.", RecordType::A, served).await.records, ["192.0.2.1"]);
    until_served(third, last).await;
    let answer = ask(third, "host-49999.missed.", RecordType::A).await;
    assert_eq!((answer.records, answer.state_ndx), (vec!["10.0.195.79".to_owned()], Some(last)));
    let key = ContentKey::of(&large_file(2));
    assert_eq!(third.gateway().file(key).await, Some(large_file(2)), "it has the very file");
    let change = nodes[0].gateway().await_everywhere(ZONES, last, LIMIT).await.expect("known");
    assert!(change.is_everywhere(), "{change:?}");

    // All of it is still there after a restart of everything.
    stop(nodes).await;
    let nodes = founded.start_all().await;
    for node in &nodes {
        until_served(node, last).await;
        assert_eq!(ask(node, "www.lost.", RecordType::A).await.records, ["192.0.2.1"]);
        assert_eq!(ask(node, "www.missed.", RecordType::A).await.records, ["192.0.2.9"]);
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_files_do_not_bear_out_is_refused_without_a_trace() {
    let founded = Founded::new(3);
    let nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let before = set(&founded, [0, 1], "example.", 5, &file(5, "192.0.2.5")).await;

    let good = file(6, "192.0.2.6");
    let bad: Bytes = "$TTL 300\n@ SOA ns1 admin 6 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.256\n".into();
    for file in [&good, &bad] {
        client.upload(ZONES, file.clone(), |_, _| {}).await.expect("any file can be uploaded");
    }
    let refused = |op| async {
        let refusal = execute(&client, op).await.expect_err("refused");
        (refusal.code, refusal.text)
    };
    let (code, text) = refused(ZonesOp::Set(change("example.", 6, &bad))).await;
    assert_eq!(code, RefusalCode::Malformed);
    assert!(text.contains("example") && text.contains("line 4") && text.contains("column"), "{text}");
    let (code, text) = refused(ZonesOp::Set(change("example.", 7, &good))).await;
    assert_eq!(code, RefusalCode::Malformed);
    assert!(text.contains("serial 6") && text.contains('7'), "{text}");
    let many = vec![change("a.", 6, &good), change("b.", 6, &bad), change("c.", 6, &good)];
    let (code, text) = refused(ZonesOp::SetMany(many)).await;
    assert_eq!(code, RefusalCode::Malformed);
    assert!(text.contains("zone b"), "{text}");
    let nowhere = b"this file is nowhere";
    let (code, text) = refused(ZonesOp::Set(change("example.", 6, nowhere))).await;
    assert_eq!(code, RefusalCode::ContentMissing, "{text}");
    assert!(text.contains(&ContentKey::of(nowhere).to_string()), "{text}");

    for node in &nodes {
        let newest = Read { consistency: Consistency::Linearizable, min: None, wait: LIMIT };
        let view = node.gateway().view(ZONES, newest).await.expect("answered");
        assert_eq!(view.state_ndx, before, "nothing was executed");
        assert_eq!(ask(node, "www.a.", RecordType::A).await.code, ResponseCode::Refused);
        assert_eq!(ask(node, "www.example.", RecordType::A).await.records, ["192.0.2.5"]);
    }
    // The good ones of them together are taken, all at once.
    let many = vec![change("a.", 6, &good), change("example.", 6, &good), change("c.", 6, &good)];
    let done = execute(&client, ZonesOp::SetMany(many)).await.expect("executed");
    assert_eq!(done.state_ndx, before.next());
    for node in &nodes {
        until_served(node, done.state_ndx).await;
        for name in ["www.a.", "www.example.", "www.c."] {
            assert_eq!(ask(node, name, RecordType::A).await.records, ["192.0.2.6"]);
        }
    }

    // Who may not command may not upload either.
    let stranger = founded.client_of(synod_auth::SigningKey::generate(synod_auth::Algorithm::Ed25519));
    let refused = stranger.upload(ZONES, good.clone(), |_, _| {}).await.expect_err("refused");
    assert!(refused.to_string().contains("unknown-commander"), "{refused}");
    let refused = execute(&stranger, ZonesOp::Set(change("d.", 6, &good))).await.expect_err("refused");
    assert_eq!(refused.code, RefusalCode::UnknownCommander);
    stranger.close().await;
    client.close().await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_stops_to_answer_rather_than_to_be_wrong() {
    let founded = Founded::with_max_lag(3, "2s");
    let mut nodes = founded.start_all().await;
    let last = set(&founded, [0, 1], "example.", 1, &file(1, "192.0.2.1")).await;
    until_served(&nodes[0], last).await;
    stop(nodes.split_off(1)).await;
    let stale = |answer: &dns::Answer| answer.code == ResponseCode::ServFail;
    ask_until(&nodes[0], "www.example.", RecordType::A, stale).await;
    let change = nodes[0].gateway().change(ZONES, last).expect("known");
    let known: Vec<_> = change.nodes.iter().filter_map(|node| node.state_ndx).collect();
    assert_eq!(known, [last], "nobody knows of the others");

    nodes.push(founded.start(1).await);
    let fresh = |answer: &dns::Answer| answer.code == ResponseCode::NoError;
    for node in &nodes {
        assert_eq!(ask_until(node, "www.example.", RecordType::A, fresh).await.records, ["192.0.2.1"]);
    }
    stop(nodes).await;
}
