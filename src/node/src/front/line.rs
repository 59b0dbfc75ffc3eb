//! A connection to the node: who is there is said first, then frames go both ways.

use std::path::Path;
use std::time::Duration;

use synod_lane::decode;
use synod_lane::front::{Asked, FRONT_VERSION, FrontAnswer, FrontHello, FrontQuestion, FrontReception, Told};
use synod_lane::message::Encoding;
use synod_types::frame::FrameReader;
use synod_types::limits::{FRONT_RETRY_MS_MAX, FRONT_RETRY_MS_MIN, LANE_FRAME_BYTES_MAX, LANE_HELLO_MS_MAX};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::fronts::{FrontError, framed, next_frame, write_frame};

/// How frames are written: bytes are not to grow.
const ENCODING: Encoding = Encoding::MessagePack;
/// The version that brought what is asked for here.
const STATES_SINCE: u32 = 2;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("the node refuses this process: {0}")]
    Refused(String),
    #[error("the node closed the connection")]
    Closed,
    #[error(transparent)]
    Broken(#[from] FrontError),
}

/// What a node says of itself when it is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    /// The cluster's id, in hex.
    pub cluster: String,
    /// The node's name.
    pub node: String,
}

/// One connection, on which one thing is asked at a time.
pub(crate) struct Line {
    hear: Hear,
    say: Say,
    last: u64,
}

/// The end that answers come from.
pub(crate) struct Hear {
    read: OwnedReadHalf,
    frames: FrameReader,
}

/// The end that questions go into.
pub(crate) struct Say(OwnedWriteHalf);

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// [`LineError`].
    pub(crate) async fn open(socket: &Path) -> Result<(Line, Host), LineError> {
        let stream = UnixStream::connect(socket).await.map_err(LineError::Connect)?;
        let (read, write) = stream.into_split();
        let mut hear = Hear { read, frames: FrameReader::new(LANE_FRAME_BYTES_MAX) };
        let mut say = Say(write);
        let program = format!("synod {}", env!("CARGO_PKG_VERSION"));
        say.send(&FrontHello { versions: (STATES_SINCE, FRONT_VERSION), program }).await?;
        let patience = Duration::from_millis(LANE_HELLO_MS_MAX);
        match timeout(patience, hear.receive()).await.map_err(|_late| FrontError::TooLate)?? {
            FrontReception::Welcome { version: _, cluster, node } => {
                Ok((Line { hear, say, last: 0 }, Host { cluster, node }))
            }
            FrontReception::Refused(why) => Err(LineError::Refused(why)),
        }
    }

    /// Asks something; the answers to what was asked before are not told any more.
    ///
    /// # Errors
    /// [`LineError::Broken`].
    pub(crate) async fn ask(&mut self, ask: FrontQuestion) -> Result<(), LineError> {
        self.last += 1;
        self.say.send(&Asked { id: self.last, ask }).await
    }

    /// The next answer. May be dropped at any time without losing one.
    ///
    /// # Errors
    /// [`LineError`].
    pub(crate) async fn told(&mut self) -> Result<FrontAnswer, LineError> {
        loop {
            let Told { id, tell } = self.hear.receive().await?;
            if id == self.last {
                return Ok(tell);
            }
        }
    }

    /// Both ends by themselves.
    pub(crate) fn split(self) -> (Hear, Say) {
        (self.hear, self.say)
    }
}

impl Hear {
    /// The next frame. May be dropped at any time without losing one.
    ///
    /// # Errors
    /// [`LineError`].
    pub(crate) async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, LineError> {
        let frame = next_frame(&mut self.read, &mut self.frames).await?.ok_or(LineError::Closed)?;
        Ok(decode(ENCODING, &frame).map_err(FrontError::Malformed)?)
    }
}

impl Say {
    /// Sends a frame.
    ///
    /// # Errors
    /// [`LineError::Broken`].
    pub(crate) async fn send(&mut self, message: &impl serde::Serialize) -> Result<(), LineError> {
        Ok(write_frame(&mut self.0, &framed(ENCODING, message)?).await?)
    }
}

/// Waits between two tries to connect: longer each time, and as short as at first once one succeeded.
pub(crate) struct Pauses(u64);

impl Pauses {
    pub(crate) fn new() -> Pauses {
        Pauses(FRONT_RETRY_MS_MIN)
    }

    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.0)).await;
        self.0 = (self.0 * 2).min(FRONT_RETRY_MS_MAX);
    }
}
