//! What readers get beside states, and the node has: files, pages of the log, snapshots, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use synod_gateway::{CertificateRead, Certified, FileRead, LogRead, LogUnread};
use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_types::{
    AppNdx, Certificate, CertificateBundle, ContentKey, LogPage, Slot, StateCertificate, StateNdx, wire,
};
use tracing::warn;

use super::asker::{Asker, Unanswered};
use super::board::Board;
use super::kept::Kept;

/// Where all of it is asked for.
#[derive(Clone)]
pub(crate) struct Beside {
    pub asker: Asker,
    pub board: Arc<Board>,
    pub kept: Arc<BTreeMap<AppNdx, Arc<Kept>>>,
}

impl Beside {
    async fn file(&self, key: ContentKey, snapshot: bool) -> Option<Bytes> {
        file(&self.asker, key, snapshot).await
    }
}

/// A file that the node has; `None`: it has none, or is away.
pub(crate) async fn file(asker: &Asker, key: ContentKey, snapshot: bool) -> Option<Bytes> {
    let file = asker.gather(FrontQuestion::File { key: key.to_string(), snapshot }).await.ok()?;
    // Whoever reads it is told that it is what its name says.
    let is_it = tokio::task::block_in_place(|| ContentKey::of(&file) == key);
    if !is_it {
        warn!(%key, "a file of the node is not what its name says");
    }
    is_it.then_some(file)
}

impl synod_gateway::Files for Beside {
    fn read(&self, key: ContentKey) -> FileRead<'_> {
        Box::pin(self.file(key, false))
    }
}

impl synod_gateway::Snapshots for Beside {
    fn newest(&self, app: AppNdx) -> Option<Certificate> {
        self.board.seen().apps.get(&app)?.snapshot.clone()
    }

    fn file(&self, key: ContentKey) -> FileRead<'_> {
        Box::pin(Beside::file(self, key, true))
    }
}

impl synod_gateway::Log for Beside {
    fn read(&self, app: AppNdx, from: Slot, up_to: Slot) -> LogRead<'_> {
        let after = from.0.saturating_sub(1);
        let limit = up_to.0.saturating_sub(after);
        let ask = FrontQuestion::Log { app: app.to_string(), after, limit };
        Box::pin(async move {
            let page = match self.asker.one(ask).await {
                Ok(FrontAnswer::Decrees { page, .. }) => LogPage::decode(&page.0),
                Err(Unanswered::Cut(behind)) => return Err(LogUnread::Cut(Slot(behind))),
                Err(Unanswered::Busy) => return Err(LogUnread::Busy),
                Err(Unanswered::Problem { code, .. }) if code == "busy" => return Err(LogUnread::Busy),
                Ok(_) | Err(_) => return Err(LogUnread::NotHere),
            };
            // A node that has started again may not be so far yet.
            let decrees = page.ok().map(|page| page.decrees).filter(|decrees| !decrees.is_empty());
            decrees.ok_or(LogUnread::NotHere)
        })
    }
}

impl synod_gateway::Certificates for Beside {
    fn newest(&self, app: AppNdx) -> Option<Arc<StateCertificate>> {
        self.board.seen().apps.get(&app)?.certificate.clone()
    }

    fn list(
        &self,
        app: AppNdx,
        after: Option<StateNdx>,
        limit: usize,
    ) -> CertificateRead<'_, Vec<Arc<StateCertificate>>> {
        Box::pin(async move {
            let mut all: Vec<Arc<StateCertificate>> = Vec::new();
            while all.len() < limit {
                let before = all.last().map(|last| last.statement.state_ndx).or(after);
                let ask = FrontQuestion::Certificates {
                    app: app.to_string(),
                    before: before.map(|before| before.0),
                    limit: u64::try_from(limit - all.len()).unwrap_or(u64::MAX),
                };
                let Ok(FrontAnswer::Certificates(told)) = self.asker.one(ask).await else { break };
                let read = told.iter().filter_map(|blob| wire::decode(&blob.0).ok().map(Arc::new));
                let had = all.len();
                all.extend(read);
                if all.len() == had {
                    break;
                }
            }
            all
        })
    }

    fn bundle(
        &self,
        app: AppNdx,
        state_ndx: Option<StateNdx>,
    ) -> CertificateRead<'_, Option<CertificateBundle>> {
        let state_ndx = state_ndx.map(|state_ndx| state_ndx.0);
        let ask = FrontQuestion::Certificate { app: app.to_string(), state_ndx };
        Box::pin(async move {
            let told = self.asker.gather(ask).await.ok()?;
            CertificateBundle::decode(&told).ok()
        })
    }

    fn certified(&self, app: AppNdx) -> Option<Certified> {
        let newest = synod_gateway::Certificates::newest(self, app);
        self.kept.get(&app)?.certified(newest.as_ref())
    }
}
