//! The snapshots of each application, for front ends that give them out.

use synod_types::{AppNdx, Certificate, ContentKey};

use crate::files::FileRead;

/// Where this node's snapshots are.
pub trait Snapshots: Send + Sync {
    /// The newest one that a majority has signed.
    fn newest(&self, app: AppNdx) -> Option<Certificate>;

    /// A file of a snapshot: the list of its chunks, or a chunk; `None` if this node does not have it, or cannot read it.
    fn file(&self, key: ContentKey) -> FileRead<'_>;
}

/// A node without snapshots.
pub(crate) struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn newest(&self, _app: AppNdx) -> Option<Certificate> {
        None
    }

    fn file(&self, _key: ContentKey) -> FileRead<'_> {
        Box::pin(std::future::ready(None))
    }
}
