//! The applications of the clusters that are tried: one for each workload and one more, and so a Paxos group for each, with leaders of
//! their own.

use synod_auth::GenesisApp;
use synod_types::AppNdx;

/// Registers: what clients read and write is to be linearizable, and is watched.
pub const REGISTERS: AppNdx = synod_cluster::KV;
/// Zones.
pub const ZONES: AppNdx = synod_cluster::ZONES;
/// Accounts, between which money is moved.
pub const ACCOUNTS: AppNdx = AppNdx(3);
/// Counters, to which the same commands are sent again and again.
pub const COUNTERS: AppNdx = AppNdx(4);
/// What fills disks.
pub const BALLAST: AppNdx = AppNdx(5);
/// Leases, which are kept alive.
pub const LEASES: AppNdx = AppNdx(6);
/// All of them.
pub const ALL: [AppNdx; 6] = [REGISTERS, ZONES, ACCOUNTS, COUNTERS, BALLAST, LEASES];

/// For the genesis document.
pub fn founded() -> Vec<GenesisApp> {
    let app = |ndx, name: &str, kind: &str| GenesisApp { ndx, name: name.to_owned(), kind: kind.to_owned() };
    vec![
        app(REGISTERS, "registers", "kv"),
        app(ZONES, "zones", "zones"),
        app(ACCOUNTS, "accounts", "kv"),
        app(COUNTERS, "counters", "kv"),
        app(BALLAST, "ballast", "kv"),
        app(LEASES, "leases", "kv"),
    ]
}
