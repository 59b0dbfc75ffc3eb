//! Private keys stay where they are: nothing that a node says has a part of one, whoever else can read their files keeps it
//! from starting, and its end leaves no copy of its memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::SecretDocument;
use synod_auth::{CertificateAuthority, SigningKey, TlsIdentity};
use synod_client::CommandOptions;
use synod_cluster::{Cluster, KV, eventually, put, refused};
use synod_node::Config;

/// Bytes of a key that somebody might print one way or another; so many in a row are no chance.
const PART: usize = 12;

/// The secret half of an Ed25519 key in a file: the last 32 bytes (RFC 8410, 7).
fn seed(path: &Path) -> [u8; 32] {
    let (_, document) = SecretDocument::from_pem(&fs::read_to_string(path).unwrap()).unwrap();
    *document.as_bytes().last_chunk().unwrap()
}

/// Which part of `secret` is in `said`.
fn leak(said: &[u8], secret: &[u8]) -> Option<String> {
    let parts: BTreeSet<&[u8]> = secret.windows(PART).collect();
    if said.windows(PART).any(|window| parts.contains(window)) {
        return Some("the bytes themselves".to_owned());
    }
    let text = String::from_utf8_lossy(said);
    let mut forms = parts.into_iter().flat_map(|part| {
        let (hex, list) = (hex::encode(part), format!("{part:?}"));
        // Twelve bytes are sixteen digits, whatever stands before or behind them.
        let base64 = STANDARD.encode(part);
        let for_urls = base64.replace('+', "-").replace('/', "_");
        [hex.to_uppercase(), hex, base64, for_urls, list.trim_matches(['[', ']']).to_owned()]
    });
    forms.find(|form| text.contains(form))
}

#[test]
fn the_search_finds_a_key_in_whatever_form() {
    let key: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 37 % 251).unwrap() | 0x80);
    assert_eq!(leak(b"nothing", &key), None);
    for prefix in ["", "a", "ab"] {
        let with = |key: &[u8]| [prefix.as_bytes(), key].concat();
        for said in [
            with(&key),
            hex::encode(key).into_bytes(),
            hex::encode_upper(key).into_bytes(),
            STANDARD.encode(with(&key)).into_bytes(),
            format!("{:?}", with(&key)).into_bytes(),
        ] {
            assert!(leak(&said, &key).is_some(), "{}", String::from_utf8_lossy(&said));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_node_says_has_a_part_of_a_key() {
    let mut cluster = Cluster::found(3);
    for n in 0..3 {
        let config = cluster.founded.nodes[n].config.clone();
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("log = \"trace\"\n{text}")).unwrap();
        cluster.spawn(n);
    }
    for n in 0..3 {
        cluster.ready(n).await;
    }
    let mut keys = vec![cluster.path("admin.pem"), cluster.path("ca-key.pem")];
    let names: Vec<String> = (0..3).map(|n| cluster.name(n).to_owned()).collect();
    keys.extend(names.iter().map(|name| cluster.path(&format!("{name}-key.pem"))));
    let seeds: Vec<[u8; 32]> = keys.iter().map(|path| seed(path)).collect();

    // Something of everything: both transports of commands, reads, a name server, a restart, and things that fail.
    let client = cluster.client(cluster.administrator(), 0, Default::default());
    client.execute(KV, put("key", "value"), CommandOptions::default()).await.unwrap();
    client.close().await;
    cluster.expect(0, "keygen --type ed25519 --out other.pem");
    cluster.expect(0, "commander add other --app kv --key other.pem --role writer");
    let mut said = Vec::new();
    for n in 0..3 {
        for path in ["/metrics", "/v1/cluster", "/v1/apps", "/v1/apps/kv/commanders", "/openapi.json"] {
            said.push(cluster.readers.get(n, path).await.unwrap().to_vec());
        }
    }
    let (printed, told) = cluster.expect(0, "status");
    said.extend([printed.into_bytes(), told.into_bytes()]);
    cluster.kill(0);
    cluster.spawn(0);
    cluster.ready(0).await;
    eventually("the node is back", async || cluster.readers.up(0).await.len() == 2).await;
    said.push(refused(&cluster.founded.nodes[0].config).into_bytes());
    cluster.stop_all().await;
    for n in 0..3 {
        let (log, printed) = (cluster.log(n), cluster.printed(n));
        assert!(log.contains("TRACE") && printed.contains("ready"), "{log}\n{printed}");
        said.extend([log.into_bytes(), printed.into_bytes()]);
    }

    // What a panic or an error would print of them.
    let node = |ending: &str| cluster.path(&format!("{}{ending}", names[0]));
    let identity = TlsIdentity::load(node(".pem"), node("-key.pem"), cluster.path("ca.pem")).unwrap();
    let authority = CertificateAuthority::load(cluster.path("ca.pem"), cluster.path("ca-key.pem")).unwrap();
    let config = Config::load(&cluster.founded.nodes[0].config).unwrap();
    let debug = format!("{identity:#?} {authority:?} {:?} {config:?}", cluster.administrator());
    said.push(debug.into_bytes());
    let bytes: usize = said.iter().map(Vec::len).sum();
    for said in &said {
        for (seed, path) in seeds.iter().zip(&keys) {
            if let Some(found) = leak(said, seed) {
                panic!("{found} of {} is in\n{}", path.display(), String::from_utf8_lossy(said));
            }
        }
    }
    assert!(bytes > 100_000, "only {bytes} bytes were looked through");
}

#[test]
fn a_key_that_others_than_its_owner_can_use_starts_no_node() {
    let cluster = Cluster::found(1);
    let key = cluster.path("node1-key.pem");
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o660, 0o644, 0o444] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let said = refused(&cluster.founded.nodes[0].config);
        assert!(said.contains("chmod 600") && said.contains("node1-key.pem"), "{mode:o}: {said}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        cluster.expect(0, &format!("node --check --config {}", cluster.founded.nodes[0].config.display()));
    }
    // A commander's key as well.
    let admin = cluster.path("admin.pem");
    assert!(SigningKey::load(&admin).is_ok());
    fs::set_permissions(&admin, Permissions::from_mode(0o640)).unwrap();
    let (_, said) = cluster.expect(1, "kv put key value");
    assert!(said.contains("chmod 600"), "{said}");
    for (file, mode) in [("node1-key.pem", 0o400), ("ca-key.pem", 0o600)] {
        let found = fs::metadata(cluster.path(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
}

#[tokio::test]
async fn a_node_leaves_no_core_dump() {
    let cluster = Cluster::start(1).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", cluster.pid(0))).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["1", "1", "bytes"], "{core}");
}
