//! docs/CLIENTS.md, as it stands there: its shell commands make, sign and submit commands to a real cluster with nothing but
//! `openssl` and `curl`, with a key of either kind.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use synod_cluster::{Cluster, KV};

const PAGE: &str = "../../docs/CLIENTS.md";
const GENERATE: &str = "openssl genpkey -algorithm ED25519 -out own.pem";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_write_with_openssl_and_curl() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: docs/CLIENTS.md is not executed, since {missing}");
        return;
    }
    let mut cluster = Cluster::start(3).await;
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let script = blocks(&page).join("\n");
    let (commanders, readers) = (&cluster.founded.nodes[0].plan.backend, &cluster.founded.nodes[1].plan.http);
    let script = replaced(&script, "cd certs/cluster\n", "");
    let script = replaced(&script, "127.0.0.1:8101 ", &format!("{commanders} "));
    let script = replaced(&script, "127.0.0.1:9102 ", &format!("{readers} "));

    let ed25519 = run(&cluster, &script);
    check(&ed25519, "AAA=", 2);
    // What the comments say of RSA.
    let generate_rsa = after(&script, "For RSA: openssl genpkey");
    let sign_rsa = after(&script, "For RSA, which hashes by itself: openssl dgst");
    let script = replaced(&script, GENERATE, &format!("openssl genpkey{generate_rsa}"));
    let script = replaced(
        &script,
        "openssl pkeyutl -sign -rawin -inkey \"$key\" -in digest > signature",
        &format!(
            "[ $key = admin.pem ] && openssl pkeyutl -sign -rawin -inkey \"$key\" -in digest > signature ||
            openssl dgst{sign_rsa}"
        ),
    );
    let rsa = run(&cluster, &script);
    check(&rsa, "AAEC", 4);
    cluster.stop_all().await;
}

/// What the page prints: two receipts and the value; the receipt twice more, and where the change is.
fn check(printed: &str, answer: &str, state_ndx: u64) {
    let lines: Vec<&str> = printed.lines().collect();
    let [granted, written, value, again, asked, change] = lines[..] else { panic!("six lines: {printed}") };
    let read = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    assert_eq!(read(granted)["outcome"], json!({ "done": "AA==" }), "made");
    let receipt = read(written);
    assert_eq!((&receipt["outcome"], &receipt["stateNdx"]), (&json!({ "done": answer }), &json!(state_ndx)));
    assert_eq!(value, "hello");
    assert_eq!((again, asked), (written, written), "a repeat, and a question for the receipt");
    let change = read(change);
    assert_eq!((&change["appNdx"], &change["everywhere"]), (&json!(KV.0), &json!(true)));
}

/// Runs a script beside the files of the cluster; gives what it prints.
fn run(cluster: &Cluster, script: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script])
        .current_dir(&cluster.founded.directory)
        .stdin(Stdio::null());
    let Output { status, stdout, stderr } = bash.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The shell commands of a page.
fn blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

#[track_caller]
fn replaced(script: &str, old: &str, new: &str) -> String {
    assert_eq!(script.matches(old).count(), 1, "the page has {old:?} once");
    script.replace(old, new)
}

/// The rest of the line behind `words`.
fn after<'a>(script: &'a str, words: &str) -> &'a str {
    let (_, rest) = script.split_once(words).unwrap();
    rest.lines().next().unwrap()
}

/// What is missing for the page on this machine.
fn missing() -> Option<&'static str> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    if said("bash", &["--version"]).is_none() {
        return Some("there is no bash");
    }
    if said("curl", &["--version"]).is_none() {
        return Some("there is no curl");
    }
    match said("openssl", &["pkeyutl", "-help"]) {
        None => Some("there is no openssl"),
        Some(help) if !help.contains("-rawin") => {
            Some("this openssl cannot sign with Ed25519: it has no -rawin")
        }
        Some(_) => None,
    }
}
