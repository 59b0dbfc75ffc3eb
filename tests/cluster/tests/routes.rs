//! Front ends in processes of their own, played by threads, that reach other servers through the one that they are connected to.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_app_kv::{KvAnswer, KvQuery};
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, eventually, put};
use synod_sdk::Encoding;
use synod_sdk::front::{AskError, FrontEnd, Read};
use synod_sdk::yard::Yard;
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

/// How often a node has counted something of routing.
async fn counted(cluster: &Cluster, n: usize, event: &str) -> u64 {
    let text = cluster.readers.get(n, "/metrics").await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let wanted = format!("synod_route_events_total{{event=\"{event}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok()).unwrap_or_default()
}

/// Sends to a yard until it gets there: servers hear each other a moment after they have started, and yards open.
fn reach(front: &mut FrontEnd, to: &str) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match front.request(to, &b"hello"[..], None) {
            Ok(answer) => return assert_eq!(&answer[..], b"hello"),
            Err(AskError::Problem { code, text, .. }) => {
                assert!(["server-away", "unknown-yard", "lost"].contains(&&*code), "{code}: {text}");
                assert!(std::time::Instant::now() < until, "{code}: {text}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

const LAST: &[u8] = b"the last one";

/// Takes messages until the last one comes, answering those that want it; gives all that were sent to the queue `count`.
fn take_all(mut yard: Yard) -> (Yard, Vec<String>) {
    let mut taken = Vec::new();
    loop {
        for arrival in yard.receive(None, 64, PATIENCE).unwrap() {
            if arrival.wants_reply {
                yard.reply(arrival.number, arrival.body.clone()).unwrap();
            }
            if arrival.body == LAST {
                return (yard, taken);
            }
            if arrival.queue == "count" {
                assert_eq!(arrival.from, "node1/desk");
                taken.push(String::from_utf8(arrival.body.to_vec()).unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_get_there_in_order_while_another_server_dies_and_a_yard_dies_with_its_server() {
    let mut cluster = three().await;
    let (at_first, at_third) = (socket(&cluster, 0), socket(&cluster, 2));

    let opening = at_third.clone();
    let clerk = on_thread(move || {
        let yard = connect(&opening).open("clerk", None).unwrap();
        // One process has a name.
        assert_eq!(code(connect(&opening).open("clerk", None)), "yard-taken");
        assert_eq!(code(connect(&opening).open("kv", None)), "yard-taken");
        yard
    });
    let clerk = clerk.await;
    let taking = tokio::task::spawn_blocking(move || take_all(clerk));

    let desk = at_first.clone();
    let desk = on_thread(move || {
        let mut desk = connect(&desk).open("desk", Some(&[""])).unwrap();
        reach(&mut desk, "node3/clerk");
        desk
    });
    let mut desk = desk.await;
    let (half, at_half) = tokio::sync::oneshot::channel();
    let sending = tokio::task::spawn_blocking(move || {
        let mut half = Some(half);
        for number in 0..1_000 {
            if number == 500 {
                half.take().unwrap().send(()).unwrap();
            }
            desk.send_to("node3/clerk/count", number.to_string(), Some(PATIENCE)).unwrap();
        }
        desk.send_to("node3/clerk", LAST, Some(PATIENCE)).unwrap();
        desk
    });
    at_half.await.unwrap();
    cluster.kill(1);
    let mut desk = sending.await.unwrap();
    let (clerk, taken) = taking.await.unwrap();
    assert_eq!(taken, (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(counted(&cluster, 2, "taken").await > 1_000);

    // Who sends to where nobody takes it is told why.
    desk = on_thread(move || {
        assert_eq!(code(desk.send_to("node9/clerk", "", None)), "unknown-server");
        assert_eq!(code(desk.send_to("node3/nobody", "", None)), "unknown-yard");
        assert_eq!(code(desk.send_to("/desk/letters", "", None)), "unknown-queue");
        assert_eq!(code(desk.send_to("node3/kv", "", None)), "not-a-yard");
        assert_eq!(code(desk.send_to("a/b/c/d", "", None)), "bad-address");
        assert_eq!(code(desk.send_to("node3/clerk", vec![0; 40 << 10], None)), "too-large");
        assert_eq!(code(desk.request("node3/kv", "no query", None)), "not-a-query");
        let query = KvQuery::Get { key: "none".into(), at: None }.encode();
        let answer = desk.request("node3/kv", query, None).unwrap();
        assert_eq!(wire::decode::<KvAnswer>(&answer).unwrap(), KvAnswer::Get(None));
        // One that is slow to be taken.
        assert_eq!(code(desk.send_to("desk", "", Some(Duration::from_millis(20)))), "timeout");
        desk
    })
    .await;

    // The server dies with the yard; a message is on its way to its process, which does not look.
    let asking = tokio::task::spawn_blocking(move || {
        let told = code(desk.request("node3/clerk", "a question", Some(PATIENCE)));
        (desk, told)
    });
    eventually("the question is there", async || {
        let yards = yards_of(&at_third).await;
        yards.iter().any(|(yard, waiting)| yard == "clerk" && *waiting == 1)
    })
    .await;
    cluster.kill(2);
    cluster.spawn(2);
    cluster.ready(2).await;
    let (mut desk, told) = asking.await.unwrap();
    assert_eq!(told, "lost");
    assert!(counted(&cluster, 0, "lost").await >= 1);
    drop(clerk);
    assert_eq!(yards_of(&at_third).await, [], "the yard is gone with its server");
    let opening = at_third.clone();
    desk = on_thread(move || {
        assert_eq!(code(desk.send_to("node3/clerk", "", None)), "unknown-yard");
        // Another process has the name; it takes nothing, and ends.
        let clerk = connect(&opening).open("clerk", None).unwrap();
        let asking = std::thread::spawn(move || {
            let told = code(desk.request("node3/clerk", "a question", Some(PATIENCE)));
            (desk, told)
        });
        let mut other = connect(&opening);
        let until = std::time::Instant::now() + PATIENCE;
        while other.yards().unwrap().iter().all(|yard| yard.waiting == 0) {
            assert!(std::time::Instant::now() < until, "the question is not there");
        }
        drop(clerk);
        let (desk, told) = asking.join().unwrap();
        assert_eq!(told, "yard-reaped");
        desk
    })
    .await;
    drop(desk);
    assert!(counted(&cluster, 2, "reaped").await >= 1);
    assert!(counted(&cluster, 2, "unknown-yard").await >= 1);
    assert!(counted(&cluster, 0, "unknown-server").await >= 1);
    cluster.stop(0).await;
    cluster.stop(2).await;
}

/// Each yard of the node at this socket, and how much waits there.
async fn yards_of(socket: &Path) -> Vec<(String, u64)> {
    let socket = socket.to_owned();
    on_thread(move || {
        let yards = connect(&socket).yards().unwrap();
        yards.into_iter().map(|yard| (yard.yard, yard.waiting)).collect()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_servers_sends_to_yards_and_is_one() {
    let mut cluster = Cluster::found(2);
    (0..2).for_each(|n| cluster.configure(n, "\n[front_ends]"));
    cluster.try_start_all().await.unwrap();
    eventually("there is a leader", async || cluster.leader(KV).await.is_some()).await;
    let config = format!("--config {}", cluster.founded.nodes[0].config.display());
    let at_second = socket(&cluster, 1);

    let mut tail = std::process::Command::new(synod_cluster::program());
    tail.args([
        "lane",
        "tail",
        "/desk/news",
        "--count",
        "2",
        "--answer",
        "me",
        "--output",
        "json",
        "--socket",
    ]);
    tail.arg(&at_second);
    let tailing = tokio::task::spawn_blocking(move || tail.output().unwrap());
    eventually("the yard is open", async || {
        let all = cluster.expect_json(0, &format!("lane list --server all {config}"));
        let second = &all["servers"][1];
        let is_there = second["server"] == "node2" && second["apps"][0]["name"] == "kv";
        is_there
            && second["yards"][0] == serde_json::json!({"yard": "desk", "queues": ["news"], "waiting": 0})
    })
    .await;
    eventually("the nodes hear each other", async || {
        let sent = cluster.run(&format!("lane send node2/desk/news hello {config}"));
        let told = (String::from_utf8(sent.stdout).unwrap(), sent.status.code());
        assert!([Some(0), Some(5)].contains(&told.1), "{told:?}");
        told == ("taken by node2/desk/news\n".to_owned(), Some(0))
    })
    .await;
    assert_eq!(cluster.expect(0, &format!("lane send node2/desk/news who? --reply {config}")).0, "me");
    let printed = String::from_utf8(tailing.await.unwrap().stdout).unwrap();
    let printed: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |number: u64, body: &str, wants_reply: bool| {
        serde_json::json!({
            "number": number, "from": "node1/", "queue": "news", "body": body, "bodyHex": null, "wantsReply": wants_reply,
        })
    };
    assert_eq!(printed, [told(1, "hello", false), told(2, "who?", true)]);

    // An application at another server, asked as it is asked here.
    let query = cluster.path("query");
    std::fs::write(&query, KvQuery::Get { key: "none".into(), at: None }.encode()).unwrap();
    let file = format!("--file {} {config}", query.display());
    let answered = cluster.expect_json(0, &format!("lane send node2/kv {file} --linearizable"));
    assert_eq!(answered["answer"], String::from_utf8(wire::encode(&KvAnswer::Get(None))).unwrap());
    let listed = cluster.expect_json(0, &format!("lane list --server node2 {config}"));
    assert_eq!((&listed["server"], &listed["yards"]), (&"node2".into(), &serde_json::json!([])));
    assert!(cluster.expect(0, &format!("lane list --server all {config}")).0.contains("node2/kv"));

    for (exit, arguments, why) in [
        (3, "send node2/desk hello", "no process has opened"),
        (2, "send node9/desk hello", "no server"),
        (2, "send a/b/c/d hello", "no address"),
        (2, "send node2/desk hello --linearizable", "no application"),
        (2, "tail node2/desk", "this is node1"),
        (2, "list --server node9", "no server"),
    ] {
        let (_, error) = cluster.expect(exit, &format!("lane {arguments} {config}"));
        assert!(error.contains(why), "{arguments}: {error}");
    }
    cluster.stop_all().await;
}
