//! What a node tells of itself: measurements for Prometheus, and a log whose levels change while it runs.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use synod_client::CommandOptions;
use synod_types::{Outcome, StateNdx};

use synod_cluster::{Cluster, KV, eventually, put};

/// The samples of one scrape by name and labels, as they stand there.
async fn scrape(cluster: &Cluster, n: usize) -> BTreeMap<String, f64> {
    let text = cluster.readers.get(n, "/metrics").await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (sample.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line:?}")))
        })
        .collect()
}

#[tokio::test]
async fn a_node_tells_what_it_heard_of_one_that_is_gone() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client_at(cluster.administrator(), 0);
    client.execute(KV, put("key", "value"), CommandOptions::default()).await.unwrap();
    client.close().await;
    let heard = async |at: usize, of: &str| {
        let picture = cluster.readers.get_json::<Value>(at, "/v1/cluster").await.unwrap();
        let nodes = picture["nodes"].as_array().unwrap().clone();
        let node = nodes.into_iter().find(|node| node["name"] == of).unwrap();
        node["heard"]["apps"][0].clone()
    };
    let name = cluster.name(2).to_owned();
    let knows = async |at: usize| {
        let app = heard(at, &name).await;
        app["stateNdx"] == 1 && app["certified"] == 1
    };
    eventually("both have heard of the third", async || knows(0).await && knows(1).await).await;
    cluster.kill(2);
    cluster.stop(0).await;
    cluster.spawn(0);
    cluster.ready(0).await;
    // It never had a session with the third, in this life.
    eventually("it has heard of the third from the second", async || {
        let picture = cluster.readers.get_json::<Value>(0, "/v1/cluster").await.unwrap();
        let nodes = picture["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["name"] == name.as_str()).unwrap();
        node["state"] == "down" && node["heard"]["apps"][0]["stateNdx"] == 1
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn measurements_follow_what_happens() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client_at(cluster.administrator(), 0);
    for n in 0..5 {
        client.execute(KV, put(format!("key{n}"), "value"), CommandOptions::default()).await.unwrap();
    }
    let expected = CommandOptions { expected: Some(StateNdx(1)), ..CommandOptions::default() };
    let refused = client.execute(KV, put("key", "value"), expected).await.unwrap();
    assert!(matches!(refused.outcome, Outcome::Refused(_)), "{refused:?}");
    client.close().await;

    // What a node says of its groups is looked at ten times a second.
    eventually("every node knows its ballot, and one leads", async || {
        let mut leaders = 0.0;
        for n in 0..3 {
            let samples = scrape(&cluster, n).await;
            let sample = |name: &str| samples.get(name).copied().unwrap_or_default();
            if sample(r#"synod_ballot_number{app="1",name="kv"}"#) < 1.0 {
                return false;
            }
            leaders += sample(r#"synod_is_leader{app="1",name="kv"}"#);
        }
        leaders == 1.0
    })
    .await;
    for n in 0..3 {
        cluster.readers.state(n, "?min=6").await.unwrap();
        let samples = scrape(&cluster, n).await;
        let sample = |name: &str| {
            samples.get(name).copied().unwrap_or_else(|| panic!("no {name} at node {n}: {samples:#?}"))
        };
        assert_eq!(sample(r#"synod_state_ndx{app="1",name="kv"}"#), 6.0);
        assert_eq!(sample(r#"synod_lag_slots{app="1",name="kv"}"#), 0.0);
        assert_eq!(sample(r#"synod_has_leader{app="1",name="kv"}"#), 1.0);
        assert_eq!(sample(r#"synod_commands_total{app="1",result="done"}"#), 5.0);
        assert_eq!(sample(r#"synod_commands_total{app="1",result="state-mismatch"}"#), 1.0);
        // Every node verifies, writes and applies every command, in one batch or in several.
        for times in ["synod_verify_seconds", "synod_journal_sync_seconds", r#"synod_apply_seconds{app="1"}"#]
        {
            let (name, labels) = times.split_once('{').map_or((times, ""), |(name, rest)| (name, rest));
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}") };
            assert!(sample(&format!("{name}_count{labels}")) >= 1.0, "{times} at node {n}");
            assert!(sample(&format!("{name}_sum{labels}")) > 0.0, "{times} at node {n}");
        }
        for other in (0..3).filter(|other| *other != n) {
            let peer = cluster.name(other);
            assert_eq!(sample(&format!(r#"synod_peer_up{{peer="{peer}"}}"#)), 1.0);
            assert!(sample(&format!(r#"synod_peer_rtt_seconds{{peer="{peer}"}}"#)) > 0.0);
            assert!(sample(&format!(r#"synod_peer_sent_bytes_total{{peer="{peer}"}}"#)) > 0.0);
        }
        assert!(sample("synod_journal_bytes") > 0.0);
        assert!(sample("process_resident_memory_bytes") > 1e6);
    }
    let entry = scrape(&cluster, 0).await;
    assert_eq!(entry[r#"synod_command_seconds_count{app="1"}"#], 6.0);
    assert_eq!(entry["synod_backend_commands_total"], 6.0);
}

#[tokio::test]
async fn the_log_is_turned_up_and_down_while_the_node_runs() {
    let mut cluster = Cluster::start(1).await;
    let config = cluster.founded.nodes[0].config.clone();
    let pid = cluster.pid(0).to_string();
    let set = |log: &str| {
        let text = fs::read_to_string(&config).unwrap();
        let others: Vec<&str> = text.lines().filter(|line| !line.starts_with("log =")).collect();
        fs::write(&config, format!("log = {log:?}\n{}\n", others.join("\n"))).unwrap();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    assert!(!cluster.log(0).contains("DEBUG"), "{}", cluster.log(0));
    set("info,synod_http=debug");
    eventually("the node says that it logs more", async || cluster.log(0).contains("synod_http=debug")).await;
    // A filter that is none changes nothing, and is said.
    set("loud");
    eventually("the node says why not", async || cluster.log(0).contains("what is logged stays as it was"))
        .await;
    assert!(cluster.runs(0));
    set("error");
    eventually("the node says that it logs less", async || cluster.log(0).contains("log=error")).await;
    cluster.stop(0).await;
    assert!(!cluster.log(0).contains("node stopped"), "{}", cluster.log(0));
}
