//! Certificates of states: this node signs what its applications are, now and then, and comes with the others to certificates, which
//! prove a state to whoever knows the genesis document alone.
//!
//! [`marks`] says which states are signed, [`Cosigning`] is what the rest of the node holds, [`task`] does the work by
//! [`synod_delivery::cosign`], and [`disk`] is what is kept. The state that was certified last stays in memory, so that readers can
//! have proofs of what is in it. (Snapshots have certificates of their own, over their bytes: see [`crate::snapshots`].)

pub(crate) mod disk;
pub(crate) mod marks;
pub(crate) mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use synod_gateway::{CertificateRead, Certified};
use synod_machine::View;
use synod_types::{
    AppNdx, CertificateBundle, ClusterId, Configuration, CosignMessage, Epoch, NodeId, Slot,
    StateCertificate, StateNdx, StatementKey,
};
use tokio::sync::mpsc;

use self::disk::{Held, Place};

/// The way to this node's certificates. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cosigning(Arc<Inner>);

struct Inner {
    cluster: ClusterId,
    asks: mpsc::Sender<Ask>,
    apps: Mutex<BTreeMap<AppNdx, Known>>,
}

/// What is known of one application.
#[derive(Default)]
struct Known {
    held: Held,
    /// The last state to which this node came.
    latest: Option<Mark>,
    /// The newest certificate whose state is here.
    certified: Option<Certified>,
    /// Who has signed what this node did not come to.
    conflicting: BTreeSet<NodeId>,
}

impl Known {
    /// Of the certificate whose state is here.
    fn paired(&self) -> Option<StatementKey> {
        self.certified.as_ref().map(|certified| certified.certificate.key())
    }
}

/// A state that is to be signed, or may be.
#[derive(Clone)]
pub(crate) struct Mark {
    /// The state.
    pub view: Arc<View>,
    /// The slot whose decree made it; or began the epoch in it.
    pub slot: Slot,
    /// Who decides behind it.
    pub members: Configuration,
    /// Who decided before, if that is why it is to be signed.
    pub before: Option<Configuration>,
}

impl Mark {
    /// Of which statement it is.
    pub(crate) fn key(&self) -> StatementKey {
        StatementKey { state_ndx: self.view.state_ndx, epoch: self.members.epoch }
    }
}

/// What the node tells the task.
pub(crate) enum Ask {
    /// This state is to be signed.
    Due(Mark),
    /// What another node says, verified.
    Heard(NodeId, CosignMessage),
}

impl Cosigning {
    /// Certificates that the [task](task::Task) with `asks` takes care of.
    pub(crate) fn new(cluster: ClusterId, asks: mpsc::Sender<Ask>) -> Cosigning {
        Cosigning(Arc::new(Inner { cluster, asks, apps: Mutex::default() }))
    }

    /// Tells the task. Where more waits than it gets done this is forgotten: words are repeated, and the next state is due in time.
    pub(crate) fn tell(&self, ask: Ask) {
        let _ = self.0.asks.try_send(ask);
    }

    /// What this node holds of an application when it starts, and the state of the newest certificate, if it is here.
    pub(crate) fn begin(&self, app: AppNdx, held: Held, view: Option<Arc<View>>) {
        self.with(app, |known| {
            let newest = held.newest().cloned();
            known.certified = newest.zip(view).map(|(certificate, view)| Certified { certificate, view });
            known.held = held;
        });
    }

    /// This node came to a state.
    pub(crate) fn set_latest(&self, mark: Mark) {
        self.with(mark.view.app_ndx, |known| known.latest = Some(mark));
    }

    fn latest(&self, app: AppNdx) -> Option<Mark> {
        self.with(app, |known| known.latest.clone())
    }

    /// Who has signed what this node did not come to, since it started.
    pub(crate) fn conflicting(&self, app: AppNdx) -> Vec<NodeId> {
        self.with(app, |known| known.conflicting.iter().copied().collect())
    }

    /// The certificate in memory that is also in this place on the disk.
    pub(crate) fn held(&self, place: Place) -> Option<Arc<StateCertificate>> {
        self.with(place.app(), |known| known.held.at(place))
    }

    /// Who decided in an epoch, as far as that is proved here.
    pub(crate) fn members_in(&self, app: AppNdx, epoch: Epoch, first: &Configuration) -> Configuration {
        self.with(app, |known| known.held.proved_in(epoch, first))
    }

    /// Takes one that was missing here, and is durable.
    pub(crate) fn put_back(&self, app: AppNdx, certificate: Arc<StateCertificate>, kept_max: usize) {
        self.with(app, |known| known.held.put_back(certificate, kept_max));
    }

    fn with<T>(&self, app: AppNdx, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        work(apps.entry(app).or_default())
    }
}

impl synod_gateway::Certificates for Cosigning {
    fn newest(&self, app: AppNdx) -> Option<Arc<StateCertificate>> {
        self.with(app, |known| known.held.newest().cloned())
    }

    fn list(
        &self,
        app: AppNdx,
        after: Option<StateNdx>,
        limit: usize,
    ) -> CertificateRead<'_, Vec<Arc<StateCertificate>>> {
        Box::pin(ready(self.with(app, |known| known.held.list(after, limit))))
    }

    fn bundle(
        &self,
        app: AppNdx,
        state_ndx: Option<StateNdx>,
    ) -> CertificateRead<'_, Option<CertificateBundle>> {
        Box::pin(ready(self.with(app, |known| known.held.bundle(self.0.cluster, state_ndx))))
    }

    fn certified(&self, app: AppNdx) -> Option<Certified> {
        self.with(app, |known| known.certified.clone())
    }
}
