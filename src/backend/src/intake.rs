//! Where verified commands go, and how their answers come back.
//!
//! The node implements [`Intake`]. At thousands of commands a second the way back must cost little: an [`Answer`]
//! is a pointer to its session and a number, not a task and not a channel of its own. It cannot be forgotten: one
//! that is dropped answers by itself.

use std::sync::{Arc, Mutex};

use synod_auth::Verified;
use synod_types::{AppNdx, CommanderId, Receipt, Refusal, RefusalCode, Seq, SignedCommand};

/// What becomes of a command: executed (also if the application refused it), or not, or not known.
pub type Answered = Result<Receipt, Refusal>;

/// The node, as the back end sees it.
pub trait Intake: Send + Sync + 'static {
    /// Takes a verified command. Never blocks: where there is no room it answers `Busy`. Called from any thread, also
    /// from outside the runtime. The node answers `Timeout` after
    /// [`COMMAND_WAIT_MS_MAX`](synod_types::limits::COMMAND_WAIT_MS_MAX).
    fn submit(&self, command: Verified<SignedCommand>, answer: Answer);

    /// Takes commands that arrived together, in order, as if one by one. To be overridden where one hand-over for
    /// all of them is cheaper.
    fn submit_all(&self, submissions: Vec<Submission>) {
        for Submission { command, answer } in submissions {
            self.submit(command, answer);
        }
    }

    /// The lowest seq above every one that this node has seen executed for `commander`.
    ///
    /// # Errors
    /// `UnknownApp`, or why it cannot be said now.
    fn next_seq(&self, app: AppNdx, commander: CommanderId) -> Result<Seq, Refusal>;
}

/// A command with the way back to who submitted it.
#[derive(Debug)]
pub struct Submission {
    /// What to order.
    pub command: Verified<SignedCommand>,
    /// Whom to tell.
    pub answer: Answer,
}

/// Whose answer it is: meaningful only to the sink that gave it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The number of the request in its session.
    pub number: u64,
    /// Bytes of the command, which it holds until it is answered.
    pub bytes: usize,
}

/// Takes answers, from any thread, without blocking.
pub trait AnswerSink: Send + Sync {
    /// The command of `ticket` was answered. Called exactly once for each ticket.
    fn answer(&self, ticket: Ticket, answered: Answered);
}

/// The obligation to answer one command.
#[must_use = "a command is answered"]
pub struct Answer {
    sink: Option<Arc<dyn AnswerSink>>,
    ticket: Ticket,
}

impl Answer {
    /// An answer that goes to `sink`.
    pub fn new(sink: Arc<dyn AnswerSink>, ticket: Ticket) -> Answer {
        Answer { sink: Some(sink), ticket }
    }

    /// An answer that is a call, for one who waits for it alone. It must not block.
    pub fn from_fn(call: impl FnOnce(Answered) + Send + 'static) -> Answer {
        let sink = Arc::new(Call(Mutex::new(Some(call))));
        Answer::new(sink, Ticket { number: 0, bytes: 0 })
    }

    /// Answers.
    pub fn send(mut self, answered: Answered) {
        self.deliver(answered);
    }

    fn deliver(&mut self, answered: Answered) {
        if let Some(sink) = self.sink.take() {
            sink.answer(self.ticket, answered);
        }
    }
}

impl Drop for Answer {
    /// An answer that nobody gave says that nothing is known, which is always true.
    fn drop(&mut self) {
        if self.sink.is_some() {
            let text = "the node gave the command up; submit the same bytes again to learn what became of it";
            self.deliver(Err(Refusal::new(RefusalCode::Timeout, text)));
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Answer").field(&self.ticket).finish()
    }
}

struct Call<F>(Mutex<Option<F>>);

impl<F: FnOnce(Answered) + Send> AnswerSink for Call<F> {
    fn answer(&self, _: Ticket, answered: Answered) {
        let call = self.0.lock().expect("nothing panics while it is held").take();
        if let Some(call) = call {
            call(answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn answer() -> (Answer, mpsc::Receiver<Answered>) {
        let (sender, receiver) = mpsc::channel();
        (Answer::from_fn(move |answered| sender.send(answered).unwrap()), receiver)
    }

    #[test]
    fn a_dropped_answer_says_that_nothing_is_known() {
        let (answer, receiver) = answer();
        drop(answer);
        assert_eq!(receiver.try_recv().unwrap().unwrap_err().code, RefusalCode::Timeout);
    }

    #[test]
    fn an_answer_is_given_once() {
        let (answer, receiver) = answer();
        answer.send(Err(Refusal::new(RefusalCode::Busy, "full")));
        assert_eq!(receiver.try_recv().unwrap().unwrap_err().code, RefusalCode::Busy);
        assert!(receiver.try_recv().is_err());
    }
}
