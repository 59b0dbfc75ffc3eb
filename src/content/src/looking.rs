//! Reading a file of a store that is not open, for who looks into a directory and must not touch it.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use synod_types::ContentKey;

use crate::error::{DiskError, LookError};
use crate::layout::Layout;
use crate::reading::read_whole;

/// The whole file `key` of the store in `dir`, hashed. Nothing is created, locked, written or moved, whatever is found.
///
/// # Errors
/// [`LookError`].
pub fn look_up(dir: &Path, key: &ContentKey) -> Result<Bytes, LookError> {
    let path = Layout { dir: dir.to_owned() }.file(key);
    match File::open(&path).and_then(|file| read_whole(&file, key)) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(found)) => Err(LookError::Damaged { path, found }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LookError::NotHere(path)),
        Err(error) => Err(DiskError::of("read", &path)(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use synod_types::Manifest;

    use super::*;
    use crate::Store;

    #[test]
    fn a_file_is_read_hashed_and_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = b"a file of some bytes";
        let (key, manifest) = (ContentKey::of(file), Manifest::of(file).unwrap());
        assert!(matches!(look_up(&dir.path().join("nowhere"), &key), Err(LookError::NotHere(_))));
        assert!(!dir.path().join("nowhere").exists());
        let store = Store::open(dir.path()).unwrap();
        store.begin(&key, &manifest).unwrap();
        store.put(&key, &manifest, 0, file).unwrap();
        drop(store);
        assert_eq!(look_up(dir.path(), &key).unwrap(), &file[..]);
        let path = Layout { dir: dir.path().to_owned() }.file(&key);
        fs::write(&path, b"another file").unwrap();
        let found = look_up(dir.path(), &key).unwrap_err();
        assert!(
            matches!(&found, LookError::Damaged { found, .. } if *found == ContentKey::of(b"another file"))
        );
        assert!(path.exists(), "it is not moved aside");
    }
}
