//! One end of a lane: whole frames over a stream, in one encoding, each within a time.
//!
//! A frame is its length (u32, big-endian) and its body. Both ends wait for each other, so at most one frame is under way: who
//! does not read is not written to any further, and who does not answer in time is given up.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_types::frame::{FrameReader, FrameTooLarge, put_frame};
use synod_types::limits::{HELLO_FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX};

use crate::message::{BadAnswer, Encoding};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// How long an answer is waited for before whoever asks steps [`Aside`]: longer than a process at hand needs for little work, and no
/// longer than executing a decree takes here.
const MOMENT: Duration = Duration::from_micros(500);
/// Bytes of a frame that the socket takes at once, as nothing else is under way.
const TAKEN_AT_ONCE: usize = 16 << 10;

/// Does work that may wait for long, so that the thread that does it is not missed: on a runtime, by having another one take its
/// place, which costs more than a moment's waiting.
pub type Aside = fn(&mut dyn FnMut());

/// For threads that nobody misses.
pub fn no_aside(work: &mut dyn FnMut()) {
    work();
}

/// Steps aside for this work, and gives what came of it.
pub(crate) fn step_aside<T>(aside: Aside, work: impl FnOnce() -> T) -> T {
    let (mut work, mut done) = (Some(work), None);
    aside(&mut || done = work.take().map(|work| work()));
    done.expect("an aside does the work")
}

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
        self.send_frame(&encode(self.encoding, message)?)
    }

    /// Sends a frame and takes the next one. What takes longer than a moment is done `aside`.
    ///
    /// # Errors
    /// As [`Link::send`] and [`Link::receive`].
    pub fn ask<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        question: &Q,
        aside: Aside,
    ) -> Result<A, LinkError> {
        let out = encode(self.encoding, question)?;
        let mut frame = None;
        if out.len() <= TAKEN_AT_ONCE {
            self.send_frame(&out)?;
            frame = self.frame_within(MOMENT)?;
        } else {
            step_aside(aside, || self.send_frame(&out))?;
        }
        let frame = match frame {
            Some(frame) => frame,
            None => step_aside(aside, || self.frame())?,
        };
        decode(self.encoding, &frame).map_err(LinkError::Malformed)
    }

    fn send_frame(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let (begun, mut left) = (Instant::now(), frame);
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
            self.read_some(begun)?;
        }
    }

    /// Takes what comes next, of a frame that is waited for since `begun`.
    fn read_some(&mut self, begun: Instant) -> Result<(), LinkError> {
        let read = self.stream.read(&mut self.buffer);
        if let Some(bytes) = self.moved(read, begun)? {
            self.frames.push(&self.buffer[..bytes]);
        }
        Ok(())
    }

    /// The next frame, if all of it comes so soon.
    fn frame_within(&mut self, time: Duration) -> Result<Option<Bytes>, LinkError> {
        let begun = Instant::now();
        while self.is_readable_within(time.saturating_sub(begun.elapsed()))? {
            self.read_some(begun)?;
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(Some(frame));
            }
            if begun.elapsed() >= time {
                break;
            }
        }
        Ok(None)
    }

    fn is_readable_within(&self, time: Duration) -> Result<bool, LinkError> {
        let time = Timespec::try_from(time).expect("it is short");
        match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            // Whoever waits on finds out.
            Err(Errno::INTR) => Ok(false),
            Err(why) => Err(LinkError::Io(why.into())),
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The other end's turn, which comes when this thread steps aside.
        static OTHER_END: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    fn other_ends_turn(work: &mut dyn FnMut()) {
        if let Some(turn) = OTHER_END.take() {
            turn();
        }
        work();
    }

    fn nobody_steps_aside(_: &mut dyn FnMut()) {
        panic!("the answer is there");
    }

    fn ends() -> (Link, UnixStream) {
        let (stream, other) = UnixStream::pair().unwrap();
        (Link::new(stream, Encoding::Json, Some(Duration::from_secs(60))).unwrap(), other)
    }

    #[test]
    fn an_answer_that_comes_at_once_is_taken_where_it_is_asked_for() {
        let (mut link, mut other) = ends();
        other.write_all(&encode(Encoding::Json, "answer").unwrap()).unwrap();
        assert_eq!(link.ask::<_, String>(&"question", nobody_steps_aside).unwrap(), "answer");
    }

    #[test]
    fn one_that_takes_longer_is_waited_for_aside() {
        let (mut link, mut other) = ends();
        let answer = encode(Encoding::Json, "answer").unwrap();
        let (begin, rest) = answer.split_at(6);
        let rest = rest.to_vec();
        other.write_all(begin).unwrap();
        OTHER_END.set(Some(Box::new(move || other.write_all(&rest).unwrap())));
        assert_eq!(link.ask::<_, String>(&"question", other_ends_turn).unwrap(), "answer");
    }

    #[test]
    fn what_the_socket_does_not_take_at_once_is_sent_aside() {
        let (mut link, mut other) = ends();
        let question = "q".repeat(4 << 20);
        OTHER_END.set(Some(Box::new(move || {
            std::thread::spawn(move || {
                let mut answering = Link::new(other.try_clone().unwrap(), Encoding::Json, None).unwrap();
                let asked: String = answering.receive().unwrap();
                other.write_all(&encode(Encoding::Json, &asked.len()).unwrap()).unwrap();
            });
        })));
        assert_eq!(link.ask::<_, usize>(&question, other_ends_turn).unwrap(), 4 << 20);
    }

    #[test]
    fn whoever_hangs_up_is_gone_at_once() {
        let (mut link, other) = ends();
        drop(other);
        let asked = link.ask::<_, String>(&"question", nobody_steps_aside);
        assert!(matches!(asked, Err(LinkError::Closed)), "{asked:?}");
    }
}
