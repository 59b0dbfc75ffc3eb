//! Backups of a cluster that commanders write to, clusters that go on from one, and what is left of a cluster that has lost more
//! than half of its nodes: with the commands of docs/OPERATIONS.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod auditing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use auditing::contents;
use serde_json::Value;
use synod_auth::{Algorithm, SigningKey};
use synod_client::{CommandOptions, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, ZONES, base_port, eventually, put};
use synod_types::{Outcome, Receipt, RefusalCode, Seq, SignedCommand, StateNdx};
use tokio::task::JoinHandle;

/// Commands from one snapshot to the next: the fewest that a configuration takes.
const EVERY: u64 = 100;
/// Keys of a writer, each written again and again.
const KEYS: u64 = 20;

/// A cluster that makes snapshots often.
async fn start(nodes: usize) -> Cluster {
    let mut cluster = Cluster::found(nodes);
    (0..nodes).for_each(|n| cluster.configure(n, &format!("\n[snapshots]\ncommands = {EVERY}")));
    cluster.try_start_all().await.unwrap();
    cluster
}

/// Writes numbers that rise, key after key, until it is stopped. What was acknowledged can be asked for while it goes on.
struct Writer {
    stop: Arc<AtomicBool>,
    /// Numbers below this one are acknowledged.
    count: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(cluster: &Cluster, name: &str) -> Writer {
        let key = SigningKey::generate(Algorithm::Ed25519);
        key.save_new(cluster.directory.path().join(format!("{name}.pem"))).unwrap();
        cluster.expect(0, &format!("commander add {name} --app kv --key {name}.pem --role writer"));
        let client = cluster.client(key, 0, Timeouts::default());
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let n = counted.load(Ordering::Relaxed);
                let written =
                    client.execute(KV, put(key_of(n), n.to_string()), CommandOptions::default()).await;
                assert!(matches!(written, Ok(Receipt { outcome: Outcome::Done(_), .. })), "{written:?}");
                counted.store(n + 1, Ordering::Relaxed);
            }
            client.close().await;
        });
        Writer { stop, count, task }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    async fn until(&self, count: u64) {
        eventually("writes go on", async || {
            assert!(!self.task.is_finished(), "the writer has ended");
            self.count() >= count
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.count.load(Ordering::Relaxed)
    }
}

fn key_of(n: u64) -> String {
    format!("key-{:02}", n % KEYS)
}

/// The numbers that a node has.
async fn held(cluster: &Cluster, node: usize) -> BTreeMap<String, u64> {
    let page = cluster.readers.entries(node).await;
    let entries = page.entries.into_iter().filter(|entry| entry.key.starts_with("key-"));
    entries.map(|entry| (entry.key, entry.value.parse().unwrap())).collect()
}

/// Everything below `count` was acknowledged, so each key holds the last number for it, or a later one.
async fn has_all_below(cluster: &Cluster, node: usize, count: u64) {
    let held = held(cluster, node).await;
    for n in count.saturating_sub(KEYS)..count {
        assert!(held[&key_of(n)] >= n, "{} of {n} in {held:?}", key_of(n));
    }
}

async fn all_ready(cluster: &mut Cluster) {
    for node in 0..cluster.len() {
        cluster.spawn(node);
    }
    for node in 0..cluster.len() {
        cluster.ready(node).await;
    }
    eventually("every node welcomes clients", async || {
        for node in 0..cluster.len() {
            if cluster.readers.get(node, "/readyz").await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
}

fn zone(serial: u32, address: &str) -> String {
    format!("$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\nns1 A {address}\n")
}

/// The state of an application, in what a command has printed.
fn app(printed: &Value, app: u32) -> (u64, String) {
    let apps = printed["apps"].as_array().unwrap();
    let app = apps.iter().find(|one| one["appNdx"] == app).unwrap();
    (app["stateNdx"].as_u64().unwrap(), app["chain"].as_str().unwrap().to_owned())
}

/// A command of the administrator that was executed in the cluster before.
async fn signed(cluster: &Cluster, key: &str) -> SignedCommand {
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let seq = client.next_seq(KV).await.unwrap();
    let command = client.commander().sign(KV, seq, put(key.to_owned(), "once"), CommandOptions::default());
    let command = command.unwrap();
    let receipt = client.submit(&command).await.unwrap();
    assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
    client.close().await;
    command
}

/// What goes on in a cluster that goes on from another one, in which `command` was executed: it begins in that one's state, takes no
/// command of that one, and does what a cluster does.
async fn goes_on(cluster: &Cluster, made: &Value, command: &SignedCommand) {
    let (state_ndx, chain) = app(made, KV.0);
    for node in 0..cluster.len() {
        let state = cluster.readers.state(node, &format!("?min={state_ndx}&wait=30")).await.unwrap();
        assert_eq!((state.state_ndx, state.chain().to_string()), (StateNdx(state_ndx), chain.clone()));
    }
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let refused = client.submit(command).await.unwrap_err();
    let SubmitError::Refused(refusal) = &refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, RefusalCode::WrongCluster);
    // Its seq is taken all the same: the receipts are part of the state.
    let seq = client.next_seq(KV).await.unwrap();
    assert!(seq > Seq(1), "{seq}");
    let again =
        client.commander().sign(KV, Seq(seq.0 - 1), put("twice", "x"), CommandOptions::default()).unwrap();
    let SubmitError::Refused(refusal) = client.submit(&again).await.unwrap_err() else { panic!("{again:?}") };
    assert_eq!(refusal.code, RefusalCode::SeqReused);
    let receipt = client.execute(KV, put("new", "1"), CommandOptions::default()).await.unwrap();
    assert_eq!(receipt.state_ndx, StateNdx(state_ndx + 1));
    client.close().await;
    for node in 0..cluster.len() {
        cluster.readers.state(node, &format!("?min={}&wait=30", state_ndx + 1)).await.unwrap();
    }
}

/// The zones answer, and take a new file: over HTTP and DNS, at every node.
fn zones_answer(cluster: &Cluster, serial: u32, expected: &str) {
    let (text, _) = cluster.expect(0, "zone get example.org");
    assert_eq!(text, expected);
    fs::write(cluster.directory.path().join("next"), zone(serial, "192.0.2.9")).unwrap();
    let (text, _) = cluster.expect(0, "zone set example.org next --wait all");
    assert!(text.contains("live at"), "{text}");
}

fn urls(cluster: &Cluster) -> String {
    let urls = cluster.founded.nodes.iter().map(|node| format!("--url {}", node.plan.http));
    urls.collect::<Vec<_>>().join(" ")
}

fn data_dir(cluster: &Cluster, node: usize) -> PathBuf {
    cluster.path(&format!("data-{}", cluster.name(node)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_writes_is_restored_to_new_nodes_and_to_the_same() {
    let mut old = start(3).await;
    let directory = old.directory.path().to_owned();
    for (serial, address) in [(1, "192.0.2.1"), (2, "192.0.2.2")] {
        fs::write(directory.join("zone"), zone(serial, address)).unwrap();
        old.expect(0, "zone set example.org zone --wait all");
    }
    let command = signed(&old, "once").await;
    let writer = Writer::start(&old, "writer");
    // The newest snapshot is not the whole of it, and the log was cut.
    writer.until(3 * EVERY).await;
    let acknowledged = writer.count();
    let made = old.expect_json(0, "backup --to b.synod");
    let after = writer.count();
    writer.until(after + 5).await;
    assert_eq!(made["signedBy"], old.administrator().id().to_string());
    let begins = &made["manifest"]["apps"][0]["begins"];
    assert_eq!(begins["with"], "certified snapshot", "{begins}");
    assert!(begins["signedBy"].as_array().unwrap().len() >= 2, "{begins}");
    assert_eq!(made["manifest"]["files"]["count"], 2, "what a zone held before is there, too");
    let (shown, _) = old.expect(0, "backup show b.synod");
    for words in ["verified by synod", "certified snapshot of state", "node1", "signed by"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let files = old.expect_json(0, "backup show b.synod --files");
    assert_eq!(files.as_array().unwrap().len(), 2);
    let (_, said) = old.expect(1, "backup --to b.synod");
    assert!(said.contains("is there already, and is not overwritten"), "{said}");

    // Three new nodes, while the cluster before still runs. One of them begins with nothing.
    let restore = format!("restore b.synod --nodes 3 --base-port {}", base_port(3));
    let (mut three, printed) = old.heir(&restore);
    let held_by_manifest = |app: usize| made["manifest"]["apps"][app]["stateNdx"].as_u64().unwrap();
    assert_eq!(app(&printed, KV.0).0, held_by_manifest(0));
    fs::remove_dir_all(data_dir(&three, 1)).unwrap();
    all_ready(&mut three).await;
    goes_on(&three, &printed, &command).await;
    for node in 0..3 {
        has_all_below(&three, node, acknowledged).await;
    }
    assert!(
        three.log(1).contains("does not have the state with which the cluster begins"),
        "{}",
        three.log(1)
    );
    zones_answer(&three, 3, &zone(2, "192.0.2.2"));
    let history = three.expect_json(0, "zone history example.org");
    assert_eq!(history["versions"].as_array().unwrap().len(), 3, "{history}");
    let (audited, said) = three.expect(0, &format!("audit {} --quiet", urls(&three)));
    assert!(audited.contains("for which genesis vouches") && said.is_empty(), "{audited}\n{said}");
    let before = old.founded.cluster.short();
    assert!(audited.contains(&format!("of cluster {before}")), "{audited}");
    let backup = directory.join("b.synod");
    three.expect(0, &format!("audit {} --quiet --origin {}", urls(&three), backup.display()));
    // Members come and go as ever.
    let added = three.prepare("node4");
    three.spawn(added);
    three.ready(added).await;
    three.asks(added).await;
    let accepted = three.expect_json(0, &format!("member accept node4 --id {}", three.digits(added)));
    assert_eq!(accepted["settled"]["reached"], true, "{accepted}");
    // And so do backups.
    let again = three.expect_json(0, "backup --to again.synod");
    assert_eq!(again["manifest"]["cluster"], three.founded.cluster.to_string());
    three.stop_all().await;
    for node in [0, 1] {
        let data = data_dir(&three, node);
        three.expect(0, &format!("audit --data-dir {} --quiet", data.display()));
    }
    for node in 0..3 {
        three.spawn(node);
    }
    three.spawn(added);
    eventually("they go on where they were", async || {
        three.readers.key(2, "new", "?consistency=linearizable", Duration::from_secs(5)).await.is_some()
    })
    .await;
    three.stop_all().await;

    // One new node.
    let (mut one, printed) = old.heir(&format!("restore b.synod --nodes 1 --base-port {}", base_port(1)));
    all_ready(&mut one).await;
    goes_on(&one, &printed, &command).await;
    has_all_below(&one, 0, acknowledged).await;
    zones_answer(&one, 3, &zone(2, "192.0.2.2"));
    one.expect(0, &format!("audit {} --quiet", urls(&one)));
    one.stop_all().await;

    // The same nodes, while one of the cluster before still runs under its key.
    let count = writer.end().await;
    old.stop(0).await;
    old.stop(1).await;
    let (mut same, printed) = old.heir("restore b.synod --members-of cluster");
    let ids = |cluster: &Cluster| cluster.founded.nodes.iter().map(|node| node.id).collect::<Vec<_>>();
    let (mut before, mut after) = (ids(&old), ids(&same));
    before.sort();
    after.sort();
    assert_eq!(before, after);
    let place = |name: &str| same.founded.nodes.iter().position(|node| node.plan.name == name).unwrap();
    let (first, second, third) = (place("node1"), place("node2"), place("node3"));
    for node in [first, second] {
        same.spawn(node);
    }
    for node in [first, second] {
        same.ready(node).await;
    }
    eventually("two of three go on without it", async || {
        same.readers.key(first, "key-00", "?consistency=linearizable", Duration::from_secs(5)).await.is_some()
    })
    .await;
    eventually("who is of the cluster before is refused", async || {
        same.readers.up(first).await == ["node2"] && old.readers.up(2).await.is_empty()
    })
    .await;
    old.stop(2).await;
    same.spawn(third);
    same.ready(third).await;
    goes_on(&same, &printed, &command).await;
    has_all_below(&same, third, acknowledged).await;
    same.stop_all().await;

    // Of nodes that do not run: two of them have what was acknowledged, whoever stopped when.
    let dirs = [0, 1].map(|node| format!("--data-dir {}", data_dir(&old, node).display())).join(" ");
    let stopped = old.expect_json(0, &format!("backup --to stopped.synod {dirs}"));
    let state_ndx = stopped["manifest"]["apps"][0]["stateNdx"].as_u64().unwrap();
    assert!(state_ndx >= count && state_ndx > held_by_manifest(0), "{count} writes, {stopped}");
    assert_eq!(ZONES.0, stopped["manifest"]["apps"][1]["appNdx"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_nobody_vouches_for_is_not_restored() {
    let mut cluster = Cluster::start(1).await;
    let directory = cluster.directory.path().to_owned();
    cluster.expect(0, "kv put greeting hello");
    let writer = Writer::start(&cluster, "writer");
    writer.until(5).await;
    writer.end().await;
    cluster.expect(0, "backup --to good.synod");
    let (_, said) = cluster.expect(0, "backup --to others.synod --sign-with writer.pem");
    assert!(said.contains("is no administrator there"), "{said}");
    let id = SigningKey::load(directory.join("writer.pem")).unwrap().id().to_string();
    let (_, said) = cluster.expect(3, "restore others.synod --dir again");
    assert!(said.contains("is no administrator of application 1") && said.contains(&id[..12]), "{said}");
    let (_, said) = cluster.expect(3, &format!("restore good.synod --dir again --signed-by {id}"));
    assert!(said.contains("as --signed-by wants it"), "{said}");
    cluster.expect(2, "restore good.synod --dir again --signed-by 1234");

    let good = fs::read(directory.join("good.synod")).unwrap();
    for at in [0, 20, good.len() / 3, good.len() / 2, good.len() - 30, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(directory.join("bad.synod"), &bad).unwrap();
        for tool in ["restore bad.synod --dir again", "backup show bad.synod"] {
            cluster.expect(7, tool);
        }
    }
    fs::write(directory.join("bad.synod"), &good[..good.len() - 1]).unwrap();
    let (_, said) = cluster.expect(7, "restore bad.synod --dir again");
    assert!(said.contains("whose beginning or end is missing"), "{said}");
    assert!(!directory.join("again").exists(), "nothing is written before it is known to be right");

    // Whoever knows that key can say so, and nothing that is there is overwritten.
    let base = base_port(1);
    let restore =
        format!("restore others.synod --dir again --nodes 1 --base-port {base} --signed-by {}", &id[..12]);
    cluster.expect(0, &restore);
    let (_, said) = cluster.expect(1, &restore);
    assert!(said.contains("is not empty"), "{said}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_three_nodes_has_goes_on_when_the_others_are_lost() {
    let mut old = start(3).await;
    fs::write(old.directory.path().join("zone"), zone(1, "192.0.2.1")).unwrap();
    old.expect(0, "zone set example.org zone --wait all");
    let command = signed(&old, "once").await;
    let writer = Writer::start(&old, "writer");
    writer.until(2 * EVERY + 10).await;
    // What is acknowledged from now on, the third one may not have.
    let by_all = writer.count();
    let last = old.readers.state(0, "").await.unwrap().state_ndx;
    old.readers.state(2, &format!("?min={last}&wait=30")).await.unwrap();
    old.kill(2);
    writer.until(by_all + 30).await;
    writer.end().await;
    let all = old.readers.state(0, "").await.unwrap();
    old.kill(0);
    old.kill(1);

    let left = data_dir(&old, 2);
    let recover = format!("recover --from-minority --data-dir {}", left.display());
    let running = contents(&left);
    let statement = old.expect_json(3, &format!("{recover} --dir again"));
    assert!(!old.directory.path().join("again").exists());
    assert_eq!(statement["accepted"], false);
    let said = &statement["apps"][0];
    assert_eq!((&said["voters"], &said["present"], &said["complete"]), (&3.into(), &1.into(), &false.into()));
    let certain = said["certain"]["stateNdx"].as_u64().unwrap();
    let taken = said["taken"]["stateNdx"].as_u64().unwrap();
    assert!(certain <= taken && taken < all.state_ndx.0 && taken >= last.0, "{said} {last} {all:?}");
    let (text, refused) = old.expect(3, &format!("{recover} --dir again"));
    for words in [
        "certain   everything up to stateNdx",
        "may be lost:",
        "only the lost nodes had: 1 of 3 nodes are here",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(refused.contains("give --accept-that-commands-may-be-lost"), "{refused}");
    let accepted = "--accept-that-commands-may-be-lost";
    let certain_only = old.expect_json(3, &format!("{recover} --dir again --only-certain"));
    assert_eq!(certain_only["apps"][0]["taken"]["stateNdx"], certain);

    // Two of three have everything that was acknowledged, killed or not.
    let two = format!("{recover} --data-dir {} --dir again", data_dir(&old, 0).display());
    let complete = old.expect_json(3, &two);
    assert_eq!(complete["apps"][0]["complete"], true, "{complete}");
    assert!(
        complete["apps"][0]["taken"]["stateNdx"].as_u64().unwrap() >= all.state_ndx.0,
        "{complete} {all:?}"
    );
    let (_, said) = old.expect(2, &format!("{recover} --data-dir {} --dir again", left.display()));
    assert!(said.contains("name each node's only one"), "{said}");

    for lost in [0, 1] {
        fs::remove_dir_all(data_dir(&old, lost)).unwrap();
    }
    let (mut new, printed) =
        old.heir(&format!("{recover} {accepted} --nodes 3 --base-port {}", base_port(3)));
    assert_eq!(printed["statement"]["accepted"], true);
    assert_eq!(app(&printed, KV.0).0, taken);
    assert_eq!(contents(&left), running, "evidence is not altered");
    all_ready(&mut new).await;
    goes_on(&new, &printed, &command).await;
    has_all_below(&new, 0, by_all).await;
    zones_answer(&new, 2, &zone(1, "192.0.2.1"));
    new.expect(0, &format!("audit {} --quiet", urls(&new)));
    new.stop_all().await;

    // What is damaged is told, and the zone file that nobody has.
    fs::remove_dir_all(left.join("content")).unwrap();
    let path = newest_snapshot(&left);
    fs::write(&path, "no snapshot").unwrap();
    let (text, _) = old.expect(3, &format!("{recover} --dir again"));
    for words in ["damaged   node3: ", "1 zone files are on none of these nodes"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

/// Every command of the two pages for bad days, as it stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_pages_do_what_the_pages_say() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/OPERATIONS.md")).unwrap();
    let page = page.split_once("## Backup and restore\n").unwrap().1;
    let page = page.split_once("## Not there yet").unwrap().0.replace("\\\n", "");
    let blocks = page.split("```sh\n").skip(1).flat_map(|block| block.split_once("```").unwrap().0.lines());
    let commands: Vec<&str> = blocks.filter(|line| !line.is_empty()).collect();
    let mut cluster = Cluster::start(3).await;
    let directory = cluster.directory.path().to_owned();
    cluster.expect(0, "kv put greeting hello");
    let (mut ran, mut is_stopped) = (0, false);
    for command in &commands {
        let arguments = command.strip_prefix("synod ").unwrap();
        if !arguments.starts_with("backup") && !is_stopped {
            cluster.stop_all().await;
            is_stopped = true;
            for file in ["admin.pem", "genesis.json"] {
                fs::copy(cluster.path(file), directory.join(file)).unwrap();
            }
            fs::rename(cluster.path("data-node3"), directory.join("data-node3")).unwrap();
        }
        let is_asked = arguments.starts_with("recover") && !arguments.contains("--accept");
        cluster.expect(if is_asked { 3 } else { 0 }, arguments);
        let again = directory.join("again");
        if arguments.contains("--dir again") && !is_asked {
            assert!(again.join("client.toml").is_file() && again.join("genesis.json").is_file(), "{command}");
            let apart = again.join("node1/data-node1/snapshots").is_dir();
            let together = again.join("data-node1/snapshots").is_dir();
            assert_eq!(
                (apart, together),
                (arguments.contains("--node-dirs"), !arguments.contains("--node-dirs"))
            );
            fs::remove_dir_all(&again).unwrap();
        }
        assert!(!again.exists());
        ran += 1;
    }
    assert!(ran >= 6, "{commands:?}");
    // What is said in passing.
    fs::rename(directory.join("data-node3"), cluster.path("data-node3")).unwrap();
    let dirs = "--data-dir cluster/data-node1 --data-dir cluster/data-node2";
    cluster.expect(0, &format!("backup --to stopped.synod {dirs}"));
    cluster.expect(0, "restore 2026-11-29.synod --dir try --nodes 1 --base-port 17101");
    let with_data = "restore 2026-11-29.synod --dir moved --nodes 1 --node-data-dir /var/lib/synod/data";
    let (told, _) = cluster.expect(0, with_data);
    assert!(told.contains("move moved/data-node1 to /var/lib/synod/data on 127.0.0.1"), "{told}");
    // Keys that only the nodes have.
    fs::remove_file(cluster.path("node2-key.pem")).unwrap();
    let (told, _) = cluster.expect(0, "restore 2026-11-29.synod --dir again --members-of cluster");
    assert!(
        told.contains("node2: put its own key, which only 127.0.0.1 has, to again/node2-key.pem"),
        "{told}"
    );
    fs::remove_file(cluster.path("node2.pem")).unwrap();
    cluster.expect(1, "restore 2026-11-29.synod --dir third --members-of cluster");
    fs::remove_file(cluster.path("node2.toml")).unwrap();
    let (_, said) = cluster.expect(2, "restore 2026-11-29.synod --dir third --members-of cluster");
    assert!(said.contains("no configuration with a certificate of node2"), "{said}");
}

fn newest_snapshot(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    let slot =
        |path: &PathBuf| -> Option<u64> { path.file_name()?.to_str()?.strip_prefix("1-")?.parse().ok() };
    entries.filter_map(|path| Some((slot(&path)?, path))).max().unwrap().1
}
