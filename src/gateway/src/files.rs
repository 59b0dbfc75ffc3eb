//! The files to which states refer, for front ends that give them out.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use synod_types::ContentKey;

/// Where the files are that states refer to by their hash.
pub trait Files: Send + Sync {
    /// The file with this key, as it was stored; `None` if this node does not have it, or cannot read it.
    fn read(&self, key: ContentKey) -> FileRead<'_>;
}

/// A file that is being read.
pub type FileRead<'a> = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;

/// A node without files.
pub(crate) struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _key: ContentKey) -> FileRead<'_> {
        Box::pin(std::future::ready(None))
    }
}
