//! Founds a cluster that goes on from the states of another one: in a directory of its own, with an id of its own, for new nodes
//! or for those that were members of the other one.
//!
//! Each node gets its data directory at once, so that all of them start with the states, and none has to wait for another.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;
use synod_auth::{
    Algorithm, CertificateAuthority, Genesis, GenesisNode, Origin, OriginApp, PublicKey, SigningKey,
};
use synod_journal::Stamp;
use synod_machine::snapshot::digest_without_cluster;
use synod_machine::{Members, Succession, View};
use synod_node::apps;
use synod_node::config::Address;
use synod_node::seed::Seed;
use synod_types::{AppNdx, ClusterId, Digest, Level, NodeId};

use super::node_files::{create, server_names};
use super::nodes::NodeArgs;
use super::{CA, CA_KEY, CLIENT, GENESIS, Layout, NodeFiles, NodePlan, Plan};
use super::{client_toml, make_directory, node_toml};
use crate::exit::Failure;
use crate::programs::is_here;
use crate::public_key::{self, Holds};
use crate::time;

/// Who gets the states.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The new cluster")]
pub(crate) struct HeirArgs {
    /// The directory to make, with all files of the new cluster
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The cluster's name, for people [default: that of the cluster before]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    nodes: NodeArgs,
    /// The directory of the cluster before, as `synod init` made it: the same nodes, with the keys, certificates and addresses that
    /// they have there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["nodes", "host", "hosts", "base_port", "node_dirs", "no_dns"])]
    members_of: Option<PathBuf>,
    /// Where each node keeps its logs, on its host; by default beside its configuration
    #[arg(long, value_name = "PATH")]
    node_data_dir: Option<String>,
    /// The private key with which the tools sign in the new cluster: of somebody who commanded in the one before
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
}

/// The cluster before, as far as it is known.
pub(crate) struct Before<'a> {
    pub(crate) genesis: &'a Genesis,
    pub(crate) cluster: ClusterId,
    /// The states of all its applications, in the order of genesis.
    pub(crate) views: &'a [View],
}

impl Before<'_> {
    /// The names of the applications in processes of their own.
    pub(crate) fn lanes(&self) -> Vec<String> {
        let elsewhere = self.genesis.apps.iter().filter(|app| !is_here(app));
        elsewhere.map(|app| app.name.clone()).collect()
    }

    /// What the genesis document of the new cluster says; each state is on the level that it names itself.
    fn level(&self) -> Level {
        self.views.iter().map(View::level).min().unwrap_or(Level::NEWEST)
    }
}

/// A node of the new cluster.
struct Heir {
    plan: NodePlan,
    key: PublicKey,
    certificate: Vec<u8>,
    /// `None`: only the node itself has it.
    secret: Option<SigningKey>,
}

/// The new cluster.
pub(crate) struct Inherited {
    pub(crate) directory: PathBuf,
    pub(crate) genesis: Genesis,
    pub(crate) cluster: ClusterId,
    pub(crate) nodes: Vec<InheritedNode>,
}

/// One of its nodes.
pub(crate) struct InheritedNode {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) plan: NodePlan,
    pub(crate) config: PathBuf,
    /// The data directory that was made.
    pub(crate) data: PathBuf,
    /// Where the configuration looks for it, if that is elsewhere.
    pub(crate) data_goes_to: Option<String>,
    /// Where the node's key has to be put, if only the node has it.
    pub(crate) key_goes_to: Option<PathBuf>,
}

impl HeirArgs {
    /// The directory that is to be made.
    pub(crate) fn directory(&self) -> &Path {
        &self.dir
    }

    /// Founds the cluster. `files` gives every file to which the states refer to what it is given. Nothing is written before it is
    /// known that the genesis document is in order.
    pub(crate) fn found(
        &self,
        before: &Before<'_>,
        by: &str,
        files: impl FnOnce(&mut dyn FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Inherited> {
        let (heirs, layout, authority) = self.heirs(before)?;
        let plan = Plan {
            name: self.name.clone().unwrap_or_else(|| before.genesis.name.clone()),
            nodes: heirs.iter().map(|heir| heir.plan.clone()).collect(),
            apps: before.genesis.apps.clone(),
            lanes: before.lanes(),
            front_ends: false,
            administrators: 0,
            signatures_needed: before.genesis.signatures_needed,
            level: before.level(),
            retry_delay: None,
            layout,
            data_dir: self.node_data_dir.clone(),
        };
        let document = genesis(&plan.name, before, &heirs).to_bytes();
        let (genesis, cluster) = Genesis::parse(&document)?;
        let succession = apps::succession(&genesis, cluster).expect("it was given an origin");
        let views: Vec<View> = before.views.iter().map(|view| view.succeeded_by(&succession)).collect();

        make_directory(&self.dir, layout)?;
        let at = |name: &str| self.dir.join(name);
        match &authority {
            Authority::New(authority) => authority.save_new(at(CA), at(CA_KEY))?,
            Authority::Same(certificates) => create(&at(CA), certificates)?,
        }
        create(&at(GENESIS), &document)?;
        let mut seeds = Vec::new();
        let mut nodes = Vec::new();
        for heir in &heirs {
            let (name, id) = (&heir.plan.name, NodeId(heir.key.id()));
            let files = NodeFiles::of(layout, name);
            let config = at(&files.config);
            if layout == Layout::NodeDirectories {
                fs::create_dir_all(at(name)).with_context(|| format!("cannot make {name}"))?;
                create(&at(name).join(CA), &fs::read(at(CA)).context("cannot read what was just written")?)?;
                create(&at(name).join(GENESIS), &document)?;
            }
            if let Some(secret) = &heir.secret {
                secret.save_new(at(&files.key))?;
            }
            create(&at(&files.certificate), &heir.certificate)?;
            create(&config, node_toml(&plan, &heir.plan, by).as_bytes())?;
            let data = config.with_file_name(format!("data-{name}"));
            let ndxs: Vec<AppNdx> = genesis.apps.iter().map(|app| app.ndx).collect();
            let mut seed = Seed::begin(&data, Stamp { cluster, node: id }, &ndxs)?;
            views.iter().try_for_each(|view| seed.state(view))?;
            seeds.push(seed);
            nodes.push(InheritedNode {
                name: name.clone(),
                id,
                plan: heir.plan.clone(),
                config,
                data,
                data_goes_to: self.node_data_dir.clone(),
                key_goes_to: heir.secret.is_none().then(|| at(&files.key)),
            });
        }
        files(&mut |file| Ok(seeds.iter_mut().try_for_each(|seed| seed.file(file))?))?;
        seeds.into_iter().try_for_each(Seed::finish)?;
        let key = match &self.sign_with {
            Some(path) => Some(std::path::absolute(path)?.to_string_lossy().into_owned()),
            None => None,
        };
        // Last, so that where it is everything is.
        create(&at(CLIENT), client_toml(&plan, key.as_deref()).as_bytes())?;
        Ok(Inherited { directory: self.dir.clone(), genesis, cluster, nodes })
    }

    fn heirs(&self, before: &Before<'_>) -> anyhow::Result<(Vec<Heir>, Layout, Authority)> {
        if let Some(directory) = &self.members_of {
            let members = before.views.iter().find_map(|view| view.authority().members());
            let members = members.context("no state says who the members were")?;
            let (heirs, layout) = same_nodes(directory, members)?;
            let path = directory.join(CA);
            let certificates = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok((heirs, layout, Authority::Same(certificates)));
        }
        let plans = self.nodes.plans(&before.genesis.apps)?;
        let name = self.name.as_ref().unwrap_or(&before.genesis.name);
        let authority = CertificateAuthority::generate(&format!("synod {name} authority"))?;
        let heir = |plan: NodePlan| {
            let secret = SigningKey::generate(Algorithm::Ed25519);
            let certificate = authority.issue_node(secret.public(), &server_names(&plan));
            let certificate = certificate.with_context(|| format!("node {}", plan.name))?.into_bytes();
            anyhow::Ok(Heir { key: secret.public().clone(), secret: Some(secret), plan, certificate })
        };
        let heirs = plans.into_iter().map(heir).collect::<anyhow::Result<_>>()?;
        Ok((heirs, self.nodes.layout(), Authority::New(Box::new(authority))))
    }
}

/// Who vouches for the nodes' certificates.
enum Authority {
    New(Box<CertificateAuthority>),
    Same(Vec<u8>),
}

fn genesis(name: &str, before: &Before<'_>, heirs: &[Heir]) -> Genesis {
    let node = |heir: &Heir| GenesisNode { name: heir.plan.name.clone(), key: heir.key.clone() };
    // They command nothing by this document: who commands is in the states.
    let administrators = before.genesis.administrators.clone();
    let apps = before.genesis.apps.clone();
    let nodes = heirs.iter().map(node).collect();
    let genesis = Genesis::new(name, time::now(), nodes, administrators, apps);
    let epoch = Succession::epoch_behind(before.views);
    let origin = Origin { cluster: before.cluster, epoch, apps: Vec::new() };
    let genesis = Genesis {
        signatures_needed: before.genesis.signatures_needed,
        level: before.level(),
        origin: Some(origin),
        ..genesis
    };
    // What a state is worth does not depend on the cluster's id, which depends on it.
    let succession = apps::succession(&genesis, ClusterId::default()).expect("it was given an origin");
    let app = |view: &View| {
        let view = view.succeeded_by(&succession);
        let state = digest_without_cluster(&view.snapshot()).expect("a snapshot is not that short");
        OriginApp {
            ndx: view.app_ndx,
            slot: view.applied,
            state_ndx: view.state_ndx,
            chain: view.chain,
            state,
        }
    };
    let apps = before.views.iter().map(app).collect();
    Genesis { origin: Some(Origin { cluster: before.cluster, epoch, apps }), ..genesis }
}

/// The parts of a node's configuration that say what it is and where.
#[derive(Deserialize)]
struct NodeConfig {
    me: Me,
    backend: Listen,
    http: Listen,
    dns: Option<Dns>,
}

#[derive(Deserialize)]
struct Me {
    id: String,
    addr: String,
    tls_config_info: Tls,
}

#[derive(Deserialize)]
struct Tls {
    cert_path: PathBuf,
    key_path: PathBuf,
}

#[derive(Deserialize)]
struct Listen {
    addr: String,
}

#[derive(Deserialize)]
struct Dns {
    addr: Option<String>,
    #[serde(default)]
    addrs: Vec<String>,
}

/// The members, as their files in the cluster's directory have them.
fn same_nodes(directory: &Path, members: &Members) -> anyhow::Result<(Vec<Heir>, Layout)> {
    let name = directory.display();
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read the directory {name}"))? {
        let path = entry?.path();
        let file_name = path.file_name().unwrap_or_default();
        if path.join("node.toml").is_file() {
            apart.push(path.join("node.toml"));
        } else if path.extension().is_some_and(|end| end == "toml") && file_name != CLIENT {
            together.push(path);
        }
    }
    let layout = if together.is_empty() { Layout::NodeDirectories } else { Layout::Together };
    let mut known = Vec::new();
    for path in together.iter().chain(&apart) {
        known.push(heir(path).with_context(|| format!("{}", path.display()))?);
    }
    let mut heirs = Vec::new();
    for member in members.iter() {
        let place = known.iter().position(|heir| NodeId(heir.key.id()) == member.id);
        let place = place.ok_or_else(|| {
            let (member, id) = (&member.name, member.id.short());
            Failure::Usage(format!(
                "in {name} is no configuration with a certificate of {member} ({id}), which is a member; found new nodes with --nodes or \
                 --hosts, or put its files there"
            ))
        })?;
        heirs.push(known.swap_remove(place));
    }
    Ok((heirs, layout))
}

fn heir(path: &Path) -> anyhow::Result<Heir> {
    let text = fs::read_to_string(path)?;
    let config: NodeConfig = toml::from_str(&text).context("it is no configuration of a node")?;
    let address = |text: &str| Address::parse(text, 1..=u16::MAX);
    let dns = config.dns.and_then(|dns| dns.addr.or_else(|| dns.addrs.into_iter().next()));
    let plan = NodePlan {
        name: config.me.id,
        mesh: address(&config.me.addr)?,
        backend: address(&config.backend.addr)?,
        http: address(&config.http.addr)?,
        dns: dns.as_deref().map(address).transpose()?,
    };
    let beside = |file: &Path| path.parent().unwrap_or(Path::new("")).join(file);
    let certificate = beside(&config.me.tls_config_info.cert_path);
    let (key, holds) = public_key::load(&certificate)?;
    ensure!(holds == Holds::Certificate, "{} is no certificate", certificate.display());
    let secret = beside(&config.me.tls_config_info.key_path);
    let secret = secret.exists().then(|| SigningKey::load(&secret)).transpose()?;
    if let Some(secret) = &secret {
        let of = |key: &PublicKey| -> Digest { key.id() };
        ensure!(of(secret.public()) == of(&key), "its key is not that of its certificate");
    }
    let certificate = fs::read(&certificate)?;
    Ok(Heir { plan, key, certificate, secret })
}
