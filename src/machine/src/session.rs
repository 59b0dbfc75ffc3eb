//! Exactly once. Commands are lost, repeated and reordered on the way; for each commander a window over `seq` holds
//! the receipts of what was executed, and what falls behind the window is never executed any more.
//!
//! The window is [`SESSION_WINDOW`] wide and ends at the highest executed seq. A new seq may be at most as far again
//! ahead, so that the window never jumps over a seq without having covered it. The first executed seq of a commander
//! opens the window: seqs below it that are still on their way find their place inside.
//!
//! A session is never deleted, not even when its commander is revoked: forgetting it would mean executing twice after
//! the commander is granted again. What is held is bounded by [`limits::COMMANDERS_MAX`], the width of the window and
//! the limits on answers and refusals.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_types::limits::{self, SESSION_WINDOW};
use synod_types::{
    AppNdx, CommandId, CommanderId, Digest, Outcome, Receipt, Refusal, RefusalCode, Seq, StateNdx,
};

/// One executed command, as long as it is inside its commander's window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Executed {
    /// Which command took the seq.
    pub command: CommandId,
    /// The state that it made.
    pub state_ndx: StateNdx,
    /// What came of it.
    pub outcome: Outcome,
    /// The hash chain's value at `state_ndx`.
    pub chain: Digest,
}

impl Executed {
    /// The receipt, the same each time.
    pub fn receipt(&self, app: AppNdx, seq: Seq) -> Receipt {
        Receipt { app, seq, state_ndx: self.state_ndx, outcome: self.outcome.clone(), chain: self.chain }
    }
}

/// What one commander had executed. Made by its first executed command, so it always has a highest seq.
#[derive(Clone, Debug)]
struct Session {
    highest: Seq,
    executed: OrdMap<Seq, Arc<Executed>>,
}

impl Session {
    fn opened_by(seq: Seq) -> Session {
        Session { highest: seq, executed: OrdMap::new() }
    }

    /// The first seq inside the window.
    fn lowest(&self) -> Seq {
        Seq(self.highest.0.saturating_sub(SESSION_WINDOW - 1).max(1))
    }

    fn record(&mut self, seq: Seq, executed: Executed) {
        self.highest = self.highest.max(seq);
        let previous = self.executed.insert(seq, Arc::new(executed));
        assert!(previous.is_none(), "seq {seq} was executed twice");
        let lowest = self.lowest();
        while let Some(&(fallen, _)) = self.executed.get_min().filter(|(seq, _)| *seq < lowest) {
            self.executed.remove(&fallen);
        }
    }
}

/// The sessions of all commanders of one application. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    by_commander: OrdMap<CommanderId, Session>,
}

impl Sessions {
    /// Looks up the place of a command: `Some` if it was executed, `None` if it may be.
    ///
    /// # Errors
    /// `StaleSeq` below the window, `SeqTooFar` too far ahead of it, `SeqReused` if another command took the seq.
    pub fn find(
        &self,
        commander: CommanderId,
        seq: Seq,
        command: CommandId,
    ) -> Result<Option<&Executed>, Refusal> {
        self.check_not_stale(commander, seq)?;
        let Some(session) = self.by_commander.get(&commander) else { return Ok(None) };
        if let Some(ahead) = seq.0.checked_sub(session.highest.0).filter(|ahead| *ahead > SESSION_WINDOW) {
            return Err(Refusal::new(
                RefusalCode::SeqTooFar,
                format_args!(
                    "seq {seq} is {ahead} ahead of {}, the commander's highest executed one; at most \
                     {SESSION_WINDOW} are allowed: submit the commands between them first",
                    session.highest
                ),
            ));
        }
        match session.executed.get(&seq) {
            None => Ok(None),
            Some(executed) if executed.command == command => Ok(Some(executed)),
            Some(executed) => Err(Refusal::new(
                RefusalCode::SeqReused,
                format_args!(
                    "the commander used seq {seq} for command {} already, in stateNdx {}; sign with a new seq",
                    executed.command.short(),
                    executed.state_ndx
                ),
            )),
        }
    }

    /// Checks that `seq` is not below the commander's window. Once it is, it stays so.
    ///
    /// # Errors
    /// `StaleSeq`.
    pub fn check_not_stale(&self, commander: CommanderId, seq: Seq) -> Result<(), Refusal> {
        let lowest = self.by_commander.get(&commander).map_or(Seq(1), Session::lowest);
        if seq >= lowest {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::StaleSeq,
            format_args!(
                "seq {seq} is below {lowest}, the lowest that this commander may still use; whether it was \
                 executed is no longer known"
            ),
        ))
    }

    /// Records an executed command.
    ///
    /// # Panics
    /// If its seq was taken: [`Sessions::find`] comes first.
    pub fn record(&mut self, commander: CommanderId, seq: Seq, executed: Executed) {
        match self.by_commander.get_mut(&commander) {
            Some(session) => session.record(seq, executed),
            None => {
                let mut session = Session::opened_by(seq);
                session.record(seq, executed);
                self.by_commander.insert(commander, session);
            }
        }
    }

    /// The lowest seq above every executed one.
    pub fn next_seq(&self, commander: CommanderId) -> Seq {
        let highest = self.by_commander.get(&commander).map_or(0, |session| session.highest.0);
        Seq(highest.saturating_add(1))
    }

    /// Everything, in an order that depends on the contents alone.
    pub fn to_records(&self) -> Vec<SessionRecord> {
        let record = |(commander, session): (&CommanderId, &Session)| SessionRecord {
            commander: *commander,
            executed: session.executed.iter().map(|(seq, executed)| (*seq, executed.clone())).collect(),
        };
        self.by_commander.iter().map(record).collect()
    }

    /// The opposite of [`Sessions::to_records`], for records of unknown origin.
    ///
    /// # Errors
    /// A sentence on what cannot be, for states up to `state_ndx`.
    pub fn from_records(records: Vec<SessionRecord>, state_ndx: StateNdx) -> Result<Sessions, &'static str> {
        if records.len() > limits::COMMANDERS_MAX {
            return Err("there are more sessions than there may be commanders");
        }
        if !records.is_sorted_by(|a, b| a.commander < b.commander) {
            return Err("the sessions are not in order");
        }
        let mut sessions = Sessions::default();
        for SessionRecord { commander, executed } in records {
            let Some((highest, _)) = executed.last() else { return Err("a session is empty") };
            let mut session = Session::opened_by(*highest);
            if !executed.is_sorted_by(|a, b| a.0 < b.0) || executed[0].0 < session.lowest() {
                return Err("a session's receipts are out of order or outside its window");
            }
            for (seq, executed) in executed {
                if executed.state_ndx > state_ndx || executed.state_ndx == StateNdx(0) {
                    return Err("a receipt is of a state that was never reached");
                }
                if !is_within_limits(&executed.outcome) {
                    return Err("a receipt's outcome is too large");
                }
                session.executed.insert(seq, executed);
            }
            sessions.by_commander.insert(commander, session);
        }
        Ok(sessions)
    }

    /// The commanders that have a session.
    pub fn commanders(&self) -> impl Iterator<Item = &CommanderId> {
        self.by_commander.keys()
    }
}

/// Whether an outcome is small enough to be kept in a session.
pub fn is_within_limits(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(answer) => answer.len() <= limits::ANSWER_BYTES_MAX,
        Outcome::Refused(refusal) => refusal.text.len() <= limits::REFUSAL_TEXT_BYTES_MAX,
    }
}

/// One commander's session in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose it is.
    pub commander: CommanderId,
    /// What is inside the window, by rising seq; the last one is the highest executed.
    pub executed: Vec<(Seq, Arc<Executed>)>,
}
