//! `/v1/apps/{app}/leases`: who has leases, how long they last, and which keys end with them.

use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvLease, KvQuery};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use super::{LIMIT_DEFAULT, next_page, query_kv, text_or_base64};
use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

/// A lease.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Lease)]
struct LeaseView {
    /// The state that granted it: its name.
    #[schema(value_type = u64)]
    lease: StateNdx,
    /// For how long it lasts.
    ttl_ms: u64,
    /// How much of that is left.
    left_ms: u64,
    /// Who has it.
    commander: String,
}

impl LeaseView {
    fn of(lease: &KvLease) -> LeaseView {
        let KvLease { lease, ttl_ms, left_ms, commander } = lease;
        LeaseView { lease: *lease, ttl_ms: *ttl_ms, left_ms: *left_ms, commander: commander.to_string() }
    }
}

/// One page of leases.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeasesPage {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// In the order of their grants.
    leases: Vec<LeaseView>,
    /// Whether there are leases behind these.
    more: bool,
    /// The address of the next page.
    next: Option<String>,
}

/// Which leases.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `leases` takes")]
struct LeasesParameters {
    /// Only leases that were granted behind this one.
    #[param(nullable = false)]
    after: Option<u64>,
    /// At most so many leases.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// Leases in the order of their grants.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/leases",
    operation_id = "listLeases",
    tag = "Key-value",
    params(AppPath, LeasesParameters, ReadParameters),
    responses((status = 200, description = "One page", body = LeasesPage)),
)]
pub(crate) async fn leases(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let after = parameters.state_ndx("after");
    let limit = parameters.limit(KV_RANGE_ENTRIES_MAX);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let query = KvQuery::Leases { after, limit: limit.unwrap_or(LIMIT_DEFAULT) };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let KvAnswer::Leases { leases, more } = answer else {
        unreachable!("leases are answered by leases, not by {answer:?}");
    };
    let next = leases.last().filter(|_| more).map(|last| {
        let after = last.lease.to_string();
        next_page(&ask, read, state_ndx, &[("after", after.as_bytes())], &[("limit", limit.map(u64::from))])
    });
    let leases = leases.iter().map(LeaseView::of).collect();
    let page = LeasesPage { app_ndx: door.ndx(), state_ndx, leases, more, next };
    Ok(Reply::json(Stamp::of(state_ndx), &page))
}

/// One lease with its keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseAnswer<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    #[serde(flatten)]
    lease: LeaseView,
    /// The first 1,000 keys that end with it, in their order.
    keys: Vec<KeyView<'a>>,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
struct KeyView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl KeyView<'_> {
    fn of(key: &[u8]) -> KeyView<'_> {
        let (key, key_base64) = text_or_base64(key);
        KeyView { key, key_base64 }
    }
}

/// One lease with the keys that end with it.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/leases/{lease}",
    operation_id = "getLease",
    tag = "Key-value",
    params(
        AppPath,
        ("lease" = u64, Path, description = "The stateNdx that granted the lease", example = 1),
        ReadParameters,
    ),
    responses((status = 200, description = "The lease", body = LeaseAnswer)),
)]
pub(crate) async fn lease(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let read = ask.read_of(door)?;
    let lease = ask.state_ndx_at(5, door)?;
    let (state_ndx, answer) = query_kv(&ask, door, read, &KvQuery::Lease { lease }).await?;
    let stamp = Stamp::of(state_ndx);
    let KvAnswer::Lease(found) = answer else {
        unreachable!("a lease is answered by a lease, not by {answer:?}");
    };
    let Some((lease, keys)) = found else {
        let detail = format!(
            "application {} has no lease {lease} in state {state_ndx}: it is over, or was never granted",
            door.ndx()
        );
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchLease, &detail));
    };
    let keys = keys.iter().map(|key| KeyView::of(key)).collect();
    let answer = LeaseAnswer { app_ndx: door.ndx(), state_ndx, lease: LeaseView::of(&lease), keys };
    Ok(Reply::json(stamp, &answer))
}
