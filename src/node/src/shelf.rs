//! What the tests of this crate play on: an application with files, and commands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use synod_auth::{Algorithm, SigningKey, Unverified, Verified, Verifier};
use synod_client::{CommandOptions, Commander};
use synod_machine::{Application, Context, Founders, Machine, QueryError, RestoreError};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommanderId, ContentKey, Decree, Digest, Refusal, Seq, SignedCommand,
    StateNdx, TimeMs,
};

pub const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));
pub const APP: AppNdx = AppNdx(1);

/// Has places for files; an operation names a place, and a file by its key. Refers to others, too.
#[derive(Clone, Default)]
pub struct Shelf {
    pub places: BTreeMap<u8, (ContentKey, Option<Bytes>)>,
    pub others: BTreeSet<ContentKey>,
}

impl Application for Shelf {
    fn kind(&self) -> &'static str {
        "shelf"
    }

    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn apply(&mut self, _: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        match (operation, self.content_of(operation).pop()) {
            ([place, ..], Some(key)) => drop(self.places.insert(*place, (key, None))),
            _ => self.places.clear(),
        }
        Ok(Bytes::new())
    }

    /// Asks for the file at a place.
    fn query(&self, _: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        let file = query.first().and_then(|place| self.places.get(place)?.1.clone());
        file.ok_or_else(|| QueryError("no file".to_owned()))
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest([0; 32])
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }

    fn content_of(&self, operation: &[u8]) -> Vec<ContentKey> {
        let key = operation.get(1..).and_then(|key| key.try_into().ok());
        key.map(|key| ContentKey(Digest(key))).into_iter().collect()
    }

    fn refers_to(&self, key: &ContentKey) -> bool {
        self.places.values().any(|(other, _)| other == key) || self.others.contains(key)
    }

    fn wanted(&self) -> Vec<ContentKey> {
        let missing = self.places.values().filter(|(_, file)| file.is_none());
        missing.map(|(key, _)| *key).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn supply(&mut self, key: &ContentKey, file: &[u8]) {
        for (_, place) in self.places.values_mut().filter(|(other, _)| other == key) {
            *place = Some(Bytes::copy_from_slice(file));
        }
    }
}

/// Who commands it.
pub struct Author(Commander);

impl Author {
    pub fn new() -> Author {
        Author(Commander::new(Arc::new(SigningKey::generate(Algorithm::Ed25519)), CLUSTER))
    }

    /// A machine with an empty shelf, whose administrator this is.
    pub fn machine(&self) -> Machine {
        let key = self.0.key().public().spki_der().clone();
        let administrators = [(CommanderId(self.0.key().id()), key, "admin".to_owned())];
        Machine::new(CLUSTER, APP, &Founders::each_alone(&administrators), Box::new(Shelf::default()))
    }

    /// A command that puts a file at the first place.
    pub fn put(&self, seq: u64, file: &[u8]) -> SignedCommand {
        self.put_at(seq, 0, file)
    }

    /// A command that puts a file at a place.
    pub fn put_at(&self, seq: u64, place: u8, file: &[u8]) -> SignedCommand {
        self.command(seq, &[&[place], &ContentKey::of(file).as_bytes()[..]].concat())
    }

    /// A command that takes all files off.
    pub fn clear(&self, seq: u64) -> SignedCommand {
        self.command(seq, &[])
    }

    fn command(&self, seq: u64, operation: &[u8]) -> SignedCommand {
        let mut bytes = vec![synod_types::command::Operation::APP];
        bytes.extend_from_slice(operation);
        self.0.sign(APP, Seq(seq), bytes.into(), CommandOptions::default()).expect("small")
    }
}

pub fn verified(command: &SignedCommand) -> Verified<SignedCommand> {
    Verifier::new(CLUSTER).verify_command(Unverified(command.clone())).expect("signed")
}

pub fn batch(command: SignedCommand) -> Decree {
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands: vec![command] }))
}
