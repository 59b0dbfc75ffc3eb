//! Golden files: the bytes of every format on disk and on the wire, as some program wrote them once. A test makes them again,
//! and reads what is in the file.
//!
//! What is in such a file was on somebody's disk. So a line is added and never changed: a format that has to be another one gets
//! another version, another file, and code that still reads the old one. `UPDATE_GOLDEN=1` adds the lines that are missing.
//!
//! It is for tests alone: whoever finds something else panics. Start with [`holds`].
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, here too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Bytes by their names, one line of hex digits each.
pub type Golden = BTreeMap<String, Vec<u8>>;

/// Reads a golden file.
///
/// # Panics
/// If there is none, or it is none.
pub fn read(path: impl AsRef<Path>) -> Golden {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let line = |line: &str| {
        let (name, digits) = line.split_once(' ').unwrap();
        (name.to_owned(), hex::decode(digits).unwrap())
    };
    text.lines().map(line).collect()
}

/// Demands that these are the bytes in the file, all of them, and gives what is in it.
///
/// # Panics
/// If they are others.
#[track_caller]
pub fn holds(path: impl AsRef<Path>, made: impl IntoIterator<Item = (impl Into<String>, Vec<u8>)>) -> Golden {
    let path = path.as_ref();
    let made: Golden = made.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
    let is_new = is_update() && !path.exists();
    let mut kept = if is_new { Golden::new() } else { read(path) };
    for (name, bytes) in &made {
        match kept.get(name) {
            Some(known) => assert_eq!(
                hex::encode(bytes),
                hex::encode(known),
                "{name} is written otherwise than in {}: what was written once must stay; make a new version",
                path.display()
            ),
            None if is_update() => drop(kept.insert(name.clone(), bytes.clone())),
            None => panic!("{name} is not in {}: add it with UPDATE_GOLDEN=1", path.display()),
        }
    }
    let gone: Vec<&String> = kept.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(gone.is_empty(), "nobody writes {gone:?} any more, which {} has", path.display());
    if is_update() {
        let line = |(name, bytes): (&String, &Vec<u8>)| format!("{name} {}\n", hex::encode(bytes));
        write(path, kept.iter().map(line).collect::<String>().as_bytes());
    }
    kept
}

/// The same of one file that is as it is, such as a document that people read.
///
/// # Panics
/// If the bytes are others.
#[track_caller]
pub fn holds_file(path: impl AsRef<Path>, made: &[u8]) {
    let path = path.as_ref();
    if is_update() && !path.exists() {
        write(path, made);
    }
    let kept = fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    assert_eq!(
        String::from_utf8_lossy(made),
        String::from_utf8_lossy(&kept),
        "otherwise than in {}: what was written once must stay; make a new version",
        path.display()
    );
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
