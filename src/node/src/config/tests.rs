use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use synod_auth::{
    Algorithm, CertificateAuthority, Genesis, GenesisAdministrator, GenesisApp, GenesisNode, SigningKey,
};
use synod_http::CorsOrigins;
use synod_types::limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX;
use synod_types::{AppNdx, Threshold, TimeMs};

use super::*;

const PX: &str = r#"{
    "me": {
        "id": "node1",
        "addr": "127.0.0.1:7101",
        "tls_config_info": {"cert_path": "node1.pem", "key_path": "node1-key.pem", "ca_cert_path": "/etc/ca.pem"}
    },
    "retry_delay": 1000,
    "servers": [{"addr": "two.example:7101", "server_name": "node2"}, {"addr": "[::1]:7101", "server_name": "node3"}]
}"#;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn parse(path: &Path) -> Config {
    let text = std::fs::read_to_string(path).unwrap();
    Config::parse(&text, Format::of(path).unwrap(), path.parent().unwrap()).unwrap()
}

/// Line, field and problem of every mistake.
fn mistakes(result: Result<Config, ConfigErrors>) -> Vec<(Option<usize>, String, String)> {
    let errors = result.expect_err("there are mistakes in it");
    errors.mistakes.into_iter().map(|found| (found.line, found.field, found.problem)).collect()
}

fn parse_toml(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Format::Toml, Path::new("/etc/synod"))
}

#[test]
fn a_px_file_is_enough() {
    let config = Config::parse(PX, Format::Json, Path::new("/etc/synod")).unwrap();
    assert_eq!(config.me.id, "node1");
    assert_eq!(config.me.tls_config_info.cert_path, Path::new("/etc/synod/node1.pem"));
    assert_eq!(config.me.tls_config_info.ca_cert_path, Path::new("/etc/ca.pem"));
    assert_eq!(config.retry_delay, Duration::from_secs(1));
    assert_eq!(config.servers[0].addr.to_string(), "two.example:7101");
    assert_eq!(config.servers[1].addr.host, "::1");
    assert_eq!(config.genesis, Path::new("/etc/synod/genesis.json"));
    assert_eq!(config.data_dir, Path::new("/etc/synod/data-node1"));
    assert_eq!(config.backend.addr.to_string(), "127.0.0.1:8101");
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:9101");
    assert_eq!((config.verify, config.log.clone()), (Verify::EveryReplica, LogFilter::default()));
}

#[test]
fn what_is_shipped_has_no_mistakes() {
    let config = parse(&shipped().join("node.toml"));
    // It shows every default, so that leaving all of them out says the same but for the threads, and for DNS: that is
    // served where it is asked for.
    let px = parse(&shipped().join("px.json"));
    let threads = |config: &Config| (config.worker_threads, config.verify_threads);
    let (worker_threads, verify_threads) = threads(&config);
    let asked_for = PX.replacen("\"retry_delay\"", "\"dns\": {\"app\": \"zones\"}, \"retry_delay\"", 1);
    let dns = Config::parse(&asked_for, Format::Json, Path::new("")).unwrap().dns;
    assert_eq!(config, Config { worker_threads, verify_threads, dns, ..px });

    let mut names = Vec::new();
    for n in 1..=3 {
        let config = parse(&shipped().join(format!("three-nodes/node{n}.toml")));
        assert_eq!(config.servers.len(), 2);
        names.push(config.me.id);
    }
    assert_eq!(names, ["node1", "node2", "node3"]);
}

#[test]
fn every_mistake_in_what_is_written_is_reported_with_its_line() {
    let text = r#"
retry_delay = 0
verfy = "entry"
worker_threads = "4"

[me]
id = "node1"
addr = "127.0.0.1:71010"
[me.tls_config_info]
cert_path = "node1.pem"
key_path = "node1-key.pem"

[[servers]]
addr = "127.0.0.1:7102"
server_name = "node2"

[[servers]]
addr = "127.0.0.1:7102"
server_name = "node1"
port = 7103

[dns]
addr = "127.0.0.1"
addrs = ["127.0.0.1:53"]
app = []
max_lag = "1 day"
axfr_allow = ["10.0.0.0/8", "10.1.0.0/8", 7, "localhost"]
nsid = 5
threads = 0
[dns.tls]
cert_path = "dns.pem"
"#;
    let found = mistakes(parse_toml(text));
    let places: Vec<(Option<usize>, &str)> = found.iter().map(|(line, field, _)| (*line, &**field)).collect();
    assert_eq!(
        places,
        [
            (Some(2), "retry_delay"),
            (Some(3), "verfy"),
            (Some(4), "worker_threads"),
            (Some(8), "me.addr"),
            (Some(9), "me.tls_config_info.ca_cert_path"),
            (Some(18), "servers[1].addr"),
            (Some(19), "servers[1].server_name"),
            (Some(20), "servers[1].port"),
            (Some(23), "dns.addr"),
            (Some(24), "dns.addrs"),
            (Some(25), "dns.app"),
            (Some(26), "dns.max_lag"),
            (Some(27), "dns.axfr_allow[2]"),
            (Some(27), "dns.axfr_allow[1]"),
            (Some(27), "dns.axfr_allow[3]"),
            (Some(28), "dns.nsid"),
            (Some(29), "dns.threads"),
            (Some(30), "dns.tls.key_path"),
            (Some(30), "dns.tls"),
        ],
        "{found:#?}"
    );
    let problem = |field: &str| &found.iter().find(|(_, other, _)| other == field).unwrap().2;
    assert_eq!(problem("retry_delay"), "is 0, and must be from 1 to 60000");
    assert_eq!(problem("verfy"), "there is no such field; did you mean \"verify\"?");
    assert_eq!(problem("worker_threads"), "is a text, and a whole number is expected");
    assert!(problem("me.addr").contains("from 1 to 65535"));
    assert_eq!(problem("dns.addrs"), "addr is there, too: give one of them");
    assert!(problem("dns.max_lag").contains("is \"1 day\", and milliseconds, or a time as \"500ms\""));
    assert!(problem("dns.axfr_allow[1]").contains("write \"10.0.0.0/8\""));
    assert!(problem("dns.axfr_allow[3]").contains("as \"192.0.2.0/24\""));
    assert!(problem("dns.tls").contains("give dot, doh or doq an address"));
}

const ME: &str = "me = {id = \"n\", addr = \"10.0.0.1:7101\", tls_config_info = {cert_path = \"c\", key_path = \"k\", \
                  ca_cert_path = \"a\"}}\n";

#[test]
fn dns_is_served_as_it_is_asked_for() {
    let dns = |fields: &str| parse_toml(&format!("{ME}{fields}")).map(|config| config.dns);
    assert_eq!(dns("").unwrap(), None, "nobody asked");
    let default = dns("[dns]").unwrap().unwrap();
    assert_eq!(default.addrs, [Address::parse("10.0.0.1:10101", 0..=65535).unwrap()]);
    assert_eq!((default.max_lag, default.threads.get()), (Duration::from_secs(3600), 1));
    assert_eq!((&*default.hostname, &*default.nsid), ("n", "n"));
    assert_eq!((default.app, default.tls), (None, None));

    let all = "[dns]\naddrs = [\"0.0.0.0:53\", \"127.0.0.1:5300\"]\napp = 2\nmax_lag = \"90s\"\n\
               axfr_allow = [\"::1\", \"192.0.2.0/24\"]\nversion = \"\"\nhostname = \"ns1\"\nnsid = \"x\"\nthreads = 3\n\
               tls = {cert_path = \"c.pem\", key_path = \"/k.pem\", dot = \"h:853\", doq = \"h:853\"}\n";
    let all = dns(all).unwrap().unwrap();
    assert_eq!((all.addrs.len(), all.app.as_deref(), all.threads.get()), (2, Some("2"), 3));
    assert_eq!(all.max_lag, Duration::from_secs(90));
    let allowed: Vec<String> = all.axfr_allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["::1/128", "192.0.2.0/24"]);
    assert_eq!((&*all.version, &*all.hostname, &*all.nsid), ("", "ns1", "x"));
    let tls = all.tls.unwrap();
    assert_eq!((tls.cert_path.to_str(), tls.key_path.to_str()), (Some("/etc/synod/c.pem"), Some("/k.pem")));
    assert!(tls.dot == tls.doq && tls.doh.is_none());

    for (fields, place) in [
        ("dns = \"10.0.0.1:53\"", "dns"),
        ("[dns]\naddr = \"10.0.0.1:7101\"", "dns.addr"),
        ("[dns]\naddrs = []", "dns.addrs"),
        ("[dns]\naddrs = [\"10.0.0.1:53\", \"0.0.0.0:53\"]", "dns.addrs[1]"),
        ("[dns]\nmax_lag = 100", "dns.max_lag"),
        ("[dns]\nmax_lag = \"18446744073709551615h\"", "dns.max_lag"),
        ("[dns]\nadr = \"10.0.0.1:53\"", "dns.adr"),
        (
            "[dns]\nversion = \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\
          89012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\
          89012345678901234567890123456789012345678901234567890123456789\"",
            "dns.version",
        ),
    ] {
        let found = mistakes(parse_toml(&format!("{ME}{fields}")));
        assert_eq!(found.iter().map(|(_, field, _)| &**field).collect::<Vec<_>>(), [place], "{found:#?}");
    }
}

#[test]
fn lanes_are_as_they_are_asked_for() {
    let lanes = |fields: &str| parse_toml(&format!("{ME}{fields}")).map(|config| config.lanes);
    assert_eq!(lanes("").unwrap(), []);
    let [least] = lanes("[[lanes]]\napp = \"visits\"").unwrap().try_into().unwrap();
    assert_eq!((&*least.app, least.socket, least.answer), ("visits", None, Duration::from_secs(10)));
    assert_eq!((least.command.len(), least.users.len(), least.group), (0, 0, None));
    let all = "[[lanes]]\napp = 3\nsocket = \"run/visits.sock\"\ncommand = [\"python3\", \"visits.py\"]\nusers = [1000]\n\
               group = 50\nanswer = \"2s\"\n[[lanes]]\napp = 4\n";
    let [all, _] = lanes(all).unwrap().try_into().unwrap();
    assert_eq!(all.app, "3");
    assert_eq!(all.socket.as_deref(), Some(Path::new("/etc/synod/run/visits.sock")));
    assert_eq!(
        (all.command, all.users, all.group),
        (vec!["python3".to_owned(), "visits.py".to_owned()], vec![1000], Some(50))
    );
    assert_eq!(all.answer, Duration::from_secs(2));
    let long = format!("[[lanes]]\napp = 3\nsocket = \"/{}\"", "x".repeat(110));
    for (fields, place) in [
        ("lanes = 7", "lanes"),
        ("[[lanes]]", "lanes[0].app"),
        ("[[lanes]]\napp = 3\nsockets = \"a\"", "lanes[0].sockets"),
        ("[[lanes]]\napp = 3\ncommand = [7]", "lanes[0].command[0]"),
        ("[[lanes]]\napp = 3\nusers = [\"me\"]", "lanes[0].users[0]"),
        ("[[lanes]]\napp = 3\nusers = [-1]", "lanes[0].users[0]"),
        ("[[lanes]]\napp = 3\ngroup = -1", "lanes[0].group"),
        ("[[lanes]]\napp = 3\nanswer = \"1h\"", "lanes[0].answer"),
        (&*long, "lanes[0].socket"),
    ] {
        let found = mistakes(parse_toml(&format!("{ME}{fields}")));
        assert_eq!(found.iter().map(|(_, field, _)| &**field).collect::<Vec<_>>(), [place], "{found:#?}");
    }
}

#[test]
fn http_is_served_as_it_is_asked_for() {
    let http = |fields: &str| parse_toml(&format!("{ME}{fields}")).map(|config| config.http);
    let default = http("").unwrap();
    assert_eq!(default.addr.to_string(), "10.0.0.1:9101");
    assert_eq!((default.tls, default.cors_origins), (None, CorsOrigins::default()));
    assert_eq!(default.connections_per_address, HTTP_CONNECTIONS_PER_ADDRESS_MAX);

    let all = "[http]\naddr = \"h:80\"\ncors_origins = [\"https://a.example\"]\nconnections_per_address = 4096\n\
               tls = {cert_path = \"c.pem\", key_path = \"/k.pem\"}\n";
    let all = http(all).unwrap();
    let tls = all.tls.unwrap();
    assert_eq!((tls.cert_path.to_str(), tls.key_path.to_str()), (Some("/etc/synod/c.pem"), Some("/k.pem")));
    assert_eq!(all.connections_per_address, 4096);
    assert_ne!(all.cors_origins, CorsOrigins::default());
    assert_eq!(http("[http]\ncors_origins = [\"*\"]").unwrap().cors_origins, CorsOrigins::any());

    for (fields, place) in [
        ("http = \"10.0.0.1:80\"", "http"),
        ("[http]\nadr = \"10.0.0.1:80\"", "http.adr"),
        ("[http]\ncors_origins = \"*\"", "http.cors_origins"),
        ("[http]\ncors_origins = [\"https://a/\"]", "http.cors_origins[0]"),
        ("[http]\ncors_origins = [\"https://a\", 7]", "http.cors_origins[1]"),
        ("[http]\nconnections_per_address = 0", "http.connections_per_address"),
        ("[http]\nconnections_per_address = 4097", "http.connections_per_address"),
        ("[http.tls]\ncert_path = \"c\"", "http.tls.key_path"),
        ("[http.tls]\ncert_path = \"c\"\nkey_path = \"k\"\nca_path = \"a\"", "http.tls.ca_path"),
    ] {
        let found = mistakes(parse_toml(&format!("{ME}{fields}")));
        assert_eq!(found.iter().map(|(_, field, _)| &**field).collect::<Vec<_>>(), [place], "{found:#?}");
    }
}

#[test]
fn how_everything_is_read_has_defaults_and_bounds() {
    let with = |scrub: &str| PX.replacen("\"retry_delay\"", &format!("{scrub} \"retry_delay\""), 1);
    let parse = |text: &str| Config::parse(text, Format::Json, Path::new("/etc/synod"));
    let scrub = parse(PX).unwrap().scrub;
    assert_eq!((scrub.every, scrub.bytes_per_second), (Duration::from_secs(24 * 3600), 4 << 20));
    let scrub = parse(&with(r#""scrub": {"every": "15m", "bytes_per_second": 65536},"#)).unwrap().scrub;
    assert_eq!((scrub.every, scrub.bytes_per_second), (Duration::from_secs(900), 65536));
    let found = mistakes(parse(&with(r#""scrub": {"every": 0, "bytes_per_second": 9, "at": 3},"#)));
    let mut fields: Vec<&str> = found.iter().map(|(_, field, _)| &**field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["scrub.at", "scrub.bytes_per_second", "scrub.every"]);
}

#[test]
fn an_archive_has_a_directory_and_there_is_none_without_its_section() {
    let with = |archive: &str| PX.replacen("\"retry_delay\"", &format!("{archive} \"retry_delay\""), 1);
    let parse = |text: &str| Config::parse(text, Format::Json, Path::new("/etc/synod"));
    assert_eq!(parse(PX).unwrap().archive, None);
    let archive = parse(&with(r#""archive": {"dir": "kept"},"#)).unwrap().archive;
    assert_eq!(archive.as_deref(), Some(Path::new("/etc/synod/kept")));
    let found = mistakes(parse(&with(r#""archive": {"folder": "kept"},"#)));
    let fields: Vec<&str> = found.iter().map(|(_, field, _)| &**field).collect();
    assert_eq!(fields, ["archive.dir", "archive.folder"]);
}

#[test]
fn syntax_errors_have_their_line() {
    let found = mistakes(parse_toml("a = 1\n\nb = \n[me\n"));
    assert!(
        found.iter().any(|(line, _, problem)| *line == Some(3) && problem.contains("TOML")),
        "{found:#?}"
    );
    let found = mistakes(Config::parse("{\n  \"me\": {,\n}", Format::Json, Path::new("")));
    assert_eq!(found[0].0, Some(2), "{found:#?}");
    let twice = PX.replacen("\"retry_delay\": 1000", "\"retry_delay\": 1, \"retry_delay\": 2", 1);
    let found = mistakes(Config::parse(&twice, Format::Json, Path::new("")));
    assert!(found.iter().any(|(_, field, problem)| field == "retry_delay" && problem.contains("twice")));
    for text in ["", "[]", "null", "{}", "{\"me\": 3, \"servers\": {}, \"backend\": []}"] {
        mistakes(Config::parse(text, Format::Json, Path::new("")));
    }
}

#[test]
fn ports_are_used_once() {
    let with = |rest: &str| parse_toml(&format!("{ME}{rest}"));
    assert!(with("").is_ok());
    assert!(with("http.addr = \"10.0.0.2:7101\"").is_ok(), "another host");
    assert!(with("http.addr = \"10.0.0.1:0\"\nbackend.addr = \"10.0.0.1:0\"").is_ok(), "any free port");
    let found = mistakes(with("http.addr = \"0.0.0.0:7101\"\nbackend.addr = \"10.0.0.1:7101\""));
    let places: Vec<&str> = found.iter().map(|(_, field, _)| &**field).collect();
    assert_eq!(places, ["http.addr", "http.addr", "backend.addr"], "{found:#?}");
    let high = "me = {id = \"n\", addr = \"h:64000\", tls_config_info = {cert_path = \"c\", key_path = \"k\", \
                ca_cert_path = \"a\"}}\n";
    assert_eq!(mistakes(parse_toml(high)).len(), 1, "http's default port is none");
}

/// A directory with a cluster of two nodes, and the configuration of the first.
struct Cluster {
    directory: tempfile::TempDir,
}

impl Cluster {
    fn found() -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let authority = CertificateAuthority::generate("test").unwrap();
        authority.save_new(at("ca.pem"), at("ca-key.pem")).unwrap();
        let mut nodes = Vec::new();
        for name in ["node1", "node2"] {
            let key = SigningKey::generate(Algorithm::Ed25519);
            let certificate = authority.issue_node(key.public(), &[name.to_owned()]).unwrap();
            key.save_new(at(&format!("{name}-key.pem"))).unwrap();
            std::fs::write(at(&format!("{name}.pem")), certificate).unwrap();
            nodes.push(GenesisNode { name: name.to_owned(), key: key.public().clone() });
        }
        let administrator = SigningKey::generate(Algorithm::Ed25519).public().clone();
        let administrators = vec![GenesisAdministrator { name: "admin".to_owned(), key: administrator }];
        let app =
            |ndx, kind: &str| GenesisApp { ndx: AppNdx(ndx), name: kind.to_owned(), kind: kind.to_owned() };
        let apps = vec![app(1, "kv"), app(2, "zones")];
        let genesis = Genesis::new("test", TimeMs(1), nodes, administrators, apps);
        std::fs::write(at("genesis.json"), genesis.to_bytes()).unwrap();
        Cluster { directory }
    }

    fn load(&self, config: &str) -> Result<Config, ConfigErrors> {
        let path = self.directory.path().join("node.toml");
        std::fs::write(&path, config).unwrap();
        Config::load(&path)
    }
}

const GOOD: &str = r#"
servers = [{addr = "localhost:7102", server_name = "node2"}]
[me]
id = "node1"
addr = "localhost:7101"
[me.tls_config_info]
cert_path = "node1.pem"
key_path = "node1-key.pem"
ca_cert_path = "ca.pem"
"#;

#[test]
fn a_file_with_four_mistakes_reports_all_four() {
    let cluster = Cluster::found();
    cluster.load(GOOD).unwrap();

    let bad = GOOD
        .replace("\nservers", "\nretry_delai = 100\nservers") // An unknown field,
        .replace("localhost:7101", "localhost:0") // a port out of range,
        .replace("\"node1.pem\"", "\"no-such.pem\"") // a file that is not there,
        .replace("server_name = \"node2\"", "server_name = \"node9\""); // a name that genesis does not know.
    let errors = cluster.load(&bad).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.mistakes.len(), 4, "{text}");
    assert!(text.contains("node.toml has 4 mistakes:"), "{text}");
    for expected in [
        "line 2: retry_delai: there is no such field; did you mean \"retry_delay\"?",
        "line 3: servers[0].server_name: genesis names no node \"node9\"; it names node1, node2",
        "line 6: me.addr: \"localhost:0\": the port \"0\" is not a number from 1 to 65535",
        "line 8: me.tls_config_info.cert_path: cannot read ",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
}

#[test]
fn what_dns_serves_has_to_be_in_genesis_and_its_certificate_on_disk() {
    let cluster = Cluster::found();
    for app in ["", "app = \"zones\"", "app = 2", "app = \"2\""] {
        let config = cluster.load(&format!("{GOOD}[dns]\n{app}")).unwrap();
        assert!(config.dns.is_some());
    }
    for app in ["\"kv\"", "1", "\"no\"", "3"] {
        let text = cluster.load(&format!("{GOOD}[dns]\napp = {app}")).unwrap_err().to_string();
        assert!(text.contains("dns.app: the cluster has no application"), "{text}");
        assert!(text.contains("those that it has: 2 (zones)"), "{text}");
    }
    let load = |cert: &str, key: &str| {
        let tls = format!("tls = {{cert_path = \"{cert}\", key_path = \"{key}\", dot = \"localhost:853\"}}");
        cluster.load(&format!("{GOOD}[dns]\n{tls}")).map_err(|errors| errors.to_string())
    };
    assert!(load("node1.pem", "node1-key.pem").is_ok());
    let text = load("node1.pem", "none.pem").unwrap_err();
    assert!(text.contains("dns.tls: cannot read"), "{text}");
    let text = load("node2.pem", "node1-key.pem").unwrap_err();
    assert!(text.contains("dns.tls: ") && text.contains("cannot be used with the key in"), "{text}");
}

#[test]
fn what_readers_are_shown_has_to_be_a_certificate_with_its_key() {
    let cluster = Cluster::found();
    let load = |cert: &str, key: &str| {
        let tls = format!("tls = {{cert_path = \"{cert}\", key_path = \"{key}\"}}");
        cluster.load(&format!("{GOOD}[http]\n{tls}")).map_err(|errors| errors.to_string())
    };
    assert!(load("node1.pem", "node1-key.pem").is_ok());
    for (cert, key, problem) in [
        ("none.pem", "node1-key.pem", "http.tls: cannot read"),
        ("node1.pem", "none.pem", "http.tls: cannot read"),
        ("node1-key.pem", "node1-key.pem", "holds no certificate"),
        ("node1.pem", "node2-key.pem", "cannot be used with the key in"),
    ] {
        let text = load(cert, key).unwrap_err();
        assert!(text.contains(problem), "{text}");
    }
    std::fs::write(cluster.directory.path().join("open.pem"), "").unwrap();
    let text = load("node1.pem", "open.pem").unwrap_err();
    assert!(text.contains("http.tls") && text.contains("chmod 600"), "{text}");
}

#[test]
fn keys_have_to_be_private_and_the_nodes_own() {
    let cluster = Cluster::found();
    let other = GOOD.replace("node1-key", "node2-key").replace("node1.pem", "node2.pem");
    let text = cluster.load(&other).unwrap_err().to_string();
    assert!(text.contains("is that of node2 in genesis, not of node1"), "{text}");

    let mixed = GOOD.replace("node1.pem", "node2.pem");
    let text = cluster.load(&mixed).unwrap_err().to_string();
    assert!(text.contains("cert_path") && text.contains("is not the certificate of the key in"), "{text}");

    let key = cluster.directory.path().join("node1-key.pem");
    std::fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
    let text = cluster.load(GOOD).unwrap_err().to_string();
    assert!(text.contains("line 8: me.tls_config_info.key_path") && text.contains("chmod 600"), "{text}");
}

#[test]
fn the_file_itself_can_be_wrong() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Config::load(directory.path().join("none.toml")).is_err());
    let path = directory.path().join("node.yaml");
    std::fs::write(&path, GOOD).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains(".toml or .json"));
    assert!(Config::load(directory.path()).is_err(), "a directory");
}

#[test]
fn certificates_are_made_as_the_section_says() {
    let with = |section: &str| PX.replacen("\"retry_delay\"", &format!("{section} \"retry_delay\""), 1);
    let parse = |text: &str| Config::parse(text, Format::Json, Path::new("/etc/synod"));
    let Certificates { every_commands, threshold, keep } = parse(PX).unwrap().certificates;
    assert_eq!((every_commands, threshold, keep), (1024, Threshold::Majority, 64));
    for (written, read) in
        [("\"all\"", Threshold::All), ("3", Threshold::Count(3)), ("\"4\"", Threshold::Count(4))]
    {
        let section =
            format!("\"certificates\": {{\"every_commands\": 7, \"threshold\": {written}, \"keep\": 9}},");
        let found = parse(&with(&section)).unwrap().certificates;
        assert_eq!(found, Certificates { every_commands: 7, threshold: read, keep: 9 });
    }
    let section = r#""certificates": {"every_commands": 0, "threshold": "most", "keep": 0, "on": true},"#;
    let found = mistakes(parse(&with(section)));
    let mut fields: Vec<&str> = found.iter().map(|(_, field, _)| &**field).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["certificates.every_commands", "certificates.keep", "certificates.on", "certificates.threshold"]
    );
}
