//! How a tool reaches the cluster: the client file that `synod init` writes, and the options that take the place of
//! what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustls::RootCertStore;
use serde::Deserialize;
use synod_app_zones::ZonesApp;
use synod_auth::{Genesis, SigningKey, tls};
use synod_client::{Client, ClientConfig, Commander, Endpoint, Timeouts};
use synod_types::{AppNdx, ClusterId};

use crate::exit::Failure;
use crate::reader::{HttpNode, Reader};

/// The client file that is taken if none is given, where it is there.
const CLIENT_DEFAULT: &str = "client.toml";

/// Options of every tool that talks to a cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The client file, which `synod init` writes [default: client.toml]
    #[arg(long, value_name = "FILE", env = "SYNOD_CLIENT", hide_env_values = true)]
    client: Option<PathBuf>,
    /// A commanders' port instead of those in the client file; may be repeated. NAME is what the node's certificate has
    /// to carry, if that is not the host
    #[arg(long, value_name = "[NAME=]HOST:PORT")]
    endpoint: Vec<String>,
    /// A readers' port instead of those in the client file; may be repeated
    #[arg(long, value_name = "[https://]HOST:PORT")]
    http: Vec<String>,
    /// The certificate of the authority behind readers' ports with https, where it is not the cluster's
    #[arg(long, value_name = "FILE")]
    http_ca: Option<PathBuf>,
    /// The certificate of the cluster's authority
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The genesis document of the cluster
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The private key that signs
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Seconds after which a tool gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// The client file.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    genesis: Option<PathBuf>,
    ca: Option<PathBuf>,
    http_ca: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    nodes: Vec<KnownNode>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct KnownNode {
    name: String,
    backend: Option<String>,
    http: Option<String>,
    dns: Option<String>,
}

/// What the options and the client file come to.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    genesis: Option<PathBuf>,
    ca: Option<PathBuf>,
    http_ca: Option<PathBuf>,
    key: Option<PathBuf>,
    endpoints: Vec<Endpoint>,
    http: Vec<HttpNode>,
    timeout: Duration,
}

impl Connection {
    /// With this client file and nothing else.
    pub(crate) fn by_file(client: PathBuf, timeout: Duration) -> Connection {
        Connection { client: Some(client), timeout: timeout.as_secs(), ..Connection::default() }
    }

    /// Reads at these nodes, and knows the cluster by its genesis document.
    pub(crate) fn reading(
        client: Option<PathBuf>,
        genesis: Option<PathBuf>,
        http: Vec<String>,
        timeout: Duration,
    ) -> Connection {
        Connection { client, genesis, http, timeout: timeout.as_secs(), ..Connection::default() }
    }

    /// Reads the client file, and puts the options in its place.
    pub(crate) fn cluster(&self) -> anyhow::Result<Cluster> {
        let (file, directory) = match &self.client {
            Some(path) => (ClientFile::load(path)?, path.parent().unwrap_or(Path::new(""))),
            None if Path::new(CLIENT_DEFAULT).exists() => {
                (ClientFile::load(Path::new(CLIENT_DEFAULT))?, Path::new(""))
            }
            None => (ClientFile::default(), Path::new("")),
        };
        let path = |option: &Option<PathBuf>, in_file: Option<PathBuf>| {
            option.clone().or_else(|| in_file.map(|path| directory.join(path)))
        };
        let endpoints = if self.endpoint.is_empty() {
            let known = |node: &KnownNode| Some(Endpoint::named(node.backend.clone()?, node.name.clone()));
            file.nodes.iter().filter_map(known).collect()
        } else {
            self.endpoint.iter().map(|text| endpoint(text)).collect()
        };
        let http = if self.http.is_empty() {
            let known = |node: &KnownNode| {
                Some(HttpNode::named(node.name.clone(), node.http.as_ref()?).with_dns(node.dns.clone()))
            };
            file.nodes.iter().filter_map(known).collect()
        } else {
            self.http.iter().map(|address| HttpNode::named(address.clone(), address)).collect()
        };
        Ok(Cluster {
            genesis: path(&self.genesis, file.genesis),
            ca: path(&self.ca, file.ca),
            http_ca: path(&self.http_ca, file.http_ca),
            key: path(&self.sign_with, file.key),
            endpoints,
            http,
            timeout: Duration::from_secs(self.timeout),
        })
    }
}

impl ClientFile {
    fn load(path: &Path) -> anyhow::Result<ClientFile> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the client file {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the client file {} is wrong", path.display()))
    }
}

fn endpoint(text: &str) -> Endpoint {
    match text.split_once('=') {
        Some((name, address)) => Endpoint::named(address, name),
        None => Endpoint::new(text),
    }
}

impl Cluster {
    /// The founding document, and which cluster it founds.
    pub(crate) fn genesis(&self) -> anyhow::Result<(Genesis, ClusterId)> {
        let path = known(&self.genesis, "the genesis document", "--genesis")?;
        Genesis::parse(&self.genesis_bytes()?).with_context(|| format!("{}", path.display()))
    }

    /// The founding document's very bytes: every node has the same.
    pub(crate) fn genesis_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let path = known(&self.genesis, "the genesis document", "--genesis")?;
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The file with the certificates of the cluster's authorities.
    pub(crate) fn ca(&self) -> Result<&Path, Failure> {
        known(&self.ca, "the authority's certificate", "--ca")
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> anyhow::Result<SigningKey> {
        Ok(SigningKey::load(known(&self.key, "a key to sign with", "--sign-with")?)?)
    }

    /// A client that signs with the key.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.client_of(self.key()?)
    }

    /// A client that signs with `key`.
    pub(crate) fn client_of(&self, key: SigningKey) -> anyhow::Result<Client> {
        let (_, cluster) = self.genesis()?;
        if self.endpoints.is_empty() {
            return Err(missing("a commanders' port", "--endpoint").into());
        }
        let roots = tls::load_roots(known(&self.ca, "the authority's certificate", "--ca")?)?;
        let config = ClientConfig {
            endpoints: self.endpoints.clone(),
            tls: Arc::new(tls::backend_client(&roots, &[])?),
            commander: Commander::new(Arc::new(key), cluster),
            timeouts: timeouts(self.timeout),
        };
        Ok(Client::new(config)?)
    }

    /// How long a tool is patient.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The commanders' ports.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The same, with the commanders' port of one node only.
    pub(crate) fn only_at(&self, node: &str) -> Cluster {
        let endpoints = self.endpoints.iter().filter(|endpoint| endpoint.server_name == node);
        Cluster { endpoints: endpoints.cloned().collect(), ..self.clone() }
    }

    /// What reads over HTTP.
    pub(crate) fn reader(&self) -> anyhow::Result<Reader> {
        if self.http.is_empty() {
            return Err(missing("a readers' port", "--http").into());
        }
        let roots = if self.http.iter().any(HttpNode::is_encrypted) {
            self.readers_roots()?
        } else {
            RootCertStore::empty()
        };
        Reader::new(self.http.clone(), &Arc::new(roots), self.timeout)
    }

    /// Who vouches for readers' ports with https: the cluster's authority, and the one that is named for them.
    fn readers_roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for path in [&self.ca, &self.http_ca].into_iter().flatten() {
            roots.extend(tls::load_roots(path)?.roots.iter().cloned());
        }
        if roots.is_empty() {
            return Err(missing("the certificate of the authority behind https", "--http-ca").into());
        }
        Ok(roots)
    }

    /// The zones application that a number or a name stands for; if none is given, the first one, as for the name
    /// servers.
    pub(crate) fn zones_app(&self, text: Option<&str>) -> anyhow::Result<AppNdx> {
        let (genesis, _) = self.genesis()?;
        if let Some(text) = text {
            let app = find_app(&genesis, text)?;
            let is_zones = genesis.apps.iter().any(|found| found.ndx == app && found.kind == ZonesApp::KIND);
            let other = || Failure::Usage(format!("application {app} is not of kind {:?}", ZonesApp::KIND));
            return is_zones.then_some(app).ok_or_else(|| other().into());
        }
        let first = genesis.apps.iter().find(|app| app.kind == ZonesApp::KIND).map(|app| app.ndx);
        let none = || Failure::Usage("this cluster has no application of kind \"zones\"".to_owned());
        Ok(first.ok_or_else(none)?)
    }

    /// The application that a number or a name stands for.
    pub(crate) fn app(&self, text: &str) -> anyhow::Result<AppNdx> {
        let (genesis, _) = self.genesis()?;
        find_app(&genesis, text).map_err(Into::into)
    }
}

/// No single attempt takes longer than all of them together.
fn timeouts(total: Duration) -> Timeouts {
    let Timeouts { connect, attempt, total: _, upload: _, idle } = Timeouts::default();
    // An upload may take long, as long as it comes further.
    Timeouts { connect: connect.min(total), attempt: attempt.min(total), total, upload: total, idle }
}

/// The application that a number or a name stands for.
pub(crate) fn find_app(genesis: &Genesis, text: &str) -> Result<AppNdx, Failure> {
    let ndx = text.parse().ok().map(AppNdx);
    // A number wins over a name that looks like one.
    let by_ndx = genesis.apps.iter().find(|app| Some(app.ndx) == ndx);
    let found = by_ndx.or_else(|| genesis.apps.iter().find(|app| app.name == text));
    found.map(|app| app.ndx).ok_or_else(|| {
        let apps: Vec<String> =
            genesis.apps.iter().map(|app| format!("{} ({})", app.ndx, app.name)).collect();
        Failure::Usage(format!("this cluster has no application {text:?}; it has {}", apps.join(", ")))
    })
}

fn known<'a>(path: &'a Option<PathBuf>, what: &str, option: &str) -> Result<&'a Path, Failure> {
    path.as_deref().ok_or_else(|| missing(what, option))
}

fn missing(what: &str, option: &str) -> Failure {
    Failure::Usage(format!(
        "{what} is not known: give {option}, or --client FILE (or $SYNOD_CLIENT) with the client.toml that `synod init` made"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        (directory, Connection::by_file(path, Duration::from_secs(1)))
    }

    const FILE: &str = "genesis = \"genesis.json\"\nca = \"/etc/ca.pem\"\n[[nodes]]\nname = \"node1\"\n\
                        backend = \"a:1\"\nhttp = \"a:2\"\n[[nodes]]\nname = \"node2\"\nhttp = \"b:2\"\n";

    #[test]
    fn options_take_the_place_of_what_is_in_the_file() {
        let (directory, mut connection) = written(FILE);
        let cluster = connection.cluster().unwrap();
        assert_eq!(cluster.genesis, Some(directory.path().join("genesis.json")));
        assert_eq!(cluster.ca, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(cluster.endpoints, [Endpoint::named("a:1", "node1")]);
        assert_eq!(cluster.http.len(), 2);

        connection.ca = Some(PathBuf::from("other.pem"));
        connection.endpoint = vec!["node9=c:1".to_owned(), "d:1".to_owned()];
        let cluster = connection.cluster().unwrap();
        assert_eq!(cluster.ca, Some(PathBuf::from("other.pem")));
        assert_eq!(cluster.endpoints, [Endpoint::named("c:1", "node9"), Endpoint::named("d:1", "d")]);
    }

    #[test]
    fn what_is_missing_is_said_with_its_option() {
        let (_directory, connection) = written("");
        let cluster = connection.cluster().unwrap();
        assert!(cluster.client().err().unwrap().to_string().contains("--sign-with"));
        assert!(cluster.reader().err().unwrap().to_string().contains("--http"));
        let (_directory, connection) = written("[[nodes]]\nname = \"a\"\nhttp = \"https://a\"");
        let cluster = connection.cluster().unwrap();
        assert!(cluster.reader().err().unwrap().to_string().contains("--http-ca"));
        let (_directory, connection) = written("endpoints = []");
        assert!(format!("{:#}", connection.cluster().unwrap_err()).contains("endpoints"));
    }
}
