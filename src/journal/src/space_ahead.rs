//! Zeroed space ahead of where the log is written. A full disk shows here, before the log itself is in trouble. And a
//! sync need not make the file system note a new length: measured, that took a fifth to a third off the slowest syncs
//! (p99) and left the median as it was.
//!
//! The log file consists of segments, each of which begins with a header that is never zero. Space that reads as zero
//! is what sled itself leaves behind unused, and it recovers from it as from free segments.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::failpoint::{Point, reach};

/// Bytes of a segment's header.
const HEADER_BYTES: usize = 20;

/// Keeps at least one untouched segment at the end of `file`. To be called only while nobody else writes to the file:
/// then all that was ever written lies before its end, and appending zeros overwrites nothing. It may become shorter meanwhile:
/// sled gives free segments at the end back to the file system in the background.
///
/// # Errors
/// The operating system's, a full disk for one.
pub fn extend(file: &File, segment_bytes: u64) -> io::Result<()> {
    reach(Point::AheadLength)?;
    let (len, end) = loop {
        let len = file.metadata()?.len();
        let end = len.next_multiple_of(segment_bytes);
        if len < end || end == 0 {
            break (len, end);
        }
        reach(Point::AheadRead)?;
        match is_untouched(file, end - segment_bytes)? {
            Some(true) => return Ok(()),
            Some(false) => break (len, end),
            None => {}
        }
    };
    let zeros = vec![0; 64 << 10];
    let mut at = len;
    while at < end + segment_bytes {
        let rest = usize::try_from(end + segment_bytes - at).unwrap_or(usize::MAX);
        let piece = &zeros[..rest.min(zeros.len())];
        reach(Point::AheadWrite)?;
        file.write_all_at(piece, at)?;
        at += u64::try_from(piece.len()).expect("a length fits 64 bits");
    }
    Ok(())
}

/// Whether nothing was ever written to the segment that begins at `at`; `None`: the file does not reach so far any more.
fn is_untouched(file: &File, at: u64) -> io::Result<Option<bool>> {
    let mut header = [0; HEADER_BYTES];
    match file.read_exact_at(&mut header, at) {
        Ok(()) => Ok(Some(header == [0; HEADER_BYTES])),
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 100_000;

    #[test]
    fn a_file_that_became_shorter_is_no_error() {
        let file = tempfile::tempfile().unwrap();
        extend(&file, SEGMENT).unwrap();
        assert_eq!(is_untouched(&file, 0).unwrap(), Some(true));
        file.write_all_at(&[7; 30], 0).unwrap();
        assert_eq!(is_untouched(&file, 0).unwrap(), Some(false));
        file.set_len(SEGMENT / 2).unwrap();
        assert_eq!(is_untouched(&file, SEGMENT).unwrap(), None);
    }

    #[test]
    fn a_file_that_others_shorten_is_extended_all_the_same() {
        let file = tempfile::tempfile().unwrap();
        let shortened = file.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || (0..20_000).for_each(|n| shortened.set_len(n % 3 * SEGMENT).unwrap()));
            (0..2_000).for_each(|_| extend(&file, SEGMENT).unwrap());
        });
        extend(&file, SEGMENT).unwrap();
        assert!(file.metadata().unwrap().len() >= SEGMENT);
    }

    #[test]
    fn one_untouched_segment_stays_ahead_and_nothing_is_overwritten() {
        let file = tempfile::tempfile().unwrap();
        extend(&file, SEGMENT).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SEGMENT);

        file.write_all_at(&[7; 30], 0).unwrap();
        extend(&file, SEGMENT).unwrap();
        extend(&file, SEGMENT).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2 * SEGMENT);

        file.write_all_at(&[8; 30], 3 * SEGMENT).unwrap();
        extend(&file, SEGMENT).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5 * SEGMENT);
        for (at, byte) in [(0, 7), (3 * SEGMENT, 8), (3 * SEGMENT + 30, 0), (4 * SEGMENT, 0)] {
            let mut bytes = [1; 30];
            file.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(bytes, [byte; 30]);
        }
    }
}
