//! What readers see: one state with its number, immutable. Readers on any thread query it; the leader asks it
//! whether a command is worth ordering; a back end asks it for the receipt of a repeat.

use std::fmt;

use synod_types::command::{CommandBody, Operation};
use synod_types::{
    AppNdx, Ballot, ClusterId, CommandId, CommanderId, Configuration, ContentTicket, Digest, Epoch, Level,
    Receipt, Refusal, RefusalCode, Seq, SignedCommand, Slot, StateNdx, TimeMs,
};

use crate::application::Application;
use crate::authority::{Authority, AuthorityOp, Commander};
use crate::chain;
use crate::lease_clock::LeaseClock;
use crate::session::Sessions;

/// An application's state between two decrees. Made by O(1) copies; a reader loads one pointer and sees all of
/// these together.
pub struct View {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which application.
    pub app_ndx: AppNdx,
    /// How many commands and expiries it has executed.
    pub state_ndx: StateNdx,
    /// The hash chain's value there.
    pub chain: Digest,
    /// The time of the last decree.
    pub time: TimeMs,
    /// What decides that something has run out.
    pub clock: LeaseClock,
    /// The last slot that was applied.
    pub applied: Slot,
    /// Whose votes decide from the next slot on; `None`: those whom genesis names.
    pub configuration: Option<Configuration>,
    /// The state, for queries.
    pub app: Box<dyn Application>,
    /// Who may command.
    pub(crate) authority: Authority,
    /// What was executed for whom.
    pub(crate) sessions: Sessions,
}

impl View {
    /// The state before the first decree, with nobody to command.
    pub fn new(cluster: ClusterId, app_ndx: AppNdx, app: Box<dyn Application>) -> View {
        View {
            cluster,
            app_ndx,
            state_ndx: StateNdx(0),
            chain: chain::start(cluster, app_ndx),
            time: TimeMs(0),
            clock: LeaseClock::default(),
            applied: Slot(0),
            configuration: None,
            app,
            authority: Authority::default(),
            sessions: Sessions::default(),
        }
    }

    /// A copy that shares structure with this one: O(1).
    pub fn fork(&self) -> View {
        View {
            cluster: self.cluster,
            app_ndx: self.app_ndx,
            state_ndx: self.state_ndx,
            chain: self.chain,
            time: self.time,
            clock: self.clock,
            applied: self.applied,
            configuration: self.configuration.clone(),
            app: self.app.fork(),
            authority: self.authority.clone(),
            sessions: self.sessions.clone(),
        }
    }

    /// By which rules the next command is executed.
    pub fn level(&self) -> Level {
        self.authority.level()
    }

    /// The level to which a command would raise the application, if it is executed in this state. A leader orders it only
    /// where every member's program knows that level: the others would have to stop.
    pub fn raises(&self, body: &CommandBody) -> Option<Level> {
        let Some(Operation::Authority(operation)) = Operation::split(&body.operation) else { return None };
        self.authority.raises(&AuthorityOp::decode(operation).ok()?)
    }

    /// The epoch of the next slot.
    pub fn epoch(&self) -> Epoch {
        self.configuration.as_ref().map_or(Epoch(0), |configuration| configuration.epoch)
    }

    /// Whether a command is worth ordering, as far as this state can tell: it is addressed to this application, its
    /// commander may do this, it is not stale nor expired at `now` (the leader's clock), and its operation is well
    /// formed. Saves ordering what would be refused; the machine decides again when the command is applied.
    ///
    /// A repeat of an executed command is not for this: ask [`View::receipt`] first.
    ///
    /// # Errors
    /// The refusal to give to the commander.
    pub fn admit(&self, body: &CommandBody, now: TimeMs) -> Result<(), Refusal> {
        self.check_address(body)?;
        self.sessions.check_not_stale(body.commander, body.seq)?;
        match self.permit(body, now.max(self.time))? {
            Operation::App(operation) => self.app.check(operation),
            Operation::Authority(operation) => {
                AuthorityOp::decode_for(&*self.app, self.level(), operation).map(drop)
            }
        }
    }

    /// Whether a leader, whose `term` this state has reached, is to propose a tick when its clock shows `now`: something
    /// has run out by then, or it runs while the clock of the term does not yet.
    pub fn wants_tick(&self, term: Ballot, now: TimeMs) -> bool {
        self.app.due().is_some_and(|due| self.clock.behind(term, now).is_none_or(|clock| clock >= due))
    }

    /// Whether a commander may upload the file for which `body` is a ticket, as far as this state can tell.
    ///
    /// # Errors
    /// The refusal to give to the commander.
    pub fn admit_upload(&self, body: &CommandBody, now: TimeMs) -> Result<ContentTicket, Refusal> {
        self.check_address(body)?;
        let ticket = ContentTicket::decode(&body.operation).ok_or_else(|| {
            Refusal::new(RefusalCode::Malformed, "the operation is not a ticket to upload a file")
        })?;
        // Whoever may command the application may bring the files for it; a file lies in no scope until it is referred to.
        let time = now.max(self.time);
        self.authority.active(body.commander, time)?;
        check_expiry(body, time)?;
        Ok(ticket)
    }

    /// The receipt of a command that was executed, while it is inside its commander's window.
    pub fn receipt(&self, commander: CommanderId, seq: Seq, command: CommandId) -> Option<Receipt> {
        self.find(commander, seq, command).ok()?
    }

    /// The same, of a command as it was signed.
    pub fn receipt_of(&self, command: &SignedCommand) -> Option<Receipt> {
        let body = CommandBody::decode(&command.body).ok()?;
        self.receipt(body.commander, body.seq, command.id())
    }

    /// What has become of a command: its receipt, or `None` where it may still be executed.
    ///
    /// # Errors
    /// Why its place cannot be looked at: `StaleSeq`, `SeqReused` or `SeqTooFar`.
    pub fn find(
        &self,
        commander: CommanderId,
        seq: Seq,
        command: CommandId,
    ) -> Result<Option<Receipt>, Refusal> {
        let executed = self.sessions.find(commander, seq, command)?;
        Ok(executed.map(|executed| executed.receipt(self.app_ndx, seq)))
    }

    /// The lowest seq above every executed one of this commander; 1 if there is none.
    pub fn next_seq(&self, commander: CommanderId) -> Seq {
        self.sessions.next_seq(commander)
    }

    /// Who may command this application, what is pending, and what was done to it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// All commanders of this application, revoked ones too, by id.
    pub fn commanders(&self) -> impl Iterator<Item = &Commander> {
        self.authority.iter()
    }

    /// One commander of this application.
    pub fn commander(&self, id: CommanderId) -> Option<&Commander> {
        self.authority.commander(id)
    }

    /// Checks that the command was signed for this application of this cluster.
    pub(crate) fn check_address(&self, body: &CommandBody) -> Result<(), Refusal> {
        if body.cluster != self.cluster {
            return Err(Refusal::new(
                RefusalCode::WrongCluster,
                format_args!(
                    "the command was signed for cluster {}; this is cluster {}",
                    body.cluster.short(),
                    self.cluster.short()
                ),
            ));
        }
        if body.app != self.app_ndx {
            return Err(Refusal::new(
                RefusalCode::UnknownApp,
                format_args!(
                    "the command was signed for application {}; this is application {}",
                    body.app, self.app_ndx
                ),
            ));
        }
        Ok(())
    }

    /// Checks that the commander may do this, and in time; gives what it wants done.
    pub(crate) fn permit<'a>(&self, body: &'a CommandBody, time: TimeMs) -> Result<Operation<'a>, Refusal> {
        let operation = Operation::split(&body.operation).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Malformed,
                "the operation is neither the application's (0) nor on its commanders (1), as its first byte says",
            )
        })?;
        self.authority.permits(body.commander, time, &operation, &*self.app)?;
        check_expiry(body, time)?;
        Ok(operation)
    }
}

fn check_expiry(body: &CommandBody, time: TimeMs) -> Result<(), Refusal> {
    match body.not_after {
        Some(not_after) if not_after < time => Err(Refusal::new(
            RefusalCode::Expired,
            format_args!("the command was valid until {not_after} ms; the cluster's time is {time} ms"),
        )),
        _ => Ok(()),
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("app_ndx", &self.app_ndx)
            .field("kind", &self.app.kind())
            .field("state_ndx", &self.state_ndx)
            .field("chain", &self.chain)
            .field("time", &self.time)
            .field("clock", &self.clock)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}
