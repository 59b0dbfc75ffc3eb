//! `/v1/apps/{app}/kv`: reading the key-value application.
//!
//! In JSON, a key or value that is UTF-8 is text under `key` or `value`; any other is base64 under `keyBase64` or
//! `valueBase64`. Exactly one of the two is there.

use axum::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvQuery};
use synod_gateway::{AppDoor, Consistency, Read};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};

use crate::ask::Ask;
use crate::percent::encode_into;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

/// The state that last changed a key.
const LAST_CHANGE: HeaderName = HeaderName::from_static("last-change");
/// Entries in a page where the client does not say how many.
const LIMIT_DEFAULT: u32 = 100;

/// `GET /v1/apps/{app}/kv/{key}`
pub(super) async fn key(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let read = ask.read_of(door)?;
    let key = ask.rest(door)?;
    let query = KvQuery::Get { key: Bytes::copy_from_slice(&key), at: None };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let stamp = Stamp::of(state_ndx);
    let KvAnswer::Get(entry) = answer else {
        unreachable!("a key is answered by one entry, not by {answer:?}");
    };
    let Some(KvEntry { value, changed, .. }) = entry else {
        let key = String::from_utf8_lossy(&key);
        let detail = format!("application {} has no key {key:?} in state {state_ndx}", door.ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchKey, &detail));
    };
    Ok(Reply::bytes(stamp, "application/octet-stream", value)
        .header(LAST_CHANGE, HeaderValue::from(changed.0)))
}

/// One page of entries.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    app_ndx: AppNdx,
    state_ndx: StateNdx,
    entries: Vec<PageEntry<'a>>,
    /// Whether there are entries behind these.
    more: bool,
    /// The address of the next page, from this state or a later one.
    next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The state that made it.
    created: StateNdx,
    /// The state that last changed it.
    changed: StateNdx,
}

/// `GET /v1/apps/{app}/kv?prefix=&after=&limit=`
pub(super) async fn range(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let prefix = parameters.bytes("prefix").unwrap_or_default();
    let after = parameters.bytes("after");
    let limit_max = u64::try_from(KV_RANGE_ENTRIES_MAX).expect("a small number");
    let limit = parameters.number("limit", 1..=limit_max).and_then(|limit| u32::try_from(limit).ok());
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let query = KvQuery::Range {
        prefix: Bytes::copy_from_slice(&prefix),
        after: after.as_deref().map(Bytes::copy_from_slice),
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        at: None,
    };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let KvAnswer::Range { entries, more } = answer else {
        unreachable!("a range is answered by a range, not by {answer:?}");
    };
    let last = entries.last().filter(|_| more);
    let page = Page {
        app_ndx: door.ndx(),
        state_ndx,
        entries: entries.iter().map(page_entry).collect(),
        more,
        next: last.map(|last| next_page(&ask, &prefix, &last.key, limit, read, state_ndx)),
    };
    Ok(Reply::json(Stamp::of(state_ndx), &page))
}

/// Asks the application, in its own words.
async fn query_kv(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    query: &KvQuery,
) -> Result<(StateNdx, KvAnswer), Refused> {
    let answer = ask.query(door, read, &query.encode()).await?;
    let body = KvAnswer::decode(&answer.body).expect("the key-value application in this process encoded it");
    Ok((answer.state_ndx, body))
}

fn page_entry(entry: &KvEntry) -> PageEntry<'_> {
    let (key, key_base64) = text_or_base64(&entry.key);
    let (value, value_base64) = text_or_base64(&entry.value);
    PageEntry { key, key_base64, value, value_base64, created: entry.created, changed: entry.changed }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The address of the page behind `last`. It asks for at least the state of this page, so that a client that goes to
/// another node for it does not walk back.
fn next_page(
    ask: &Ask,
    prefix: &[u8],
    last: &[u8],
    limit: Option<u32>,
    read: Read,
    state_ndx: StateNdx,
) -> String {
    let mut next = format!("{}?prefix=", ask.uri.path());
    encode_into(prefix, &mut next);
    next.push_str("&after=");
    encode_into(last, &mut next);
    if let Some(limit) = limit {
        next.push_str(&format!("&limit={limit}"));
    }
    if read.consistency == Consistency::Linearizable {
        next.push_str("&consistency=linearizable");
    }
    next.push_str(&format!("&min={state_ndx}"));
    next
}
