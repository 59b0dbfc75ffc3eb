//! What keeps a node from starting is said so that it can be put right, and the process fails.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::net::{TcpListener, UdpSocket};

use synod_cluster::{Cluster, refused};

/// `text` in front of a configuration, where its top-level fields are.
fn prepend(text: String) -> impl FnOnce(String) -> String {
    move |config| text + &config
}

#[track_caller]
fn assert_says(said: &str, expected: &[&str]) {
    for expected in expected {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_printed_at_once() {
    let cluster = Cluster::found(3);
    let mesh = cluster.founded.nodes[0].plan.mesh.to_string();
    let config = cluster.changed_config(0, "bad.toml", |text| {
        text.replace("retry_delay", "retry_delai") // An unknown field,
            .replace(&mesh, "127.0.0.1:0") // a port out of range,
            .replace("\"node1.pem\"", "\"no-such.pem\"") // a file that is not there,
            .replace("server_name = \"node2\"", "server_name = \"node9\"") // a name that genesis does not know.
    });
    let said = refused(&config);
    let expected = [
        "bad.toml has 4 mistakes:",
        "retry_delai: there is no such field; did you mean \"retry_delay\"?",
        "me.addr: \"127.0.0.1:0\": the port \"0\" is not a number from 1 to 65535",
        "me.tls_config_info.cert_path: cannot read ",
        "servers[0].server_name: genesis names no node \"node9\"",
    ];
    assert_says(&said, &expected);
    assert!(!cluster.path("data-node1").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_belongs_to_one_process_of_one_node_of_one_cluster() {
    let mut cluster = Cluster::start(3).await;
    let said = refused(&cluster.founded.nodes[0].config);
    assert_says(&said, &["data-node1 is in use by another process; stop it, or"]);
    cluster.stop_all().await;

    let taken = cluster.path("data-node1");
    let data_dir = format!("data_dir = {:?}\n", taken.display().to_string());
    let config = cluster.changed_config(1, "other-node.toml", prepend(data_dir.clone()));
    let [owner, other, ..] = &cluster.founded.nodes[..] else { unreachable!("there are three") };
    let (owner, other) = (owner.id.to_string(), other.id.to_string());
    assert_says(&refused(&config), &["data-node1 belongs to node ", &owner, &other, "check data_dir"]);

    let elsewhere = Cluster::found(3);
    let config = elsewhere.changed_config(0, "other-cluster.toml", prepend(data_dir));
    let (here, there) = (cluster.founded.cluster.to_string(), elsewhere.founded.cluster.to_string());
    assert_says(&refused(&config), &["data-node1 belongs to cluster ", &here, &there, "check data_dir"]);

    // Nothing of this did any harm.
    cluster.spawn(0);
    cluster.ready(0).await;
    cluster.stop(0).await;
}

#[test]
fn a_port_in_use_is_named_with_what_wanted_it() {
    let cluster = Cluster::found(3);
    let node = &cluster.founded.nodes[0];
    let (mesh, backend, http) =
        (node.plan.mesh.to_string(), node.plan.backend.to_string(), node.plan.http.to_string());
    let dns = node.plan.dns.as_ref().unwrap().to_string();
    let says = |address: &str, expected: [&str; 2]| {
        assert_says(&refused(&node.config), &[address, "in use", expected[0], expected[1]]);
    };
    {
        let _taken = UdpSocket::bind(&mesh).unwrap();
        says(&mesh, ["cannot listen for other nodes on UDP", "configure another one"]);
    }
    {
        let _taken = TcpListener::bind(&backend).unwrap();
        says(&backend, ["for TCP", "give `backend` another port"]);
    }
    {
        let _taken = UdpSocket::bind(&backend).unwrap();
        says(&backend, ["for UDP", "give `backend` another port"]);
    }
    {
        let _taken = TcpListener::bind(&http).unwrap();
        says(&http, ["HTTP", "`http`"]);
    }
    {
        let _taken = UdpSocket::bind(&dns).unwrap();
        says(&dns, ["cannot serve DNS over UDP", "give `dns` another address"]);
    }
    {
        let _taken = TcpListener::bind(&dns).unwrap();
        says(&dns, ["cannot serve DNS over TCP", "give `dns` another address"]);
    }
}
