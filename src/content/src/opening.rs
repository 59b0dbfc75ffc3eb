//! Opening: makes the directories, takes the lock, and finds out what is there by its names.
//!
//! No file is hashed here: each is when it is read. A name that is none of ours is left alone.

use std::fs::{self, DirEntry, File, TryLockError};
use std::path::{Path, PathBuf};

use synod_types::limits::CONTENT_BYTES_MAX;

use crate::disk::Disk;
use crate::error::{DiskError, OpenError};
use crate::index::{Index, Slot};
use crate::layout::{Layout, key_of, partial_of};

/// Strange files that are named one by one.
const STRANGERS_MAX: usize = 16;

/// What was found.
pub(crate) struct Opened {
    pub lock: File,
    pub index: Index,
    pub strangers: Vec<PathBuf>,
}

pub(crate) fn open(disk: &Disk, layout: &Layout) -> Result<Opened, OpenError> {
    disk.create_private_dir(&layout.dir)?;
    let lock = lock(disk, layout)?;
    make_directories(disk, layout)?;
    let mut opened = Opened { lock, index: Index::default(), strangers: Vec::new() };
    let mut strangers = 0;
    find_files(disk, layout, &mut opened, &mut strangers)?;
    find_partials(layout, &mut opened, &mut strangers)?;
    for path in &opened.strangers {
        tracing::warn!(path = %path.display(), "this is no content file, and is left alone");
    }
    if strangers > opened.strangers.len() {
        let (count, dir) = (strangers - opened.strangers.len(), layout.dir.display());
        tracing::warn!(count, %dir, "there are more such files");
    }
    Ok(opened)
}

fn lock(disk: &Disk, layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let lock = disk.create(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(layout.dir.clone())),
        Err(TryLockError::Error(error)) => Err(DiskError::of("lock", &path)(error).into()),
    }
}

/// All directories are there, durably, before the first file is: a file is only as durable as its directory's name.
fn make_directories(disk: &Disk, layout: &Layout) -> Result<(), DiskError> {
    for dir in [layout.files(), layout.partials(), layout.damaged()] {
        disk.create_private_dir(&dir)?;
    }
    for first in 0..=u8::MAX {
        let shard = layout.shard(first);
        if !shard.is_dir() {
            disk.create_private_dir(&shard)?;
        }
    }
    disk.sync_dir(&layout.files())?;
    disk.sync_dir(&layout.dir)?;
    match layout.dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(parent) => disk.sync_dir(parent),
        None => Ok(()),
    }
}

fn find_files(
    disk: &Disk,
    layout: &Layout,
    opened: &mut Opened,
    strangers: &mut usize,
) -> Result<(), DiskError> {
    let ours = [layout.lock(), layout.files(), layout.partials(), layout.damaged()];
    for entry in entries(&layout.dir)?.chain(entries(&layout.files())?) {
        let (_, path) = entry?;
        if !ours.contains(&path) && !is_shard(layout, &path) {
            opened.is_strange(path, strangers);
        }
    }
    for first in 0..=u8::MAX {
        let shard = layout.shard(first);
        let mut has_files = false;
        for entry in entries(&shard)? {
            has_files = true;
            let (entry, path) = entry?;
            let metadata = entry.metadata().map_err(DiskError::of("look at", &path))?;
            match key_of(&entry.file_name()) {
                Some(key) if metadata.is_file() && key.as_bytes()[0] == first => {
                    if (1..=CONTENT_BYTES_MAX).contains(&metadata.len()) {
                        opened.index.insert(key, metadata.len());
                    } else {
                        tracing::error!(%key, bytes = metadata.len(), "a content file cannot be as long as that");
                        disk.rename(&path, &layout.aside(&key))?;
                    }
                }
                _ => opened.is_strange(path, strangers),
            }
        }
        // The process before may have ended between the name and its sync: what is held from now on is there durably.
        if has_files {
            disk.sync_dir(&shard)?;
        }
    }
    Ok(())
}

fn find_partials(layout: &Layout, opened: &mut Opened, strangers: &mut usize) -> Result<(), DiskError> {
    for entry in entries(&layout.partials())? {
        let (entry, path) = entry?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        match partial_of(&path) {
            Some(which) if is_file => {
                opened.index.partials.insert(which, Slot { partial: None, idle: None });
            }
            _ => opened.is_strange(path, strangers),
        }
    }
    Ok(())
}

fn is_shard(layout: &Layout, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let first = name.filter(|name| name.len() == 2).and_then(|name| u8::from_str_radix(name, 16).ok());
    first.is_some_and(|first| layout.shard(first) == path)
}

type Entries<'a> = Box<dyn Iterator<Item = Result<(DirEntry, PathBuf), DiskError>> + 'a>;

fn entries(dir: &Path) -> Result<Entries<'_>, DiskError> {
    let entries = fs::read_dir(dir).map_err(DiskError::of("list", dir))?;
    Ok(Box::new(entries.map(move |entry| {
        let entry = entry.map_err(DiskError::of("list", dir))?;
        let path = entry.path();
        Ok((entry, path))
    })))
}

impl Opened {
    fn is_strange(&mut self, path: PathBuf, count: &mut usize) {
        *count += 1;
        if self.strangers.len() < STRANGERS_MAX {
            self.strangers.push(path);
        }
    }
}
