//! What docs/ARCHITECTURE.md says is absent, is absent: which crate may use which, what the pure crates never name, and
//! that the worked example of docs/PROTOCOL.md is the committed command.
//!
//! A new crate or a new arrow fails here first, so that it is decided and not slipped in.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

/// Every crate, its folder, and the crates of this project that it may use.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("synod-types", "src/types", &[]),
    ("synod-auth", "src/auth", &["synod-types"]),
    ("synod-paxos", "src/paxos", &["synod-types"]),
    ("synod-machine", "src/machine", &["synod-types"]),
    ("synod-merkle", "src/merkle", &["synod-types"]),
    ("synod-lane", "src/lane", &["synod-types", "synod-machine"]),
    ("synod-zone", "src/zone", &[]),
    ("synod-delivery", "src/delivery", &["synod-types"]),
    ("synod-content", "src/content", &["synod-types"]),
    ("synod-journal", "src/journal", &["synod-types"]),
    ("synod-archive", "src/archive", &["synod-types"]),
    ("synod-backup", "src/backup", &["synod-types", "synod-auth"]),
    ("synod-places", "src/places", &[]),
    ("synod-mesh", "src/mesh", &["synod-types", "synod-auth", "synod-places"]),
    ("synod-gateway", "src/gateway", &["synod-types", "synod-machine", "synod-merkle"]),
    ("synod-backend", "src/backend", &["synod-types", "synod-auth", "synod-places"]),
    ("synod-client", "src/client", &["synod-types", "synod-auth"]),
    ("synod-app-kv", "apps/kv", &["synod-types", "synod-machine", "synod-merkle"]),
    ("synod-app-zones", "apps/zones", &["synod-types", "synod-machine", "synod-merkle", "synod-zone"]),
    ("synod-sdk", "apps/sdk-rust", &["synod-types", "synod-machine", "synod-lane"]),
    (
        "synod-http",
        "frontends/http",
        &["synod-types", "synod-gateway", "synod-places", "synod-zone", "synod-app-kv", "synod-app-zones"],
    ),
    ("synod-dns", "frontends/dns", &["synod-types", "synod-places", "synod-zone"]),
    (
        "synod-node",
        "src/node",
        &[
            "synod-types",
            "synod-auth",
            "synod-paxos",
            "synod-machine",
            "synod-lane",
            "synod-zone",
            "synod-delivery",
            "synod-content",
            "synod-journal",
            "synod-archive",
            "synod-mesh",
            "synod-gateway",
            "synod-backend",
            "synod-app-kv",
            "synod-app-zones",
            "synod-http",
            "synod-dns",
        ],
    ),
    (
        "synod",
        "src/cli",
        &[
            "synod-types",
            "synod-auth",
            "synod-machine",
            "synod-client",
            "synod-journal",
            "synod-archive",
            "synod-content",
            "synod-backup",
            "synod-node",
            "synod-gateway",
            "synod-zone",
            "synod-sdk",
            "synod-app-kv",
            "synod-app-zones",
        ],
    ),
    ("synod-sim", "src/sim", &["synod-types", "synod-paxos", "synod-machine", "synod-app-kv"]),
    ("synod-golden", "tests/golden", &[]),
    ("synod-history", "tests/history", &["synod-types"]),
    (
        "synod-cluster",
        "tests/cluster",
        &[
            "synod",
            "synod-types",
            "synod-auth",
            "synod-client",
            "synod-gateway",
            "synod-node",
            "synod-app-kv",
            "synod-sdk",
        ],
    ),
    (
        "synod-chaos",
        "tests/chaos",
        &[
            "synod",
            "synod-types",
            "synod-auth",
            "synod-machine",
            "synod-client",
            "synod-gateway",
            "synod-zone",
            "synod-app-kv",
            "synod-app-zones",
            "synod-history",
            "synod-journal",
            "synod-cluster",
        ],
    ),
    (
        "synod-powerloss",
        "tests/powerloss",
        &[
            "synod",
            "synod-types",
            "synod-auth",
            "synod-client",
            "synod-node",
            "synod-journal",
            "synod-content",
            "synod-app-kv",
            "synod-app-zones",
            "synod-cluster",
        ],
    ),
];

/// Folders among them that hold no crate.
const OTHER_LANGUAGES: &[&str] = &["apps/sdk-python"];

/// The crates whose results depend on their arguments alone, and what they may use from outside the project.
const PURE: &[(&str, &[&str])] = &[
    ("synod-types", &["serde", "bytes", "sha3", "fearless_simd", "hex", "postcard", "thiserror"]),
    ("synod-paxos", &[]),
    ("synod-machine", &["serde", "bytes", "imbl", "thiserror"]),
    ("synod-merkle", &["serde", "thiserror", "imbl", "arc-swap"]),
    ("synod-zone", &["bytes", "thiserror"]),
    ("synod-delivery", &["serde", "bytes", "thiserror"]),
    ("synod-app-kv", &["serde", "bytes", "imbl", "thiserror"]),
    ("synod-app-zones", &["serde", "bytes", "imbl", "thiserror"]),
    ("synod-history", &["thiserror"]),
];

/// Sources that are as pure, in crates that are not: what answers a DNS query.
const PURE_SOURCES: &[(&str, &[&str])] =
    &[("frontends/dns/src", &["answer", "answer.rs", "cookie.rs", "identity.rs", "message", "message.rs"])];

/// Packages that bring a socket, a disk, a clock, a runtime or randomness: in no pure crate, however far down.
const IMPURE_PACKAGES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "quinn",
    "quinn-proto",
    "hyper",
    "axum",
    "reqwest",
    "rustls",
    "ring",
    "sled",
    "rand",
    "getrandom",
    "ed25519-dalek",
    "rsa",
    "tracing",
    "chrono",
    "time",
];

/// Modules of the standard library that a pure crate never names.
const IMPURE_MODULES: &[&str] =
    &["env", "fs", "io", "net", "os", "path", "process", "random", "thread", "time"];

/// Words that stand for time, randomness, unordered maps or floats, wherever they are imported from.
const IMPURE_WORDS: &[&str] =
    &["Instant", "SystemTime", "UNIX_EPOCH", "HashMap", "HashSet", "RandomState", "f32", "f64"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn manifest(folder: &str) -> Table {
    read(Path::new(folder).join("Cargo.toml")).parse().unwrap()
}

/// The names in `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`, target-specific ones too.
fn names(manifest: &Table, section: &str) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table).chain([manifest]);
    let sections = tables.filter_map(|table| table.get(section)?.as_table());
    sections.flat_map(|section| section.keys().cloned()).collect()
}

fn is_ours(name: &str) -> bool {
    ARROWS.iter().any(|(ours, ..)| *ours == name)
}

fn folder_of(name: &str) -> &'static str {
    let (_, folder, _) = ARROWS.iter().find(|(ours, ..)| *ours == name).unwrap();
    folder
}

#[test]
fn every_folder_is_a_known_crate() {
    let mut found = BTreeSet::new();
    for parent in ["src", "apps", "frontends", "tests"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            let folder = format!("{parent}/{}", entry.unwrap().file_name().to_str().unwrap());
            if OTHER_LANGUAGES.contains(&folder.as_str()) {
                continue;
            }
            let name = manifest(&folder)["package"]["name"].as_str().unwrap().to_owned();
            found.insert((name, folder));
        }
    }
    let known: BTreeSet<_> =
        ARROWS.iter().map(|(name, folder, _)| ((*name).to_owned(), (*folder).to_owned())).collect();
    assert_eq!(found, known, "decide what a new crate may use: here, and in docs/ARCHITECTURE.md");
}

#[test]
fn the_arrows_are_those_that_were_decided() {
    for (name, folder, allowed) in ARROWS {
        let manifest = manifest(folder);
        let used = names(&manifest, "dependencies");
        let used: BTreeSet<&str> = used.iter().map(String::as_str).filter(|used| is_ours(used)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert_eq!(used, allowed, "{name} uses other crates than docs/ARCHITECTURE.md says");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            assert!(!names(&manifest, section).contains("synod-sim"), "{name} depends on the simulator");
        }
    }
}

#[test]
fn front_ends_and_applications_see_nothing_behind_the_gateway() {
    let hidden = ["synod-paxos", "synod-journal", "synod-mesh", "synod-backend", "synod-node", "synod-auth"];
    for (name, folder, _) in ARROWS {
        if folder.starts_with("apps/") || folder.starts_with("frontends/") {
            let reached = ours_below(name);
            for hidden in hidden {
                assert!(!reached.contains(hidden), "{name} reaches {hidden}");
            }
        }
    }
}

/// Every crate of this project that `name` depends on, however far down.
fn ours_below(name: &str) -> BTreeSet<&'static str> {
    let (_, _, direct) = ARROWS.iter().find(|(ours, ..)| *ours == name).unwrap();
    direct.iter().flat_map(|&direct| ours_below(direct).into_iter().chain([direct])).collect()
}

#[test]
fn pure_crates_use_nothing_that_is_not_pure() {
    for (name, allowed) in PURE {
        let used = names(&manifest(folder_of(name)), "dependencies");
        for used in used.iter().filter(|used| !is_ours(used)) {
            assert!(allowed.contains(&used.as_str()), "{name} uses {used}: is that pure?");
        }
        let reached = packages_below(name);
        assert!(reached.contains(*name) && reached.len() > PURE.len(), "{name} reaches only {reached:?}");
        for impure in IMPURE_PACKAGES {
            assert!(!reached.contains(*impure), "{name} reaches {impure}");
        }
    }
}

/// Every package that `name` needs to be built by itself. The lock file would not do: it joins the features that all
/// crates ask for.
fn packages_below(name: &str) -> BTreeSet<String> {
    packages(&["--edges", "normal", "--package", name])
}

#[test]
fn disks_fail_on_purpose_only_where_somebody_asks_for_it() {
    let needed = |arguments: &[&str]| packages(arguments).contains("fail");
    assert!(!needed(&["--workspace"]), "the whole project has failpoints");
    assert!(needed(&["--package", "synod-chaos", "--features", "failpoints"]));
    let asking: Vec<&str> =
        ARROWS.iter().map(|(_, folder, _)| *folder).filter(|folder| asks(folder)).collect();
    assert_eq!(asking, ["src/journal", "src/cli", "tests/chaos"], "each of them only hands it on");
}

/// Whether a crate says anything of failpoints in what it is built of.
fn asks(folder: &str) -> bool {
    read(Path::new(folder).join("Cargo.toml")).contains("failpoints = [")
}

/// Every package that is named by a tree of dependencies. Cargo gets what is in none that was built here before.
fn packages(arguments: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--prefix", "none"]).args(arguments);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn what_is_pure_names_no_time_file_socket_thread_or_chance() {
    let mut paths: Vec<PathBuf> =
        PURE.iter().map(|(name, _)| root().join(folder_of(name)).join("src")).collect();
    for (folder, sources) in PURE_SOURCES {
        paths.extend(sources.iter().map(|source| root().join(folder).join(source)));
    }
    let mut files = 0;
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            files += 1;
            let found = impurities(&fs::read_to_string(&path).unwrap());
            assert!(found.is_empty(), "{} names {found:?}", path.display());
        }
    }
    assert!(files > 60, "only {files} files were looked at");
}

/// What a source names that no pure crate may; its tests, which come last in a file, are left out.
fn impurities(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let words = words(&code.join("\n"));
    let mut found: Vec<String> =
        words.iter().filter(|word| IMPURE_WORDS.contains(&word.as_str())).cloned().collect();
    for (at, word) in words.iter().enumerate() {
        if (word == "std" || word == "core") && words.get(at + 1).is_some_and(|next| next == "::") {
            let modules = modules(&words[at + 2..]);
            let impure = modules.into_iter().filter(|module| IMPURE_MODULES.contains(module));
            found.extend(impure.map(|module| format!("{word}::{module}")));
        }
    }
    found
}

/// The modules behind `std::`: one word, or the first words of what is in braces.
fn modules(behind: &[String]) -> Vec<&str> {
    if behind.first().is_none_or(|word| word != "{") {
        return behind.first().map(String::as_str).into_iter().collect();
    }
    let (mut depth, mut begins, mut modules) = (0, false, Vec::new());
    for word in behind {
        match word.as_str() {
            "{" => {
                depth += 1;
                begins = depth == 1;
            }
            "}" => depth -= 1,
            "," => begins = depth == 1,
            word if begins => {
                modules.push(word);
                begins = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    modules
}

/// Identifiers, `::`, and every other sign by itself.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    for sign in code.chars() {
        match words.last_mut() {
            Some(last) if is_word(sign) && last.chars().all(is_word) => last.push(sign),
            Some(last) if sign == ':' && last == ":" => last.push(sign),
            Some(last) if last.trim().is_empty() => *last = sign.to_string(),
            _ => words.push(sign.to_string()),
        }
    }
    words
}

#[test]
fn the_search_finds_what_it_is_for() {
    for (source, found) in [
        ("use std::time::Instant;", &["Instant", "std::time"][..]),
        ("use std::{collections::{BTreeMap, HashMap}, fs, sync::Arc};", &["HashMap", "std::fs"]),
        ("let x = std::thread::spawn(f);", &["std::thread"]),
        ("fn f(x: f64) {}", &["f64"]),
        ("// std::fs\nuse std::collections::BTreeMap; // Instant\n#[cfg(test)]\nuse std::fs;", &[]),
        ("let instant_ms = of_f64s;", &[]),
    ] {
        assert_eq!(impurities(source), found, "{source}");
    }
}

#[test]
fn the_worked_example_of_the_protocol_is_the_committed_command() {
    let page = read("docs/PROTOCOL.md");
    let vectors = "src/auth/tests/vectors";
    let body = fs::read(root().join(vectors).join("ed25519.body.bin")).unwrap();
    let signature = fs::read(root().join(vectors).join("ed25519.signature.bin")).unwrap();
    let ids = read(Path::new(vectors).join("ed25519.ids.txt"));
    // The example has one field a line: its bytes in hex, and what they are behind two spaces.
    let example = page.split("```example\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let digits: String =
        example.lines().map(|line| line.split("  ").next().unwrap().replace(' ', "")).collect();
    let bytes = hex::decode(digits).unwrap();
    let command: synod_types::SignedCommand = synod_types::wire::decode(&bytes).unwrap();
    assert_eq!((&command.body[..], &command.signature[..]), (&body[..], &signature[..]));
    assert!(page.contains(&format!("command id `{}`", command.id())));
    let commander = synod_types::Digest::of(&[&command.key]);
    assert!(page.contains(&format!("commander id `{commander}`")));
    assert_eq!(ids, format!("command {}\ncommander {commander}\n", command.id()));
}
