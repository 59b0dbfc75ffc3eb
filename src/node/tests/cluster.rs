//! Three nodes in one process: a signed command goes in at any of them, and comes out at all.

mod founding;

use std::time::Duration;

use founding::Founded;
use synod_app_kv::{KvAnswer, KvOp, KvQuery};
use synod_client::CommandOptions;
use synod_gateway::{Consistency, Read};
use synod_types::{AppNdx, Outcome, Refusal, RefusalCode, StateNdx};

const KV: AppNdx = AppNdx(1);

fn put(key: &str, value: &str) -> bytes::Bytes {
    KvOp::Put { key: key.as_bytes().to_vec().into(), value: value.as_bytes().to_vec().into() }.encode().into()
}

async fn get(node: &synod_node::Node, key: &str, min: StateNdx, consistency: Consistency) -> Option<Vec<u8>> {
    let query = KvQuery::Get { key: key.as_bytes().to_vec().into(), at: None }.encode();
    let read = Read { consistency, min: Some(min), wait: Duration::from_secs(20) };
    let answer = node.gateway().query(KV, read, &query).await.expect("the read is answered");
    match KvAnswer::decode(&answer.body).expect("an answer of kv") {
        KvAnswer::Get(entry) => entry.map(|entry| entry.value.to_vec()),
        other => panic!("a get is answered by a get, not by {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_enters_anywhere_and_is_read_everywhere() {
    let founded = Founded::new(3);
    let nodes = founded.start_all().await;
    for (i, endpoint) in founded.endpoints().into_iter().enumerate() {
        let client = founded.client(vec![endpoint]);
        let receipt = client.execute(KV, put("key", &format!("value {i}")), CommandOptions::default()).await;
        let receipt = receipt.expect("the command is executed");
        assert!(matches!(receipt.outcome, Outcome::Done(_)));
        for node in &nodes {
            for consistency in [Consistency::Local, Consistency::Linearizable] {
                let value = get(node, "key", receipt.state_ndx, consistency).await;
                assert_eq!(value, Some(format!("value {i}").into_bytes()));
            }
        }
        client.close().await;
    }
    let chains: Vec<_> = nodes.iter().map(|node| node.gateway().apps()[0].view().chain).collect();
    assert!(chains.iter().all(|chain| *chain == chains[0]), "{chains:?}");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_and_a_restarted_cluster_remembers() {
    let founded = Founded::new(3);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints()[..2].to_vec());
    client.execute(KV, put("a", "1"), CommandOptions::default()).await.expect("three nodes execute");
    nodes.pop().expect("three nodes").stop().await;
    let last = client.execute(KV, put("b", "2"), CommandOptions::default()).await.expect("two nodes execute");
    nodes.push(founded.start(2).await);
    assert_eq!(get(&nodes[2], "b", last.state_ndx, Consistency::Local).await, Some(b"2".to_vec()));
    client.close().await;
    for node in nodes {
        node.stop().await;
    }
    let nodes = founded.start_all().await;
    for node in &nodes {
        assert_eq!(get(node, "a", last.state_ndx, Consistency::Local).await, Some(b"1".to_vec()));
    }
    for node in nodes {
        node.stop().await;
    }
}

/// Waits until a node holds a certificate of this state or a later one, and has the state itself.
async fn certified(node: &synod_node::Node, state_ndx: StateNdx) -> synod_gateway::Certified {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let found = async {
        loop {
            looks.tick().await;
            let certified = node.gateway().certified(KV);
            if let Some(found) = certified.filter(|one| one.view.state_ndx >= state_ndx) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("it is certified")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_that_was_certified_last_is_at_hand_and_after_a_restart_too() {
    let founded = Founded::new(3);
    let mut nodes = founded.start_all().await;
    let client = founded.client(founded.endpoints());
    let receipt = client.execute(KV, put("key", "value"), CommandOptions::default()).await.expect("executed");
    client.close().await;
    for restarted in [false, true] {
        if restarted {
            for node in nodes {
                node.stop().await;
            }
            nodes = founded.start_all().await;
        }
        for node in &nodes {
            let synod_gateway::Certified { certificate, view } = certified(node, receipt.state_ndx).await;
            let statement = certificate.statement;
            assert_eq!((statement.state_ndx, statement.chain), (receipt.state_ndx, receipt.chain));
            assert_eq!((view.state_ndx, view.app.root()), (statement.state_ndx, statement.root));
            assert_eq!(certificate.members.len(), 3);
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_commands_nothing_and_the_same_bytes_are_executed_once() {
    let founded = Founded::new(1);
    let node = founded.start(0).await;
    let stranger = founded.client_of(synod_auth::SigningKey::generate(synod_auth::Algorithm::Ed25519));
    let refused = stranger.execute(KV, put("key", "value"), CommandOptions::default()).await;
    let Err(synod_client::ExecuteError::Submit(synod_client::SubmitError::Refused(Refusal { code, .. }))) =
        refused
    else {
        panic!("a stranger got {refused:?}");
    };
    assert_eq!(code, RefusalCode::UnknownCommander);

    let client = founded.client(founded.endpoints());
    let seq = client.next_seq(KV).await.expect("the node answers");
    let command = client.commander().sign(KV, seq, put("key", "value"), CommandOptions::default());
    let command = command.expect("it is small");
    let first = client.submit(&command).await.expect("executed");
    let again = client.submit(&command).await.expect("answered");
    assert_eq!(first, again);
    assert_eq!(node.gateway().apps()[0].state_ndx(), first.state_ndx);
    node.stop().await;
}
