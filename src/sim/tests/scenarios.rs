//! Every scenario goes as its file tells. `UPDATE_SCENARIOS=1 cargo test -p synod-sim --test scenarios` rewrites the
//! traces.

use std::fs;
use std::path::{Path, PathBuf};

use synod_sim::scenario::{check_file, rewrite_file};

#[test]
fn scenarios_go_as_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let play = if update { rewrite_file } else { check_file };
    let failed: Vec<String> = files
        .iter()
        .filter_map(|file| play(file).err().map(|error| format!("{}: {error}", file.display())))
        .collect();
    assert!(failed.is_empty(), "{} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    assert!(files.len() >= 20, "only {} scenarios in {}", files.len(), folder.display());
}
