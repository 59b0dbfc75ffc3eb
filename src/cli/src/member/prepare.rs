//! `synod member prepare`: makes the directory of a node that is to become a member.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use synod_app_zones::ZonesApp;
use synod_auth::{Algorithm, CertificateAuthority, CertificateFacts, SigningKey};
use synod_types::NodeId;
use synod_types::name::is_name;

use super::census::{Census, ID_DIGITS_MIN};
use crate::connection::Connection;
use crate::exit::Failure;
use crate::founding::node_files::{NodeText, Peer, create, in_client_file, server_names};
use crate::founding::{CA, GENESIS, Layout, NodeFiles, NodePlan};
use crate::output::Output;

/// Make the files of a node that is to become a member
///
/// A directory with its key, a certificate of the cluster's authority, ca.pem, genesis.json, and a configuration with the present
/// members, which are asked. Nothing else happens: the node asks to become a member when it is started. For a member that has
/// lost its key or its disk, give the same name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod member prepare node4 --host d.example --ca-key ca-key.pem
  synod member prepare node4 --host 127.0.0.1 --base-port 7104 --ca-key cluster/ca-key.pem --dir cluster/node4")]
pub(super) struct Prepare {
    /// Its name
    name: String,
    /// Its host: an IP address or a name under which the others reach it
    #[arg(long)]
    host: String,
    /// The private key of the cluster's authority
    #[arg(long, value_name = "FILE")]
    ca_key: PathBuf,
    /// The directory to make [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Its port for the other nodes; its back end gets 1000 more, its HTTP 2000 more, its DNS 3000 more
    #[arg(long, default_value_t = 7101, value_name = "PORT")]
    base_port: u16,
    /// Do not answer DNS queries, though there is a zones application
    #[arg(long)]
    no_dns: bool,
    /// Where it keeps its logs, on its host; by default beside its configuration
    #[arg(long, value_name = "PATH")]
    data_dir: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// What was made.
struct Prepared {
    directory: PathBuf,
    plan: NodePlan,
    id: NodeId,
    fingerprint: String,
    /// A member has the name, and another key.
    replaces: bool,
}

impl Prepare {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        if !is_name(&self.name) {
            let text = "a node's name has 1 to 63 of a-z, 0-9, '-', '_' and '.'";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        let cluster = self.connection.cluster()?;
        let ((genesis, _), document) = (cluster.genesis()?, cluster.genesis_bytes()?);
        let has_dns = !self.no_dns && genesis.apps.iter().any(|app| app.kind == ZonesApp::KIND);
        let plan = NodePlan::on(self.name.clone(), &self.host, self.base_port, has_dns)?;
        let ca = cluster.ca()?;
        let authority = CertificateAuthority::load(ca, &self.ca_key)?;
        let key = SigningKey::generate(Algorithm::Ed25519);
        let certificate = authority.issue_node(key.public(), &server_names(&plan))?;
        let census = Census::take(&cluster).await?;
        let others = others(&census, &plan)?;
        let replaces = census.members().any(|member| member.name == self.name);
        let text = NodeText {
            headline: format!("Node {}, as `synod member prepare` writes it", self.name),
            node: &plan,
            layout: Layout::NodeDirectories,
            retry_delay: None,
            data_dir: self.data_dir.as_deref(),
            others,
        }
        .to_string();

        let directory = self.dir.unwrap_or_else(|| PathBuf::from(&self.name));
        make_directory(&directory)?;
        let authorities = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
        create(&directory.join(CA), &authorities)?;
        create(&directory.join(GENESIS), &document)?;
        let files = NodeFiles::of(Layout::NodeDirectories, &self.name);
        // The directory is the node's, whatever it is called.
        let at = |file: &str| directory.join(Path::new(file).file_name().unwrap_or_default());
        key.save_new(at(&files.key))?;
        create(&at(&files.certificate), certificate.as_bytes())?;
        // Last, so that where it is everything is.
        create(&at(&files.config), text.as_bytes())?;
        let [facts, ..] = &CertificateFacts::load_all(at(&files.certificate))?[..] else {
            unreachable!("it was just written")
        };
        let (id, fingerprint) = (NodeId(key.id()), facts.fingerprint.clone());
        let prepared = Prepared { directory, plan, id, fingerprint, replaces };
        output.print(&prepared.json(), &prepared)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whom the node calls: the members, but not the one whose name it has.
fn others(census: &Census, plan: &NodePlan) -> Result<Vec<Peer>, Failure> {
    let mut others = Vec::new();
    for member in census.members().filter(|member| member.name != plan.name) {
        if member.address == plan.mesh.to_string() {
            return Err(Failure::Usage(format!(
                "{} is where {} is reached: give another --base-port",
                member.address, member.name
            )));
        }
        // Always the id: a first member may have another key by now than the one in genesis.
        others.push(Peer { name: member.name.clone(), address: member.address.clone(), id: Some(member.id) });
    }
    Ok(others)
}

fn make_directory(directory: &Path) -> anyhow::Result<()> {
    let name = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {name}"))?;
    let mut entries = fs::read_dir(directory).with_context(|| format!("cannot read the directory {name}"))?;
    ensure!(
        entries.next().is_none(),
        "the directory {name} is not empty: name another one, so that no key is ever mixed up or overwritten"
    );
    Ok(())
}

impl Prepared {
    fn accept(&self) -> String {
        let id: String = self.id.to_string().chars().take(ID_DIGITS_MIN).collect();
        let name = &self.plan.name;
        let replaces = if self.replaces { format!(" --replaces {name}") } else { String::new() };
        format!("synod member accept {name} --id {id}{replaces}")
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.plan.name,
            "id": self.id.to_string(),
            "fingerprint": self.fingerprint,
            "directory": self.directory,
            "config": self.directory.join("node.toml"),
            "mesh": self.plan.mesh.to_string(),
            "backend": self.plan.backend.to_string(),
            "http": self.plan.http.to_string(),
            "dns": self.plan.dns.as_ref().map(ToString::to_string),
            "accept": self.accept(),
        })
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, name) = (self.directory.display(), &self.plan.name);
        writeln!(f, "{directory}: key, certificate and configuration of {name}; its key is SECRET")?;
        writeln!(f, "id           {}", self.id)?;
        writeln!(f, "fingerprint  {}", self.fingerprint)?;
        if self.replaces {
            writeln!(
                f,
                "{name} is a member, with another key: this node takes its place, which is lost for good then"
            )?;
        }
        writeln!(
            f,
            "\nNext, copy {directory}/ to {}, and nowhere else, and start it there:",
            self.plan.mesh.host
        )?;
        writeln!(f, "  synod node --config {name}/node.toml")?;
        writeln!(f, "then, when `synod member pending` shows it with this id:\n  {}", self.accept())?;
        if self.replaces {
            write!(f, "and see that the client file says of it:\n\n{}", in_client_file(&self.plan))
        } else {
            write!(f, "and add to the client file:\n\n{}", in_client_file(&self.plan))
        }
    }
}
