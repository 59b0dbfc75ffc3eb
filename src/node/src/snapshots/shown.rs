//! This node's snapshots, for front ends.

use synod_gateway::{FileRead, Files as _};
use synod_types::{AppNdx, Certificate, ContentKey};

use super::Snapshots;
use crate::content::Content;

/// What front ends may give out.
pub(crate) struct Shown {
    /// Which there are.
    pub snapshots: Snapshots,
    /// Their files.
    pub chunks: Content,
}

impl synod_gateway::Snapshots for Shown {
    fn newest(&self, app: AppNdx) -> Option<Certificate> {
        self.snapshots.certified(app)
    }

    fn file(&self, key: ContentKey) -> FileRead<'_> {
        self.chunks.read(key)
    }
}
