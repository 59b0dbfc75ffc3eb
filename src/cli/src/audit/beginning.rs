//! Where an audit begins: with genesis, or, where the log was cut off, with a snapshot.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use synod_auth::{Genesis, GenesisApp};
use synod_machine::Machine;
use synod_node::{Beginning, BeginningError};
use synod_types::{ClusterId, Digest, NodeId, Slot, StateNdx};

use super::auditor::{Break, Kind};
use crate::exit::Failure;

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
    slot: Slot,
    state_ndx: StateNdx,
    chain: Digest,
    /// The names of those who have signed it.
    signed_by: Vec<String>,
    is_certified: bool,
}

impl Begins {
    /// The machine before the first slot.
    pub(crate) fn with_genesis(
        genesis: &Genesis,
        cluster: ClusterId,
        app: &GenesisApp,
    ) -> anyhow::Result<(Begins, Machine)> {
        let machine = synod_node::apps::machine(genesis, cluster, app).ok_or_else(|| {
            let kinds = synod_node::apps::KINDS.join(", ");
            let (ndx, kind) = (app.ndx, &app.kind);
            Failure::Usage(format!("application {ndx} is of kind {kind:?}; this program has: {kinds}"))
        })?;
        Ok((Begins::Genesis, machine))
    }

    /// The machine of the snapshot in `data_dir` behind which the log goes on that was cut off behind `cut`. The inner error is
    /// what is wrong with it.
    pub(crate) fn with_snapshot(
        data_dir: &Path,
        genesis: &Genesis,
        cluster: ClusterId,
        app: &GenesisApp,
        cut: Slot,
    ) -> anyhow::Result<Result<(Begins, Machine), Break>> {
        let why = match Beginning::find(data_dir, genesis, cluster, app, cut) {
            Ok(Beginning { machine, checkpoint, signed_by, is_certified }) => {
                let signed_by = signed_by.iter().map(|node| name(genesis, *node)).collect();
                let (slot, state_ndx, chain) = (checkpoint.slot, checkpoint.state_ndx, checkpoint.chain);
                let snapshot = Snapshot { slot, state_ndx, chain, signed_by, is_certified };
                return Ok(Ok((Begins::Snapshot(snapshot), machine)));
            }
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

    /// What everybody should know who reads the result, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Begins::Snapshot(snapshot) if !snapshot.is_certified => Some(format!(
                "no majority has signed the snapshot of state {}: only this node vouches for it, and for all that was before",
                snapshot.state_ndx
            )),
            Begins::Genesis | Begins::Snapshot(_) => None,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match self {
            Begins::Genesis => json!({ "with": "genesis" }),
            Begins::Snapshot(Snapshot { slot, state_ndx, chain, signed_by, is_certified }) => json!({
                "with": "snapshot",
                "slot": slot,
                "stateNdx": state_ndx,
                "chain": chain.to_string(),
                "certified": is_certified,
                "signedBy": signed_by,
            }),
        }
    }
}

/// For people.
impl fmt::Display for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begins::Genesis => write!(f, "begins with genesis"),
            Begins::Snapshot(Snapshot { slot, state_ndx, signed_by, is_certified, .. }) => {
                let word = if *is_certified { "certified" } else { "not certified, but signed" };
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
