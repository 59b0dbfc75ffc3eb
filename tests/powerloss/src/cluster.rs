//! A cluster of real processes on loopback, whose nodes may run under the recorder.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use synod::founding::{self, ADMIN_KEY, CA, Founded, FoundedNode, Layout, Plan, default_apps};
use synod_auth::{SigningKey, tls};
use synod_client::{Client, ClientConfig, Commander, Endpoint, Timeouts};
use synod_cluster::{PATIENCE, node_plans};
use synod_journal::Stamp;
use synod_types::{ClusterId, Level, NodeId};

use crate::recorder;

/// A founded cluster in a directory; copies of it are in others.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The program.
    pub synod: PathBuf,
    /// Keys, configurations and data.
    pub directory: PathBuf,
    id: ClusterId,
    members: Vec<Member>,
}

/// What has to be known of a node to start it and to command it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Member {
    name: String,
    id: NodeId,
    backend: String,
}

/// The members, for whoever opens a cluster that was kept.
const MEMBERS: &str = "members.json";

impl Cluster {
    /// Founds a cluster.
    ///
    /// # Errors
    /// What is in the way.
    pub fn found(synod: &Path, directory: &Path, nodes: usize) -> Result<Cluster> {
        let plan = Plan {
            name: "power-loss".to_owned(),
            nodes: node_plans(nodes),
            apps: default_apps(),
            lanes: Vec::new(),
            front_ends: false,
            administrators: 1,
            signatures_needed: 1,
            level: Level::NEWEST,
            retry_delay: Some(Duration::from_millis(50)),
            layout: Layout::default(),
            data_dir: None,
        };
        let Founded { cluster: id, nodes, .. } = founding::found(directory, &plan)?;
        let member = |node: FoundedNode| Member {
            name: node.plan.name,
            id: node.id,
            backend: node.plan.backend.to_string(),
        };
        let members: Vec<Member> = nodes.into_iter().map(member).collect();
        fs::write(directory.join(MEMBERS), serde_json::to_vec(&(id, &members))?)?;
        Ok(Cluster { synod: synod.to_owned(), directory: directory.to_owned(), id, members })
    }

    /// A cluster that was kept, where it was founded.
    ///
    /// # Errors
    /// There is none.
    pub fn open(synod: &Path, directory: &Path) -> Result<Cluster> {
        let directory = directory.canonicalize().context("there is no such directory")?;
        let members = fs::read(directory.join(MEMBERS)).context("no cluster was kept there")?;
        let (id, members) = serde_json::from_slice(&members)?;
        Ok(Cluster { synod: synod.to_owned(), directory, id, members })
    }

    /// The same cluster in another directory, without data.
    ///
    /// # Errors
    /// The file system's.
    pub fn copy(&self, directory: &Path) -> Result<Cluster> {
        fs::create_dir_all(directory).context("cannot create a directory for a copy")?;
        for entry in fs::read_dir(&self.directory).context("cannot read the cluster's directory")? {
            let path = entry.context("cannot read the cluster's directory")?.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if ["toml", "pem", "json"].contains(&extension) {
                let name = path.file_name().context("an entry has a name")?;
                fs::copy(&path, directory.join(name)).context("cannot copy a file of the cluster")?;
            }
        }
        Ok(Cluster { directory: directory.to_owned(), ..self.clone() })
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> usize {
        self.members.len()
    }

    /// The name of a node's data directory.
    pub fn data_name(&self, n: usize) -> String {
        format!("data-{}", self.members[n].name)
    }

    /// The number of the node with this id.
    pub fn node_with(&self, id: NodeId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    /// Whose data directory it is.
    pub fn stamp(&self, n: usize) -> Stamp {
        Stamp { cluster: self.id, node: self.members[n].id }
    }

    /// Starts a node, recorded into `trace` if there is one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, n: usize, trace: Option<&Path>) -> Result<Node> {
        let config = self.directory.join(format!("{}.toml", self.members[n].name));
        let log = config.with_extension("log");
        let mut command = match trace {
            Some(trace) => recorder::command(&self.synod, trace),
            None => Command::new(&self.synod),
        };
        let mut child = command
            .args(["node", "--output", "json", "--until-stdin-closes", "--config"])
            .arg(&config)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).context("cannot open a log")?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.synod.display()))?;
        let leash = child.stdin.take();
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // Who waits for it may be gone.
            let _ = BufReader::new(stdout).read_line(&mut line).map(|_| sender.send(line));
        });
        Ok(Node { child, leash, ready, log })
    }

    /// Starts every node, and waits until all are ready.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(&self) -> Result<Vec<Node>> {
        let nodes: Vec<Node> = (0..self.nodes()).map(|n| self.spawn(n, None)).collect::<Result<_>>()?;
        nodes.iter().try_for_each(Node::wait_until_ready)?;
        Ok(nodes)
    }

    /// A client of the administrator that knows one node only.
    ///
    /// # Errors
    /// A file of the cluster is missing.
    pub fn client_at(&self, n: usize) -> Result<Client> {
        let member = &self.members[n];
        let endpoints = vec![Endpoint::named(member.backend.clone(), member.name.clone())];
        let key = SigningKey::load(self.directory.join(ADMIN_KEY))?;
        let commander = Commander::new(Arc::new(key), self.id);
        let tls = Arc::new(tls::backend_client(&tls::load_roots(self.directory.join(CA))?, &[])?);
        let timeouts = Timeouts { attempt: PATIENCE, total: PATIENCE, ..Timeouts::default() };
        Ok(Client::new(ClientConfig { endpoints, tls, commander, timeouts })?)
    }
}

/// A node that runs. It ends with this value; its standard input is a leash, in case that nobody lives to drop it.
pub struct Node {
    child: Child,
    leash: Option<ChildStdin>,
    ready: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Node {
    /// Waits until its ports are open.
    ///
    /// # Errors
    /// It ends before, or takes too long; with its log.
    pub fn wait_until_ready(&self) -> Result<()> {
        match self.ready.recv_timeout(PATIENCE) {
            Ok(line) if line.contains("\"ready\":true") => Ok(()),
            other => bail!("a node did not start: {other:?}\n{}", self.log_end()),
        }
    }

    /// Lets it stop in order.
    ///
    /// # Errors
    /// It ends otherwise.
    pub fn stop(mut self) -> Result<()> {
        drop(self.leash.take());
        let status = self.child.wait().context("cannot wait for a node")?;
        ensure!(status.success(), "a node ended with {status}\n{}", self.log_end());
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A recorder that is killed lets go of its node, which ends when its leash does.
        drop(self.leash.take());
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
