//! The files that one session uploads: what it offered, and how much of it is in progress.
//!
//! Each request is answered by a task, so that neither a disk nor a majority holds up the commands behind it. Pieces and
//! offers beyond [`SESSION_PIECES_MAX`] are not read from the network until there is room for them; that is short, since
//! a piece waits for this node's disk alone. What waits for other nodes is counted apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use synod_types::request::Reply;
use synod_types::{ContentKey, Manifest, Refusal, RefusalCode, SignedCommand};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::error;

use crate::outbox::{OpenRequest, Outbox};
use crate::shared::{Room, Shared};
use crate::ticket::check_place;

/// Files that a session may have offered. Beyond that the one is forgotten that nothing was asked about for the longest
/// time.
const SESSION_OFFERS_MAX: usize = 16;
/// Offers and pieces of a session in progress.
const SESSION_PIECES_MAX: usize = 8;

/// A session's files.
pub(crate) struct Uploads {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    offers: Arc<Offers>,
    room: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

/// What a session may ask about a file.
pub(crate) enum UploadRequest {
    Offer { ticket: SignedCommand, manifest: Manifest },
    Piece { content: ContentKey, piece: u32, bytes: Bytes },
    AwaitHeld { content: ContentKey },
}

impl Uploads {
    pub(crate) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>) -> Uploads {
        let room = Arc::new(Semaphore::new(SESSION_PIECES_MAX));
        Uploads { shared, outbox, offers: Arc::default(), room, tasks: JoinSet::new() }
    }

    /// Begins what is asked, and returns as soon as the next request may be read.
    pub(crate) async fn take(&mut self, number: u64, request: UploadRequest) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                // A panic is a bug of ours; it took one request with it.
                error!(%error, "a request about a file ended by a panic");
            }
        }
        let open = self.outbox.open(number);
        match request {
            UploadRequest::Offer { ticket, manifest } => self.offer(open, ticket, manifest).await,
            UploadRequest::Piece { content, piece, bytes } => self.piece(open, content, piece, bytes).await,
            UploadRequest::AwaitHeld { content } => self.await_held(open, content),
        }
    }

    async fn offer(&mut self, open: OpenRequest, ticket: SignedCommand, manifest: Manifest) {
        let bytes = ticket.len() + manifest.pieces.len() * size_of::<synod_types::Digest>();
        let room = match self.shared.file_room(bytes) {
            Ok(room) => room,
            Err(refusal) => return refuse(open, refusal),
        };
        let permit = self.permit().await;
        let (shared, offers) = (self.shared.clone(), self.offers.clone());
        self.tasks.spawn(async move {
            let wanted = offer(&shared, &offers, ticket, manifest).await;
            drop((room, permit));
            open.answer(wanted.map(|pieces| |your_msg_n| Reply::Wanted { your_msg_n, pieces }));
        });
    }

    async fn piece(&mut self, open: OpenRequest, content: ContentKey, piece: u32, bytes: Bytes) {
        let (asked, room) = match self.admit_piece(content, piece, &bytes) {
            Ok(admitted) => admitted,
            Err(refusal) => return refuse(open, refusal),
        };
        let permit = self.permit().await;
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let taken = shared.piece(content, piece, bytes).await;
            drop((asked, room, permit));
            open.answer(taken.map(|()| |your_msg_n| Reply::Taken { your_msg_n }));
        });
    }

    fn admit_piece(&self, content: ContentKey, piece: u32, bytes: &Bytes) -> Result<(Asked, Room), Refusal> {
        let (asked, file_bytes) = self.offers.ask_piece(content)?;
        check_place(file_bytes, piece, bytes)?;
        let room = self.shared.file_room(bytes.len())?;
        Ok((asked, room))
    }

    fn await_held(&mut self, open: OpenRequest, content: ContentKey) {
        let asked = self.shared.check_not_stopping().and_then(|()| self.offers.ask_held(content));
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return refuse(open, refusal),
        };
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let receipts = shared.held(content).await;
            drop(asked);
            open.answer(receipts.map(|receipts| |your_msg_n| Reply::Held { your_msg_n, receipts }));
        });
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

fn refuse(open: OpenRequest, refusal: Refusal) {
    open.answer(Err::<fn(u64) -> Reply, _>(refusal));
}

/// Verifies an offer, finds it a place among the session's, and passes it on.
async fn offer(
    shared: &Shared,
    offers: &Arc<Offers>,
    ticket: SignedCommand,
    manifest: Manifest,
) -> Result<Vec<u32>, Refusal> {
    let ticket = shared.verify_ticket(ticket)?;
    let file = ticket.ticket;
    let place = offers.place(file.content)?;
    let wanted = shared.offer(ticket, manifest).await?;
    place.allow(file.bytes);
    Ok(wanted)
}

/// What a session has offered.
#[derive(Default)]
struct Offers(Mutex<State>);

#[derive(Default)]
struct State {
    files: HashMap<ContentKey, Offered>,
    /// Rises with each request.
    now: u64,
}

#[derive(Default)]
struct Offered {
    /// Bytes of the file, once the node has said yes.
    allowed: Option<u64>,
    /// Requests in progress.
    asked: usize,
    awaits_held: bool,
    last_asked: u64,
}

impl Offers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is held")
    }

    /// A place for a file that is offered; it stays the session's if the node allows it.
    fn place(self: &Arc<Self>, content: ContentKey) -> Result<Asked, Refusal> {
        let mut state = self.state();
        if !state.files.contains_key(&content) && state.files.len() >= SESSION_OFFERS_MAX {
            let idle = state.files.iter().filter(|(_, file)| file.asked == 0);
            let oldest = idle.min_by_key(|(_, file)| file.last_asked).map(|(key, _)| *key);
            let oldest = oldest.ok_or_else(|| {
                let text =
                    format!("this session uploads {SESSION_OFFERS_MAX} files already; wait for one of them");
                Refusal::new(RefusalCode::Busy, text)
            })?;
            state.files.remove(&oldest);
        }
        state.now += 1;
        let now = state.now;
        let file = state.files.entry(content).or_default();
        file.asked += 1;
        file.last_asked = now;
        Ok(Asked { offers: self.clone(), content, awaits_held: false })
    }

    /// Begins with a piece of a file that the session may upload; gives the file's bytes, too.
    fn ask_piece(self: &Arc<Self>, content: ContentKey) -> Result<(Asked, u64), Refusal> {
        let mut state = self.state();
        let (_, file_bytes) = state.begin(content)?;
        Ok((Asked { offers: self.clone(), content, awaits_held: false }, file_bytes))
    }

    /// Begins to wait until a file is held: once at a time for each.
    fn ask_held(self: &Arc<Self>, content: ContentKey) -> Result<Asked, Refusal> {
        let mut state = self.state();
        if state.files.get(&content).is_some_and(|file| file.awaits_held) {
            let text = "this session waits for this file already; wait for that answer";
            return Err(Refusal::new(RefusalCode::Busy, text));
        }
        let (file, _) = state.begin(content)?;
        file.awaits_held = true;
        Ok(Asked { offers: self.clone(), content, awaits_held: true })
    }
}

impl State {
    /// Begins a request about an allowed file, which has so many bytes.
    fn begin(&mut self, content: ContentKey) -> Result<(&mut Offered, u64), Refusal> {
        self.now += 1;
        let file = self.files.get_mut(&content).and_then(|file| file.allowed.map(|bytes| (file, bytes)));
        let (file, bytes) = file.ok_or_else(|| {
            let text = format!(
                "this session has not been told which pieces of {} are wanted: offer the file, and wait for that",
                content.short()
            );
            Refusal::new(RefusalCode::NotPermitted, text)
        })?;
        file.asked += 1;
        file.last_asked = self.now;
        Ok((file, bytes))
    }
}

/// A request about a file, in progress until this is dropped; the file is not forgotten meanwhile.
struct Asked {
    offers: Arc<Offers>,
    content: ContentKey,
    awaits_held: bool,
}

impl Asked {
    /// From now on the session may send pieces of the file, which has so many bytes.
    fn allow(&self, bytes: u64) {
        if let Some(file) = self.offers.state().files.get_mut(&self.content) {
            file.allowed = Some(bytes);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.offers.state();
        let Some(file) = state.files.get_mut(&self.content) else { return };
        file.asked -= 1;
        file.awaits_held &= !self.awaits_held;
        if file.asked == 0 && file.allowed.is_none() {
            state.files.remove(&self.content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> ContentKey {
        ContentKey::of(&n.to_be_bytes())
    }

    fn refused<T>(result: Result<T, Refusal>) -> RefusalCode {
        result.err().expect("it is refused").code
    }

    #[test]
    fn a_file_is_asked_about_once_it_is_allowed() {
        let offers = Arc::new(Offers::default());
        assert_eq!(refused(offers.ask_piece(key(1))), RefusalCode::NotPermitted);
        let place = offers.place(key(1)).unwrap();
        assert_eq!(refused(offers.ask_piece(key(1))), RefusalCode::NotPermitted);
        place.allow(7);
        drop(place);
        assert_eq!(offers.ask_piece(key(1)).unwrap().1, 7);
        assert_eq!(refused(offers.ask_held(key(2))), RefusalCode::NotPermitted);
    }

    #[test]
    fn a_refused_offer_leaves_nothing() {
        let offers = Arc::new(Offers::default());
        drop(offers.place(key(1)).unwrap());
        assert!(offers.state().files.is_empty());
        // A second offer of an allowed file takes nothing away.
        offers.place(key(1)).unwrap().allow(7);
        drop(offers.place(key(1)).unwrap());
        assert!(offers.ask_piece(key(1)).is_ok());
    }

    #[test]
    fn the_file_that_rested_longest_makes_room_and_none_in_progress_does() {
        let offers = Arc::new(Offers::default());
        for n in 0..SESSION_OFFERS_MAX {
            offers.place(key(n)).unwrap().allow(7);
        }
        drop(offers.ask_piece(key(0)).unwrap());
        offers.place(key(100)).unwrap().allow(7);
        assert_eq!(refused(offers.ask_piece(key(1))), RefusalCode::NotPermitted, "it rested longest");
        let mut asked = vec![offers.ask_piece(key(0)).unwrap().0, offers.ask_held(key(100)).unwrap()];
        asked.extend((2..SESSION_OFFERS_MAX).map(|n| offers.ask_held(key(n)).unwrap()));
        assert_eq!(refused(offers.place(key(101))), RefusalCode::Busy);
        asked.pop();
        assert!(offers.place(key(101)).is_ok());
        assert!(offers.state().files.len() <= SESSION_OFFERS_MAX);
    }

    #[test]
    fn a_file_is_awaited_once_at_a_time() {
        let offers = Arc::new(Offers::default());
        offers.place(key(1)).unwrap().allow(7);
        let asked = offers.ask_held(key(1)).unwrap();
        assert_eq!(refused(offers.ask_held(key(1))), RefusalCode::Busy);
        drop(offers.ask_piece(key(1)).unwrap());
        assert_eq!(refused(offers.ask_held(key(1))), RefusalCode::Busy, "a piece does not end it");
        drop(asked);
        assert!(offers.ask_held(key(1)).is_ok());
    }
}
