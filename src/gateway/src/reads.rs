//! Read indexes: a linearizable read asks the node which slot its state must have applied.
//!
//! Readers queue one question each; the node takes all of them at once as one [`ReadQuestion`] and answers them
//! together. Sharing is correct because the node asks Paxos only after it took the question: by then every reader in it
//! had already arrived.

use synod_types::Slot;
use synod_types::limits::READS_PENDING_MAX;
use tokio::sync::{mpsc, oneshot};

/// One reader who waits for an index.
type Asker = oneshot::Sender<Result<Slot, ReadRefused>>;

/// Why there is no read index now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// No leader is known, or it did not confirm in time that it still leads.
    #[error("no leader confirmed the read")]
    NoLeader,
    /// Too many reads are waiting.
    #[error("too many reads are waiting")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// The front ends' end of the queue.
pub(crate) struct ReadIndexes(mpsc::Sender<Asker>);

/// The node's end: the read-index questions of one application.
pub struct ReadQuestions {
    queue: mpsc::Receiver<Asker>,
}

/// Readers who arrived before this was taken, and share its answer. Dropped without an answer, it tells them that the
/// node is stopping.
#[must_use = "readers are waiting for the answer"]
pub struct ReadQuestion {
    askers: Vec<Asker>,
}

pub(crate) fn read_indexes() -> (ReadIndexes, ReadQuestions) {
    let (sender, queue) = mpsc::channel(READS_PENDING_MAX);
    (ReadIndexes(sender), ReadQuestions { queue })
}

impl ReadIndexes {
    /// The slot that a read which arrived now has to wait for.
    pub(crate) async fn obtain(&self) -> Result<Slot, ReadRefused> {
        let (asker, answer) = oneshot::channel();
        self.0.try_send(asker).map_err(|full_or_closed| match full_or_closed {
            mpsc::error::TrySendError::Full(_) => ReadRefused::Busy,
            mpsc::error::TrySendError::Closed(_) => ReadRefused::Stopping,
        })?;
        answer.await.unwrap_or(Err(ReadRefused::Stopping))
    }
}

impl ReadQuestions {
    /// Everyone who is asking now, as one question; waits for the first. `None` when the gateway is gone. May be
    /// dropped at any time without losing a reader.
    ///
    /// Ask Paxos after this returned, never answer with an index that was asked for earlier. A driver that takes the
    /// next question only when it has answered the last one lets the most readers share a round.
    pub async fn next(&mut self) -> Option<ReadQuestion> {
        loop {
            let mut askers = Vec::new();
            if self.queue.recv_many(&mut askers, READS_PENDING_MAX).await == 0 {
                return None;
            }
            // Those who gave up while they queued are not worth a round.
            askers.retain(|asker| !asker.is_closed());
            if !askers.is_empty() {
                return Some(ReadQuestion { askers });
            }
        }
    }
}

impl ReadQuestion {
    /// How many readers share this question.
    pub fn readers(&self) -> usize {
        self.askers.len()
    }

    /// The readers may read any state that has applied `index`.
    pub fn grant(self, index: Slot) {
        self.answer(Ok(index));
    }

    /// There is no index for these readers.
    pub fn refuse(self, why: ReadRefused) {
        self.answer(Err(why));
    }

    fn answer(self, answer: Result<Slot, ReadRefused>) {
        for asker in self.askers {
            // Who gave up meanwhile needs no answer.
            let _ = asker.send(answer);
        }
    }
}
