//! Small files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What the name of a file ends with that is not whole yet.
pub(crate) const NEW: &str = "new";

/// A whole new file takes the place of the one at `path`, if there is one, and is durable when this returns. A crash leaves
/// one of the two.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
