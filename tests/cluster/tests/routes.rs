//! Front ends in processes of their own, played by threads, that reach other servers through the one that they are connected to.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_app_kv::{KvAnswer, KvQuery};
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, eventually, put};
use synod_sdk::Encoding;
use synod_sdk::front::{AskError, FrontEnd, Read};
use synod_types::{StateNdx, wire};

const PATIENCE: Duration = Duration::from_secs(60);

/// Three nodes with front ends, which see each other.
async fn three() -> Cluster {
    let mut cluster = Cluster::found(3);
    (0..3).for_each(|n| cluster.configure(n, "\n[front_ends]"));
    cluster.try_start_all().await.unwrap();
    cluster
}

fn socket(cluster: &Cluster, n: usize) -> PathBuf {
    cluster.data_dir(n).join("lanes").join("front-ends.sock")
}

fn connect(socket: &Path) -> FrontEnd {
    FrontEnd::connect(socket, "a test", Encoding::MessagePack, PATIENCE).unwrap()
}

/// On a thread that may wait.
async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(call).await.unwrap()
}

fn code(asked: Result<impl Sized, AskError>) -> String {
    match asked {
        Err(AskError::Problem { code, .. }) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an answer"),
    }
}

/// What a key holds, and the state from which that was said.
fn get(front: &mut FrontEnd, key: &str, read: Read) -> Result<(Option<String>, u64), AskError> {
    let query = KvQuery::Get { key: key.to_owned().into(), at: None }.encode();
    let answered = front.query("kv", query, read)?;
    let KvAnswer::Get(entry) = wire::decode(&answered.answer).unwrap() else { panic!("another answer") };
    let value = entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap());
    Ok((value, answered.state_ndx))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_end_at_one_node_asks_an_application_at_another() {
    let mut cluster = three().await;
    eventually("there is a leader", async || cluster.leader(KV).await.is_some()).await;
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let receipt = client.execute(KV, put("key", "1"), CommandOptions::default()).await.unwrap();
    let StateNdx(first) = receipt.state_ndx;

    let at_first = socket(&cluster, 0);
    let mut front = on_thread(move || {
        let mut front = connect(&at_first);
        front.set_server(Some("node3"));
        let newest = Read { is_linearizable: true, ..Read::default() };
        assert_eq!(get(&mut front, "key", newest).unwrap(), (Some("1".to_owned()), first));
        assert_eq!(get(&mut front, "key", Read::default()).unwrap(), (Some("1".to_owned()), first), "local");
        let apps = front.apps().unwrap();
        assert_eq!((&*apps[0].name, apps[0].state_ndx), ("kv", first));
        assert_eq!(front.wait("kv", first, PATIENCE).unwrap(), first);
        // As if it had been asked here.
        let later = Read { min: Some(first + 1), wait: Some(Duration::from_millis(20)), ..Read::default() };
        assert_eq!(code(get(&mut front, "key", later)), "timeout");
        assert_eq!(code(front.query("kv", &b"\xff"[..], Read::default())), "not-a-query");
        assert_eq!(code(front.query("nothing", &b""[..], Read::default())), "unknown-app");
        assert_eq!(code(front.query("kv", vec![0; 300 << 10], Read::default())), "too-large");
        front.set_server(Some("node9"));
        assert_eq!(code(front.apps()), "unknown-server");
        // The one that is asked, by its name.
        front.set_server(Some("node1"));
        assert_eq!(get(&mut front, "key", newest).unwrap().0.as_deref(), Some("1"));
        front.set_server(Some("node3"));
        assert_eq!(code(front.follow("kv", 0).unwrap().next().unwrap()), "not-elsewhere");
        let mut front = connect(&at_first);
        front.set_server(Some("node3"));
        front
    })
    .await;

    // It waits there for a state that is made meanwhile.
    let waiting = on_thread(move || {
        let later = Read { min: Some(first + 1), wait: Some(PATIENCE), ..Read::default() };
        let read = get(&mut front, "key", later).unwrap();
        (front, read)
    });
    let receipt = client.execute(KV, put("key", "2"), CommandOptions::default()).await.unwrap();
    let (mut front, (value, state_ndx)) = waiting.await;
    assert_eq!((value.as_deref(), StateNdx(state_ndx)), (Some("2"), receipt.state_ndx));

    // A server that is gone is told of, not waited for.
    cluster.kill(2);
    on_thread(move || {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            match code(front.wait("kv", first + 100, PATIENCE)).as_str() {
                "server-away" => return,
                other => assert!(std::time::Instant::now() < until, "{other}"),
            }
        }
    })
    .await;
    cluster.stop_all().await;
}
