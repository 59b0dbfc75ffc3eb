//! A store of files in place of the real one: in memory, and as slow as the test wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use synod_auth::{Algorithm, SigningKey, Verified, sign_content_receipt};
use synod_backend::{BoxFuture, ContentDoor};
use synod_types::{
    ContentKey, ContentReceipt, ContentTicket, Manifest, NodeId, Refusal, RefusalCode, SignedCommand,
};
use tokio::sync::{Notify, Semaphore};

use super::{CLUSTER, soon};

/// A node's files.
pub struct FakeDoor {
    state: Mutex<State>,
    /// Each piece takes one permit for good, as does each wait for the majority.
    pieces: Semaphore,
    majority: Semaphore,
    changed: Notify,
    holders: Vec<SigningKey>,
}

#[derive(Default)]
struct State {
    partial: HashMap<ContentKey, (Manifest, Vec<Option<Bytes>>)>,
    whole: HashMap<ContentKey, Bytes>,
    refusal: Option<RefusalCode>,
    held_refusal: Option<RefusalCode>,
    held_asked: u64,
    /// Whose receipts are for another file.
    lies: bool,
    taken: u64,
    /// In [`ContentDoor::piece`] and in [`ContentDoor::held`] now.
    pieces_waiting: usize,
    held_waiting: usize,
}

impl FakeDoor {
    pub fn new() -> Arc<FakeDoor> {
        Arc::new(FakeDoor {
            state: Mutex::default(),
            pieces: Semaphore::new(Semaphore::MAX_PERMITS),
            majority: Semaphore::new(Semaphore::MAX_PERMITS),
            changed: Notify::new(),
            holders: (0..3).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect(),
        })
    }

    /// One that takes so many pieces, and keeps the next one waiting.
    pub fn with_pieces(pieces: usize) -> Arc<FakeDoor> {
        let door = FakeDoor::new();
        door.pieces.forget_permits(Semaphore::MAX_PERMITS - pieces);
        door
    }

    /// One that waits for a majority in vain.
    pub fn without_majority() -> Arc<FakeDoor> {
        let door = FakeDoor::new();
        door.majority.forget_permits(Semaphore::MAX_PERMITS);
        door
    }

    /// Takes so many pieces more.
    pub fn take_pieces(&self, count: usize) {
        self.pieces.add_permits(count);
    }

    /// Lets so many waits for a majority end.
    pub fn reach_majority(&self, count: usize) {
        self.majority.add_permits(count);
    }

    /// Refuses everything from now on, or nothing.
    pub fn refuse(&self, code: Option<RefusalCode>) {
        self.state().refusal = code;
    }

    /// Refuses to say who holds a file, from now on, or not any more.
    pub fn refuse_held(&self, code: Option<RefusalCode>) {
        self.state().held_refusal = code;
    }

    /// Forgets every file.
    pub fn forget(&self) {
        let mut state = self.state();
        state.partial.clear();
        state.whole.clear();
    }

    /// Gives receipts that are not for the file.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    pub fn whole(&self, content: ContentKey) -> Option<Bytes> {
        self.state().whole.get(&content).cloned()
    }

    /// Pieces taken since the start, repeats too.
    pub fn taken(&self) -> u64 {
        self.state().taken
    }

    pub fn holders(&self) -> Vec<NodeId> {
        self.holders.iter().map(|key| NodeId(key.id())).collect()
    }

    pub fn pieces_waiting(&self) -> usize {
        self.state().pieces_waiting
    }

    pub async fn waits_for_pieces(&self, count: usize) {
        self.until(|state| state.pieces_waiting == count).await;
    }

    pub async fn waits_for_held(&self, count: usize) {
        self.until(|state| state.held_waiting == count).await;
    }

    pub async fn has_taken(&self, count: u64) {
        self.until(|state| state.taken >= count).await;
    }

    pub async fn is_asked_who_holds(&self, count: u64) {
        self.until(|state| state.held_asked >= count).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        soon(async {
            loop {
                let changed = self.changed.notified();
                if done(&self.state()) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    fn take(&self, content: ContentKey, number: u32, bytes: Bytes) -> Result<(), Refusal> {
        let mut state = self.state();
        state.taken += 1;
        if state.whole.contains_key(&content) {
            return Ok(());
        }
        let missing = || Refusal::new(RefusalCode::ContentMissing, "no such file is being received");
        let (manifest, pieces) = state.partial.get_mut(&content).ok_or_else(missing)?;
        if !manifest.proves(number, &bytes) {
            return Err(Refusal::new(RefusalCode::Malformed, "these are not the bytes of the piece"));
        }
        pieces[usize::try_from(number).unwrap()] = Some(bytes);
        if pieces.iter().all(Option::is_some) {
            let file = pieces.drain(..).flatten().collect::<Vec<_>>().concat();
            state.partial.remove(&content);
            if ContentKey::of(&file) != content {
                return Err(Refusal::new(RefusalCode::Malformed, "the pieces are not the file"));
            }
            state.whole.insert(content, file.into());
        }
        Ok(())
    }
}

/// Counts who is inside.
struct Inside<'a>(&'a FakeDoor, fn(&mut State) -> &mut usize);

impl<'a> Inside<'a> {
    fn new(door: &'a FakeDoor, which: fn(&mut State) -> &mut usize) -> Inside<'a> {
        door.change(|state| *which(state) += 1);
        Inside(door, which)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.change(|state| *self.1(state) -= 1);
    }
}

impl ContentDoor for FakeDoor {
    fn admit<'a>(&'a self, _: &'a Verified<SignedCommand>) -> BoxFuture<'a, Result<(), Refusal>> {
        let admitted = match self.state().refusal {
            Some(code) => Err(Refusal::new(code, "so it was asked for")),
            None => Ok(()),
        };
        Box::pin(async { admitted })
    }

    fn offer(
        &self,
        ticket: Verified<SignedCommand>,
        manifest: Manifest,
    ) -> BoxFuture<'_, Result<Vec<u32>, Refusal>> {
        Box::pin(async move {
            self.admit(&ticket).await?;
            let content = ContentTicket::decode(&ticket.body().operation).unwrap().content;
            let mut state = self.state();
            if state.whole.contains_key(&content) {
                return Ok(Vec::new());
            }
            let pieces = vec![None; manifest.pieces.len()];
            let (_, pieces) = state.partial.entry(content).or_insert((manifest, pieces));
            let numbered = (0..).zip(&*pieces);
            Ok(numbered.filter(|(_, piece)| piece.is_none()).map(|(number, _)| number).collect())
        })
    }

    fn piece(&self, content: ContentKey, number: u32, bytes: Bytes) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let _inside = Inside::new(self, |state| &mut state.pieces_waiting);
            self.pieces.acquire().await.unwrap().forget();
            let taken = self.take(content, number, bytes);
            self.changed.notify_waiters();
            taken
        })
    }

    fn held(&self, content: ContentKey) -> BoxFuture<'_, Result<Vec<ContentReceipt>, Refusal>> {
        Box::pin(async move {
            let _inside = Inside::new(self, |state| &mut state.held_waiting);
            self.majority.acquire().await.unwrap().forget();
            self.change(|state| state.held_asked += 1);
            let state = self.state();
            if let Some(code) = state.held_refusal {
                return Err(Refusal::new(code, "so it was asked for"));
            }
            if !state.whole.contains_key(&content) {
                return Err(Refusal::new(RefusalCode::ContentMissing, "the file is not here"));
            }
            let content = if state.lies { ContentKey::of(b"another") } else { content };
            Ok(self.holders.iter().map(|key| sign_content_receipt(key, CLUSTER, content)).collect())
        })
    }
}
