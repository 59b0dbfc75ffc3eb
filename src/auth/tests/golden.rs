//! Documents that found clusters: the bytes are the cluster's id, so they are read for ever as they were.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

#[path = "vectors/mod.rs"]
#[allow(dead_code, reason = "this test needs its keys alone")]
mod vectors;

use std::path::{Path, PathBuf};

use synod_auth::{Genesis, GenesisAdministrator, GenesisApp, GenesisNode};
use synod_types::{AppNdx, Level, TimeMs};
use vectors::Vector;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn founded(level: Level, signatures_needed: u32) -> Genesis {
    let [ed25519, rsa] = Vector::all().map(|vector| vector.key().public().clone());
    let administrator = |name: &str, key| GenesisAdministrator { name: name.to_owned(), key };
    Genesis {
        name: "golden".to_owned(),
        created: TimeMs(1_700_000_000_000),
        nonce: [7; 16],
        nodes: vec![GenesisNode { name: "node1".to_owned(), key: ed25519.clone() }],
        administrators: vec![administrator("admin", ed25519), administrator("admin2", rsa)],
        signatures_needed,
        level,
        apps: vec![GenesisApp { ndx: AppNdx(1), name: "kv".to_owned(), kind: "kv".to_owned() }],
        origin: None,
    }
}

#[test]
fn genesis_documents_are_golden_and_their_clusters_stay_what_they_are() {
    // The first has no word of levels: it is of before there were any.
    for (name, genesis, cluster) in [
        ("genesis-v1-level1.json", founded(Level::FIRST, 1), "069ad2278da0"),
        ("genesis-v1-level2.json", founded(Level::HOST_PORT, 2), "72b788964b82"),
    ] {
        synod_golden::holds_file(file(name), &genesis.to_bytes());
        let (read, id) = Genesis::parse(&std::fs::read(file(name)).unwrap()).unwrap();
        assert_eq!(read, genesis);
        assert_eq!(id.short(), cluster, "{name}");
    }
    let first = std::fs::read_to_string(file("genesis-v1-level1.json")).unwrap();
    assert!(!first.contains("level"));
}
