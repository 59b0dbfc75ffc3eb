//! The program as people use it: real processes, real ports on loopback.

#![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SYNOD: &str = env!("CARGO_BIN_EXE_synod");
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_demo_passes() {
    let output = Command::new(SYNOD).args(["demo", "--check"]).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    assert!(told.contains("All 13 steps passed"), "{told}");
}

/// A cluster that runs as long as this does. Its nodes hold on to the demo, which is killed when this is dropped.
struct Cluster {
    demo: Child,
    directory: tempfile::TempDir,
    http: String,
}

impl Cluster {
    fn start() -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let mut demo = Command::new(SYNOD)
            .args(["demo", "--output", "json", "--dir"])
            .arg(directory.path().join("cluster"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let done = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(line["ok"], true, "{line}");
            line.get("client").cloned()
        });
        let client = PathBuf::from(done.expect("the last line names the client file").as_str().unwrap());
        assert_eq!(client, directory.path().join("cluster/client.toml"));
        let text = std::fs::read_to_string(client).unwrap();
        let http =
            text.lines().find_map(|line| line.strip_prefix("http = ")).unwrap().trim_matches('"').to_owned();
        Cluster { demo, directory, http }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("cluster").join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(SYNOD);
        command.args(arguments.split_whitespace()).current_dir(self.directory.path());
        command.env("SYNOD_CLIENT", self.path("client.toml")).output().unwrap()
    }

    /// Runs a tool that ends with this exit code; gives what it printed.
    #[track_caller]
    fn expect(&self, exit: i32, arguments: &str) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "synod {arguments}: {said}");
        if exit != 0 && output.stdout.is_empty() {
            assert!(said.starts_with("error: "), "synod {arguments}: {said:?}");
        }
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, of what is printed as JSON.
    #[track_caller]
    fn expect_json(&self, exit: i32, arguments: &str) -> Value {
        serde_json::from_str(&self.expect(exit, &format!("{arguments} --output json"))).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.demo.kill().unwrap();
        self.demo.wait().unwrap();
        // The nodes are on a leash: they stop by themselves, and then nobody listens any more.
        let begun = Instant::now();
        while TcpStream::connect(&self.http).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "a node outlives the demo");
            std::thread::yield_now();
        }
    }
}

#[test]
fn the_tools_do_what_they_say_and_end_with_their_codes() {
    let cluster = Cluster::start();
    let state = cluster.expect_json(0, "kv put greeting hello")["stateNdx"].as_u64().unwrap();
    assert_eq!(cluster.expect(0, &format!("kv get greeting --min {state}")), "hello");
    let got = cluster.expect_json(0, "kv get greeting --app kv --consistency linearizable");
    assert_eq!((&got["value"], got["changed"].as_u64()), (&"hello".into(), Some(state)));
    cluster.expect(1, "kv get no-such-key");

    let refused = cluster.expect_json(3, "kv cas greeting other --absent");
    assert_eq!(refused["outcome"]["refused"]["code"], "conflict");
    assert_eq!(refused["stateNdx"], state + 1, "a refusal is executed, too");
    cluster.expect(0, &format!("kv cas greeting other --expected {state}"));
    assert_eq!(cluster.expect_json(0, "kv list --prefix greet")["entries"][0]["value"], "other");
    cluster.expect(0, "kv delete greeting");

    cluster.expect(2, "kv put a b --app 7");
    cluster.expect(2, "kv put a");
    let own = cluster.run("kv put a b --endpoint 127.0.0.1:1 --timeout 1");
    assert_eq!(own.status.code(), Some(5), "{}", String::from_utf8_lossy(&own.stderr));

    cluster.expect(0, "keygen --type ed25519 --out deploy.pem");
    cluster.expect(1, "keygen --type ed25519 --out deploy.pem");
    let shown = cluster.expect_json(0, "key show deploy.pem");
    let id = shown["id"].as_str().unwrap();
    cluster.expect(3, "kv put a b --sign-with deploy.pem");
    cluster.expect(0, "commander add deploy --app kv --key deploy.pem --role writer");
    let granted = cluster.expect_json(0, "kv put a b --sign-with deploy.pem")["stateNdx"].as_u64().unwrap();
    let listed = cluster.expect_json(0, &format!("commander list --app 1 --min {granted}"));
    assert!(
        listed["commanders"].as_array().unwrap().iter().any(|one| one["id"] == id && one["role"] == "writer")
    );
    cluster.expect(3, &format!("commander revoke {id} --app 1 --sign-with deploy.pem"));
    cluster.expect(0, &format!("commander revoke {} --app 1", &id[..12]));
    cluster.expect(3, "kv put a b --sign-with deploy.pem");
}

#[test]
fn the_status_has_a_row_for_each_node() {
    let cluster = Cluster::start();
    let status = cluster.expect_json(0, "status");
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(status["chainsDiffer"].as_array().unwrap().len(), 0);
    let table = cluster.expect(0, "status");
    for name in ["node1", "node2", "node3", "leader", "follower"] {
        assert!(table.contains(name), "{name} is not in\n{table}");
    }
    let nobody = cluster.run("status --http 127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(5));
    let some = cluster.run(&format!("status --http 127.0.0.1:1 --http {}", cluster.http));
    assert_eq!(some.status.code(), Some(1));
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let run =
        |arguments: &[&str], file: &Path| Command::new(SYNOD).args(arguments).arg(file).output().unwrap();
    assert!(run(&["init", "--dir"], &at("cluster")).status.success());
    let config = at("cluster/node1.toml");
    let checked = run(&["node", "--check", "--config"], &config);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("node2", "node3").replace("cert_path", "cert_pth")).unwrap();
    let checked = run(&["node", "--check", "--config"], &config);
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("mistakes:") && said.contains("did you mean \"cert_path\"?"), "{said}");
}
