//! What fuzzing started from and what it found, given to the same checks.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::Path;

#[path = "../../../fuzz/checks/body.rs"]
mod body;
#[path = "../../../fuzz/checks/command.rs"]
mod command;
#[path = "../../../fuzz/checks/frame.rs"]
mod frame;
#[path = "../../../fuzz/checks/genesis.rs"]
mod genesis;
#[path = "../../../fuzz/checks/record.rs"]
mod record;
#[path = "../../../fuzz/checks/snapshot.rs"]
mod snapshot;

/// One of the checks that fuzz targets make.
type Check = fn(&[u8]);

#[test]
fn no_seed_does_harm() {
    let targets: [(&str, Check); 6] = [
        ("body", body::check),
        ("command", command::check),
        ("frame", frame::check),
        ("genesis", genesis::check),
        ("record", record::check),
        ("snapshot", snapshot::check),
    ];
    for (target, check) in targets {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(seeds).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target} has no seeds");
    }
}
