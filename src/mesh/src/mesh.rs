//! The mesh of one node: starts it, sends through it, changes its peers, looks at it, closes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use quinn::{ClientConfig, Endpoint};
use synod_auth::{TlsIdentity, Unverified};
use synod_types::limits::MESH_PARTING_MS_MAX;
use synod_types::{ClusterId, Message, NodeId, Program};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::applicants::{Applicant, Applicants, Conflict};
use crate::config::{Directories, MeshConfig, MeshError, PeerConfig, callable, check_peers};
use crate::dialer::Dialer;
use crate::leaving::{Leave, Leaving};
use crate::listener::Listener;
use crate::pace::Pace;
use crate::peer::{Peer, PeerStatus};
use crate::priority::Priority;
use crate::queue::Frame;
use crate::session::{CLOSED, SessionEnd};
use crate::transport;

/// The connections between this node and all others. Shared by reference; dropping it without
/// [`close`](Mesh::close) ends every task at once, without a Bye.
#[derive(Debug)]
pub struct Mesh {
    shared: Arc<Shared>,
    local_address: SocketAddr,
    leave: Leave,
    /// `None` once the mesh is closed. Who changes the peers holds it, so that one change comes after the other.
    running: Mutex<Option<Running>>,
}

/// What ends with the mesh.
#[derive(Debug)]
struct Running {
    tasks: JoinSet<()>,
    runtime: Handle,
    endpoint: Endpoint,
    client: ClientConfig,
    leaving: Leaving,
}

impl Running {
    /// Begins to call a peer.
    fn call(&mut self, peer: &Arc<Peer>, shared: &Arc<Shared>) {
        let dialer = Dialer {
            shared: shared.clone(),
            peer: peer.clone(),
            endpoint: self.endpoint.clone(),
            client: self.client.clone(),
            leaving: self.leaving.clone(),
        };
        self.tasks.spawn_on(dialer.run(), &self.runtime);
    }

    /// Lets go of tasks that have ended: those of peers that were removed.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            report_panic(ended);
        }
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a task of the mesh broke an invariant: {error}");
    }
}

/// What all tasks of a mesh know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: ClusterId,
    pub(crate) identity: Arc<TlsIdentity>,
    pub(crate) address: String,
    pub(crate) program: Program,
    pub(crate) directory: [u8; 16],
    pub(crate) directories: Arc<dyn Directories>,
    pub(crate) retry_delay: Duration,
    /// Of what others catch up with.
    pub(crate) pace: Pace,
    pub(crate) counters: Counters,
    pub(crate) applicants: Applicants,
    /// Replaced as a whole, so that whoever sends only loads a pointer.
    peers: ArcSwap<Vec<Arc<Peer>>>,
}

impl Shared {
    /// The peer with this id.
    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        find(&self.peers.load(), id).cloned()
    }

    /// What is against a node that is no member and is called `name`.
    pub(crate) fn conflict(&self, name: &str) -> Option<Conflict> {
        let peers = self.peers.load();
        let peer = peers.iter().find(|peer| peer.config().name == name).map(|peer| peer.id);
        let own = || {
            let facts = self.identity.facts()?;
            (facts.node_name() == Some(name)).then(|| self.identity.node_id())
        };
        peer.or_else(own).map(|known| Conflict { known })
    }
}

/// At most 29 of them: looking at each is as fast as any map.
fn find(peers: &[Arc<Peer>], id: NodeId) -> Option<&Arc<Peer>> {
    peers.iter().find(|peer| peer.id == id)
}

/// What happened outside of any session that was opened, and rules that were broken inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeshCounters {
    /// Connections, in either direction, with a failed TLS handshake, or with a certificate that is no member's and no
    /// genuine Hello behind it.
    pub strangers: u64,
    /// Connections with a genuine Hello of a node that is no member, which was told so.
    pub applicants: u64,
    /// Members whose Hello was refused with an Error.
    pub refused_hellos: u64,
    /// Sessions of members that were ended with an Error after their Hello.
    pub violations: u64,
    /// Connections that were not answered, since too many were being opened.
    pub ignored: u64,
    /// Messages that were not sent, since they are larger than a frame or for no member.
    pub unsendable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    strangers: AtomicU64,
    applicants: AtomicU64,
    refused_hellos: AtomicU64,
    violations: AtomicU64,
    ignored: AtomicU64,
    unsendable: AtomicU64,
    ends: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// A session has ended, or an attempt at one.
    pub(crate) fn count_end(&self, end: &SessionEnd) {
        let mut ends = self.ends.lock().expect("nothing panics while it counts");
        *ends.entry(end.name()).or_default() += 1;
    }

    pub(crate) fn count_stranger(&self) {
        self.strangers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_applicant(&self) {
        self.applicants.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused_hello(&self) {
        self.refused_hellos.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_violation(&self) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }
}

impl Mesh {
    /// Listens, and begins to call every peer. Must be called within a Tokio runtime.
    ///
    /// `inbox` takes each message with its sender and the priority of its stream, in order within a stream. While the
    /// future that it returns is not ready, nothing more is read from that stream, and QUIC tells the sender to stop.
    ///
    /// # Errors
    /// [`MeshError`] if the configuration contradicts itself or the address is in use.
    pub fn start<I, F>(config: MeshConfig, inbox: I) -> Result<Mesh, MeshError>
    where
        I: Fn(NodeId, Priority, Unverified<Message>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        config.check()?;
        let MeshConfig {
            cluster,
            identity,
            listen,
            address,
            directory,
            directories,
            retry_delay,
            program,
            catch_up_rate,
            peers,
        } = config;
        let (endpoint, client) = transport::bind(listen, &identity)?;
        let local_address = transport::local_address(&endpoint);
        let (leave, leaving) = Leave::new();
        let peers: Vec<_> = callable(peers).into_iter().map(|peer| Arc::new(Peer::new(peer))).collect();
        let counters = Counters::default();
        let peers = ArcSwap::from_pointee(peers);
        let applicants = Applicants::default();
        let shared = Arc::new(Shared {
            cluster,
            identity,
            address,
            program,
            directory,
            directories,
            retry_delay,
            pace: Pace::new(catch_up_rate),
            counters,
            applicants,
            peers,
        });
        let runtime = Handle::current();
        let mut running = Running { tasks: JoinSet::new(), runtime, endpoint, client, leaving };
        let listener = Listener {
            shared: shared.clone(),
            endpoint: running.endpoint.clone(),
            inbox: Arc::new(inbox),
            leaving: running.leaving.clone(),
        };
        running.tasks.spawn(listener.run());
        let peers = shared.peers.load_full();
        peers.iter().for_each(|peer| running.call(peer, &shared));
        tracing::info!(address = %local_address, peers = peers.len(), "listening for other nodes");
        let running = Mutex::new(Some(running));
        Ok(Mesh { shared, local_address, leave, running })
    }

    /// From now on these are all other nodes. Who was among them before is called where it is now, and where that is the
    /// same, its sessions go on. Who is new is called. Who is gone is not sent to and not listened to from now on; it is
    /// told so, and its sessions are closed within a second. One whose address is none is named in the log, and is none of them. Once
    /// the mesh is closed, nothing is changed.
    ///
    /// # Errors
    /// [`MeshError`] if the peers contradict each other; nothing is changed then.
    pub fn set_peers(&self, peers: Vec<PeerConfig>) -> Result<(), MeshError> {
        check_peers(self.shared.identity.node_id(), &peers)?;
        let mut running = self.running();
        let Some(running) = &mut *running else { return Ok(()) };
        running.reap();
        let before = self.shared.peers.load_full();
        let now = callable(peers).into_iter().map(|config| match find(&before, config.id) {
            Some(known) => {
                known.set_config(config);
                known.clone()
            }
            None => Arc::new(Peer::new(config)),
        });
        let now: Arc<Vec<_>> = Arc::new(now.collect());
        self.shared.peers.store(now.clone());
        for gone in before.iter().filter(|peer| find(&now, peer.id).is_none()) {
            tracing::info!(peer = %gone.config(), "a member is removed");
            gone.remove();
        }
        for new in now.iter().filter(|peer| find(&before, peer.id).is_none()) {
            tracing::info!(peer = %new.config(), "a member is added");
            running.call(new, &self.shared);
        }
        self.shared.applicants.forget(|id| find(&now, id).is_some());
        Ok(())
    }

    /// From now on these are refused, and not listed among the applicants any more. Peers are peers all the same.
    pub fn set_rejected(&self, rejected: Vec<NodeId>) {
        self.shared.applicants.set_rejected(rejected);
    }

    /// The nodes that are no members and would be, as far as they have called this one in the last ten minutes; at most
    /// [`APPLICANTS_MAX`](synod_types::limits::APPLICANTS_MAX), and who called least recently comes first.
    pub fn applicants(&self) -> Vec<Applicant> {
        let peers = self.shared.peers.load();
        let mut applicants = self.shared.applicants.list(SystemTime::now());
        // One may have become a member while its last call was on the way here.
        applicants.retain(|applicant| find(&peers, applicant.id).is_none());
        applicants
    }

    /// Where this node listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Sends a message, or drops and counts it: whoever sends repeats what matters. Never waits.
    pub fn send(&self, to: NodeId, message: &Message) {
        self.send_to(&[to], message);
    }

    /// Sends a message to several peers; it is encoded once.
    pub fn send_to(&self, to: &[NodeId], message: &Message) {
        match Frame::of(message) {
            Ok(frame) => to.iter().for_each(|&to| self.send_frame(to, frame.clone())),
            Err(error) => {
                self.count_unsendable();
                tracing::error!("a message cannot be sent: {error}");
            }
        }
    }

    /// Sends a message that is already encoded.
    pub fn send_frame(&self, to: NodeId, frame: Frame) {
        match find(&self.shared.peers.load(), to) {
            Some(peer) => peer.send(frame),
            None => self.count_unsendable(),
        }
    }

    /// Ends the sessions with whoever is vouched for by no authority that this node trusts now. To be called when the
    /// node's identity trusts others than before; sessions that are opened later are checked by themselves.
    pub fn close_untrusted(&self) {
        self.shared.peers.load().iter().for_each(|peer| peer.close_untrusted(&self.shared.identity));
    }

    /// How each peer stands, in the order in which they were set last.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peers.load().iter().map(|peer| peer.status()).collect()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> MeshCounters {
        let Counters { strangers, applicants, refused_hellos, violations, ignored, unsendable, ends: _ } =
            &self.shared.counters;
        MeshCounters {
            strangers: strangers.load(Ordering::Relaxed),
            applicants: applicants.load(Ordering::Relaxed),
            refused_hellos: refused_hellos.load(Ordering::Relaxed),
            violations: violations.load(Ordering::Relaxed),
            ignored: ignored.load(Ordering::Relaxed),
            unsendable: unsendable.load(Ordering::Relaxed),
        }
    }

    /// How often sessions, and attempts at them, in either direction, ended for which reason: by the name of the reason, or that of the
    /// Error that this node said.
    pub fn session_ends(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counters.ends.lock().expect("nothing panics while it counts").clone()
    }

    /// Says Bye in every session, waits for the Acks within a limit, and then lets the address go. What is still
    /// queued is dropped. A second call does nothing.
    pub async fn close(&self) {
        self.leave.begin();
        let running = self.running().take();
        let Some(Running { mut tasks, endpoint, .. }) = running else { return };
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                report_panic(ended);
            }
        };
        // A session waits for its Ack, and may be saying an Error before.
        let limit = Duration::from_millis(3 * MESH_PARTING_MS_MAX);
        if timeout(limit, all).await.is_err() {
            tracing::warn!("some peers did not answer to Bye");
        }
        drop(tasks);
        endpoint.close(CLOSED, b"");
        let _ = timeout(limit, endpoint.wait_idle()).await;
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // A change that panicked half way has set the peers or has not, and the next one begins with what is set.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_unsendable(&self) {
        self.shared.counters.unsendable.fetch_add(1, Ordering::Relaxed);
    }
}
