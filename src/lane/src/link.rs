//! One end of a lane: whole frames over a stream, in one encoding, each within a time.
//!
//! A frame is its length (u32, big-endian) and its body. Both ends wait for each other, so at most one frame is under way: who
//! does not read is not written to any further, and who does not answer in time is given up.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_types::frame::{FrameReader, FrameTooLarge, put_frame};
use synod_types::limits::{HELLO_FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX};

use crate::message::{BadAnswer, Encoding};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Why a lane is over.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other end is gone.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end does not answer, or does not read.
    #[error("the other end did not answer within {} ms", .0.as_millis())]
    TooLate(Duration),
    /// The operating system's.
    #[error(transparent)]
    Io(io::Error),
    /// A frame that is too large.
    #[error(transparent)]
    TooLarge(#[from] FrameTooLarge),
    /// A frame that cannot be read.
    #[error("a frame makes no sense: {0}")]
    Malformed(String),
    /// A frame that was not expected.
    #[error("the other end said something else than it was asked for: {0}")]
    Unexpected(String),
    /// An answer that breaks the rules.
    #[error(transparent)]
    BadAnswer(#[from] BadAnswer),
    /// The other end said that it cannot go on.
    #[error("the other end cannot go on: {0}")]
    Failed(String),
}

/// A stream of frames.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    frames: FrameReader,
    encoding: Encoding,
    /// How long the other end may take.
    patience: Option<Duration>,
    buffer: Vec<u8>,
}

impl Link {
    /// The end that speaks first, in the encoding that it chooses. Waits for the other end as long as `patience`; `None`: for ever.
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn new(
        stream: UnixStream,
        encoding: Encoding,
        patience: Option<Duration>,
    ) -> Result<Link, LinkError> {
        let mut link = Link {
            stream,
            frames: FrameReader::new(LANE_FRAME_BYTES_MAX),
            encoding,
            patience: None,
            buffer: vec![0; READ_BYTES],
        };
        link.set_patience(patience)?;
        Ok(link)
    }

    /// The end that is spoken to first: reads the first frame, which chooses the encoding.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn accept<T: DeserializeOwned>(
        stream: UnixStream,
        patience: Duration,
    ) -> Result<(Link, T), LinkError> {
        let mut link = Link::new(stream, Encoding::Json, Some(patience))?;
        link.frames.limit(HELLO_FRAME_BYTES_MAX);
        let frame = link.frame()?;
        link.encoding = Encoding::of(&frame);
        link.frames.limit(LANE_FRAME_BYTES_MAX);
        let first = decode(link.encoding, &frame).map_err(LinkError::Malformed)?;
        Ok((link, first))
    }

    /// From now on the other end may take so long; `None`: for ever.
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn set_patience(&mut self, patience: Option<Duration>) -> Result<(), LinkError> {
        self.stream.set_read_timeout(patience).map_err(LinkError::Io)?;
        self.stream.set_write_timeout(patience).map_err(LinkError::Io)?;
        self.patience = patience;
        Ok(())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`LinkError`]; the stream is then of no use any more, unless the frame is too large.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let out = encode(self.encoding, message)?;
        let (begun, mut left) = (Instant::now(), &out[..]);
        while !left.is_empty() {
            let written = self.stream.write(left);
            match self.moved(written, begun)? {
                Some(bytes) => left = &left[bytes..],
                None => continue,
            }
        }
        Ok(())
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// [`LinkError`]; the stream is then of no use any more.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        let frame = self.frame()?;
        decode(self.encoding, &frame).map_err(LinkError::Malformed)
    }

    /// Whether the other end is still there, as far as can be told without waiting, while no frame is under way.
    pub fn is_open(&mut self) -> bool {
        if self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let looked = self.stream.read(&mut self.buffer);
        let is_waiting = matches!(&looked, Err(why) if why.kind() == io::ErrorKind::WouldBlock);
        // Whoever says something without being asked is not understood any more.
        is_waiting && self.stream.set_nonblocking(false).is_ok()
    }

    /// Another handle of the stream, by which it can be closed while somebody waits for it.
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn breaker(&self) -> Result<UnixStream, LinkError> {
        self.stream.try_clone().map_err(LinkError::Io)
    }

    fn frame(&mut self) -> Result<Bytes, LinkError> {
        let begun = Instant::now();
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(frame);
            }
            let read = self.stream.read(&mut self.buffer);
            if let Some(bytes) = self.moved(read, begun)? {
                self.frames.push(&self.buffer[..bytes]);
            }
        }
    }

    /// How many bytes a call moved; `None`: it was interrupted.
    fn moved(&self, moved: io::Result<usize>, begun: Instant) -> Result<Option<usize>, LinkError> {
        let late = self.patience.filter(|patience| begun.elapsed() > *patience);
        match moved {
            Ok(0) => Err(LinkError::Closed),
            Ok(_) if late.is_some() => Err(LinkError::TooLate(late.unwrap_or_default())),
            Ok(bytes) => Ok(Some(bytes)),
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Err(LinkError::TooLate(self.patience.unwrap_or_default()))
                }
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(LinkError::Closed),
                _ => Err(LinkError::Io(why)),
            },
        }
    }
}

/// A message as a whole frame.
///
/// # Errors
/// [`LinkError::TooLarge`]; [`LinkError::Malformed`], where it cannot be written in that encoding.
pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, message: &T) -> Result<Vec<u8>, LinkError> {
    let mut out = Vec::new();
    let mut encoded = Ok(());
    put_frame(&mut out, LANE_FRAME_BYTES_MAX, |out| {
        encoded = match encoding {
            Encoding::Json => serde_json::to_writer(out, message).map_err(|why| why.to_string()),
            Encoding::MessagePack => message
                .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
                .map_err(|why| why.to_string()),
        };
    })?;
    encoded.map_err(LinkError::Malformed)?;
    Ok(out)
}

/// The message in a frame's body.
///
/// # Errors
/// What makes no sense in it.
pub fn decode<T: DeserializeOwned>(encoding: Encoding, frame: &[u8]) -> Result<T, String> {
    match encoding {
        Encoding::Json => serde_json::from_slice(frame).map_err(|why| why.to_string()),
        Encoding::MessagePack => rmp_serde::from_slice(frame).map_err(|why| why.to_string()),
    }
}
