//! The files to which commands refer: from commanders, on this node's disk, from and to the other nodes.
//!
//! [`Content`] is what the rest of the node holds: ask it for a file, or whether a majority has one. Behind it stand
//! the store on disk (`synod-content`), the protocol between the nodes (`synod-delivery`), and [`task`], the one task that
//! drives the protocol. [`door`] is where commanders upload; [`collect`] removes what nothing refers to.

pub(crate) mod collect;
pub(crate) mod door;
mod lanes;
pub(crate) mod task;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_auth::{TlsIdentity, sign_content_receipt};
use synod_content::{ReadError, Store};
use synod_delivery::NotUniform;
use synod_gateway::{FileRead, Files};
use synod_types::{ClusterId, ContentKey, ContentReceipt, Refusal, RefusalCode};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::error;

/// Files that are read for front ends at a time.
const READS_MAX: usize = 4;
/// Pieces that are written for commanders at a time. The protocol between the nodes has its own lanes, and what this node
/// needs itself waits for neither.
const UPLOADS_MAX: usize = 4;
/// How long a command waits for the word of a majority that it holds a file. Files go first: whoever submits a command
/// has that word already, so that the nodes are asked once more and answer at once. Less than a client waits for one
/// node.
const HELD_WAIT: Duration = Duration::from_secs(5);
/// How long a stop waits until everybody let go of the files.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long to wait after the disk failed over a file that the node just got.
const DISK_FAILED_WAIT: Duration = Duration::from_secs(1);

/// This node's files, and those of the others. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Content(Arc<Inner>);

struct Inner {
    store: Store,
    /// For the task. Bounded by who asks: appliers, the gate and uploads, each with limits of its own.
    asks: mpsc::UnboundedSender<Ask>,
    reads: Semaphore,
    uploads: Semaphore,
    cluster: ClusterId,
    identity: Arc<TlsIdentity>,
}

/// What the node asks of the content task.
pub(crate) enum Ask {
    /// Get this file here; tells when it is.
    Want(ContentKey, oneshot::Sender<()>),
    /// Find out whether a majority holds this file.
    Await(ContentKey, oneshot::Sender<Majority>),
    /// This file was uploaded here, and is durable.
    Stored(ContentKey),
    /// This file cannot be read: it may be gone.
    Lost(ContentKey),
    /// Nothing referred to these files, and they are gone.
    Collected(Vec<ContentKey>),
}

/// What came of reading a file.
pub(crate) enum Verified {
    /// It is what it was, and of so many bytes.
    Whole(usize),
    /// It is not.
    Damaged,
    /// It is not here, or the disk does not give it now.
    Gone,
}

/// Who holds a file: the word of each node of a majority; or why there is none.
pub(crate) type Majority = Result<Vec<ContentReceipt>, NotUniform>;

impl Content {
    /// The files in `store`. What is asked here is answered by the [task](task::Task) that gets `asks`.
    pub(crate) fn new(
        store: Store,
        cluster: ClusterId,
        identity: Arc<TlsIdentity>,
        asks: mpsc::UnboundedSender<Ask>,
    ) -> Content {
        let (reads, uploads) = (Semaphore::new(READS_MAX), Semaphore::new(UPLOADS_MAX));
        Content(Arc::new(Inner { store, asks, reads, uploads, cluster, identity }))
    }

    /// The file, from this node's disk or from other nodes, however long that takes. `None`: the node stops.
    pub(crate) async fn obtain(&self, key: ContentKey) -> Option<Bytes> {
        let mut was_here = false;
        loop {
            // Whoever obtains a file is going to refer to it: it is not collected meanwhile.
            self.0.store.touch(&key);
            let content = self.clone();
            if let Some(file) = self.on_disk(move |_| content.read_blocking(key)).await? {
                return Some(file);
            }
            if was_here {
                tokio::time::sleep(DISK_FAILED_WAIT).await;
            }
            self.until_here(key).await?;
            was_here = true;
        }
    }

    /// Waits until this node has the file. `None`: the node stops.
    async fn until_here(&self, key: ContentKey) -> Option<()> {
        let (sender, here) = oneshot::channel();
        self.0.asks.send(Ask::Want(key, sender)).ok()?;
        here.await.ok()
    }

    /// The file from this node's disk, on a thread that may wait for it.
    pub(crate) fn read_blocking(&self, key: ContentKey) -> Option<Bytes> {
        match self.0.store.read(&key) {
            Ok(file) => Some(file),
            Err(ReadError::NotHeld(_)) => None,
            Err(why) => {
                error!(%why, "a file cannot be read");
                // The task is gone only when the node stops.
                let _ = self.0.asks.send(Ask::Lost(key));
                None
            }
        }
    }

    /// Reads the file, to see whether it is what it was. One that is not is not held from then on. Waits for the disk.
    pub(crate) fn verify_blocking(&self, key: ContentKey) -> Verified {
        match self.0.store.read(&key) {
            Ok(file) => Verified::Whole(file.len()),
            Err(ReadError::Damaged { .. }) => {
                // The task is gone only when the node stops.
                let _ = self.0.asks.send(Ask::Lost(key));
                Verified::Damaged
            }
            Err(why @ ReadError::Disk(_)) => {
                error!(%why, "a file cannot be read");
                Verified::Gone
            }
            Err(ReadError::NotHeld(_) | ReadError::NoPiece { .. }) => Verified::Gone,
        }
    }

    /// How many files are here.
    pub(crate) fn count(&self) -> usize {
        self.0.store.count()
    }

    /// The files that are here.
    pub(crate) fn keys(&self) -> Vec<ContentKey> {
        self.0.store.keys()
    }

    /// Waits until a majority of the nodes holds each of these files, and this node has them.
    ///
    /// # Errors
    /// `ContentMissing` if no majority says that it holds one of them; `Timeout`, `Busy`, `Stopping`.
    pub(crate) async fn until_held(&self, keys: &[ContentKey], deadline: Instant) -> Result<(), Refusal> {
        let held_by = deadline.min(Instant::now() + HELD_WAIT);
        let asked: Vec<_> = keys.iter().map(|&key| (key, self.ask_majority(key))).collect();
        for (key, majority) in asked {
            match tokio::time::timeout_at(held_by, majority).await {
                Ok(Ok(Ok(_))) => {}
                Ok(Ok(Err(why))) => return Err(not_held(key, &why)),
                Ok(Err(_)) => return Err(stopping()),
                Err(_) => return Err(not_held(key, &NotUniform::Timeout(Vec::new()))),
            }
        }
        for &key in keys {
            if self.0.store.has(&key).is_some() {
                continue;
            }
            match tokio::time::timeout_at(deadline, self.until_here(key)).await {
                Ok(Some(())) => {}
                Ok(None) => return Err(stopping()),
                Err(_) => {
                    let text =
                        format!("file {key} did not get to this node in time; submit the same bytes again");
                    return Err(Refusal::new(RefusalCode::Timeout, text));
                }
            }
        }
        Ok(())
    }

    /// Asks who holds a file. If this node does, it is not collected meanwhile.
    fn ask_majority(&self, key: ContentKey) -> oneshot::Receiver<Majority> {
        self.0.store.touch(&key);
        let (sender, majority) = oneshot::channel();
        // The task is gone only when the node stops; the receiver says so.
        let _ = self.0.asks.send(Ask::Await(key, sender));
        majority
    }

    /// This node's word that it holds the file, which is a promise to keep it for a while; `None` if it does not.
    fn receipt(&self, key: ContentKey) -> Option<ContentReceipt> {
        let Inner { store, cluster, identity, .. } = &*self.0;
        store.touch(&key).then(|| sign_content_receipt(identity.signing_key(), *cluster, key))
    }

    /// Waits until nobody uses the files any more, so that who opens them next finds them free. To be called by who is
    /// the last to keep them, when all others were told to end: what is being written is not called off.
    pub(crate) async fn close(self) {
        let late = Instant::now() + CLOSE_WAIT;
        while Arc::strong_count(&self.0) > 1 && Instant::now() < late {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// [`Content::on_disk`] for commanders, who wait for one another.
    async fn upload<T: Send + 'static>(&self, call: impl FnOnce(&Store) -> T + Send + 'static) -> Option<T> {
        let _permit = self.0.uploads.acquire().await.ok()?;
        self.on_disk(call).await
    }

    /// A file was stored here by this node itself.
    pub(crate) fn is_stored(&self, key: ContentKey) {
        // The task is gone only when the node stops.
        let _ = self.0.asks.send(Ask::Stored(key));
    }

    /// These files are gone, since nothing refers to them.
    pub(crate) fn are_collected(&self, keys: Vec<ContentKey>) {
        // As above.
        let _ = self.0.asks.send(Ask::Collected(keys));
    }

    /// Does something that waits for the disk, on a thread that may. `None`: the runtime ends.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Option<T> {
        let content = self.clone();
        match tokio::task::spawn_blocking(move || call(&content.0.store)).await {
            Ok(done) => Some(done),
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }
}

impl Files for Content {
    fn read(&self, key: ContentKey) -> FileRead<'_> {
        Box::pin(async move {
            let _permit = self.0.reads.acquire().await.ok()?;
            let content = self.clone();
            self.on_disk(move |_| content.read_blocking(key)).await.flatten()
        })
    }
}

fn not_held(key: ContentKey, why: &NotUniform) -> Refusal {
    match why {
        NotUniform::Timeout(holders) => Refusal::new(
            RefusalCode::ContentMissing,
            format_args!(
                "no majority of the nodes says that it holds file {key}{}; upload it, and submit the same bytes again",
                match holders.len() {
                    0 => String::new(),
                    count => format!(", only {count}"),
                }
            ),
        ),
        NotUniform::Busy => {
            Refusal::new(RefusalCode::Busy, "too many files are asked for at this node; try again later")
        }
    }
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Stopping, "this node is stopping: submit the same bytes at another")
}
