//! What one session has to say, collected from every thread and written by one task: whatever is ready when the
//! stream takes more goes out in one write.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use synod_types::limits::{BACKEND_SESSION_BYTES_MAX, BACKEND_SESSION_COMMANDS_MAX, FRAME_BYTES_MAX};
use synod_types::request::{Reply, ReplyFrame};
use synod_types::session::{Control, MsgCounter};
use synod_types::{Refusal, RefusalCode, SignedCommand, wire};
use tokio::sync::Notify;

use crate::intake::{Answer, AnswerSink, Answered, Ticket};
use crate::shared::Shared;

/// Bytes after which the writer hands over to the stream.
const WRITE_BYTES: usize = 64 << 10;

/// One session's replies, and what it has in flight.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// There is something to write.
    ready: Notify,
    /// There is room again, or nothing is in flight any more: for the session's reader.
    relief: Notify,
}

#[derive(Default)]
struct State {
    replies: Vec<Reply>,
    commands: usize,
    bytes: usize,
    /// Requests about files, which are answered by tasks of the session.
    files: usize,
    /// Nothing follows the replies that are there.
    finished: bool,
}

impl Outbox {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Outbox> {
        let state = Mutex::new(State::default());
        Arc::new(Outbox { shared, state, ready: Notify::new(), relief: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// Makes room for a command in the session and at the back end, or refuses it.
    pub(crate) fn admit(self: &Arc<Self>, number: u64, command: &SignedCommand) -> Option<Answer> {
        let admitted = self.shared.admit(command).and_then(|bytes| {
            let mut state = self.state();
            let fits = state.commands < BACKEND_SESSION_COMMANDS_MAX
                && state.bytes + bytes <= BACKEND_SESSION_BYTES_MAX;
            if fits {
                state.commands += 1;
                state.bytes += bytes;
                return Ok(bytes);
            }
            drop(state);
            let text = "too many commands of this session are in flight; wait for answers first";
            self.shared.give_back(bytes);
            Err(Refusal::new(RefusalCode::Busy, text))
        });
        match admitted {
            Ok(bytes) => Some(Answer::new(self.clone(), Ticket { number, bytes })),
            Err(refusal) => {
                let answered = Err(refusal);
                self.shared.answered(0, &answered);
                self.push(reply(number, answered));
                None
            }
        }
    }

    /// Takes on a request about a file.
    pub(crate) fn open(self: &Arc<Self>, number: u64) -> OpenRequest {
        self.state().files += 1;
        OpenRequest { outbox: self.clone(), number }
    }

    /// Adds a reply.
    pub(crate) fn push(&self, reply: Reply) {
        self.change(|state| state.replies.push(reply));
    }

    /// Adds the last reply, if there is one: the writer ends behind it.
    pub(crate) fn finish(&self, last: Option<Control>) {
        self.change(|state| {
            if !state.finished {
                state.replies.extend(last.map(Reply::Control));
                state.finished = true;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        let was_idle = state.replies.is_empty();
        change(&mut state);
        drop(state);
        if was_idle {
            self.ready.notify_one();
        }
    }

    /// Waits until the writer has caught up far enough that more requests may be read: a client that sends and does
    /// not read is not read from.
    pub(crate) async fn room(&self) {
        self.wait(|state| state.replies.len() < BACKEND_SESSION_COMMANDS_MAX).await;
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn drained(&self) {
        self.wait(|state| state.commands == 0 && state.files == 0).await;
    }

    async fn wait(&self, mut until: impl FnMut(&State) -> bool) {
        loop {
            let relief = self.relief.notified();
            if until(&self.state()) {
                return;
            }
            relief.await;
        }
    }

    /// Takes what is ready into `replies`; true if it is the last.
    async fn take(&self, replies: &mut Vec<Reply>) -> bool {
        loop {
            {
                let mut state = self.state();
                if !state.replies.is_empty() || state.finished {
                    std::mem::swap(&mut state.replies, replies);
                    return state.finished;
                }
            }
            self.ready.notified().await;
            // The answers to one decree come in a burst: what follows the first is worth one turn of the scheduler.
            tokio::task::yield_now().await;
        }
    }

    /// Writes until the last reply is written and the other side has it.
    pub(crate) async fn write(self: Arc<Self>, mut stream: SendStream) -> Result<(), WriteError> {
        let mut numbers = MsgCounter::default();
        let mut replies = Vec::new();
        loop {
            let is_last = self.take(&mut replies).await;
            self.relief.notify_waiters();
            let mut out = Vec::new();
            for reply in replies.drain(..) {
                put(&mut out, ReplyFrame { msg_n: numbers.advance(), reply });
                if out.len() >= WRITE_BYTES {
                    stream.write_chunk(Bytes::from(std::mem::take(&mut out))).await?;
                }
            }
            stream.write_chunk(Bytes::from(out)).await?;
            if is_last {
                // Only an error of ours could stop us here, and then there is nothing left to finish.
                let _ = stream.finish();
                let _ = stream.stopped().await;
                return Ok(());
            }
        }
    }
}

/// A request about a file, in progress until this is dropped.
pub(crate) struct OpenRequest {
    outbox: Arc<Outbox>,
    number: u64,
}

impl OpenRequest {
    /// Answers with what `reply` makes of the request's number.
    pub(crate) fn answer(self, answered: Result<impl FnOnce(u64) -> Reply, Refusal>) {
        let your_msg_n = self.number;
        self.outbox.push(match answered {
            Ok(reply) => reply(your_msg_n),
            Err(refusal) => {
                self.outbox.shared.counters.refuse(refusal.code);
                Reply::Refused { your_msg_n, refusal }
            }
        });
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.outbox.state();
        state.files -= 1;
        let is_drained = state.commands == 0 && state.files == 0;
        drop(state);
        if is_drained {
            self.outbox.relief.notify_waiters();
        }
    }
}

impl AnswerSink for Outbox {
    fn answer(&self, ticket: Ticket, answered: Answered) {
        self.shared.answered(ticket.bytes, &answered);
        let reply = reply(ticket.number, answered);
        let mut state = self.state();
        state.commands -= 1;
        state.bytes -= ticket.bytes;
        let is_drained = state.commands == 0 && state.files == 0;
        let is_first = state.replies.is_empty() && !state.finished;
        if !state.finished {
            state.replies.push(reply);
        }
        drop(state);
        if is_first {
            self.ready.notify_one();
        }
        if is_drained {
            self.relief.notify_waiters();
        }
    }
}

fn reply(your_msg_n: u64, answered: Answered) -> Reply {
    match answered {
        Ok(receipt) => Reply::Executed { your_msg_n, receipt },
        Err(refusal) => Reply::Refused { your_msg_n, refusal },
    }
}

/// Appends a frame. A receipt that no frame can hold is not a refusal: the commander learns that it has to look.
fn put(out: &mut Vec<u8>, frame: ReplyFrame) {
    if let Err(error) = wire::put(out, FRAME_BYTES_MAX, &frame) {
        let text = format!("the command was executed, but its receipt cannot be sent: {error}");
        let refusal = Refusal::new(RefusalCode::Timeout, text);
        let your_msg_n = match frame.reply {
            Reply::Executed { your_msg_n, .. } => your_msg_n,
            _ => unreachable!("only a command's receipt carries bytes without a limit of their own"),
        };
        let frame = ReplyFrame { msg_n: frame.msg_n, reply: Reply::Refused { your_msg_n, refusal } };
        wire::put(out, FRAME_BYTES_MAX, &frame).expect("a refusal is far below the limit");
    }
}
