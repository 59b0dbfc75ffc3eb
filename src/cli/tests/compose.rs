//! The README's walk through the cluster in containers, as it stands there: each command is run, and what the README shows
//! below it is looked for in what it prints.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HEADING: &str = "## In containers";
/// What stands for anything.
const ANYTHING: &str = "…";

/// One command, and lines that it prints.
struct Step {
    command: String,
    shown: Vec<String>,
}

#[test]
#[ignore = "builds an image, takes the ports of docker-compose.yml: cargo test --workspace --test compose -- --ignored"]
fn the_walk_in_the_readme() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: the README's walk in containers is not executed, since {missing}");
        return;
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() >= 8, "the README has a walk");
    let _cluster = Cluster;
    for Step { command, shown } in steps {
        eprintln!("$ {command}");
        let printed = run(&command);
        let mut rest = printed.lines();
        for line in shown {
            let is_there = rest.any(|printed| matches(&line, printed.trim_end()));
            assert!(is_there, "{command:?} was to print {line:?}, and printed\n{printed}");
        }
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

/// Commands begin with a dollar sign, and what they print follows.
fn steps(readme: &str) -> Vec<Step> {
    let (_, section) = readme.split_once(HEADING).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```").skip(1).step_by(2) {
        for line in block.lines().skip(1) {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) if line != ANYTHING => step.shown.push(line.trim_end().to_owned()),
                (None, _) => {}
            }
        }
    }
    steps
}

/// Whether a line is the one that is shown; ids, times and widths differ from run to run.
fn matches(shown: &str, printed: &str) -> bool {
    let mut rest = printed;
    for (n, part) in shown.split(ANYTHING).enumerate() {
        let Some(at) = rest.find(part).filter(|at| n > 0 || *at == 0) else { return false };
        rest = &rest[at + part.len()..];
    }
    shown.ends_with(ANYTHING) || rest.is_empty()
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

#[test]
fn what_is_shown_is_told_from_what_is_not() {
    assert!(matches(
        "stateNdx 1  chain …  done: the key is new",
        "stateNdx 1  chain c3ed270454cc  done: the key is new"
    ));
    assert!(!matches("stateNdx 1  chain …  done", "stateNdx 1  chain c3ed  done: the key is new"));
    assert!(!matches("stateNdx 1", "a stateNdx 1"));
    assert!(matches("live at node1, node2, node3 after …", "live at node1, node2, node3 after 6 ms"));
    assert!(matches("hello", "hello") && !matches("hello", "hello you"));
}
