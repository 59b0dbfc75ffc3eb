//! Checks a configuration against what is on disk: the node's files, and the genesis document that they have to fit.

use std::fs::{self, File};
use std::path::Path;

use synod_auth::{Genesis, ServerCertificate, SigningKey, TlsIdentity, tls};
use synod_types::NodeId;

use super::Draft;
use super::mistakes::Mistakes;

const CERT_PLACE: &str = "me.tls_config_info.cert_path";
const KEY_PLACE: &str = "me.tls_config_info.key_path";
const CA_PLACE: &str = "me.tls_config_info.ca_cert_path";

/// Checks whatever of the draft could be read.
pub(super) fn check(draft: &Draft, mistakes: &mut Mistakes) {
    let node = check_identity(draft, mistakes);
    if let Some(genesis) = read_genesis(&draft.genesis, mistakes) {
        check_names(draft, &genesis, node, mistakes);
        if let Some(dns) = &draft.dns
            && let Err(why) = dns.app_of(&genesis)
        {
            mistakes.add("dns.app", why);
        }
        check_lanes(draft, &genesis, mistakes);
    }
    check_shown(draft, mistakes);
    for (place, dir) in [("data_dir", &draft.data_dir), ("archive.dir", &draft.archive)] {
        if let Some(dir) = dir
            && fs::metadata(dir).is_ok_and(|found| !found.is_dir())
        {
            mistakes.add(place, format!("{} is not a directory", dir.display()));
        }
    }
}

/// Checks the certificates that front ends show.
pub(super) fn check_shown(draft: &Draft, mistakes: &mut Mistakes) {
    if let Some(tls) = draft.dns.as_ref().and_then(|dns| dns.tls.as_ref())
        && let Err(why) = ServerCertificate::load(&tls.cert_path, &tls.key_path)
    {
        mistakes.add("dns.tls", why.to_string());
    }
    if let Some(tls) = draft.http.as_ref().and_then(|http| http.tls.as_ref())
        && let Err(why) = ServerCertificate::load(&tls.cert_path, &tls.key_path)
    {
        mistakes.add("http.tls", why.to_string());
    }
}

/// The node that the key stands for.
fn check_identity(draft: &Draft, mistakes: &mut Mistakes) -> Option<NodeId> {
    let key = draft
        .key_path
        .as_ref()
        .and_then(|path| SigningKey::load(path).map_err(|why| mistakes.add(KEY_PLACE, why.to_string())).ok());
    let ca = draft
        .ca_cert_path
        .as_ref()
        .filter(|path| tls::load_roots(path).map_err(|why| mistakes.add(CA_PLACE, why.to_string())).is_ok());
    let cert = draft.cert_path.as_ref().filter(|path| {
        let cannot_read = |why| format!("cannot read {}: {why}", path.display());
        File::open(path).map_err(|why| mistakes.add(CERT_PLACE, cannot_read(why))).is_ok()
    });
    // Key and authority are in order, so what is wrong now is wrong with the certificate.
    if let (Some(_), Some(cert), Some(key), Some(ca)) = (&key, cert, &draft.key_path, ca)
        && let Err(why) = TlsIdentity::load(cert, key, ca)
    {
        mistakes.add(CERT_PLACE, why.to_string());
    }
    key.map(|key| NodeId(key.id()))
}

/// Each application that is not in this program has a lane, and no other one has.
fn check_lanes(draft: &Draft, genesis: &Genesis, mistakes: &mut Mistakes) {
    let mut served = Vec::new();
    for (n, lane) in draft.lanes.iter().enumerate() {
        match lane.app_of(genesis) {
            Ok(app) if served.contains(&app.ndx) => {
                mistakes.add(&format!("lanes[{n}].app"), "is served by an earlier lane");
            }
            Ok(app) => served.push(app.ndx),
            Err(why) => mistakes.add(&format!("lanes[{n}].app"), why),
        }
    }
}

fn read_genesis(path: &Path, mistakes: &mut Mistakes) -> Option<Genesis> {
    let bytes = fs::read(path).map_err(|why| {
        let problem = format!(
            "cannot read {}: {why}; every node has the same genesis document, which `synod init` makes",
            path.display()
        );
        mistakes.add("genesis", problem);
    });
    let parsed = Genesis::parse(&bytes.ok()?);
    parsed
        .map_err(|why| mistakes.add("genesis", format!("{}: {why}", path.display())))
        .ok()
        .map(|(genesis, _)| genesis)
}

/// The nodes of the configuration are those of the genesis document, or such as became members later. A key that genesis does
/// not have is that of a node that became a member later, or is to.
fn check_names(draft: &Draft, genesis: &Genesis, node: Option<NodeId>, mistakes: &mut Mistakes) {
    let owner = node.and_then(|node| genesis.nodes.iter().find(|other| other.id() == node));
    if let (Some(id), Some(owner)) = (&draft.id, owner)
        && owner.name != *id
    {
        let problem =
            format!("the key {} is that of {} in genesis, not of {id}", owner.id().short(), owner.name);
        mistakes.add(KEY_PLACE, problem);
    }
    for (n, server) in draft.servers.iter().enumerate() {
        let is_known = |name: &String| genesis.nodes.iter().any(|node| node.name == *name);
        if let Some(name) =
            server.server_name.as_ref().filter(|name| server.node_id.is_none() && !is_known(name))
        {
            let names: Vec<&str> = genesis.nodes.iter().map(|node| node.name.as_str()).collect();
            let problem = format!(
                "genesis names no node {name:?}; it names {}. Of a node that became a member later give the id, too",
                names.join(", ")
            );
            mistakes.add(&format!("servers[{n}].server_name"), problem);
        }
    }
}
