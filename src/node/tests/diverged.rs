//! A node that comes to another state than a majority fences itself: it answers nobody, says where it differs, keeps that over a
//! restart, and is as before when it is repaired and the others say the same as it does.

mod founding;
mod rogue_member;

use std::time::Duration;

use founding::Founded;
use rogue_member::Rogue;
use synod_gateway::{GatewayError, Read};
use synod_node::{Node, divergence};
use synod_types::{AppNdx, Digest, Message, StateNdx};

const KV: AppNdx = AppNdx(1);

async fn read(node: &Node) -> Result<(), GatewayError> {
    node.gateway().view(KV, Read::default()).await.map(drop)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One honest node, whose two peers say that the state before the first command is another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_differs_from_a_majority_answers_nobody_until_it_is_repaired() {
    let founded = Founded::new(3);
    let node = founded.start(0).await;
    let mut others = [Rogue::start(&founded, 1, &[0]).await, Rogue::start(&founded, 2, &[0]).await];
    let claim = Message::States(vec![(KV, StateNdx(0), Digest([9; 32]))]);
    assert_eq!(read(&node).await, Ok(()));

    // One that says something else is wrong itself.
    others[0].send(&claim);
    others[0].send(&Message::ChainRequest { app: KV, from: StateNdx(0) });
    let values = tokio::time::timeout(Duration::from_secs(30), others[0].hear_chain()).await;
    assert_eq!(values.expect("it answers").len(), 1);
    assert_eq!(read(&node).await, Ok(()));

    others[1].send(&claim);
    until("it is fenced", async || {
        others.iter().for_each(|other| other.send(&claim));
        matches!(read(&node).await, Err(GatewayError::Diverged { since: StateNdx(0), .. }))
    })
    .await;
    assert!(!node.gateway().ready().is_ready());
    let status = node.gateway().status();
    let diverged: Vec<_> = status.apps.iter().map(|app| app.diverged).collect();
    assert_eq!(diverged, [Some(StateNdx(0)), None], "the other application is as it should be");
    for other in others {
        other.stop().await;
    }
    node.stop().await;

    let node = founded.start(0).await;
    assert!(matches!(read(&node).await, Err(GatewayError::Diverged { .. })), "it has not forgotten that");
    node.stop().await;
    let found = divergence::repair(&founded.data_dir(0)).expect("its directory is there");
    assert_eq!(found.iter().map(|one| (one.app_ndx, one.state_ndx)).collect::<Vec<_>>(), [(KV.0, 0)]);
    let node = founded.start(0).await;
    assert_eq!(read(&node).await, Ok(()));
    node.stop().await;
}
