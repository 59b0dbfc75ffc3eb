//! Certificates that are renewed while nodes run: at every port, by the tools, and as docs/OPERATIONS.md says it, word for word,
//! under writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use synod_auth::tls::{backend_client, load_roots};
use synod_auth::{Algorithm, CertificateAuthority, CertificateFacts, SigningKey, TlsIdentity};
use synod_client::{Client, ClientConfig, CommandOptions, Commander, Timeouts};
use synod_cluster::{Cluster, KV, eventually, node_plans, program, put};
use synod_gateway::{CertificateUse, ClusterStatus};
use synod_types::Outcome;

const PAGE: &str = "../../docs/OPERATIONS.md";

/// What the TLS port at `addr` shows.
fn shown_over_tcp(ca: &Path, addr: SocketAddr, alpn: &[u8]) -> Option<CertificateDer<'static>> {
    let config = backend_client(&load_roots(ca).unwrap(), &[alpn]).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = std::net::TcpStream::connect(addr).ok()?;
    client.complete_io(&mut socket).ok()?;
    Some(client.peer_certificates()?.first()?.clone())
}

/// What the QUIC port at `addr` shows.
async fn shown_over_quic(
    tls: rustls::ClientConfig,
    addr: SocketAddr,
    name: &str,
) -> Option<CertificateDer<'static>> {
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = endpoint.connect_with(config, addr, name).unwrap().await.ok()?;
    let chain: Box<Vec<CertificateDer<'static>>> = connection.peer_identity()?.downcast().ok()?;
    chain.first().cloned()
}

async fn status(cluster: &Cluster, n: usize) -> Option<ClusterStatus> {
    cluster.readers.get_json(n, "/v1/cluster").await.ok()
}

/// The fingerprints of what a node has.
async fn fingerprints(cluster: &Cluster, n: usize, of: CertificateUse) -> Vec<String> {
    let certificates = status(cluster, n).await.map(|status| status.certificates).unwrap_or_default();
    certificates.into_iter().filter(|one| one.certificate == of).map(|one| one.fingerprint).collect()
}

fn fingerprint(file: &Path) -> String {
    CertificateFacts::load_all(file).unwrap()[0].fingerprint.clone()
}

async fn metric(cluster: &Cluster, n: usize, sample: &str) -> f64 {
    let text = String::from_utf8(cluster.readers.get(n, "/metrics").await.unwrap().to_vec()).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("{sample}: {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_port_shows_what_is_put_in_place() {
    let mut cluster = Cluster::found(1);
    let directory = cluster.founded.directory.clone();
    let path = |name: &str| directory.join(name);
    let authority = CertificateAuthority::load(path("ca.pem"), path("ca-key.pem")).unwrap();
    // The key comes first, so that there is a moment at which the two do not fit.
    let make = |name: &str| {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let key_path = path(&format!("{name}-key.pem"));
        let _ = fs::remove_file(&key_path);
        key.save_new(&key_path).unwrap();
        let pem = authority.issue_node(key.public(), &["localhost".to_owned()]).unwrap();
        fs::write(path(&format!("{name}.pem")), pem).unwrap();
    };
    make("dns");
    let plan = &node_plans(1)[0];
    let (dot, doq) = (plan.backend.clone(), plan.mesh.clone());
    cluster.changed_config(0, "node1.toml", |config| {
        format!("{config}\n[dns.tls]\ncert_path = \"dns.pem\"\nkey_path = \"dns-key.pem\"\ndot = \"{dot}\"\ndoq = \"{doq}\"\n")
    });
    cluster.spawn(0);
    cluster.ready(0).await;
    let node = cluster.founded.nodes[0].plan.clone();
    let addr = |address: &synod_node::config::Address| -> SocketAddr { address.to_string().parse().unwrap() };
    let caller = TlsIdentity::load(path("node1.pem"), path("node1-key.pem"), path("ca.pem")).unwrap();
    let client = |alpn: &[u8]| backend_client(&load_roots(path("ca.pem")).unwrap(), &[alpn]).unwrap();
    let all = async || {
        [
            shown_over_quic(caller.mesh_client(&[b"synod-mesh/1"]).unwrap(), addr(&node.mesh), "node1").await,
            shown_over_quic(client(b"synod-commander/1"), addr(&node.backend), "node1").await,
            shown_over_tcp(&path("ca.pem"), addr(&node.backend), b"h2"),
            shown_over_tcp(&path("ca.pem"), addr(&dot), b"dot"),
            shown_over_quic(client(b"doq"), addr(&doq), "localhost").await,
        ]
    };
    let expected = || {
        let [node, dns] =
            ["node1.pem", "dns.pem"].map(|file| CertificateDer::from_pem_file(path(file)).unwrap());
        [node.clone(), node.clone(), node, dns.clone(), dns].map(Some)
    };
    let before = expected();
    assert_eq!(all().await, before);

    // Nobody tells the node.
    cluster.expect(0, "cert renew --dir cluster --node node1");
    make("dns");
    let after = expected();
    for (after, before) in after.iter().zip(&before) {
        assert_ne!(after, before);
    }
    eventually("every port shows what is new", async || all().await == after).await;
    assert_eq!(fingerprints(&cluster, 0, CertificateUse::Node).await, [fingerprint(&path("node1.pem"))]);
    assert_eq!(fingerprints(&cluster, 0, CertificateUse::Dns).await, [fingerprint(&path("dns.pem"))]);
    for (of, file) in [("node", "node1.pem"), ("ca", "ca.pem"), ("dns", "dns.pem")] {
        let end = CertificateFacts::load_all(path(file)).unwrap()[0].not_after.0 / 1000;
        let sample = format!("synod_certificate_expiry_seconds{{certificate=\"{of}\"}}");
        let shown = metric(&cluster, 0, &sample).await;
        assert_eq!(format!("{shown:.0}"), end.to_string(), "{sample}");
    }

    // What is not in order is not taken, and said once.
    let failures = "synod_certificate_reload_failures_total{certificate=\"node\"}";
    let failed = metric(&cluster, 0, failures).await;
    let good = fs::read(path("node1.pem")).unwrap();
    fs::write(path("node1.pem"), &good[..good.len() / 2]).unwrap();
    eventually("it is counted", async || metric(&cluster, 0, failures).await > failed).await;
    let log = cluster.log(0);
    let said: Vec<&str> =
        log.lines().filter(|line| line.contains("certificates stay as they were")).collect();
    let last = said.last().unwrap();
    assert!(last.contains("node1.pem") && last.contains("has no end"), "{last}");
    // At a signal it is read again at once, whether it has changed or not.
    let failed = metric(&cluster, 0, failures).await;
    cluster.hang_up(0);
    eventually("it is read again", async || metric(&cluster, 0, failures).await == failed + 1.0).await;
    assert_eq!(all().await, after);
    fs::write(path("node1.pem"), &good).unwrap();
    cluster.hang_up(0);
    eventually("all is well", async || cluster.log(0).contains("nothing is new in them")).await;
    assert_eq!(all().await, after);

    let log = cluster.log(0);
    for key in ["node1-key.pem", "dns-key.pem", "ca-key.pem"] {
        let secret = fs::read_to_string(path(key)).unwrap();
        let secret = secret.lines().find(|line| !line.starts_with('-')).unwrap();
        assert!(!log.contains(&secret[24..40]), "a part of {key} is in {log}");
    }
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_shown_what_is_put_in_place() {
    let mut cluster = Cluster::found(1);
    let shown = "\n[http.tls]\ncert_path = \"node1.pem\"\nkey_path = \"node1-key.pem\"\n";
    cluster.changed_config(0, "node1.toml", |config| config + shown);
    cluster.spawn(0);
    cluster.ready(0).await;
    let addr: SocketAddr = cluster.founded.nodes[0].plan.http.to_string().parse().unwrap();
    let (file, ca) = (cluster.path("node1.pem"), cluster.path("ca.pem"));
    let shown = || shown_over_tcp(&ca, addr, b"http/1.1").unwrap();
    let old = CertificateDer::from_pem_file(&file).unwrap();
    assert_eq!(shown(), old);
    cluster.expect(0, "cert renew --dir cluster --node node1");
    let new = CertificateDer::from_pem_file(&file).unwrap();
    assert_ne!(new, old);
    eventually("it shows what is new", async || shown() == new).await;
    cluster.stop(0).await;
}

#[test]
fn the_tools_refuse_what_does_not_fit_and_overwrite_no_key() {
    let cluster = Cluster::found(2);
    let at = |name: &str| cluster.founded.directory.join(name);
    let (_, said) = cluster.expect(1, "cert renew --dir cluster --node node3");
    assert!(said.contains("names no node \"node3\"; it names node1, node2"), "{said}");
    let (_, said) = cluster.expect(1, "cert renew --dir cluster --node node1 --ca-key cluster/admin.pem");
    assert!(said.contains("ca.pem: has no certificate of the key in cluster/admin.pem"), "{said}");
    let (_, said) = cluster.expect(1, "cert renew --dir nowhere --node node1");
    assert!(said.contains("cannot read nowhere/genesis.json"), "{said}");
    let (_, said) = cluster.expect(1, "cert show cluster/node1-key.pem");
    assert!(said.contains("holds no certificate"), "{said}");
    cluster.expect(2, "cert show");

    let old = CertificateFacts::load_all(at("node1.pem")).unwrap().remove(0);
    let renewed = cluster.expect_json(0, "cert renew --dir cluster --node node1");
    let new = CertificateFacts::load_all(at("node1.pem")).unwrap().remove(0);
    assert_ne!(new.fingerprint, old.fingerprint);
    assert_eq!((&new.server_names, new.key_id), (&old.server_names, old.key_id));
    assert_eq!(renewed["fingerprint"], new.fingerprint);
    assert_eq!(renewed["daysLeft"], 3649);
    fs::rename(at("node2.pem"), at("kept")).unwrap();
    fs::copy(at("node1.pem"), at("node2.pem")).unwrap();
    let (_, said) = cluster.expect(1, "cert renew --dir cluster --node node2");
    assert!(said.contains("node2.pem is not the certificate of the key"), "{said}");
    fs::rename(at("kept"), at("node2.pem")).unwrap();

    let made = cluster.expect_json(0, "cert new-ca --dir cluster");
    assert_eq!(made["bundle"], "cluster/ca-both.pem");
    let (_, said) = cluster.expect(1, "cert new-ca --dir cluster");
    assert!(said.contains("ca-both.pem is there already"), "{said}");
    let both = cluster.expect_json(0, "cert show cluster/ca-both.pem");
    let both: Vec<&Value> = both["certificates"].as_array().unwrap().iter().collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0]["fingerprint"], fingerprint(&at("ca.pem")));
    assert_eq!(both[1]["fingerprint"], made["authority"]["fingerprint"]);
    assert_ne!(both[0]["subject"], both[1]["subject"], "people can tell them apart");
    // The key of one, the certificate of the other.
    let (_, said) =
        cluster.expect(1, "cert renew --dir cluster --node node1 --ca-key cluster/ca-new-key.pem");
    assert!(said.contains("ca.pem: has no certificate of the key in cluster/ca-new-key.pem"), "{said}");
    assert_eq!(fingerprint(&at("node1.pem")), new.fingerprint);
    let (text, _) = cluster.expect(0, "cert show --config cluster/node1.toml");
    for part in ["node1.pem: a certificate", "ca.pem: an authority", "3649 days left", "node1, 127.0.0.1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The shell commands of the chapter, block by block.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let (_, chapter) = page.split_once("\n## Certificates\n").unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    let blocks = chapter.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Runs commands of the page where `cluster` is, with hosts that are directories.
fn run(cluster: &Cluster, script: &str) {
    const HOSTS: &str = r#"
        scp() { [ "$1" = -q ] && cp "$2" "hosts/${3%%:*}/${3##*/}"; }
        ssh() { [ "$2" = mv ] && mv "hosts/$1/${3##*/}" "hosts/$1/${4##*/}"; }
    "#;
    let tools = program().parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &format!("{HOSTS}\n{script}")])
        .env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()))
        .current_dir(cluster.directory.path())
        .stdin(Stdio::null());
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
}

/// A client with the authorities that are in the client's file now.
fn client(cluster: &Cluster) -> Client {
    let tls = Arc::new(backend_client(&load_roots(cluster.path("ca.pem")).unwrap(), &[]).unwrap());
    let commander = Commander::new(Arc::new(cluster.administrator()), cluster.founded.cluster);
    let endpoints = (0..cluster.len()).map(|n| cluster.endpoint(n)).collect();
    Client::new(ClientConfig { endpoints, tls, commander, timeouts: Timeouts::default() }).unwrap()
}

/// Writes key after key until it is stopped, as a program that is started again now and then; no write may fail.
async fn write(cluster: &Cluster, stop: &AtomicBool, written: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let client = client(cluster);
        for _ in 0..20 {
            let n = written.load(Ordering::Relaxed);
            let receipt =
                client.execute(KV, put(format!("key{n}"), "value"), CommandOptions::default()).await;
            let receipt = receipt.unwrap_or_else(|why| panic!("write {n} failed: {why}"));
            assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
            written.store(n + 1, Ordering::Relaxed);
        }
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_exchanged_as_the_page_says_and_no_write_fails() {
    let mut cluster = Cluster::found_apart(3);
    let hosts = ["a.example", "b.example", "c.example"];
    let base = cluster.directory.path().to_owned();
    let host = |n: usize| -> PathBuf { base.join("hosts").join(hosts[n]) };
    for n in 0..3 {
        fs::create_dir_all(host(n)).unwrap();
        for file in ["node.toml", "node.pem", "node-key.pem", "ca.pem", "genesis.json"] {
            fs::copy(cluster.founded.directory.join(cluster.name(n)).join(file), host(n).join(file)).unwrap();
        }
        cluster.founded.nodes[n].config = host(n).join("node.toml");
    }
    cluster.try_start_all().await.unwrap();
    let blocks = blocks();
    let [place, renew, trust_both, renew_all, trust_new] = &blocks[..] else {
        panic!("five blocks: {blocks:#?}")
    };
    let do_as_told = |block: &str| run(&cluster, &format!("{place}\n{block}"));
    let of_file = |n: usize| fingerprint(&cluster.founded.directory.join(cluster.name(n)).join("node.pem"));
    let everywhere = async |authorities: usize| {
        for n in 0..3 {
            if fingerprints(&cluster, n, CertificateUse::Ca).await.len() != authorities
                || fingerprints(&cluster, n, CertificateUse::Node).await != [of_file(n)]
            {
                return false;
            }
        }
        true
    };
    let late = host(0).join("late.pem");

    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let more = async |count: u64| {
        let until = written.load(Ordering::Relaxed) + count;
        eventually("writes go on", async || written.load(Ordering::Relaxed) >= until).await;
    };
    let steps = async {
        more(50).await;
        do_as_told(renew);
        eventually("the node shows its new certificate", async || everywhere(1).await).await;
        fs::copy(host(0).join("node.pem"), &late).unwrap();
        more(50).await;

        do_as_told(trust_both);
        eventually("both are trusted everywhere", async || everywhere(2).await).await;
        more(50).await;
        do_as_told(renew_all);
        eventually("every node shows its new certificate", async || everywhere(2).await).await;
        more(50).await;
        do_as_told(trust_new);
        eventually("one is trusted", async || everywhere(1).await).await;
        more(100).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(steps, write(&cluster, &stop, &written));

    let new = fingerprint(&cluster.path("ca.pem"));
    for n in 0..3 {
        assert_eq!(fingerprints(&cluster, n, CertificateUse::Ca).await.join(" "), new);
        assert!(!cluster.log(n).contains("certificates stay as they were"), "{}", cluster.log(n));
        let failures = "synod_certificate_reload_failures_total{certificate=\"node\"}";
        assert_eq!(metric(&cluster, n, failures).await, 0.0);
    }
    eventually("the nodes are together", async || {
        for n in 0..3 {
            if cluster.readers.up(n).await.len() != 2 {
                return false;
            }
        }
        true
    })
    .await;
    // Everything that was acknowledged is there, at every node.
    let count = written.load(Ordering::Relaxed);
    for n in 0..3 {
        assert_eq!(cluster.readers.state(n, &format!("?min={count}")).await.unwrap().state_ndx.0, count);
    }
    let (text, _) = cluster.expect(0, "status");
    assert!(text.contains(&new[..8]) && !text.contains('!'), "{text}");

    // Whoever has a certificate of the old authority, with the key of a member, is refused.
    let old = TlsIdentity::load(&late, host(0).join("node-key.pem"), cluster.path("ca.pem")).unwrap();
    let port: SocketAddr = cluster.founded.nodes[1].plan.mesh.to_string().parse().unwrap();
    let tls = old.mesh_client(&[b"synod-mesh/1"]).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = match endpoint.connect_with(config, port, "node2").unwrap().await {
        Ok(connection) => connection.closed().await,
        Err(why) => why,
    };
    assert!(refused.to_string().contains("certificate"), "{refused}");
    drop(endpoint);
    println!("{count} writes");
    cluster.stop_all().await;
}
