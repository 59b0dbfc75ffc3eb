//! What a reader can ask, and what it is answered. Both travel in the encoding of [`synod_types::wire`]. Answers come
//! from one state, and are bounded whatever was asked.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_machine::QueryError;
use synod_types::StateNdx;
use synod_types::limits::{KV_KEY_BYTES_MAX, KV_RANGE_BYTES_MAX, KV_RANGE_ENTRIES_MAX, KV_VALUE_BYTES_MAX};
use synod_types::wire::{self, WireError};

use crate::state::{Entry, KvState};

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvQuery {
    /// What does this key hold? Answered by [`KvAnswer::Get`].
    Get {
        /// Which key.
        key: Bytes,
    },
    /// Which keys begin with this? Answered by [`KvAnswer::Range`].
    Range {
        /// The first bytes of every key in the answer; empty: every key.
        prefix: Bytes,
        /// Only keys behind this one, which is the last of the page before.
        after: Option<Bytes>,
        /// At most so many; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`].
        limit: u32,
    },
}

impl KvQuery {
    /// The bytes of the question.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads a question.
    ///
    /// # Errors
    /// [`QueryError`] if it is none of this application's.
    pub fn decode(bytes: &[u8]) -> Result<KvQuery, QueryError> {
        wire::decode(bytes).map_err(|why| QueryError(why.to_string()))
    }
}

/// A key with all that is known of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvEntry {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The state that made it.
    pub created: StateNdx,
    /// The state that last wrote it: what a compare-and-set expects.
    pub changed: StateNdx,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvAnswer {
    /// The key; `None`: it does not exist.
    Get(Option<KvEntry>),
    /// A page of keys.
    Range {
        /// In byte order.
        entries: Vec<KvEntry>,
        /// Whether there are more: ask again with `after` set to the last key.
        more: bool,
    },
}

impl KvAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`WireError`] if it is none of this application's.
    pub fn decode(bytes: &[u8]) -> Result<KvAnswer, WireError> {
        wire::decode(bytes)
    }
}

/// Answers from `state`.
pub fn answer(state: &KvState, query: &KvQuery) -> KvAnswer {
    match query {
        KvQuery::Get { key } => KvAnswer::Get(state.entry(key).map(|entry| known(key, entry))),
        KvQuery::Range { prefix, after, limit } => range(state, prefix, after.as_deref(), *limit),
    }
}

fn range(state: &KvState, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> KvAnswer {
    let limit = match usize::try_from(limit) {
        Ok(limit @ 1..KV_RANGE_ENTRIES_MAX) => limit,
        _ => KV_RANGE_ENTRIES_MAX,
    };
    let mut entries = Vec::new();
    let mut bytes_left = KV_RANGE_BYTES_MAX;
    for (key, entry) in state.range(prefix, after) {
        let left = bytes_left.checked_sub(key.len() + entry.value.len());
        let (Some(left), true) = (left, entries.len() < limit) else {
            return KvAnswer::Range { entries, more: true };
        };
        bytes_left = left;
        entries.push(known(key, entry));
    }
    KvAnswer::Range { entries, more: false }
}

// A page that holds nothing although there is more would be asked for again without end.
const _: () = assert!(KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX <= KV_RANGE_BYTES_MAX);

fn known(key: &[u8], entry: &Entry) -> KvEntry {
    KvEntry {
        key: Bytes::copy_from_slice(key),
        value: entry.value.clone(),
        created: entry.created,
        changed: entry.changed,
    }
}
