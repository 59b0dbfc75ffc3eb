//! The registry: which kinds of application this program has.

use bytes::Bytes;
use synod_auth::{Genesis, GenesisApp, GenesisNode};
use synod_machine::{Application, Founders, Machine, Member, Succession};
use synod_types::{AppNdx, ClusterId, StateNdx};

/// The kinds, as genesis names them.
pub const KINDS: &[&str] = &["kv", ZONES];

/// The kind whose zones the DNS front end serves.
pub const ZONES: &str = synod_app_zones::ZonesApp::KIND;

/// A new application of this kind; `None` if there is no such kind.
pub fn new(kind: &str) -> Option<Box<dyn Application>> {
    match kind {
        "kv" => Some(Box::new(synod_app_kv::Kv::new())),
        ZONES => Some(Box::new(synod_app_zones::ZonesApp::new())),
        _ => None,
    }
}

/// The application that keeps who the members of the cluster are: the one with the lowest number.
pub fn home(genesis: &Genesis) -> AppNdx {
    genesis.apps.iter().map(|app| app.ndx).min().expect("genesis names an application")
}

/// The machine of this application before slot 1, as genesis founds it.
pub(crate) fn machine(
    genesis: &Genesis,
    cluster: ClusterId,
    app: &GenesisApp,
    application: Box<dyn Application>,
) -> Machine {
    let administrators = genesis.administrators.iter();
    let administrators =
        administrators.map(|one| (one.id(), Bytes::copy_from_slice(one.key.spki_der()), one.name.clone()));
    let keeps_members = app.ndx == home(genesis);
    let founders = Founders {
        administrators: administrators.collect(),
        signatures_needed: genesis.signatures_needed,
        members: genesis.nodes.iter().filter(|_| keeps_members).map(first_member).collect(),
        level: genesis.level,
    };
    let machine = Machine::new(cluster, app.ndx, &founders, application);
    match genesis.origin_of(app.ndx) {
        // Others may be in that state, too, and compare.
        Some(origin) if origin.state_ndx == StateNdx(0) => machine.waiting_behind(origin.chain),
        Some(_) | None => machine,
    }
}

/// How a cluster with an origin goes on from the states of another one; `None`: it begins with nothing.
pub fn succession(genesis: &Genesis, cluster: ClusterId) -> Option<Succession> {
    let members = genesis.nodes.iter().map(first_member).collect();
    Some(Succession { cluster, epoch: genesis.origin.as_ref()?.epoch, members })
}

/// As genesis names it, which says nothing of where it is.
fn first_member(node: &GenesisNode) -> Member {
    Member { id: node.id(), name: node.name.clone(), address: String::new() }
}
