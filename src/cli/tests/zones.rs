//! `synod zone` as people use it, from a file to what name servers answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use synod::dns_query::{self, DnsAnswer};
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::{Cluster, PATIENCE, ZONES};
use synod_types::{ContentKey, StateNdx};
use synod_zone::{Name, Rtype};
use tokio::sync::watch;

const SOA: &str = "ns1 hostmaster";

/// A zone of seven records, with this serial and this address of `www`.
fn zone_file(serial: u32, www: &str) -> String {
    format!(
        "; serial {serial}\n$TTL 60\n@ SOA {SOA} {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n\
         www A {www}\nmail A 192.0.2.25\n@ MX 10 mail\n@ TXT \"seven records\"\n"
    )
}

/// A cluster, and the program that is run against it.
struct Bench {
    cluster: Cluster,
}

impl Bench {
    async fn start() -> Bench {
        Bench { cluster: Cluster::start(3).await }
    }

    /// Writes a file beside the cluster's.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.cluster.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, arguments: &str) -> Output {
        self.cluster.run(arguments)
    }

    #[track_caller]
    fn expect(&self, exit: i32, arguments: &str) -> (String, String) {
        self.cluster.expect(exit, arguments)
    }

    #[track_caller]
    fn expect_json(&self, exit: i32, arguments: &str) -> Value {
        self.cluster.expect_json(exit, arguments)
    }

    fn name_server(&self, node: usize) -> SocketAddr {
        let dns = self.cluster.founded.nodes[node].plan.dns.as_ref().unwrap();
        SocketAddr::new(dns.host.parse().unwrap(), dns.port)
    }

    /// Asks every node that runs for the address of `www` in the zone.
    async fn ask_all(&self, zone: &str) -> Vec<DnsAnswer> {
        let www = Name::parse(&format!("www.{zone}")).unwrap();
        let mut answers = Vec::new();
        for node in 0..self.cluster.len() {
            let answer = dns_query::ask(self.name_server(node), &www, Rtype::A, PATIENCE).await;
            answers.push(answer.unwrap());
        }
        answers
    }

    /// Every node answers with this address, from this state or a later one.
    async fn assert_served(&self, zone: &str, www: &str, serial: u32, state_ndx: u64) {
        for (node, answer) in self.ask_all(zone).await.iter().enumerate() {
            let found: Vec<Ipv4Addr> = answer.records.iter().filter_map(|record| record.ipv4()).collect();
            assert_eq!(found, [www.parse::<Ipv4Addr>().unwrap()], "node {node}: {answer:?}");
            assert!(answer.is_authoritative && answer.serial == Some(serial), "node {node}: {answer:?}");
            assert!(answer.state_ndx >= Some(StateNdx(state_ndx)), "node {node}: {answer:?}");
        }
    }

    /// The state of the zones application, which no refused command changes.
    fn state(&self) -> u64 {
        self.expect_json(0, "zone list --consistency linearizable")["stateNdx"].as_u64().unwrap()
    }
}

fn state_of(receipt: &Value) -> u64 {
    receipt["stateNdx"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_zone() {
    let mut bench = Bench::start().await;
    let (first, second) = (zone_file(1, "192.0.2.80"), zone_file(2, "192.0.2.81"));
    bench.write("first.zone", &first);
    bench.write("second.zone", &second);
    bench.write("same-serial.zone", zone_file(1, "192.0.2.99"));
    bench.write(
        "short.zone",
        format!("$TTL 60\n@ SOA {SOA} 3 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n"),
    );

    // Published, and live everywhere when the command is over.
    assert_eq!(
        bench.expect(1, "zone diff example.org first.zone").0.lines().count(),
        8,
        "seven and a summary"
    );
    let set = bench.expect_json(0, "zone set example.org first.zone --wait all");
    assert_eq!((&set["zone"], &set["outcome"]["done"]["previous"]), (&"example.org.".into(), &Value::Null));
    assert_eq!(set["live"]["reached"], true);
    let first_at = state_of(&set);
    bench.assert_served("example.org", "192.0.2.80", 1, first_at).await;
    bench.expect(0, "zone diff example.org first.zone");

    // Again: nothing to do, and nothing is done.
    let again = bench.expect_json(0, "zone set EXAMPLE.org. first.zone --wait all");
    assert_eq!((&again["unchanged"], state_of(&again)), (&true.into(), first_at));
    assert_eq!(bench.state(), first_at);

    // Slips are refused before anything is sent.
    let (_, said) = bench.expect(3, "zone set example.org same-serial.zone");
    assert!(
        said.contains("serial 1 of example.org. is not later than 1") && said.contains("write 2"),
        "{said}"
    );
    let (_, said) = bench.expect(3, "zone set example.org short.zone");
    assert!(said.contains("has 7 records, and 4 of them would be gone"), "{said}");
    assert_eq!(bench.state(), first_at);

    // What is expected is looked at when the command is executed.
    let (printed, _) = bench.expect(3, "zone set example.org second.zone --expect absent");
    assert!(printed.contains("refused: conflict: zone example.org. has content"), "{printed}");
    let key = ContentKey::of(first.as_bytes());
    let set = bench.expect_json(0, &format!("zone set example.org second.zone --expect {key} --wait all"));
    assert_eq!(set["outcome"]["done"]["previous"]["serial"], 1);
    let second_at = state_of(&set);
    assert_eq!(second_at, first_at + 2, "the refusal is executed, too");
    bench.assert_served("example.org", "192.0.2.81", 2, second_at).await;

    // The file comes back as it is, with its comment.
    assert_eq!(bench.expect(0, &format!("zone get example.org --min {second_at}")).0, second);
    assert_eq!(bench.expect(0, &format!("zone get example.org --at {first_at}")).0, first);
    let facts = bench.expect_json(0, "zone get example.org");
    assert_eq!(facts["key"], ContentKey::of(second.as_bytes()).to_string());
    assert_eq!((&facts["serial"], &facts["changed"]), (&2.into(), &second_at.into()));
    let diff = bench.expect_json(1, "zone diff example.org first.zone");
    assert_eq!(diff["differences"][1]["added"][0], "www.example.org. 60 IN A 192.0.2.80");
    bench.expect(0, &format!("zone diff example.org first.zone --at {first_at}"));

    // Meant all the same.
    bench.expect(0, "zone set example.org short.zone --force --wait quorum");
    bench.expect(0, "zone set example.org same-serial.zone --force --wait all");
    bench.assert_served("example.org", "192.0.2.99", 1, second_at + 2).await;

    // Back to what it was.
    let (printed, _) = bench.expect(0, &format!("zone rollback example.org --to {second_at} --wait all"));
    assert!(printed.contains("done: serial 2 again, after 1\nlive at node1, node2, node3"), "{printed}");
    bench.assert_served("example.org", "192.0.2.81", 2, second_at + 3).await;
    let (printed, _) = bench.expect(0, &format!("zone rollback example.org --to {first_at} --wait all"));
    assert!(printed.contains("serial 1 again, after 2: secondaries keep what they have"), "{printed}");
    bench.assert_served("example.org", "192.0.2.80", 1, second_at + 4).await;

    // Gone, and back.
    bench.expect(0, "zone delete example.org --wait all");
    for answer in bench.ask_all("example.org").await {
        assert_eq!(answer.rcode, dns_query::REFUSED, "{answer:?}");
    }
    let (_, said) = bench.expect(1, "zone get example.org");
    assert!(said.contains("was deleted in stateNdx"), "{said}");
    assert_eq!(bench.expect_json(0, "zone list")["zones"], Value::Array(Vec::new()));
    let (printed, _) = bench.expect(0, "zone delete example.org");
    assert!(printed.contains("there was no such zone"), "{printed}");
    bench.expect(0, &format!("zone rollback example.org --to {first_at} --expect absent --wait all"));
    bench.assert_served("example.org", "192.0.2.80", 1, second_at + 7).await;

    let history = bench.expect_json(0, "zone history example.org");
    let serials: Vec<Option<u64>> =
        history["versions"].as_array().unwrap().iter().map(|version| version["serial"].as_u64()).collect();
    assert_eq!(serials, [1, 0, 1, 2, 1, 3, 2, 1].map(|serial| (serial > 0).then_some(serial)));
    let (printed, _) = bench.expect(0, "zone history example.org");
    assert!(printed.contains(&format!("rolled back to stateNdx {first_at}")), "{printed}");
    let (printed, _) = bench.expect(0, "zone list");
    assert!(printed.starts_with("ZONE          SERIAL  CHANGED"), "{printed}");
    bench.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_imported_as_a_whole_or_not_at_all() {
    const ZONES: usize = 40;
    let mut bench = Bench::start().await;
    let zone = |n: usize| format!("z{n}.example");
    for n in 0..ZONES {
        bench.write(&format!("zones/{}.zone", zone(n)), zone_file(1, "192.0.2.80"));
    }
    bench.write("zones/README.md", "not a zone");

    // One bad zone, and one that cannot be a zone at all.
    let bad = bench.write("zones/bad.example.zone", "$TTL 60\n@ SOA ns1 hostmaster 1 2 3 4 5\n@ NS\n");
    bench.write("zones/garbage.example.zone", [0, 159, 146, 150]);
    let (_, said) = bench.expect(1, "zone import zones");
    assert!(said.contains("2 of 42 files are not in order; nothing was sent"), "{said}");
    assert!(said.contains("bad.example.zone:3:") && said.contains("garbage.example.zone:1:1:"), "{said}");
    assert_eq!(bench.state(), 0, "nothing changed");
    std::fs::remove_file(bad).unwrap();
    std::fs::remove_file(bench.cluster.directory.path().join("zones/garbage.example.zone")).unwrap();

    let imported = bench.expect_json(0, "zone import zones --wait all");
    assert_eq!((&imported["changed"], &imported["unchanged"]), (&ZONES.into(), &0.into()));
    assert_eq!(imported["receipts"].as_array().unwrap().len(), 1, "in one command");
    assert_eq!(bench.state(), 1);
    for n in [0, ZONES - 1] {
        bench.assert_served(&zone(n), "192.0.2.80", 1, 1).await;
    }

    // Only what changed is sent.
    bench.write(&format!("zones/{}.zone", zone(3)), zone_file(2, "192.0.2.83"));
    let imported = bench.expect_json(0, "zone import zones --wait all");
    assert_eq!((&imported["changed"], &imported["unchanged"]), (&1.into(), &(ZONES - 1).into()));
    bench.assert_served(&zone(3), "192.0.2.83", 2, 2).await;
    let (printed, _) = bench.expect(0, "zone import zones --wait all");
    assert!(printed.starts_with("0 zones published, 40 unchanged\nlive at"), "{printed}");

    // A slip in one zone stops all of them.
    bench.write(&format!("zones/{}.zone", zone(4)), zone_file(1, "192.0.2.84"));
    bench.write(&format!("zones/{}.zone", zone(5)), zone_file(2, "192.0.2.85"));
    let (_, said) = bench.expect(3, "zone import zones");
    assert!(said.contains("serial 1 of z4.example. is not later"), "{said}");
    assert_eq!(bench.state(), 2);
    bench.expect(0, "zone import zones --force --wait all");
    bench.assert_served(&zone(4), "192.0.2.84", 1, 3).await;
    bench.assert_served(&zone(5), "192.0.2.85", 2, 3).await;
    let below = bench.expect_json(0, "zone list --below z5.example");
    assert_eq!(below["zones"].as_array().unwrap().len(), 1);
    bench.cluster.stop_all().await;
}

/// Two zones change together while every name server is asked without a pause. In each state the alias in the one leads
/// to a name that only the other one's file of the same state has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_mixes_two_states() {
    const CHANGES: u32 = 50;
    let mut bench = Bench::start().await;
    let client = bench.cluster.client(bench.cluster.administrator(), 0, Timeouts::default());
    let address = |serial: u32| Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + serial);
    let soa =
        |serial: u32| format!("$TTL 60\n@ SOA {SOA} {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n");
    let change = async |serial: u32| {
        let alias = format!("{}www CNAME host{serial}.b.example.\n", soa(serial));
        let target = format!("{}host{serial} A {}\n", soa(serial), address(serial));
        let mut changes = Vec::new();
        for (zone, file) in [("a.example", alias), ("b.example", target)] {
            let bytes = u64::try_from(file.len()).unwrap();
            let content = client.upload(ZONES, file.into(), |_, _| {}).await.unwrap().content;
            let (zone, expected) = (ZoneName::parse(zone).unwrap(), Expected::Any);
            changes.push(ZoneChange { zone, content, bytes, serial, force: false, expected });
        }
        let op = ZonesOp::SetMany(changes).encode();
        let receipt = client.execute(ZONES, op.into(), CommandOptions::default()).await.unwrap();
        assert_eq!(receipt.state_ndx, StateNdx(serial.into()), "{receipt:?}");
    };
    change(1).await;
    let (sender, done) = watch::channel(false);
    let asking: Vec<_> = (0..bench.cluster.len())
        .map(|node| {
            let (server, done) = (bench.name_server(node), done.clone());
            tokio::spawn(async move {
                let www = Name::parse("www.a.example").unwrap();
                let (mut asked, mut states) = (0, BTreeSet::new());
                // Once more when all is done: that is the last state.
                let mut is_last = false;
                while !is_last {
                    is_last = *done.borrow();
                    let answer = dns_query::ask(server, &www, Rtype::A, PATIENCE).await.unwrap();
                    asked += 1;
                    // It has not got the first state yet, or does not know yet that it is the newest.
                    if states.is_empty() && answer.rcode != dns_query::NOERROR && !is_last {
                        continue;
                    }
                    let serial = answer.serial.unwrap_or_else(|| panic!("node {node}: {answer:?}"));
                    let found: Vec<Ipv4Addr> =
                        answer.records.iter().filter_map(|record| record.ipv4()).collect();
                    assert_eq!(found, [address(serial)], "node {node}: {answer:?}");
                    assert_eq!(answer.state_ndx, Some(StateNdx(serial.into())), "node {node}: {answer:?}");
                    assert!(states.last() <= Some(&serial), "node {node} goes back: {answer:?}");
                    states.insert(serial);
                }
                (asked, states)
            })
        })
        .collect();
    for serial in 2..=CHANGES {
        change(serial).await;
    }
    let last = Some(CHANGES.into());
    for node in 0..bench.cluster.len() {
        let path = format!("/v1/apps/{ZONES}?min={CHANGES}");
        let state: Value = bench.cluster.readers.get_json(node, &path).await.unwrap();
        assert_eq!(state["stateNdx"].as_u64(), last);
    }
    sender.send(true).unwrap();
    for asking in asking {
        let (asked, states) = asking.await.unwrap();
        assert_eq!(states.last().copied().map(u64::from), last);
        assert!(states.len() > 10, "{asked} answers came from {} states only", states.len());
    }
    client.close().await;
    bench.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_waited_for_is_named() {
    let mut bench = Bench::start().await;
    bench.write("first.zone", zone_file(1, "192.0.2.80"));
    bench.write("second.zone", zone_file(2, "192.0.2.81"));
    bench.expect(0, "zone set example.org first.zone --wait all");
    bench.cluster.kill(2);

    let set = bench.run("zone set example.org second.zone --wait all --wait-for 1500ms --output json");
    let said = String::from_utf8(set.stderr).unwrap();
    assert_eq!(set.status.code(), Some(6), "{said}");
    let told: Value = serde_json::from_slice(&set.stdout).unwrap();
    assert_eq!((&told["live"]["reached"], &told["live"]["nodes"][2]["live"]), (&false.into(), &false.into()));
    let ordered = format!("stateNdx {} is ordered", state_of(&told));
    assert!(said.contains(&format!("{ordered}; waiting for node3 (")), "{said}");
    assert!(
        said.contains(&format!("{ordered}, and after")) && said.contains("not live at node3 ("),
        "{said}"
    );

    // A majority has it, and the third gets it when it is back.
    let (printed, _) = bench.expect(0, "zone set example.org second.zone --wait quorum");
    assert!(printed.contains("unchanged") && printed.contains("live at node1, node2 after"), "{printed}");
    bench.cluster.spawn(2);
    bench.expect(0, "zone set example.org second.zone --wait all");
    bench.assert_served("example.org", "192.0.2.81", 2, state_of(&told)).await;
    bench.cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_published_changes_nothing() {
    let mut bench = Bench::start().await;
    let mut large = zone_file(1, "192.0.2.80");
    large.push_str(&format!("; {}\n", "x".repeat(1000)).repeat((65 << 20) / 1000));
    bench.write("large.zone", &large);
    bench.write("garbage.zone", (0..=u8::MAX).cycle().take(1 << 20).collect::<Vec<u8>>());
    bench.write("empty.zone", "");
    bench.write("other.zone", zone_file(1, "192.0.2.80").replace("www A", "www.example.net. A"));
    bench.write("cname.zone", zone_file(1, "192.0.2.80") + "mail CNAME www\n");
    for (file, expected) in [
        ("large.zone", "has more than 67108864 bytes (64 MiB)"),
        ("garbage.zone", "garbage.zone:1:1: "),
        ("empty.zone", "no SOA record"),
        ("other.zone", "other.zone:6: `www.example.net.` is not in the zone"),
        ("cname.zone", "cname.zone:10: `mail.example.org.` has a CNAME beside A"),
        ("missing.zone", "cannot read missing.zone"),
    ] {
        let (_, said) = bench.expect(1, &format!("zone set example.org {file}"));
        assert!(said.contains(expected), "{expected:?} is not in {said}");
        // What is good for `set` is good for `check`, and the other way round.
        bench.expect(1, &format!("zone check --zone example.org {file}"));
    }
    bench.write("good.zone", zone_file(1, "192.0.2.80"));
    let (_, said) = bench.expect(2, "zone set example..org good.zone");
    assert!(said.contains("is not the name of a zone"), "{said}");
    let (_, said) = bench.expect(2, "zone check good.zone --zone .example.org");
    assert!(said.contains("is not the name of a zone"), "{said}");
    bench.expect(2, "zone set example.org good.zone --expect 6b17");
    bench.expect(2, "zone set example.org good.zone --app kv");
    bench.expect(2, "zone set example.org good.zone --wait-for soon");
    bench.expect(2, "zone diff example.org garbage.zone");
    bench.expect(2, "zone import cluster");
    bench.expect(1, "zone import .");
    bench.expect(1, "zone import missing");
    let one = "--http 127.0.0.1:1 --http 127.0.0.1:1 --http 127.0.0.1:1";
    let (_, said) = bench.expect(2, &format!("zone set example.org good.zone --wait all {one}"));
    assert!(said.contains("the cluster has 3, and 1 readers' ports are known"), "{said}");
    bench.expect(5, "zone set example.org good.zone --http 127.0.0.1:1 --timeout 1");
    bench.expect(1, "zone get example.org");
    bench.expect(1, "zone history example.org");
    assert_eq!(bench.state(), 0);
    for answer in bench.ask_all("example.org").await {
        assert_eq!(answer.rcode, dns_query::REFUSED, "{answer:?}");
    }

    // A key that nobody has granted gets no file in, either.
    bench.expect(0, "keygen --type ed25519 --out stranger.pem");
    let (_, said) = bench.expect(3, "zone set example.org good.zone --sign-with stranger.pem");
    assert!(said.contains("the file was not uploaded, so nothing was published"), "{said}");
    bench.expect(0, "zone set example.org good.zone --wait all");
    bench.assert_served("example.org", "192.0.2.80", 1, 1).await;
    bench.cluster.stop_all().await;
}

#[test]
fn a_file_is_checked_without_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let mut command = Command::new(synod_cluster::program());
        let output =
            command.args(arguments.split_whitespace()).current_dir(directory.path()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let relative = zone_file(7, "192.0.2.80");
    write("example.org.zone", &relative);
    write("db.example", &relative);
    write("absolute", &format!("$ORIGIN example.org.\n{relative}"));
    write("owner", &relative.replace("@ SOA", "example.org. SOA").replace("@ ", "example.org. "));
    let good = |file: &str| format!("{file}: zone example.org. is in order: serial 7, 7 records\n");
    for (arguments, file) in [
        ("example.org.zone", "example.org.zone"),
        ("db.example --zone Example.org", "db.example"),
        ("absolute", "absolute"),
    ] {
        let (code, printed, said) = run(&format!("zone check {arguments}"));
        assert_eq!((code, printed.to_lowercase()), (Some(0), good(file)), "{said}");
    }
    let (code, _, said) = run("zone check db.example");
    assert!(
        code == Some(2) && said.contains("does not say of which zone it is") && said.contains("--zone"),
        "{said}"
    );
    let (code, printed, _) = run("zone check owner --output json");
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (code, &json["zone"], &json["records"]),
        (Some(0), &"example.org.".into(), &7.into()),
        "{printed}"
    );
}
