//! Snapshots: this node makes them of its applications' states, signs them, and gives and gets them.
//!
//! A snapshot is made of a [`View`], which costs the applier nothing. It is cut into chunks, files of a content store of
//! their own, and chunks travel between nodes as files do: in hashed pieces, from several nodes, resumed where they were
//! cut. Since equal states give equal bytes and every node makes its snapshots behind the same slots ([`pace`]), nodes sign
//! each other's. One that a majority has signed is certified. Only that is offered to a node that lags behind, which
//! therefore need not trust who gives it; and only behind the last but one of these the log is cut off. So there is always
//! one more snapshot than is needed, and enough of the log for whoever is not far behind.
//!
//! [`Snapshots`] is what the rest of the node holds; [`task`] does the work; [`disk`] is what is kept; [`restoring`] makes
//! a state of it again, and [`beginning`] does so for who audits a node that does not run. [`archiving`] keeps what is cut off, where that is wanted.

pub(crate) mod archiving;
pub mod beginning;
pub(crate) mod disk;
pub(crate) mod origin;
pub(crate) mod pace;
pub(crate) mod restoring;
pub(crate) mod shown;
pub(crate) mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use synod_machine::View;
use synod_types::{AppNdx, Certificate, Checkpoint, CheckpointSignature, Digest, NodeId};
use tokio::sync::{mpsc, oneshot};

/// The way to this node's snapshots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Inner>);

struct Inner {
    asks: mpsc::Sender<Ask>,
    certified: Mutex<BTreeMap<AppNdx, Certificate>>,
}

/// What the node tells the task.
pub(crate) enum Ask {
    /// A snapshot of this state is due.
    Due(Arc<View>),
    /// Another node's word, verified.
    Heard(Word),
    /// The small file of a snapshot is damaged: write all of them again that belong to snapshots which are here, and say so.
    WriteAgain(oneshot::Sender<()>),
    /// Get the snapshot of this certificate, which was verified.
    Fetch(Certificate),
}

/// What a node says of a state, and signs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub from: NodeId,
    pub checkpoint: Checkpoint,
    pub signature: CheckpointSignature,
    /// Whether it has not got the word of a majority.
    pub asks: bool,
}

impl Snapshots {
    /// Snapshots that the [task](task::Task) with `asks` takes care of.
    pub(crate) fn new(asks: mpsc::Sender<Ask>) -> Snapshots {
        Snapshots(Arc::new(Inner { asks, certified: Mutex::default() }))
    }

    /// Tells the task. Where more waits than it gets done this is forgotten: words and offers are repeated, and the next
    /// snapshot is due in time.
    pub(crate) fn tell(&self, ask: Ask) {
        let _ = self.0.asks.try_send(ask);
    }

    /// The newest certified snapshot of an application.
    pub(crate) fn certified(&self, app: AppNdx) -> Option<Certificate> {
        self.lock().get(&app).cloned()
    }

    fn set_certified(&self, certificate: Certificate) {
        let mut certified = self.lock();
        let newest = certified.entry(certificate.checkpoint.app).or_insert_with(|| certificate.clone());
        if newest.checkpoint.slot < certificate.checkpoint.slot {
            *newest = certificate;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AppNdx, Certificate>> {
        self.0.certified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is said to have signed.
fn signer(signature: &CheckpointSignature) -> NodeId {
    NodeId(Digest::of(&[&signature.key]))
}
