//! Runs of the program's audits, and what they came to.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::Value;

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub said: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.said);
        self
    }

    /// Exit code 7, and these words.
    #[track_caller]
    pub fn broken(&self, words: &[&str]) {
        assert_eq!(self.code, 7, "{}\n{}", self.out, self.said);
        for words in words {
            assert!(self.said.contains(words), "{words:?} is not in {}", self.said);
        }
    }

    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The steps in a JSON output, and what it came to.
    pub fn steps(&self) -> (Vec<Value>, Value) {
        let mut lines = self.lines();
        let summary = lines.pop().unwrap();
        assert_eq!(summary["audited"], true, "{summary}");
        (lines, summary)
    }
}

/// A cluster's files, and how to run the program with them.
pub struct Tools {
    pub client: PathBuf,
    pub directory: PathBuf,
}

impl Tools {
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(synod_cluster::program());
        command.args(args).env("SYNOD_CLIENT", &self.client).env_remove("RUST_LOG");
        let output = command.current_dir(&self.directory).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(output.stdout), said: text(output.stderr) }
    }

    pub fn json(&self, args: &[&str]) -> Ran {
        self.run(&[args, &["--output", "json"]].concat())
    }
}

/// Every file below a directory: its bytes, and when it was last changed.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let changed = path.metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            files.insert(path, (Vec::new(), changed));
        } else {
            files.insert(path.clone(), (fs::read(path).unwrap(), changed));
        }
    }
    files
}

/// A copy of a data directory, to tamper with.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
