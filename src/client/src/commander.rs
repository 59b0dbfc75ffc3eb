//! Who commands: a key and the cluster for which it signs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use synod_auth::SigningKey;
use synod_types::command::CommandError;
use synod_types::{AppNdx, ClusterId, CommandBody, CommanderId, Seq, SignedCommand, StateNdx, TimeMs};

/// A key that signs commands for one cluster.
#[derive(Clone)]
pub struct Commander {
    key: Arc<SigningKey>,
    cluster: ClusterId,
}

/// What a commander may ask for beside the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandOptions {
    /// Not executed in a decree whose time is later; `None`: never expires.
    pub not_after: Option<TimeMs>,
    /// Refused unless the application is in exactly this state before the command; `None`: any.
    pub expected: Option<StateNdx>,
}

impl Commander {
    /// A commander of `cluster`.
    pub fn new(key: Arc<SigningKey>, cluster: ClusterId) -> Commander {
        Commander { key, cluster }
    }

    /// SHA3-256 of its public key.
    pub fn id(&self) -> CommanderId {
        CommanderId(self.key.id())
    }

    /// The cluster in which its commands are executed.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its key.
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// Signs a command. With Ed25519 that takes some 20 µs, with RSA more than a millisecond.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] if the operation is over its limit.
    pub fn sign(
        &self,
        app: AppNdx,
        seq: Seq,
        operation: Bytes,
        options: CommandOptions,
    ) -> Result<SignedCommand, CommandError> {
        let CommandOptions { not_after, expected } = options;
        let commander = self.id();
        let body = CommandBody { cluster: self.cluster, app, commander, seq, not_after, expected, operation };
        let body = body.encode()?;
        let signature = self.key.sign(&body).into();
        Ok(SignedCommand { body: body.into(), signature, key: self.key.public().spki_der().clone() })
    }
}

impl fmt::Debug for Commander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commander").field("id", &self.id()).field("cluster", &self.cluster).finish()
    }
}
