//! One node: opened, run, stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use synod_auth::{Genesis, TlsIdentity, Verifier, VerifyPool};
use synod_backend::{Backend, BackendConfig};
use synod_dns::{Counts, DnsServer, Given};
use synod_gateway::{AppDoor, Gateway, NodeStates, ReadQuestions};
use synod_http::HttpServer;
use synod_journal::Journal;
use synod_lane::Lane;
use synod_machine::Member;
use synod_mesh::{Listen, Mesh, MeshConfig, PeerConfig, PeerStatus};
use synod_paxos::{Config as CoreConfig, Core, GroupStatus, RoleName};
use synod_types::limits::FRONT_WHOLES_MAX;
use synod_types::{AppNdx, ClusterId, Message, NodeId};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::applier::{self, Beside};
use crate::apps;
use crate::certificates::Certificates;
use crate::chains::Chains;
use crate::config::{Address, Config, Server};
use crate::content::door::Door;
use crate::content::{self, Content};
use crate::cosigning::{self, Cosigning};
use crate::directories::{self, Directories};
use crate::disk::{Contents, Disk};
use crate::dns;
use crate::driver::{App, Driver, Groups, Input, Ways};
use crate::fronts::{Fronts, Host};
use crate::gate::Gate;
use crate::hearsay::{self, Hearsay};
use crate::http;
use crate::inbox::Inbox;
use crate::intake::Intake;
use crate::lanes::Lanes;
use crate::log::OwnLog;
use crate::metrics::{Metrics, Sources};
use crate::progress::Progress;
use crate::recovery::{Recovery, Room};
use crate::remote::{self, Remote};
use crate::roster::{self, Registrar};
use crate::scrub::{Findings, Scrubber, StateCertificates};
use crate::snapshots::archiving::Archiver;
use crate::snapshots::shown::Shown;
use crate::snapshots::{self, Snapshots};
use crate::space::{self, Space};
use crate::start_error::StartError;
use crate::status::StatusSource;
use crate::tasks::{Fatal, Tasks};
use crate::yards::Yards;

/// Messages that wait for the driver; the mesh waits beyond that.
const MESSAGES_MAX: usize = 1024;
/// Messages about files that wait; small, or a piece of a file.
const CONTENT_MESSAGES_MAX: usize = 256;
/// How often a node that stops looks whether others lead now, how often it looks at most, and after how many looks it asks them
/// again.
const HAND_OVER_LOOK: Duration = Duration::from_millis(10);
const HAND_OVER_LOOKS: u32 = 200;
const HAND_OVER_AGAIN: u32 = 25;
/// What waits for the task that takes care of snapshots.
const SNAPSHOT_ASKS_MAX: usize = 1024;
/// What waits for the task that takes care of certificates.
const COSIGN_ASKS_MAX: usize = 1024;

/// Messages on behalf of front ends that wait; others are lost.
const ROUTE_MESSAGES_MAX: usize = 256;
/// Messages of gossip that wait; others are lost, and said again.
const GOSSIP_MESSAGES_MAX: usize = 64;

/// Where a node listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The other nodes' port.
    pub mesh: SocketAddr,
    /// The commanders' port.
    pub backend: SocketAddr,
    /// The HTTP front end's port.
    pub http: SocketAddr,
    /// The DNS front end's first port, if it has one.
    pub dns: Option<SocketAddr>,
}

/// A running node. Dropped without [`Node::stop`], it is cut off, which it survives like any crash.
pub struct Node {
    addresses: Addresses,
    mesh: Arc<Mesh>,
    backend: Backend,
    http: HttpServer,
    dns: Option<DnsServer>,
    gateway: Gateway,
    certificates: Arc<Certificates>,
    groups: Arc<ArcSwap<Groups>>,
    inputs: mpsc::UnboundedSender<Input>,
    intake: Arc<Intake>,
    content: Content,
    chunks: Content,
    journal: Journal,
    archiver: Option<Archiver>,
    lanes: Vec<Arc<Lane>>,
    fatal: Fatal,
    tasks: Tasks,
}

impl Node {
    /// Starts a node: recovers what its journal holds, applies it, joins the mesh, and opens its ports.
    ///
    /// # Errors
    /// [`StartError`] says what is missing or in the way.
    pub async fn start(config: Config) -> Result<Node, StartError> {
        let Files { genesis, cluster, identity } = Files::load(&config)?;
        let node = identity.node_id();
        let name = config.me.id.clone();
        info!(name, id = node.short(), cluster = cluster.short(), "node starts");
        // Before anything that records.
        let metrics = Metrics::new();

        let fatal = Fatal::new();
        let (disk, contents) = Disk::open(&config, &genesis, cluster, &identity, &fatal)?;
        let Contents { mut recovered, mut held, directories, content_asks, chunk_asks } = contents;
        let lanes = Lanes::open(&config, &genesis)?;
        let fronts = config.front_ends.as_ref().map(|fronts| Fronts::open(fronts, &config.data_dir));
        let fronts = fronts.transpose()?;

        let (cosign_asks, cosigning_asked) = mpsc::channel(COSIGN_ASKS_MAX);
        let cosigning = Cosigning::new(cluster, cosign_asks);
        let (snapshot_asks, snapshots_asked) = mpsc::channel(SNAPSHOT_ASKS_MAX);
        let snapshots = Snapshots::new(snapshot_asks);
        let (inputs, input_queue) = mpsc::unbounded_channel();
        let recovery = Recovery {
            config: &config,
            genesis: &genesis,
            cluster,
            identity: &identity,
            disk: &disk,
            lanes: &lanes,
            snapshots: &snapshots,
            cosigning: &cosigning,
            inputs: &inputs,
        };
        let rooms = genesis.apps.iter().map(|app| {
            let held = held.remove(&app.ndx).unwrap_or_default();
            recovery.room(app, recovered.entry(app.ndx).or_default(), held)
        });
        let rooms: Vec<Room> = rooms.collect::<Result<_, _>>()?;
        let doors: BTreeMap<AppNdx, Arc<AppDoor>> =
            rooms.iter().map(|room| (room.app, Arc::clone(&room.door))).collect();
        let Disk {
            journal,
            archive,
            content,
            folder,
            chunks,
            certificates: cosign_folder,
            now_ms,
            life,
            kept: _,
        } = disk;
        let groups: Arc<ArcSwap<Groups>> = Arc::default();
        let archiver = archive.map(|archive| {
            let origins = genesis.origin.iter().flat_map(|origin| &origin.apps);
            let origins = origins.map(|origin| (origin.ndx, origin.slot)).collect();
            Archiver::new(archive, journal.clone(), Arc::clone(&groups), inputs.clone(), origins)
        });
        if let Some(archiver) = &archiver {
            doors.keys().for_each(|app| archiver.measure(*app));
        }

        let home = apps::home(&genesis);
        let first = genesis.first_voters();
        let voters = rooms.iter().map(|room| {
            let configuration = room.configuration.clone();
            (room.app, configuration.unwrap_or_else(|| first.clone()))
        });
        let registrar = registrar(&config, &genesis, node)?;
        let members = rooms.iter().find_map(|room| room.machine.state().authority().members());
        let members = members.expect("the home application keeps the members").clone();
        let known = registrar.known(&members, voters.collect());
        if members.iter().all(|member| member.id != node) {
            let id = node.short();
            warn!(name, id, "this node is no member of the cluster: it asks the members to accept it");
        }
        let roster = roster::share(known);

        let (gate, gated) = mpsc::unbounded_channel();
        let space: Arc<Space> = Arc::default();
        let intake = Arc::new(Intake::new(doors.clone(), gate, Arc::clone(&space)));
        let verifier = Arc::new(Verifier::new(cluster));
        let pool = VerifyPool::new(verifier, config.verify_threads.get()).map_err(StartError::Threads)?;
        let pool = Arc::new(pool);
        let (messages, received) = mpsc::channel(MESSAGES_MAX);
        let (content_messages, content_received) = mpsc::channel(CONTENT_MESSAGES_MAX);
        let (gossip, gossip_heard) = mpsc::channel(GOSSIP_MESSAGES_MAX);
        let (routes, routes_heard) = mpsc::channel(ROUTE_MESSAGES_MAX);
        let (chunk_messages, chunks_received) = mpsc::channel(CONTENT_MESSAGES_MAX);
        let inbox = Inbox {
            verify: config.verify,
            pool: Arc::clone(&pool),
            messages,
            content: content_messages,
            chunks: chunk_messages,
            snapshots: snapshots.clone(),
            cosigning: cosigning.clone(),
            gossip,
            routes,
            roster: Arc::clone(&roster),
        };
        let mesh_config =
            mesh_config(&config, roster.load().peers(), cluster, &identity, directories).await?;
        let mesh = Mesh::start(mesh_config, move |from, _, message| {
            let inbox = inbox.clone();
            async move { inbox.take(from, message).await }
        })?;
        let mesh = Arc::new(mesh);

        let mut tasks = Tasks::new(fatal.clone());
        let delivering = |is_quiet, content: &Content, wrap| {
            content::task::Task::new(is_quiet, content.clone(), Arc::clone(&mesh), Arc::clone(&roster), wrap)
        };
        let files = delivering(false, &content, Message::Content);
        tasks.spawn("content task".to_owned(), files.run(content_asks, content_received, tasks.stopping()));
        let of_snapshots = delivering(true, &chunks, Message::Chunk);
        tasks.spawn("chunk task".to_owned(), of_snapshots.run(chunk_asks, chunks_received, tasks.stopping()));
        let collecting = content::collect::run(content.clone(), doors.values().cloned().collect());
        tasks.spawn("collector of files".to_owned(), collecting);

        let founding = genesis.founding_voters();
        let current = rooms.iter().map(|room| (room.app, room.marks.configuration().clone()));
        let cosigning_task = cosigning::task::Task::new(cosigning::task::Parts {
            cluster,
            roster: Arc::clone(&roster),
            identity: Arc::clone(&identity),
            mesh: Arc::clone(&mesh),
            doors: doors.clone(),
            folder: cosign_folder.clone(),
            cosigning: cosigning.clone(),
            settings: config.certificates,
            first: founding.clone(),
            current: current.collect(),
        });
        let stopping = tasks.stopping();
        tasks.spawn("certificate task".to_owned(), cosigning_task.run(cosigning_asked, stopping));

        let hearsay = Hearsay::default();
        let gossiping = hearsay::Task {
            cluster,
            node,
            identity: Arc::clone(&identity),
            roster: Arc::clone(&roster),
            mesh: Arc::clone(&mesh),
            doors: doors.clone(),
            cosigning: cosigning.clone(),
            content: content.clone(),
            hearsay: hearsay.clone(),
            gossip: hearsay::Task::begin(node, now_ms),
            behind: BTreeMap::new(),
        };
        tasks.spawn("gossip".to_owned(), gossiping.run(gossip_heard, tasks.stopping()));

        let (mut driven, mut snapshot_apps) = (BTreeMap::new(), BTreeMap::new());
        for room in rooms {
            let Room { app, machine, pace, marks, publisher, questions, elsewhere, .. } = room;
            snapshot_apps.insert(app, room.snapshots);
            let (chosen, decrees) = mpsc::unbounded_channel();
            let (snapshots, cosigning) = (snapshots.clone(), cosigning.clone());
            let beside = Beside { snapshots, pace, cosigning, marks, fatal: fatal.clone(), elsewhere };
            let chains = Arc::new(Chains::new(machine.state().state_ndx, machine.state().chain));
            driven.insert(app, App::new(Arc::clone(&publisher), chosen, Arc::clone(&chains)));
            let files = content.clone();
            let obtain = move |key| {
                let files = files.clone();
                async move { files.obtain(key).await }
            };
            let intake = Arc::clone(&intake);
            let applying = applier::run(machine, publisher, intake, chains, beside, decrees, obtain);
            tasks.spawn(format!("applier of application {app}"), applying);
            let asking = ask(app, questions, inputs.clone());
            tasks.spawn(format!("reader of application {app}"), asking);
        }
        let all_lanes = lanes.all();
        lanes.start(&mut tasks)?;
        let incarnation = rand::random();
        let core_config = CoreConfig {
            incarnation,
            ..CoreConfig::new(node, first.members, genesis.apps.iter().map(|app| app.ndx).collect())
        };
        let core = Core::new(core_config, recovered);
        let states = Arc::new(NodeStates::new());
        let ways = Ways {
            mesh: Arc::clone(&mesh),
            journal: journal.clone(),
            intake: Arc::clone(&intake),
            snapshots: snapshots.clone(),
            states: Arc::clone(&states),
            inputs: inputs.clone(),
            roster: Arc::clone(&roster),
            space: Arc::clone(&space),
            levels: config.program.levels,
            fatal: fatal.clone(),
            data_dir: config.data_dir.clone(),
        };
        let (own_inputs, asked_groups) = (inputs.clone(), Arc::clone(&groups));
        let findings = Findings::default();
        let remote = Remote::new(Arc::clone(&mesh), Arc::clone(&roster));
        let state_certificates = StateCertificates {
            cluster,
            first: founding,
            threshold: config.certificates.threshold,
            kept_max: config.certificates.keep,
            folder: cosign_folder,
            cosigning: cosigning.clone(),
            remote: remote.clone(),
            roster: Arc::clone(&roster),
        };
        let scrubber = Scrubber {
            scrubbing: config.scrub,
            journal: journal.clone(),
            groups: Arc::clone(&groups),
            content: content.clone(),
            chunks: chunks.clone(),
            folder: folder.clone(),
            snapshots: snapshots.clone(),
            state_certificates,
            archive: config.archive.clone(),
            inputs: inputs.clone(),
            findings: findings.clone(),
        };
        let driver = Driver::new(core, home, registrar, driven, ways, Arc::clone(&groups));
        let asked_snapshots = snapshots.clone();
        let stopping = tasks.stopping();
        tasks.spawn("driver".to_owned(), driver.run(received, input_queue, stopping));
        tasks.spawn("scrubber".to_owned(), scrubber.run(tasks.stopping()));
        let snapshotting = snapshots::task::Task {
            cluster,
            node,
            roster: Arc::clone(&roster),
            identity: Arc::clone(&identity),
            folder,
            content: chunks.clone(),
            mesh: Arc::clone(&mesh),
            snapshots,
            inputs,
            journal: journal.clone(),
            archiver: archiver.clone(),
            levels: config.program.levels,
            fatal: fatal.clone(),
            apps: snapshot_apps,
            jobs: JoinSet::new(),
        };
        let stopping = tasks.stopping();
        tasks.spawn("snapshot task".to_owned(), snapshotting.run(snapshots_asked, stopping));

        let yards = Yards::new(Arc::clone(&mesh), Arc::clone(&roster), life);
        let dns_app = config.dns.as_ref().map(|dns| dns.app_of(&genesis)).transpose();
        let dns_app = dns_app.map_err(StartError::NothingToServe)?;
        let http_certificate = http::certificate(&config.http)?;
        let dns_certificate = match &config.dns {
            Some(dns) => dns::certificate(dns)?,
            None => None,
        };
        let certificates = Arc::new(Certificates::new(
            Arc::clone(&identity),
            name.clone(),
            Arc::clone(&mesh),
            http_certificate.clone(),
            dns_certificate.clone(),
        ));
        let status = Arc::new(StatusSource {
            cluster,
            cluster_name: genesis.name.clone(),
            program: config.program.clone(),
            node,
            name,
            roster,
            mesh: Arc::clone(&mesh),
            groups: Arc::clone(&groups),
            doors: doors.clone(),
            certificates: Arc::clone(&certificates),
            cosigning: cosigning.clone(),
            hearsay,
            findings,
        });
        let asked_status = Arc::clone(&status);
        let shown = Shown { snapshots: asked_snapshots, chunks: chunks.clone() };
        let gateway = Gateway::new(doors.values().cloned().collect(), move || asked_status.status())
            .with_metrics(Arc::new(metrics.clone()))
            .with_files(Arc::new(content.clone()))
            .with_log(Arc::new(OwnLog::new(journal.clone(), Arc::clone(&groups))))
            .with_snapshots(Arc::new(shown))
            .with_certificates(Arc::new(cosigning))
            .with_node_states(states);
        let gate = Gate { gateway: gateway.clone(), content: content.clone(), intake: Arc::clone(&intake) };
        tasks.spawn("gate".to_owned(), gate.run(gated));

        let tls = Arc::new(identity.backend_server(&[])?);
        let backend_config = BackendConfig { addr: resolve(&config.backend.addr).await?, tls, cluster, pool };
        let door = Arc::new(Door { content: content.clone(), gateway: gateway.clone() });
        let progress = Arc::new(Progress { gateway: gateway.clone(), intake: Arc::clone(&intake) });
        let backend = Backend::start(backend_config, Arc::<Intake>::clone(&intake), door, progress)?;
        let http = http::start(&config.http, http_certificate.as_deref(), &Given::default(), gateway.clone())
            .await?;
        let dns = match config.dns.as_ref().zip(dns_app) {
            Some((dns, app)) => {
                Some(dns::start(dns, dns_certificate.as_deref(), &Given::default(), &doors[&app]).await?)
            }
            None => None,
        };
        let host = Host {
            gateway: gateway.clone(),
            log: Arc::new(OwnLog::new(journal.clone(), groups)),
            sign_every: config.certificates.every_commands,
            wholes: Arc::new(Semaphore::new(FRONT_WHOLES_MAX)),
            cluster: cluster.to_string(),
            node: config.me.id.clone(),
            remote,
            yards: yards.clone(),
        };
        let answering = remote::Task { host: host.clone() };
        tasks.spawn("answers to other nodes".to_owned(), answering.run(routes_heard));
        tasks.spawn("yards".to_owned(), yards.run());
        if let Some(fronts) = fronts {
            tasks.spawn("front ends' socket".to_owned(), fronts.serve(host)?);
        }
        let watching = space::watch(config.data_dir.clone(), config.reserve_bytes, space);
        tasks.spawn("watch over the disk".to_owned(), watching);
        tasks.spawn("watch over certificates".to_owned(), Arc::clone(&certificates).run());
        tasks.spawn("measurements".to_owned(), metrics.clone().keep_up());
        metrics.begin(Sources {
            status,
            journal: journal.clone(),
            backend: Box::new(backend.watch_counters()),
            dns: dns
                .as_ref()
                .map(|dns| -> Box<dyn Fn() -> Counts + Send + Sync> { Box::new(dns.watch_counts()) }),
        });
        let addresses = Addresses {
            mesh: mesh.local_address(),
            backend: backend.local_addr(),
            http: http.local_addr(),
            dns: dns.as_ref().map(DnsServer::addr),
        };
        info!(mesh = %addresses.mesh, backend = %addresses.backend, http = %addresses.http, "node runs");
        Ok(Node {
            addresses,
            mesh,
            backend,
            http,
            dns,
            gateway,
            certificates,
            groups: asked_groups,
            inputs: own_inputs,
            intake,
            content,
            chunks,
            journal,
            archiver,
            lanes: all_lanes,
            fatal,
            tasks,
        })
    }

    /// Where it listens, with the real ports.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What its front ends see.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Has every file with certificates and keys read again, at the place where it was when the node started. Whether they
    /// are in order is in the log, in the measurements and, as what the node has now, in its status.
    pub fn read_certificates_again(&self) {
        self.certificates.read_again();
    }

    /// Returns when this node cannot go on, and why. It has then acknowledged nothing that is not durable, and is to
    /// be stopped.
    pub async fn failed(&self) -> String {
        self.fatal.raised().await
    }

    /// Stops in order: front ends first, then the commanders' port with what is in flight there, then the protocol and
    /// the mesh, and what is on disk last.
    pub async fn stop(self) {
        info!("node stops");
        self.hand_over().await;
        self.gateway.stop();
        if let Some(dns) = self.dns {
            dns.close().await;
        }
        self.http.close().await;
        self.backend.close().await;
        self.intake.stop();
        // Whoever waits for an answer there cannot be told to end.
        self.lanes.iter().for_each(|lane| lane.close());
        self.tasks.stop().await;
        self.mesh.close().await;
        drop(self.gateway);
        self.content.close().await;
        self.chunks.close().await;
        let (journal, archiver) = (self.journal, self.archiver);
        let closing = tokio::task::spawn_blocking(move || {
            archiver.iter().for_each(Archiver::close);
            journal.close();
        });
        if let Err(why) = closing.await {
            error!(%why, "the journal did not close by itself");
        }
        info!("node stopped");
    }
}

impl Node {
    /// Has other nodes lead what this one leads, so that commands do not wait until it is missed. Where nobody takes over in
    /// time, they do.
    async fn hand_over(&self) {
        let leads = |group: &GroupStatus| group.role == RoleName::Leader;
        let mut looking = tokio::time::interval(HAND_OVER_LOOK);
        for look in 0..HAND_OVER_LOOKS {
            looking.tick().await;
            if !self.groups.load().values().any(leads) || !self.mesh.peers().iter().any(PeerStatus::is_up) {
                return;
            }
            if look % HAND_OVER_AGAIN == 0 {
                // The driver is gone only when the node stops.
                let _ = self.inputs.send(Input::HandOver);
            }
        }
        warn!("no other node takes over what this one leads");
    }
}

/// What the configuration names.
struct Files {
    genesis: Genesis,
    cluster: ClusterId,
    identity: Arc<TlsIdentity>,
}

impl Files {
    fn load(config: &Config) -> Result<Files, StartError> {
        let path = config.genesis.clone();
        let bytes = std::fs::read(&path).map_err(|source| StartError::GenesisFile { path, source })?;
        let (genesis, cluster) = Genesis::parse(&bytes)?;
        let tls = &config.me.tls_config_info;
        let identity = TlsIdentity::load(&tls.cert_path, &tls.key_path, &tls.ca_cert_path)?;
        Ok(Files { genesis, cluster, identity: Arc::new(identity) })
    }
}

/// Hands the reads of one application to the driver.
async fn ask(app: AppNdx, mut questions: ReadQuestions, inputs: mpsc::UnboundedSender<Input>) {
    while let Some(question) = questions.next().await {
        if inputs.send(Input::Read(app, question)).is_err() {
            return;
        }
    }
}

/// The socket address for an address of the configuration.
pub(crate) async fn resolve(address: &Address) -> Result<SocketAddr, StartError> {
    address.resolve().await.map_err(StartError::Address)
}

/// Whom the configuration names, with the ids that genesis gives them where it does not.
fn registrar(config: &Config, genesis: &Genesis, node: NodeId) -> Result<Registrar, StartError> {
    let member = |server: &Server| {
        let name = server.server_name.clone();
        let first = || genesis.nodes.iter().find(|node| node.name == name).map(|node| node.id());
        let unknown = || StartError::UnknownServer { name: name.clone() };
        let id = server.id.or_else(first).ok_or_else(unknown)?;
        Ok(Member { id, name, address: server.addr.to_string() })
    };
    let servers = config.servers.iter().map(member).collect::<Result<_, StartError>>()?;
    let own = Member { id: node, name: config.me.id.clone(), address: config.me.addr.to_string() };
    Ok(Registrar { own, servers })
}

async fn mesh_config(
    config: &Config,
    peers: Vec<PeerConfig>,
    cluster: ClusterId,
    identity: &Arc<TlsIdentity>,
    (directory, directories): (directories::Name, Directories),
) -> Result<MeshConfig, StartError> {
    Ok(MeshConfig {
        cluster,
        identity: Arc::clone(identity),
        listen: Listen::Address(resolve(&config.me.addr).await?),
        address: config.me.addr.to_string(),
        directory,
        directories: Arc::new(directories),
        retry_delay: config.retry_delay,
        program: config.program.clone(),
        catch_up_rate: config.catch_up_rate,
        peers,
    })
}
