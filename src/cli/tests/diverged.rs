//! A node that differs from the others, as its operator sees it: `synod status` says where and what was changed there, and
//! `synod repair` has it made anew. (How a node finds that out is tested in src/node/tests/diverged.rs.)
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use serde_json::json;
use synod_cluster::Cluster;

const DIFFERS: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_where_a_node_differs_and_has_it_repaired() {
    let mut cluster = Cluster::start(3).await;
    for key in ["first", "second", "third"] {
        cluster.expect(0, &format!("kv put {key} value"));
    }
    let written = cluster.expect_json(0, "kv get second");
    let since = written["changed"].as_u64().unwrap();
    cluster.stop(DIFFERS).await;
    let config = cluster.founded.nodes[DIFFERS].config.clone();
    let data_dir = cluster.data_dir(DIFFERS);
    let evidence = json!({
        "appNdx": 1, "stateNdx": since, "isExact": true, "chain": null, "others": ["node1", "node3"],
    });
    std::fs::write(data_dir.join("diverged-1"), evidence.to_string()).unwrap();
    cluster.spawn(DIFFERS);
    // It is never ready, since it answers nobody.
    synod_cluster::eventually("it says that it differs", async || {
        cluster.run("status --output json").status.code() == Some(1)
            && cluster.readers.up(0).await.contains(&cluster.name(DIFFERS).to_owned())
    })
    .await;
    let (printed, _) = cluster.expect(1, "status");
    let line = printed.lines().find(|line| line.starts_with("!! ")).unwrap();
    let name = cluster.name(DIFFERS);
    for expected in [
        format!("{name} differs from a majority in application 1 kv from stateNdx {since} on"),
        "There was changed: second (".to_owned(),
        "synod repair".to_owned(),
    ] {
        assert!(line.contains(&expected), "{expected:?} is not in\n{printed}");
    }
    let status = cluster.expect_json(1, "status");
    assert_eq!(status["diverged"][0]["changed"], json!(["second"]));
    let refused = cluster.readers.get(DIFFERS, "/v1/apps/kv/kv/first").await.unwrap_err();
    assert_eq!(refused.status().map(|status| status.as_u16()), Some(503));

    cluster.stop(DIFFERS).await;
    let (printed, _) = cluster.expect(0, &format!("repair --config {}", config.display()));
    assert!(printed.contains(&format!("from state {since} on; rebuilt at the next start")), "{printed}");
    cluster.spawn(DIFFERS);
    cluster.ready(DIFFERS).await;
    cluster.expect(0, "status");
    assert!(data_dir.join("repaired-1").is_file(), "what was found is kept");
    cluster.stop_all().await;
}
