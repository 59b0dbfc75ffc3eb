//! Whether what is archived can still be read. Nothing is created, locked or written.

use std::io;
use std::path::Path;

use synod_types::AppNdx;

use crate::folder::{self, Named};
use crate::segment::{Pages, SegmentError};

/// A segment of an archive, to be verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    app: AppNdx,
    named: Named,
}

/// All segments of an archive that are whole by their names.
///
/// # Errors
/// The operating system's.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for app in folder::apps(dir)? {
        segments.extend(folder::list(dir, app)?.into_iter().map(|named| Segment { app, named }));
    }
    Ok(segments)
}

impl Segment {
    /// Reads the segment and holds its bytes against its digest. Says how many there are.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn verify(&self) -> Result<u64, SegmentError> {
        Pages::open(&self.named, self.app)?;
        let path = &self.named.path;
        let found = path.metadata().map_err(|source| SegmentError::Io { path: path.clone(), source })?;
        Ok(found.len())
    }
}
