//! What a reader can ask, and what it is answered. Both travel in the encoding of [`synod_types::wire`]. Answers come
//! from one state, and are bounded whatever was asked.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_machine::QueryError;
use synod_merkle::Proof;
use synod_types::wire::{self, WireError};
use synod_types::{CommanderId, StateNdx, TimeMs};

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KvQuery {
    /// What does this key hold? Answered by [`KvAnswer::Get`].
    Get {
        /// Which key.
        key: Bytes,
        /// In which state; `None`: in the present one.
        at: Option<StateNdx>,
    },
    /// Which keys begin with this? Answered by [`KvAnswer::Range`].
    Range {
        /// The first bytes of every key in the answer; empty: every key.
        prefix: Bytes,
        /// Only keys behind this one, which is the last of the page before.
        after: Option<Bytes>,
        /// At most so many; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX).
        limit: u32,
        /// In which state; `None`: in the present one.
        at: Option<StateNdx>,
    },
    /// What did this key hold, as far as it is remembered? The latest comes first. Answered by [`KvAnswer::History`].
    History {
        /// Which key.
        key: Bytes,
        /// Only what it held before this state, which is that of the last version of the page before.
        before: Option<StateNdx>,
        /// At most so many; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX).
        limit: u32,
    },
    /// What has changed behind a state? Answered by [`KvAnswer::Changes`].
    Changes {
        /// The last state that is known already.
        after: StateNdx,
        /// Of which keys.
        of: KvSelection,
        /// At most so many states; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX).
        limit: u32,
    },
    /// How does this lease stand? Answered by [`KvAnswer::Lease`].
    Lease {
        /// Which.
        lease: StateNdx,
    },
    /// Which leases are there, without their keys? Answered by [`KvAnswer::Leases`].
    Leases {
        /// Only those behind this one.
        after: Option<StateNdx>,
        /// At most so many; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX).
        limit: u32,
    },
    /// Who stands in this queue (a lock, or an election)? Those whose keys begin with this prefix, without a further slash, in
    /// the order in which their keys were made: the first one holds the lock, and the state that made its key is its fencing
    /// token. Answered by [`KvAnswer::Queue`].
    Queue {
        /// The first bytes of the keys; see [`crate::lock`].
        prefix: Bytes,
        /// At most so many; 0, as everything above it, stands for [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX).
        limit: u32,
    },
    /// How full is the application? Answered by [`KvAnswer::Usage`].
    Usage,
    /// What does this key hold, and what shows it? Answered by [`KvAnswer::Proved`].
    Prove {
        /// Which key.
        key: Bytes,
    },
}

/// Which keys somebody watches.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum KvSelection {
    /// This one.
    Key(Bytes),
    /// Those that begin with this; empty: every key.
    Prefix(Bytes),
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
    /// The lease with which it ends.
    pub lease: Option<StateNdx>,
}

/// What a key held from a state on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvVersion {
    /// The state that changed it.
    pub changed: StateNdx,
    /// What it held; `None`: it was removed.
    pub entry: Option<KvEntry>,
}

/// What changed in one state, of the keys that were asked about. Several changes of one key in one state are one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvStateChanges {
    /// The state.
    pub state_ndx: StateNdx,
    /// The decree's time.
    pub time: TimeMs,
    /// In the order of the keys.
    pub changes: Vec<KvKeyChange>,
}

/// What became of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvKeyChange {
    /// The key.
    pub key: Bytes,
    /// What it holds; `None`: it was removed.
    pub entry: Option<KvEntry>,
    /// Whether it was removed because its lease ran out.
    pub expired: bool,
}

/// A lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvLease {
    /// The state that granted it: its name.
    pub lease: StateNdx,
    /// For how long it lasts.
    pub ttl_ms: u64,
    /// How much of that is left, by the lease clock of this state.
    pub left_ms: u64,
    /// Who has it.
    pub commander: CommanderId,
}

/// How full an application is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvUsage {
    /// Keys.
    pub keys: u64,
    /// Bytes that they count for.
    pub bytes: u64,
    /// How many these may be.
    pub quota_bytes: u64,
    /// Leases.
    pub leases: u64,
    /// The oldest state that can be read and watched from.
    pub oldest: StateNdx,
    /// States whose changes are kept.
    pub history_states: u64,
    /// Bytes that they count for.
    pub history_bytes: u64,
    /// How many states, bytes and milliseconds are kept at most.
    pub history_max: KvHistoryMax,
}

/// How much history is kept at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KvHistoryMax {
    /// States.
    pub states: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds of decree time.
    pub age_ms: u64,
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
    /// Versions of a key, the latest first.
    History {
        /// What is known of it.
        versions: Vec<KvVersion>,
        /// Whether there are more: ask again with `before` set to the last one's state.
        more: bool,
        /// The oldest state that is remembered: what a key held before its first version here is not known where that is
        /// behind it.
        oldest: StateNdx,
    },
    /// What changed behind a state.
    Changes {
        /// In the order of the states; states that changed no such key are left out.
        states: Vec<KvStateChanges>,
        /// Everything up to this state is in here: ask again with `after` set to it.
        through: StateNdx,
    },
    /// A lease and the first [`KV_RANGE_ENTRIES_MAX`](synod_types::limits::KV_RANGE_ENTRIES_MAX) of its keys in their order; `None`: there is none, or it is over.
    Lease(Option<(KvLease, Vec<Bytes>)>),
    /// A page of leases.
    Leases {
        /// In the order of their grants.
        leases: Vec<KvLease>,
        /// Whether there are more: ask again with `after` set to the last one.
        more: bool,
    },
    /// Who stands in a queue.
    Queue {
        /// The first one holds the lock. None where more than
        /// [`KV_QUEUE_KEYS_MAX`](synod_types::limits::KV_QUEUE_KEYS_MAX) keys begin so: that is no queue.
        entries: Vec<KvEntry>,
        /// How many stand there.
        count: u64,
    },
    /// How full the application is.
    Usage(KvUsage),
    /// What was asked about is no longer remembered.
    Compacted {
        /// The oldest state that is.
        oldest: StateNdx,
    },
    /// What was asked about is a state that is not there yet.
    NotYet,
    /// A key with its proof; see [`crate::proof::verify`].
    Proved {
        /// The key; `None`: it does not exist.
        entry: Option<KvEntry>,
        /// What shows that to who has the state's root.
        proof: Proof,
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
