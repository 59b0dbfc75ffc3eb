//! Frames: a length (u32, big-endian) and that many bytes. The reader is incremental and never trusts a length.

use bytes::{Buf, Bytes, BytesMut};

/// A frame declares more bytes than are allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame declares {declared} bytes; at most {max} are allowed")]
pub struct FrameTooLarge {
    /// What it declares.
    pub declared: usize,
    /// The limit.
    pub max: usize,
}

/// Bytes of the length before each frame.
pub const HEADER_BYTES: usize = 4;

/// Appends a frame that holds what `write` appends.
///
/// # Errors
/// [`FrameTooLarge`] if that is more than `max`; `out` is then as before.
pub fn put_frame(
    out: &mut Vec<u8>,
    max: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), FrameTooLarge> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out);
    let declared = out.len() - start - HEADER_BYTES;
    match u32::try_from(declared) {
        Ok(len) if declared <= max => {
            out[start..start + HEADER_BYTES].copy_from_slice(&len.to_be_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(FrameTooLarge { declared, max })
        }
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    max: usize,
}

impl FrameReader {
    /// A reader that accepts frames of at most `max` bytes.
    pub fn new(max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), max }
    }

    /// Changes the limit for the frames that were not taken yet.
    pub fn limit(&mut self, max: usize) {
        self.max = max;
    }

    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FrameTooLarge`]; the stream cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let declared = usize::try_from(u32::from_be_bytes(*header)).expect("usize has at least 32 bits here");
        if declared > self.max {
            return Err(FrameTooLarge { declared, max: self.max });
        }
        if self.buffer.len() < HEADER_BYTES + declared {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Ok(Some(self.buffer.split_to(declared).freeze()))
    }

    /// Whether a part of a frame is waiting for the rest of it.
    pub fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_every_split() {
        let mut stream = Vec::new();
        for len in [0usize, 1, 5, 300] {
            put_frame(&mut stream, 300, |out| out.extend(std::iter::repeat_n(7, len))).unwrap();
        }
        for chunk in 1..stream.len() {
            let mut reader = FrameReader::new(300);
            let mut lens = Vec::new();
            for piece in stream.chunks(chunk) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    lens.push(frame.len());
                }
            }
            assert_eq!(lens, [0, 1, 5, 300], "in chunks of {chunk}");
            assert!(!reader.is_mid_frame());
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for (len, fits) in [(9usize, true), (10, true), (11, false)] {
            let mut out = vec![1, 2];
            assert_eq!(put_frame(&mut out, 10, |out| out.extend(vec![7; len])).is_ok(), fits);
            assert!(fits || out == [1, 2]);
            let mut reader = FrameReader::new(10);
            reader.push(&u32::try_from(len).unwrap().to_be_bytes());
            assert_eq!(reader.next_frame().is_ok(), fits);
        }
    }
}
