//! A cluster's authority, its nodes' identities, and meshes on loopback that record what they are given.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_auth::{Algorithm, CertificateAuthority, SigningKey, TlsIdentity, Unverified};
use synod_mesh::{Listen, Mesh, MeshConfig, MeshError, PeerConfig, PeerStatus, Priority};
use synod_types::{AppNdx, ClusterId, Decree, Digest, GroupMessage, Message, NodeId, Program, Slot};
use tempfile::TempDir;

pub const CLUSTER: ClusterId = ClusterId(Digest([7; 32]));
const LIMIT: Duration = Duration::from_secs(30);

/// An authority of its own, and the files that it makes.
pub struct World {
    authority: CertificateAuthority,
    dir: TempDir,
}

impl World {
    pub fn new() -> World {
        let authority = CertificateAuthority::generate("test").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let world = World { authority, dir };
        world.authority.save_new(world.path("ca.pem"), world.path("ca.key")).unwrap();
        world
    }

    /// A file of it: `ca.pem`, `ca.key`, and of each identity its id with the same endings.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new key with a certificate for a name of its own, and for `localhost`.
    pub fn identity(&self) -> Arc<TlsIdentity> {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let name = format!("node-{}", key.id().short());
        self.certified(&key, &[&name, "localhost"])
    }

    /// A new key with a certificate for these names.
    pub fn identity_named(&self, names: &[&str]) -> Arc<TlsIdentity> {
        self.certified(&SigningKey::generate(Algorithm::Ed25519), names)
    }

    fn certified(&self, key: &SigningKey, names: &[&str]) -> Arc<TlsIdentity> {
        let path = |ending: &str| self.path(&format!("{}.{ending}", key.id()));
        key.save_new(path("key")).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let pem = self.authority.issue_node(key.public(), &names).unwrap();
        std::fs::write(path("pem"), pem).unwrap();
        Arc::new(TlsIdentity::load(path("pem"), path("key"), self.path("ca.pem")).unwrap())
    }

    /// `count` seats of one cluster, each with an identity and a socket.
    pub fn seats(&self, count: usize) -> Vec<Seat> {
        (0..count).map(|_| Seat::new(self.identity())).collect()
    }
}

/// A place in a cluster: who sits there, and where.
pub struct Seat {
    pub identity: Arc<TlsIdentity>,
    pub address: SocketAddr,
    /// Holds the address until the node starts.
    socket: Option<UdpSocket>,
}

impl Seat {
    pub fn new(identity: Arc<TlsIdentity>) -> Seat {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Seat { identity, address: socket.local_addr().unwrap(), socket: Some(socket) }
    }

    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// The first name in its certificate.
    pub fn name(&self) -> String {
        self.identity.facts().unwrap().server_names[0].clone()
    }

    pub fn peer(&self) -> PeerConfig {
        PeerConfig {
            id: self.id(),
            name: self.name(),
            address: self.address.to_string(),
            server_name: "localhost".into(),
        }
    }

    /// To an address of this host that nobody else has.
    pub fn move_elsewhere(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.address = socket.local_addr().unwrap();
        self.socket = Some(socket);
    }

    pub fn config(&mut self, peers: Vec<PeerConfig>) -> MeshConfig {
        let listen = self.socket.take().map_or(Listen::Address(self.address), Listen::Socket);
        MeshConfig {
            directory: [7; 16],
            directories: Arc::new(synod_mesh::NoDirectories),
            cluster: CLUSTER,
            identity: self.identity.clone(),
            listen,
            address: self.address.to_string(),
            program: Program::of_node(),
            retry_delay: Duration::from_millis(50),
            catch_up_rate: u32::MAX,
            peers,
        }
    }
}

/// A started node that keeps what it is given.
pub struct Node {
    pub mesh: Mesh,
    pub received: Arc<Mutex<Vec<(NodeId, Priority, Message)>>>,
}

impl Node {
    pub fn start(config: MeshConfig) -> Node {
        Node::try_start(config).unwrap()
    }

    pub fn try_start(config: MeshConfig) -> Result<Node, MeshError> {
        let received = Arc::new(Mutex::new(Vec::new()));
        let inbox = received.clone();
        let mesh = Mesh::start(config, move |from, priority, Unverified(message)| {
            inbox.lock().unwrap().push((from, priority, message));
            std::future::ready(())
        })?;
        Ok(Node { mesh, received })
    }

    pub fn peer(&self, id: NodeId) -> PeerStatus {
        self.mesh.peers().into_iter().find(|peer| peer.id == id).unwrap()
    }

    /// Whether messages flow between it and all of its peers.
    pub fn is_together(&self) -> bool {
        self.mesh.peers().iter().all(PeerStatus::is_up)
    }

    pub fn received_from(&self, id: NodeId, lane: Priority) -> Vec<Message> {
        let received = self.received.lock().unwrap();
        let wanted = received.iter().filter(|(from, priority, _)| *from == id && *priority == lane);
        wanted.map(|(.., message)| message.clone()).collect()
    }
}

/// Starts the node in seat `place`, with all others as its peers.
pub fn start(seats: &mut [Seat], place: usize) -> Node {
    let own = seats[place].id();
    let peers = seats.iter().filter(|seat| seat.id() != own).map(Seat::peer).collect();
    Node::start(seats[place].config(peers))
}

/// Starts a node where another one has just stopped, whose last task may still be letting go of the address.
pub async fn restart(seat: &mut Seat, peers: &[PeerConfig]) -> Node {
    let mut tries = tokio::time::interval(Duration::from_millis(2));
    let started = async {
        loop {
            match Node::try_start(seat.config(peers.to_vec())) {
                Ok(node) => return node,
                Err(MeshError::Listen { .. }) => tries.tick().await,
                Err(error) => panic!("{error}"),
            };
        }
    };
    within("the address is free", started).await
}

pub async fn start_all(seats: &mut [Seat]) -> Vec<Node> {
    let nodes: Vec<Node> = (0..seats.len()).map(|place| start(seats, place)).collect();
    eventually("all are up", || nodes.iter().all(Node::is_together)).await;
    nodes
}

/// Waits for a condition, but not for ever.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let all = async {
        while !condition() {
            looks.tick().await;
        }
    };
    within(what, all).await;
}

/// Waits for a future, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {LIMIT:?}: {what}"),
    }
}

/// A message of the given priority that bears a number.
pub fn message(priority: Priority, number: u64) -> Message {
    let group = |message| Message::Group { app: AppNdx(1), message };
    match priority {
        Priority::Control => Message::Heartbeat { round: number },
        Priority::Replication => group(GroupMessage::CatchUpRequest { from: Slot(number) }),
        Priority::Bulk => {
            let decrees = vec![Decree::Noop; usize::try_from(number).unwrap() * 37 % 500];
            group(GroupMessage::CatchUp { from: Slot(number), decrees })
        }
    }
}
