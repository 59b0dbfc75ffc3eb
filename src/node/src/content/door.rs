//! Where commanders upload files: who may, and what came of it.

use std::time::Duration;

use bytes::Bytes;
use synod_auth::Verified;
use synod_backend::{BoxFuture, ContentDoor};
use synod_content::{BeginError, Begun, Progress, PutError};
use synod_delivery::NotUniform;
use synod_gateway::Gateway;
use synod_types::limits::COMMAND_WAIT_MS_MAX;
use synod_types::{
    CommandBody, ContentKey, ContentReceipt, ContentTicket, Manifest, Refusal, RefusalCode, SignedCommand,
};
use tokio::time::Instant;
use tracing::error;

use super::{Ask, Content, stopping};
use crate::driver::now;
use crate::gate;

/// The commanders' way to this node's files.
pub(crate) struct Door {
    pub content: Content,
    pub gateway: Gateway,
}

impl ContentDoor for Door {
    fn admit<'a>(&'a self, ticket: &'a Verified<SignedCommand>) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { self.leave(ticket.body()).await.map(drop) })
    }

    fn offer(
        &self,
        ticket: Verified<SignedCommand>,
        manifest: Manifest,
    ) -> BoxFuture<'_, Result<Vec<u32>, Refusal>> {
        Box::pin(async move {
            let ContentTicket { content: key, .. } = self.leave(ticket.body()).await?;
            let begun = self.content.upload(move |store| store.begin(&key, &manifest)).await;
            match begun.ok_or_else(stopping)? {
                Ok(Begun::Missing(pieces)) => Ok(pieces),
                Ok(Begun::Stored) => {
                    self.stored(key);
                    Ok(Vec::new())
                }
                Err(why) => Err(no_room(&why)),
            }
        })
    }

    fn piece(&self, key: ContentKey, number: u32, bytes: Bytes) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let put = self.content.upload(move |store| match store.put_any(&key, number, &bytes) {
                // It was completed meanwhile, by this piece or from another node.
                Err(PutError::NotBegun(_)) if store.has(&key).is_some() => Ok(Progress::Stored),
                put => put,
            });
            match put.await.ok_or_else(stopping)? {
                Ok(Progress::Missing(_)) => Ok(()),
                Ok(Progress::Stored) => {
                    self.stored(key);
                    Ok(())
                }
                Err(why) => Err(not_taken(&why)),
            }
        })
    }

    fn held(&self, key: ContentKey) -> BoxFuture<'_, Result<Vec<ContentReceipt>, Refusal>> {
        Box::pin(async move {
            let not_here = || {
                let text = format!("file {key} is not whole at this node: offer it again");
                Refusal::new(RefusalCode::ContentMissing, text)
            };
            let inner = &self.content.0;
            if inner.store.has(&key).is_none() {
                return Err(not_here());
            }
            let late = |_| {
                let text = format!("no majority of the nodes has file {key} yet; ask again");
                Refusal::new(RefusalCode::Timeout, text)
            };
            let wait = Duration::from_millis(COMMAND_WAIT_MS_MAX);
            let majority = tokio::time::timeout(wait, self.content.ask_majority(key)).await.map_err(late)?;
            match majority.map_err(|_| stopping())? {
                Ok(receipts) if receipts.iter().any(|receipt| receipt.node == inner.identity.node_id()) => {
                    Ok(receipts)
                }
                Ok(_) => Err(not_here()),
                Err(NotUniform::Timeout(holders)) => {
                    let count = holders.len();
                    let text = format!("only {count} nodes have file {key} yet; ask again");
                    Err(Refusal::new(RefusalCode::Timeout, text))
                }
                Err(why @ NotUniform::Busy) => Err(super::not_held(key, &why)),
            }
        })
    }
}

impl Door {
    /// What the ticket gives leave for. What is refused is refused by the newest state.
    async fn leave(&self, body: &CommandBody) -> Result<ContentTicket, Refusal> {
        let door = self.gateway.app(body.app).map_err(|why| Refusal::new(RefusalCode::UnknownApp, why))?;
        let deadline = Instant::now() + Duration::from_millis(COMMAND_WAIT_MS_MAX);
        gate::admit(&self.gateway, door, deadline, |view| view.admit_upload(body, now())).await
    }

    fn stored(&self, key: ContentKey) {
        // The task is gone only when the node stops.
        let _ = self.content.0.asks.send(Ask::Stored(key));
    }
}

fn no_room(why: &BeginError) -> Refusal {
    let code = match why {
        BeginError::Manifest(_) => RefusalCode::Malformed,
        BeginError::Files { .. } | BeginError::Full { .. } => RefusalCode::QuotaExceeded,
        BeginError::Partials { .. } => RefusalCode::Busy,
        BeginError::Disk(why) => {
            error!(%why, "a file cannot be received");
            if why.is_full() { RefusalCode::QuotaExceeded } else { RefusalCode::Busy }
        }
    };
    Refusal::new(code, why)
}

fn not_taken(why: &PutError) -> Refusal {
    let code = match why {
        PutError::NotBegun(_) => RefusalCode::ContentMissing,
        PutError::WrongPiece { .. } | PutError::WrongWhole { .. } => RefusalCode::Malformed,
        PutError::Disk(why) => {
            error!(%why, "a piece of a file cannot be written");
            if why.is_full() { RefusalCode::QuotaExceeded } else { RefusalCode::Busy }
        }
    };
    Refusal::new(code, why)
}
