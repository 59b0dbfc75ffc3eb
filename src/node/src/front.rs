//! Front ends in a process of their own: HTTP and DNS as a node has them, over states of this process.
//!
//! The process follows each application that this program has: it takes a whole state from its node, over the node's socket for front ends,
//! and executes what is chosen behind it. So reads are as fast as in the node, and go on while the node is away. What it cannot know by
//! itself it asks for: read indexes, the cluster's picture, files, pages of the log, certificates. It has nothing on disk, and
//! believes its node.
//!
//! Start with [`Front::start`]. `line` is a connection, `asker` asks, `board` has what the node says of the cluster, `follower` follows one
//! application, `kept` has states that may be certified, `beside` gives readers what only the node has. The node's end is `fronts`.

mod asker;
mod beside;
mod board;
mod follower;
mod given;
mod kept;
mod line;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use synod_dns::Given;
use synod_dns::{Counts, DnsServer};
use synod_gateway::{AppDoor, AppPublisher, Gateway, NodeStates, ReadQuestions, ReadRefused};
use synod_http::HttpServer;
use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_types::limits::{FRONT_PICTURE_MS, FRONT_SETTLE_MS_MAX};
use synod_types::{AppNdx, Slot};
use tracing::{info, warn};

use self::asker::{Asker, Unanswered};
use self::beside::Beside;
use self::board::{Board, Looking, Publishers, Seen};
use self::follower::{FollowError, Follower, Origin};
pub use self::given::take_given;
use self::kept::Kept;
use crate::apps;
use crate::certificates::Certificates;
use crate::config::FrontConfig;
use crate::metrics::{Metrics, Source, collect_certificates, collect_name_server};
use crate::start_error::StartError;
use crate::tasks::{Fatal, Tasks};
use crate::{dns, http};

/// How often it is looked at whether the states here are those of the node.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why front ends do not start.
#[derive(Debug, thiserror::Error)]
pub enum FrontStartError {
    /// A port does not open, or a certificate cannot be used.
    #[error(transparent)]
    Port(#[from] StartError),
    /// The configuration wants DNS served from what the cluster does not have.
    #[error("dns.app: {0}")]
    NothingToServe(String),
    /// A socket was given that nobody wants.
    #[error("a socket at {0} was handed over to this process, and neither http nor dns has that address")]
    Needless(SocketAddr),
    /// This process cannot do what it is for.
    #[error("{0}")]
    Fatal(String),
}

/// Where front ends listen, with the real ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrontAddresses {
    /// The HTTP front end's port, if there is one.
    pub http: Option<SocketAddr>,
    /// The DNS front end's first port, if there is one.
    pub dns: Option<SocketAddr>,
}

/// Running front ends.
pub struct Front {
    node: String,
    addresses: FrontAddresses,
    http: Option<HttpServer>,
    dns: Option<DnsServer>,
    gateway: Gateway,
    certificates: Arc<Certificates>,
    fatal: Fatal,
    tasks: Tasks,
}

impl Front {
    /// Waits for the node, takes the states of its applications, and opens the ports, on the sockets that are given where there are any.
    ///
    /// # Errors
    /// [`FrontStartError`] says what is missing or in the way.
    pub async fn start(config: FrontConfig, given: Given) -> Result<Front, FrontStartError> {
        let fatal = Fatal::new();
        let failed = fatal.clone();
        tokio::select! {
            started = Front::begin(config, given, fatal) => started,
            why = failed.raised() => Err(FrontStartError::Fatal(why)),
        }
    }

    async fn begin(config: FrontConfig, given: Given, fatal: Fatal) -> Result<Front, FrontStartError> {
        if let Some(addr) = given::needless(&config, &given).await? {
            return Err(FrontStartError::Needless(addr));
        }
        // Before anything that records.
        let metrics = Metrics::new();
        let http_certificate = config.http.as_ref().map(http::certificate).transpose()?.flatten();
        let dns_certificate = config.dns.as_ref().map(dns::certificate).transpose()?.flatten();
        let mut tasks = Tasks::new(fatal.clone());
        let asker = Asker::new(config.socket.clone());
        let known: OnceLock<String> = OnceLock::new();
        let raise = fatal.clone();
        let is_right = move |host: &line::Host| {
            let cluster = known.get_or_init(|| host.cluster.clone());
            if *cluster != host.cluster {
                let (other, node) = (&host.cluster, &host.node);
                raise.raise(format!(
                    "{node} is of cluster {other} now, and these front ends are of {cluster}"
                ));
            }
            *cluster == host.cluster
        };
        tasks.spawn("connection to the node".to_owned(), asker.clone().run(is_right));

        let first = first_picture(&asker).await;
        let cluster = first.status.cluster_id;
        let (mut followers, mut doors, mut publishers, mut kept, mut left_out) =
            (Vec::new(), Vec::new(), Publishers::new(), BTreeMap::new(), Vec::new());
        for (&app, seen) in &first.apps {
            if seen.is_elsewhere || apps::new(&seen.kind).is_none() {
                let (name, kind) = (&seen.name, &seen.kind);
                warn!(%app, name, kind, "this application is not served here: this program does not have it");
                left_out.push((app, name.clone()));
                continue;
            }
            let origin = Origin {
                app,
                kind: seen.kind.clone(),
                cluster,
                socket: config.socket.clone(),
                levels: config.program.levels,
                sign_every: first.sign_every,
                asker: asker.clone(),
            };
            let machine =
                origin.begin().await.map_err(|why: FollowError| FrontStartError::Fatal(why.to_string()))?;
            let (door, publisher, questions) = AppDoor::open(seen.name.clone(), machine.view());
            let publisher = Arc::new(publisher);
            let views = kept.entry(app).or_insert_with(Arc::<Kept>::default);
            followers.push((
                Follower::new(origin, machine, Arc::clone(&publisher), Arc::clone(views), fatal.clone()),
                questions,
            ));
            publishers.insert(app, publisher);
            doors.push(door);
        }
        let zones = doors.iter().filter(|door| door.kind() == apps::ZONES);
        let zones: Vec<(AppNdx, String)> = zones.map(|door| (door.ndx(), door.name().to_owned())).collect();
        let dns_app = config.dns.as_ref().map(|dns| dns.app_among(&zones)).transpose();
        let dns_app = dns_app.map_err(FrontStartError::NothingToServe)?;

        let node = first.status.node_name.clone();
        let board = Arc::new(Board::new(first));
        let nodes = Arc::new(NodeStates::new());
        let publishers = Arc::new(publishers);
        for (follower, questions) in followers {
            let app = follower.app();
            tasks.spawn(format!("follower of application {app}"), follower.run());
            tasks.spawn(format!("reader of application {app}"), read(app, questions, asker.clone()));
        }
        let looking = Looking {
            asker: asker.clone(),
            board: Arc::clone(&board),
            publishers: Arc::clone(&publishers),
            nodes: Arc::clone(&nodes),
            freshness: BTreeMap::new(),
        };
        tasks.spawn("watch over the node".to_owned(), looking.run());

        let settled = settle(&board, &publishers);
        if tokio::time::timeout(Duration::from_millis(FRONT_SETTLE_MS_MAX), settled).await.is_err() {
            warn!("the ports open before these front ends are as far as their node was when they began");
        }

        let certificates =
            Arc::new(Certificates::of_front_ends_alone(http_certificate.clone(), dns_certificate.clone()));
        let beside = Arc::new(Beside { asker, board: Arc::clone(&board), kept: Arc::new(kept) });
        let shown = Arc::clone(&certificates);
        let door_of = publishers.clone();
        let gateway = Gateway::new(doors, move || board.status(&door_of, &shown.status()))
            .with_metrics(Arc::new(metrics.clone()))
            .with_files(Arc::<Beside>::clone(&beside))
            .with_log(Arc::<Beside>::clone(&beside))
            .with_snapshots(Arc::<Beside>::clone(&beside))
            .with_certificates(beside)
            .with_node_states(nodes)
            .with_left_out(left_out);

        let http = match &config.http {
            Some(http) => {
                Some(http::start(http, http_certificate.as_deref(), &given, gateway.clone()).await?)
            }
            None => None,
        };
        let dns = match config.dns.as_ref().zip(dns_app) {
            Some((dns, app)) => {
                let door = publishers[&app].door();
                Some(dns::start(dns, dns_certificate.as_deref(), &given, door).await?)
            }
            None => None,
        };
        tasks.spawn("watch over certificates".to_owned(), Arc::clone(&certificates).run());
        tasks.spawn("measurements".to_owned(), metrics.clone().keep_up());
        metrics.begin(Measured {
            certificates: Arc::clone(&certificates),
            dns: dns
                .as_ref()
                .map(|dns| -> Box<dyn Fn() -> Counts + Send + Sync> { Box::new(dns.watch_counts()) }),
        });
        let addresses = FrontAddresses {
            http: http.as_ref().map(HttpServer::local_addr),
            dns: dns.as_ref().map(DnsServer::addr),
        };
        info!(node, http = ?addresses.http, dns = ?addresses.dns, "front ends run");
        Ok(Front { node, addresses, http, dns, gateway, certificates, fatal, tasks })
    }

    /// The name of the node that these are front ends of.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where they listen.
    pub fn addresses(&self) -> FrontAddresses {
        self.addresses
    }

    /// Has the files with certificates and keys read again, as [`crate::Node::read_certificates_again`].
    pub fn read_certificates_again(&self) {
        self.certificates.read_again();
    }

    /// Returns when this process cannot go on, and why.
    pub async fn failed(&self) -> String {
        self.fatal.raised().await
    }

    /// Takes no more connections and queries, and returns when the answers in progress are sent.
    pub async fn stop(self) {
        info!("front ends stop");
        self.gateway.stop();
        if let Some(dns) = self.dns {
            dns.close().await;
        }
        if let Some(http) = self.http {
            http.close().await;
        }
        self.tasks.stop().await;
        info!("front ends stopped");
    }
}

/// Waits until what is here is as good as what the node has: who comes then is served as well as there.
async fn settle(board: &Board, publishers: &Publishers) {
    loop {
        let seen = board.seen();
        let is_settled = |(app, publisher): (&AppNdx, &Arc<AppPublisher>)| {
            seen.apps.get(app).is_none_or(|on_node| on_node.is_matched_by(publisher.door()))
        };
        if publishers.iter().all(is_settled) {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until the node says how everything is.
async fn first_picture(asker: &Asker) -> Seen {
    loop {
        if let Ok(FrontAnswer::Picture(told)) = asker.one(FrontQuestion::Picture).await {
            match Seen::of(&told) {
                Ok(seen) => return seen,
                Err(why) => warn!(why, "what the node says of the cluster makes no sense"),
            }
        }
        tokio::select! {
            () = asker.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(FRONT_PICTURE_MS)) => {}
        }
    }
}

/// Asks the node up to which slot the linearizable reads of one application have to see.
async fn read(app: AppNdx, mut questions: ReadQuestions, asker: Asker) {
    while let Some(question) = questions.next().await {
        match asker.one(FrontQuestion::Index { app: app.to_string() }).await {
            Ok(FrontAnswer::Index { slot }) => question.grant(Slot(slot)),
            Err(Unanswered::Busy) => question.refuse(ReadRefused::Busy),
            Err(Unanswered::Problem { code, .. }) if code == "busy" => question.refuse(ReadRefused::Busy),
            // Nobody else can tell.
            Ok(_) | Err(_) => question.refuse(ReadRefused::NoLeader),
        }
    }
}

/// What is counted elsewhere in this process.
struct Measured {
    certificates: Arc<Certificates>,
    dns: Option<Box<dyn Fn() -> Counts + Send + Sync>>,
}

impl Source for Measured {
    fn collect(&self) {
        collect_certificates(&self.certificates);
        if let Some(dns) = &self.dns {
            collect_name_server(&dns());
        }
    }
}
