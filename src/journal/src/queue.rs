//! What waits for the writer, in order, within limits. Appends beyond the limit wait for room; reads beyond it are
//! refused.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use synod_types::limits::{JOURNAL_QUEUE_BYTES_MAX, JOURNAL_READS_MAX};
use synod_types::{AppNdx, Ballot, Decree, Slot};

use crate::record::Entry;
use crate::recovery::{ReadError, Verified};

/// Called by the writer when an append is durable.
pub type Done = Box<dyn FnOnce() + Send>;
/// Called by the writer with what it read.
pub type Reply = Box<dyn FnOnce(Result<Vec<(Slot, Ballot, Decree)>, ReadError>) + Send>;

/// Called by the writer with what it verified.
pub type VerifyReply = Box<dyn FnOnce(Result<Verified, ReadError>) + Send>;

/// Something for the writer to do.
pub enum Work {
    /// Write this and call `done` when it is durable.
    Append(Append),
    /// Read this.
    Read(Read),
    /// See whether this can be read.
    Verify(Verify),
}

/// The records of one append, encoded.
pub struct Append {
    /// Facts: to be durable, all or none, before `done` is called.
    pub entries: Vec<Entry>,
    /// Hints: to be written some time.
    pub hints: Vec<Entry>,
    /// Up to where logs are cut off, when the facts are durable.
    pub cuts: Vec<(AppNdx, Slot)>,
    /// What to call.
    pub done: Done,
}

impl Append {
    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.entries.iter().chain(&self.hints).map(Entry::len).sum()
    }
}

/// A request for decrees.
pub struct Read {
    /// The application.
    pub app: AppNdx,
    /// The first slot.
    pub from: Slot,
    /// The last slot.
    pub up_to: Slot,
    /// Bytes after which no further decree joins.
    pub bytes_max: usize,
    /// Whom to tell.
    pub reply: Reply,
}

/// A request to see whether a stretch of a log can be read.
pub struct Verify {
    /// The application.
    pub app: AppNdx,
    /// The first slot.
    pub from: Slot,
    /// Up to here the log has no holes.
    pub chosen: Slot,
    /// Bytes after which to stop.
    pub bytes_max: u64,
    /// Whom to tell.
    pub reply: VerifyReply,
}

/// The queue between those who append and read, and the writer.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Signals the writer.
    work: Condvar,
    /// Signals those who wait for room or for the end.
    change: Condvar,
}

#[derive(Default)]
struct State {
    works: Vec<Work>,
    /// Of appends that are queued or being written.
    bytes: usize,
    /// Of reads that are queued.
    reads: usize,
    phase: Phase,
}

/// Where the journal is in its life; it only goes forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Phase {
    #[default]
    Open,
    /// Nothing more is taken in; what is queued is still done.
    Closing,
    /// Nothing is done any more.
    Ended,
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= JOURNAL_QUEUE_BYTES_MAX
    }
}

impl Queue {
    /// Queues an append; waits while there is no room. One that is larger than all the room is taken when nothing else
    /// waits. Dropped, with its `done`, when the journal was closed or has stopped.
    pub fn append(&self, append: Append) {
        let bytes = append.bytes();
        let is_full = |state: &mut State| state.phase == Phase::Open && !state.has_room(bytes);
        let waited = self.change.wait_while(self.lock(), is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.phase == Phase::Open {
            state.bytes += bytes;
            state.works.push(Work::Append(append));
            self.work.notify_one();
        }
    }

    /// Queues a read, or refuses it.
    pub fn read(&self, read: Read) {
        match self.room_for_read() {
            Ok(mut state) => {
                state.works.push(Work::Read(read));
                self.work.notify_one();
            }
            Err(refusal) => (read.reply)(Err(refusal)),
        }
    }

    /// Queues the verifying of a stretch, or refuses it.
    pub fn verify(&self, verify: Verify) {
        match self.room_for_read() {
            Ok(mut state) => {
                state.works.push(Work::Verify(verify));
                self.work.notify_one();
            }
            Err(refusal) => (verify.reply)(Err(refusal)),
        }
    }

    fn room_for_read(&self) -> Result<MutexGuard<'_, State>, ReadError> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            Err(ReadError::Stopped)
        } else if state.reads >= JOURNAL_READS_MAX {
            Err(ReadError::Busy)
        } else {
            state.reads += 1;
            Ok(state)
        }
    }

    /// All that waits, as soon as there is something; `None` when there will be nothing more.
    pub fn take(&self) -> Option<Vec<Work>> {
        let idle = |state: &mut State| state.phase == Phase::Open && state.works.is_empty();
        drop(self.work.wait_while(self.lock(), idle));
        self.take_now().filter(|works| !works.is_empty())
    }

    /// All that waits now, if anything does; `None` when there will be nothing more.
    pub fn take_now(&self) -> Option<Vec<Work>> {
        let mut state = self.lock();
        state.reads = 0;
        let works = mem::take(&mut state.works);
        (state.phase == Phase::Open || !works.is_empty()).then_some(works)
    }

    /// Gives back the room of appends that are durable.
    pub fn release(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.change.notify_all();
    }

    /// Bytes of appends that are not durable yet.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes nothing more in.
    pub fn close(&self) {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Closing);
        self.work.notify_one();
        self.change.notify_all();
    }

    /// Drops what waits, and takes nothing more in. False if it was at its end before.
    pub fn end(&self) -> bool {
        let mut state = self.lock();
        let is_first = state.phase != Phase::Ended;
        state.phase = Phase::Ended;
        let works = mem::take(&mut state.works);
        self.work.notify_one();
        self.change.notify_all();
        drop(state);
        for work in works {
            match work {
                Work::Read(read) => (read.reply)(Err(ReadError::Stopped)),
                Work::Verify(verify) => (verify.reply)(Err(ReadError::Stopped)),
                Work::Append(_) => {}
            }
        }
        is_first
    }

    /// Whether nothing is done any more.
    pub fn has_ended(&self) -> bool {
        self.lock().phase == Phase::Ended
    }

    /// Waits until nothing is done any more.
    pub fn wait_for_end(&self) {
        let running = |state: &mut State| state.phase != Phase::Ended;
        drop(self.change.wait_while(self.lock(), running));
    }

    /// Nothing panics while it holds the lock, so that a poisoned one holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(bytes: usize) -> Append {
        let entry = Entry { key: Vec::new(), value: vec![0; bytes] };
        Append { entries: vec![entry], hints: Vec::new(), cuts: Vec::new(), done: Box::new(|| {}) }
    }

    #[test]
    fn the_limit_is_exact_and_one_of_any_size_is_taken() {
        let state = State { bytes: 100, ..State::default() };
        assert!(state.has_room(JOURNAL_QUEUE_BYTES_MAX - 101));
        assert!(state.has_room(JOURNAL_QUEUE_BYTES_MAX - 100));
        assert!(!state.has_room(JOURNAL_QUEUE_BYTES_MAX - 99));
        assert!(State::default().has_room(JOURNAL_QUEUE_BYTES_MAX + 1));
    }

    #[test]
    fn an_append_beyond_the_limit_waits_for_room() {
        let queue = Queue::default();
        queue.append(append(JOURNAL_QUEUE_BYTES_MAX));
        std::thread::scope(|scope| {
            scope.spawn(|| queue.append(append(7)));
            assert_eq!(queue.take().map(|works| works.len()), Some(1));
            queue.release(JOURNAL_QUEUE_BYTES_MAX);
            assert_eq!(queue.take().map(|works| works.len()), Some(1));
        });
        assert_eq!(queue.bytes(), 7);
    }

    #[test]
    fn the_end_frees_those_who_wait() {
        let queue = Queue::default();
        queue.append(append(JOURNAL_QUEUE_BYTES_MAX));
        std::thread::scope(|scope| {
            scope.spawn(|| queue.append(append(7)));
            assert!(queue.end());
        });
        assert!(queue.take().is_none() && !queue.end());
    }
}
