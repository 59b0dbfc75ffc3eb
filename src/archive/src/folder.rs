//! Names on the disk, and what they say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use synod_types::{AppNdx, Slot};

/// End of the name of a segment that is being written.
pub(crate) const NEW: &str = "new";
/// End of the name of a segment that was found to be damaged.
pub(crate) const DAMAGED: &str = "damaged";

/// A segment by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub first: Slot,
    pub last: Slot,
    pub path: PathBuf,
}

/// The directory of an application's segments.
pub(crate) fn of_app(dir: &Path, app: AppNdx) -> PathBuf {
    dir.join(app.to_string())
}

/// The name of a segment.
pub(crate) fn file(first: Slot, last: Slot) -> String {
    format!("{first}-{last}.gz")
}

/// The applications that have a directory in an archive.
pub(crate) fn apps(dir: &Path) -> io::Result<Vec<AppNdx>> {
    let mut apps = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let app = entry.file_name().to_str().and_then(|name| Some(AppNdx(name.parse().ok()?)));
        apps.extend(app.filter(|app| of_app(dir, *app).is_dir()));
    }
    apps.sort();
    Ok(apps)
}

/// An application's segments in the order of their slots; of those with the same first slot the longest comes first.
pub(crate) fn list(dir: &Path, app: AppNdx) -> io::Result<Vec<Named>> {
    let mut list = Vec::new();
    let entries = match fs::read_dir(of_app(dir, app)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(list),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let slots = path.file_name().and_then(|name| name.to_str()).and_then(slots_of);
        list.extend(slots.map(|(first, last)| Named { first, last, path }));
    }
    list.sort_by_key(|named| (named.first, std::cmp::Reverse(named.last)));
    Ok(list)
}

/// The slots that a segment's name says, if it is one; one segment has one name.
fn slots_of(name: &str) -> Option<(Slot, Slot)> {
    let (first, last) = name.strip_suffix(".gz")?.split_once('-')?;
    let (first, last) = (Slot(first.parse().ok()?), Slot(last.parse().ok()?));
    (Slot(0) < first && first <= last && file(first, last) == name).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_slots_and_no_other_does() {
        assert_eq!(slots_of(&file(Slot(1), Slot(900))), Some((Slot(1), Slot(900))));
        for strange in ["", "1-900", "01-900.gz", "1-900.gz.new", "9-8.gz", "0-8.gz", "+1-8.gz", "a-b.gz"] {
            assert_eq!(slots_of(strange), None, "{strange:?}");
        }
    }
}
