//! What the tests play on: a small application, commanders without real keys, and commands that need no signature
//! because the machine never looks at one.

#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use bytes::Bytes;
use synod_machine::{
    Application, Applied, AuthorityOp, Context, Founders, Grant, Machine, QueryError, RestoreError, Role,
};
use synod_types::command::Operation;
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, Level, Outcome, Receipt,
    Refusal, RefusalCode, Seq, SignedCommand, Slot, StateNdx, TimeMs,
};

pub const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));
pub const APP: AppNdx = AppNdx(7);
/// The term of every batch that does not say otherwise.
pub const TERM: Ballot = Ballot::ZERO;

/// Counts; `+n` adds n and answers the sum, everything else is refused. Its scopes are `low` and `high`, for the n below
/// and from 100 on; `+255` is for administrators.
#[derive(Clone, Default)]
pub struct Tally {
    pub sum: u64,
    /// The time of the last command.
    pub time: TimeMs,
}

impl Application for Tally {
    fn kind(&self) -> &'static str {
        "tally"
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        match operation {
            [b'+', _] => Ok(()),
            _ => Err(Refusal::new(RefusalCode::Malformed, "not an addition")),
        }
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        self.check(operation)?;
        self.sum += u64::from(operation[1]);
        self.time = context.time;
        Ok(Bytes::copy_from_slice(&self.sum.to_be_bytes()))
    }

    fn is_administrative(&self, operation: &[u8]) -> bool {
        operation == [b'+', 255]
    }

    fn check_scope(&self, scope: &str) -> Result<(), Refusal> {
        match scope {
            "low" | "high" => Ok(()),
            _ => Err(Refusal::new(RefusalCode::Malformed, "a scope is low or high")),
        }
    }

    fn check_within(&self, scopes: &[String], operation: &[u8]) -> Result<(), Refusal> {
        self.check(operation)?;
        let needed = if operation[1] < 100 { "low" } else { "high" };
        if scopes.iter().any(|scope| scope == needed) {
            return Ok(());
        }
        Err(Refusal::new(RefusalCode::NotPermitted, "outside of the commander's scopes"))
    }

    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, QueryError> {
        Ok(Bytes::copy_from_slice(&self.sum.to_be_bytes()))
    }

    fn snapshot(&self) -> Vec<u8> {
        [self.sum.to_be_bytes(), self.time.0.to_be_bytes()].concat()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let [sum, time] = *snapshot.as_chunks::<8>().0 else {
            return Err(RestoreError(format!("{} bytes", snapshot.len())));
        };
        *self = Tally { sum: u64::from_be_bytes(sum), time: TimeMs(u64::from_be_bytes(time)) };
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::of(&[&self.snapshot()])
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }
}

/// The key of commander `n`.
pub fn key(n: u64) -> Bytes {
    Bytes::copy_from_slice(format!("key {n}").as_bytes())
}

/// Commander `n`.
pub fn commander(n: u64) -> CommanderId {
    CommanderId(Digest::of(&[&key(n)]))
}

/// An addition.
pub fn add(n: u8) -> Vec<u8> {
    vec![Operation::APP, b'+', n]
}

/// Lets commander `n` do something.
pub fn grant(n: u64, role: Role) -> Vec<u8> {
    AuthorityOp::Grant(Grant::unlimited(key(n), format!("commander {n}"), role)).encode()
}

/// Stops commander `n`.
pub fn revoke(n: u64) -> Vec<u8> {
    AuthorityOp::Revoke { commander: commander(n) }.encode()
}

/// Lets commander `n` command what lies in these scopes.
pub fn grant_within(n: u64, scopes: &[&str]) -> Vec<u8> {
    grant_terms(n, Role::Writer, scopes, None, None)
}

/// Lets commander `n` do something from when until when.
pub fn grant_for(n: u64, role: Role, valid_from: Option<u64>, valid_to: Option<u64>) -> Vec<u8> {
    grant_terms(n, role, &[], valid_from, valid_to)
}

/// Lets commander `n` do something, where, and from when until when.
pub fn grant_terms(
    n: u64,
    role: Role,
    scopes: &[&str],
    valid_from: Option<u64>,
    valid_to: Option<u64>,
) -> Vec<u8> {
    AuthorityOp::Grant(Grant {
        scopes: scopes.iter().map(ToString::to_string).collect(),
        valid_from: valid_from.map(TimeMs),
        valid_to: valid_to.map(TimeMs),
        ..Grant::unlimited(key(n), format!("commander {n}"), role)
    })
    .encode()
}

/// Gives the place of who commands this to commander `n`.
pub fn rotate(n: u64) -> Vec<u8> {
    AuthorityOp::Rotate { key: key(n) }.encode()
}

/// Signs the change of a state; `proposed` is the operation that proposed it.
pub fn approve(change: u64, proposed: &[u8]) -> Vec<u8> {
    AuthorityOp::Approve { change: ndx(change), digest: Digest::of(&[proposed]) }.encode()
}

/// Takes back the change of a state.
pub fn withdraw(change: u64) -> Vec<u8> {
    AuthorityOp::Withdraw { change: ndx(change) }.encode()
}

/// A body by commander `n`, without conditions.
pub fn body(n: u64, seq: u64, operation: Vec<u8>) -> CommandBody {
    CommandBody {
        cluster: CLUSTER,
        app: APP,
        commander: commander(n),
        seq: Seq(seq),
        not_after: None,
        expected: None,
        operation: operation.into(),
    }
}

/// The command with this body. Its key and signature mean nothing to the machine.
pub fn sign(body: &CommandBody) -> SignedCommand {
    sign_bytes(body.encode().expect("test operations are small"))
}

/// A command with these bytes for a body.
pub fn sign_bytes(body: Bytes) -> SignedCommand {
    SignedCommand { body: body.into(), signature: Bytes::from_static(b"signature"), key: key(0) }
}

/// A command by commander `n`, without conditions.
pub fn command(n: u64, seq: u64, operation: Vec<u8>) -> SignedCommand {
    sign(&body(n, seq, operation))
}

/// A machine whose administrator is commander 0.
pub fn founded() -> Machine {
    founded_by(1, 1)
}

/// A machine whose administrators are the commanders below `administrators`; so many of them sign each change.
pub fn founded_by(administrators: u64, signatures_needed: u32) -> Machine {
    Machine::new(CLUSTER, APP, &founders(administrators, signatures_needed), Box::new(Tally::default()))
}

/// Who founds it, on the newest level.
pub fn founders(administrators: u64, signatures_needed: u32) -> Founders {
    let administrators = (0..administrators).map(|n| (commander(n), key(n), format!("founder {n}")));
    let (administrators, members) = (administrators.collect(), Vec::new());
    Founders { administrators, signatures_needed, members, level: Level::NEWEST }
}

/// Applies `commands` as the next slot, decreed at `time`.
pub fn apply_at(machine: &mut Machine, time: u64, commands: Vec<SignedCommand>) -> Vec<Applied> {
    let slot = machine.state().applied.next();
    let decree = Decree::Batch(Arc::new(Batch { term: TERM, time: TimeMs(time), commands }));
    machine.apply(slot, &decree).expect("its level is known")
}

/// Applies one command as the next slot.
pub fn apply(machine: &mut Machine, command: SignedCommand) -> Applied {
    let [applied] = apply_at(machine, 0, vec![command]).try_into().expect("one answer per command");
    applied
}

/// The receipt of a command that must have been executed.
pub fn receipt(applied: Applied) -> Receipt {
    applied.result.unwrap_or_else(|refusal| panic!("not executed: {refusal}"))
}

/// Why a command was not executed.
pub fn refused(applied: &Applied) -> RefusalCode {
    match &applied.result {
        Err(refusal) => refusal.code,
        Ok(receipt) => panic!("executed: {receipt:?}"),
    }
}

/// Why a command was executed and refused.
pub fn outcome_code(applied: Applied) -> Option<RefusalCode> {
    match receipt(applied).outcome {
        Outcome::Done(_) => None,
        Outcome::Refused(refusal) => Some(refusal.code),
    }
}

/// Asserts that `act` gets its command refused without a trace.
pub fn without_trace(machine: &mut Machine, act: impl FnOnce(&mut Machine) -> Applied) -> RefusalCode {
    let trace = |machine: &Machine| {
        let view = machine.view();
        let next: Vec<Seq> = view.commanders().map(|known| view.next_seq(known.id)).collect();
        (view.state_ndx, view.chain, view.app.digest(), next)
    };
    let before = trace(machine);
    let applied = act(machine);
    assert_eq!(trace(machine), before, "a refusal without execution left a trace");
    assert!(!applied.repeated);
    refused(&applied)
}

/// The state after `n` commands.
pub fn ndx(n: u64) -> StateNdx {
    StateNdx(n)
}

/// The slot `n`.
pub fn slot(n: u64) -> Slot {
    Slot(n)
}
