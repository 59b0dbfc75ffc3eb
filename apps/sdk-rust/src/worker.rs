//! The worker's end of a lane: says who it is, and answers one question after the other.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_lane::message::{Answer, Batch, Blob, Encoding, Hello, Outcome, Question, Reception, VERSION};
use synod_lane::{Link, LinkError};
use synod_types::StateNdx;
use synod_types::limits::{LANE_ANSWER_BYTES_MAX, LANE_PIECE_BYTES};

use crate::{App, RunError};

/// How often it is tried to connect.
const TRY_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(why) if begun.elapsed() >= patience => return Err(why),
            Err(_not_yet) => std::thread::sleep(TRY_EVERY),
        }
    }
}

/// Serves an application on a connection to a node, until the node closes it.
///
/// # Errors
/// [`RunError`].
pub fn serve<A: App>(stream: UnixStream, encoding: Encoding) -> Result<(), RunError> {
    let mut link = Link::new(stream, encoding, None)?;
    let program = format!("synod-sdk {}", env!("CARGO_PKG_VERSION"));
    let (versions, kind) = ((VERSION, VERSION), A::KIND.to_owned());
    link.send(&Hello { versions, kind, program, checks: A::CHECKS })?;
    match link.receive()? {
        Reception::Welcome(_) => {}
        Reception::Refused(why) => return Err(RunError::Refused(why)),
    }
    let mut worker = Worker { app: A::new(), restoring: Vec::new(), kept: None };
    loop {
        let question = match link.receive() {
            Ok(question) => question,
            Err(LinkError::Closed) => return Ok(()),
            Err(why) => return Err(why.into()),
        };
        match worker.answer(question) {
            Ok(answer) => link.send(&answer)?,
            Err(why) => {
                link.send(&Answer::Failed(why.to_string()))?;
                return Err(why);
            }
        }
    }
}

struct Worker<A> {
    app: A,
    /// Parts of a snapshot that came so far.
    restoring: Vec<u8>,
    kept: Option<Kept>,
}

/// A state for which the node asks piece by piece.
enum Kept {
    There(Bytes),
    /// A thread makes it.
    Coming(Receiver<Vec<u8>>),
}

impl<A: App> Worker<A> {
    fn answer(&mut self, question: Question) -> Result<Answer, RunError> {
        Ok(match question {
            Question::Reset => {
                self.app = A::new();
                self.restoring.clear();
                self.kept = None;
                Answer::Done
            }
            Question::Restore { bytes: Blob(bytes), last } => {
                self.restoring.extend_from_slice(&bytes);
                if last {
                    let snapshot = std::mem::take(&mut self.restoring);
                    self.app = A::restore(&snapshot).map_err(RunError::Restore)?;
                }
                Answer::Done
            }
            Question::Apply(batch) => Answer::Applied(self.apply(&batch)?),
            Question::Check { operation: Blob(operation) } => match self.app.check(&operation) {
                Ok(()) => Answer::Done,
                Err(refusal) => Answer::Refused(refusal.into()),
            },
            Question::Query { state_ndx, query: Blob(query) } => {
                match self.app.query(StateNdx(state_ndx), &query) {
                    Ok(answer) if answer.len() <= LANE_ANSWER_BYTES_MAX => Answer::Answered(Blob(answer)),
                    // Nobody is to end this process by a question.
                    Ok(answer) => Answer::NotAQuery(format!(
                        "its answer has {} bytes; at most {LANE_ANSWER_BYTES_MAX} are allowed",
                        answer.len()
                    )),
                    Err(why) => Answer::NotAQuery(why),
                }
            }
            Question::Keep => {
                self.kept = Some(self.keep());
                Answer::Done
            }
            Question::Piece { number } => self.piece(number)?,
            Question::Digest => Answer::Digest(Blob(Bytes::copy_from_slice(&self.app.digest().0))),
        })
    }

    fn apply(&mut self, batch: &Batch) -> Result<Vec<Outcome>, RunError> {
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            let context = command.context(batch).map_err(LinkError::BadAnswer)?;
            outcomes.push(self.app.apply(&context, &command.operation.0).into());
        }
        Ok(outcomes)
    }

    fn keep(&self) -> Kept {
        let Some(fork) = self.app.fork() else { return Kept::There(self.app.snapshot().into()) };
        let (sender, coming) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            // Nobody waits for it any more where another state is kept.
            let _ = sender.send(fork.snapshot());
        });
        Kept::Coming(coming)
    }

    fn piece(&mut self, number: u32) -> Result<Answer, RunError> {
        let none = || LinkError::Unexpected("a piece of a state that is not kept".to_owned());
        if let Some(Kept::Coming(coming)) = &self.kept {
            match coming.try_recv() {
                Ok(bytes) => self.kept = Some(Kept::There(bytes.into())),
                Err(TryRecvError::Empty) => return Ok(Answer::Later),
                Err(TryRecvError::Disconnected) => return Err(none().into()),
            }
        }
        let Some(Kept::There(state)) = &self.kept else { return Err(none().into()) };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let from = number.saturating_mul(LANE_PIECE_BYTES);
        if from > state.len() {
            return Err(none().into());
        }
        let to = state.len().min(from.saturating_add(LANE_PIECE_BYTES));
        let (bytes, last) = (Blob(state.slice(from..to)), to == state.len());
        if last {
            self.kept = None;
        }
        Ok(Answer::Piece { bytes, last })
    }
}
