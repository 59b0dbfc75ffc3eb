//! What other nodes sent, on its way to the driver or, what is about files, to the content task: nothing gets there with
//! an unverified command or receipt in it.

use std::sync::Arc;

use synod_auth::{
    Unverified, Verified, VerifyPool, verify_certificate, verify_checkpoint, verify_content_receipt,
    verify_signatures, verify_statement,
};
use synod_types::limits::APPS_MAX;
use synod_types::{
    ContentMessage, CosignMessage, GossipMessage, GroupMessage, Message, NodeId, Refusal, RouteMessage,
    SignedStanding,
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::config::Verify;
use crate::cosigning::{Ask as CosignAsk, Cosigning};
use crate::remote::count;
use crate::roster::Roster;
use crate::snapshots::{Ask, Snapshots, Word};

/// Commands that are verified where they arrive; more go to the verifying threads.
const INLINE_MAX: usize = 4;

/// Takes messages from the mesh.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub verify: Verify,
    pub pool: Arc<VerifyPool>,
    pub messages: mpsc::Sender<(NodeId, Message)>,
    /// For what is about files.
    pub content: mpsc::Sender<(NodeId, ContentMessage)>,
    /// For what is about the files of snapshots.
    pub chunks: mpsc::Sender<(NodeId, ContentMessage)>,
    pub snapshots: Snapshots,
    pub cosigning: Cosigning,
    pub gossip: mpsc::Sender<(NodeId, GossipMessage<SignedStanding>)>,
    /// For what is on behalf of front ends.
    pub routes: mpsc::Sender<(NodeId, RouteMessage)>,
    /// Whose word counts.
    pub roster: Arc<Roster>,
}

impl Inbox {
    /// Verifies a message and hands it to the driver; returns when both is done, so that a stream is read no faster
    /// than its messages are dealt with.
    pub(crate) async fn take(&self, from: NodeId, message: Unverified<Message>) {
        let message = match self.verify(message).await {
            Ok(Message::Content(message)) => return self.take_content(from, message, &self.content).await,
            Ok(Message::Chunk(message)) => return self.take_content(from, message, &self.chunks).await,
            Ok(Message::Checkpoint { checkpoint, signature, asks }) => {
                return self.take_word(Word { from, checkpoint, signature, asks });
            }
            Ok(Message::Cosign(message)) => return self.take_cosign(from, message),
            // One that is lost is followed by another round.
            Ok(Message::Gossip(message)) => return drop(self.gossip.try_send((from, message))),
            // What is lost there is sent again, or asked again.
            Ok(Message::Route(message)) => return self.take_route(from, message),
            Ok(message) if !self.is_certified(from, &message) => return,
            Ok(message) => message,
            Err(refusal) => {
                warn!(%from, %refusal, "a node sent a command that does not verify; its message is dropped");
                return;
            }
        };
        // The driver is gone only when the node stops.
        let _ = self.messages.send((from, message)).await;
    }

    fn take_word(&self, word: Word) {
        let signed = verify_checkpoint(&word.checkpoint, &word.signature, self.pool.verifier().cluster());
        if signed == Ok(word.from) {
            self.snapshots.tell(Ask::Heard(word));
        } else {
            warn!(from = %word.from, "a node sent a checkpoint that it did not sign; dropped");
        }
    }

    fn take_cosign(&self, from: NodeId, message: CosignMessage) {
        let cluster = self.pool.verifier().cluster();
        let verified = match &message {
            CosignMessage::Prepare { statement, signature } => {
                verify_statement(statement, signature, cluster).map(|signer| signer == from)
            }
            CosignMessage::Commit { certificate } => verify_signatures(certificate, cluster).map(|_| true),
            CosignMessage::Holds(holdings) => Ok(holdings.len() <= APPS_MAX),
        };
        match verified {
            Ok(true) => self.cosigning.tell(CosignAsk::Heard(from, message)),
            Ok(false) => warn!(%from, "a node sent another one's word for a state, or too much; dropped"),
            Err(why) => warn!(%from, %why, "a node sent a word for a state that nobody signed; dropped"),
        }
    }

    /// Whether a snapshot that is offered has the word of a majority; everything else needs none.
    fn is_certified(&self, from: NodeId, message: &Message) -> bool {
        let Message::Group { app, message: GroupMessage::Snapshot { certificate } } = message else {
            return true;
        };
        let cluster = self.pool.verifier().cluster();
        let sets = self.roster.load().sets_that_vouch(*app);
        let verify = |members: &Vec<NodeId>| verify_certificate(certificate, cluster, members);
        let verified = sets.iter().map(verify).reduce(Result::or).expect("there are sets");
        if let Err(why) = &verified {
            warn!(%from, %why, "a node offered a snapshot whose certificate proves nothing; dropped");
        }
        verified.is_ok()
    }

    fn take_route(&self, from: NodeId, message: RouteMessage) {
        if self.routes.try_send((from, message)).is_err() {
            count("no-room");
        }
    }

    async fn take_content(
        &self,
        from: NodeId,
        message: ContentMessage,
        queue: &mpsc::Sender<(NodeId, ContentMessage)>,
    ) {
        match &message {
            ContentMessage::Held(receipt) => {
                let cluster = self.pool.verifier().cluster();
                if receipt.node != from || verify_content_receipt(receipt, cluster).is_err() {
                    warn!(%from, file = receipt.content.short(), "a node sent a receipt that it did not sign; dropped");
                    return;
                }
            }
            // These come with what must never wait, and are repeated: where there is no room, they are dropped.
            ContentMessage::Seek { .. }
            | ContentMessage::NotHeld { .. }
            | ContentMessage::PieceRequest { .. } => {}
            ContentMessage::Offer { .. } | ContentMessage::Piece { .. } => {
                // The content task is gone only when the node stops.
                let _ = queue.send((from, message)).await;
                return;
            }
        }
        // As above, or there is no room.
        let _ = queue.try_send((from, message));
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_auth::{Algorithm, SigningKey, Verifier, sign_content_receipt};
    use synod_types::{ClusterId, ContentKey, ContentReceipt, Digest};

    use super::*;
    use crate::shelf::CLUSTER;

    /// An inbox with room for two messages about files.
    fn inbox() -> (Inbox, mpsc::Receiver<(NodeId, ContentMessage)>) {
        let pool = VerifyPool::new(Arc::new(Verifier::new(CLUSTER)), 1).unwrap();
        let (messages, _) = mpsc::channel(1);
        let (content, received) = mpsc::channel(2);
        let (chunks, _) = mpsc::channel(1);
        let snapshots = Snapshots::new(mpsc::channel(1).0);
        let (pool, roster) = (Arc::new(pool), crate::roster::tests::of_one());
        let (cosigning, gossip) = (Cosigning::new(CLUSTER, mpsc::channel(1).0), mpsc::channel(1).0);
        let routes = mpsc::channel(1).0;
        (
            Inbox {
                verify: Verify::Entry,
                pool,
                messages,
                content,
                chunks,
                snapshots,
                cosigning,
                gossip,
                routes,
                roster,
            },
            received,
        )
    }

    #[tokio::test]
    async fn a_receipt_counts_if_its_sender_signed_it() {
        let (inbox, mut received) = inbox();
        let (key, file) = (SigningKey::generate(Algorithm::Ed25519), ContentKey::of(b"a file"));
        let node = NodeId(key.id());
        let good = sign_content_receipt(&key, CLUSTER, file);
        let elsewhere = sign_content_receipt(&key, ClusterId(Digest([9; 32])), file);
        let changed = ContentReceipt { content: ContentKey::of(b"another"), ..good.clone() };
        let other = NodeId(SigningKey::generate(Algorithm::Ed25519).id());
        for (from, receipt) in
            [(node, elsewhere), (node, changed), (other, good.clone()), (node, good.clone())]
        {
            inbox.take(from, Unverified(Message::Content(ContentMessage::Held(receipt)))).await;
        }
        assert_eq!(received.try_recv(), Ok((node, ContentMessage::Held(good))));
        assert!(received.try_recv().is_err(), "the others were dropped");
    }

    #[tokio::test]
    async fn a_small_message_is_dropped_and_a_large_one_waits_where_there_is_no_room() {
        let (inbox, mut received) = inbox();
        let (from, content) = (NodeId(Digest([2; 32])), ContentKey::of(b"a file"));
        let take = |message| inbox.take(from, Unverified(Message::Content(message)));
        for _ in 0..3 {
            take(ContentMessage::Seek { content, held: false }).await;
        }
        let piece = ContentMessage::Piece { content, number: 0, bytes: Bytes::from_static(b"a file") };
        let mut waiting = Box::pin(take(piece.clone()));
        tokio::select! {
            biased;
            () = &mut waiting => panic!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        for _ in 0..2 {
            assert!(matches!(received.recv().await, Some((_, ContentMessage::Seek { .. }))));
        }
        waiting.await;
        assert_eq!(received.recv().await, Some((from, piece)));
    }
}
