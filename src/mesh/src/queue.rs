//! What waits to be sent to one peer in one priority: encoded once, bounded in bytes, never blocking who sends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use synod_types::Message;
use synod_types::frame::FrameTooLarge;
use synod_types::limits::{FRAME_BYTES_MAX, MESH_WRITE_BYTES, PEER_QUEUE_BYTES_MAX};
use synod_types::wire;
use tokio::sync::Notify;

use crate::priority::Priority;

/// Frames up to this size are copied together, so that QUIC keeps track of few pieces; larger ones are shared as
/// they are.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// An encoded message. Cloning is cheap, so that a message to several peers is encoded once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    priority: Priority,
    /// The wire version that brought the message.
    since: u32,
    bytes: Bytes,
}

impl Frame {
    /// Encodes a message.
    ///
    /// # Errors
    /// [`FrameTooLarge`] if it is over [`FRAME_BYTES_MAX`].
    pub fn of(message: &Message) -> Result<Frame, FrameTooLarge> {
        let mut bytes = Vec::new();
        wire::put(&mut bytes, FRAME_BYTES_MAX, message)?;
        Ok(Frame { priority: Priority::of(message), since: message.since(), bytes: bytes.into() })
    }

    /// The oldest wire version in which it can be said.
    pub fn since(&self) -> u32 {
        self.since
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.priority
    }
}

/// The queue between those who send and the one task that writes. Closed while there is no session.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The wire version of the session; `None`: there is no session.
    wire: Option<u32>,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// Takes a frame, or says `false`: there is no session, or one that is too old for it, or no room.
    pub(crate) fn push(&self, frame: Frame) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + frame.bytes.len();
        if waiting.wire.is_none_or(|wire| frame.since > wire) || bytes > PEER_QUEUE_BYTES_MAX {
            return false;
        }
        let was_empty = waiting.frames.is_empty();
        waiting.bytes = bytes;
        waiting.frames.push_back(frame.bytes);
        drop(waiting);
        // Whoever writes empties the queue before it waits again.
        if was_empty {
            self.filled.notify_one();
        }
        true
    }

    /// Frames are taken from now on that this wire version has.
    pub(crate) fn open(&self, wire: u32) {
        self.lock().wire = Some(wire);
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Forgets what waits and takes nothing more; returns how many frames were forgotten.
    pub(crate) fn shut(&self) -> usize {
        std::mem::take(&mut *self.lock()).frames.len()
    }

    /// Waits for frames and moves the first of them to `batch`: about [`MESH_WRITE_BYTES`], at least one.
    pub(crate) async fn take(&self, batch: &mut Batch) {
        loop {
            if self.take_now(batch) {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, batch: &mut Batch) -> bool {
        let mut waiting = self.lock();
        let (mut frames, mut bytes) = (0, 0);
        while bytes < MESH_WRITE_BYTES
            && let Some(frame) = waiting.frames.pop_front()
        {
            frames += 1;
            bytes += frame.len();
            batch.pieces.push(frame);
        }
        waiting.bytes -= bytes;
        drop(waiting);
        (batch.frames, batch.bytes) = (frames, bytes);
        batch.coalesce();
        frames > 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames on their way from a queue into a stream.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The bytes of all frames, in few pieces.
    pub(crate) pieces: Vec<Bytes>,
    /// How many frames these are.
    pub(crate) frames: usize,
    /// How many bytes.
    pub(crate) bytes: usize,
}

impl Batch {
    /// Copies neighbouring small frames together.
    fn coalesce(&mut self) {
        if self.pieces.len() < 2 {
            return;
        }
        let mut small = Vec::new();
        let mut pieces = Vec::new();
        for piece in self.pieces.drain(..) {
            if piece.len() <= COPIED_BYTES_MAX {
                small.extend_from_slice(&piece);
                continue;
            }
            if !small.is_empty() {
                pieces.push(Bytes::from(std::mem::take(&mut small)));
            }
            pieces.push(piece);
        }
        if !small.is_empty() {
            pieces.push(Bytes::from(small));
        }
        self.pieces = pieces;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, len: usize) -> Frame {
        Frame { priority: Priority::Bulk, since: 1, bytes: vec![byte; len].into() }
    }

    #[test]
    fn a_shut_queue_takes_nothing() {
        let queue = Queue::default();
        assert!(!queue.push(frame(1, 1)));
        queue.open(1);
        assert!(queue.push(frame(1, 1)));
        assert_eq!(queue.shut(), 1);
        assert!(!queue.push(frame(1, 1)));
    }

    #[test]
    fn what_is_newer_than_the_session_is_dropped() {
        let queue = Queue::default();
        queue.open(2);
        for (since, is_taken) in [(1, true), (2, true), (3, false)] {
            assert_eq!(queue.push(Frame { since, ..frame(1, 1) }), is_taken, "{since}");
        }
        assert_eq!(queue.bytes(), 2);
        assert_eq!(queue.shut(), 2);
        queue.open(3);
        assert!(queue.push(Frame { since: 3, ..frame(1, 1) }));
    }

    #[test]
    fn the_limit_is_exact() {
        let queue = Queue::default();
        queue.open(1);
        assert!(queue.push(frame(1, PEER_QUEUE_BYTES_MAX - 1)));
        assert!(!queue.push(frame(2, 2)));
        assert!(queue.push(frame(3, 1)));
        assert!(!queue.push(frame(4, 1)));
        assert!(queue.take_now(&mut Batch::default()));
        assert!(queue.push(frame(5, PEER_QUEUE_BYTES_MAX - 1)));
    }

    #[test]
    fn frames_leave_in_order_and_small_ones_together() {
        let queue = Queue::default();
        queue.open(1);
        let lens = [3, 5, COPIED_BYTES_MAX + 1, 7, COPIED_BYTES_MAX];
        let mut expected = Vec::new();
        for (byte, len) in (0..).zip(lens) {
            expected.extend(vec![byte; len]);
            assert!(queue.push(frame(byte, len)));
        }
        let mut batch = Batch::default();
        assert!(queue.take_now(&mut batch));
        assert_eq!((batch.frames, batch.bytes, batch.pieces.len()), (5, expected.len(), 3));
        assert_eq!(batch.pieces.concat(), expected);
        assert!(!queue.take_now(&mut Batch::default()));
    }

    #[tokio::test]
    async fn what_is_pushed_while_waiting_is_taken() {
        let queue = std::sync::Arc::new(Queue::default());
        queue.open(1);
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move {
                let mut batch = Batch::default();
                queue.take(&mut batch).await;
                batch.frames
            }
        });
        tokio::task::yield_now().await;
        assert!(queue.push(frame(1, 1)));
        assert_eq!(reader.await.unwrap(), 1);
    }
}
