//! Executes a log again, and holds it against what is known from elsewhere. Pure: decrees go in, and what they changed or
//! what is wrong with them comes out.
//!
//! What is trusted: the genesis document, and this program. What is proved, if nothing is found: every command was signed
//! for this application of this cluster, and executing all of them from genesis comes to the very states, outcomes and
//! hash chain that the expectations name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use synod_auth::{Unverified, Verified, Verifier};
use synod_machine::{Apart, Applied, Away, Machine, NotApplied, Restless, View};
use synod_types::command::Operation;
use synod_types::{
    AppNdx, CommandBody, CommandId, CommanderId, Decree, Digest, Outcome, Receipt, Refusal, RefusalCode,
    SignedCommand, Slot, StateNdx, TimeMs,
};

use super::expectation::{Claim, Expectation};

/// A decree with what was found out about its commands' signatures. Only [`examine`] makes one.
pub(crate) struct Examined {
    slot: Slot,
    decree: Decree,
    /// The first command that is not what it must be.
    fault: Option<(Kind, String)>,
}

/// Verifies the commands of several decrees together, which costs far less than one by one.
pub(crate) fn examine(verifier: &Verifier, app: AppNdx, decrees: Vec<(Slot, Decree)>) -> Vec<Examined> {
    let commands = decrees.iter().flat_map(|(_, decree)| decree.commands()).cloned().map(Unverified);
    let mut results = verifier.verify_commands(commands.collect()).into_iter();
    let examined = decrees.into_iter().map(|(slot, decree)| {
        let count = decree.commands().len();
        let results: Vec<_> = results.by_ref().take(count).collect();
        let faults = results.into_iter().enumerate().map(|(nth, result)| fault(app, nth, count, result));
        let fault = faults.flatten().next();
        Examined { slot, decree, fault }
    });
    examined.collect()
}

fn fault(
    app: AppNdx,
    nth: usize,
    of: usize,
    result: Result<Verified<SignedCommand>, Refusal>,
) -> Option<(Kind, String)> {
    let (kind, why) = match result {
        Ok(command) if command.body().app == app => return None,
        Ok(command) => {
            let why = format!("it was signed for application {}", command.body().app);
            (Kind::OtherApplication, why)
        }
        Err(Refusal { code: RefusalCode::WrongCluster, text }) => (Kind::OtherCluster, text),
        Err(Refusal { code: RefusalCode::BadSignature, text }) => (Kind::BadSignature, text),
        Err(Refusal { code: _, text }) => (Kind::NotACommand, text),
    };
    Some((kind, format!("command {} of {of} in the slot: {why}", nth + 1)))
}

/// One step from a state to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) slot: Slot,
    /// The state that it made.
    pub(crate) state_ndx: StateNdx,
    /// The decree's time.
    pub(crate) time: TimeMs,
    pub(crate) cause: Cause,
    pub(crate) outcome: Outcome,
    /// The hash chain's value.
    pub(crate) chain: Digest,
}

/// What made a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// A command.
    Command {
        id: CommandId,
        body: CommandBody,
        /// The commander's name when it commanded.
        name: Arc<str>,
    },
    /// What was to last until then has run out, under this id.
    Expiry { id: CommandId },
}

impl Cause {
    /// The id under which the hash chain has it.
    pub(crate) fn id(&self) -> CommandId {
        match self {
            Cause::Command { id, .. } | Cause::Expiry { id } => *id,
        }
    }
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A record cannot be read back as it was written.
    Damaged,
    /// A slot is missing.
    Hole,
    /// The log ends before a state that is known to have been.
    CutOff,
    /// A command that its commander did not sign.
    BadSignature,
    /// A command that was signed for another cluster.
    OtherCluster,
    /// A command that was signed for another application.
    OtherApplication,
    /// Bytes that are not a command.
    NotACommand,
    /// What was executed comes to another chain than the one that is known.
    WrongChain,
    /// A slot makes another state than the one that is known.
    WrongState,
    /// A receipt says something else than what was executed.
    WrongReceipt,
    /// What is expected was before the first state that there is.
    BeforeTheBeginning,
    /// The snapshot with which the log begins is damaged, or is none.
    BadSnapshot,
    /// Who is said to have signed that snapshot did not.
    BadCertificate,
    /// From here on the log goes by rules that this program does not know.
    UnknownLevel,
    /// The application's own program does not execute what is here, or does not stand by its state.
    ProgramFailed,
}

impl Kind {
    /// The name for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Damaged => "damaged-record",
            Kind::Hole => "hole",
            Kind::CutOff => "cut-off",
            Kind::BadSignature => "bad-signature",
            Kind::OtherCluster => "other-cluster",
            Kind::OtherApplication => "other-application",
            Kind::NotACommand => "not-a-command",
            Kind::WrongChain => "wrong-chain",
            Kind::WrongState => "wrong-state",
            Kind::WrongReceipt => "wrong-receipt",
            Kind::BeforeTheBeginning => "before-the-beginning",
            Kind::BadSnapshot => "bad-snapshot",
            Kind::BadCertificate => "bad-certificate",
            Kind::UnknownLevel => "unknown-level",
            Kind::ProgramFailed => "program-failed",
        }
    }
}

impl Kind {
    /// The records are what commanders signed; only the states that come of them are not the expected ones.
    pub(crate) fn is_of_states(self) -> bool {
        matches!(self, Kind::WrongChain | Kind::WrongState | Kind::WrongReceipt)
    }
}

/// Where a log is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Break {
    pub(crate) app: AppNdx,
    /// The slot where it shows.
    pub(crate) slot: Slot,
    /// The state that concerns it, or the last one before it.
    pub(crate) state_ndx: StateNdx,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Break { app, slot, state_ndx, kind, text } = self;
        write!(f, "application {app}, slot {slot}, stateNdx {state_ndx}: {}: {text}", kind.name())
    }
}

/// What an audit has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) slots: u64,
    /// In all decrees; each has a verified signature.
    pub(crate) commands: u64,
    /// Executed and done.
    pub(crate) done: u64,
    /// Executed and refused by the application.
    pub(crate) refused: u64,
    /// Refused without a trace.
    pub(crate) without_trace: u64,
    /// Executed before.
    pub(crate) repeats: u64,
    /// States that something made that had run out.
    pub(crate) expiries: u64,
}

/// Executes one application's log.
pub(crate) struct Auditor {
    machine: Machine,
    names: BTreeMap<CommanderId, Arc<str>>,
    expectations: BTreeMap<StateNdx, Vec<Expectation>>,
    claims: BTreeMap<Slot, Vec<Claim>>,
    /// The last state of which somebody else said the same.
    agreed: StateNdx,
    totals: Totals,
}

impl Auditor {
    /// An auditor of the log that goes on behind the state of `machine`.
    ///
    /// # Errors
    /// An expectation of that state that is wrong, or one of an earlier state, of which nothing can be told.
    pub(crate) fn new(
        machine: Machine,
        expectations: Vec<Expectation>,
        claims: Vec<Claim>,
    ) -> Result<Auditor, Break> {
        let mut auditor = Auditor {
            machine,
            names: BTreeMap::new(),
            expectations: BTreeMap::new(),
            claims: BTreeMap::new(),
            agreed: StateNdx(0),
            totals: Totals::default(),
        };
        for expectation in expectations.into_iter().chain(claims.iter().map(Claim::expectation)) {
            auditor.expectations.entry(expectation.state_ndx).or_default().push(expectation);
        }
        for claim in claims {
            auditor.claims.entry(claim.applied).or_default().push(claim);
        }
        auditor.learn_names();
        let View { applied: slot, state_ndx, chain, .. } = *auditor.state();
        if let Some(expectation) = auditor.before_the_beginning() {
            let text = format!(
                "{expectation}, which is before the beginning of this log: it can be proved only by one that goes further back, or by an \
                 archive"
            );
            return Err(Break {
                state_ndx: expectation.state_ndx,
                ..auditor.broken(slot, Kind::BeforeTheBeginning, text)
            });
        }
        for expectation in auditor.expectations.remove(&state_ndx).unwrap_or_default() {
            expectation.check_chain(chain).map_err(|text| auditor.broken(slot, Kind::WrongChain, text))?;
        }
        auditor.check_claims(slot)?;
        Ok(auditor)
    }

    /// The first expectation that nothing can be told of. The state with which the log begins has a chain, and what came to
    /// it is not there any more.
    fn before_the_beginning(&self) -> Option<&Expectation> {
        let begins = self.state().state_ndx;
        let early = self.expectations.range(..=begins).flat_map(|(_, expectations)| expectations);
        early.into_iter().find(|expectation| expectation.state_ndx < begins || expectation.receipt.is_some())
    }

    /// The state that the log has come to.
    pub(crate) fn state(&self) -> &View {
        self.machine.state()
    }

    /// See [`to_rest`].
    pub(crate) fn to_rest(&self) -> Result<View, Break> {
        to_rest(&self.machine)
    }

    /// The machine, which has come to that state.
    pub(crate) fn into_machine(self) -> Machine {
        self.machine
    }

    /// What was seen so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether something is expected of states or slots that have not come yet.
    pub(crate) fn expects_more(&self) -> bool {
        !self.expectations.is_empty() || !self.claims.is_empty()
    }

    /// Takes the next slot, and says what it changed.
    ///
    /// # Errors
    /// The first thing that is wrong with it; the auditor is of no further use then.
    pub(crate) fn take(&mut self, Examined { slot, decree, fault }: Examined) -> Result<Vec<Change>, Break> {
        let next = self.state().applied.next();
        if slot != next {
            return Err(self.broken(next, Kind::Hole, format!("slot {slot} comes in its place")));
        }
        if let Some((kind, text)) = fault {
            return Err(self.broken(slot, kind, text));
        }
        self.totals.slots += 1;
        let applied = match self.machine.try_apply(slot, &decree) {
            Ok(applied) => applied,
            Err(NotApplied::UnknownLevel(unknown)) => {
                let text = format!(
                    "{unknown}: what is before is in order, and what follows is for a newer program to audit"
                );
                return Err(self.broken(slot, Kind::UnknownLevel, text));
            }
            Err(NotApplied::Away(why)) => {
                let text = format!(
                    "the application's own program does not execute this slot: {}",
                    why_away(&self.machine, why)
                );
                return Err(self.broken(slot, Kind::ProgramFailed, text));
            }
        };
        let mut changes = Vec::with_capacity(applied.len());
        let mut signed = decree.commands().iter();
        let mut learn = false;
        for applied in applied {
            let change = match applied.commander {
                None => Some(self.expiry(slot, applied)),
                Some(commander) => {
                    let signed =
                        signed.next().expect("the machine answers for the commands of the decree, in order");
                    learn |= is_authority(signed);
                    self.command(slot, signed, commander, applied)
                }
            };
            if let Some(change) = change {
                self.check(&change)?;
                changes.push(change);
            }
        }
        if learn {
            self.learn_names();
        }
        self.check_claims(slot)?;
        Ok(changes)
    }

    /// The log ends here.
    ///
    /// # Errors
    /// Something that was expected of it has not come.
    pub(crate) fn finish(&self) -> Result<(), Break> {
        let state = self.state();
        let missing = self.expectations.values().flatten().next().map(Expectation::to_string);
        let missing = missing.or_else(|| self.claims.values().flatten().next().map(Claim::to_string));
        match missing {
            None => Ok(()),
            Some(missing) => {
                let text = format!("the log ends here, in stateNdx {}, and {missing}", state.state_ndx);
                Err(self.broken(state.applied, Kind::CutOff, text))
            }
        }
    }

    /// A break of this log.
    pub(crate) fn broken(&self, slot: Slot, kind: Kind, text: String) -> Break {
        let state = self.state();
        Break { app: state.app_ndx, slot, state_ndx: state.state_ndx, kind, text }
    }

    fn command(
        &mut self,
        slot: Slot,
        signed: &SignedCommand,
        commander: CommanderId,
        applied: Applied,
    ) -> Option<Change> {
        self.totals.commands += 1;
        let counter = match &applied.result {
            Ok(_) if applied.repeated => &mut self.totals.repeats,
            Ok(Receipt { outcome: Outcome::Done(_), .. }) => &mut self.totals.done,
            Ok(Receipt { outcome: Outcome::Refused(_), .. }) => &mut self.totals.refused,
            Err(_) => &mut self.totals.without_trace,
        };
        *counter += 1;
        let receipt = applied.result.ok().filter(|_| !applied.repeated)?;
        let body = CommandBody::decode(&signed.body).expect("the machine has just executed it");
        let cause = Cause::Command { id: applied.command, body, name: self.name(commander) };
        Some(self.change(slot, cause, receipt))
    }

    fn expiry(&mut self, slot: Slot, applied: Applied) -> Change {
        self.totals.expiries += 1;
        let receipt = applied.result.expect("an expiry is always executed");
        self.change(slot, Cause::Expiry { id: applied.command }, receipt)
    }

    fn change(&self, slot: Slot, cause: Cause, receipt: Receipt) -> Change {
        let Receipt { state_ndx, outcome, chain, .. } = receipt;
        Change { slot, state_ndx, time: self.state().time, cause, outcome, chain }
    }

    /// A commander's name before this slot; or the one that this slot gave, of a commander that it made.
    fn name(&self, commander: CommanderId) -> Arc<str> {
        let known = self.names.get(&commander).cloned();
        known.unwrap_or_else(|| {
            self.state()
                .commander(commander)
                .map_or_else(|| "?".into(), |known| known.grant.name.as_str().into())
        })
    }

    fn learn_names(&mut self) {
        let commanders = self.machine.state().commanders();
        self.names = commanders.map(|known| (known.id, known.grant.name.as_str().into())).collect();
    }

    fn check(&mut self, change: &Change) -> Result<(), Break> {
        for expectation in self.expectations.remove(&change.state_ndx).unwrap_or_default() {
            let checked = expectation.check(change).map_err(|(kind, text)| (kind, self.since(text)));
            checked.map_err(|(kind, text)| Break {
                app: self.state().app_ndx,
                slot: change.slot,
                state_ndx: change.state_ndx,
                kind,
                text,
            })?;
            self.agreed = change.state_ndx;
        }
        Ok(())
    }

    fn check_claims(&mut self, slot: Slot) -> Result<(), Break> {
        for claim in self.claims.remove(&slot).unwrap_or_default() {
            claim
                .check(self.machine.state())
                .map_err(|text| self.broken(slot, Kind::WrongState, self.since(text)))?;
        }
        Ok(())
    }

    /// A chain says that something before it is wrong, and not what.
    fn since(&self, text: String) -> String {
        let text = match self.state().app.apart() {
            None => text,
            Some(_) => format!("{text}; the log was executed by the program that --lane names"),
        };
        match self.agreed {
            StateNdx(0) => format!("{text}; no state before it is known from elsewhere"),
            agreed => format!(
                "{text}; the last state before it that is known from elsewhere is {agreed}, and is right"
            ),
        }
    }
}

/// The state to which a machine has come, to be written down; an application's own program has to stand by it.
///
/// # Errors
/// A break where it does not.
pub(crate) fn to_rest(machine: &Machine) -> Result<View, Break> {
    machine.to_rest().map_err(|why| {
        let why = match why {
            Restless::Away(why) => why_away(machine, why),
            Restless::OtherSnapshot | Restless::OtherDigest => why.to_string(),
        };
        let View { app_ndx: app, applied: slot, state_ndx, .. } = *machine.state();
        let text = format!("the application's own program does not stand by its state: {why}");
        Break { app, slot, state_ndx, kind: Kind::ProgramFailed, text }
    })
}

/// Why an application's own program gives no answer.
fn why_away(machine: &Machine, why: Away) -> String {
    let known = machine.state().app.apart().and_then(Apart::why_away);
    known.unwrap_or_else(|| why.to_string())
}

/// Whether a command may change who commands, or under which name.
fn is_authority(signed: &SignedCommand) -> bool {
    let body = CommandBody::decode(&signed.body);
    body.is_ok_and(|body| matches!(Operation::split(&body.operation), Some(Operation::Authority(_))))
}

#[cfg(test)]
mod tests;
