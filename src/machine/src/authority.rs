//! Who may command an application. Authority lives in the log that it governs: commands change it, at an exact
//! stateNdx, and genesis names the first administrators.
//!
//! A commander has a role, perhaps scopes, and perhaps a time from which and until which it is valid; time is that of the
//! decrees, so that every replica decides alike. Where genesis asks for several signatures, no administrator changes alone
//! who commands: see [`changes`]. One application keeps who the cluster's [`members`] are, too. The
//! **level** says by which rules decrees are executed: each application has its own, since it must change at one slot of its own log.
//!
//! Nothing here looks inside a key: that a key is well-formed is checked where a command enters, and a key that is
//! not simply never signs anything.

pub mod changes;
pub mod commander;
pub mod log;
pub mod members;
pub mod op;

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::limits::{COMMANDERS_MAX, ROTATIONS_MAX};
use synod_types::{CommanderId, Digest, Epoch, Level, NodeId, Refusal, RefusalCode, StateNdx, TimeMs};

use changes::Changes;
pub use changes::PendingChange;
pub use commander::{Commander, Role};
use log::Log;
pub use log::{LogEntry, Step};
pub use members::{Member, MemberOp, Members};
pub use op::{AuthorityOp, AuthorityReply, Grant};

use crate::application::{Application, Context};

/// Who founds an application's authority, as genesis says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Founders {
    /// The first administrators: id, key (SubjectPublicKeyInfo, DER) and name.
    pub administrators: Vec<(CommanderId, Bytes, String)>,
    /// How many administrators must sign each change of who commands.
    pub signatures_needed: u32,
    /// The cluster's first members, where this application keeps who they are; else nobody.
    pub members: Vec<Member>,
    /// By which rules it begins.
    pub level: Level,
}

impl Founders {
    /// Each of these administrators changes alone who commands, by the newest rules.
    pub fn each_alone(administrators: &[(CommanderId, Bytes, String)]) -> Founders {
        let administrators = administrators.to_vec();
        Founders { administrators, signatures_needed: 1, members: Vec::new(), level: Level::NEWEST }
    }
}

/// The commanders of one application. Cloning is O(1).
///
/// A revoked commander stays listed: its session must outlive it, and its key must not slip back in as a new one.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    signatures_needed: u32,
    /// By which rules the application's decrees are executed.
    level: Level,
    /// `None`: another application keeps them.
    members: Option<Arc<Members>>,
    /// Who is to lead the application's group, where an administrator has said so.
    leader: Option<NodeId>,
    commanders: OrdMap<CommanderId, Arc<Commander>>,
    changes: Changes,
    log: Log,
}

impl Authority {
    /// The first administrators, as genesis names them.
    ///
    /// # Panics
    /// Over [`COMMANDERS_MAX`], or if more signatures are needed than there are administrators: genesis is checked where
    /// it is read.
    pub fn founded_by(founders: &Founders) -> Authority {
        let Founders { administrators, signatures_needed, members, level } = founders;
        assert!(administrators.len() <= COMMANDERS_MAX, "genesis names too many administrators");
        let enough = usize::try_from(*signatures_needed).is_ok_and(|needed| needed <= administrators.len());
        assert!(enough, "genesis asks for more signatures than it names administrators");
        let commander = |(id, key, name): &(CommanderId, Bytes, String)| {
            let grant = Grant::unlimited(key.clone(), name.clone(), Role::Administrator);
            (*id, Arc::new(Commander { id: *id, ..Commander::granted(grant, StateNdx(0)) }))
        };
        Authority {
            signatures_needed: *signatures_needed,
            level: *level,
            members: (!members.is_empty()).then(|| Arc::new(Members::founded_by(members))),
            commanders: administrators.iter().map(commander).collect(),
            ..Authority::default()
        }
    }

    /// The same commanders in a cluster with these members. Who is to lead stays so where it is one of them.
    #[must_use]
    pub(crate) fn succeeded_by(mut self, epoch: Epoch, members: &[Member]) -> Authority {
        self.members = self.members.map(|_| Arc::new(Members::succeeding(epoch, members)));
        self.leader = self.leader.filter(|leader| members.iter().any(|member| member.id == *leader));
        self
    }

    /// A commander that may command at `time`, whatever that is.
    ///
    /// # Errors
    /// `UnknownCommander`, `Revoked` or `NotValidNow`.
    pub fn active(&self, id: CommanderId, time: TimeMs) -> Result<&Commander, Refusal> {
        let known = self.commander(id).ok_or_else(|| {
            Refusal::new(
                RefusalCode::UnknownCommander,
                format_args!(
                    "no commander of this application has the key {}; an administrator can grant it",
                    id.short()
                ),
            )
        })?;
        known.check_active(time)?;
        Ok(known)
    }

    /// Checks that a commander may do this at `time`.
    ///
    /// # Errors
    /// `UnknownCommander`, `Revoked`, `NotValidNow` or `NotPermitted`; what a writer with scopes commands, and what a
    /// writer commands on commanders, must be an operation, else `Malformed` or `TooLarge`.
    pub fn permits(
        &self,
        id: CommanderId,
        time: TimeMs,
        operation: &Operation<'_>,
        app: &dyn Application,
    ) -> Result<(), Refusal> {
        let commander = self.active(id, time)?;
        let administrators_only = |what: &str| {
            let short = id.short();
            let text = format!("commander {short} is a writer and may not {what}; an administrator may");
            Err(Refusal::new(RefusalCode::NotPermitted, text))
        };
        match (commander.grant.role, operation) {
            (Role::Administrator, _) => Ok(()),
            (Role::Writer, Operation::App(operation)) if app.is_administrative(operation) => {
                administrators_only("command this")
            }
            (Role::Writer, Operation::App(operation)) => match &commander.grant.scopes[..] {
                [] => Ok(()),
                scopes => app.check_within(scopes, operation),
            },
            (Role::Writer, Operation::Authority(operation)) => match AuthorityOp::decode(operation)? {
                AuthorityOp::Rotate { .. } => Ok(()),
                AuthorityOp::Member(_) => administrators_only("change the members"),
                AuthorityOp::Lead { .. } => administrators_only("say who leads"),
                AuthorityOp::Raise { .. } => administrators_only("raise the level"),
                _ => administrators_only("change who commands"),
            },
        }
    }

    /// Executes an operation of a commander that is permitted to do it. On an error nothing has changed.
    ///
    /// # Errors
    /// `Conflict` if it would leave too few administrators, or there is nothing or nobody to do it to; `QuotaExceeded` over
    /// [`COMMANDERS_MAX`] and the other limits.
    pub fn apply(&mut self, context: &Context, op: AuthorityOp) -> Result<AuthorityReply, Refusal> {
        let mut next = self.clone();
        let reply = next.execute(context, op)?;
        *self = next;
        Ok(reply)
    }

    fn execute(&mut self, context: &Context, op: AuthorityOp) -> Result<AuthorityReply, Refusal> {
        self.changes.lapse(context.time);
        match op {
            _ if op.needs_signatures() && self.signatures_needed > 1 => self.propose(context, Arc::new(op)),
            AuthorityOp::Grant(_)
            | AuthorityOp::Revoke { .. }
            | AuthorityOp::Member(_)
            | AuthorityOp::Raise { .. } => {
                self.make(context, &op)?;
                self.note(context, Step::Made, Arc::new(op));
                Ok(AuthorityReply::Done)
            }
            AuthorityOp::Lead { node } => {
                self.leader = node;
                self.note(context, Step::Made, Arc::new(op));
                Ok(AuthorityReply::Done)
            }
            AuthorityOp::Rotate { ref key } => {
                self.rotate(context, key)?;
                self.note(context, Step::Made, Arc::new(op));
                Ok(AuthorityReply::Done)
            }
            AuthorityOp::Approve { change, digest } => self.approve(context, change, digest),
            AuthorityOp::Withdraw { change } => self.withdraw(context, change),
        }
    }

    fn propose(&mut self, context: &Context, op: Arc<AuthorityOp>) -> Result<AuthorityReply, Refusal> {
        // What could not be made now is not worth anybody's signature.
        self.clone().make(context, &op)?;
        let pending = PendingChange {
            change: context.state_ndx,
            time: context.time,
            by: context.commander,
            op: Arc::clone(&op),
            approvals: vec![context.commander],
        };
        let reply = self.waits(context, &pending);
        self.changes.propose(pending)?;
        self.note(context, Step::Proposed, op);
        Ok(reply)
    }

    fn approve(
        &mut self,
        context: &Context,
        change: StateNdx,
        digest: Digest,
    ) -> Result<AuthorityReply, Refusal> {
        let pending = self.changes.approve(change, digest, context.commander)?;
        if self.signatures(context.time, &pending) < self.signatures_needed {
            self.note(context, Step::Approved { change }, Arc::clone(&pending.op));
            return Ok(self.waits(context, &pending));
        }
        self.changes.remove(change);
        self.make(context, &pending.op)?;
        self.note(context, Step::Completed { change }, pending.op);
        Ok(AuthorityReply::Done)
    }

    fn withdraw(&mut self, context: &Context, change: StateNdx) -> Result<AuthorityReply, Refusal> {
        let pending = self.changes.find(change)?;
        if pending.by != context.commander {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format_args!(
                    "the change of stateNdx {change} is {}'s to withdraw; if nobody signs it, it lapses",
                    pending.by.short()
                ),
            ));
        }
        let op = Arc::clone(&pending.op);
        self.changes.remove(change);
        self.note(context, Step::Withdrawn { change }, op);
        Ok(AuthorityReply::Done)
    }

    /// How many of those that signed are administrators at `time`.
    fn signatures(&self, time: TimeMs, pending: &PendingChange) -> u32 {
        let counts = |id: &&CommanderId| self.commander(**id).is_some_and(|known| known.administers_at(time));
        u32::try_from(pending.approvals.iter().filter(counts).count()).expect("there are few commanders")
    }

    fn waits(&self, context: &Context, pending: &PendingChange) -> AuthorityReply {
        AuthorityReply::Pending {
            change: pending.change,
            digest: pending.digest(),
            approvals: self.signatures(context.time, pending),
            needed: self.signatures_needed,
        }
    }

    /// Grants, revokes, changes the members, or raises the level.
    fn make(&mut self, context: &Context, op: &AuthorityOp) -> Result<(), Refusal> {
        match op {
            AuthorityOp::Grant(grant) => {
                let id = grant.commander();
                let known = self.commander(id);
                if known.is_none() {
                    self.check_place()?;
                }
                let predecessor = known.and_then(|known| known.predecessor);
                let granted =
                    Commander { predecessor, ..Commander::granted(grant.clone(), context.state_ndx) };
                self.replace(context.time, granted)
            }
            AuthorityOp::Revoke { commander } => {
                let short = commander.short();
                let conflict = |text: String| Err(Refusal::new(RefusalCode::Conflict, text));
                match self.commander(*commander) {
                    None => conflict(format!("there is no commander {short} to revoke")),
                    Some(Commander { revoked: Some(revoked), .. }) => {
                        conflict(format!("commander {short} was revoked in stateNdx {revoked} already"))
                    }
                    Some(known) => {
                        let revoked = Commander { revoked: Some(context.state_ndx), ..known.clone() };
                        self.replace(context.time, revoked)
                    }
                }
            }
            AuthorityOp::Member(op) => {
                let Some(members) = &mut self.members else {
                    return Err(Refusal::new(
                        RefusalCode::Conflict,
                        "another application keeps the members: the one with the lowest number",
                    ));
                };
                // It may have been proposed by earlier rules.
                op.check(self.level)?;
                Arc::make_mut(members).apply(op)
            }
            AuthorityOp::Raise { to } => {
                let level = self.level;
                if *to != level.next() {
                    let text = format!(
                        "the application is on level {level}: from there it goes to level {}, not to level {to}",
                        level.next()
                    );
                    return Err(Refusal::new(RefusalCode::Conflict, text));
                }
                self.level = *to;
                Ok(())
            }
            AuthorityOp::Rotate { .. }
            | AuthorityOp::Approve { .. }
            | AuthorityOp::Withdraw { .. }
            | AuthorityOp::Lead { .. } => {
                unreachable!("only what may need signatures is made, at once or after it was signed")
            }
        }
    }

    /// Gives another key the place of who commands this.
    fn rotate(&mut self, context: &Context, key: &Bytes) -> Result<(), Refusal> {
        let old = self.commander(context.commander).expect("who commands is known").clone();
        let grant = Grant { key: key.clone(), ..old.grant.clone() };
        let id = grant.commander();
        if let Some(known) = self.commander(id) {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format_args!("the key {} is {:?}'s already; take a new one", id.short(), known.grant.name),
            ));
        }
        self.check_place()?;
        if old.rotations >= ROTATIONS_MAX {
            return Err(Refusal::new(
                RefusalCode::QuotaExceeded,
                format_args!(
                    "commander {} changed its key {ROTATIONS_MAX} times; an administrator has to grant the next one",
                    old.id.short()
                ),
            ));
        }
        let new = Commander {
            predecessor: Some(old.id),
            rotations: old.rotations + 1,
            ..Commander::granted(grant, context.state_ndx)
        };
        self.changes.rename(old.id, id);
        self.commanders.insert(id, Arc::new(new));
        let revoked = Commander { revoked: Some(context.state_ndx), successor: Some(id), ..old };
        self.replace(context.time, revoked)
    }

    fn check_place(&self) -> Result<(), Refusal> {
        if self.commanders.len() < COMMANDERS_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::QuotaExceeded,
            format_args!("this application has its {COMMANDERS_MAX} commanders, revoked ones included"),
        ))
    }

    /// Puts a commander in the place of what it was, as long as that leaves enough administrators: without them nobody
    /// could ever change again who commands.
    fn replace(&mut self, time: TimeMs, commander: Commander) -> Result<(), Refusal> {
        let id = commander.id;
        let before = self.commander(id).is_some_and(|known| known.administers_from(time));
        let remains = commander.administers_from(time);
        if !commander.is_administrator() {
            self.changes.forget(id);
        }
        self.commanders.insert(id, Arc::new(commander));
        let needed = usize::try_from(self.signatures_needed).expect("usize has at least 32 bits here");
        if before
            && !remains
            && self.iter().filter(|known| known.administers_from(time)).take(needed).count() < needed
        {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format_args!(
                    "without {} this application has fewer than {needed} administrators that are valid now and for \
                     ever; grant another one first",
                    id.short()
                ),
            ));
        }
        Ok(())
    }

    fn note(&mut self, context: &Context, step: Step, op: Arc<AuthorityOp>) {
        let &Context { state_ndx, time, commander: by, .. } = context;
        self.log.add(LogEntry { state_ndx, time, by, step, op });
    }

    /// How many administrators must sign each change of who commands.
    pub fn signatures_needed(&self) -> u32 {
        self.signatures_needed
    }

    /// By which rules the application's decrees are executed.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The level to which this operation would raise the application, by itself or as a signature of what was proposed.
    pub fn raises(&self, op: &AuthorityOp) -> Option<Level> {
        match op {
            AuthorityOp::Raise { to } => Some(*to),
            AuthorityOp::Approve { change, .. } => match *self.changes.find(*change).ok()?.op {
                AuthorityOp::Raise { to } => Some(to),
                _ => None,
            },
            AuthorityOp::Grant(_)
            | AuthorityOp::Revoke { .. }
            | AuthorityOp::Rotate { .. }
            | AuthorityOp::Withdraw { .. }
            | AuthorityOp::Member(_)
            | AuthorityOp::Lead { .. } => None,
        }
    }

    /// The cluster's members as they are wanted, if this application keeps them.
    pub fn members(&self) -> Option<&Members> {
        self.members.as_deref()
    }

    /// Who is to lead the application's group, where an administrator has said so.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// One commander.
    pub fn commander(&self, id: CommanderId) -> Option<&Commander> {
        self.commanders.get(&id).map(Arc::as_ref)
    }

    /// All commanders, revoked ones too, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Commander> {
        self.commanders.values().map(Arc::as_ref)
    }

    /// What waits at `time` for further signatures, in the order in which it was proposed, and how many it has.
    pub fn pending(&self, time: TimeMs) -> impl Iterator<Item = (&PendingChange, u32)> {
        let pending = self.changes.iter().filter(move |pending| pending.lapses() >= time);
        pending.map(move |pending| (pending, self.signatures(time, pending)))
    }

    /// What was done to the commanders, the latest first, as far as it is remembered.
    pub fn log(&self) -> impl Iterator<Item = &LogEntry> {
        self.log.latest()
    }

    /// Everything, in an order that depends on the contents alone.
    pub fn to_record(&self) -> AuthorityRecord {
        AuthorityRecord {
            signatures_needed: self.signatures_needed,
            members: self.members.as_deref().cloned(),
            leader: self.leader,
            commanders: self.iter().cloned().collect(),
            pending: self.changes.iter().cloned().collect(),
            log: self.log.to_records(),
        }
    }

    /// The opposite of [`Authority::to_record`], for a record of unknown origin. The level stands beside it.
    ///
    /// # Errors
    /// A sentence on what cannot be, for states up to `state_ndx`.
    pub fn from_record(
        record: AuthorityRecord,
        level: Level,
        state_ndx: StateNdx,
    ) -> Result<Authority, &'static str> {
        let AuthorityRecord { signatures_needed, members, leader, commanders, pending, log } = record;
        members.as_ref().map_or(Ok(()), Members::check)?;
        if commanders.len() > COMMANDERS_MAX {
            return Err("there are too many commanders");
        }
        if !commanders.is_sorted_by(|a, b| a.id < b.id) {
            return Err("the commanders are not in order");
        }
        if commanders.iter().any(|known| known.since > state_ndx || known.revoked > Some(state_ndx)) {
            return Err("a commander was granted or revoked in a state that was never reached");
        }
        if commanders.iter().any(|known| known.successor.is_some() && known.revoked.is_none()) {
            return Err("a commander has a successor and was not revoked");
        }
        let authority = Authority {
            signatures_needed,
            level,
            members: members.map(Arc::new),
            leader,
            commanders: commanders.into_iter().map(|known| (known.id, Arc::new(known))).collect(),
            changes: Changes::from_records(pending, state_ndx)?,
            log: Log::from_records(log, state_ndx)?,
        };
        authority.check_names()?;
        Ok(authority)
    }

    /// Checks that everybody who is named somewhere is a commander.
    fn check_names(&self) -> Result<(), &'static str> {
        let is_known = |id: &CommanderId| self.commanders.contains_key(id);
        if !self
            .iter()
            .flat_map(|known| [known.predecessor, known.successor])
            .flatten()
            .all(|id| is_known(&id))
        {
            return Err("a commander has a predecessor or successor that is none");
        }
        let signs = |id: &CommanderId| self.commander(*id).is_some_and(Commander::is_administrator);
        if !self.changes.iter().all(|pending| signs(&pending.by) && pending.approvals.iter().all(signs)) {
            return Err("a pending change is signed by somebody who is no administrator");
        }
        if !self.log.latest().all(|entry| is_known(&entry.by)) {
            return Err("the log of commanders names somebody who is none");
        }
        Ok(())
    }
}

/// An application's authority in a snapshot, but for the level, which the snapshot itself names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// How many administrators must sign.
    pub signatures_needed: u32,
    /// The cluster's members, in the application that keeps them.
    pub members: Option<Members>,
    /// Who is to lead, where an administrator has said so.
    pub leader: Option<NodeId>,
    /// All commanders, by id.
    pub commanders: Vec<Commander>,
    /// What waits for signatures, as it was proposed.
    pub pending: Vec<PendingChange>,
    /// The log, the latest entry last.
    pub log: Vec<Arc<LogEntry>>,
}
