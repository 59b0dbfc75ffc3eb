//! Uploading a file: to one node, from which the others have it, and on at another one where that fails.
//!
//! A node says which pieces it wants, so nothing is sent twice to a node that has it: an upload goes on where it was cut.
//! It is given up when it comes no further for a while, however long it takes in all.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use synod_auth::verify_content_receipt;
use synod_types::content::ManifestError;
use synod_types::limits::COMMAND_WAIT_MS_MAX;
use synod_types::request::{Reply, Request};
use synod_types::{
    AppNdx, ClusterId, ContentKey, ContentReceipt, ContentTicket, Manifest, Refusal, RefusalCode, Seq,
    SignedCommand, TimeMs,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use crate::call::{is_last_word, pause};
use crate::client::Client;
use crate::commander::CommandOptions;
use crate::error::UploadError;
use crate::session::Session;

/// Pieces on their way at a time: as many as a node takes from one session.
const PIECES_ON_THE_WAY: usize = 8;
/// Bytes that an offer counts as: the ticket, and 32 for each of 256 pieces.
const OFFER_BYTES: usize = 12 << 10;
/// How long a ticket is good. It is looked at when it is offered; each attempt has its own.
const TICKET_LIFE: Duration = Duration::from_secs(3600);
/// How long a node may wait for a majority until it says that there is none, and a little for the way.
const HELD_WAIT: Duration = Duration::from_millis(COMMAND_WAIT_MS_MAX + 2_000);

/// A file that a majority of the nodes has stored durably.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uploaded {
    /// Its key, for the command that refers to it.
    pub content: ContentKey,
    /// Its bytes.
    pub bytes: u64,
    /// The word of each node, from different ones; every signature was verified. Whether the signers are nodes of the
    /// cluster is for who knows the genesis document.
    pub receipts: Vec<ContentReceipt>,
}

impl Client {
    /// Brings a file to the nodes, and returns when a majority has it. Then a command of `app` may refer to it; a file to
    /// which nothing refers is not kept for ever. `progress` is told how many bytes of how many the node has that the file
    /// goes to; less than before where another node has to be begun with.
    ///
    /// Uploading the same file again costs nothing. It is given up after
    /// [`Timeouts::upload`](crate::Timeouts::upload) without progress.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn upload(
        &self,
        app: AppNdx,
        file: Bytes,
        progress: impl Fn(u64, u64),
    ) -> Result<Uploaded, UploadError> {
        // Of some at a time all go faster: they share one session and one disk.
        let _turn = self.uploads().acquire().await.expect("the semaphore is never closed");
        let hashed = file.clone();
        // Milliseconds for each MiB: not on the threads that carry the traffic.
        let hashed =
            tokio::task::spawn_blocking(move || Ok((Manifest::of(&hashed)?, ContentKey::of(&hashed))));
        let hashed: Result<_, ManifestError> =
            hashed.await.expect("hashing does not panic, and is not aborted");
        let (manifest, content) = hashed?;
        let fewest_missing = usize::MAX;
        let deadline = Instant::now() + self.timeouts().upload;
        let bytes = manifest.bytes;
        let mut upload =
            Upload { client: self, app, content, file, manifest, progress, fewest_missing, deadline };
        let receipts = upload.run().await?;
        Ok(Uploaded { content, bytes, receipts })
    }
}

/// An upload in progress.
struct Upload<'a, P> {
    client: &'a Client,
    app: AppNdx,
    content: ContentKey,
    file: Bytes,
    manifest: Manifest,
    progress: P,
    /// Pieces that were missing at the node that had most. Only fewer are progress, so that there is an end.
    fewest_missing: usize,
    /// Until when there has to be progress.
    deadline: Instant,
}

/// Why an attempt at one node ends without receipts.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// The node does not answer.
    #[error("{0}")]
    Lost(String),
    /// It says no, or not now.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<Stop> for UploadError {
    fn from(stop: Stop) -> UploadError {
        match stop {
            Stop::Lost(why) => UploadError::Unreachable { why },
            Stop::Refused(refusal) => UploadError::Refused(refusal),
        }
    }
}

/// Whom to ask next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Advice {
    /// The same node.
    Stay,
    /// The next node, as long as there is time.
    Move,
    /// The next node, until each has said the same.
    MoveOnce,
    /// Nobody: it follows from the bytes.
    GiveUp,
}

impl Advice {
    fn of(code: RefusalCode) -> Advice {
        match code {
            // The node waits for a majority, or it gave up what it had: elsewhere all of it would be sent again.
            RefusalCode::Timeout | RefusalCode::ContentMissing => Advice::Stay,
            code if code.is_transient() => Advice::Move,
            code if is_last_word(code) => Advice::GiveUp,
            // A full disk, or a state behind that of the others.
            _ => Advice::MoveOnce,
        }
    }
}

impl<P: Fn(u64, u64)> Upload<'_, P> {
    async fn run(&mut self) -> Result<Vec<ContentReceipt>, UploadError> {
        let roster = self.client.roster();
        let mut seat = roster.preferred();
        let mut attempts = 0;
        // Nodes that said no, one behind the other.
        let mut refused = 0;
        loop {
            let before = self.fewest_missing;
            let stop = match self.attempt(seat).await {
                Ok(receipts) => {
                    roster.prefer(seat);
                    return Ok(receipts);
                }
                Err(stop) => stop,
            };
            let came_further = self.fewest_missing < before;
            attempts = if came_further { 1 } else { attempts + 1 };
            let advice = match &stop {
                // A cut session does not mean that the node is gone, and it has what it took.
                Stop::Lost(_) if came_further => Advice::Stay,
                Stop::Lost(_) => {
                    roster.avoid(seat);
                    Advice::Move
                }
                Stop::Refused(refusal) => Advice::of(refusal.code),
            };
            debug!(%stop, address = roster.address(seat), "an upload comes no further here");
            refused = if advice == Advice::MoveOnce { refused + 1 } else { 0 };
            let resume = Instant::now() + pause(attempts, roster.len());
            if advice == Advice::GiveUp || refused == roster.len() || resume >= self.deadline {
                return Err(stop.into());
            }
            if advice != Advice::Stay {
                seat = roster.after(seat);
            }
            sleep_until(resume).await;
        }
    }

    /// Offers the file to one node, sends what it wants, and waits for the majority.
    async fn attempt(&mut self, seat: usize) -> Result<Vec<ContentReceipt>, Stop> {
        let roster = self.client.roster();
        let address = roster.address(seat);
        let session = roster.session(seat, self.deadline).await;
        let session = session.map_err(|why| Stop::Lost(format!("{address}: {why}")))?;
        let ticket = self.ticket().await;
        let offer = Request::Offer { ticket, manifest: self.manifest.clone() };
        let timeouts = *self.client.timeouts();
        let wanted = match self.ask(&session, offer, OFFER_BYTES, timeouts.attempt).await? {
            Reply::Wanted { pieces, .. } => pieces,
            other => return Err(stop(other)),
        };
        self.send(&session, wanted, timeouts.total).await?;
        let await_held = Request::AwaitHeld { content: self.content };
        let receipts = match self.ask(&session, await_held, 0, HELD_WAIT).await? {
            Reply::Held { receipts, .. } => receipts,
            other => return Err(stop(other)),
        };
        check_receipts(&receipts, self.content, self.client.commander().cluster())
            .map_err(|why| Stop::Lost(format!("{address} gives receipts that prove nothing: {why}")))?;
        Ok(receipts)
    }

    async fn ticket(&self) -> SignedCommand {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = u64::try_from(since.saturating_add(TICKET_LIFE).as_millis()).unwrap_or(u64::MAX);
        let options = CommandOptions { not_after: Some(TimeMs(end)), expected: None };
        let ticket = ContentTicket { content: self.content, bytes: self.manifest.bytes };
        // It is never executed, so it needs no seq of its own.
        let signed = self.client.sign(self.app, Seq(0), ticket.encode().into(), options).await;
        signed.expect("a ticket is a small operation")
    }

    /// Sends pieces, some at a time.
    async fn send(&mut self, session: &Arc<Session>, wanted: Vec<u32>, limit: Duration) -> Result<(), Stop> {
        let places: Option<Vec<_>> =
            wanted.iter().map(|&number| Some((number, self.manifest.place(number)?))).collect();
        let places =
            places.ok_or_else(|| Stop::Lost("the node wants a piece that there is not".to_owned()))?;
        let total = self.manifest.bytes;
        let mut missing_bytes: u64 =
            places.iter().map(|&(_, (_, bytes))| u64::try_from(bytes).unwrap_or(total)).sum();
        let mut missing = places.len();
        self.on_missing(missing);
        (self.progress)(total.saturating_sub(missing_bytes), total);
        let mut places = places.into_iter();
        let mut on_the_way = VecDeque::new();
        loop {
            while on_the_way.len() < PIECES_ON_THE_WAY
                && let Some((number, (start, bytes))) = places.next()
            {
                let start = usize::try_from(start).expect("the file is in memory");
                let piece = self.file.slice(start..start + bytes);
                let request = Request::Piece { content: self.content, number, bytes: piece };
                on_the_way.push_back((bytes, self.request(session, request, bytes).await?));
            }
            let Some((bytes, answer)) = on_the_way.pop_front() else { return Ok(()) };
            match self.answer(session, answer, limit).await? {
                Reply::Taken { .. } => {}
                other => return Err(stop(other)),
            }
            missing -= 1;
            missing_bytes = missing_bytes.saturating_sub(u64::try_from(bytes).unwrap_or(total));
            self.on_missing(missing);
            (self.progress)(total.saturating_sub(missing_bytes), total);
        }
    }

    /// So many pieces are missing at a node: fewer than ever gives us more time.
    fn on_missing(&mut self, missing: usize) {
        if missing < self.fewest_missing {
            self.fewest_missing = missing;
            self.deadline = Instant::now() + self.client.timeouts().upload;
        }
    }

    async fn ask(
        &self,
        session: &Arc<Session>,
        request: Request,
        bytes: usize,
        limit: Duration,
    ) -> Result<Reply, Stop> {
        let answer = self.request(session, request, bytes).await?;
        self.answer(session, answer, limit).await
    }

    /// Sends a request.
    async fn request(
        &self,
        session: &Arc<Session>,
        request: Request,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Reply>, Stop> {
        let room = timeout_at(self.deadline, session.room(bytes)).await;
        let room = room.map_err(|_| Stop::Lost("too much is in flight".to_owned()))?;
        let sent = room.and_then(|room| session.send(request, room));
        sent.map_err(|lost| Stop::Lost(lost.to_string()))
    }

    /// Waits for an answer.
    async fn answer(
        &self,
        session: &Arc<Session>,
        answer: oneshot::Receiver<Reply>,
        limit: Duration,
    ) -> Result<Reply, Stop> {
        match timeout_at(self.deadline.min(Instant::now() + limit), answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Stop::Lost(session.why().to_string())),
            Err(_) => Err(Stop::Lost(format!("no answer within {limit:?}"))),
        }
    }
}

/// What a reply means that is not the one that was asked for.
fn stop(reply: Reply) -> Stop {
    match reply {
        Reply::Refused { refusal, .. } => Stop::Refused(refusal),
        _ => Stop::Lost("the node answered something else than what was asked".to_owned()),
    }
}

/// Checks that these are the words of different nodes for this file.
fn check_receipts(
    receipts: &[ContentReceipt],
    content: ContentKey,
    cluster: ClusterId,
) -> Result<(), String> {
    let mut nodes = HashSet::new();
    for receipt in receipts {
        if receipt.content != content {
            return Err(format!("one is for another file, {}", receipt.content));
        }
        if !nodes.insert(receipt.node) {
            return Err(format!("two are of one node, {}", receipt.node));
        }
        verify_content_receipt(receipt, cluster).map_err(|error| error.to_string())?;
    }
    if nodes.is_empty() { Err("there are none".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use synod_auth::{Algorithm, SigningKey, sign_content_receipt};
    use synod_types::Digest;

    use super::*;

    #[test]
    fn receipts_are_of_different_nodes_for_this_file_and_this_cluster() {
        let cluster = ClusterId(Digest([1; 32]));
        let content = ContentKey::of(b"a file");
        let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519));
        let [one, other] = keys.each_ref().map(|key| sign_content_receipt(key, cluster, content));
        let check = |receipts: &[ContentReceipt]| check_receipts(receipts, content, cluster).is_ok();
        assert!(check(&[one.clone(), other.clone()]));
        assert!(check(std::slice::from_ref(&other)));
        assert!(!check(&[]));
        assert!(!check(&[one.clone(), one.clone()]));
        let elsewhere = sign_content_receipt(&keys[0], ClusterId(Digest([2; 32])), content);
        assert!(!check(&[elsewhere, other.clone()]));
        let another = sign_content_receipt(&keys[0], cluster, ContentKey::of(b"another"));
        assert!(!check(&[another, other.clone()]));
        let mut forged = one;
        forged.signature = other.signature.clone();
        assert!(!check(&[forged, other]));
    }
}
