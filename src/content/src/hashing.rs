//! Reads a file from its beginning to its end, a piece at a time, and hashes what it reads: each piece and the whole.

use std::fs::File;
use std::io::{self, Read};

use sha3::{Digest as _, Sha3_256};
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};
use synod_types::{ContentKey, Digest, Manifest};

/// What a file is.
pub(crate) struct Hashed {
    pub key: ContentKey,
    pub manifest: Manifest,
}

/// Hashes a file. Of one that is larger than any may be, what is too much is not read, and the key is wrong.
pub(crate) fn hash(file: &mut impl Read) -> io::Result<Hashed> {
    let mut whole = Sha3_256::new();
    let mut manifest = Manifest { bytes: 0, pieces: Vec::new() };
    each_piece(file, |piece| {
        whole.update(piece);
        manifest.pieces.push(Digest::of(&[piece]));
        manifest.bytes += u64::try_from(piece.len()).expect("a piece's length");
    })?;
    Ok(Hashed { key: ContentKey(Digest(whole.finalize().into())), manifest })
}

/// The key of what is in `file` from its beginning on; as of [`hash`], at half of its cost.
pub(crate) fn key_of(file: &File) -> io::Result<ContentKey> {
    let mut whole = Sha3_256::new();
    each_piece(&mut AtStart { file, at: 0 }, |piece| whole.update(piece))?;
    Ok(ContentKey(Digest(whole.finalize().into())))
}

/// Shows the pieces of a file, as far as a file may go, and one more of what is too much.
fn each_piece(file: &mut impl Read, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CONTENT_PIECE_BYTES];
    let mut bytes = 0;
    while bytes <= CONTENT_BYTES_MAX {
        let len = read_piece(file, &mut buffer)?;
        let Some(piece) = buffer.get(..len).filter(|piece| !piece.is_empty()) else { break };
        visit(piece);
        bytes += u64::try_from(len).expect("a piece's length");
    }
    Ok(())
}

/// Which pieces of a manifest are in `file` as they should be.
pub(crate) fn missing_in(file: &File, manifest: &Manifest) -> io::Result<Vec<u32>> {
    let mut found = AtStart { file, at: 0 };
    let mut buffer = vec![0; CONTENT_PIECE_BYTES];
    let mut missing = Vec::new();
    for number in (0..).take(manifest.pieces.len()) {
        let len = read_piece(&mut found, &mut buffer)?;
        let is_there = manifest.place(number).is_some_and(|(_, expected)| {
            len >= expected && { buffer.get(..expected).is_some_and(|piece| manifest.proves(number, piece)) }
        });
        if !is_there {
            missing.push(number);
        }
    }
    Ok(missing)
}

/// Fills the buffer as far as the file goes.
fn read_piece(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Reads a file without moving its position.
struct AtStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for AtStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += u64::try_from(len).expect("a length fits 64 bits");
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_hashed_as_if_it_were_in_memory() {
        for len in [
            1,
            CONTENT_PIECE_BYTES - 1,
            CONTENT_PIECE_BYTES,
            CONTENT_PIECE_BYTES + 1,
            3 * CONTENT_PIECE_BYTES,
        ] {
            let bytes: Vec<u8> = (0..u8::MAX).cycle().take(len).collect();
            let hashed = hash(&mut &bytes[..]).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            assert_eq!(key_of(&file).unwrap(), hashed.key);
            assert_eq!(
                (hashed.key, hashed.manifest),
                (ContentKey::of(&bytes), Manifest::of(&bytes).unwrap())
            );
        }
    }
}
