//! Everything that changes the disk goes through here, so that a test can look at the disk between any two steps, or make
//! one of them fail.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::DiskError;

/// A change of the disk that is about to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step<'a> {
    CreateDir(&'a Path),
    Create(&'a Path),
    Write(&'a Path, u64),
    SyncFile(&'a Path),
    Rename(&'a Path, &'a Path),
    SyncDir(&'a Path),
    Remove(&'a Path),
}

/// What a test does before each step.
#[cfg(test)]
pub(crate) type Tap = Box<dyn FnMut(Step<'_>) -> io::Result<()> + Send>;

/// The disk.
#[derive(Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) tap: std::sync::Mutex<Option<Tap>>,
}

impl Disk {
    #[cfg(test)]
    fn about_to(&self, step: Step<'_>) -> io::Result<()> {
        self.tap.lock().unwrap().as_mut().map_or(Ok(()), |tap| tap(step))
    }

    #[cfg(not(test))]
    fn about_to(&self, _: Step<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Makes a directory that only this user can enter, if it is not there, and closes it to others if it is.
    pub(crate) fn create_private_dir(&self, path: &Path) -> Result<(), DiskError> {
        let created = self
            .about_to(Step::CreateDir(path))
            .and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(path))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
        created.map_err(DiskError::of("create directory", path))
    }

    /// Opens a file for reading and writing, with what is in it; creates it if it is not there.
    pub(crate) fn create(&self, path: &Path) -> Result<File, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = self.about_to(Step::Create(path)).and_then(|()| options.open(path));
        file.map_err(DiskError::of("create", path))
    }

    /// Writes all of `bytes` at `start`.
    pub(crate) fn write(&self, file: &File, path: &Path, bytes: &[u8], start: u64) -> Result<(), DiskError> {
        let written = self.about_to(Step::Write(path, start)).and_then(|()| file.write_all_at(bytes, start));
        written.map_err(DiskError::of("write", path))
    }

    /// Makes a file's bytes and length durable. Never to be tried twice: after an error nobody knows what is on disk.
    pub(crate) fn sync_file(&self, file: &File, path: &Path) -> Result<(), DiskError> {
        let synced = self.about_to(Step::SyncFile(path)).and_then(|()| file.sync_all());
        synced.map_err(DiskError::of("sync", path))
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let synced = self.about_to(Step::SyncDir(path)).and_then(|()| File::open(path)?.sync_all());
        synced.map_err(DiskError::of("sync directory", path))
    }

    /// Gives a file another name; whatever had that name is gone.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let renamed = self.about_to(Step::Rename(from, to)).and_then(|()| fs::rename(from, to));
        renamed.map_err(DiskError::of("rename", from))
    }

    /// Removes a file; it is well if it is not there.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let removed = self.about_to(Step::Remove(path)).and_then(|()| fs::remove_file(path));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DiskError::of("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that this user may still write to the disk of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, DiskError> {
    let room =
        rustix::fs::statvfs(dir).map_err(|error| DiskError::of("ask for the room at", dir)(error.into()))?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}
