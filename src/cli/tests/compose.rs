//! The README's walk through the cluster in containers, as it stands there: each command is run, and what the README shows
//! below it is looked for in what it prints.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod walking;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use walking::steps;

const HEADING: &str = "## In containers";
#[test]
#[ignore = "builds an image, takes the ports of docker-compose.yml: cargo test --workspace --test compose -- --ignored"]
fn the_walk_in_the_readme() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: the README's walk in containers is not executed, since {missing}");
        return;
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(HEADING).unwrap();
    let steps = steps(section.split("\n## ").next().unwrap());
    assert!(steps.len() >= 8, "the README has a walk");
    let _cluster = Cluster;
    for step in steps {
        eprintln!("$ {}", step.command);
        step.check(&run(&step.command));
    }
}

/// Removes what the walk leaves, also where it fails.
struct Cluster;

impl Drop for Cluster {
    fn drop(&mut self) {
        let compose = |arguments: &[&str]| {
            Command::new("docker-compose").args(arguments).current_dir(root()).output().unwrap()
        };
        if std::thread::panicking() {
            let logs = compose(&["logs", "--no-color", "--tail", "50"]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let down = compose(&["down", "--volumes", "--timeout", "5"]);
        assert!(down.status.success());
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Standard output and error, in this order.
fn run(command: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", command]).current_dir(root()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = bash.output().unwrap();
    let printed = [stdout, b"\n".to_vec(), stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{printed}");
    printed
}

/// What is missing for the walk on this machine.
fn missing() -> Option<String> {
    for (program, arguments) in [
        ("docker", &["info"][..]),
        ("docker-compose", &["version"]),
        ("curl", &["--version"]),
        ("dig", &["-v"]),
    ] {
        let found = Command::new(program).args(arguments).output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Some(format!("`{program} {}` does not work here", arguments[0]));
        }
    }
    None
}
