//! A readers' port in TLS, and the tools that read it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use synod_cluster::Cluster;

fn synod(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(arguments).current_dir(directory).env_remove("SYNOD_CLIENT").output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_read_https_from_whom_an_authority_vouches_for() {
    let mut cluster = Cluster::found(1);
    let shown = "\n[http.tls]\ncert_path = \"node1.pem\"\nkey_path = \"node1-key.pem\"\n";
    cluster.changed_config(0, "node1.toml", |config| config + shown);
    let client = cluster.path("client.toml");
    let text = fs::read_to_string(&client).unwrap();
    let secure = text.replace("http = \"", "http = \"https://");
    assert_ne!(text, secure);
    fs::write(&client, secure).unwrap();
    cluster.spawn(0);
    cluster.ready(0).await;

    let directory = cluster.founded.directory.clone();
    let stdout = |arguments: &[&str]| {
        let output = synod(&directory, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let receipt = stdout(&["kv", "put", "greeting", "hello"]);
    assert!(receipt.contains("stateNdx"), "{receipt}");
    assert_eq!(stdout(&["kv", "get", "greeting", "--consistency", "linearizable"]).trim_end(), "hello");
    stdout(&["status"]);

    // Without a client file, the authority is named; and it has to be the one that issued what the node shows.
    let elsewhere = Cluster::found(1);
    let address = format!("https://{}", cluster.founded.nodes[0].plan.http);
    let (ours, other) = (cluster.path("ca.pem"), elsewhere.path("ca.pem"));
    let get = ["kv", "get", "greeting", "--http", &address];
    let outside = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let output = synod(outside.path(), &[&get[..], more].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(run(&["--http-ca", ours.to_str().unwrap()]).0);
    assert!(run(&["--ca", other.to_str().unwrap(), "--http-ca", ours.to_str().unwrap()]).0);
    let (read, said) = run(&["--http-ca", other.to_str().unwrap()]);
    assert!(!read && said.contains("invalid peer certificate") && said.contains("--http-ca"), "{said}");
    let (read, said) = run(&[]);
    assert!(!read && said.contains("--http-ca"), "{said}");
    cluster.stop(0).await;
}
