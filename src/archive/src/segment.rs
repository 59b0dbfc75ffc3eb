//! One segment: a gzip file (RFC 1952) that `gunzip` reads, with a digest over all of its bytes in the header.
//!
//! ```text
//! 1f 8b 08 04 00 00 00 00 00 ff     gzip, deflate, with an extra field, no time, no system
//! 24 00  'S' 'y' 20 00              an extra field of 36 bytes: the subfield Sy of 32
//! 32 bytes                          SHA3-256 of all that follows
//! deflate ‖ CRC-32 ‖ length         as gzip has them
//! ```
//!
//! Inside are pages of a log ([`LogPage`]), each behind its length (u32, big-endian), with the slots that the file's name
//! says, one after the other. gzip's own checksum leaves bits out, in its header and behind the last symbol; the digest
//! leaves out none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha3::{Digest as _, Sha3_256};
use synod_types::limits::FRAME_BYTES_MAX;
use synod_types::{AppNdx, ClusterId, Decree, LogPage, Slot};

use crate::folder::{self, NEW, Named};

const DIGEST_BYTES: usize = 32;
/// The header up to the digest.
const HEADER: [u8; 16] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x24\0Sy\x20\0";
/// A page is at most twice as large as a message with what is in it.
const PAGE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
const BUFFER_BYTES: usize = 128 << 10;

/// Why a segment is not read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It is not what was written.
    #[error("{} is damaged at slot {slot}: {why}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The first slot that cannot be read.
        slot: Slot,
        /// What is wrong.
        why: String,
    },
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A segment on its way to the disk. Dropped before it is finished, it is gone.
pub(crate) struct Writing {
    encoder: GzEncoder<BufWriter<File>>,
    folder: PathBuf,
    new: PathBuf,
    cluster: ClusterId,
    app: AppNdx,
    first: Slot,
    last: Slot,
    /// Bytes of all pages.
    pub(crate) bytes: usize,
}

impl Writing {
    /// Begins a segment with slot `first`, in the folder of its application, which is there.
    pub(crate) fn begin(dir: &Path, cluster: ClusterId, app: AppNdx, first: Slot) -> io::Result<Writing> {
        let folder = folder::of_app(dir, app);
        let new = folder.join(format!("{first}.{NEW}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let mut extra = HEADER[12..].to_vec();
        extra.extend([0; DIGEST_BYTES]);
        let encoder = GzBuilder::new().extra(extra).write(BufWriter::new(file), Compression::default());
        let last = Slot(first.0 - 1);
        Ok(Writing { encoder, folder, new, cluster, app, first, last, bytes: 0 })
    }

    /// Adds the decrees of the next slots.
    ///
    /// # Panics
    /// If they are not those of the next slots.
    pub(crate) fn put(&mut self, decrees: Vec<(Slot, Decree)>) -> io::Result<()> {
        for (slot, _) in &decrees {
            assert_eq!(*slot, self.last.next(), "a segment has no hole");
            self.last = *slot;
        }
        let page = LogPage { cluster: self.cluster, app: self.app, applied: self.last, decrees }.encode();
        let len = u32::try_from(page.len()).map_err(io::Error::other)?;
        self.bytes += page.len();
        self.encoder.write_all(&len.to_be_bytes())?;
        self.encoder.write_all(&page)
    }

    /// Makes the segment durable under its name, unless there is nothing in it; gives its last slot and its bytes on the disk.
    pub(crate) fn finish(mut self) -> io::Result<Option<(Slot, u64)>> {
        if self.last < self.first {
            return Ok(None);
        }
        self.encoder.try_finish()?;
        self.encoder.get_mut().flush()?;
        let mut file = self.encoder.get_ref().get_ref();
        let digest = digest_behind_header(&mut file)?;
        file.write_all_at(&digest, u64::try_from(HEADER.len()).expect("it is small"))?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&self.new, self.folder.join(folder::file(self.first, self.last)))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Some((self.last, bytes)))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // It has its name by now, or goes at the next start.
        let _ = fs::remove_file(&self.new);
    }
}

/// SHA3-256 of what is behind the header and the digest.
fn digest_behind_header(file: &mut (impl Read + Seek)) -> io::Result<[u8; DIGEST_BYTES]> {
    let behind = u64::try_from(HEADER.len() + DIGEST_BYTES).expect("it is small");
    file.seek(SeekFrom::Start(behind))?;
    let (mut hash, mut buffer) = (Sha3_256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(len) => hash.update(&buffer[..len]),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

/// The pages of a segment, one after the other.
pub(crate) struct Pages {
    named: Named,
    app: AppNdx,
    decoder: GzDecoder<BufReader<File>>,
    last: Slot,
}

impl Pages {
    /// Opens a segment, once its digest is right.
    pub(crate) fn open(named: &Named, app: AppNdx) -> Result<Pages, SegmentError> {
        let io = |source| SegmentError::Io { path: named.path.clone(), source };
        let damaged = |why: &str| SegmentError::Damaged {
            path: named.path.clone(),
            slot: named.first,
            why: why.to_owned(),
        };
        let mut file = File::open(&named.path).map_err(io)?;
        let mut head = [0; HEADER.len() + DIGEST_BYTES];
        file.read_exact(&mut head).map_err(|why| match why.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is too short"),
            _ => io(why),
        })?;
        let (header, digest) = head.split_at(HEADER.len());
        if header != HEADER {
            return Err(damaged("it does not begin as a segment does"));
        }
        if digest_behind_header(&mut file).map_err(io)? != digest {
            return Err(damaged("its digest does not match"));
        }
        file.rewind().map_err(io)?;
        let decoder = GzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
        Ok(Pages { named: named.clone(), app, decoder, last: Slot(named.first.0 - 1) })
    }

    /// The next page; `None`: there is no more.
    pub(crate) fn next(&mut self) -> Result<Option<LogPage>, SegmentError> {
        let mut len = [0; 4];
        let mut have = 0;
        while have < len.len() {
            match self.decoder.read(&mut len[have..]) {
                Ok(0) if have == 0 && self.last == self.named.last => return Ok(None),
                Ok(0) => {
                    return Err(self.damaged(format!("it ends here, and not with slot {}", self.named.last)));
                }
                Ok(more) => have += more,
                Err(why) => return Err(self.damaged(why.to_string())),
            }
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > PAGE_BYTES_MAX {
            return Err(self.damaged(format!("a page of {len} bytes")));
        }
        let mut page = vec![0; len];
        self.decoder.read_exact(&mut page).map_err(|why| self.damaged(why.to_string()))?;
        let page = LogPage::decode(&page).map_err(|why| self.damaged(why.to_string()))?;
        if page.app != self.app {
            return Err(self.damaged(format!("it is of application {}", page.app)));
        }
        for (slot, _) in &page.decrees {
            if *slot != self.last.next() || *slot > self.named.last {
                return Err(self.damaged(format!("slot {slot} comes in its place")));
            }
            self.last = *slot;
        }
        Ok(Some(page))
    }

    fn damaged(&self, why: String) -> SegmentError {
        SegmentError::Damaged { path: self.named.path.clone(), slot: self.last.next(), why }
    }
}
