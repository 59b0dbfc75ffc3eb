//! What happens to a command. Decrees come in slot order; each command in them is refused without a trace, answered
//! with its original receipt, or executed.
//!
//! The checks come in this order: address, session, authority, expiry. What fails one of them leaves no trace:
//! stateNdx does not rise and the seq is not used up. What passes all of them is executed, and stateNdx rises by one,
//! also when the outcome is a refusal.
//!
//! A tick, which is a batch without commands, ends what has run out on the [lease clock](crate::lease_clock): an
//! **expiry**, by which stateNdx rises by one as well, so that what ended is seen in a state and proved by the hash chain.
//! So stateNdx counts executed commands and expiries. Batches with commands end nothing: a keep-alive that came to the
//! leader before the tick was due is executed before it, however long a disk took. A tick at which nothing has run out
//! leaves the state as it is.
//!
//! By which rules all this goes is the application's **level**, which is part of its authority and raised by a command. Every
//! replica switches between the same two commands. A program that does not know the level stops before it executes anything
//! of it: [`UnknownLevel`].

use std::fmt::Display;

use bytes::Bytes;
use synod_types::command::{CommandBody, Operation};
use synod_types::versions::LEVELS;
use synod_types::{
    AppNdx, Ballot, ClusterId, CommandId, CommanderId, ContentKey, Decree, Digest, Level, Outcome, Receipt,
    Refusal, RefusalCode, Seq, SignedCommand, Slot, StateNdx, TimeMs, UnknownLevel, Versions, wire,
};

use crate::apart::{Apart, Away, NotApplied};
use crate::application::{Application, Context, Moment};
use crate::authority::{Authority, AuthorityOp, Founders};
use crate::broken::{Broken, Fault};
use crate::chain;
use crate::session::{Executed, Sessions, is_within_limits};
use crate::snapshot::SnapshotError;
use crate::succession::Succession;
use crate::view::View;

/// What became of one command of a decree, or of a tick at which something had run out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Which command; or [`chain::expiry`].
    pub command: CommandId,
    /// Who commanded; of bytes that are not a command, whose key came with them. `None`: it is an expiry.
    pub commander: Option<CommanderId>,
    /// The commander's number for it; 0 for bytes that are not a command, and for an expiry.
    pub seq: Seq,
    /// The receipt of an executed command; or why it was not executed, which left no trace.
    pub result: Result<Receipt, Refusal>,
    /// Whether the command had been executed before, and `result` is the receipt of then.
    pub repeated: bool,
}

impl Applied {
    /// Of bytes that are not a command.
    pub(crate) fn malformed(command: CommandId, signed: &SignedCommand, why: impl Display) -> Applied {
        Applied {
            command,
            commander: Some(CommanderId(Digest::of(&[&signed.key]))),
            seq: Seq(0),
            result: Err(Refusal::new(RefusalCode::Malformed, why)),
            repeated: false,
        }
    }
}

/// The replicated state machine of one application. Replicas that applied the same slots are equal.
#[derive(Debug)]
pub struct Machine {
    state: View,
    /// By the rules of which levels this program can execute.
    levels: Versions,
    broken: Broken,
}

impl Machine {
    /// The state before slot 1, with genesis' first commanders.
    ///
    /// # Panics
    /// As [`Authority::founded_by`]: genesis is checked where it is read.
    pub fn new(
        cluster: ClusterId,
        app: AppNdx,
        founders: &Founders,
        application: Box<dyn Application>,
    ) -> Machine {
        let mut state = View::new(cluster, app, application);
        state.authority = Authority::founded_by(founders);
        Machine { state, levels: LEVELS, broken: Broken::NOT }
    }

    /// The machine that made `snapshot`. `application` is an empty one of the right kind; it takes the state that the
    /// snapshot holds.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong with the bytes, or that they belong to another application.
    pub fn restore(
        cluster: ClusterId,
        app: AppNdx,
        snapshot: &[u8],
        application: Box<dyn Application>,
    ) -> Result<Machine, SnapshotError> {
        crate::snapshot::check_digest(snapshot)?;
        Machine::restore_known(cluster, app, snapshot, application)
    }

    /// As [`Machine::restore`], of bytes of which it is known that they are those that were written: their digest, which takes long
    /// to make, is not looked at.
    ///
    /// # Errors
    /// The same but [`SnapshotError::Damaged`].
    pub fn restore_known(
        cluster: ClusterId,
        app: AppNdx,
        snapshot: &[u8],
        application: Box<dyn Application>,
    ) -> Result<Machine, SnapshotError> {
        let state = View::restore(cluster, app, snapshot, application)?;
        Ok(Machine { state, levels: LEVELS, broken: Broken::NOT })
    }

    /// The same machine, of a program that knows these levels alone.
    ///
    /// # Errors
    /// [`UnknownLevel`] if it is on another one.
    pub fn with_levels(self, levels: Versions) -> Result<Machine, UnknownLevel> {
        let machine = Machine { levels, ..self };
        machine.check_level()?;
        Ok(machine)
    }

    /// A machine that waits for its first state, and begins with this value of the hash chain.
    #[must_use]
    pub fn waiting_behind(mut self, chain: Digest) -> Machine {
        self.state.chain = chain;
        self
    }

    /// The same state as the one with which another cluster begins.
    #[must_use]
    pub fn succeeded_by(self, succession: &Succession) -> Machine {
        Machine { state: self.state.succeeded_by(succession), ..self }
    }

    /// The same machine, with this wrong on purpose.
    #[must_use]
    pub fn with(self, broken: Broken) -> Machine {
        Machine { broken, ..self }
    }

    /// By the rules of which levels this program can execute.
    pub fn levels(&self) -> Versions {
        self.levels
    }

    /// Applies what was chosen for `slot`; one answer per command, in order, or one if something has run out.
    ///
    /// # Errors
    /// [`UnknownLevel`] if the decree raises the application to a level that this program does not know. The machine is as it
    /// was, and this program must go no further.
    ///
    /// # Panics
    /// If `slot` is not the one behind the last applied slot.
    pub fn apply(&mut self, slot: Slot, decree: &Decree) -> Result<Vec<Applied>, UnknownLevel> {
        self.try_apply(slot, decree).map_err(|why| match why {
            NotApplied::UnknownLevel(unknown) => unknown,
            NotApplied::Away(_) => panic!("whoever has an application apart asks whether it is away"),
        })
    }

    /// As [`Machine::apply`], where the application may be in another process.
    ///
    /// # Errors
    /// [`NotApplied`]. The machine is as it was.
    ///
    /// # Panics
    /// The same.
    pub fn try_apply(&mut self, slot: Slot, decree: &Decree) -> Result<Vec<Applied>, NotApplied> {
        assert_eq!(slot, self.state.applied.next(), "slots are applied in order, each once");
        let is_apart = self.state.app.apart().is_some();
        let before = (is_apart || decree.commands().iter().any(may_raise)).then(|| self.state.fork());
        let applied = self.execute_all(slot, decree).map_err(NotApplied::Away);
        let known = self.check_level().map_err(NotApplied::UnknownLevel);
        match known.and(applied) {
            Ok(applied) => {
                if let Some(apart) = self.state.app.apart() {
                    apart.settle();
                }
                Ok(applied)
            }
            Err(why) => {
                self.state = before.expect("nothing else raises the level, and nothing else is away");
                Err(why)
            }
        }
    }

    pub(crate) fn check_level(&self) -> Result<(), UnknownLevel> {
        let (app, level, known) = (self.state.app_ndx, self.state.level(), self.levels);
        if known.contains(level.0) { Ok(()) } else { Err(UnknownLevel { app, level, known }) }
    }

    /// Executes a decree, as far as this program knows the rules.
    fn execute_all(&mut self, slot: Slot, decree: &Decree) -> Result<Vec<Applied>, Away> {
        self.state.applied = slot;
        match decree {
            // Behind both another leader has another term.
            Decree::Noop | Decree::Seal(_) => {
                if let Some(next) = decree.seals(self.state.epoch()) {
                    self.state.configuration = Some(next.clone());
                }
                self.state.clock.on_noop(self.broken);
                Ok(Vec::new())
            }
            Decree::Batch(batch) => {
                self.pass_time(batch.term, batch.time);
                let ends = decree.is_tick() || self.broken.is(Fault::BatchesExpire);
                let mut applied: Vec<Applied> = ends.then(|| self.expire()).flatten().into_iter().collect();
                if self.state.app.apart().is_some() {
                    applied.extend(self.execute_apart(&batch.commands)?);
                    return Ok(applied);
                }
                for signed in &batch.commands {
                    if self.check_level().is_err() {
                        break;
                    }
                    applied.push(self.apply_command(signed));
                }
                Ok(applied)
            }
        }
    }

    fn pass_time(&mut self, term: Ballot, time: TimeMs) {
        let state = &mut self.state;
        // Another leader's clock may be behind that of the one before it.
        state.time = state.time.max(time);
        if state.clock.on_batch(term, time, self.broken) && !self.broken.is(Fault::NoTimeAgain) {
            state.app.on_new_term(state.clock.now());
        }
    }

    /// Ends what has run out, if anything has.
    fn expire(&mut self) -> Option<Applied> {
        let state = &mut self.state;
        let clock = state.clock.now();
        state.app.due().filter(|due| *due <= clock)?;
        let moment = Moment { state_ndx: state.state_ndx.next(), time: state.time, clock };
        let outcome = Outcome::Done(state.app.expire(&moment));
        let command = chain::expiry(state.cluster, state.app_ndx, state.applied, clock);
        let receipt = self.advance(command, outcome).receipt(self.state.app_ndx, Seq(0));
        Some(Applied { command, commander: None, seq: Seq(0), result: Ok(receipt), repeated: false })
    }

    fn apply_command(&mut self, signed: &SignedCommand) -> Applied {
        let command = signed.id();
        let body = match CommandBody::decode(&signed.body) {
            Ok(body) => body,
            Err(why) => return Applied::malformed(command, signed, why),
        };
        let (result, repeated) = match self.admit_or_repeat(command, &body) {
            Ok(Admitted::Repeat(receipt)) => (Ok(receipt), true),
            Ok(Admitted::New(operation)) => (Ok(self.execute(command, &body, operation)), false),
            Err(refusal) => (Err(refusal), false),
        };
        Applied { command, commander: Some(body.commander), seq: body.seq, result, repeated }
    }

    pub(crate) fn admit_or_repeat<'a>(
        &self,
        command: CommandId,
        body: &'a CommandBody,
    ) -> Result<Admitted<'a>, Refusal> {
        let state = &self.state;
        state.check_address(body)?;
        if let Some(executed) = state.sessions.find(body.commander, body.seq, command)? {
            return Ok(Admitted::Repeat(executed.receipt(state.app_ndx, body.seq)));
        }
        state.permit(body, state.time).map(Admitted::New)
    }

    pub(crate) fn execute(
        &mut self,
        command: CommandId,
        body: &CommandBody,
        operation: Operation<'_>,
    ) -> Receipt {
        let outcome = self.outcome(body, operation).map_or_else(Outcome::Refused, Outcome::Done);
        self.record(command, body, outcome)
    }

    /// A command was executed.
    pub(crate) fn record(&mut self, command: CommandId, body: &CommandBody, outcome: Outcome) -> Receipt {
        let executed = self.advance(command, outcome);
        let receipt = executed.receipt(self.state.app_ndx, body.seq);
        self.state.sessions.record(body.commander, body.seq, executed);
        receipt
    }

    /// Makes the next state: what was executed has this outcome.
    fn advance(&mut self, command: CommandId, outcome: Outcome) -> Executed {
        // The state behind a too large answer cannot be taken back, and its receipt could not be kept.
        assert!(is_within_limits(&outcome), "an application's answers and refusals stay within their limits");
        let state = &mut self.state;
        state.state_ndx = state.state_ndx.next();
        state.chain = chain::link(state.chain, state.time, command, &outcome);
        Executed { command, state_ndx: state.state_ndx, outcome, chain: state.chain }
    }

    fn outcome(&mut self, body: &CommandBody, operation: Operation<'_>) -> Result<Bytes, Refusal> {
        let state = &mut self.state;
        if let Some(expected) = body.expected.filter(|expected| *expected != state.state_ndx) {
            return Err(Refusal::new(
                RefusalCode::StateMismatch,
                format_args!("the command expected stateNdx {expected}; it was {}", state.state_ndx),
            ));
        }
        let context = context(state, state.state_ndx.next(), body.commander);
        match operation {
            Operation::App(operation) => state.app.apply(&context, operation),
            Operation::Authority(operation) => {
                let too_early = self.broken.is(Fault::RuleBeforeLevel);
                let level = if too_early { Level(self.levels.max) } else { state.level() };
                let op = AuthorityOp::decode_for(&*state.app, level, operation)?;
                let reply = state.authority.apply(&context, op)?;
                Ok(wire::encode(&reply).into())
            }
        }
    }

    /// What an application knows of the command that makes a state.
    pub(crate) fn context(&self, state_ndx: StateNdx, commander: CommanderId) -> Context {
        context(&self.state, state_ndx, commander)
    }

    /// Files to which the state refers and that are to be supplied before it is shown to readers.
    pub fn wanted(&self) -> Vec<ContentKey> {
        self.state.app.wanted()
    }

    /// Gives the application a wanted file. The state stays as it is.
    pub fn supply(&mut self, key: &ContentKey, file: &[u8]) {
        self.state.app.supply(key, file);
    }

    /// The state as it is now, for readers: O(1).
    pub fn view(&self) -> View {
        self.state.fork()
    }

    /// The state as it is now, for a snapshot.
    pub fn view_to_keep(&self) -> View {
        let app = self.state.app.apart().map(Apart::fork_to_keep);
        let view = self.state.fork();
        View { app: app.unwrap_or(view.app), ..view }
    }

    /// Execution begins with this state, or goes on from it.
    pub fn begin(&self) {
        if let Some(apart) = self.state.app.apart() {
            apart.begin();
        }
    }

    /// The state as it is now, while it is borrowed.
    pub fn state(&self) -> &View {
        &self.state
    }

    /// See [`View::snapshot`].
    pub fn snapshot(&self) -> Vec<u8> {
        if self.broken.is(Fault::SnapshotWithoutSessions) {
            return View { sessions: Sessions::default(), ..self.view() }.snapshot();
        }
        self.state.snapshot()
    }

    /// See [`View::digest`].
    pub fn digest(&self) -> Digest {
        self.state.digest()
    }
}

fn context(state: &View, state_ndx: StateNdx, commander: CommanderId) -> Context {
    Context { state_ndx, time: state.time, clock: state.clock.now(), commander }
}

/// Whether a command may raise the level, as its first byte says.
fn may_raise(signed: &SignedCommand) -> bool {
    let body = CommandBody::decode(&signed.body);
    body.is_ok_and(|body| matches!(Operation::split(&body.operation), Some(Operation::Authority(_))))
}

/// What is to be done for a command that is not refused.
pub(crate) enum Admitted<'a> {
    /// Nothing: it was executed before.
    Repeat(Receipt),
    /// Execute this.
    New(Operation<'a>),
}
