//! A commander: a key, what it may do, and from when until when.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::{CommanderId, Refusal, RefusalCode, StateNdx, TimeMs};

use super::op::Grant;

/// What a commander may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Everything, also change who may command.
    Administrator,
    /// The application's own operations; where it has scopes, only what lies within them.
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
}

/// A commander of one application, as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commander {
    /// SHA3-256 of its key.
    pub id: CommanderId,
    /// What was granted to it, or to the key that this one took the place of.
    pub grant: Grant,
    /// The state that made it a commander, the last time; 0: genesis.
    pub since: StateNdx,
    /// The state that revoked it.
    pub revoked: Option<StateNdx>,
    /// Whose place it took.
    pub predecessor: Option<CommanderId>,
    /// Who took its place: it was revoked by that.
    pub successor: Option<CommanderId>,
    /// How often its key was changed since an administrator granted one.
    pub rotations: u32,
}

impl Commander {
    /// A commander that was granted in `since`.
    pub(super) fn granted(grant: Grant, since: StateNdx) -> Commander {
        Commander {
            id: grant.commander(),
            grant,
            since,
            revoked: None,
            predecessor: None,
            successor: None,
            rotations: 0,
        }
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn key(&self) -> &Bytes {
        &self.grant.key
    }

    /// Whether it is an administrator that was not revoked, be it valid now or not.
    pub(super) fn is_administrator(&self) -> bool {
        self.grant.role == Role::Administrator && self.revoked.is_none()
    }

    /// Whether it is an administrator at `time`.
    pub(super) fn administers_at(&self, time: TimeMs) -> bool {
        self.is_administrator() && self.check_valid(time).is_ok()
    }

    /// Whether it is an administrator at `time` and will be one for ever, if nobody changes it.
    pub(super) fn administers_from(&self, time: TimeMs) -> bool {
        self.administers_at(time) && self.grant.valid_to.is_none()
    }

    /// Checks that it may command at `time` at all.
    pub(super) fn check_active(&self, time: TimeMs) -> Result<(), Refusal> {
        let short = self.id.short();
        match (self.revoked, self.successor) {
            (None, _) => self.check_valid(time),
            (Some(revoked), None) => Err(Refusal::new(
                RefusalCode::Revoked,
                format_args!("commander {short} was revoked in stateNdx {revoked}"),
            )),
            (Some(revoked), Some(successor)) => Err(Refusal::new(
                RefusalCode::Revoked,
                format_args!(
                    "commander {short} was revoked in stateNdx {revoked}, when {} took its place",
                    successor.short()
                ),
            )),
        }
    }

    fn check_valid(&self, time: TimeMs) -> Result<(), Refusal> {
        let (short, Grant { valid_from, valid_to, .. }) = (self.id.short(), &self.grant);
        match (valid_from, valid_to) {
            (Some(from), _) if time < *from => Err(Refusal::new(
                RefusalCode::NotValidNow,
                format_args!("commander {short} is valid from {from} ms on; the cluster's time is {time} ms"),
            )),
            (_, Some(to)) if time > *to => Err(Refusal::new(
                RefusalCode::NotValidNow,
                format_args!("commander {short} was valid until {to} ms; the cluster's time is {time} ms"),
            )),
            _ => Ok(()),
        }
    }
}
