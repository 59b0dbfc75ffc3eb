//! Names on the disk, and what they say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use synod_types::{ContentKey, Digest, Manifest};

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub dir: PathBuf,
}

/// Which manifest a partial file is received under: SHA3-256 of the manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ManifestId(pub Digest);

impl ManifestId {
    pub(crate) fn of(manifest: &Manifest) -> ManifestId {
        let bytes = manifest.bytes.to_be_bytes();
        let pieces = manifest.pieces.iter().map(|piece| &piece.0[..]);
        let parts: Vec<&[u8]> = [&bytes[..]].into_iter().chain(pieces).collect();
        ManifestId(Digest::of(&parts))
    }
}

impl Layout {
    /// Held by the process that has the store open.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Whole files, in one directory for each first byte.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// The directory of the files with this first byte.
    pub(crate) fn shard(&self, first: u8) -> PathBuf {
        self.files().join(format!("{first:02x}"))
    }

    pub(crate) fn shard_of(&self, key: &ContentKey) -> PathBuf {
        self.shard(key.as_bytes()[0])
    }

    pub(crate) fn file(&self, key: &ContentKey) -> PathBuf {
        self.shard_of(key).join(key.to_string())
    }

    /// Files that are not whole yet.
    pub(crate) fn partials(&self) -> PathBuf {
        self.dir.join("partial")
    }

    pub(crate) fn partial(&self, key: &ContentKey, manifest: ManifestId) -> PathBuf {
        self.partials().join(format!("{key}.{}", manifest.0))
    }

    /// Files that were whole and are not any more.
    pub(crate) fn damaged(&self) -> PathBuf {
        self.dir.join("damaged")
    }

    pub(crate) fn aside(&self, key: &ContentKey) -> PathBuf {
        self.damaged().join(key.to_string())
    }
}

/// The key that a file's name says, if it is one of ours.
pub(crate) fn key_of(name: &OsStr) -> Option<ContentKey> {
    digest_of(name.to_str()?).map(ContentKey)
}

/// The key and the manifest that a partial file's name says, if it is one of ours.
pub(crate) fn partial_of(path: &Path) -> Option<(ContentKey, ManifestId)> {
    let (key, manifest) = path.file_name()?.to_str()?.split_once('.')?;
    Some((ContentKey(digest_of(key)?), ManifestId(digest_of(manifest)?)))
}

/// 64 lower-case hex digits, and nothing else: one file has one name.
fn digest_of(text: &str) -> Option<Digest> {
    let digest: Digest = text.parse().ok()?;
    (digest.to_string() == text).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of_and_no_other_does() {
        let layout = Layout { dir: PathBuf::from("/store") };
        let manifest = Manifest::of(b"a file").unwrap();
        let (key, id) = (ContentKey::of(b"a file"), ManifestId::of(&manifest));
        let file = layout.file(&key);
        assert_eq!(key_of(file.file_name().unwrap()), Some(key));
        assert_eq!(file.parent().unwrap(), layout.shard(key.as_bytes()[0]));
        assert_eq!(partial_of(&layout.partial(&key, id)), Some((key, id)));
        let name = key.to_string();
        for strange in [&name[1..], &name.to_uppercase(), &format!("{name}.tmp"), &format!(" {name}"), ""] {
            assert_eq!(key_of(OsStr::new(strange)), None, "{strange:?}");
        }
    }

    #[test]
    fn manifests_that_differ_have_different_ids() {
        let one = Manifest { bytes: 1, pieces: vec![Digest([1; 32])] };
        let sized = Manifest { bytes: 2, ..one.clone() };
        let other = Manifest { bytes: 1, pieces: vec![Digest([2; 32])] };
        let ids = [&one, &sized, &other].map(ManifestId::of);
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    }
}
