//! Logs that nodes have cut off: audited from a snapshot on, or with an archive from genesis on, and everything that is
//! wrong with snapshots, certificates and archives.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod auditing;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use auditing::{Ran, Tools, contents, copy};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use synod_auth::{Algorithm, GenesisApp, SigningKey, sign_checkpoint};
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, KV, put};
use synod_types::{AppNdx, Certificate, Digest, wire};

/// Commands from one snapshot to the next: the fewest that a configuration takes.
const EVERY: u64 = 100;
const CERTIFICATE_DOMAIN: &[u8] = b"synod/snapshot/v1\0";

/// A cluster that makes snapshots often, and of which these nodes have archives.
async fn start(archives: &[usize]) -> Cluster {
    let mut cluster = Cluster::found(3);
    for n in 0..cluster.len() {
        cluster.configure(n, &format!("\n[snapshots]\ncommands = {EVERY}"));
        if archives.contains(&n) {
            cluster.configure(n, &format!("[archive]\ndir = \"archive-{n}\""));
        }
    }
    // In the way of the second node's segments.
    let in_the_way = in_the_way(&cluster);
    fs::create_dir(in_the_way.parent().unwrap()).unwrap();
    fs::write(in_the_way, "").unwrap();
    cluster.try_start_all().await.unwrap();
    cluster
}

/// Where the second node's segments would be, if it had an archive.
fn in_the_way(cluster: &Cluster) -> PathBuf {
    cluster.path("archive-1").join(KV.to_string())
}

/// An application's segments, in order.
fn segments(archive: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(archive.join(KV.to_string())) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect();
    segments.sort_by_key(|path| slots(path).0);
    segments
}

/// The first and the last slot of a segment.
fn slots(segment: &Path) -> (u64, u64) {
    let name = segment.file_stem().unwrap().to_str().unwrap();
    let (first, last) = name.split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

async fn is_cut(cluster: &Cluster, n: usize) -> bool {
    let read = cluster.readers.get(n, &format!("/v1/apps/{KV}/log?after=0")).await;
    read.is_err_and(|why| why.status().is_some_and(|status| status == 410))
}

/// Commands until the condition holds.
async fn write_until(cluster: &Cluster, condition: impl AsyncFn() -> bool) {
    let client = cluster.client(cluster.administrator(), 0, Timeouts::default());
    for count in 0..100 * EVERY {
        let command = put(format!("key {}", count % 17), count.to_string());
        client.execute(KV, command, CommandOptions::default()).await.unwrap();
        if condition().await {
            return client.close().await;
        }
    }
    panic!("it never came to that\n{}", cluster.log(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_is_audited_from_a_snapshot_or_with_the_archive() {
    let mut cluster = start(&[0]).await;
    let tools = Tools { client: cluster.path("client.toml"), directory: cluster.directory.path().to_owned() };
    let archive = cluster.path("archive-0");
    tools.run(&["kv", "put", "first", "1", "--receipt", "early.json"]).ok();
    write_until(&cluster, async || {
        segments(&archive).len() > 1 && is_cut(&cluster, 1).await && is_cut(&cluster, 2).await
    })
    .await;
    tools.run(&["kv", "put", "last", "2", "--receipt", "late.json"]).ok();
    let late: Value =
        serde_json::from_str(&fs::read_to_string(tools.directory.join("late.json")).unwrap()).unwrap();
    let last = late["stateNdx"].as_u64().unwrap();
    let mut chain = Digest::default();
    for n in 0..3 {
        chain = cluster.readers.state(n, &format!("?min={last}&wait=30")).await.unwrap().chain();
    }
    let metrics = cluster.readers.get(0, "/metrics").await.unwrap();
    let metrics = str::from_utf8(&metrics).unwrap();
    assert!(metrics.contains("synod_archive_slot{app=\"1\"}"), "{metrics}");
    assert!(metrics.contains("synod_archive_bytes{app=\"1\"}"), "{metrics}");

    let url = cluster.founded.nodes[0].plan.http.to_string();
    let archive = archive.to_str().unwrap();
    let alone = tools.run(&["audit", "-q", "--app", "1", "--url", &url]);
    assert_eq!(alone.code, 3, "{}", alone.said);
    for words in ["the log of application 1 begins behind slot ", "--data-dir DIR", "--archive DIR"] {
        assert!(alone.said.contains(words), "{}", alone.said);
    }
    let both = tools.run(&["audit", "-q", "--app", "1", "--url", &url, "--archive", archive]).ok().out;
    assert!(both.contains(&format!("stateNdx {last}  chain {chain}")), "{both}");
    cluster.stop_all().await;

    let data = [0, 2].map(|n| cluster.path(&format!("data-{}", cluster.name(n))));
    let audited = Audited { tools, last, chain: chain.to_string() };
    the_archive_and_the_log_go_from_genesis_to_the_end(&audited, archive, &data[0]);
    a_cut_log_begins_with_its_snapshot(&audited, &data[1]);
    wrong_snapshots_are_found(&audited, &data[1]);
    wrong_archives_are_found(&audited, archive, &data[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_archived_is_not_cut_and_what_was_never_there_is_told() {
    let mut cluster = start(&[0, 1, 2]).await;
    let archives = [0, 1, 2].map(|n| cluster.path(&format!("archive-{n}")));
    // The third node misses so much that it gets a snapshot; the second one cannot write.
    cluster.kill(2);
    write_until(&cluster, async || {
        is_cut(&cluster, 0).await && cluster.log(1).contains("the log is not cut")
    })
    .await;
    assert!(!is_cut(&cluster, 1).await, "{}", cluster.log(1));
    fs::remove_file(in_the_way(&cluster)).unwrap();
    write_until(&cluster, async || is_cut(&cluster, 1).await).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    let third = || segments(&archives[2]).first().map(|segment| slots(segment));
    let reaches = |archive: &Path| segments(archive).last().map_or(0, |segment| slots(segment).1);
    write_until(&cluster, async || third().is_some_and(|(first, _)| reaches(&archives[0]) + 1 >= first))
        .await;
    assert_eq!(slots(&segments(&archives[1])[0]).0, 1, "nothing is lost by the first attempts");
    let (first, _) = third().unwrap();
    let told = format!("the archive has no slots 1 to {}: this node does not have them", first - 1);
    assert!(cluster.log(2).contains(&told), "{told}\n{}", cluster.log(2));
    cluster.stop_all().await;

    let tools = Tools { client: cluster.path("client.toml"), directory: cluster.directory.path().to_owned() };
    let data = cluster.path(&format!("data-{}", cluster.name(2)));
    let (archive, data) = (archives[2].to_str().unwrap(), data.to_str().unwrap());
    let audit = || tools.run(&["audit", "-q", "--app", "1", "--archive", archive, "--data-dir", data]);
    audit().broken(&[&format!("hole: the archive has no segment with the slots 1 to {}", first - 1)]);
    copy(&archives[0].join(KV.to_string()), &archives[2].join(KV.to_string()));
    audit().ok();
}

/// Has a node make snapshots often.
fn often(config: &Path) {
    let mut config = fs::OpenOptions::new().append(true).open(config).unwrap();
    writeln!(config, "\n[snapshots]\ncommands = {EVERY}").unwrap();
}

/// Writes to an application until the second node has cut its log off.
async fn write_until_cut(cluster: &Cluster, app: AppNdx) {
    let client = cluster.client_of(
        cluster.administrator(),
        [1, 2].map(|node| cluster.endpoint(node)).to_vec(),
        Timeouts::default(),
    );
    let is_cut = async || {
        let read = cluster.readers.get(1, &format!("/v1/apps/{app}/log?after=0")).await;
        read.is_err_and(|why| why.status().is_some_and(|status| status == 410))
    };
    let mut count = 0;
    while !is_cut().await {
        assert!(count < 100 * EVERY, "it never came to that\n{}", cluster.log(1));
        for _ in 0..EVERY / 4 {
            count += 1;
            client
                .execute(app, put(format!("key {}", count % 17), "x"), CommandOptions::default())
                .await
                .unwrap();
        }
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_came_since_genesis_count_as_far_as_that_is_proved() {
    let app = |ndx, name: &str, kind: &str| GenesisApp { ndx, name: name.to_owned(), kind: kind.to_owned() };
    let (home, other) = (AppNdx(1), AppNdx(2));
    let apps = vec![app(home, "home", "kv"), app(other, "other", "kv"), app(AppNdx(3), "zones", "zones")];
    let mut cluster = Cluster::found_apps(1, apps);
    often(&cluster.founded.nodes[0].config);
    cluster.try_start_all().await.unwrap();
    for name in ["node2", "node3"] {
        let node = cluster.prepare(name);
        often(&cluster.founded.nodes[node].config);
        cluster.spawn(node);
        cluster.ready(node).await;
        cluster.asks(node).await;
        let accepted = cluster.expect_json(0, &format!("member accept {name} --id {}", cluster.digits(node)));
        assert_eq!(accepted["settled"]["reached"], true, "{accepted}");
    }
    let removed = cluster.expect_json(0, "member remove node1");
    assert_eq!(removed["settled"]["reached"], true, "{removed}");
    cluster.stop(0).await;
    write_until_cut(&cluster, other).await;
    cluster.stop_all().await;

    // Nobody of genesis is left. The home application's log proves who came.
    let data = cluster.founded.nodes[1].config.with_file_name("data-node2");
    let audit = |more: &str| format!("audit --quiet --data-dir {} {more}", data.display());
    let (text, said) = cluster.expect(0, &audit(""));
    assert!(text.contains(", certified by ") && said.is_empty(), "{text}\n{said}");
    let begins = cluster.expect_json(0, &audit(""))["apps"][1]["begins"].clone();
    assert_eq!((&begins["certified"], &begins["membersProved"]), (&true.into(), &true.into()));
    // Without it, only the state says so.
    let only_itself = "is certified by members whom only that state itself names";
    let (_, said) = cluster.expect(0, &audit("--app other"));
    assert!(said.contains(only_itself), "{said}");

    // Nor where that log was cut off as well.
    for node in [1, 2] {
        cluster.spawn(node);
    }
    for node in [1, 2] {
        cluster.ready(node).await;
    }
    write_until_cut(&cluster, home).await;
    cluster.stop_all().await;
    let (_, said) = cluster.expect(0, &audit(""));
    assert_eq!(said.matches(only_itself).count(), 2, "{said}");
    let begins = cluster.expect_json(0, &audit(""))["apps"][0]["begins"].clone();
    assert_eq!((&begins["certified"], &begins["membersProved"]), (&true.into(), &false.into()));
    // A stranger's word makes nobody a member.
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    let folder = data.join("snapshots");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut certificate: Certificate =
            wire::decode(&bytes[CERTIFICATE_DOMAIN.len()..bytes.len() - 32]).unwrap();
        let forged = sign_checkpoint(&stranger, cluster.founded.cluster, &certificate.checkpoint);
        certificate.signatures = vec![forged];
        let content = [CERTIFICATE_DOMAIN, &wire::encode(&certificate)].concat();
        fs::write(&path, [&content[..], &Digest::of(&[&content]).0].concat()).unwrap();
    }
    let (_, said) = cluster.expect(0, &audit(""));
    assert_eq!(said.matches("no majority has signed the snapshot").count(), 2, "{said}");
}

/// A cluster that has stopped, and what it came to.
struct Audited {
    tools: Tools,
    last: u64,
    chain: String,
}

impl Audited {
    /// An audit of all that is known: what was chosen last is often known only by its chain.
    fn audit(&self, place: &[&str]) -> Ran {
        let expect = format!("{}:{}", self.last, self.chain);
        self.tools.run(&[&["audit", "-q", "--app", "1", "--expect", &expect], place].concat())
    }

    /// What an audit comes to in JSON.
    fn summary(&self, place: &[&str]) -> (Vec<Value>, Value) {
        let (steps, summary) = self.tools.json(&[&["audit", "--app", "1"], place].concat()).ok().steps();
        (steps, summary["apps"][0].clone())
    }

    fn verify(&self, receipts: &str, place: &[&str]) -> Ran {
        self.tools.run(&[&["receipt", "verify", receipts], place].concat())
    }
}

fn the_archive_and_the_log_go_from_genesis_to_the_end(audited: &Audited, archive: &str, data: &Path) {
    let both = ["--archive", archive, "--data-dir", data.to_str().unwrap()];
    let before = (contents(data), contents(Path::new(archive)));
    let known = format!("{}:{}", audited.last, audited.chain);
    let (steps, app) = audited.summary(&[&both[..], &["--expect", &known]].concat());
    assert_eq!(app["begins"]["with"], "genesis");
    assert_eq!(
        (app["stateNdx"].as_u64(), app["chain"].as_str()),
        (Some(audited.last), Some(&*audited.chain))
    );
    let states: Vec<u64> = steps.iter().map(|step| step["stateNdx"].as_u64().unwrap()).collect();
    assert_eq!(states, (1..=audited.last).collect::<Vec<_>>());
    assert_eq!(app["commands"], app["signaturesVerified"]);
    audited.audit(&both).ok();
    for receipts in ["early.json", "late.json"] {
        audited.verify(receipts, &both).ok();
    }
    assert_eq!((contents(data), contents(Path::new(archive))), before, "evidence is not altered");

    let (_, alone) = audited.summary(&["--archive", archive]);
    let end = alone["stateNdx"].as_u64().unwrap();
    assert!(EVERY <= end && end < audited.last, "{alone}");
    audited.verify("early.json", &["--archive", archive]).ok();
    audited.verify("late.json", &["--archive", archive]).broken(&["cut-off: the log ends here"]);
}

fn a_cut_log_begins_with_its_snapshot(audited: &Audited, data: &Path) {
    let place = ["--data-dir", data.to_str().unwrap()];
    let before = contents(data);
    let known = format!("{}:{}", audited.last, audited.chain);
    let (steps, app) = audited.summary(&[&place[..], &["--expect", &known]].concat());
    let begins = &app["begins"];
    assert_eq!((&begins["with"], &begins["certified"]), (&"snapshot".into(), &true.into()));
    let signers = begins["signedBy"].as_array().unwrap();
    assert!(signers.len() >= 2 && signers.contains(&"node3".into()), "{begins}");
    let first = begins["stateNdx"].as_u64().unwrap();
    let states: Vec<u64> = steps.iter().map(|step| step["stateNdx"].as_u64().unwrap()).collect();
    assert_eq!(states, (first + 1..=audited.last).collect::<Vec<_>>());
    assert_eq!(app["chain"].as_str(), Some(&*audited.chain));
    let ran = audited.audit(&place).ok();
    let told =
        format!("begins with the snapshot of state {first} (slot {}), certified by node", begins["slot"]);
    assert!(ran.out.contains(&told) && ran.out.contains("only in an archive"), "{}", ran.out);
    assert!(ran.said.is_empty(), "{}", ran.said);
    let proved = audited.verify("late.json", &place).ok().out;
    assert!(proved.contains(&told), "{proved}");
    let early = audited.verify("early.json", &place);
    early.broken(&["stateNdx 1: before-the-beginning: ", "is before the beginning of this log"]);
    let known = format!("{first}:{}", begins["chain"].as_str().unwrap());
    let expect = |known: &str| {
        audited.tools.run(&[&["audit", "-q", "--app", "1", "--expect", known], &place[..]].concat())
    };
    expect(&known).ok();
    expect(&format!("{first}:{}", audited.chain)).broken(&["wrong-chain"]);
    assert_eq!(contents(data), before, "evidence is not altered");
}

fn wrong_snapshots_are_found(audited: &Audited, data: &Path) {
    let oldest = |data: &Path| {
        let entries = fs::read_dir(data.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
        let slot =
            |path: &PathBuf| -> Option<u64> { path.file_name()?.to_str()?.strip_prefix("1-")?.parse().ok() };
        entries.filter_map(|path| Some((slot(&path)?, path))).min().unwrap().1
    };
    let tampered = |tamper: &dyn Fn(&Path, Certificate, &Path)| {
        let scratch = tempfile::tempdir().unwrap();
        copy(data, scratch.path());
        let path = oldest(scratch.path());
        let bytes = fs::read(&path).unwrap();
        let certificate = wire::decode(&bytes[CERTIFICATE_DOMAIN.len()..bytes.len() - 32]).unwrap();
        tamper(&path, certificate, scratch.path());
        audited.audit(&["--data-dir", scratch.path().to_str().unwrap()])
    };
    let write = |path: &Path, certificate: &Certificate| {
        let content = [CERTIFICATE_DOMAIN, &wire::encode(certificate)].concat();
        fs::write(path, [&content[..], &Digest::of(&[&content]).0].concat()).unwrap();
    };
    tampered(&|path, certificate, _| write(path, &certificate)).ok();
    tampered(&|path, _, _| flip(path, 40)).broken(&["bad-snapshot: ", "its digest does not match"]);
    tampered(&|path, mut certificate, _| {
        certificate.checkpoint.chain.0[0] ^= 1;
        write(path, &certificate);
    })
    .broken(&[
        "bad-certificate: the certificate in ",
        "is forged: node ",
        "did not sign this checkpoint",
    ]);
    tampered(&|path, mut certificate, _| {
        let twice = certificate.signatures[0].clone();
        certificate.signatures = vec![twice.clone(), twice];
        write(path, &certificate);
    })
    .broken(&["bad-certificate: ", "twice"]);
    let index = |data: &Path, key: &synod_types::ContentKey| {
        let name = key.to_string();
        data.join("snapshots/chunks/files").join(&name[..2]).join(&name)
    };
    tampered(&|_, certificate, data| flip(&index(data, &certificate.checkpoint.index), 3)).broken(&[
        "bad-snapshot: the snapshot ",
        "its file ",
        "is damaged",
    ]);
    tampered(&|_, certificate, data| {
        let list = fs::read(index(data, &certificate.checkpoint.index)).unwrap();
        let list: synod_types::SnapshotIndex = wire::decode(&list).unwrap();
        fs::remove_file(index(data, &list.chunks[0])).unwrap();
    })
    .broken(&["bad-snapshot: ", "is not there"]);
    tampered(&|_, _, data| fs::remove_dir_all(data.join("snapshots")).unwrap())
        .broken(&["hole: the log begins behind slot ", "no snapshot of that slot or a later one"]);
    // One signature is no majority: nobody else vouches for it.
    let alone = tampered(&|path, mut certificate, _| {
        certificate.signatures.truncate(1);
        write(path, &certificate);
    })
    .ok();
    assert!(alone.said.contains("warning: application 1: no majority has signed"), "{}", alone.said);
    assert!(alone.out.contains("not certified, but signed by node"), "{}", alone.out);
}

fn wrong_archives_are_found(audited: &Audited, archive: &str, data: &Path) {
    let data = data.to_str().unwrap();
    let tampered = |tamper: &dyn Fn(&[PathBuf])| {
        let scratch = tempfile::tempdir().unwrap();
        copy(Path::new(archive), scratch.path());
        tamper(&segments(scratch.path()));
        audited.audit(&["--archive", scratch.path().to_str().unwrap(), "--data-dir", data])
    };
    tampered(&|_| ()).ok();
    let mut random = StdRng::seed_from_u64(7);
    let second = segments(Path::new(archive))[1].clone();
    let name = second.file_name().unwrap().to_str().unwrap();
    let first_slot = name.split('-').next().unwrap();
    let len = usize::try_from(second.metadata().unwrap().len()).unwrap();
    for at in [0, 4, len - 1].into_iter().chain((0..6).map(|_| random.random_range(0..len))) {
        let ran = tampered(&|segments| flip(&segments[1], at));
        ran.broken(&[&format!("slot {first_slot}, "), "damaged-record: ", name, "is damaged at slot"]);
    }
    tampered(&|segments| fs::remove_file(&segments[0]).unwrap())
        .broken(&["slot 1, ", "hole: the archive has no segment with the slots 1 to "]);
    tampered(&|segments| segments[1..].iter().for_each(|path| fs::remove_file(path).unwrap()))
        .broken(&["hole: the archive ends with slot ", "and the log begins behind slot "]);
    let nothing = tempfile::tempdir().unwrap();
    let ran = audited.audit(&["--archive", nothing.path().to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("is no archive"), "{}", ran.said);
}

/// Flips a bit of a byte.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
