//! Who may command an application. Authority lives in the log that it governs: commands change it, at an exact
//! stateNdx, and genesis names the first administrators.
//!
//! Nothing here looks inside a key: that a key is well-formed is checked where a command enters, and a key that is
//! not simply never signs anything.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::limits::{COMMANDER_NAME_BYTES_MAX, COMMANDERS_MAX, KEY_DER_BYTES_MAX};
use synod_types::{CommanderId, Digest, Refusal, RefusalCode, StateNdx, wire};

/// What a commander may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Everything, also change who may command.
    Administrator,
    /// The application's own operations.
    Writer,
}

impl Role {
    /// The name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Administrator => "administrator",
            Role::Writer => "writer",
        }
    }

    fn permits(self, operation: &Operation<'_>) -> bool {
        match (self, operation) {
            (Role::Administrator, Operation::App(_) | Operation::Authority(_)) => true,
            (Role::Writer, Operation::App(_)) => true,
            (Role::Writer, Operation::Authority(_)) => false,
        }
    }
}

/// A commander of one application, as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commander {
    /// SHA3-256 of `key`.
    pub id: CommanderId,
    /// SubjectPublicKeyInfo, DER.
    pub key: Bytes,
    /// For people; means nothing to the machine.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The state that granted this, the last time; 0: genesis.
    pub since: StateNdx,
    /// The state that revoked it.
    pub revoked: Option<StateNdx>,
}

impl Commander {
    fn is_administrator(&self) -> bool {
        self.role == Role::Administrator && self.revoked.is_none()
    }
}

/// An operation on an application's commanders. It changes nothing else, and its answer is empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuthorityOp {
    /// Lets a key command. For a known commander, revoked or not, it replaces name and role.
    Grant {
        /// SubjectPublicKeyInfo, DER; at most [`KEY_DER_BYTES_MAX`].
        key: Bytes,
        /// For people: 1 to [`COMMANDER_NAME_BYTES_MAX`] bytes without control characters.
        name: String,
        /// What it may do.
        role: Role,
    },
    /// From here on, nothing new of this commander is executed. What was executed keeps its receipts.
    Revoke {
        /// Whom.
        commander: CommanderId,
    },
}

impl AuthorityOp {
    /// The operation as it stands in a command: [`Operation::AUTHORITY`], then this.
    pub fn encode(&self) -> Vec<u8> {
        let mut operation = vec![Operation::AUTHORITY];
        wire::encode_into(self, &mut operation);
        operation
    }

    /// Reads the bytes behind [`Operation::AUTHORITY`] and checks their limits.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge`.
    pub fn decode(bytes: &[u8]) -> Result<AuthorityOp, Refusal> {
        // The decoder's own words stay out of the text: they may change with its version, and the text is replicated.
        let op: AuthorityOp = wire::decode(bytes).map_err(|_| {
            Refusal::new(RefusalCode::Malformed, "the operation is neither a grant nor a revocation")
        })?;
        if let AuthorityOp::Grant { key, name, role: _ } = &op {
            check_grant(key, name)?;
        }
        Ok(op)
    }
}

fn check_grant(key: &[u8], name: &str) -> Result<(), Refusal> {
    let refuse = |code, text: String| Err(Refusal::new(code, text));
    if key.is_empty() {
        return refuse(RefusalCode::Malformed, "the key is empty".to_owned());
    }
    if key.len() > KEY_DER_BYTES_MAX {
        return refuse(
            RefusalCode::TooLarge,
            format!("the key has {} bytes; at most {KEY_DER_BYTES_MAX} are allowed", key.len()),
        );
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return refuse(
            RefusalCode::Malformed,
            "a commander's name is empty or has control characters".to_owned(),
        );
    }
    if name.len() > COMMANDER_NAME_BYTES_MAX {
        return refuse(
            RefusalCode::TooLarge,
            format!("the name has {} bytes; at most {COMMANDER_NAME_BYTES_MAX} are allowed", name.len()),
        );
    }
    Ok(())
}

/// The commanders of one application. Cloning is O(1).
///
/// A revoked commander stays listed: its session must outlive it, and its key must not slip back in as a new one.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    commanders: OrdMap<CommanderId, Arc<Commander>>,
}

impl Authority {
    /// The first administrators, as genesis names them.
    ///
    /// # Panics
    /// Over [`COMMANDERS_MAX`]: genesis is checked where it is read.
    pub fn founded_by(administrators: &[(CommanderId, Bytes, String)]) -> Authority {
        assert!(administrators.len() <= COMMANDERS_MAX, "genesis names too many administrators");
        let commander = |(id, key, name): &(CommanderId, Bytes, String)| Commander {
            id: *id,
            key: key.clone(),
            name: name.clone(),
            role: Role::Administrator,
            since: StateNdx(0),
            revoked: None,
        };
        let commanders = administrators.iter().map(|named| (named.0, Arc::new(commander(named)))).collect();
        Authority { commanders }
    }

    /// Checks that a commander may do this.
    ///
    /// # Errors
    /// `UnknownCommander`, `Revoked` or `NotPermitted`.
    pub fn permits(&self, commander: CommanderId, operation: &Operation<'_>) -> Result<(), Refusal> {
        let Some(known) = self.commanders.get(&commander) else {
            return Err(Refusal::new(
                RefusalCode::UnknownCommander,
                format_args!(
                    "no commander of this application has the key {}; an administrator can grant it",
                    commander.short()
                ),
            ));
        };
        if let Some(revoked) = known.revoked {
            return Err(Refusal::new(
                RefusalCode::Revoked,
                format_args!("commander {} was revoked in stateNdx {revoked}", commander.short()),
            ));
        }
        if !known.role.permits(operation) {
            return Err(Refusal::new(
                RefusalCode::NotPermitted,
                format_args!(
                    "commander {} is a {} and may not change who commands; an administrator may",
                    commander.short(),
                    known.role.name()
                ),
            ));
        }
        Ok(())
    }

    /// Executes an operation. On an error nothing has changed.
    ///
    /// # Errors
    /// `Conflict` if it would leave no administrator, or there is nobody to revoke; `QuotaExceeded` over
    /// [`COMMANDERS_MAX`].
    pub fn apply(&mut self, state_ndx: StateNdx, op: AuthorityOp) -> Result<(), Refusal> {
        match op {
            AuthorityOp::Grant { key, name, role } => {
                let id = CommanderId(Digest::of(&[&key]));
                if role != Role::Administrator {
                    self.check_not_last_administrator(id)?;
                }
                if self.commanders.len() >= COMMANDERS_MAX && !self.commanders.contains_key(&id) {
                    return Err(Refusal::new(
                        RefusalCode::QuotaExceeded,
                        format_args!(
                            "this application has its {COMMANDERS_MAX} commanders, revoked ones included"
                        ),
                    ));
                }
                let granted = Commander { id, key, name, role, since: state_ndx, revoked: None };
                self.commanders.insert(id, Arc::new(granted));
            }
            AuthorityOp::Revoke { commander } => {
                let Some(known) = self.commanders.get(&commander) else {
                    return Err(Refusal::new(
                        RefusalCode::Conflict,
                        format_args!("there is no commander {} to revoke", commander.short()),
                    ));
                };
                if let Some(revoked) = known.revoked {
                    return Err(Refusal::new(
                        RefusalCode::Conflict,
                        format_args!(
                            "commander {} was revoked in stateNdx {revoked} already",
                            commander.short()
                        ),
                    ));
                }
                self.check_not_last_administrator(commander)?;
                let revoked = Commander { revoked: Some(state_ndx), ..Commander::clone(known) };
                self.commanders.insert(commander, Arc::new(revoked));
            }
        }
        Ok(())
    }

    /// Without an administrator nobody could ever grant again.
    fn check_not_last_administrator(&self, id: CommanderId) -> Result<(), Refusal> {
        let is_administrator = self.commanders.get(&id).is_some_and(|known| known.is_administrator());
        let has_another = || self.iter().any(|other| other.id != id && other.is_administrator());
        if is_administrator && !has_another() {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format_args!(
                    "commander {} is the last administrator of this application; grant another one first",
                    id.short()
                ),
            ));
        }
        Ok(())
    }

    /// One commander.
    pub fn commander(&self, id: CommanderId) -> Option<&Commander> {
        self.commanders.get(&id).map(Arc::as_ref)
    }

    /// All commanders, revoked ones too, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Commander> {
        self.commanders.values().map(Arc::as_ref)
    }

    /// The opposite of [`Authority::iter`], for commanders of unknown origin.
    ///
    /// # Errors
    /// A sentence on what cannot be, for states up to `state_ndx`.
    pub fn from_commanders(
        commanders: Vec<Commander>,
        state_ndx: StateNdx,
    ) -> Result<Authority, &'static str> {
        if commanders.len() > COMMANDERS_MAX {
            return Err("there are too many commanders");
        }
        if !commanders.is_sorted_by(|a, b| a.id < b.id) {
            return Err("the commanders are not in order");
        }
        if commanders.iter().any(|known| known.since > state_ndx || known.revoked > Some(state_ndx)) {
            return Err("a commander was granted or revoked in a state that was never reached");
        }
        let commanders = commanders.into_iter().map(|known| (known.id, Arc::new(known))).collect();
        Ok(Authority { commanders })
    }
}
