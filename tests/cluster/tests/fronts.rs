//! Front ends in processes of their own, played by threads: what they are told, and that they and the node come and go without each other.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::worker::{COUNTER, Worker, apps};
use synod_cluster::{Cluster, KV, eventually, put};
use synod_lane::front::{Asked, FrontAnswer, FrontHello, FrontQuestion, FrontReception, Told};
use synod_lane::{Link, LinkError};
use synod_sdk::Encoding;
use synod_sdk::front::{AskError, FrontEnd, Read};
use synod_types::command::Operation;

const PROGRAM: &str = env!("CARGO_BIN_EXE_synod-counter");
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(socket: &Path, encoding: Encoding) -> FrontEnd {
    FrontEnd::connect(socket, "a test", encoding, PATIENCE).unwrap()
}

/// On a thread that may wait.
async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(call).await.unwrap()
}

async fn count(client: &Client, name: &str) -> u64 {
    let operation = [&[Operation::APP], name.as_bytes()].concat();
    client.execute(COUNTER, operation.into(), CommandOptions::default()).await.unwrap().state_ndx.0
}

fn code(asked: Result<impl Sized, AskError>) -> String {
    match asked {
        Err(AskError::Problem { code, .. }) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an answer"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_end_asks_waits_and_follows_and_the_node_may_go_and_come() {
    let mut cluster = Cluster::found_apps(1, apps());
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    let socket = cluster.data_dir(0).join("lanes").join("front-ends.sock");
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());

    let mut front = connect(&socket, Encoding::Json);
    assert_eq!((front.cluster(), front.node()), (&*cluster.founded.cluster.to_string(), "node1"));
    let away = on_thread(move || {
        let away = code(front.query("counter", "a", Read::default()));
        assert_eq!(code(front.query("nothing", "a", Read::default())), "unknown-app");
        away
    });
    assert_eq!(away.await, "application-away");
    let _worker = Worker::start(&cluster, 0, &[PROGRAM.into()], &[]);
    assert_eq!(count(&client, "a").await, 1);

    // One follows, one asks, and both see what is written.
    let follower = connect(&socket, Encoding::MessagePack);
    let following = on_thread(move || {
        let states = follower.follow("counter", 1).unwrap().map(Result::unwrap);
        states.take_while(|state_ndx| *state_ndx < 5).collect::<Vec<u64>>()
    });
    let last = async {
        let mut last = 0;
        for _ in 0..4 {
            last = count(&client, "a").await;
        }
        last
    };
    let (seen, last) = tokio::join!(following, last);
    assert_eq!(last, 5);
    assert!(seen.is_sorted() && seen.iter().all(|state_ndx| (2..5).contains(state_ndx)), "{seen:?}");

    let asking = socket.clone();
    on_thread(move || {
        let mut front = connect(&asking, Encoding::MessagePack);
        let apps = front.apps().unwrap();
        let names: Vec<(&str, &str)> = apps.iter().map(|app| (&*app.name, &*app.kind)).collect();
        assert_eq!(names, [("kv", "kv"), ("zones", "zones"), ("counter", "counter")]);
        assert_eq!((apps[2].state_ndx, apps[2].leader.as_deref()), (5, Some("node1")));
        let newest = Read { is_linearizable: true, ..Read::default() };
        let answered = front.query("3", "a", newest).unwrap();
        assert_eq!((&answered.answer[..], answered.state_ndx, answered.chain.len()), (&b"5"[..], 5, 64));
        assert_eq!(front.wait("counter", 4, PATIENCE).unwrap(), 5);
        let later = Read { min: Some(9), wait: Some(Duration::from_millis(20)), ..Read::default() };
        assert_eq!(code(front.query("counter", "a", later)), "timeout");
        assert_eq!(code(front.query("counter", &b"\xff"[..], Read::default())), "not-a-query");
    })
    .await;

    let config = format!("--config {}", cluster.founded.nodes[0].config.display());
    let list = cluster.expect_json(0, &format!("lane list {config}"));
    assert_eq!((&list["node"], &list["apps"][2]["stateNdx"]), (&"node1".into(), &5.into()));
    assert_eq!(cluster.expect(0, &format!("lane send counter a {config} --linearizable")).0, "5");
    let socket_option = format!("--socket {}", socket.display());
    assert!(cluster.expect(2, &format!("lane send nothing a {socket_option}")).1.contains("no application"));
    cluster.expect(6, &format!("lane send counter a {socket_option} --min 9 --wait 20ms"));
    let (tail, _) = cluster.expect(0, &format!("lane tail counter {socket_option} --after 4 --until 5"));
    assert_eq!(tail, "state 5\n");
    cluster.expect(5, "lane list --socket nowhere.sock");

    // The node goes and comes; the front end only has to connect again.
    let front = connect(&socket, Encoding::Json);
    let (tell, first) = tokio::sync::oneshot::channel();
    let waiting = tokio::task::spawn_blocking(move || {
        let mut states = front.follow("kv", 0).unwrap();
        tell.send(states.next().unwrap().unwrap()).unwrap();
        states.next().unwrap().unwrap_err().to_string()
    });
    let receipt = client.execute(KV, put("key", "value"), CommandOptions::default()).await.unwrap();
    assert_eq!(first.await.unwrap(), receipt.state_ndx.0);
    cluster.kill(0);
    assert_eq!(waiting.await.unwrap(), "the other end closed the connection");
    cluster.spawn(0);
    cluster.ready(0).await;
    let mut front = connect(&socket, Encoding::Json);
    assert_eq!(on_thread(move || front.wait("kv", 1, PATIENCE).unwrap()).await, 1);
    cluster.stop(0).await;
}

/// A connection that may say anything.
fn raw(socket: &Path, versions: (u32, u32)) -> (Link, FrontReception) {
    let stream = UnixStream::connect(socket).unwrap();
    let mut link = Link::new(stream, Encoding::Json, Some(PATIENCE)).unwrap();
    link.send(&FrontHello { versions, program: "a test".to_owned() }).unwrap();
    let reception = link.receive().unwrap();
    (link, reception)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_overlap_and_what_makes_no_sense_ends_one_connection() {
    let mut cluster = Cluster::found(1);
    cluster.configure(0, "\n[front_ends]");
    cluster.try_start_all().await.unwrap();
    eventually("there is a leader", async || cluster.leader(KV).await.is_some()).await;
    let socket = cluster.data_dir(0).join("lanes").join("front-ends.sock");
    on_thread(move || {
        let (mut link, reception) = raw(&socket, (1, 7));
        assert!(matches!(reception, FrontReception::Welcome { version: 2, .. }));
        let ask = |link: &mut Link, id, ask| link.send(&Asked { id, ask }).unwrap();
        let told = |link: &mut Link| link.receive::<Told>().unwrap();
        // The first one waits, and holds up nobody.
        ask(&mut link, 1, FrontQuestion::Wait { app: "kv".to_owned(), state_ndx: 9, wait_ms: Some(30_000) });
        ask(&mut link, 2, FrontQuestion::Apps);
        assert!(matches!(told(&mut link), Told { id: 2, tell: FrontAnswer::Apps(_) }));
        ask(&mut link, 1, FrontQuestion::Stop);
        assert_eq!(told(&mut link), Told { id: 1, tell: FrontAnswer::Stopped });
        // Its number is free again.
        ask(&mut link, 1, FrontQuestion::Apps);
        assert!(matches!(told(&mut link), Told { id: 1, .. }));
        ask(&mut link, 3, FrontQuestion::Follow { app: "kv".to_owned(), after: 9 });
        ask(&mut link, 3, FrontQuestion::Apps);
        assert!(matches!(link.receive::<Told>(), Err(LinkError::Closed)), "3 is under way already");

        let (mut link, reception) = raw(&socket, (3, 4));
        assert!(matches!(reception, FrontReception::Refused(why) if why.contains("versions 3 to 4")));
        assert!(matches!(link.receive::<Told>(), Err(LinkError::Closed)));
        for garbage in [&b"\0\0\0\x02no"[..], b"\xff\xff\xff\xff"] {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(garbage).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is closed");
        }
        // Among all these, one that makes sense.
        assert_eq!(connect(&socket, Encoding::Json).apps().unwrap().len(), 2);
    })
    .await;
    cluster.stop(0).await;
}
