//! The limits of one application that a command can set.

use serde::{Deserialize, Serialize};
use synod_types::limits::{
    KV_HISTORY_AGE_MS, KV_HISTORY_BYTES_MAX, KV_HISTORY_STATES_MAX, KV_STATE_BYTES_MAX,
};

use crate::op::KvSettings;

/// What is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Bytes of all keys and values.
    pub(crate) quota_bytes: u64,
    /// States whose changes are kept.
    pub(crate) history_states: u64,
    /// Bytes of what is kept of them.
    pub(crate) history_bytes: u64,
    /// Milliseconds of decree time for which they are kept.
    pub(crate) history_age_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            quota_bytes: KV_STATE_BYTES_MAX,
            history_states: KV_HISTORY_STATES_MAX,
            history_bytes: KV_HISTORY_BYTES_MAX,
            history_age_ms: KV_HISTORY_AGE_MS,
        }
    }
}

impl Settings {
    /// Takes what is given, and keeps the rest.
    pub(super) fn set(&mut self, new: &KvSettings) {
        self.quota_bytes = new.quota_bytes.unwrap_or(self.quota_bytes);
        self.history_states = new.history_states.unwrap_or(self.history_states);
        self.history_bytes = new.history_bytes.unwrap_or(self.history_bytes);
        self.history_age_ms = new.history_age_ms.unwrap_or(self.history_age_ms);
    }

    /// Whether a command can have set them.
    pub(super) fn are_within_limits(&self) -> bool {
        self.quota_bytes <= KV_STATE_BYTES_MAX
            && self.history_states <= KV_HISTORY_STATES_MAX
            && self.history_bytes <= KV_HISTORY_BYTES_MAX
    }
}
