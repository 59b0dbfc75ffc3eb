//! What nodes answer about keys, and how people read it.

use serde::{Deserialize, Serialize};

/// Characters of a value that a table shows.
const VALUE_SHOWN_MAX: usize = 60;

/// What `/v1/apps/{app}/kv` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
    pub(super) entries: Vec<Entry>,
    pub(super) more: bool,
    pub(super) next: Option<String>,
}

/// A key or value that is not text comes as base64.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_base64: Option<String>,
    pub(super) created: u64,
    pub(super) changed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<u64>,
}

/// What `/v1/apps/{app}/history/{key}` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryPage {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
    pub(super) versions: Vec<Version>,
    pub(super) oldest: u64,
    pub(super) more: bool,
    pub(super) next: Option<String>,
}

/// What a key held from a state on.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub(super) changed: u64,
    pub(super) removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<u64>,
}

/// A page of leases.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeasesPage {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) leases: Vec<LeaseOfPage>,
    pub(super) more: bool,
    pub(super) next: Option<String>,
}

/// A lease, without its keys.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaseOfPage {
    pub(super) lease: u64,
    pub(super) ttl_ms: u64,
    pub(super) left_ms: u64,
    pub(super) commander: String,
}

/// A lease with its keys.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaseAnswer {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    #[serde(flatten)]
    pub(super) lease: LeaseOfPage,
    pub(super) keys: Vec<Key>,
}

/// A key.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
}

/// What `/v1/apps/{app}/locks/{name}` answers.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct LockAnswer {
    pub(super) state_ndx: u64,
    pub(super) holder: Option<LockPlace>,
    pub(super) waiting: Vec<LockPlace>,
    pub(super) waiting_count: u64,
}

/// Who stands in a queue.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct LockPlace {
    pub(super) fencing_token: u64,
    pub(super) lease: Option<u64>,
    pub(super) value: Option<String>,
}

/// What `/v1/apps/{app}/usage` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageAnswer {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) quota_bytes: u64,
    pub(super) leases: u64,
    pub(super) history: HistoryUsage,
}

/// How much of the past is remembered.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryUsage {
    pub(super) oldest: u64,
    pub(super) states: u64,
    pub(super) states_max: u64,
    pub(super) bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) age_max_ms: u64,
}

/// Text, or else base64 that says that it is.
pub(super) fn shown(text: Option<&String>, base64: Option<&String>) -> String {
    match (text, base64) {
        (Some(text), _) => text.clone(),
        (None, base64) => format!("base64:{}", base64.map_or("", String::as_str)),
    }
}

/// As much of a value as a table shows.
pub(super) fn cut(value: String) -> String {
    match value.char_indices().nth(VALUE_SHOWN_MAX) {
        None => value,
        Some((end, _)) => format!("{}…", &value[..end]),
    }
}

/// A number that may be missing.
pub(super) fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
