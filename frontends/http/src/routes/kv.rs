//! `/v1/apps/{app}/kv…` and what belongs to it: reading the key-value application.
//!
//! In JSON, a key or value that is UTF-8 is text under `key` or `value`; any other is base64 under `keyBase64` or
//! `valueBase64`. Exactly one of the two is there.

pub(super) mod entries;
pub(super) mod history;
pub(super) mod leases;
pub(super) mod locks;
pub(super) mod usage;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use synod_app_kv::{KvAnswer, KvEntry, KvQuery};
use synod_gateway::{AppDoor, Consistency, Read};
use synod_types::StateNdx;
use utoipa::{IntoParams, ToSchema};

use crate::ask::Ask;
use crate::parameters::Parameters;
use crate::percent::encode_into;
use crate::problem::compacted;
use crate::reply::{Refused, Stamp};

/// Entries in a page where the client does not say how many.
const LIMIT_DEFAULT: u32 = 100;

/// A key and what it holds. What is not UTF-8 comes as base64, under the other name.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entry)]
pub(crate) struct EntryView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The state that made it.
    #[schema(value_type = u64)]
    created: StateNdx,
    /// The state that last changed it.
    #[schema(value_type = u64)]
    changed: StateNdx,
    /// The lease with which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    lease: Option<StateNdx>,
}

impl EntryView<'_> {
    pub(crate) fn of(entry: &KvEntry) -> EntryView<'_> {
        let KvEntry { key, value, created, changed, lease } = entry;
        let ((key, key_base64), (value, value_base64)) = (text_or_base64(key), text_or_base64(value));
        let (created, changed, lease) = (*created, *changed, *lease);
        EntryView { key, key_base64, value, value_base64, created, changed, lease }
    }
}

/// Bytes as they go into JSON: as text, or else as base64.
pub(crate) fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The key in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::rest` finds")]
struct KeyPath {
    /// The key, percent-encoded; any bytes.
    #[param(example = "greeting")]
    key: String,
}

/// In which state to read; see [`read_at`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `read_at` takes")]
struct AtParameters {
    /// What was there in this stateNdx, as far as the application remembers; one to come is waited for.
    #[param(nullable = false)]
    at: Option<u64>,
}

/// How to read, and in which state: one that is not there yet is waited for.
fn read_at(parameters: &mut Parameters<'_>) -> (Read, Option<StateNdx>) {
    let read = parameters.read();
    let at = parameters.state_ndx("at");
    (Read { min: read.min.max(at), ..read }, at)
}

/// Asks the application, in its own words; gives the state that it answered from.
async fn query_kv(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    query: &KvQuery,
) -> Result<(StateNdx, KvAnswer), Refused> {
    let answer = ask.query(door, read, &query.encode()).await?;
    let body = KvAnswer::decode(&answer.body).expect("the key-value application in this process encoded it");
    match body {
        KvAnswer::Compacted { oldest } => Err(compacted(Stamp::of(answer.state_ndx), &ask.uri, oldest)),
        body => Ok((answer.state_ndx, body)),
    }
}

/// The address of the next page: it begins as `from` says, and keeps the numbers that were given for this one. It asks for
/// at least the state of this page, so that a client that goes to another node for it does not walk back.
fn next_page(
    ask: &Ask,
    read: Read,
    state_ndx: StateNdx,
    from: &[(&str, &[u8])],
    kept: &[(&str, Option<u64>)],
) -> String {
    let mut next = ask.uri.path().to_owned();
    for (n, (name, value)) in from.iter().enumerate() {
        next.push(if n == 0 { '?' } else { '&' });
        next.push_str(name);
        next.push('=');
        encode_into(value, &mut next);
    }
    for (name, value) in kept {
        if let Some(value) = value {
            next.push_str(&format!("&{name}={value}"));
        }
    }
    if read.consistency == Consistency::Linearizable {
        next.push_str("&consistency=linearizable");
    }
    next.push_str(&format!("&min={state_ndx}"));
    next
}
