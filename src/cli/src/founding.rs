//! Founds a cluster: makes its authority, the keys and certificates of its nodes, the genesis document, the
//! administrators' keys, and a configuration for each node and for the tools.
//!
//! Nothing is ever overwritten, and nothing is written before it is known that the genesis document is in order. What a node's
//! files are and what is in them is in [`node_files`], for nodes that come later, too.

pub(crate) mod heirs;
pub(crate) mod inherited;
pub(crate) mod node_files;
pub(crate) mod nodes;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use synod_auth::{
    Algorithm, CertificateAuthority, Genesis, GenesisAdministrator, GenesisApp, GenesisNode, SigningKey,
};
use synod_node::apps::KINDS;
use synod_node::config::LaneConfig;
use synod_types::{AppNdx, ClusterId, CommanderId, Level, NodeId};

pub use crate::founding::node_files::{Layout, NodeFiles, NodePlan};
use crate::founding::node_files::{NodeText, Peer, create, in_client_file, server_names};
use crate::time;

/// What to found.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster's name.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<NodePlan>,
    /// Its applications.
    pub apps: Vec<GenesisApp>,
    /// The names of those applications that are processes of their own; they may be of any kind that this program does not have.
    pub lanes: Vec<String>,
    /// Whether front ends in processes of their own find each node.
    pub front_ends: bool,
    /// How many administrators it has at first.
    pub administrators: usize,
    /// How many of them must sign each change of who commands.
    pub signatures_needed: u32,
    /// By which rules its applications begin.
    pub level: Level,
    /// The `retry_delay` of every node; `None`: the default.
    pub retry_delay: Option<Duration>,
    /// Where the files of a node are.
    pub layout: Layout,
    /// Where each node keeps its logs, on its host; `None`: beside its configuration.
    pub data_dir: Option<String>,
}

/// A founded cluster.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The directory with everything.
    pub directory: PathBuf,
    /// SHA3-256 of the genesis document.
    pub cluster: ClusterId,
    /// The genesis document.
    pub genesis: Genesis,
    /// The first administrators; the tools sign with the key of the first one.
    pub administrators: Vec<FoundedAdministrator>,
    /// The nodes, as planned.
    pub nodes: Vec<FoundedNode>,
}

/// An administrator of a founded cluster.
#[derive(Clone, Debug)]
pub struct FoundedAdministrator {
    /// The name in the genesis document.
    pub name: String,
    /// SHA3-256 of its key.
    pub id: CommanderId,
    /// The file with its private key.
    pub key: PathBuf,
}

/// A node of a founded cluster.
#[derive(Clone, Debug)]
pub struct FoundedNode {
    /// As planned.
    pub plan: NodePlan,
    /// SHA3-256 of its key.
    pub id: NodeId,
    /// Its configuration.
    pub config: PathBuf,
}

/// The key-value application of a cluster that is founded without a word on its applications.
pub const KV: AppNdx = AppNdx(1);
/// Its zones application.
pub const ZONES: AppNdx = AppNdx(2);

/// The applications of such a cluster.
pub fn default_apps() -> Vec<GenesisApp> {
    let app = |ndx, kind: &str| GenesisApp { ndx, name: kind.to_owned(), kind: kind.to_owned() };
    vec![app(KV, "kv"), app(ZONES, "zones")]
}

/// The first administrator's key; those of the others are admin2.pem, admin3.pem and so on.
pub const ADMIN_KEY: &str = "admin.pem";
/// The authority's certificate.
pub const CA: &str = "ca.pem";
/// The authority's key.
pub const CA_KEY: &str = "ca-key.pem";
/// The tools' configuration.
pub const CLIENT: &str = "client.toml";
/// The genesis document.
pub const GENESIS: &str = "genesis.json";

/// Founds a cluster in a directory that is empty or not there yet.
///
/// # Errors
/// What is wrong with the plan, or in the way.
pub fn found(directory: &Path, plan: &Plan) -> anyhow::Result<Founded> {
    let keys: Vec<SigningKey> = plan.nodes.iter().map(|_| SigningKey::generate(Algorithm::Ed25519)).collect();
    let administrators: Vec<(String, SigningKey)> = (1..=plan.administrators)
        .map(|n| (admin_name(n), SigningKey::generate(Algorithm::Ed25519)))
        .collect();
    let document = genesis(plan, &keys, &administrators).to_bytes();
    let (genesis, cluster) = Genesis::parse(&document)?;
    check_kinds(plan, &genesis)?;
    let authority = CertificateAuthority::generate(&format!("synod {} authority", plan.name))?;
    let certificates = plan.nodes.iter().zip(&keys).map(|(node, key)| {
        let certificate = authority.issue_node(key.public(), &server_names(node));
        certificate.with_context(|| format!("node {}", node.name))
    });
    let certificates = certificates.collect::<anyhow::Result<Vec<String>>>()?;

    make_directory(directory, plan.layout)?;
    let at = |name: &str| directory.join(name);
    authority.save_new(at(CA), at(CA_KEY))?;
    let mut founded_administrators = Vec::new();
    for (name, key) in administrators {
        let (id, file) = (CommanderId(key.id()), at(&format!("{name}.pem")));
        key.save_new(&file)?;
        founded_administrators.push(FoundedAdministrator { name, id, key: file });
    }
    create(&at(GENESIS), &document)?;
    let mut nodes = Vec::new();
    for ((node, key), certificate) in plan.nodes.iter().zip(&keys).zip(certificates) {
        let files = NodeFiles::of(plan.layout, &node.name);
        let config = at(&files.config);
        if plan.layout == Layout::NodeDirectories {
            fs::create_dir_all(at(&node.name)).with_context(|| format!("cannot make {}", node.name))?;
            let authority = fs::read(at(CA)).context("cannot read what was just written")?;
            create(&at(&node.name).join(CA), &authority)?;
            create(&at(&node.name).join(GENESIS), &document)?;
        }
        key.save_new(at(&files.key))?;
        create(&at(&files.certificate), certificate.as_bytes())?;
        create(&config, node_toml(plan, node, BY_INIT).as_bytes())?;
        nodes.push(FoundedNode { plan: node.clone(), id: NodeId(key.id()), config });
    }
    // Last, so that where it is everything is.
    create(&at(CLIENT), client_toml(plan, Some(ADMIN_KEY)).as_bytes())?;
    let (directory, administrators) = (directory.to_owned(), founded_administrators);
    Ok(Founded { directory, cluster, genesis, administrators, nodes })
}

/// Every application is either of a kind that this program has, or in a process of its own.
fn check_kinds(plan: &Plan, genesis: &Genesis) -> anyhow::Result<()> {
    for lane in &plan.lanes {
        lane_of(lane).app_of(genesis).map_err(anyhow::Error::msg)?;
    }
    let is_known = |app: &&GenesisApp| KINDS.contains(&app.kind.as_str()) || plan.lanes.contains(&app.name);
    match plan.apps.iter().find(|app| !is_known(app)) {
        None => Ok(()),
        Some(GenesisApp { ndx, name, kind }) => bail!(
            "application {ndx} is to be of kind {kind:?}, and this program has: {}. If it is to be a process of its own, say so: --lane \
             {name}",
            KINDS.join(", ")
        ),
    }
}

/// What a node's configuration says of an application in a process of its own.
fn lane_of(app: &str) -> LaneConfig {
    let (socket, command, users, group) = (None, Vec::new(), Vec::new(), None);
    LaneConfig { app: app.to_owned(), socket, command, users, group, answer: Duration::default() }
}

/// What the nth administrator is called, and its key's file.
fn admin_name(n: usize) -> String {
    if n == 1 { "admin".to_owned() } else { format!("admin{n}") }
}

fn genesis(plan: &Plan, keys: &[SigningKey], administrators: &[(String, SigningKey)]) -> Genesis {
    let nodes = plan.nodes.iter().zip(keys);
    let nodes = nodes.map(|(node, key)| GenesisNode { name: node.name.clone(), key: key.public().clone() });
    let administrators = administrators.iter();
    let administrators = administrators
        .map(|(name, key)| GenesisAdministrator { name: name.clone(), key: key.public().clone() })
        .collect();
    let genesis =
        Genesis::new(plan.name.clone(), time::now(), nodes.collect(), administrators, plan.apps.clone());
    Genesis { signatures_needed: plan.signatures_needed, level: plan.level, ..genesis }
}

/// What a configuration says of who wrote it.
const BY_INIT: &str = "synod init";

fn node_toml(plan: &Plan, node: &NodePlan, by: &str) -> String {
    let place = plan.nodes.iter().position(|other| other.name == node.name).unwrap_or_default() + 1;
    let others = plan.nodes.iter().filter(|other| other.name != node.name);
    let text = NodeText {
        headline: format!("Node {place} of {}, as `{by}` writes it", plan.nodes.len()),
        node,
        layout: plan.layout,
        retry_delay: plan.retry_delay,
        data_dir: plan.data_dir.as_deref(),
        // Their ids are in the genesis document.
        others: others
            .map(|other| Peer { name: other.name.clone(), address: other.mesh.to_string(), id: None })
            .collect(),
    };
    let mut text = text.to_string();
    for name in &plan.lanes {
        text.push_str(&format!("\n[[lanes]]\napp = {}\n", toml::Value::from(name.as_str())));
    }
    if plan.front_ends {
        text.push_str("\n[front_ends]\n");
    }
    text
}

fn client_toml(plan: &Plan, key: Option<&str>) -> String {
    // Where there is none, it has to be put in.
    let key = match key {
        Some(key) => format!("key = {}", toml::Value::from(key)),
        None => format!("# key = \"{ADMIN_KEY}\""),
    };
    let mut text = format!(
        "# How the tools reach cluster {:?}: `synod --help` says which options take the place of what is here.\n\
         # Relative paths are relative to this file.\n\
         \n\
         genesis = \"{GENESIS}\"\n\
         ca = \"{CA}\"\n\
         # Who commands: the private key that signs.\n\
         {key}\n",
        plan.name
    );
    for node in &plan.nodes {
        write!(text, "\n{}", in_client_file(node)).expect("a String takes everything");
    }
    text
}

/// Makes the directory, unless it is there and empty. Where nodes have directories, empty ones may be there.
fn make_directory(directory: &Path, layout: Layout) -> anyhow::Result<()> {
    let name = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {name}"))?;
    let is_free = |entry: io::Result<fs::DirEntry>| -> io::Result<bool> {
        let path = entry?.path();
        Ok(layout == Layout::NodeDirectories && path.is_dir() && fs::read_dir(path)?.next().is_none())
    };
    let is_free = fs::read_dir(directory)
        .and_then(|mut entries| entries.try_fold(true, |free, entry| Ok(free & is_free(entry)?)));
    ensure!(
        is_free.with_context(|| format!("cannot read the directory {name}"))?,
        "the directory {name} is not empty: name another one, so that no key is ever mixed up or overwritten"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use synod_node::Config;
    use synod_node::config::Address;

    use super::*;

    fn plan() -> Plan {
        let address = |port| Address { host: "127.0.0.1".to_owned(), port };
        let node = |n: u16| NodePlan {
            name: format!("node{n}"),
            mesh: address(7100 + n),
            backend: address(8100 + n),
            http: address(9100 + n),
            dns: Some(address(10_100 + n)),
        };
        Plan {
            name: "test".to_owned(),
            nodes: (1..=3).map(node).collect(),
            apps: default_apps(),
            lanes: Vec::new(),
            front_ends: false,
            administrators: 1,
            signatures_needed: 1,
            level: Level::NEWEST,
            retry_delay: None,
            layout: Layout::default(),
            data_dir: None,
        }
    }

    #[test]
    fn a_node_has_a_directory_with_what_it_needs_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Some("/var/lib/\"synod".to_owned());
        let plan = Plan { layout: Layout::NodeDirectories, data_dir, ..plan() };
        fs::create_dir(directory.path().join("node2")).unwrap();
        let founded = found(directory.path(), &plan).unwrap();
        for node in &founded.nodes {
            let own = directory.path().join(&node.plan.name);
            assert_eq!(node.config, own.join("node.toml"));
            assert_eq!(Config::load(&node.config).unwrap().data_dir, Path::new("/var/lib/\"synod"));
            let mut files: Vec<_> =
                fs::read_dir(&own).unwrap().map(|file| file.unwrap().file_name()).collect();
            files.sort();
            assert_eq!(files, ["ca.pem", "genesis.json", "node-key.pem", "node.pem", "node.toml"]);
        }
        let taken = tempfile::tempdir().unwrap();
        fs::create_dir_all(taken.path().join("node1/x")).unwrap();
        assert!(found(taken.path(), &plan).unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn what_is_founded_loads() {
        let directory = tempfile::tempdir().unwrap();
        let founded = found(&directory.path().join("new/cluster"), &plan()).unwrap();
        for node in &founded.nodes {
            let config = Config::load(&node.config).unwrap();
            assert_eq!((config.me.id, config.servers.len()), (node.plan.name.clone(), 2));
        }
        assert_eq!(founded.genesis.members().len(), 3);
        let mut private = 0;
        for file in fs::read_dir(&founded.directory).unwrap() {
            let path = file.unwrap().path();
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            if fs::read_to_string(&path).unwrap().contains("PRIVATE KEY") {
                assert_eq!(mode, 0o600, "{}", path.display());
                private += 1;
            }
        }
        assert_eq!(private, 5, "the authority's, the administrator's and three nodes'");

        let again = found(&founded.directory, &plan()).unwrap_err().to_string();
        assert!(again.contains("is not empty"), "{again}");
    }

    /// The files in the source are what the program writes.
    #[test]
    fn the_shipped_three_nodes_are_as_founded() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/three-nodes");
        let plan = plan();
        for node in &plan.nodes {
            let text = fs::read_to_string(shipped.join(format!("{}.toml", node.name))).unwrap();
            assert_eq!(text, node_toml(&plan, node, BY_INIT));
        }
    }

    #[test]
    fn each_administrator_has_a_key_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan { administrators: 3, signatures_needed: 2, ..plan() };
        let founded = found(&directory.path().join("cluster"), &plan).unwrap();
        assert_eq!((founded.genesis.signatures_needed, founded.genesis.administrators.len()), (2, 3));
        for (founded, named) in founded.administrators.iter().zip(&founded.genesis.administrators) {
            assert_eq!((founded.id, &founded.name), (named.id(), &named.name));
            assert_eq!(SigningKey::load(&founded.key).unwrap().public(), &named.key);
        }
        assert_eq!(founded.administrators[0].key, founded.directory.join(ADMIN_KEY));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("cluster");
        let mut bad_name = plan();
        bad_name.nodes[0].name = "Node 1".to_owned();
        let mut bad_kind = plan();
        bad_kind.apps[0].kind = "abacus".to_owned();
        let mut no_nodes = plan();
        no_nodes.nodes.clear();
        let too_few = Plan { signatures_needed: 2, ..plan() };
        for bad in [bad_name, bad_kind, no_nodes, too_few] {
            assert!(found(&at, &bad).is_err());
            assert!(!at.exists());
        }
    }
}
