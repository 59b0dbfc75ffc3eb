//! Where an audit begins: with genesis, or, where the log was cut off, with a snapshot.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use synod_auth::{Genesis, GenesisApp};
use synod_backup::Backup;
use synod_machine::snapshot::digest_without_cluster;
use synod_machine::{AtRest, Machine};
use synod_node::lanes::Maker;
use synod_node::{Beginning, BeginningError, Voucher, apps};
use synod_types::{ClusterId, Configuration, Digest, NodeId, Slot, StateNdx};

use super::auditor::{Break, Kind};
use crate::exit::Failure;

/// Nothing is begun of an application that nothing here executes.
const EXECUTED: &str = "what executes the application was looked for before";

/// What an audit begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Begins {
    /// The state before the first command: nothing is believed but the genesis document.
    Genesis,
    /// A snapshot: what was before is believed to whoever has signed it.
    Snapshot(Snapshot),
}

/// The snapshot that an audit begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    pub(crate) slot: Slot,
    pub(crate) state_ndx: StateNdx,
    chain: Digest,
    /// The names of those who have signed it.
    pub(crate) signed_by: Vec<String>,
    pub(crate) voucher: Voucher,
    /// The cluster from which this one goes on, if this is what it begins with.
    before: Option<ClusterId>,
}

impl Begins {
    /// The machine before the first slot.
    pub(crate) fn with_genesis(genesis: &Genesis, cluster: ClusterId, maker: &Maker) -> (Begins, Machine) {
        (Begins::Genesis, maker.machine(genesis, cluster).expect(EXECUTED))
    }

    /// The machine of the snapshot in `data_dir` behind which the log goes on that was cut off behind `cut`. The inner error is
    /// what is wrong with it.
    pub(crate) fn with_snapshot(
        data_dir: &Path,
        genesis: &Genesis,
        proved: &[Configuration],
        cluster: ClusterId,
        maker: &Maker,
        cut: Slot,
    ) -> anyhow::Result<Result<(Begins, Machine), Break>> {
        let found = Beginning::find(data_dir, genesis, proved, cluster, maker, cut);
        Begins::found(found, genesis, maker.app(), cut)
    }

    /// The machine of a snapshot that was looked for behind slot `cut`. The inner error is what is wrong with it.
    pub(crate) fn found(
        found: Result<Beginning, BeginningError>,
        genesis: &Genesis,
        app: &GenesisApp,
        cut: Slot,
    ) -> anyhow::Result<Result<(Begins, Machine), Break>> {
        let why = match found {
            Ok(beginning) => return Ok(Ok(Begins::behind(beginning, genesis))),
            Err(why) => why,
        };
        let (kind, slot, state_ndx) = match &why {
            BeginningError::Io { .. } => return Err(why.into()),
            BeginningError::NoSnapshot { .. } => (Kind::Hole, cut, StateNdx(0)),
            BeginningError::Damaged { .. } => (Kind::BadSnapshot, cut, StateNdx(0)),
            BeginningError::Forged { checkpoint, .. } => {
                (Kind::BadCertificate, checkpoint.slot, checkpoint.state_ndx)
            }
            BeginningError::Unusable { checkpoint, .. } => {
                (Kind::BadSnapshot, checkpoint.slot, checkpoint.state_ndx)
            }
        };
        Ok(Err(Break { app: app.ndx, slot, state_ndx, kind, text: why.to_string() }))
    }

    /// The machine of a snapshot that can be used.
    pub(crate) fn behind(beginning: Beginning, genesis: &Genesis) -> (Begins, Machine) {
        let Beginning { machine, checkpoint, signed_by, voucher } = beginning;
        let signed_by = signed_by.iter().map(|node| name(genesis, *node)).collect();
        let (slot, state_ndx, chain) = (checkpoint.slot, checkpoint.state_ndx, checkpoint.chain);
        let before =
            genesis.origin.as_ref().filter(|_| voucher == Voucher::Genesis).map(|origin| origin.cluster);
        (Begins::Snapshot(Snapshot { slot, state_ndx, chain, signed_by, voucher, before }), machine)
    }

    /// The machine with which a cluster begins that was restored from this backup.
    pub(crate) fn with_backup(
        path: &Path,
        genesis: &Genesis,
        cluster: ClusterId,
        maker: &Maker,
    ) -> anyhow::Result<(Begins, Machine)> {
        let app = maker.app();
        let other = || {
            Failure::Usage(format!("{} is not the backup from which this cluster goes on", path.display()))
        };
        let (origin, state) = genesis.origin.as_ref().zip(genesis.origin_of(app.ndx)).ok_or_else(other)?;
        let succession = apps::succession(genesis, cluster).ok_or_else(other)?;
        let mut backup = Backup::open(path)?;
        if backup.manifest().cluster != origin.cluster {
            return Err(other().into());
        }
        let nth = backup.manifest().apps.iter().position(|held| held.app_ndx == app.ndx).ok_or_else(other)?;
        let application = maker.application().expect(EXECUTED);
        let at_rest = Box::new(AtRest::like(&*application));
        let before = Machine::restore(origin.cluster, app.ndx, &backup.state(nth)?, at_rest)?;
        let begun = before.succeeded_by(&succession).snapshot();
        if digest_without_cluster(&begun) != Some(state.state) {
            return Err(other().into());
        }
        let machine = Machine::restore_known(cluster, app.ndx, &begun, application)?;
        let snapshot = Snapshot {
            slot: state.slot,
            state_ndx: state.state_ndx,
            chain: state.chain,
            signed_by: Vec::new(),
            voucher: Voucher::Genesis,
            before: Some(origin.cluster),
        };
        Ok((Begins::Snapshot(snapshot), machine))
    }

    /// What everybody should know who reads the result, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        let Begins::Snapshot(Snapshot { voucher, state_ndx, .. }) = self else { return None };
        match voucher {
            Voucher::Genesis | Voucher::Members => None,
            Voucher::MembersOfItself => Some(format!(
                "the snapshot of state {state_ndx} is certified by members whom only that state itself names: that they are members could be \
                 proved by the log of the application with the lowest number, from genesis on"
            )),
            Voucher::Owner => Some(format!(
                "no majority has signed the snapshot of state {state_ndx}: only this node vouches for it, and for all that was before"
            )),
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match self {
            Begins::Genesis => json!({ "with": "genesis" }),
            Begins::Snapshot(Snapshot { slot, state_ndx, chain, signed_by, voucher, before }) => json!({
                "with": if before.is_some() { "origin" } else { "snapshot" },
                "slot": slot,
                "stateNdx": state_ndx,
                "chain": chain.to_string(),
                "certified": matches!(voucher, Voucher::Members | Voucher::MembersOfItself),
                "membersProved": *voucher == Voucher::Members,
                "signedBy": signed_by,
                "clusterBefore": before.map(|cluster| cluster.to_string()),
            }),
        }
    }
}

/// For people.
impl fmt::Display for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begins::Genesis => write!(f, "begins with genesis"),
            Begins::Snapshot(Snapshot { slot, state_ndx, before: Some(before), .. }) => write!(
                f,
                "begins with the state {state_ndx} (slot {slot}) of cluster {}, for which genesis vouches; what was before is in the \
                 log of that cluster",
                before.short()
            ),
            Begins::Snapshot(Snapshot { slot, state_ndx, signed_by, voucher, .. }) => {
                let word = if *voucher == Voucher::Owner { "not certified, but signed" } else { "certified" };
                let by = if signed_by.is_empty() { "nobody".to_owned() } else { signed_by.join(", ") };
                write!(
                    f,
                    "begins with the snapshot of state {state_ndx} (slot {slot}), {word} by {by}; \
                     earlier changes can be audited only in an archive"
                )
            }
        }
    }
}

fn name(genesis: &Genesis, node: NodeId) -> String {
    let known = genesis.nodes.iter().find(|known| known.id() == node);
    known.map_or_else(|| node.short(), |known| known.name.clone())
}
