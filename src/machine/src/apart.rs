//! Applications whose state is in another process: what is asked of them may have no answer just now.
//!
//! The machine stays where it is, with sessions, authority and hash chain, and only the application is elsewhere. Two things
//! are different then. Each question costs a way there and back, so the commands of a decree are asked together, as far as
//! none depends on the outcome of another ([`Run`]). And the other process may be gone, so a decree may not be applied now.
//! The machine is then as it was before the decree, and the same decree is tried again later; an application apart answers a
//! command that it has executed already with what it answered then.
//!
//! What happens to each command is what happens to it in one process: the tests hold the two against each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_types::command::{CommandBody, Operation};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{CommandId, CommanderId, Outcome, Refusal, Seq, SignedCommand, StateNdx, UnknownLevel};

use crate::application::{Application, Context, QueryError};
use crate::machine::{Admitted, Applied, Machine};

/// The way to an application in another process. Every call may wait for it; where nothing may wait for long, the way there
/// is one that has other work done meanwhile.
pub trait Apart {
    /// Execution goes on from the state that this application was restored to, or from nothing. Called once, before
    /// anything is executed, and again where another state takes the place of this one.
    fn begin(&self);

    /// Executes operations in order: one outcome for each, as [`Application::apply`] gives it. What was executed already,
    /// as the state in its context says, is not executed again, and has the outcome that it had.
    ///
    /// # Errors
    /// [`Away`]; some of them may have been executed.
    fn apply_all(&self, commands: &[(Context, &[u8])]) -> Result<Vec<Result<Bytes, Refusal>>, Away>;

    /// What was executed so far is not asked for again: a decree is done.
    fn settle(&self);

    /// Whether it wants to be asked by [`Apart::check`]. Never waits.
    fn checks(&self) -> bool;

    /// Looks at an operation, as [`Application::check`] does.
    ///
    /// # Errors
    /// A refusal. Whoever cannot be asked refuses nothing.
    fn check(&self, operation: &[u8]) -> Result<(), Refusal>;

    /// Answers a query, as [`Application::query`] does: from the state that was made last, so it is for whoever asks to see
    /// that nothing is executed meanwhile.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, Unanswered>;

    /// A copy that keeps this state for [`Apart::snapshot`], however much is executed meanwhile.
    fn fork_to_keep(&self) -> Box<dyn Application>;

    /// The whole state as bytes, of what [`Apart::fork_to_keep`] made.
    ///
    /// # Errors
    /// [`Away`]; that state is then not kept any more.
    fn snapshot(&self) -> Result<Vec<u8>, Away>;

    /// What became of the process that was there last, for people; `None`: it is there, or none ever was.
    fn why_away(&self) -> Option<String> {
        None
    }
}

/// Why an application in another process does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// The process is not there, or is not where the others are yet.
    #[error("the application is away: its process is not there, or not yet ready")]
    Gone,
    /// It gave another answer than before to the command that made this state: it is no deterministic state machine.
    #[error(
        "the application's process did not come to the same outcome twice, in the command that made state {0}"
    )]
    Unsteady(StateNdx),
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It is none.
    #[error(transparent)]
    NotAQuery(#[from] QueryError),
    /// Nobody is there to answer it.
    #[error(transparent)]
    Away(#[from] Away),
}

/// Why a decree is not applied. The machine is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    /// This program must go no further.
    #[error(transparent)]
    UnknownLevel(#[from] UnknownLevel),
    /// It is to be tried again.
    #[error(transparent)]
    Away(#[from] Away),
}

/// Commands that are asked together. None of them can depend on the outcome of another: outcomes change sessions alone, and
/// these only for the commander, of whom a run has commands with rising seqs.
#[derive(Default)]
struct Run {
    waiting: Vec<Waiting>,
    last: BTreeMap<CommanderId, Seq>,
}

struct Waiting {
    /// Its place among what is applied.
    place: usize,
    command: CommandId,
    body: CommandBody,
    context: Context,
}

impl Machine {
    /// Executes the commands of a decree by an application apart.
    ///
    /// # Errors
    /// [`Away`]; the machine is then somewhere in the middle.
    pub(crate) fn execute_apart(&mut self, commands: &[SignedCommand]) -> Result<Vec<Applied>, Away> {
        let (mut run, mut applied) = (Run::default(), Vec::with_capacity(commands.len()));
        for signed in commands {
            if self.check_level().is_err() {
                break;
            }
            let command = signed.id();
            let body = match CommandBody::decode(&signed.body) {
                Ok(body) => body,
                Err(why) => {
                    applied.push(Some(Applied::malformed(command, signed, why)));
                    continue;
                }
            };
            let place = applied.len();
            applied.push(None);
            let one = self.execute_or_wait(place, command, body, &mut run, &mut applied)?;
            if let Some(one) = one {
                applied[place] = Some(one);
            }
        }
        self.finish(&mut run, &mut applied)?;
        Ok(applied.into_iter().map(|one| one.expect("a run that is finished has all its outcomes")).collect())
    }

    /// What becomes of a command, if that is known before those that wait are asked; else it waits with them.
    fn execute_or_wait(
        &mut self,
        place: usize,
        command: CommandId,
        body: CommandBody,
        run: &mut Run,
        applied: &mut [Option<Applied>],
    ) -> Result<Option<Applied>, Away> {
        // Where nothing of a commander was executed, its first seq decides what is too far ahead.
        let is_next = |last: &Seq| (1..=SESSION_WINDOW).contains(&body.seq.0.saturating_sub(last.0));
        if run.last.get(&body.commander).is_some_and(|last| !is_next(last)) {
            self.finish(run, applied)?;
        }
        let mut admitted = self.admit_or_repeat(command, &body);
        // What waits may let it in.
        if !matches!(admitted, Ok(Admitted::New(_))) && run.last.contains_key(&body.commander) {
            self.finish(run, applied)?;
            admitted = self.admit_or_repeat(command, &body);
        }
        let (result, repeated) = match admitted {
            Ok(Admitted::Repeat(receipt)) => (Ok(receipt), true),
            Err(refusal) => (Err(refusal), false),
            Ok(Admitted::New(operation)) => {
                let ahead = u64::try_from(run.waiting.len()).expect("usize has at most 64 bits");
                let before = StateNdx(self.state().state_ndx.0 + ahead);
                let is_expected = body.expected.is_none_or(|expected| expected == before);
                if is_expected && matches!(operation, Operation::App(_)) {
                    let context = self.context(before.next(), body.commander);
                    run.last.insert(body.commander, body.seq);
                    run.waiting.push(Waiting { place, command, body, context });
                    return Ok(None);
                }
                self.finish(run, applied)?;
                (Ok(self.execute(command, &body, operation)), false)
            }
        };
        Ok(Some(Applied { command, commander: Some(body.commander), seq: body.seq, result, repeated }))
    }

    /// Asks those that wait.
    fn finish(&mut self, run: &mut Run, applied: &mut [Option<Applied>]) -> Result<(), Away> {
        let Run { waiting, .. } = std::mem::take(run);
        if waiting.is_empty() {
            return Ok(());
        }
        let commands: Vec<(Context, &[u8])> = waiting
            .iter()
            .map(|Waiting { body, context, .. }| match Operation::split(&body.operation) {
                Some(Operation::App(operation)) => (*context, operation),
                Some(Operation::Authority(_)) | None => unreachable!("only an application's operations wait"),
            })
            .collect();
        let apart = self.state().app.apart().expect("it is asked because it is apart");
        let outcomes = apart.apply_all(&commands)?;
        assert_eq!(outcomes.len(), waiting.len(), "one outcome for each command");
        for (Waiting { place, command, body, .. }, outcome) in waiting.into_iter().zip(outcomes) {
            let outcome = outcome.map_or_else(Outcome::Refused, Outcome::Done);
            let receipt = self.record(command, &body, outcome);
            let (commander, seq) = (Some(body.commander), body.seq);
            applied[place] = Some(Applied { command, commander, seq, result: Ok(receipt), repeated: false });
        }
        Ok(())
    }
}
