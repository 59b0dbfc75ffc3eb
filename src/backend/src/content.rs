//! Where uploaded files go: what the node does with a ticket, with pieces, and when a file counts as held.
//!
//! The back end verifies the ticket's signature, that it is a ticket, and that the manifest can be one and has the
//! ticket's size; and that a piece is as long as its place. Everything else is the node's: who may upload, whether the
//! bytes are what their hashes say, where they are kept, and who else has them.

use std::pin::Pin;

use bytes::Bytes;
use synod_auth::Verified;
use synod_types::{ContentKey, ContentReceipt, Manifest, Refusal, SignedCommand};

/// A future on the heap: a trait object's methods cannot be `async`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node's store of files, as the back end sees it. Called from tasks of the runtime. A future may be dropped before
/// it is done, when its client has left.
pub trait ContentDoor: Send + Sync + 'static {
    /// Whether this commander may upload this file: asked before a whole file is read from the network. Does not look at
    /// the store. A node that is behind finds out before it refuses.
    ///
    /// # Errors
    /// The refusal to give to the commander: `UnknownApp`, `UnknownCommander`, `Revoked`, `NotPermitted`, `Expired`.
    fn admit<'a>(&'a self, ticket: &'a Verified<SignedCommand>) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Asks, as [`ContentDoor::admit`] does, and makes room for the file. The operation is a
    /// [`ContentTicket`](synod_types::ContentTicket), and its size is that of the manifest, which was checked. Gives the
    /// numbers of the pieces that are wanted, rising; none: the file is here, whole and durable.
    ///
    /// # Errors
    /// As [`ContentDoor::admit`]; `QuotaExceeded` or `Busy` where there is no room.
    fn offer(
        &self,
        ticket: Verified<SignedCommand>,
        manifest: Manifest,
    ) -> BoxFuture<'_, Result<Vec<u32>, Refusal>>;

    /// Takes a piece of a file that was offered. The piece that makes the file whole returns when it is durable. A piece
    /// that is here already is taken again.
    ///
    /// # Errors
    /// `Malformed` if these are not the piece's bytes, or if the pieces together are not the file that the key names:
    /// then they are forgotten. `ContentMissing` if no such file is being received: it is to be offered again.
    fn piece(&self, content: ContentKey, number: u32, bytes: Bytes) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Waits until a majority of the nodes, this one among them, has stored the file: the word of each that has.
    ///
    /// # Errors
    /// `Timeout` after [`COMMAND_WAIT_MS_MAX`](synod_types::limits::COMMAND_WAIT_MS_MAX); `ContentMissing` if the file is
    /// not here whole.
    fn held(&self, content: ContentKey) -> BoxFuture<'_, Result<Vec<ContentReceipt>, Refusal>>;
}
