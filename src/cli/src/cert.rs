//! `synod cert`: until when certificates are valid, and how they are renewed. docs/OPERATIONS.md has the steps.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synod_auth::{CertificateAuthority, CertificateFacts, Genesis, SigningKey};
use synod_node::Config;
use synod_node::config::Format;
use synod_types::TimeMs;

use crate::founding::{CA, CA_KEY, GENESIS, Layout, NodeFiles};
use crate::output::Output;
use crate::table::printable;
use crate::time;

/// The certificate of a new authority, alone.
const NEW_CA: &str = "ca-new.pem";
/// Its key.
const NEW_CA_KEY: &str = "ca-new-key.pem";
/// What was trusted before, and the new authority.
const BOTH_CA: &str = "ca-both.pem";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Look at certificates, renew them, and change the authority that signs them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod cert show --config /etc/synod/node.toml
  synod cert renew --dir cluster --node node1
  synod cert new-ca --dir cluster")]
pub(crate) struct Cert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Renew(Renew),
    NewCa(NewCa),
}

/// Show whose certificates they are, until when they are valid, and their fingerprints
///
/// All certificates in a file, or in all files that a node's configuration names. What a node has read is in `synod status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod cert show cluster/ca.pem
  synod cert show --config cluster/node1.toml
  synod cert show cluster/node1.pem --output json | jq -r '.certificates[0].fingerprint'")]
struct Show {
    /// A file with certificates (PEM)
    #[arg(required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The configuration of a node: .toml or .json
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

/// Make a new certificate for a node, in place of the one that it has
///
/// It is for the same key and the same names, and valid for 10 years. It takes the place of NAME.pem (or NAME/node.pem) in the
/// cluster's directory at once and whole; a node that reads that very file takes it by itself, for others copy it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod cert renew --dir cluster --node node1
  synod cert renew --dir cluster --node node1 --ca-key cluster/ca-new-key.pem   # signed by a new authority")]
struct Renew {
    /// The directory that `synod init` made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The node's name; of one that came later, that of its directory in DIR
    #[arg(long, value_name = "NAME")]
    node: String,
    /// The private key of the authority, whose certificate is in DIR/ca.pem [default: DIR/ca-key.pem]
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
}

/// Make a new authority, beside the one that there is
///
/// Three new files in the cluster's directory: ca-new-key.pem, ca-new.pem, and ca-both.pem, which holds what is in ca.pem and the
/// new authority. Nothing else changes: nodes and clients have to trust both before any node shows a certificate of the new one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod cert new-ca --dir cluster
  synod cert show cluster/ca-both.pem")]
struct NewCa {
    /// The directory that `synod init` made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl Cert {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Show(show) => show.run(output)?,
            Command::Renew(renew) => renew.run(output)?,
            Command::NewCa(new_ca) => new_ca.run(output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(self, output: Output) -> anyhow::Result<()> {
        let files = match (self.file, self.config) {
            (Some(file), _) => vec![file],
            (None, Some(config)) => files_of(&config)?,
            (None, None) => unreachable!("one of them is required"),
        };
        let mut found = Vec::new();
        for file in files {
            found.extend(CertificateFacts::load_all(&file)?.into_iter().map(|facts| (file.clone(), facts)));
        }
        let certificates: Vec<Value> = found.iter().map(|(file, facts)| json(file, facts)).collect();
        let text: Vec<String> = found.iter().map(|(file, facts)| Shown { file, facts }.to_string()).collect();
        output.print(&json!({ "certificates": certificates }), text.join("\n"))
    }
}

/// The files with certificates that a configuration names. Whether they are in order is not asked: that is to be looked at.
fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let format = Format::of(path).context("a configuration's name ends in .toml or .json")?;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::parse(&text, format, path.parent().unwrap_or(Path::new("")))?;
    let own = config.me.tls_config_info;
    let http = config.http.tls.map(|tls| tls.cert_path);
    let dns = config.dns.and_then(|dns| dns.tls).map(|tls| tls.cert_path);
    Ok([Some(own.cert_path), Some(own.ca_cert_path), http, dns].into_iter().flatten().collect())
}

impl Renew {
    fn run(self, output: Output) -> anyhow::Result<()> {
        let Renew { dir, node, ca_key } = self;
        let ca_key = ca_key.unwrap_or_else(|| dir.join(CA_KEY));
        let genesis = dir.join(GENESIS);
        let bytes = fs::read(&genesis).with_context(|| format!("cannot read {}", genesis.display()))?;
        let (document, _) = Genesis::parse(&bytes).with_context(|| format!("{}", genesis.display()))?;
        let key = match document.nodes.iter().find(|known| known.name == node) {
            Some(known) => known.key.clone(),
            // One that came later: `synod member prepare` has put its key here.
            None => {
                let own = dir.join(NodeFiles::of(Layout::NodeDirectories, &node).key);
                if !own.exists() {
                    let names: Vec<&str> = document.nodes.iter().map(|known| known.name.as_str()).collect();
                    bail!(
                        "{} names no node {node:?}; it names {}. Of a node that came later, {} is needed",
                        genesis.display(),
                        names.join(", "),
                        own.display()
                    );
                }
                SigningKey::load(&own)?.public().clone()
            }
        };
        let file = [Layout::Together, Layout::NodeDirectories]
            .map(|layout| dir.join(NodeFiles::of(layout, &node).certificate));
        let Some(file) = file.iter().find(|file| file.exists()) else {
            bail!(
                "neither {} nor {} is there: the names of the node are taken from its old certificate",
                file[0].display(),
                file[1].display()
            );
        };
        let [old, ..] = &CertificateFacts::load_all(file)?[..] else { unreachable!("there is one at least") };
        ensure!(
            old.key_id == Some(key.id()),
            "{} is not the certificate of the key of {node}, as {} or its own directory has it",
            file.display(),
            genesis.display()
        );
        let authority = CertificateAuthority::load(dir.join(CA), &ca_key)?;
        let pem = authority.issue_node(&key, &old.server_names)?;
        replace(file, pem.as_bytes())?;
        let [new, ..] = &CertificateFacts::load_all(file)?[..] else { unreachable!("it was just written") };
        output.print(&json(file, new), Shown { file, facts: new })
    }
}

/// Puts a file in the place of another, whole: whoever reads sees one or the other.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || {
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

impl NewCa {
    fn run(self, output: Output) -> anyhow::Result<()> {
        let at = |name: &str| self.dir.join(name);
        let mut bundle =
            fs::read_to_string(at(CA)).with_context(|| format!("cannot read {}", at(CA).display()))?;
        // Whether it is what it should be.
        CertificateFacts::load_all(at(CA))?;
        let genesis =
            fs::read(at(GENESIS)).with_context(|| format!("cannot read {}", at(GENESIS).display()))?;
        let (genesis, _) = Genesis::parse(&genesis).with_context(|| format!("{}", at(GENESIS).display()))?;
        for name in [BOTH_CA, NEW_CA, NEW_CA_KEY] {
            let path = at(name);
            let name = path.display();
            ensure!(
                !path.exists(),
                "{name} is there already: end the change that was begun, or move it away"
            );
        }
        // The day is in its name, so that people can tell it from the one before.
        let authority = CertificateAuthority::generate(&format!(
            "synod {} authority {}",
            genesis.name,
            day(time::now())
        ))?;
        authority.save_new(at(NEW_CA), at(NEW_CA_KEY))?;
        if !bundle.ends_with('\n') {
            bundle.push('\n');
        }
        bundle.push_str(authority.certificate_pem());
        replace(&at(BOTH_CA), bundle.as_bytes())?;
        let new = CertificateFacts::of(authority.certificate())?;
        let text = format!(
            "{}: SECRET, the key of the new authority; keep it off the nodes\n\
             {}: the new authority's certificate, alone; for the last step\n\
             {}: what is in {}, and the new one; for the first step\n\n{}\n\
             Nothing uses it yet. Next, as \"A new authority\" in docs/OPERATIONS.md says: the bundle with both to every node and client; \
             then `synod cert renew` for each node; then the new one alone.",
            at(NEW_CA_KEY).display(),
            at(NEW_CA).display(),
            at(BOTH_CA).display(),
            at(CA).display(),
            Shown { file: &at(NEW_CA), facts: &new },
        );
        let json = json!({
            "key": at(NEW_CA_KEY),
            "bundle": at(BOTH_CA),
            "authority": json(&at(NEW_CA), &new),
        });
        output.print(&json, text)
    }
}

/// The day of a time, UTC.
pub(crate) fn day(at: TimeMs) -> String {
    time::shown(at.0).chars().take_while(|c| *c != ' ').collect()
}

/// Whole days from now until then; `None`: it is past.
pub(crate) fn days_left(until: TimeMs) -> Option<u64> {
    until.0.checked_sub(time::now().0).map(|left| left / DAY_MS)
}

fn json(file: &Path, facts: &CertificateFacts) -> Value {
    json!({
        "file": file,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": facts.server_names,
        "isAuthority": facts.is_authority,
        "notBeforeMs": facts.not_before,
        "notAfterMs": facts.not_after,
        "daysLeft": days_left(facts.not_after),
        "fingerprint": facts.fingerprint,
        "keyId": facts.key_id.map(|id| id.to_string()),
    })
}

/// A certificate as people read it.
struct Shown<'a> {
    file: &'a Path,
    facts: &'a CertificateFacts,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CertificateFacts { subject, issuer, server_names, is_authority, not_before, not_after, .. } =
            self.facts;
        let what = if *is_authority { "an authority" } else { "a certificate" };
        writeln!(f, "{}: {what}", self.file.display())?;
        writeln!(f, "subject      {}", printable(subject))?;
        writeln!(f, "issuer       {}", printable(issuer))?;
        if !server_names.is_empty() {
            writeln!(f, "names        {}", printable(&server_names.join(", ")))?;
        }
        let left = match days_left(*not_after) {
            Some(days) => format!("{days} days left"),
            None => "EXPIRED".to_owned(),
        };
        writeln!(f, "valid        {} to {}, {left}", time::shown(not_before.0), time::shown(not_after.0))?;
        writeln!(f, "fingerprint  {}", self.facts.fingerprint)?;
        match self.facts.key_id {
            Some(id) => writeln!(f, "key's id     {id}"),
            None => Ok(()),
        }
    }
}
