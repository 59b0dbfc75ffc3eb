//! The `archive` section: where everything goes that is cut off from the logs.

use std::path::{Path, PathBuf};

use super::Draft;
use super::fields::Fields;
use super::mistakes::Mistakes;

impl Draft {
    /// The archive's directory, if the section is there.
    pub(super) fn read_archive(
        fields: &mut Fields,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<PathBuf> {
        let is_given = fields.has("archive");
        let mut archive = fields.table("archive", mistakes);
        if !is_given {
            return None;
        }
        let dir = archive.required_file("dir", "archive-node1", directory, mistakes);
        archive.finish(mistakes);
        dir
    }
}
