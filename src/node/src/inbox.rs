//! What other nodes sent, on its way to the driver: nothing gets there with an unverified command in it.

use std::sync::Arc;

use synod_auth::{Unverified, Verified, VerifyPool};
use synod_types::{Message, NodeId, Refusal};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::config::Verify;

/// Commands that are verified where they arrive; more go to the verifying threads.
const INLINE_MAX: usize = 4;

/// Takes messages from the mesh.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub verify: Verify,
    pub pool: Arc<VerifyPool>,
    pub messages: mpsc::Sender<(NodeId, Message)>,
}

impl Inbox {
    /// Verifies a message and hands it to the driver; returns when both is done, so that a stream is read no faster
    /// than its messages are dealt with.
    pub(crate) async fn take(&self, from: NodeId, message: Unverified<Message>) {
        let message = match self.verify(message).await {
            Ok(message) => message,
            Err(refusal) => {
                warn!(%from, %refusal, "a node sent a command that does not verify; its message is dropped");
                return;
            }
        };
        // The driver is gone only when the node stops.
        let _ = self.messages.send((from, message)).await;
    }

    async fn verify(&self, message: Unverified<Message>) -> Result<Message, Refusal> {
        if self.verify == Verify::Entry {
            return Ok(message.0);
        }
        if message.0.commands().is_some_and(|(_, commands)| commands.len() > INLINE_MAX) {
            let (sender, verified) = oneshot::channel();
            let job = message.clone();
            let queued = self.pool.submit(move |verifier| {
                // The receiver waits below, unless the node stops.
                let _ = sender.send(verifier.verify_message(job));
            });
            if queued.is_ok()
                && let Ok(verified) = verified.await
            {
                return verified.map(Verified::into_inner);
            }
        }
        // Few commands, or the threads are busy: then this stream waits for its own work, which slows its sender down.
        self.pool.verifier().verify_message(message).map(Verified::into_inner)
    }
}
