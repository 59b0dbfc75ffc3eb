//! The narrow way in: what came from outside is [`Unverified`], and only a [`Verifier`] makes it [`Verified`].
//!
//! A verifier holds no secret and no state that a decision depends on: the same bytes are verified or refused alike on
//! every node, at any time. What it keeps only saves work, and is bounded. It is shared between threads, and holds no
//! lock while it verifies.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use synod_types::command::CommandError;
use synod_types::digest::Messages;
use synod_types::limits::{KEYS_REMEMBERED_MAX, VERIFIED_REMEMBERED_MAX};
use synod_types::{
    ClusterId, CommandBody, CommandId, Digest, Message, Refusal, RefusalCode, SignedBody, SignedCommand,
};

use crate::batch::{self, Claim};
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
    /// What stands for commands that were verified: see [`Proof::Needed`].
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
        let facts = self.check([&command]).swap_remove(0)?;
        Ok(Verified { inner: command, facts })
    }

    /// [`Verifier::verify_command`] for commands that arrived together, which costs far less than one by one. The results
    /// are in the order of the commands.
    pub fn verify_commands(
        &self,
        commands: Vec<Unverified<SignedCommand>>,
    ) -> Vec<Result<Verified<SignedCommand>, Refusal>> {
        let facts = self.check(commands.iter().map(|Unverified(command)| command));
        let verified = commands.into_iter().zip(facts);
        verified.map(|(Unverified(inner), facts)| Ok(Verified { inner, facts: facts? })).collect()
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
        if let Some((app, commands)) = message.commands() {
            for facts in self.check(commands) {
                let signed_for = facts?.body.app;
                if signed_for != app {
                    let text = format!("signed for application {signed_for}, and sent for application {app}");
                    return Err(Refusal::new(RefusalCode::Malformed, text));
                }
            }
        }
        Ok(Verified { inner: message, facts: () })
    }

    /// Checks commands together; one result for each.
    fn check<'a>(
        &self,
        commands: impl IntoIterator<Item = &'a SignedCommand>,
    ) -> Vec<Result<CommandFacts, Refusal>> {
        let read: Vec<_> = commands.into_iter().map(|command| (command, self.read(command))).collect();
        let examined = self.examine(read);
        let open = examined.iter().filter_map(|(command, result)| match result {
            Ok(Examined { facts, proof: Proof::Needed { key, .. } }) => {
                Some(Claim { key, digest: &facts.id.0, signature: &command.signature })
            }
            _ => None,
        });
        let open: Vec<_> = open.collect();
        let begun = Instant::now();
        let mut signed = batch::verify(&open).into_iter();
        if !open.is_empty() {
            metrics::histogram!("synod_verify_seconds").record(begun.elapsed());
        }
        let mut conclude = |result: Result<Examined, Refusal>| {
            let Examined { facts, proof } = result?;
            if let Proof::Needed { key, is_known, proof } = proof {
                let verified = signed.next().expect("one result for each claim, in order");
                verified.map_err(|why| Refusal::new(RefusalCode::BadSignature, why))?;
                if !is_known {
                    self.keys.insert(key.spki_der().clone(), key);
                }
                self.proofs.insert(proof, ());
            } else {
                self.remembered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(facts)
        };
        let concluded = examined.into_iter().map(|(_, result)| {
            let result = conclude(result);
            let counter = if result.is_ok() { &self.accepted } else { &self.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            result
        });
        concluded.collect()
    }

    /// What is cheap to check: a stranger's garbage costs a comparison or a hash of its key.
    fn read(&self, command: &SignedCommand) -> Result<Readable, Refusal> {
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
        Ok(Readable { body, key: known })
    }

    /// Finds out of which commands the signature is still open. What is left of them is hashed together.
    fn examine<'a>(
        &self,
        commands: Vec<(&'a SignedCommand, Result<Readable, Refusal>)>,
    ) -> Vec<(&'a SignedCommand, Result<Examined, Refusal>)> {
        let readable = || commands.iter().filter(|(_, read)| read.is_ok()).map(|(command, _)| command);
        SignedBody::hash_together(readable().map(|command| &command.body));
        let mut proofs = Messages::default();
        readable().for_each(|command| proofs.push(&[command.id().as_bytes(), &command.signature]));
        let mut proofs = proofs.hash().into_iter();
        let mut examine = |command: &SignedCommand, read: Result<Readable, Refusal>| {
            let Readable { body, key } = read?;
            let proof = proofs.next().expect("one for each that was read, in order");
            let facts = CommandFacts { id: command.id(), body };
            if key.is_some() && self.proofs.find(&proof).is_some() {
                return Ok(Examined { facts, proof: Proof::Remembered });
            }
            let is_known = key.is_some();
            let key = match key {
                Some(key) => key,
                None => PublicKey::from_spki_der(&command.key)
                    .map(Arc::new)
                    .map_err(|why| Refusal::new(RefusalCode::Malformed, why))?,
            };
            Ok(Examined { facts, proof: Proof::Needed { key, is_known, proof } })
        };
        commands.into_iter().map(|(command, read)| (command, examine(command, read))).collect()
    }
}

/// A command that makes sense; whether it was signed is open.
struct Readable {
    body: CommandBody,
    /// Whose it is, if something was verified with it before.
    key: Option<Arc<PublicKey>>,
}

/// A command of which only the signature may still be open.
struct Examined {
    facts: CommandFacts,
    proof: Proof,
}

enum Proof {
    /// This very command was verified lately.
    Remembered,
    /// The signature has to be verified with `key`, and remembered as `proof`: SHA3-256 of id and signature, equal exactly where
    /// body, signature and key are. The id binds the body, the body binds the commander, and that the key is the commander's is
    /// checked before. The id has a fixed length, so the concatenation is unambiguous; the body is not hashed a second time.
    Needed { key: Arc<PublicKey>, is_known: bool, proof: Digest },
}

fn refusal(error: CommandError) -> Refusal {
    let code = match error {
        CommandError::TooLarge { .. } => RefusalCode::TooLarge,
        CommandError::WrongDomain | CommandError::WrongLength { .. } => RefusalCode::Malformed,
    };
    Refusal::new(code, error)
}
