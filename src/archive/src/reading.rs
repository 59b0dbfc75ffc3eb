//! Reading an archive, from its first slot to its last. Nothing is created, locked or written.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use synod_types::{AppNdx, LogPage, Slot};

use crate::folder::{self, Named};
use crate::segment::{Pages, SegmentError};

/// Why an archive is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing in it.
    #[error("{} is no archive: there is no application in it", .0.display())]
    NotOne(PathBuf),
    /// It cannot be listed.
    #[error("cannot read {}: {source}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A segment is missing.
    #[error("the archive has no segment with the slots {from} to {to}; the next one is {}", next.display())]
    Hole {
        /// The first slot that is missing.
        from: Slot,
        /// The last one.
        to: Slot,
        /// Where the log goes on.
        next: PathBuf,
    },
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// An application's log as far as it is in an archive.
pub struct ArchivedLog {
    app: AppNdx,
    left: VecDeque<Named>,
    pages: Option<Pages>,
    /// The last slot that was given.
    last: Slot,
    end: Slot,
}

impl ArchivedLog {
    /// The log of `app` in the archive `dir`, behind slot `last`.
    ///
    /// # Errors
    /// [`ReadError::NotOne`], [`ReadError::Io`].
    pub fn open(dir: &Path, app: AppNdx, last: Slot) -> Result<ArchivedLog, ReadError> {
        let io = |source| ReadError::Io { dir: dir.to_owned(), source };
        if folder::apps(dir).map_err(io)?.is_empty() {
            return Err(ReadError::NotOne(dir.to_owned()));
        }
        let left = VecDeque::from(folder::list(dir, app).map_err(io)?);
        let end = left.iter().map(|named| named.last).max().unwrap_or(Slot(0));
        Ok(ArchivedLog { app, left, pages: None, last, end })
    }

    /// The last slot that is archived; 0: none is.
    pub fn end(&self) -> Slot {
        self.end
    }

    /// The last slot that was given.
    pub fn last(&self) -> Slot {
        self.last
    }

    /// The next decrees in a page, which is never empty; `None`: there are no more. Where segments overlap, each slot comes
    /// once.
    ///
    /// # Errors
    /// [`ReadError::Hole`], [`ReadError::Segment`].
    pub fn next_page(&mut self) -> Result<Option<LogPage>, ReadError> {
        loop {
            if let Some(pages) = &mut self.pages {
                let Some(mut page) = pages.next()? else {
                    self.pages = None;
                    continue;
                };
                page.decrees.retain(|(slot, _)| *slot > self.last);
                if let Some((slot, _)) = page.decrees.last() {
                    self.last = *slot;
                    return Ok(Some(page));
                }
                continue;
            }
            let Some(named) = self.left.pop_front() else { return Ok(None) };
            if named.last <= self.last {
                continue;
            }
            if named.first > self.last.next() {
                let (from, to) = (self.last.next(), Slot(named.first.0 - 1));
                return Err(ReadError::Hole { from, to, next: named.path });
            }
            self.pages = Some(Pages::open(&named, self.app)?);
        }
    }
}
