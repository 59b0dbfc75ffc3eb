//! `/v1/apps/{app}/kv`: reading the key-value application.
//!
//! In JSON, a key or value that is UTF-8 is text under `key` or `value`; any other is base64 under `keyBase64` or
//! `valueBase64`. Exactly one of the two is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvQuery};
use synod_gateway::{AppDoor, Consistency, Read};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::etag::{EntityTag, IfNoneMatch};
use crate::parameters::ReadParameters;
use crate::percent::encode_into;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

/// Entries in a page where the client does not say how many.
const LIMIT_DEFAULT: u32 = 100;

const RAW: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// The value of a key: its bytes, or with `Accept: application/json` all that is known of it.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/kv/{*key}",
    operation_id = "getKey",
    tag = "Key-value",
    params(AppPath, KeyPath, ReadParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The value",
            content((Vec<u8> = "application/octet-stream"), (PageEntry = "application/json")),
            headers(
                ("ETag" = String, description = "Of this value: when the key was made, and when it was last changed"),
                ("Last-Change" = u64, description = "The stateNdx that last changed the key: what a compare-and-set expects"),
            ),
        ),
        (
            status = 304,
            description = "The client has this value",
            headers(("ETag" = String), ("Last-Change" = u64)),
        ),
    ),
)]
pub(super) async fn key(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let read = ask.read_of(door)?;
    let key = ask.rest(door)?;
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[RAW, JSON])?;
    let query = KvQuery::Get { key: Bytes::copy_from_slice(&key), at: None };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let stamp = Stamp::of(state_ndx);
    let KvAnswer::Get(entry) = answer else {
        unreachable!("a key is answered by one entry, not by {answer:?}");
    };
    let Some(entry) = entry else {
        let key = String::from_utf8_lossy(&key);
        let detail = format!("application {} has no key {key:?} in state {state_ndx}", door.ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchKey, &detail));
    };
    let KvEntry { created, changed, .. } = entry;
    let (reply, tag) = if form == JSON {
        (Reply::json(stamp, &page_entry(&entry)), EntityTag::strong(format_args!("{created}-{changed}.json")))
    } else {
        (Reply::bytes(stamp, RAW, entry.value), EntityTag::strong(format_args!("{created}-{changed}")))
    };
    Ok(reply.tagged(&tag, &ask.headers).last_change(changed).varies_by_accept())
}

/// One page of entries.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeysPage)]
pub(super) struct Page<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    entries: Vec<PageEntry<'a>>,
    /// Whether there are entries behind these.
    more: bool,
    /// The address of the next page, from this state or a later one.
    next: Option<String>,
}

/// A key with all that is known of it. What is not UTF-8 comes as base64, under the other name.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entry)]
pub(super) struct PageEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value_base64: Option<String>,
    /// The state that made it.
    #[schema(value_type = u64)]
    created: StateNdx,
    /// The state that last changed it.
    #[schema(value_type = u64)]
    changed: StateNdx,
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

/// Which keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `range` takes")]
struct RangeParameters {
    /// Only keys that begin with this.
    #[param(nullable = false)]
    prefix: Option<String>,
    /// Only keys behind this one.
    #[param(nullable = false)]
    after: Option<String>,
    /// At most so many entries.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// Entries in the order of their keys.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/kv",
    operation_id = "listKeys",
    tag = "Key-value",
    params(AppPath, RangeParameters, ReadParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "One page",
            body = Page,
            headers(("ETag" = String, description = "Of this page in this state of the application")),
        ),
        (status = 304, description = "The client has this page", headers(("ETag" = String))),
    ),
)]
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
    Ok(Reply::json(Stamp::of(state_ndx), &page).tagged(&EntityTag::strong(state_ndx), &ask.headers))
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
