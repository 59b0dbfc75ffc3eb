//! One node: opened, run, stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use synod_archive::Archive;
use synod_auth::file::LoadError;
use synod_auth::tls::TlsError;
use synod_auth::{Genesis, GenesisError, TlsIdentity, Verifier, VerifyPool};
use synod_backend::{Backend, BackendConfig, BackendError};
use synod_content::Store;
use synod_dns::{Counts, DnsError, DnsServer, Given};
use synod_gateway::{AppDoor, AppPublisher, Gateway, NodeStates, ReadQuestions};
use synod_http::{HttpError, HttpServer};
use synod_journal::{Journal, JournalError, OpenError, ReadError, Stamp};
use synod_lane::Lane;
use synod_machine::{Machine, Member, View};
use synod_mesh::{Listen, Mesh, MeshConfig, MeshError, PeerConfig, PeerStatus};
use synod_paxos::{Config as CoreConfig, Core, GroupStatus, RoleName};
use synod_types::limits::{ACCEPTED_BYTES_MAX, ACCEPTED_SLOTS_MAX, CATCH_UP_BYTES_MAX, FRONT_WHOLES_MAX};
use synod_types::{
    AppNdx, Ballot, ClusterId, Configuration, Epoch, Message, NodeId, Recovered, Slot, Statement,
    UnknownLevel, Versions,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::applier::{self, Beside, Elsewhere};
use crate::apps;
use crate::certificates::Certificates;
use crate::chains::Chains;
use crate::config::{Address, Config, Server};
use crate::content::door::Door;
use crate::content::{self, Content};
use crate::cosigning::marks::Marks;
use crate::cosigning::{self, Ask as CosignAsk, Cosigning, Mark};
use crate::directories::{self, Directories};
use crate::divergence::{self, Evidence};
use crate::dns;
use crate::driver::{App, Driver, Groups, Input, Ways};
use crate::fronts::{Fronts, Host};
use crate::gate::Gate;
use crate::hearsay::{self, Hearsay};
use crate::http;
use crate::inbox::Inbox;
use crate::intake::Intake;
use crate::lanes::{LaneError, Lanes, Maker};
use crate::life;
use crate::log::OwnLog;
use crate::metrics::{Metrics, Sources};
use crate::progress::Progress;
use crate::remote::{self, Remote};
use crate::roster::{self, Registrar};
use crate::scrub::{Findings, Scrubber, StateCertificates};
use crate::snapshots::archiving::Archiver;
use crate::snapshots::disk::{Folder, Kept};
use crate::snapshots::origin;
use crate::snapshots::pace::{Every, Pace};
use crate::snapshots::restoring::{RestoreError, restore};
use crate::snapshots::shown::Shown;
use crate::snapshots::{self, Ask, Snapshots};
use crate::space::{self, Space};
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

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The genesis document cannot be read.
    #[error("cannot read {}: {source}; see `genesis` in the configuration", .path.display())]
    GenesisFile {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificates or the key cannot be used.
    #[error(transparent)]
    Identity(#[from] LoadError),
    /// An address of the configuration means nothing.
    #[error(transparent)]
    Address(std::io::Error),
    /// The genesis document is wrong.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Genesis has an application that this program does not.
    #[error(
        "genesis wants application {app} to be of kind {kind:?}; this program has: {}. One in a process of its own needs an entry in \
         lanes",
        apps::KINDS.join(", ")
    )]
    UnknownKind {
        /// Which application.
        app: AppNdx,
        /// The kind.
        kind: String,
    },
    /// The lanes of the configuration do not fit genesis, or have no sockets.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The configuration has a server that genesis does not.
    #[error(
        "the configuration names the server {name:?}, which is no node of the genesis document, and does not give its id"
    )]
    UnknownServer {
        /// Its name.
        name: String,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal cannot be read back.
    #[error("application {app}: {source}")]
    Replay {
        /// Which application.
        app: AppNdx,
        /// Why not.
        source: ReadError,
    },
    /// The files to which commands refer cannot be opened.
    #[error(transparent)]
    Content(#[from] synod_content::OpenError),
    /// The snapshots cannot be opened.
    #[error("cannot open the snapshots in {}: {source}", .path.display())]
    Snapshots {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificates of states cannot be opened.
    #[error("cannot open the certificates in {}: {source}", .path.display())]
    Certificates {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The names of data directories cannot be read or written.
    #[error("cannot read or write the names of data directories in {}: {source}", .path.display())]
    Names {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The number of this life cannot be read or written.
    #[error("cannot read or write the number of this start in {}: {source}", .path.display())]
    Life {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The archive cannot be opened.
    #[error(transparent)]
    Archive(#[from] synod_archive::OpenError),
    /// The mesh does not start.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The commanders' port does not open.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The HTTP port does not open.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The configuration wants DNS served from what genesis does not have.
    #[error("dns.app: {0}")]
    NothingToServe(String),
    /// The DNS port does not open.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A level is beyond this program.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// What is on the disk is beyond this program.
    #[error("application {app}: its snapshot is of a newer program than this one: {why}")]
    TooNew {
        /// Which application.
        app: AppNdx,
        /// What is.
        why: RestoreError,
    },
    /// The operating system gives no threads.
    #[error("cannot start the verifying threads: {0}")]
    Threads(std::io::Error),
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
        let on_fatal = {
            let fatal = fatal.clone();
            move |why: JournalError| fatal.raise(why.to_string())
        };
        let app_ndxs: Vec<AppNdx> = genesis.apps.iter().map(|app| app.ndx).collect();
        let stamp = Stamp { cluster, node };
        let begun = Instant::now();
        let (journal, mut recovered) = Journal::open(&config.data_dir, stamp, &app_ndxs, on_fatal)?;
        info!(took_ms = begun.elapsed().as_millis(), "the log is open");

        let lanes = Lanes::open(&config, &genesis)?;
        let fronts = config.front_ends.as_ref().map(|fronts| Fronts::open(fronts, &config.data_dir));
        let fronts = fronts.transpose()?;
        let (asks, asked) = mpsc::unbounded_channel();
        let store = Store::open(&config.data_dir.join("content"))?;
        let content = Content::new(store, cluster, Arc::clone(&identity), asks);

        let (chunk_asks, chunks_asked) = mpsc::unbounded_channel();
        let unopened = |source| StartError::Snapshots { path: config.data_dir.clone(), source };
        let folder = Folder::open(&config.data_dir).map_err(unopened)?;
        let chunk_store = Store::open(&folder.chunks())?;
        let mut kept = folder.load(&chunk_store).map_err(unopened)?;
        forget_what_is_wrong(&config, &genesis, &folder, &mut kept).map_err(unopened)?;
        let chunks = Content::new(chunk_store, cluster, Arc::clone(&identity), chunk_asks);
        let unopened_certificates =
            |source| StartError::Certificates { path: config.data_dir.clone(), source };
        let cosign_folder = cosigning::disk::Folder::open(&config.data_dir).map_err(unopened_certificates)?;
        let founding = genesis.founding_voters();
        let mut held = cosign_folder.load(cluster, &founding).map_err(unopened_certificates)?;
        let (cosign_asks, cosigning_asked) = mpsc::channel(COSIGN_ASKS_MAX);
        let cosigning = Cosigning::new(cluster, cosign_asks);
        let (snapshot_asks, snapshots_asked) = mpsc::channel(SNAPSHOT_ASKS_MAX);
        let snapshots = Snapshots::new(snapshot_asks);
        let groups: Arc<ArcSwap<Groups>> = Arc::default();
        let archive = config.archive.as_deref().map(|dir| Archive::open(dir, cluster)).transpose()?;
        let origins = genesis.origin.iter().flat_map(|origin| &origin.apps);
        let origins: BTreeMap<AppNdx, Slot> = origins.map(|origin| (origin.ndx, origin.slot)).collect();
        let (inputs, input_queue) = mpsc::unbounded_channel();
        let archiver = archive.map(|archive| {
            Archiver::new(archive, journal.clone(), Arc::clone(&groups), inputs.clone(), origins)
        });

        let (mut rooms, mut doors, mut snapshot_apps) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for app in &genesis.apps {
            let state = recovered.entry(app.ndx).or_default();
            let mut kept: Vec<Kept> =
                kept.iter().filter(|kept| kept.checkpoint().app == app.ndx).cloned().collect();
            let (levels, maker) = (config.program.levels, lanes.maker(app));
            let held = held.remove(&app.ndx).unwrap_or_default();
            let certified = held.newest().map(|newest| newest.statement);
            let every = config.certificates.every_commands;
            let found = {
                let (genesis, chunks, journal, maker) = (&genesis, &chunks, &journal, &maker);
                Found { genesis, cluster, app, maker, kept: &kept, chunks, journal, levels, certified, every }
            };
            let Replayed { snapshot, mut machine, pace, due, marks, signed, certified, chosen } =
                found.replay(state, config.snapshots)?;
            let origin = genesis.origin_of(app.ndx).copied();
            origin::vouch(origin.as_ref(), snapshot, &mut kept, &folder, cluster, &identity)
                .map_err(unopened)?;
            due.into_iter().for_each(|view| snapshots.tell(Ask::Due(Arc::new(view))));
            cosigning.begin(app.ndx, held, certified);
            signed.into_iter().for_each(|mark| cosigning.tell(CosignAsk::Due(mark)));
            supply(&mut machine, &content);
            let (door, publisher, questions) = AppDoor::open(app.name.clone(), machine.view());
            if let Some(evidence) = Evidence::find(&config.data_dir, app.ndx) {
                error!(app = %app.ndx, state_ndx = evidence.state_ndx, "this node differs from the others here, and answers nobody: synod repair");
                publisher.set_fence(evidence.fence());
            }
            doors.insert(app.ndx, door);
            let elsewhere = lanes.presence(app.ndx).map(|presence| Elsewhere {
                presence,
                journal: journal.clone(),
                inputs: inputs.clone(),
                data_dir: config.data_dir.clone(),
                behind: chosen,
                is_over: false,
            });
            let (app_ndx, publisher, configuration) =
                (app.ndx, Arc::new(publisher), state.configuration.clone());
            rooms.push(Room {
                app: app_ndx,
                machine,
                pace,
                marks,
                publisher,
                questions,
                configuration,
                elsewhere,
            });
            let cut = state.cut;
            snapshot_apps.insert(app.ndx, snapshots::task::App::new(maker, origin, kept, cut));
            archiver.iter().for_each(|archiver| archiver.measure(app.ndx));
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
            warn!(
                name,
                id = node.short(),
                "this node is no member of the cluster: it asks the members to accept it"
            );
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
        let opened = Directories::open(&config.data_dir);
        let opened = opened.map_err(|source| StartError::Names { path: config.data_dir.clone(), source })?;
        let mesh_config = mesh_config(&config, roster.load().peers(), cluster, &identity, opened).await?;
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
        tasks.spawn("content task".to_owned(), files.run(asked, content_received, tasks.stopping()));
        let of_snapshots = delivering(true, &chunks, Message::Chunk);
        tasks.spawn(
            "chunk task".to_owned(),
            of_snapshots.run(chunks_asked, chunks_received, tasks.stopping()),
        );
        let collecting = content::collect::run(content.clone(), doors.values().cloned().collect());
        tasks.spawn("collector of files".to_owned(), collecting);

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
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let unnumbered = |source| StartError::Life { path: config.data_dir.clone(), source };
        let life = life::begin(&config.data_dir, now_ms).map_err(unnumbered)?;
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

        let mut driven = BTreeMap::new();
        for Room { app, machine, pace, marks, publisher, questions, configuration: _, elsewhere } in rooms {
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
        let core_config = CoreConfig { incarnation, ..CoreConfig::new(node, first.members, app_ndxs) };
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

/// One application on its way to being driven.
struct Room {
    app: AppNdx,
    machine: Machine,
    pace: Pace,
    marks: Marks,
    publisher: Arc<AppPublisher>,
    questions: ReadQuestions,
    /// Whose votes decide behind what was chosen.
    configuration: Option<Configuration>,
    elsewhere: Option<Elsewhere>,
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

/// What a node has of one application when it starts.
struct Found<'a> {
    genesis: &'a Genesis,
    cluster: ClusterId,
    app: &'a synod_auth::GenesisApp,
    maker: &'a Maker,
    /// Snapshots, oldest first.
    kept: &'a [Kept],
    chunks: &'a Content,
    journal: &'a Journal,
    /// By the rules of which levels this program can execute.
    levels: Versions,
    /// The newest certificate of a state.
    certified: Option<Statement>,
    /// Commands from one state that is signed to the next.
    every: u64,
}

/// What that comes to.
struct Replayed {
    /// The slot of the snapshot with which it began.
    snapshot: Option<Slot>,
    machine: Machine,
    pace: Pace,
    /// The last state on the way of which a snapshot was due.
    due: Option<View>,
    marks: Marks,
    /// Of the states on the way that were to be signed, the last one, and the last one in which an epoch began.
    signed: Vec<Mark>,
    /// The state of the newest certificate.
    certified: Option<Arc<View>>,
    /// The last slot that is known as chosen. An application in another process is not there yet, so its machine has not applied
    /// what comes behind the snapshot.
    chosen: Slot,
}

impl Found<'_> {
    /// The machine with everything applied that snapshots and journal hold as chosen. What cannot be read is fetched from
    /// the other nodes later: the core is told that it may have been accepted.
    fn replay(&self, recovered: &mut Recovered, every: Every) -> Result<Replayed, StartError> {
        let begun = Instant::now();
        let Found { app, .. } = *self;
        let newest = self.newest_snapshot(recovered)?;
        let snapshot_ms = begun.elapsed().as_millis();
        let snapshot = newest.as_ref().map(|machine| machine.state().applied);
        let mut machine = match newest {
            Some(machine) => machine,
            None => {
                let machine = self.maker.machine(self.genesis, self.cluster);
                let machine = machine
                    .ok_or_else(|| StartError::UnknownKind { app: app.ndx, kind: app.kind.clone() })?;
                machine.with_levels(self.levels)?
            }
        };
        let is_elsewhere = machine.state().app.apart().is_some();
        let mut configuration = machine.state().configuration.clone();
        let mut pace = Pace::new(every, machine.state());
        let mut marks = Marks::new(self.every, self.genesis.first_voters(), machine.state());
        let (mut signed, mut epoch_began, mut certified) = (None, None, None);
        let (mut due, mut told) = (None, Instant::now());
        let first = machine.state().applied;
        recovered.begin_behind(first);
        let chosen = recovered.chosen;
        let mut slot = first;
        while slot < chosen {
            // What was cut off is not to be read, even if something is left of it.
            let decrees = if slot < recovered.cut {
                Vec::new()
            } else {
                match self.journal.read_blocking(app.ndx, slot.next(), chosen, CATCH_UP_BYTES_MAX) {
                    Ok(decrees) => decrees,
                    Err(ReadError::Damaged { .. }) => Vec::new(),
                    Err(source) => return Err(StartError::Replay { app: app.ndx, source }),
                }
            };
            if decrees.is_empty() {
                error!(app = %app.ndx, slot = %slot.next(), "the journal cannot be read here; the other nodes are asked");
                recovered.end_chosen_before(slot.next());
                break;
            }
            for (at, _, decree) in decrees {
                let epoch = configuration.as_ref().map_or(Epoch(0), |configuration| configuration.epoch);
                if let Some(next) = decree.seals(epoch) {
                    configuration = Some(next.clone());
                }
                slot = at;
                if is_elsewhere {
                    continue;
                }
                marks.before(&decree, machine.state());
                machine.apply(at, &decree)?;
                match marks.after(machine.state()) {
                    Some(mark) if mark.before.is_some() => epoch_began = Some(mark),
                    Some(mark) => signed = Some(mark),
                    None => {}
                }
                if self.certified.is_some_and(|statement| statement.slot == at) {
                    certified = Some(Arc::new(machine.view()));
                }
                if pace.on_applied(&decree, machine.state()) {
                    due = Some(machine.view());
                }
            }
            if told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                info!(app = %app.ndx, %slot, of = %chosen, "applying the journal");
            }
        }
        self.keep_behind(recovered);
        // Which epoch the group is in, and who votes in it: the core sees no decree again that was chosen before.
        recovered.configuration = configuration;
        let state_ndx = machine.state().state_ndx;
        let took_ms = begun.elapsed().as_millis();
        let applied = machine.state().applied;
        info!(app = app.name, %state_ndx, snapshot = %first, %applied, chosen = %slot, snapshot_ms, took_ms, "application is recovered");
        let certified =
            certified.or_else(|| Some(Arc::new(machine.view()))).filter(|view| self.is_certified(view));
        let signed = epoch_began.into_iter().chain(signed).collect();
        Ok(Replayed { snapshot, machine, pace, due, marks, signed, certified, chosen: slot })
    }

    /// Whether this is the state of the newest certificate. Equal chains are of equal states, so the root is not asked for, which takes
    /// long the first time.
    fn is_certified(&self, view: &View) -> bool {
        self.certified
            .is_some_and(|statement| statement.state_ndx == view.state_ndx && statement.chain == view.chain)
    }

    /// What stands behind a damaged record and is known as chosen is not asked for again, as far as there is room.
    fn keep_behind(&self, recovered: &mut Recovered) {
        let mut room = ACCEPTED_BYTES_MAX;
        room = room.saturating_sub(recovered.accepted.values().map(|(_, decree)| decree.len()).sum());
        let first = recovered.chosen.next().next();
        let last = Slot(recovered.known.0.min(first.0 + ACCEPTED_SLOTS_MAX));
        for slot in (first.0..=last.0).map(Slot) {
            let Ok(read) = self.journal.read_blocking(self.app.ndx, slot, slot, CATCH_UP_BYTES_MAX) else {
                continue;
            };
            for (slot, _, decree) in read {
                let Some(left) = room.checked_sub(decree.len()) else { return };
                room = left;
                recovered.accepted.insert(slot, (Ballot::CHOSEN, decree));
            }
        }
    }

    /// The state of the newest snapshot that can be read, if the log goes on where it ends.
    fn newest_snapshot(&self, recovered: &Recovered) -> Result<Option<Machine>, StartError> {
        for kept in self.kept.iter().rev().filter(|kept| kept.checkpoint().slot >= recovered.cut) {
            let read = |key| self.chunks.read_blocking(key).ok_or("it is not here");
            let (app, origin) = (self.app.ndx, self.genesis.origin_of(self.app.ndx));
            match restore(self.cluster, kept.checkpoint(), self.maker, self.levels, origin, read) {
                Ok(machine) => return Ok(Some(machine)),
                // It is whole: going on without it would be to forget what this node knows.
                Err(why) if why.is_too_new() => return Err(StartError::TooNew { app, why }),
                Err(why) => error!(%app, slot = %kept.checkpoint().slot, %why, "a snapshot cannot be used"),
            }
        }
        Ok(None)
    }
}

/// Supplies the files to which the state refers, as far as they are on this disk; the applier gets the others from the
/// other nodes.
fn supply(machine: &mut Machine, content: &Content) {
    let wanted = machine.wanted();
    let mut missing = 0;
    for key in &wanted {
        match content.read_blocking(*key) {
            Some(file) => machine.supply(key, &file),
            None => missing += 1,
        }
    }
    if missing > 0 {
        let app = machine.state().app_ndx;
        warn!(%app, missing, of = wanted.len(), "files are missing on this disk; the other nodes are asked for them");
    }
}

/// Forgets the snapshots of applications that are to be made again.
fn forget_what_is_wrong(
    config: &Config,
    genesis: &Genesis,
    folder: &Folder,
    kept: &mut Vec<Kept>,
) -> std::io::Result<()> {
    for app in genesis.apps.iter().filter(|app| divergence::is_to_repair(&config.data_dir, app.ndx)) {
        let wrong = kept.extract_if(.., |kept| kept.checkpoint().app == app.ndx);
        wrong.into_iter().try_for_each(|kept| folder.forget(kept.checkpoint()))?;
        divergence::is_repaired(&config.data_dir, app.ndx)?;
        info!(app = %app.ndx, "the state is made again, since it was not that of the others");
    }
    Ok(())
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
