//! A cluster of real processes on loopback, each node configured as `synod init` does it. Nodes are killed as a crash
//! kills them, and never outlive the test.
//!
//! It is for tests alone: whoever is surprised here panics. Start with [`Cluster`].
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, here too")]

pub mod clock;
pub mod disk;
pub mod front;
pub mod other;
pub mod worker;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use rustls::RootCertStore;
use serde::Deserialize;
use serde_json::Value;
use synod::founding::{
    self, ADMIN_KEY, CA, CLIENT, Founded, FoundedNode, GENESIS, Layout, NodePlan, Plan, default_apps, found,
};
use synod_app_kv::KvOp;
use synod_auth::{Genesis, GenesisApp, SigningKey, tls};
use synod_client::{Client, ClientConfig, Commander, Endpoint, Timeouts};
use synod_gateway::{ClusterStatus, NodeState};
use synod_node::Config;
use synod_node::config::Address;
use synod_types::{AppNdx, Digest, Level, StateNdx};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The key-value application of a cluster that is founded without a word on its applications.
pub const KV: AppNdx = founding::KV;
/// Its zones application.
pub const ZONES: AppNdx = founding::ZONES;
/// Far more than anything that is waited for takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Below the ports that Linux gives to clients (net.ipv4.ip_local_port_range), so that none of them takes the port of a
/// node while it is down.
const PORTS: Range<u16> = 12_000..32_000;
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// How often a cluster is founded because another process took one of its ports in between.
const FOUND_TRIES: usize = 5;
/// How long a node may think about who leads.
const LEADER_WAIT: Duration = Duration::from_millis(300);
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What the program is called when it is started, whatever its file is called.
pub const NAME: &str = "synod";

/// The program that is tested: what [`test_program`] was told, or the `synod` of this build.
///
/// # Panics
/// If it was not built.
pub fn program() -> &'static Path {
    PROGRAM.get_or_init(|| {
        // Tests are in `deps` beside it, and other programs beside it.
        let here = std::env::current_exe().unwrap();
        let found =
            here.ancestors().skip(1).take(2).map(|folder| folder.join("synod")).find(|path| path.is_file());
        found.expect("build it first, in this profile: cargo build --workspace --bin synod")
    })
}

/// Tests this program; says no if another one is being tested already.
///
/// # Errors
/// The path, as it was given.
pub fn test_program(path: PathBuf) -> Result<(), PathBuf> {
    PROGRAM.set(path)
}

/// A founded cluster, and those of its nodes that run.
pub struct Cluster {
    running: Vec<Option<Process>>,
    /// What each node finds in its environment, beside what this process has.
    environments: Vec<Vec<(&'static str, OsString)>>,
    /// Its files.
    pub founded: Founded,
    /// Holds all of them; deleted with the cluster.
    pub directory: TempDir,
    /// Its readers' ports.
    pub readers: Readers,
}

/// The nodes' HTTP ports. May be used while nodes come and go.
#[derive(Clone)]
pub struct Readers {
    http: reqwest::Client,
    urls: Vec<String>,
}

/// A node that runs. Killed when it is dropped; its standard input is a leash, in case that nobody lives to drop it.
struct Process {
    child: Child,
    leash: Option<ChildStdin>,
    /// The first line that it prints; nothing if it ends without one.
    ready: Option<oneshot::Receiver<String>>,
}

impl Process {
    fn start(config: &Path, environment: &[(&'static str, OsString)]) -> Process {
        Process::start_as("node", config, environment)
    }

    fn start_as(command: &str, config: &Path, environment: &[(&'static str, OsString)]) -> Process {
        let log = File::options().create(true).append(true).open(config.with_extension("log")).unwrap();
        let mut child = Command::new(program())
            .arg0(NAME)
            .args([command, "--output", "json", "--until-stdin-closes", "--config"])
            .arg(config)
            .env_remove("RUST_LOG")
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let leash = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, ready) = oneshot::channel();
        let mut printed =
            File::options().create(true).append(true).open(config.with_extension("out")).unwrap();
        std::thread::spawn(move || {
            let mut line = String::new();
            if stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                let _ = printed.write_all(line.as_bytes());
                let _ = sender.send(line);
            }
            let _ = std::io::copy(&mut stdout, &mut printed);
        });
        Process { child, leash, ready: Some(ready) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        clock::clean_up_after(self.child.id());
    }
}

/// Ports that are free for TCP and UDP, and that no other test of this program was given: its node may be down just now.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    for _ in 0..10_000 {
        if held.len() == count {
            break;
        }
        let port = rand::random_range(PORTS);
        let address = (Ipv4Addr::LOCALHOST, port);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address))
            && GIVEN.lock().unwrap().insert(port)
        {
            held.push((port, tcp, udp));
        }
    }
    assert_eq!(held.len(), count, "there are no free ports");
    held.into_iter().map(|(port, ..)| port).collect()
}

/// A port, and those 1000, 2000 and 3000 above it, that are free for TCP and UDP.
fn free_base_port() -> u16 {
    base_port(1)
}

/// The same for so many nodes on one host, each of which has the ports behind those of the one before.
///
/// # Panics
/// If there are no free ports.
pub fn base_port(nodes: u16) -> u16 {
    let is_free = |port: u16| {
        let address = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    for _ in 0..10_000 {
        let base = rand::random_range(PORTS.start..PORTS.end - 3000 - nodes);
        let ports =
            [0, 1000, 2000, 3000].into_iter().flat_map(|offset| (0..nodes).map(move |n| base + offset + n));
        let ports: Vec<u16> = ports.collect();
        let mut given = GIVEN.lock().unwrap();
        if ports.iter().all(|port| !given.contains(port) && is_free(*port)) {
            given.extend(ports);
            return base;
        }
    }
    panic!("there are no free ports");
}

/// So many nodes on loopback, with ports of their own.
///
/// # Panics
/// If there are no free ports.
pub fn node_plans(nodes: usize) -> Vec<NodePlan> {
    let address = |port: u16| Address { host: Ipv4Addr::LOCALHOST.to_string(), port };
    let ports = free_ports(4 * nodes);
    let plans = ports.chunks_exact(4).enumerate().map(|(n, ports)| NodePlan {
        name: format!("node{}", n + 1),
        mesh: address(ports[0]),
        backend: address(ports[1]),
        http: address(ports[2]),
        dns: Some(address(ports[3])),
    });
    plans.collect()
}

/// What `/v1/apps/{app}` says of who leads.
#[derive(Deserialize)]
struct Led {
    leader: Option<Leader>,
}

#[derive(Deserialize)]
struct Leader {
    name: String,
}

impl Cluster {
    /// Who leads an application, as some node sees it that answers at once.
    pub async fn leader(&self, app: AppNdx) -> Option<usize> {
        for node in 0..self.len() {
            let path = format!("/v1/apps/{app}");
            let asked = timeout(LEADER_WAIT, self.readers.get_json::<Led>(node, &path)).await;
            if let Ok(Ok(Led { leader: Some(Leader { name }) })) = asked {
                return (0..self.len()).find(|node| self.name(*node) == name);
            }
        }
        None
    }

    /// Founds a cluster; no node runs yet.
    pub fn found(nodes: usize) -> Cluster {
        Cluster::found_by(nodes, 1, 1)
    }

    /// Founds a cluster with these applications.
    pub fn found_apps(nodes: usize, apps: Vec<GenesisApp>) -> Cluster {
        Cluster::found_as(nodes, apps, (1, 1), Level::NEWEST, Layout::Together)
    }

    /// Founds a cluster with so many administrators, of which so many sign each change of who commands.
    pub fn found_by(nodes: usize, administrators: usize, signatures_needed: u32) -> Cluster {
        let signatures = (administrators, signatures_needed);
        Cluster::found_as(nodes, default_apps(), signatures, Level::NEWEST, Layout::Together)
    }

    /// The same, by the rules of an earlier level.
    pub fn found_on(nodes: usize, administrators: usize, signatures_needed: u32, level: Level) -> Cluster {
        Cluster::found_as(nodes, default_apps(), (administrators, signatures_needed), level, Layout::Together)
    }

    /// Founds a cluster where each node has a directory of its own.
    pub fn found_apart(nodes: usize) -> Cluster {
        Cluster::found_as(nodes, default_apps(), (1, 1), Level::NEWEST, Layout::NodeDirectories)
    }

    fn found_as(
        nodes: usize,
        apps: Vec<GenesisApp>,
        (administrators, signatures_needed): (usize, u32),
        level: Level,
        layout: Layout,
    ) -> Cluster {
        let directory = tempfile::Builder::new().prefix("synod-cluster-").tempdir().unwrap();
        let is_elsewhere = |app: &&GenesisApp| !synod_node::apps::KINDS.contains(&app.kind.as_str());
        let lanes = apps.iter().filter(is_elsewhere).map(|app| app.name.clone()).collect();
        let plan = Plan {
            name: "processes".to_owned(),
            nodes: node_plans(nodes),
            apps,
            lanes,
            front_ends: false,
            administrators,
            signatures_needed,
            level,
            retry_delay: Some(Duration::from_millis(50)),
            layout,
            data_dir: None,
        };
        let founded = found(&directory.path().join("cluster"), &plan).unwrap();
        // Only plain HTTP is spoken, and the client wants to be told of TLS all the same.
        let tls = tls::backend_client(&RootCertStore::empty().into(), &[]).unwrap();
        let http = reqwest::Client::builder().use_preconfigured_tls(tls).no_proxy();
        // A connection that is kept may be one to a process that was killed since.
        let http = http.pool_max_idle_per_host(0);
        let http = http.connect_timeout(Duration::from_secs(5)).timeout(PATIENCE).build().unwrap();
        let urls = founded.nodes.iter().map(|node| format!("http://{}", node.plan.http)).collect();
        let readers = Readers { http, urls };
        let environments = vec![Vec::new(); nodes];
        Cluster { running: (0..nodes).map(|_| None).collect(), environments, founded, directory, readers }
    }

    /// A cluster that goes on from this one, as `synod ARGUMENTS` founds it (a restore or a recovery), and what that has printed. No
    /// node runs yet. The tools sign as this one's administrator.
    #[track_caller]
    pub fn heir(&self, arguments: &str) -> (Cluster, Value) {
        let directory = tempfile::Builder::new().prefix("synod-heir-").tempdir().unwrap();
        let (cluster, key) = (directory.path().join("cluster"), self.path(ADMIN_KEY));
        let made = self.expect_json(
            0,
            &format!("{arguments} --dir {} --sign-with {}", cluster.display(), key.display()),
        );
        fs::copy(key, cluster.join(ADMIN_KEY)).unwrap();
        let (genesis, id) = Genesis::parse(&fs::read(cluster.join(GENESIS)).unwrap()).unwrap();
        assert_eq!(made["clusterId"], id.to_string());
        let node = |node: &Value| {
            let address = |name: &str| Address::parse(node[name].as_str().unwrap(), 1..=u16::MAX).unwrap();
            let plan = NodePlan {
                name: node["name"].as_str().unwrap().to_owned(),
                mesh: address("mesh"),
                backend: address("backend"),
                http: address("http"),
                dns: Some(address("dns")),
            };
            let config = PathBuf::from(node["config"].as_str().unwrap());
            FoundedNode { plan, id: node["id"].as_str().unwrap().parse().unwrap(), config }
        };
        let nodes: Vec<FoundedNode> = made["nodes"].as_array().unwrap().iter().map(node).collect();
        let urls = nodes.iter().map(|node| format!("http://{}", node.plan.http)).collect();
        let readers = Readers { http: self.readers.http.clone(), urls };
        let (running, environments) = (nodes.iter().map(|_| None).collect(), vec![Vec::new(); nodes.len()]);
        let founded = Founded { directory: cluster, cluster: id, genesis, administrators: Vec::new(), nodes };
        (Cluster { running, environments, founded, directory, readers }, made)
    }

    /// Founds a cluster and starts every node.
    pub async fn start(nodes: usize) -> Cluster {
        Cluster::start_by(nodes, 1, 1).await
    }

    /// The same, as [`Cluster::found_by`].
    pub async fn start_by(nodes: usize, administrators: usize, signatures_needed: u32) -> Cluster {
        let mut tries = 1;
        loop {
            let mut cluster = Cluster::found_by(nodes, administrators, signatures_needed);
            match cluster.try_start_all().await {
                Ok(()) => return cluster,
                Err(log) if tries < FOUND_TRIES && log.contains("in use") => tries += 1,
                Err(log) => panic!("{log}"),
            }
        }
    }

    /// Starts every node; gives the log of one that does not start.
    ///
    /// # Errors
    /// That log.
    pub async fn try_start_all(&mut self) -> Result<(), String> {
        for n in 0..self.len() {
            self.spawn(n);
        }
        for n in 0..self.len() {
            self.try_ready(n).await?;
        }
        Ok(())
    }

    /// How many nodes it has.
    #[expect(clippy::len_without_is_empty, reason = "no cluster is empty")]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Makes the files of a node that is to become a member, with `synod member prepare`, and puts it into the client file.
    /// Gives its number; it does not run yet.
    pub fn prepare(&mut self, name: &str) -> usize {
        let node = self.prepared(name, name);
        self.readers.urls.push(format!("http://{}", node.plan.http));
        self.founded.nodes.push(node);
        self.running.push(None);
        self.environments.push(Vec::new());
        self.write_client_file();
        self.len() - 1
    }

    /// The same of a node that has lost everything: it has the same name and number, and a new key. Nothing is left of what it
    /// had.
    pub fn prepare_again(&mut self, n: usize) {
        assert!(self.running[n].is_none(), "{} runs", self.name(n));
        let (name, lost) = (self.name(n).to_owned(), self.data_dir(n));
        let mut directory = format!("{name}-again");
        while self.path(&directory).exists() {
            directory += "-again";
        }
        self.founded.nodes[n] = self.prepared(&name, &directory);
        fs::remove_dir_all(lost).unwrap();
        self.readers.urls[n] = format!("http://{}", self.founded.nodes[n].plan.http);
        self.write_client_file();
    }

    fn prepared(&self, name: &str, directory: &str) -> FoundedNode {
        let port = free_base_port();
        let command = format!(
            "member prepare {name} --host 127.0.0.1 --base-port {port} --ca-key cluster/ca-key.pem --dir cluster/{directory}"
        );
        let made = self.expect_json(0, &command);
        let address = |field: &str| Address::parse(made[field].as_str().unwrap(), 1..=u16::MAX).unwrap();
        let plan = NodePlan {
            name: name.to_owned(),
            mesh: address("mesh"),
            backend: address("backend"),
            http: address("http"),
            dns: Some(address("dns")),
        };
        let config = self.path(directory).join("node.toml");
        FoundedNode { plan, id: made["id"].as_str().unwrap().parse().unwrap(), config }
    }

    /// Has the tools know all nodes.
    fn write_client_file(&self) {
        let path = self.path(CLIENT);
        let text = fs::read_to_string(&path).unwrap();
        let mut text = text.split_once("\n[[nodes]]").unwrap().0.to_owned();
        for node in &self.founded.nodes {
            let NodePlan { name, backend, http, .. } = &node.plan;
            text += &format!("\n[[nodes]]\nname = \"{name}\"\nbackend = \"{backend}\"\nhttp = \"{http}\"\n");
        }
        fs::write(path, text).unwrap();
    }

    /// Starts a node, and does not wait for it.
    pub fn spawn(&mut self, n: usize) {
        assert!(self.running[n].is_none(), "{} runs already", self.name(n));
        self.running[n] = Some(Process::start(&self.founded.nodes[n].config, &self.environments[n]));
    }

    /// Has a node find this in its environment, too, whenever it starts from now on.
    pub fn set_environment(&mut self, n: usize, variables: Vec<(&'static str, OsString)>) {
        self.environments[n].extend(variables);
    }

    /// Waits until a node's ports are open.
    pub async fn ready(&mut self, n: usize) {
        if let Err(log) = self.try_ready(n).await {
            panic!("{log}");
        }
    }

    /// The same; gives the log of one that does not start.
    ///
    /// # Errors
    /// That log.
    pub async fn try_ready(&mut self, n: usize) -> Result<(), String> {
        let process = self.running[n].as_mut().expect("the node was started");
        let Some(ready) = process.ready.take() else { return Ok(()) };
        match timeout(PATIENCE, ready).await {
            Ok(Ok(line)) if line.contains("\"ready\":true") => Ok(()),
            other => Err(format!("{} did not start: {other:?}\n{}", self.name(n), self.log(n))),
        }
    }

    /// Kills a node with SIGKILL; it is gone when this returns.
    pub fn kill(&mut self, n: usize) {
        let mut process = self.running[n].take().expect("only who runs can be killed");
        process.child.kill().unwrap();
        let status = process.child.wait().unwrap();
        assert!(status.code().is_none(), "{} had ended by itself, {status}\n{}", self.name(n), self.log(n));
    }

    /// Kills a node that may be about to end by itself; tells which it was.
    pub fn kill_anyway(&mut self, n: usize) -> ExitStatus {
        let mut process = self.running[n].take().expect("only who runs can be killed");
        // Fails only where it has ended already.
        let _ = process.child.kill();
        process.child.wait().unwrap()
    }

    /// Holds a node's process as if its machine stood still: it is there, and does nothing.
    pub fn pause(&self, n: usize) {
        self.signal(n, Signal::STOP);
    }

    /// Lets a paused node go on.
    pub fn resume(&self, n: usize) {
        self.signal(n, Signal::CONT);
    }

    /// Tells a node to read again what it reads again.
    pub fn hang_up(&self, n: usize) {
        self.signal(n, Signal::HUP);
    }

    fn signal(&self, n: usize, signal: Signal) {
        let process = self.running[n].as_ref().expect("only who runs takes a signal");
        kill_process(Pid::from_child(&process.child), signal).unwrap();
    }

    /// Bytes of memory that a node's process occupies.
    pub fn memory(&self, n: usize) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(n))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }

    /// Where a node keeps its data, as its configuration says.
    pub fn data_dir(&self, n: usize) -> PathBuf {
        Config::load(&self.founded.nodes[n].config).unwrap().data_dir
    }

    /// Adds something to the end of a node's configuration.
    pub fn configure(&self, n: usize, text: &str) {
        let mut config = File::options().append(true).open(&self.founded.nodes[n].config).unwrap();
        writeln!(config, "{text}").unwrap();
    }

    /// Lets a node stop in order.
    pub async fn stop(&mut self, n: usize) {
        drop(self.running[n].as_mut().expect("only who runs can be stopped").leash.take());
        let status = self.ended(n).await;
        assert!(status.success(), "{}: {status}\n{}", self.name(n), self.log(n));
    }

    /// Lets every node that runs stop in order, all at the same time.
    pub async fn stop_all(&mut self) {
        for process in self.running.iter_mut().flatten() {
            drop(process.leash.take());
        }
        for n in 0..self.len() {
            if self.running[n].is_some() {
                self.stop(n).await;
            }
        }
    }

    /// Waits until a node ends by itself.
    pub async fn ended(&mut self, n: usize) -> ExitStatus {
        let process = self.running[n].as_mut().expect("only who runs can end");
        let mut status = None;
        eventually("the node ends", async || {
            status = process.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        self.running[n] = None;
        status.expect("it has ended")
    }

    /// Whether the process is there.
    pub fn runs(&mut self, n: usize) -> bool {
        let running = self.running[n].as_mut();
        running.is_some_and(|process| process.child.try_wait().unwrap().is_none())
    }

    /// The process of a node that runs.
    pub fn pid(&self, n: usize) -> u32 {
        self.running[n].as_ref().expect("the node was started").child.id()
    }

    /// A node's name.
    pub fn name(&self, n: usize) -> &str {
        &self.founded.nodes[n].plan.name
    }

    /// The first digits of a node's id, as its owner reads them on its host and an administrator names it.
    pub fn digits(&self, n: usize) -> String {
        self.founded.nodes[n].id.to_string()[..12].to_owned()
    }

    /// Waits until a node that runs asks to become a member, as `synod member pending` says.
    pub async fn asks(&self, n: usize) {
        let id = self.founded.nodes[n].id.to_string();
        eventually("it asks to become a member", async || {
            let pending = self.expect_json(0, "member pending");
            pending["applicants"].as_array().unwrap().iter().any(|one| one["id"] == *id)
        })
        .await;
    }

    /// Everything that a node has logged.
    pub fn log(&self, n: usize) -> String {
        fs::read_to_string(self.founded.nodes[n].config.with_extension("log")).unwrap_or_default()
    }

    /// Everything that a node has printed.
    pub fn printed(&self, n: usize) -> String {
        fs::read_to_string(self.founded.nodes[n].config.with_extension("out")).unwrap_or_default()
    }

    /// A file of the cluster.
    pub fn path(&self, name: &str) -> PathBuf {
        self.founded.directory.join(name)
    }

    /// Writes a changed configuration of a node to a file of its own.
    pub fn changed_config(&self, n: usize, file: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        let text = fs::read_to_string(&self.founded.nodes[n].config).unwrap();
        let path = self.path(file);
        fs::write(&path, change(text)).unwrap();
        path
    }

    /// Writes a node's configuration to a file of its own, with another data directory.
    pub fn with_data_dir(&self, n: usize, file: &str, data_dir: &Path, reserve: Option<u64>) -> PathBuf {
        self.changed_config(n, file, |text| {
            let is_kept = |line: &&str| !line.starts_with("data_dir") && !line.starts_with("reserve_bytes");
            let fields = text.lines().filter(is_kept);
            let reserve = reserve.map(|bytes| format!("reserve_bytes = {bytes}\n")).unwrap_or_default();
            format!("data_dir = {:?}\n{reserve}", data_dir.display().to_string())
                + &fields.collect::<Vec<_>>().join("\n")
        })
    }

    /// Runs a tool in the directory that holds the cluster's.
    pub fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(program());
        command.arg0(NAME).args(arguments.split_whitespace()).current_dir(self.directory.path());
        command.env("SYNOD_CLIENT", self.path("client.toml")).output().unwrap()
    }

    /// Runs a tool that ends with this exit code; gives what it printed and what it said.
    #[track_caller]
    pub fn expect(&self, exit: i32, arguments: &str) -> (String, String) {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(exit), "synod {arguments}\n{printed}\n{said}");
        (printed, said)
    }

    /// The same, of what is printed as JSON.
    #[track_caller]
    pub fn expect_json(&self, exit: i32, arguments: &str) -> Value {
        let (printed, said) = self.expect(exit, &format!("{arguments} --output json"));
        serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{why}: {printed:?} {said:?}"))
    }

    /// The key of the first administrator.
    pub fn administrator(&self) -> SigningKey {
        SigningKey::load(self.path(ADMIN_KEY)).unwrap()
    }

    /// The commanders' port of a node.
    pub fn endpoint(&self, n: usize) -> Endpoint {
        let plan = &self.founded.nodes[n].plan;
        Endpoint::named(plan.backend.to_string(), plan.name.clone())
    }

    /// A client of `key` that prefers the node `first`.
    pub fn client(&self, key: SigningKey, first: usize, timeouts: Timeouts) -> Client {
        let endpoints = (0..self.len()).map(|n| self.endpoint((first + n) % self.len())).collect();
        self.client_of(key, endpoints, timeouts)
    }

    /// A client of `key` that knows one node only.
    pub fn client_at(&self, key: SigningKey, n: usize) -> Client {
        self.client_of(key, vec![self.endpoint(n)], Timeouts::default())
    }

    /// A client of `key` that knows these nodes.
    pub fn client_of(&self, key: SigningKey, endpoints: Vec<Endpoint>, timeouts: Timeouts) -> Client {
        let commander = Commander::new(Arc::new(key), self.founded.cluster);
        let tls = Arc::new(self.backend_tls());
        Client::new(ClientConfig { endpoints, tls, commander, timeouts }).unwrap()
    }

    /// TLS for the commanders' port.
    pub fn backend_tls(&self) -> rustls::ClientConfig {
        tls::backend_client(&tls::load_roots(self.path(CA)).unwrap(), &[]).unwrap()
    }
}

impl Readers {
    /// How many nodes there are.
    #[expect(clippy::len_without_is_empty, reason = "no cluster is empty")]
    pub fn len(&self) -> usize {
        self.urls.len()
    }

    /// Reads from a node's HTTP port; the error of a node that is gone or cannot answer.
    ///
    /// # Errors
    /// What the client met.
    pub async fn get(&self, n: usize, path: &str) -> Result<Bytes, reqwest::Error> {
        let url = format!("{}{path}", self.urls[n]);
        self.http.get(url).send().await?.error_for_status()?.bytes().await
    }

    /// The same, of JSON.
    ///
    /// # Errors
    /// The same.
    pub async fn get_json<T: for<'a> Deserialize<'a>>(
        &self,
        n: usize,
        path: &str,
    ) -> Result<T, reqwest::Error> {
        Ok(serde_json::from_slice(&self.get(n, path).await?).unwrap())
    }

    /// Reads a key within `patience`; `None`: there is no answer, or none that says anything of the key.
    pub async fn key(&self, n: usize, key: &str, parameters: &str, patience: Duration) -> Option<KeyRead> {
        let url = format!("{}/v1/apps/{KV}/kv/{key}{parameters}", self.urls[n]);
        let answer = self.http.get(url).timeout(patience).send().await.ok()?;
        let state = |name| Some(StateNdx(answer.headers().get(name)?.to_str().unwrap().parse().unwrap()));
        let (status, at, changed) = (answer.status(), state("state-ndx"), state("last-change"));
        let body = answer.bytes().await.ok()?;
        let found = match status {
            StatusCode::OK => {
                let value = String::from_utf8(body.to_vec()).unwrap();
                Some((value, changed.expect("who has a value says when it changed last")))
            }
            StatusCode::NOT_FOUND => {
                let problem: Problem = serde_json::from_slice(&body).unwrap();
                assert_eq!(problem.kind, "/problems/no-such-key");
                None
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => return None,
            other => panic!("{other}: {}", String::from_utf8_lossy(&body)),
        };
        Some(KeyRead { at: at.expect("every answer has a state"), found })
    }

    /// The names of the nodes that a node has sessions with; none if it does not answer.
    pub async fn up(&self, n: usize) -> Vec<String> {
        let status: Result<ClusterStatus, _> = self.get_json(n, "/v1/cluster").await;
        let nodes = status.map(|status| status.nodes).unwrap_or_default();
        nodes.into_iter().filter(|node| node.state == NodeState::Up).map(|node| node.name).collect()
    }

    /// What a node has executed.
    ///
    /// # Errors
    /// As [`Readers::get`].
    pub async fn state(&self, n: usize, parameters: &str) -> Result<State, reqwest::Error> {
        self.get_json(n, &format!("/v1/apps/{KV}{parameters}")).await
    }

    /// Every key of a node, in the state that the answer names.
    pub async fn entries(&self, n: usize) -> Page {
        let page: Page = self.get_json(n, &format!("/v1/apps/{KV}/kv?limit=1000")).await.unwrap();
        assert!(!page.more, "there are more keys than one page shows");
        page
    }
}

/// The parts of `/v1/apps/{app}` that tests compare.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// How many commands were executed.
    pub state_ndx: StateNdx,
    chain: String,
}

impl State {
    /// The hash chain's value there.
    pub fn chain(&self) -> Digest {
        self.chain.parse().unwrap()
    }
}

/// What a reader is told of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRead {
    /// The state that was read.
    pub at: StateNdx,
    /// The value, and the state that wrote it; `None`: there is no such key.
    pub found: Option<(String, StateNdx)>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
}

/// The parts of `/v1/apps/{app}/kv` that tests compare.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The state that was read.
    pub state_ndx: StateNdx,
    /// In the order of their keys.
    pub entries: Vec<PageEntry>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// A key, and what it holds.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct PageEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The state that last wrote it.
    pub changed: StateNdx,
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    assert!(timeout(PATIENCE, holds).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// The command that writes a key.
pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Bytes {
    KvOp::Put { key: key.into(), value: value.into() }.encode().into()
}

/// Runs a node that is not to start; gives what it said.
#[track_caller]
pub fn refused(config: &Path) -> String {
    let mut command = Command::new(program());
    // Should it start, it stops at once, since its standard input is at its end.
    command.args(["node", "--until-stdin-closes", "--config"]).arg(config).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
    assert_eq!(status.code(), Some(1), "{told}\n{said}");
    assert!(stdout.is_empty(), "it was ready: {told}");
    said.into_owned()
}
