//! A node's configuration: one TOML or JSON file, in the names that px gave its fields.
//!
//! `me`, `retry_delay` and `servers` are px's, and a px file is enough to start a node; every other field has a default
//! (see `config/node.toml`, which shows all of them). A file is read tolerantly and checked field by field, so that
//! **all** its mistakes are reported at once: [`Config::parse`] checks what is written, [`Config::load`] also that the
//! files are there, that the key is private, and that everything fits the genesis document.
//!
//! Nothing here opens a port or creates a file.

mod address;
mod archive;
mod certificates;
mod dns;
mod document;
mod fields;
mod files;
mod front;
mod http;
mod lanes;
mod log;
mod mistakes;
mod scrub;
mod snapshots;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_types::limits::{CONFIG_BYTES_MAX, MEMBERS_MAX, RETRY_DELAY_MS_MAX, THREADS_MAX};
use synod_types::{NodeId, Program};

pub use address::{Address, AddressError};
pub use certificates::Certificates;
pub use dns::{Dns, DnsTls};
use document::Value;
use fields::Fields;
pub use front::FrontConfig;
pub use http::{Http, HttpTls};
pub use lanes::{FrontEndsConfig, LaneConfig};
pub use log::LogFilter;
use mistakes::Mistakes;
pub use mistakes::{ConfigErrors, Mistake};
pub use scrub::Scrubbing;
pub use snapshots::Every;

/// What a node needs to know. Every path is absolute, or relative to the working directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// This node.
    pub me: Me,
    /// The first wait before a node that cannot be reached is tried again.
    pub retry_delay: Duration,
    /// Bytes a second, at most, with which this node helps others to catch up.
    pub catch_up_rate: u32,
    /// The other nodes.
    pub servers: Vec<Server>,
    /// The founding document of the cluster.
    pub genesis: PathBuf,
    /// Where the node keeps its logs.
    pub data_dir: PathBuf,
    /// Below so many free bytes on that disk the node takes no commands; `None`: as much as suits the disk.
    pub reserve_bytes: Option<u64>,
    /// The commanders' port, TCP and UDP.
    pub backend: Listen,
    /// The readers' port.
    pub http: Http,
    /// The name server's port; without it, none is opened.
    pub dns: Option<Dns>,
    /// Applications in processes of their own.
    pub lanes: Vec<LaneConfig>,
    /// Front ends in processes of their own; without it, there are none.
    pub front_ends: Option<FrontEndsConfig>,
    /// When a snapshot of an application is made; two of these are what the log goes back. Alike at every node, since nodes
    /// sign each other's.
    pub snapshots: Every,
    /// How certificates of states are made.
    pub certificates: Certificates,
    /// Where everything goes that is cut off from the logs; without it, that is gone.
    pub archive: Option<PathBuf>,
    /// How everything on the disk is read in the background, to find what is damaged.
    pub scrub: Scrubbing,
    /// Where signatures are verified.
    pub verify: Verify,
    /// Threads that do everything else.
    pub worker_threads: NonZero<usize>,
    /// Threads that verify signatures.
    pub verify_threads: NonZero<usize>,
    /// What is logged.
    pub log: LogFilter,
    /// The program that runs; no configuration says anything of it.
    pub program: Program,
}

/// This node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    /// Its name in the genesis document, which is in its certificate, too.
    pub id: String,
    /// Where it listens for the other nodes (UDP).
    pub addr: Address,
    /// Its certificate and key.
    pub tls_config_info: TlsConfigInfo,
}

/// PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfigInfo {
    /// The node's certificate.
    pub cert_path: PathBuf,
    /// The node's private key.
    pub key_path: PathBuf,
    /// The certificate of the cluster's authority.
    pub ca_cert_path: PathBuf,
}

/// Another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Where it is reached.
    pub addr: Address,
    /// Its name, as in its certificate.
    pub server_name: String,
    /// The hash of its key; `None`: it is one of the genesis document, which has that.
    pub id: Option<NodeId>,
}

/// Where to listen. Port 0 takes any that is free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The address.
    pub addr: Address,
}

/// Where a command's signature is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// At every node, before it accepts the command: a node with a stolen key can delay commands, not forge them.
    #[default]
    EveryReplica,
    /// At the node where the command enters: cheaper, and every node has to be trusted.
    Entry,
}

/// How a configuration file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `.toml`
    Toml,
    /// `.json`
    Json,
}

/// Milliseconds in a `retry_delay` that is not given.
const RETRY_DELAY_MS: u64 = 250;
/// What a node sends to others that catch up, in bytes a second, if it is not told otherwise: as much as a gigabit line carries.
const CATCH_UP_RATE: u32 = 128 << 20;
/// Less would make who asks lose patience with a page of the log.
const CATCH_UP_RATE_MIN: u64 = 4 << 20;
const CATCH_UP_RATE_MAX: u64 = (1 << 32) - 1;
/// More than any disk that a log would be kept on has to spare.
const RESERVE_BYTES_MAX: u64 = 1 << 50;
/// What the default ports of the back end, of HTTP and of DNS are above the port of `me.addr`.
const BACKEND_PORT_OFFSET: u16 = 1000;
const HTTP_PORT_OFFSET: u16 = 2000;
const DNS_PORT_OFFSET: u16 = 3000;

impl Config {
    /// Reads a file, and checks it against the file system and the genesis document.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every mistake.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigErrors> {
        let path = path.as_ref();
        let mut mistakes = Mistakes::default();
        let draft = read_file(path, &mut mistakes).and_then(|(text, format)| {
            // The directory of "node.toml" is "", and paths that are joined to it stay as they are.
            let directory = path.parent().unwrap_or(Path::new(""));
            Draft::read(&text, format, directory, &mut mistakes)
        });
        if let Some(draft) = &draft {
            files::check(draft, &mut mistakes);
        }
        finish(draft, mistakes, path)
    }

    /// Reads the text of a configuration; relative paths in it are relative to `directory`. Looks at no file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every mistake in what is written.
    pub fn parse(text: &str, format: Format, directory: &Path) -> Result<Config, ConfigErrors> {
        let mut mistakes = Mistakes::default();
        let draft = Draft::read(text, format, directory, &mut mistakes);
        finish(draft, mistakes, Path::new("the configuration"))
    }
}

impl Format {
    /// By the extension of a file's name.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "toml" => Some(Format::Toml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

fn read_file(path: &Path, mistakes: &mut Mistakes) -> Option<(String, Format)> {
    let format = Format::of(path);
    if format.is_none() {
        mistakes.add("", "its name has to end in .toml or .json, which says how it is written");
    }
    match std::fs::metadata(path) {
        Ok(file) if file.len() > CONFIG_BYTES_MAX => {
            mistakes.add("", format!("has more than {CONFIG_BYTES_MAX} bytes: is it the right file?"));
            return None;
        }
        Ok(_) | Err(_) => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Some((text, format?)),
        Err(why) => {
            mistakes.add("", format!("cannot be read: {why}"));
            None
        }
    }
}

fn finish(draft: Option<Draft>, mistakes: Mistakes, path: &Path) -> Result<Config, ConfigErrors> {
    mistakes.finish(path)?;
    Ok(draft.and_then(Draft::complete).expect("whatever is missing in a draft is among its mistakes"))
}

/// A configuration as far as it could be read. What is missing has been reported.
#[derive(Default)]
struct Draft {
    /// It is that of a front end and no node, of which the addresses of ports do not follow.
    is_front: bool,
    http_is_given: bool,
    id: Option<String>,
    addr: Option<Address>,
    cert_path: Option<PathBuf>,
    key_path: Option<PathBuf>,
    ca_cert_path: Option<PathBuf>,
    retry_delay: Duration,
    catch_up_rate: u32,
    servers: Vec<DraftServer>,
    genesis: PathBuf,
    data_dir: Option<PathBuf>,
    reserve_bytes: Option<u64>,
    backend: Option<Address>,
    http: Option<Http>,
    dns_is_given: bool,
    dns: Option<Dns>,
    lanes: Vec<LaneConfig>,
    front_ends: Option<FrontEndsConfig>,
    snapshots: Option<Every>,
    certificates: Certificates,
    archive: Option<PathBuf>,
    scrub: Option<Scrubbing>,
    verify: Verify,
    worker_threads: Option<NonZero<usize>>,
    verify_threads: Option<NonZero<usize>>,
    log: Option<LogFilter>,
}

struct DraftServer {
    addr: Option<Address>,
    server_name: Option<String>,
    node_id: Option<NodeId>,
}

impl Draft {
    fn read(text: &str, format: Format, directory: &Path, mistakes: &mut Mistakes) -> Option<Draft> {
        let root = document::read(text, format, mistakes)?;
        let mut fields = Fields::of("", root, mistakes);
        let mut draft = Draft::default();
        draft.read_me(fields.table("me", mistakes), directory, mistakes);

        let retry_delay = fields.number("retry_delay", 1..=RETRY_DELAY_MS_MAX, mistakes);
        draft.retry_delay = Duration::from_millis(retry_delay.unwrap_or(RETRY_DELAY_MS));
        let rate = fields.number("catch_up_rate", CATCH_UP_RATE_MIN..=CATCH_UP_RATE_MAX, mistakes);
        draft.catch_up_rate = rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(CATCH_UP_RATE);
        let servers = fields.list("servers", mistakes);
        draft.read_servers(servers, mistakes);

        draft.genesis =
            fields.file("genesis", directory, mistakes).unwrap_or_else(|| directory.join("genesis.json"));
        let default_data = || Some(directory.join(format!("data-{}", draft.id.as_ref()?)));
        draft.data_dir = fields.file("data_dir", directory, mistakes).or_else(default_data);
        draft.reserve_bytes = fields.number("reserve_bytes", 0..=RESERVE_BYTES_MAX, mistakes);
        draft.backend = draft.read_backend(&mut fields, mistakes);
        draft.http = draft.read_http(&mut fields, directory, mistakes);
        draft.read_dns(&mut fields, directory, mistakes);
        draft.lanes = Draft::read_lanes(&mut fields, directory, mistakes);
        draft.front_ends = Draft::read_front_ends(&mut fields, directory, mistakes);
        draft.snapshots = Some(Draft::read_snapshots(&mut fields, mistakes));
        draft.certificates = Draft::read_certificates(&mut fields, mistakes);
        draft.archive = Draft::read_archive(&mut fields, directory, mistakes);
        draft.scrub = Some(Draft::read_scrub(&mut fields, mistakes));

        let ways = [("every-replica", Verify::EveryReplica), ("entry", Verify::Entry)];
        draft.verify = fields.choice("verify", &ways, mistakes).unwrap_or_default();
        draft.worker_threads = threads(&mut fields, "worker_threads", mistakes);
        draft.verify_threads = threads(&mut fields, "verify_threads", mistakes);
        draft.log = fields.parsed("log", mistakes);
        fields.finish(mistakes);

        draft.check_servers(mistakes);
        draft.check_ports(mistakes);
        Some(draft)
    }

    fn read_me(&mut self, mut me: Fields, directory: &Path, mistakes: &mut Mistakes) {
        self.id = me.required_text("id", "node1", mistakes);
        self.addr = me.required_address("addr", "127.0.0.1:7101", mistakes);
        let mut tls = me.table("tls_config_info", mistakes);
        self.cert_path = tls.required_file("cert_path", "node1.pem", directory, mistakes);
        self.key_path = tls.required_file("key_path", "node1-key.pem", directory, mistakes);
        self.ca_cert_path = tls.required_file("ca_cert_path", "ca.pem", directory, mistakes);
        tls.finish(mistakes);
        me.finish(mistakes);
    }

    fn read_servers(&mut self, servers: Vec<Value>, mistakes: &mut Mistakes) {
        if servers.len() >= MEMBERS_MAX {
            let count = servers.len();
            let max = MEMBERS_MAX - 1;
            mistakes.add(
                "servers",
                format!("there are {count}; a cluster has this node and at most {max} others"),
            );
        }
        for (n, server) in servers.into_iter().enumerate() {
            let mut server = Fields::of(&format!("servers[{n}]"), server, mistakes);
            let addr = server.required_address("addr", "127.0.0.1:7102", mistakes);
            let server_name = server.required_text("server_name", "node2", mistakes);
            let node_id = server.parsed("id", mistakes);
            server.finish(mistakes);
            self.servers.push(DraftServer { addr, server_name, node_id });
        }
    }

    fn read_backend(&self, fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Address> {
        let mut backend = fields.table("backend", mistakes);
        let addr = self.read_address(&mut backend, BACKEND_PORT_OFFSET, mistakes);
        backend.finish(mistakes);
        addr
    }

    /// A port beside that for the other nodes; by default on the same host and a fixed number above.
    fn read_address(&self, listen: &mut Fields, offset: u16, mistakes: &mut Mistakes) -> Option<Address> {
        let is_given = listen.has("addr");
        let given = listen.address("addr", 0..=u16::MAX, mistakes);
        let path = listen.path("addr");
        if is_given { given } else { self.default_address(&path, offset, mistakes) }
    }

    /// The host of `me.addr`, and a port that is `offset` above.
    fn default_address(&self, path: &str, offset: u16, mistakes: &mut Mistakes) -> Option<Address> {
        if self.is_front {
            mistakes
                .add(path, format!("is missing; it is needed, for example \"127.0.0.1:{}\"", 7101 + offset));
        }
        let me = self.addr.as_ref()?;
        let port = me.port.checked_add(offset);
        if port.is_none() {
            let problem = format!(
                "its default, {offset} above the port of me.addr, is no port; give it, as \"{}:7200\"",
                me.host
            );
            mistakes.add(path, problem);
        }
        Some(Address { host: me.host.clone(), port: port? })
    }

    fn check_servers(&self, mistakes: &mut Mistakes) {
        for (n, server) in self.servers.iter().enumerate() {
            let (addr_place, name_place) =
                (format!("servers[{n}].addr"), format!("servers[{n}].server_name"));
            if server.addr.is_some() && server.addr == self.addr {
                mistakes.add(&addr_place, "is me.addr: servers holds the other nodes only");
            }
            if server.server_name.is_some() && server.server_name == self.id {
                mistakes.add(&name_place, "is me.id: servers holds the other nodes only");
            }
            let before = || self.servers[..n].iter().enumerate();
            if let Some(addr) = &server.addr
                && let Some((other, _)) = before().find(|(_, other)| other.addr.as_ref() == Some(addr))
            {
                mistakes.add(&addr_place, format!("{addr} is also that of servers[{other}]"));
            }
            if let Some(name) = &server.server_name
                && let Some((other, _)) = before().find(|(_, other)| other.server_name.as_ref() == Some(name))
            {
                mistakes.add(&name_place, format!("{name:?} is also that of servers[{other}]"));
            }
        }
    }

    fn check_ports(&self, mistakes: &mut Mistakes) {
        let http = self.http.as_ref().map(|http| &http.addr);
        let own =
            [("me.addr", self.addr.as_ref()), ("backend.addr", self.backend.as_ref()), ("http.addr", http)];
        let own = own.into_iter().filter_map(|(place, addr)| Some((place.to_owned(), addr?)));
        let ports: Vec<_> = own.chain(self.dns.iter().flat_map(Dns::ports)).collect();
        for (n, (place, addr)) in ports.iter().enumerate() {
            for (other_place, other) in &ports[..n] {
                if addr.collides_with(other) {
                    mistakes.add(place, format!("port {} is also that of {other_place}", addr.port));
                }
            }
        }
    }

    fn complete(self) -> Option<Config> {
        if self.dns_is_given && self.dns.is_none() {
            return None;
        }
        let tls_config_info = TlsConfigInfo {
            cert_path: self.cert_path?,
            key_path: self.key_path?,
            ca_cert_path: self.ca_cert_path?,
        };
        let servers = self.servers.into_iter();
        let servers = servers.map(|server| {
            Some(Server { addr: server.addr?, server_name: server.server_name?, id: server.node_id })
        });
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let half = NonZero::new(cores.get().div_ceil(2)).unwrap_or(NonZero::<usize>::MIN);
        Some(Config {
            me: Me { id: self.id?, addr: self.addr?, tls_config_info },
            retry_delay: self.retry_delay,
            catch_up_rate: self.catch_up_rate,
            servers: servers.collect::<Option<_>>()?,
            genesis: self.genesis,
            data_dir: self.data_dir?,
            reserve_bytes: self.reserve_bytes,
            backend: Listen { addr: self.backend? },
            http: self.http?,
            dns: self.dns,
            lanes: self.lanes,
            front_ends: self.front_ends,
            snapshots: self.snapshots?,
            certificates: self.certificates,
            archive: self.archive,
            scrub: self.scrub?,
            verify: self.verify,
            worker_threads: self.worker_threads.unwrap_or(cores),
            verify_threads: self.verify_threads.unwrap_or(half),
            log: self.log.unwrap_or_default(),
            program: Program::of_node(),
        })
    }
}

fn threads(fields: &mut Fields, name: &'static str, mistakes: &mut Mistakes) -> Option<NonZero<usize>> {
    let number = fields.number(name, 1..=THREADS_MAX, mistakes)?;
    usize::try_from(number).ok().and_then(NonZero::new)
}

#[cfg(test)]
mod tests;
