//! What fuzzing started from and what it found: all of it is answered, or met with silence.

mod any_bytes;
mod dig;

use std::path::Path;

#[test]
fn no_seed_does_harm() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/query");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        any_bytes::check(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 20, "the seeds are missing");
}
