//! The narrow way in: what came from outside is [`Unverified`], and only a [`Verifier`] makes it [`Verified`].
//!
//! A verifier holds no secret and no state that a decision depends on: the same bytes are verified or refused alike on
//! every node, at any time. What it keeps only saves work, and is bounded. It is shared between threads, and holds no
//! lock while it verifies.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use synod_types::command::CommandError;
use synod_types::limits::{KEYS_REMEMBERED_MAX, VERIFIED_REMEMBERED_MAX};
use synod_types::{
    AppNdx, ClusterId, CommandBody, CommandId, Decree, Digest, GroupMessage, Message, Refusal, RefusalCode,
    SignedCommand,
};

use crate::key::PublicKey;
use crate::recent::Recent;

/// Something from outside, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unverified<T>(pub T);

/// Something whose every signature was checked. Only a [`Verifier`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<T: Subject> {
    inner: T,
    facts: T::Facts,
}

/// What can be verified, and what becomes known of it on the way. Implemented here and nowhere else.
pub trait Subject: sealed::Sealed {
    /// What verification found out and nobody should compute again.
    type Facts;
}

impl Subject for SignedCommand {
    type Facts = CommandFacts;
}

impl Subject for Message {
    type Facts = ();
}

mod sealed {
    /// Closes [`super::Subject`] to other crates.
    pub trait Sealed {}
    impl Sealed for synod_types::SignedCommand {}
    impl Sealed for synod_types::Message {}
}

/// What is known of a verified command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandFacts {
    id: CommandId,
    body: CommandBody,
}

impl<T: Subject> Verified<T> {
    /// Gives up the proof.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Subject> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl Verified<SignedCommand> {
    /// The command's id. [`SignedCommand::id`] would hash the body again.
    pub fn id(&self) -> CommandId {
        self.facts.id
    }

    /// The decoded body.
    pub fn body(&self) -> &CommandBody {
        &self.facts.body
    }

    /// The command, its id and its body; gives up the proof.
    pub fn into_parts(self) -> (SignedCommand, CommandId, CommandBody) {
        (self.inner, self.facts.id, self.facts.body)
    }
}

/// Verifies commands, and messages with commands in them, for one cluster.
#[derive(Debug)]
pub struct Verifier {
    cluster: ClusterId,
    /// Parsed keys by their encoding. A key comes in when a signature was verified with it: garbage displaces nothing.
    keys: Recent<Bytes, Arc<PublicKey>>,
    /// [`proof`]s of commands that were verified.
    proofs: Recent<Digest, ()>,
    accepted: AtomicU64,
    refused: AtomicU64,
    remembered: AtomicU64,
}

/// What a verifier did since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifierCounters {
    /// Commands that were verified, on their own or in a message.
    pub accepted: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Those of `accepted` whose signature needed no second look.
    pub remembered: u64,
}

impl Verifier {
    /// A verifier of what was signed for `cluster`.
    pub fn new(cluster: ClusterId) -> Verifier {
        Verifier {
            cluster,
            keys: Recent::new(KEYS_REMEMBERED_MAX),
            proofs: Recent::new(VERIFIED_REMEMBERED_MAX),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
        }
    }

    /// The cluster for which it verifies.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What it did so far.
    pub fn counters(&self) -> VerifierCounters {
        VerifierCounters {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            remembered: self.remembered.load(Ordering::Relaxed),
        }
    }

    /// Verifies that the command is whole, for this cluster, and signed by the commander that it names.
    ///
    /// # Errors
    /// A [`Refusal`]: `TooLarge`, `Malformed`, `WrongCluster` or `BadSignature`.
    pub fn verify_command(
        &self,
        Unverified(command): Unverified<SignedCommand>,
    ) -> Result<Verified<SignedCommand>, Refusal> {
        let facts = self.check(&command)?;
        Ok(Verified { inner: command, facts })
    }

    /// Verifies every command in the message, and that each was signed for the application of which the message speaks.
    /// A message without commands passes as it is.
    ///
    /// # Errors
    /// The [`Refusal`] of the first command that is refused; the whole message is then worth nothing.
    pub fn verify_message(
        &self,
        Unverified(message): Unverified<Message>,
    ) -> Result<Verified<Message>, Refusal> {
        match &message {
            Message::Heartbeat { .. } | Message::HeartbeatReply { .. } | Message::ForwardRefused { .. } => {}
            Message::Forward { app, commands, .. } => self.check_all(*app, commands)?,
            Message::Group { app, message } => self.check_group_message(*app, message)?,
        }
        Ok(Verified { inner: message, facts: () })
    }

    fn check_group_message(&self, app: AppNdx, message: &GroupMessage) -> Result<(), Refusal> {
        match message {
            GroupMessage::Accept { decree, .. } => self.check_all(app, decree.commands()),
            GroupMessage::CatchUp { decrees, .. } => {
                decrees.iter().map(Decree::commands).try_for_each(|commands| self.check_all(app, commands))
            }
            GroupMessage::Promise { accepted, .. } => {
                accepted.iter().try_for_each(|slot| self.check_all(app, slot.decree.commands()))
            }
            GroupMessage::Prepare { .. }
            | GroupMessage::Accepted { .. }
            | GroupMessage::Nack { .. }
            | GroupMessage::Learn { .. }
            | GroupMessage::CatchUpRequest { .. }
            | GroupMessage::ReadIndexRequest { .. }
            | GroupMessage::ReadIndex { .. }
            | GroupMessage::Confirm { .. }
            | GroupMessage::Confirmed { .. } => Ok(()),
        }
    }

    fn check_all(&self, app: AppNdx, commands: &[SignedCommand]) -> Result<(), Refusal> {
        commands.iter().try_for_each(|command| {
            let facts = self.check(command)?;
            if facts.body.app == app {
                return Ok(());
            }
            let text = format!("signed for application {}, and sent for application {app}", facts.body.app);
            Err(Refusal::new(RefusalCode::Malformed, text))
        })
    }

    fn check(&self, command: &SignedCommand) -> Result<CommandFacts, Refusal> {
        let checked = self.check_parts(command);
        let counter = if checked.is_ok() { &self.accepted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        checked
    }

    /// The cheap checks come first: a stranger's garbage costs a comparison or a hash, not a signature.
    fn check_parts(&self, command: &SignedCommand) -> Result<CommandFacts, Refusal> {
        command.check_sizes().map_err(refusal)?;
        let body = CommandBody::decode(&command.body).map_err(refusal)?;
        if body.cluster != self.cluster {
            let text = format!(
                "signed for cluster {}, and this is cluster {}: check the genesis document that you sign for",
                body.cluster.short(),
                self.cluster.short()
            );
            return Err(Refusal::new(RefusalCode::WrongCluster, text));
        }
        let known = self.keys.find(&command.key);
        let key_id = known.as_ref().map_or_else(|| Digest::of(&[&command.key]), |key| key.id());
        if key_id != body.commander.0 {
            let text = format!("signed for commander {}, and the key is not its key", body.commander.short());
            return Err(Refusal::new(RefusalCode::BadSignature, text));
        }
        let id = command.id();
        let proof = proof(id, &command.signature);
        if known.is_some() && self.proofs.find(&proof).is_some() {
            self.remembered.fetch_add(1, Ordering::Relaxed);
            return Ok(CommandFacts { id, body });
        }
        let key = match &known {
            Some(key) => Arc::clone(key),
            None => PublicKey::from_spki_der(&command.key)
                .map(Arc::new)
                .map_err(|why| Refusal::new(RefusalCode::Malformed, why))?,
        };
        key.verify_digest(&id.0, &command.signature)
            .map_err(|why| Refusal::new(RefusalCode::BadSignature, why))?;
        if known.is_none() {
            self.keys.insert(key.spki_der().clone(), key);
        }
        self.proofs.insert(proof, ());
        Ok(CommandFacts { id, body })
    }
}

/// Stands for one verified command: equal exactly where body, signature and key are equal. The id binds the body, the
/// body binds the commander, and that the key is the commander's is checked before this is used. The id has a fixed
/// length, so the concatenation is unambiguous; the body is not hashed a second time.
fn proof(id: CommandId, signature: &[u8]) -> Digest {
    Digest::of(&[id.as_bytes(), signature])
}

fn refusal(error: CommandError) -> Refusal {
    let code = match error {
        CommandError::TooLarge { .. } => RefusalCode::TooLarge,
        CommandError::WrongDomain | CommandError::WrongLength { .. } => RefusalCode::Malformed,
    };
    Refusal::new(code, error)
}
