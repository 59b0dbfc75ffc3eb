//! What a command can do to an application's commanders, and what it answers. Both travel in the encoding of
//! [`synod_types::wire`].

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::limits::{COMMANDER_NAME_BYTES_MAX, KEY_DER_BYTES_MAX, SCOPES_BYTES_MAX, SCOPES_MAX};
use synod_types::wire::{self, WireError};
use synod_types::{CommanderId, Digest, Level, NodeId, Refusal, RefusalCode, StateNdx, TimeMs};

use super::commander::Role;
use super::members::MemberOp;
use crate::application::Application;

/// An operation on an application's commanders, or on the cluster's members. It changes nothing else. Only administrators command it, but for a
/// rotation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuthorityOp {
    /// Lets a key command. For a known commander, revoked or not, it replaces everything that was granted before. Where
    /// several administrators must sign, this only proposes it.
    Grant(Grant),
    /// From here on, nothing new of this commander is executed. What was executed keeps its receipts. Where several
    /// administrators must sign, this only proposes it.
    Revoke {
        /// Whom.
        commander: CommanderId,
    },
    /// Gives what was granted to the one who commands this to another key, unknown so far, and revokes the old one.
    Rotate {
        /// SubjectPublicKeyInfo, DER; at most [`KEY_DER_BYTES_MAX`].
        key: Bytes,
    },
    /// Signs a change that another administrator proposed; the last signature that it needs makes it.
    Approve {
        /// The state that proposed it.
        change: StateNdx,
        /// [`AuthorityOp::digest`] of what was proposed: nobody signs what he did not see.
        digest: Digest,
    },
    /// Takes back what the same administrator proposed. The others' way not to sign is not to sign: whoever stole one key
    /// could otherwise undo every attempt to revoke it.
    Withdraw {
        /// The state that proposed it.
        change: StateNdx,
    },
    /// Changes who the members of the cluster are to be, in the application that keeps them. Where several administrators
    /// must sign, this only proposes it.
    Member(MemberOp),
    /// Has this node lead the application's group as long as it can; `None`: whichever node spreads leaders best. It is a wish:
    /// no state depends on it.
    Lead {
        /// Which node.
        node: Option<NodeId>,
    },
    /// Has the application's decrees executed by the rules of the next level, from the next command on and for ever. Where
    /// several administrators must sign, this only proposes it.
    Raise {
        /// The level behind the present one: whoever raises twice by mistake raises once.
        to: Level,
    },
}

/// What a key may do, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// SubjectPublicKeyInfo, DER; at most [`KEY_DER_BYTES_MAX`].
    pub key: Bytes,
    /// For people: 1 to [`COMMANDER_NAME_BYTES_MAX`] bytes without control characters.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The parts of the application's state to which a writer is confined, in the application's own words; none: all of
    /// it. At most [`SCOPES_MAX`], [`SCOPES_BYTES_MAX`] together.
    pub scopes: Vec<String>,
    /// It may not command in a decree whose time is earlier.
    pub valid_from: Option<TimeMs>,
    /// It may not command in a decree whose time is later.
    pub valid_to: Option<TimeMs>,
}

impl Grant {
    /// Everything that the role permits, at any time.
    pub fn unlimited(key: Bytes, name: impl Into<String>, role: Role) -> Grant {
        Grant { key, name: name.into(), role, scopes: Vec::new(), valid_from: None, valid_to: None }
    }

    /// The commander that has the key.
    pub fn commander(&self) -> CommanderId {
        CommanderId(Digest::of(&[&self.key]))
    }

    /// Checks the limits; what the scopes mean is the application's to check.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_key(&self.key)?;
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(malformed("a commander's name is empty or has control characters"));
        }
        check_bytes("the name", self.name.len(), COMMANDER_NAME_BYTES_MAX)?;
        self.check_scopes()?;
        match (self.valid_from, self.valid_to) {
            (Some(from), Some(to)) if from > to => Err(malformed(format_args!(
                "the commander would be valid from {from} ms until {to} ms, never"
            ))),
            _ => Ok(()),
        }
    }

    fn check_scopes(&self) -> Result<(), Refusal> {
        if self.role == Role::Administrator && !self.scopes.is_empty() {
            return Err(malformed("an administrator has no scopes: it can grant itself what lies outside"));
        }
        if self.scopes.len() > SCOPES_MAX {
            let text =
                format!("the commander has {} scopes; at most {SCOPES_MAX} are allowed", self.scopes.len());
            return Err(Refusal::new(RefusalCode::TooLarge, text));
        }
        check_bytes("all scopes together", self.scopes.iter().map(String::len).sum(), SCOPES_BYTES_MAX)?;
        let distinct: BTreeSet<&str> = self.scopes.iter().map(String::as_str).collect();
        if distinct.len() < self.scopes.len() || distinct.contains("") {
            return Err(malformed("a scope is empty or given twice"));
        }
        Ok(())
    }
}

impl AuthorityOp {
    /// The operation as it stands in a command: [`Operation::AUTHORITY`], then this.
    pub fn encode(&self) -> Vec<u8> {
        let mut operation = vec![Operation::AUTHORITY];
        wire::encode_into(self, &mut operation);
        operation
    }

    /// Reads the bytes behind [`Operation::AUTHORITY`] and checks their limits, as far as all levels have them.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge`.
    pub fn decode(bytes: &[u8]) -> Result<AuthorityOp, Refusal> {
        // The decoder's own words stay out of the text: they may change with its version, and the text is replicated.
        let op: AuthorityOp = wire::decode(bytes)
            .map_err(|_| malformed("the operation is none on an application's commanders"))?;
        op.check()?;
        Ok(op)
    }

    /// The same by the rules of a level, with the scopes of a grant checked by the application in which they are to hold.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge`, and what [`Application::check_scope`] says.
    pub fn decode_for(app: &dyn Application, level: Level, bytes: &[u8]) -> Result<AuthorityOp, Refusal> {
        let op = AuthorityOp::decode(bytes)?;
        if let AuthorityOp::Member(op) = &op {
            op.check(level)?;
        }
        if let AuthorityOp::Grant(grant) = &op {
            grant.scopes.iter().try_for_each(|scope| app.check_scope(scope))?;
        }
        Ok(op)
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            AuthorityOp::Grant(grant) => grant.check(),
            AuthorityOp::Rotate { key } => check_key(key),
            AuthorityOp::Member(op) => op.check(Level::FIRST),
            AuthorityOp::Revoke { .. }
            | AuthorityOp::Approve { .. }
            | AuthorityOp::Withdraw { .. }
            | AuthorityOp::Lead { .. }
            | AuthorityOp::Raise { .. } => Ok(()),
        }
    }

    /// Whether it is only proposed where several administrators must sign.
    pub(super) fn needs_signatures(&self) -> bool {
        match self {
            AuthorityOp::Grant(_)
            | AuthorityOp::Revoke { .. }
            | AuthorityOp::Member(_)
            | AuthorityOp::Raise { .. } => true,
            AuthorityOp::Rotate { .. }
            | AuthorityOp::Approve { .. }
            | AuthorityOp::Withdraw { .. }
            | AuthorityOp::Lead { .. } => false,
        }
    }

    /// SHA3-256 of [`AuthorityOp::encode`]: what an approval names.
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.encode()])
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(malformed("the key is empty"));
    }
    check_bytes("the key", key.len(), KEY_DER_BYTES_MAX)
}

fn check_bytes(what: &str, bytes: usize, max: usize) -> Result<(), Refusal> {
    if bytes <= max {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::TooLarge, format_args!("{what}: {bytes} bytes; at most {max} are allowed")))
}

fn malformed(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Malformed, text)
}

/// The answer in the receipt of an operation that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuthorityReply {
    /// It holds from here on.
    Done,
    /// It is proposed, or signed, and holds once others have signed it as well.
    Pending {
        /// The state that proposed it.
        change: StateNdx,
        /// [`AuthorityOp::digest`] of what was proposed.
        digest: Digest,
        /// How many administrators have signed it.
        approvals: u32,
        /// How many have to.
        needed: u32,
    },
}

impl AuthorityReply {
    /// Reads the answer of an [`synod_types::Outcome::Done`].
    ///
    /// # Errors
    /// [`WireError`] if it is none of these.
    pub fn decode(answer: &[u8]) -> Result<AuthorityReply, WireError> {
        wire::decode(answer)
    }
}
