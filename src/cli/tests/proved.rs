//! What a real cluster proves, and an untrusted mirror passes on: `synod kv get --verify` and `synod zone get --verify`
//! believe the genesis document alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use synod_client::CommandOptions;
use synod_cluster::{Cluster, KV, eventually, put};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers whatever is asked with the same JSON, as a cache would that somebody owns.
async fn mirror(body: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let body = Arc::new(body.to_string());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = Arc::clone(&body);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(body.as_bytes()).await;
            });
        }
    });
    addr
}

/// What a node answers with a proof, once the state is certified.
async fn certified(cluster: &Cluster, target: &str) -> Value {
    let mut answer = Value::Null;
    eventually("the last write is certified", async || {
        let found: Result<Value, _> = cluster.readers.get_json(0, target).await;
        found.map(|found| answer = found).is_ok()
    })
    .await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_passes_on_what_is_proved_and_cannot_make_anything_up() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client_at(cluster.administrator(), 0);
    let mut last = 0;
    for (key, value) in [("greeting", "hello"), ("a", "1"), ("b", "2"), ("greeting", "hello again")] {
        let command = put(key.to_owned(), value);
        last = client.execute(KV, command, CommandOptions::default()).await.unwrap().state_ndx.0;
    }
    client.close().await;
    let target = format!("/v1/apps/kv/kv/greeting?proof=1&min={last}");
    let answer = certified(&cluster, &target).await;

    let http = cluster.founded.nodes[0].plan.http.to_string();
    let (value, said) = cluster.expect(0, &format!("kv get greeting --verify --min {last} --http {http}"));
    assert_eq!(value, "hello again");
    assert!(said.contains(&format!("proved: stateNdx {last}, last changed in {last}")), "{said}");
    let (_, said) = cluster.expect(1, &format!("kv get nothing --verify --http {http}"));
    assert!(said.contains("proved: there is no key \"nothing\""), "{said}");
    let proved = cluster.expect_json(0, &format!("kv get a --verify --http {http}"));
    assert_eq!(
        (&proved["value"], &proved["proved"], &proved["members"]),
        (&"1".into(), &true.into(), &3.into())
    );

    // The same from a mirror that nobody trusts.
    let honest = mirror(answer.clone()).await;
    let (value, _) = cluster.expect(0, &format!("kv get greeting --verify --http {honest}"));
    assert_eq!(value, "hello again");
    let mut lies = Vec::new();
    let mut lie = answer.clone();
    lie["entry"]["value"] = "something else".into();
    lies.push(lie);
    let mut hidden = answer.clone();
    hidden["entry"] = Value::Null;
    lies.push(hidden);
    let mut old = answer.clone();
    old["certificate"]["certificate"]["stateNdx"] = (last + 1).into();
    old["stateNdx"] = (last + 1).into();
    lies.push(old);
    for lie in lies {
        let liar = mirror(lie).await;
        let (printed, said) = cluster.expect(7, &format!("kv get greeting --verify --http {liar}"));
        assert!(printed.is_empty() && said.contains("nothing is proved"), "{printed}: {said}");
    }
    // Another key's answer, and another cluster's.
    let (_, said) = cluster.expect(7, &format!("kv get a --verify --http {honest}"));
    assert!(said.contains("nothing is proved"), "{said}");
    let other = Cluster::found(3);
    let genesis = other.path("genesis.json");
    let arguments = format!("kv get greeting --verify --http {honest} --genesis {}", genesis.display());
    let (_, said) = cluster.expect(7, &arguments);
    assert!(said.contains("another cluster") || said.contains("founds cluster"), "{said}");
    let (_, said) =
        cluster.expect(7, &format!("kv get greeting --verify --min {} --http {honest}", last + 1));
    assert!(said.contains("an earlier one"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_proved_with_its_file() {
    let cluster = Cluster::start(3).await;
    let file = "$TTL 60\n@ SOA ns1 hostmaster 7 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
    std::fs::write(cluster.directory.path().join("zone"), file).unwrap();
    let set = cluster.expect_json(0, "zone set example.org zone --wait all");
    let last = set["stateNdx"].as_u64().unwrap();
    let target = format!("/v1/apps/zones/zones/example.org?proof=1&min={last}");
    let answer = certified(&cluster, &target).await;

    let http = cluster.founded.nodes[0].plan.http.to_string();
    let (printed, said) = cluster.expect(0, &format!("zone get example.org --verify --http {http}"));
    assert_eq!(printed, file);
    assert!(said.contains(&format!("proved: stateNdx {last}, last changed in {last}")), "{said}");
    let (_, said) = cluster.expect(1, &format!("zone get example.net --verify --http {http}"));
    assert!(said.contains("proved: there is no zone example.net."), "{said}");

    // A mirror can pass that on; it cannot change it, nor give another file.
    let honest = mirror(answer.clone()).await;
    let proved = cluster.expect_json(0, &format!("zone get example.org --verify --http {honest}"));
    assert_eq!((&proved["serial"], &proved["proved"]), (&7.into(), &true.into()));
    let (printed, said) = cluster.expect(7, &format!("zone get example.org --verify --http {honest}"));
    assert!(printed.is_empty() && said.contains("what was given has hash"), "{printed}: {said}");
    let mut lie = answer.clone();
    lie["version"]["serial"] = 8.into();
    let mut hidden = answer;
    hidden["version"] = Value::Null;
    for lie in [lie, hidden] {
        let liar = mirror(lie).await;
        let (printed, said) = cluster.expect(7, &format!("zone get example.org --verify --http {liar}"));
        assert!(printed.is_empty() && said.contains("nothing is proved"), "{printed}: {said}");
    }
}
