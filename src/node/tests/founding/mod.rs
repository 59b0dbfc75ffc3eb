//! A cluster on loopback, founded in a temporary directory.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use synod_auth::tls::{backend_client, load_roots};
use synod_auth::{
    Algorithm, CertificateAuthority, Genesis, GenesisAdministrator, GenesisApp, GenesisNode, SigningKey,
    TlsIdentity,
};
use synod_client::{Client, ClientConfig, Commander, Endpoint, Timeouts};
use synod_mesh::MeshError;
use synod_node::{Config, Node, StartError};
use synod_types::{AppNdx, ClusterId, Digest, TimeMs};
use tempfile::TempDir;

/// Below the ports that Linux gives to clients (net.ipv4.ip_local_port_range), so that none of them takes the port of a
/// node while it is down.
const PORTS: Range<u16> = 12_000..32_000;

pub struct Founded {
    pub dir: TempDir,
    pub cluster: ClusterId,
    ports: Vec<[u16; 3]>,
    settings: String,
}

impl Founded {
    /// With a key-value application (1) and a zones application (2).
    pub fn new(count: usize) -> Founded {
        Founded::with_max_lag(count, "1h")
    }

    /// With snapshots after so many commands.
    pub fn with_snapshots(count: usize, commands: u64) -> Founded {
        Founded::with(
            count,
            format!("snapshots = {{ commands = {commands} }}\ndns = {{ addr = \"127.0.0.1:0\" }}\n"),
        )
    }

    /// With snapshots after so many commands, and everything on the disks read again and again.
    pub fn with_scrubbing(count: usize, commands: u64) -> Founded {
        let scrub = "scrub = { every = 1000, bytes_per_second = 1000000000 }";
        Founded::with(
            count,
            format!("snapshots = {{ commands = {commands} }}\n{scrub}\ndns = {{ addr = \"127.0.0.1:0\" }}\n"),
        )
    }

    /// Nodes that answer DNS from a state of which they knew, at most so long ago, that it was the newest.
    pub fn with_max_lag(count: usize, max_lag: &'static str) -> Founded {
        Founded::with(count, format!("dns = {{ addr = \"127.0.0.1:0\", max_lag = \"{max_lag}\" }}\n"))
    }

    /// With further lines at the beginning of each configuration.
    fn with(count: usize, settings: String) -> Founded {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path();
        let ca = CertificateAuthority::generate("test").expect("an authority");
        ca.save_new(path.join("ca.pem"), path.join("ca-key.pem")).expect("saved");
        let administrator = SigningKey::generate(Algorithm::Ed25519);
        administrator.save_new(path.join("admin.pem")).expect("saved");
        let mut nodes = Vec::new();
        let ports: Vec<[u16; 3]> = (0..count).map(|_| free_ports()).collect();
        for i in 0..count {
            let key = SigningKey::generate(Algorithm::Ed25519);
            let name = name(i);
            key.save_new(path.join(format!("{name}-key.pem"))).expect("saved");
            let names = [name.clone(), "127.0.0.1".to_owned()];
            let certificate = ca.issue_node(key.public(), &names).expect("a certificate");
            std::fs::write(path.join(format!("{name}.pem")), certificate).expect("written");
            nodes.push(GenesisNode { name, key: key.public().clone() });
        }
        let administrators =
            vec![GenesisAdministrator { name: "admin".to_owned(), key: administrator.public().clone() }];
        let app =
            |ndx, kind: &str| GenesisApp { ndx: AppNdx(ndx), name: kind.to_owned(), kind: kind.to_owned() };
        let apps = vec![app(1, "kv"), app(2, "zones")];
        let genesis = Genesis::new("test", TimeMs(1), nodes, administrators, apps).to_bytes();
        std::fs::write(path.join("genesis.json"), &genesis).expect("written");
        let founded = Founded { cluster: ClusterId(Digest::of(&[&genesis])), dir, ports, settings };
        for i in 0..count {
            std::fs::write(founded.config_path(i), founded.config(i)).expect("written");
        }
        founded
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_path(&self, i: usize) -> std::path::PathBuf {
        self.path().join(format!("{}.toml", name(i)))
    }

    /// Where a node keeps its files.
    pub fn data_dir(&self, i: usize) -> std::path::PathBuf {
        self.path().join(format!("data-{}", name(i)))
    }

    fn config(&self, i: usize) -> String {
        let [mesh, backend, http] = self.ports[i];
        let (name, settings) = (name(i), &self.settings);
        let mut text = format!(
            "retry_delay = 50\n{settings}backend = {{ addr = \"127.0.0.1:{backend}\" }}\nhttp = {{ addr = \"127.0.0.1:{http}\" }}\n\
             [me]\nid = \"{name}\"\naddr = \"127.0.0.1:{mesh}\"\n[me.tls_config_info]\n\
             cert_path = \"{name}.pem\"\nkey_path = \"{name}-key.pem\"\nca_cert_path = \"ca.pem\"\n"
        );
        for (other, ports) in self.ports.iter().enumerate().filter(|&(other, _)| other != i) {
            let server = format!(
                "[[servers]]\naddr = \"127.0.0.1:{}\"\nserver_name = \"{}\"\n",
                ports[0],
                self::name(other)
            );
            text.push_str(&server);
        }
        text
    }

    pub async fn start(&self, i: usize) -> Node {
        self.try_start(i).await.expect("the node starts")
    }

    pub async fn try_start(&self, i: usize) -> Result<Node, StartError> {
        let config = Config::load(self.config_path(i)).expect("a good configuration");
        // A node that stopped in this very process leaves its port a moment later.
        for _ in 0..10_000 {
            match Node::start(config.clone()).await {
                Err(StartError::Mesh(MeshError::Listen { .. })) => tokio::task::yield_now().await,
                started => return started,
            }
        }
        panic!("the port of a stopped node does not become free");
    }

    pub async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for i in 0..self.ports.len() {
            nodes.push(self.start(i).await);
        }
        nodes
    }

    /// What is in a node's files: who has stolen them is that node.
    pub fn identity(&self, i: usize) -> TlsIdentity {
        let path = |file: &str| self.path().join(format!("{}{file}", name(i)));
        TlsIdentity::load(path(".pem"), path("-key.pem"), self.path().join("ca.pem")).expect("its own files")
    }

    /// Where a node is called by the others.
    pub fn mesh_address(&self, i: usize) -> String {
        format!("127.0.0.1:{}", self.ports[i][0])
    }

    pub fn administrator(&self) -> SigningKey {
        SigningKey::load(self.path().join("admin.pem")).expect("the administrator's key")
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.ports.iter().map(|ports| Endpoint::new(format!("127.0.0.1:{}", ports[1]))).collect()
    }

    pub fn client(&self, endpoints: Vec<Endpoint>) -> Client {
        self.make(self.administrator(), endpoints)
    }

    pub fn client_of(&self, key: SigningKey) -> Client {
        self.make(key, self.endpoints())
    }

    fn make(&self, key: SigningKey, endpoints: Vec<Endpoint>) -> Client {
        let roots = load_roots(self.path().join("ca.pem")).expect("the authority");
        let config = ClientConfig {
            endpoints,
            tls: Arc::new(backend_client(&roots, &[]).expect("TLS")),
            commander: Commander::new(Arc::new(key), self.cluster),
            timeouts: Timeouts::default(),
        };
        Client::new(config).expect("a client")
    }
}

pub fn name(i: usize) -> String {
    format!("node{}", i + 1)
}

/// Ports for mesh (UDP), back end (UDP and TCP) and HTTP (TCP) that are free, and that no other test of this program was given: its
/// node may be down just now.
fn free_ports() -> [u16; 3] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("nothing panics while it holds this lock");
    std::array::from_fn(|_| {
        let is_free = |port: &u16| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        };
        let mut drawn = std::iter::repeat_with(|| rand::random_range(PORTS)).take(10_000);
        drawn.find(|port| is_free(port) && given.insert(*port)).expect("a free port")
    })
}
