//! What happens to a command. Decrees come in slot order; each command in them is refused without a trace, answered
//! with its original receipt, or executed.
//!
//! The checks come in this order: address, session, authority, expiry. What fails one of them leaves no trace:
//! stateNdx does not rise and the seq is not used up. What passes all of them is executed, and stateNdx rises by one,
//! also when the outcome is a refusal.

use bytes::Bytes;
use synod_types::command::{CommandBody, Operation};
use synod_types::{
    AppNdx, ClusterId, CommandId, CommanderId, ContentKey, Decree, Digest, LeaseMs, Outcome, Receipt,
    Refusal, RefusalCode, Seq, SignedCommand, Slot, wire,
};

use crate::application::{Application, Context};
use crate::authority::{Authority, AuthorityOp, Founders};
use crate::chain;
use crate::session::{Executed, is_within_limits};
use crate::snapshot::SnapshotError;
use crate::view::View;

/// What became of one command of a decree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Which command.
    pub command: CommandId,
    /// Who commanded; of bytes that are not a command, whose key came with them.
    pub commander: CommanderId,
    /// The commander's number for it; 0 for bytes that are not a command.
    pub seq: Seq,
    /// The receipt of an executed command; or why it was not executed, which left no trace.
    pub result: Result<Receipt, Refusal>,
    /// Whether the command had been executed before, and `result` is the receipt of then.
    pub repeated: bool,
}

/// The replicated state machine of one application. Replicas that applied the same slots are equal.
#[derive(Debug)]
pub struct Machine {
    state: View,
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
        Machine { state }
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
        Ok(Machine { state: View::restore(cluster, app, snapshot, application)? })
    }

    /// Applies what was chosen for `slot`; one answer per command, in order.
    ///
    /// # Panics
    /// If `slot` is not the one behind the last applied slot.
    pub fn apply(&mut self, slot: Slot, decree: &Decree) -> Vec<Applied> {
        assert_eq!(slot, self.state.applied.next(), "slots are applied in order, each once");
        self.state.applied = slot;
        match decree {
            Decree::Noop => Vec::new(),
            Decree::Batch(batch) => {
                // Another leader's clock may be behind that of the one before it.
                self.state.time = self.state.time.max(batch.time);
                batch.commands.iter().map(|signed| self.apply_command(signed)).collect()
            }
        }
    }

    fn apply_command(&mut self, signed: &SignedCommand) -> Applied {
        let command = signed.id();
        let body = match CommandBody::decode(&signed.body) {
            Ok(body) => body,
            Err(error) => {
                return Applied {
                    command,
                    commander: CommanderId(Digest::of(&[&signed.key])),
                    seq: Seq(0),
                    result: Err(Refusal::new(RefusalCode::Malformed, error)),
                    repeated: false,
                };
            }
        };
        let (result, repeated) = match self.admit_or_repeat(command, &body) {
            Ok(Admitted::Repeat(receipt)) => (Ok(receipt), true),
            Ok(Admitted::New(operation)) => (Ok(self.execute(command, &body, operation)), false),
            Err(refusal) => (Err(refusal), false),
        };
        Applied { command, commander: body.commander, seq: body.seq, result, repeated }
    }

    fn admit_or_repeat<'a>(
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

    fn execute(&mut self, command: CommandId, body: &CommandBody, operation: Operation<'_>) -> Receipt {
        let outcome = match self.outcome(body, operation) {
            Ok(answer) => Outcome::Done(answer),
            Err(refusal) => Outcome::Refused(refusal),
        };
        // The state behind a too large answer cannot be taken back, and its receipt could not be kept.
        assert!(is_within_limits(&outcome), "an application's answers and refusals stay within their limits");
        let state = &mut self.state;
        state.state_ndx = state.state_ndx.next();
        state.chain = chain::link(state.chain, command, &outcome);
        let executed = Executed { command, state_ndx: state.state_ndx, outcome, chain: state.chain };
        let receipt = executed.receipt(state.app_ndx, body.seq);
        state.sessions.record(body.commander, body.seq, executed);
        receipt
    }

    fn outcome(&mut self, body: &CommandBody, operation: Operation<'_>) -> Result<Bytes, Refusal> {
        let state = &mut self.state;
        if let Some(expected) = body.expected.filter(|expected| *expected != state.state_ndx) {
            return Err(Refusal::new(
                RefusalCode::StateMismatch,
                format_args!("the command expected stateNdx {expected}; it was {}", state.state_ndx),
            ));
        }
        let state_ndx = state.state_ndx.next();
        let context = Context { state_ndx, time: state.time, clock: LeaseMs(0), commander: body.commander };
        match operation {
            Operation::App(operation) => state.app.apply(&context, operation),
            Operation::Authority(operation) => {
                let op = AuthorityOp::decode_for(&*state.app, operation)?;
                let reply = state.authority.apply(&context, op)?;
                Ok(wire::encode(&reply).into())
            }
        }
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

    /// The state as it is now, while it is borrowed.
    pub fn state(&self) -> &View {
        &self.state
    }

    /// See [`View::snapshot`].
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    /// See [`View::digest`].
    pub fn digest(&self) -> Digest {
        self.state.digest()
    }
}

/// What is to be done for a command that is not refused.
enum Admitted<'a> {
    /// Nothing: it was executed before.
    Repeat(Receipt),
    /// Execute this.
    New(Operation<'a>),
}
