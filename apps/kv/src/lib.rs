//! A key-value application: put, delete, compare-and-set on a key's stateNdx; get and range by prefix.
//!
//! Each key remembers the stateNdx that created it and the one that last changed it, so that a reader can change what
//! it saw and nothing else. Keys are byte strings in byte order.
//!
//! What a key holds can be proved against one digest of the state, its root: see [`proof`].
//!
//! Nothing here knows commanders, sessions or signatures: that is the machine's. Start with [`op`] (what a command can
//! do) and [`query`] (what a reader can ask).

mod answer;
mod apply;
mod check;
pub mod lock;
pub mod op;
pub mod proof;
pub mod query;
mod scope;
pub mod state;
mod txn;

use bytes::Bytes;
use synod_machine::{Application, Context, Moment, QueryError, RestoreError};
use synod_types::{Digest, LeaseMs, Refusal, StateNdx, wire};

pub use op::{KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvReply, KvResult, KvSettings, KvTxn};
pub use query::{
    KvAnswer, KvEntry, KvHistoryMax, KvKeyChange, KvLease, KvQuery, KvSelection, KvStateChanges, KvUsage,
    KvVersion,
};
use state::KvState;

/// The application.
#[derive(Clone, Debug, Default)]
pub struct Kv {
    state: KvState,
}

impl Kv {
    /// The name of this kind of application, as in a configuration.
    pub const KIND: &'static str = "kv";

    /// No keys.
    pub fn new() -> Kv {
        Kv::default()
    }

    /// The state, for who reads it in the same process.
    pub fn state(&self) -> &KvState {
        &self.state
    }
}

impl Application for Kv {
    fn kind(&self) -> &'static str {
        Kv::KIND
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        KvOp::decode(operation).map(drop)
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        let reply = apply::apply(&mut self.state, context, KvOp::decode(operation)?)?;
        Ok(wire::encode(&reply).into())
    }

    fn is_administrative(&self, operation: &[u8]) -> bool {
        scope::is_administrative(operation)
    }

    fn check_scope(&self, scope: &str) -> Result<(), Refusal> {
        scope::check_scope(scope)
    }

    fn check_within(&self, scopes: &[String], operation: &[u8]) -> Result<(), Refusal> {
        scope::check_within(scopes, operation)
    }

    fn due(&self) -> Option<LeaseMs> {
        self.state.due()
    }

    fn expire(&mut self, moment: &Moment) -> Bytes {
        wire::encode(&apply::expire(&mut self.state, moment)).into()
    }

    fn on_new_term(&mut self, clock: LeaseMs) {
        self.state.on_new_term(clock);
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        let query = KvQuery::decode(query)?;
        Ok(wire::encode(&answer::answer(&self.state, state_ndx, &query)).into())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    fn snapshot_into(&self, out: &mut Vec<u8>) {
        self.state.snapshot_into(out);
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.state = KvState::restore(snapshot)?;
        Ok(())
    }

    fn weight(&self) -> u64 {
        let (_, history) = self.state.history_held();
        self.state.bytes() + history
    }

    fn digest(&self) -> Digest {
        Digest::of(&[&self.state.snapshot()])
    }

    fn root(&self) -> Digest {
        proof::root(&self.state.tree().root())
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }
}
