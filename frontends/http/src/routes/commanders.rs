//! `/v1/apps/{app}/commanders`: who may command an application, what was done to them, and what waits for signatures.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use synod_gateway::authority::{AuthorityOp, Grant, LogEntry, PendingChange};
use synod_gateway::{AppDoor, Commander, Read, View};
use synod_types::limits::AUTHORITY_LOG_MAX;
use synod_types::{AppNdx, CommanderId, Digest, StateNdx, TimeMs};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::reply::{Outcome, Refused, Reply, Stamp};

/// Entries of the log in an answer where the client does not say how many.
const LIMIT_DEFAULT: usize = 100;

/// What a commander may do, and when. Times are milliseconds since 1970.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CommanderTerms)]
struct Terms<'a> {
    name: &'a str,
    role: &'static str,
    /// Empty: everything that the role permits.
    scopes: &'a [String],
    /// `null`: since ever.
    #[schema(value_type = Option<u64>)]
    valid_from_ms: Option<TimeMs>,
    /// `null`: for ever.
    #[schema(value_type = Option<u64>)]
    valid_to_ms: Option<TimeMs>,
}

impl Terms<'_> {
    fn of(grant: &Grant) -> Terms<'_> {
        Terms {
            name: &grant.name,
            role: grant.role.name(),
            scopes: &grant.scopes,
            valid_from_ms: grant.valid_from,
            valid_to_ms: grant.valid_to,
        }
    }
}

/// One commander, present or past.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Commander)]
struct AppCommander<'a> {
    id: String,
    #[serde(flatten)]
    terms: Terms<'a>,
    /// The state that made it a commander; 0: genesis.
    #[schema(value_type = u64)]
    since: StateNdx,
    /// The state that revoked it; `null` where none has.
    #[schema(value_type = Option<u64>)]
    revoked: Option<StateNdx>,
    /// Whose place it took.
    predecessor: Option<String>,
    /// Who took its place.
    successor: Option<String>,
}

impl AppCommander<'_> {
    fn of(commander: &Commander) -> AppCommander<'_> {
        AppCommander {
            id: commander.id.to_string(),
            terms: Terms::of(&commander.grant),
            since: commander.since,
            revoked: commander.revoked,
            predecessor: commander.predecessor.map(|id| id.to_string()),
            successor: commander.successor.map(|id| id.to_string()),
        }
    }
}

/// What an operation does to whom.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuthorityChange)]
struct Deed<'a> {
    what: &'static str,
    /// Who is granted, is revoked, or takes the place of who commanded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    commander: Option<String>,
    /// Of a change of the cluster's members: the change, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    members: Option<String>,
    /// Of a raise: the level that holds from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<u32>,
    /// Of a grant.
    #[serde(flatten)]
    #[schema(value_type = GrantedTerms)]
    terms: Option<Terms<'a>>,
}

/// What a grant gives; nothing of it where it is no grant.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes `terms` in `Deed`")]
struct GrantedTerms {
    #[schema(nullable = false)]
    name: Option<String>,
    #[schema(nullable = false)]
    role: Option<String>,
    /// Empty: everything that the role permits.
    #[schema(nullable = false)]
    scopes: Option<Vec<String>>,
    /// `null`: since ever.
    valid_from_ms: Option<u64>,
    /// `null`: for ever.
    valid_to_ms: Option<u64>,
}

impl Deed<'_> {
    fn of(op: &AuthorityOp) -> Deed<'_> {
        let (what, commander, terms) = match op {
            AuthorityOp::Grant(grant) => ("grant", Some(grant.commander()), Some(Terms::of(grant))),
            AuthorityOp::Revoke { commander } => ("revoke", Some(*commander), None),
            AuthorityOp::Rotate { key } => ("rotate", Some(CommanderId(Digest::of(&[key]))), None),
            AuthorityOp::Member(_) => ("members", None, None),
            AuthorityOp::Lead { .. } => ("lead", None, None),
            AuthorityOp::Raise { .. } => ("level", None, None),
            AuthorityOp::Approve { .. } | AuthorityOp::Withdraw { .. } => {
                unreachable!("the log and what is pending tell of changes, not of signatures alone")
            }
        };
        let members = match op {
            AuthorityOp::Member(op) => Some(op.to_string()),
            AuthorityOp::Lead { node } => Some(
                node.map_or_else(|| "any node leads".to_owned(), |node| format!("{} leads", node.short())),
            ),
            _ => None,
        };
        let level = match op {
            AuthorityOp::Raise { to } => Some(to.0),
            _ => None,
        };
        Deed { what, commander: commander.map(|id| id.to_string()), members, level, terms }
    }
}

/// All commanders of an application.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commanders<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The time of the last decree: whether a commander is valid is decided by the next one's.
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    /// How many administrators must sign each change.
    signatures_needed: u32,
    commanders: Vec<AppCommander<'a>>,
}

/// Who may command an application, and who once might.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/commanders",
    operation_id = "listCommanders",
    tag = "Applications",
    params(AppPath, ReadParameters),
    responses((status = 200, description = "Every commander, revoked ones too", body = Commanders)),
)]
pub(super) async fn all(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let view = view(&ask, door, ask.read_of(door)?).await?;
    let answer = Commanders {
        app_ndx: door.ndx(),
        state_ndx: view.state_ndx,
        time_ms: view.time,
        signatures_needed: view.authority().signatures_needed(),
        commanders: view.commanders().map(AppCommander::of).collect(),
    };
    Ok(Reply::json(Stamp::of(view.state_ndx), &answer))
}

/// One entry of the log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CommandersLogEntry)]
struct Entry<'a> {
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    by: String,
    /// `made`, `proposed`, `approved`, `completed` or `withdrawn`.
    step: &'static str,
    /// The state that proposed what was approved, completed or withdrawn.
    #[schema(value_type = Option<u64>)]
    change: Option<StateNdx>,
    #[serde(flatten)]
    deed: Deed<'a>,
}

impl Entry<'_> {
    fn of(entry: &LogEntry) -> Entry<'_> {
        Entry {
            state_ndx: entry.state_ndx,
            time_ms: entry.time,
            by: entry.by.to_string(),
            step: entry.step.name(),
            change: entry.step.change(),
            deed: Deed::of(&entry.op),
        }
    }
}

/// One page of what was done to commanders.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CommandersLog)]
pub(super) struct Log<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The latest first.
    entries: Vec<Entry<'a>>,
    /// Whether there are earlier ones.
    more: bool,
    /// The address of the earlier ones.
    next: Option<String>,
}

/// Which entries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `log` takes")]
struct LogParameters {
    /// Only entries before this stateNdx.
    #[param(minimum = 1, nullable = false)]
    before: Option<u64>,
    /// At most so many entries.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// What was done to commanders, the latest first.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/commanders/log",
    operation_id = "getCommandersLog",
    tag = "Applications",
    params(AppPath, LogParameters, ReadParameters),
    responses((status = 200, description = "One page", body = Log)),
)]
pub(super) async fn log(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let before = parameters.number("before", 1..=u64::MAX).map(StateNdx);
    let limit_max = u64::try_from(AUTHORITY_LOG_MAX).expect("a small number");
    let limit = parameters.number("limit", 1..=limit_max).and_then(|limit| usize::try_from(limit).ok());
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let view = view(&ask, door, read).await?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let earlier = |entry: &&LogEntry| before.is_none_or(|before| entry.state_ndx < before);
    let mut entries = view.authority().log().filter(earlier);
    let page: Vec<Entry<'_>> = entries.by_ref().take(limit).map(Entry::of).collect();
    let more = entries.next().is_some();
    let next = page.last().filter(|_| more).map(|last| {
        format!("{}?before={}&limit={limit}&min={}", ask.uri.path(), last.state_ndx, view.state_ndx)
    });
    let answer = Log { app_ndx: door.ndx(), state_ndx: view.state_ndx, entries: page, more, next };
    Ok(Reply::json(Stamp::of(view.state_ndx), &answer))
}

/// A change that waits for signatures.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PendingChange)]
struct Waiting<'a> {
    /// The state that proposed it, which is its number.
    #[schema(value_type = u64)]
    change: StateNdx,
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    /// The last millisecond at which it can be signed.
    #[schema(value_type = u64)]
    lapses_ms: TimeMs,
    by: String,
    #[serde(flatten)]
    deed: Deed<'a>,
    /// The operation as it stands in the command that proposed it, base64. A signature is over its SHA3-256, so whoever
    /// signs reads this, and hashes it himself.
    operation: String,
    digest: String,
    /// Who has signed it, the author first.
    approvals: Vec<String>,
    /// How many of them are administrators now.
    signatures: u32,
}

impl Waiting<'_> {
    fn of((pending, signatures): (&PendingChange, u32)) -> Waiting<'_> {
        Waiting {
            change: pending.change,
            time_ms: pending.time,
            lapses_ms: pending.lapses(),
            by: pending.by.to_string(),
            deed: Deed::of(&pending.op),
            operation: STANDARD.encode(pending.op.encode()),
            digest: pending.digest().to_string(),
            approvals: pending.approvals.iter().map(ToString::to_string).collect(),
            signatures,
        }
    }
}

/// Changes that wait for signatures.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PendingChanges)]
pub(super) struct Pending<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// How many administrators must sign each change.
    signatures_needed: u32,
    pending: Vec<Waiting<'a>>,
}

/// Changes that wait for further administrators to sign them.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/commanders/pending",
    operation_id = "listPendingChanges",
    tag = "Applications",
    params(AppPath, ReadParameters),
    responses((status = 200, description = "All of them", body = Pending)),
)]
pub(super) async fn pending(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let view = view(&ask, door, ask.read_of(door)?).await?;
    let authority = view.authority();
    let answer = Pending {
        app_ndx: door.ndx(),
        state_ndx: view.state_ndx,
        signatures_needed: authority.signatures_needed(),
        pending: authority.pending(view.time).map(Waiting::of).collect(),
    };
    Ok(Reply::json(Stamp::of(view.state_ndx), &answer))
}

async fn view(ask: &Ask, door: &AppDoor, read: Read) -> Result<Arc<View>, Refused> {
    ask.gateway.view(door.ndx(), read).await.map_err(|error| ask.refused_by_gateway(door, &error))
}
