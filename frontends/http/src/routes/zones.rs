//! `/v1/zones` and `/v1/apps/{app}/zones`: reading the zones application.

use bytes::Bytes;
use serde::Serialize;
use synod_app_zones::{Version, ZoneEntry, ZoneHistory, ZoneName, ZonesAnswer, ZonesQuery};
use synod_gateway::{AppDoor, Consistency, Read};
use synod_types::limits::ZONES_LIST_ENTRIES_MAX;
use synod_types::{AppNdx, ContentKey, StateNdx, TimeMs};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::proof::{self, ProofParameters, ProvedZone};
use crate::ask::Ask;
use crate::etag::{EntityTag, IfNoneMatch};
use crate::parameters::ReadParameters;
use crate::percent::encode_into;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

/// Zones in a page where the client does not say how many.
const LIMIT_DEFAULT: u32 = 100;
const JSON: &str = "application/json";
/// A zone file (RFC 4027).
const DNS: &str = "text/dns";

/// What a zone holds from some state on. Without content it was deleted there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZoneVersion)]
pub(super) struct VersionView {
    /// The content key: SHA3-256 of the file.
    key: Option<String>,
    serial: Option<u32>,
    /// Of the file.
    bytes: Option<u64>,
    /// The state that made it.
    #[schema(value_type = u64)]
    pub(super) changed: StateNdx,
    /// That state's time, milliseconds since 1970.
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    commander: String,
    /// The earlier state that had this content, if it was a rollback.
    #[schema(value_type = Option<u64>)]
    rolled_back_to: Option<StateNdx>,
}

impl VersionView {
    pub(super) fn of(version: &Version) -> VersionView {
        VersionView {
            key: version.content.map(|content| content.key.to_string()),
            serial: version.content.map(|content| content.serial),
            bytes: version.content.map(|content| content.bytes),
            changed: version.changed,
            time_ms: version.time,
            commander: version.commander.to_string(),
            rolled_back_to: version.rolled_back_to,
        }
    }
}

/// A zone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Zone)]
pub(super) struct ZoneView<'a> {
    zone: String,
    #[serde(flatten)]
    version: VersionView,
    /// How many earlier versions are known.
    earlier: u32,
    /// Why queries for it are answered with SERVFAIL, if they are.
    broken: Option<&'a str>,
}

impl ZoneView<'_> {
    fn of(entry: &ZoneEntry) -> ZoneView<'_> {
        ZoneView {
            zone: entry.zone.to_string(),
            version: VersionView::of(&entry.version),
            earlier: entry.earlier,
            broken: entry.broken.as_deref(),
        }
    }
}

/// One page of zones, in canonical order (RFC 4034 6.1).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZonesPage)]
pub(super) struct Page<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    zones: Vec<ZoneView<'a>>,
    /// Whether there are zones behind these.
    more: bool,
    /// The address of the next page, from this state or a later one.
    next: Option<String>,
}

/// Which zones.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `list` takes")]
struct ListParameters {
    /// Only the zone of this name and those below it.
    #[param(min_length = 1, nullable = false)]
    below: Option<String>,
    /// Only zones behind this one.
    #[param(min_length = 1, nullable = false)]
    after: Option<String>,
    /// At most so many zones.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// Zones in canonical order.
#[utoipa::path(
    get,
    path = "/v1/zones",
    operation_id = "listZones",
    tag = "Zones",
    params(ListParameters, ReadParameters),
    responses((status = 200, description = "One page", body = Page)),
)]
pub(super) async fn list(ask: Ask) -> Outcome {
    let door = ask.zones_app()?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let below = parameters.value("below", ZoneName::parse);
    let after = parameters.value("after", ZoneName::parse);
    let limit_max = u64::try_from(ZONES_LIST_ENTRIES_MAX).expect("a small number");
    let limit = parameters.number("limit", 1..=limit_max).and_then(|limit| u32::try_from(limit).ok());
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let query = ZonesQuery::List { below: below.clone(), after, limit: limit.unwrap_or(LIMIT_DEFAULT) };
    let (state_ndx, answer) = query_zones(&ask, door, read, &query).await?;
    let ZonesAnswer::List { entries, more } = answer else {
        unreachable!("a list is answered by a list, not by {answer:?}");
    };
    let last = entries.last().filter(|_| more);
    let page = Page {
        app_ndx: door.ndx(),
        state_ndx,
        zones: entries.iter().map(ZoneView::of).collect(),
        more,
        next: last.map(|last| next_page(&ask, below.as_ref(), &last.zone, limit, read, state_ndx)),
    };
    Ok(Reply::json(Stamp::of(state_ndx), &page))
}

/// The address of the page behind `last`. It asks for at least the state of this page, so that a client that goes to
/// another node for it does not walk back.
fn next_page(
    ask: &Ask,
    below: Option<&ZoneName>,
    last: &ZoneName,
    limit: Option<u32>,
    read: Read,
    state_ndx: StateNdx,
) -> String {
    let mut next = format!("{}?after=", ask.uri.path());
    encode_into(last.to_string().as_bytes(), &mut next);
    if let Some(below) = below {
        next.push_str("&below=");
        encode_into(below.to_string().as_bytes(), &mut next);
    }
    if let Some(limit) = limit {
        next.push_str(&format!("&limit={limit}"));
    }
    if read.consistency == Consistency::Linearizable {
        next.push_str("&consistency=linearizable");
    }
    next.push_str(&format!("&min={state_ndx}"));
    next
}

/// One zone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZoneAnswer)]
pub(super) struct One<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    #[serde(flatten)]
    zone: ZoneView<'a>,
}

/// A zone in JSON: by itself, or with `proof=1` with its proof.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ZoneForm)]
#[expect(dead_code, reason = "it describes what `one` answers with")]
enum Form<'a> {
    One(One<'a>),
    Proved(Box<ProvedZone>),
}

/// The zone in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::zone` finds")]
pub(super) struct ZonePath {
    /// The zone's name, in any case, with or without a dot at its end; percent-encoded.
    #[param(example = "example.org")]
    zone: String,
}

/// The state of which to tell.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `one` takes")]
struct AtParameters {
    /// What the zone held in this stateNdx, as far as its history goes back; by default, what it holds now.
    #[param(nullable = false)]
    at: Option<u64>,
}

/// What is known of a zone, or with `Accept: text/dns` its very file.
#[utoipa::path(
    get,
    path = "/v1/zones/{zone}",
    operation_id = "getZone",
    tag = "Zones",
    params(ZonePath, AtParameters, ReadParameters, ProofParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The zone, or its file",
            content((Form = "application/json"), (String = "text/dns")),
            headers(
                ("ETag" = String, description = "Of the file: its content key. Of what is known: the key, and the states"),
                ("Last-Change" = u64, description = "The stateNdx that last changed the zone"),
            ),
        ),
        (
            status = 304,
            description = "The client has this version",
            headers(("ETag" = String), ("Last-Change" = u64)),
        ),
    ),
)]
pub(super) async fn one(ask: Ask) -> Outcome {
    let door = ask.zones_app()?;
    let zone = ask.zone(door)?;
    let mut parameters = ask.parameters();
    let proof = proof::asked(&mut parameters);
    let read = parameters.read();
    let at = parameters.number("at", 0..=u64::MAX).map(StateNdx);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    if let Some(min) = proof {
        return proof::zone(&ask, door, &zone, min).await;
    }
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[JSON, DNS])?;
    let (state_ndx, entry) = match at {
        None => entry_of(&ask, door, read, &zone).await?,
        Some(at) => entry_at(&ask, door, read, &zone, at).await?,
    };
    let stamp = Stamp::of(state_ndx);
    let (entry, content) = match entry {
        Some(entry @ ZoneEntry { version: Version { content: Some(content), .. }, .. }) => (entry, content),
        Some(deleted) => {
            let changed = deleted.version.changed;
            let detail = format!(
                "zone {zone} was deleted in stateNdx {changed}; its history is at {}/history",
                ask.uri.path()
            );
            return Err(problem(stamp, &ask.uri, ProblemType::NoSuchZone, &detail));
        }
        None => return Err(no_such_zone(&ask, door, stamp, &zone, at.unwrap_or(state_ndx))),
    };
    let (reply, tag) = if form == DNS {
        let file = file(&ask, door, state_ndx, content.key).await?;
        (Reply::bytes(stamp, DNS, file.into_bytes()), EntityTag::strong(content.key))
    } else {
        // Only `stateNdx` in it goes on while these stay.
        let ZoneEntry { version, earlier, broken, .. } = &entry;
        let is_broken = if broken.is_some() { "-broken" } else { "" };
        let tag = format!("{}-{}-{earlier}{is_broken}.json", content.key, version.changed);
        let answer = One { app_ndx: door.ndx(), state_ndx, zone: ZoneView::of(&entry) };
        (Reply::json(stamp, &answer), EntityTag::weak(tag))
    };
    Ok(reply.tagged(&tag, &ask.headers).last_change(entry.version.changed).varies_by_accept())
}

/// A zone, and the state that it is of.
async fn entry_of(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    zone: &ZoneName,
) -> Result<(StateNdx, Option<ZoneEntry>), Refused> {
    let (state_ndx, answer) = query_zones(ask, door, read, &ZonesQuery::Get { zone: zone.clone() }).await?;
    let ZonesAnswer::Get(entry) = answer else {
        unreachable!("a zone is answered by one entry, not by {answer:?}");
    };
    Ok((state_ndx, entry))
}

/// A zone as it was in the state `at`; whether its file of then can be served is not looked at.
async fn entry_at(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    zone: &ZoneName,
    at: StateNdx,
) -> Result<(StateNdx, Option<ZoneEntry>), Refused> {
    let (state_ndx, known) = history_of(ask, door, read, zone).await?;
    let version = held_in(ask, zone, &known, state_ndx, at)?.copied();
    let so_far = known.versions.iter().filter(|version| version.changed <= at).count();
    let entry = version.filter(|version| version.content.is_some()).map(|version| ZoneEntry {
        zone: zone.clone(),
        version,
        earlier: u32::try_from(so_far.saturating_sub(1)).expect("a zone has few versions"),
        broken: None,
    });
    Ok((state_ndx, entry))
}

/// What a zone held.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZoneHistory)]
pub(super) struct History {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    zone: String,
    /// The latest first.
    versions: Vec<VersionView>,
    /// There were versions before these.
    cut: bool,
}

/// What a zone held, and since which states.
#[utoipa::path(
    get,
    path = "/v1/zones/{zone}/history",
    operation_id = "getZoneHistory",
    tag = "Zones",
    params(ZonePath, ReadParameters),
    responses((status = 200, description = "Every version that is known", body = History)),
)]
pub(super) async fn history(ask: Ask) -> Outcome {
    let door = ask.zones_app()?;
    let zone = ask.zone(door)?;
    let read = ask.read_of(door)?;
    let (state_ndx, known) = history_of(&ask, door, read, &zone).await?;
    let answer = History {
        app_ndx: door.ndx(),
        state_ndx,
        zone: zone.to_string(),
        versions: known.versions.iter().map(VersionView::of).collect(),
        cut: known.is_cut,
    };
    Ok(Reply::json(Stamp::of(state_ndx), &answer))
}

/// A zone's history, and the state that it is of.
pub(super) async fn history_of(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    zone: &ZoneName,
) -> Result<(StateNdx, ZoneHistory), Refused> {
    let query = ZonesQuery::History { zone: zone.clone() };
    let (state_ndx, answer) = query_zones(ask, door, read, &query).await?;
    let ZonesAnswer::History(known) = answer else {
        unreachable!("a history is answered by a history, not by {answer:?}");
    };
    let known = known.ok_or_else(|| no_such_zone(ask, door, Stamp::of(state_ndx), zone, state_ndx))?;
    Ok((state_ndx, known))
}

/// The version that the zone had in a state, which must be known and not to come yet; `None`: there was none.
pub(super) fn held_in<'a>(
    ask: &Ask,
    zone: &ZoneName,
    known: &'a ZoneHistory,
    now: StateNdx,
    state_ndx: StateNdx,
) -> Result<Option<&'a Version>, Refused> {
    let version = known.versions.iter().find(|version| version.changed <= state_ndx);
    let detail = if state_ndx > now {
        format!("the application is in state {now}; to wait for state {state_ndx}, ask with min={state_ndx}")
    } else if version.is_none() && known.is_cut {
        let begins = known.versions.last().map_or(now, |version| version.changed);
        format!("the history of zone {zone} goes back to state {begins} only, not to {state_ndx}")
    } else {
        return Ok(version);
    };
    Err(problem(Stamp::of(now), &ask.uri, ProblemType::NoSuchVersion, &detail))
}

/// Asks the application, in its own words.
async fn query_zones(
    ask: &Ask,
    door: &AppDoor,
    read: Read,
    query: &ZonesQuery,
) -> Result<(StateNdx, ZonesAnswer), Refused> {
    let answer = ask.query(door, read, &query.encode()).await?;
    let body = ZonesAnswer::decode(&answer.body).expect("the zones application in this process encoded it");
    Ok((answer.state_ndx, body))
}

/// A stored file, and the place that it takes.
pub(super) struct File {
    pub(super) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl File {
    /// The bytes, which hold the place until they are gone.
    fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The file with this key, which some version of a zone refers to.
pub(super) async fn file(
    ask: &Ask,
    door: &AppDoor,
    state_ndx: StateNdx,
    key: ContentKey,
) -> Result<File, Refused> {
    let place = ask.place_for_file(door)?;
    match ask.gateway.file(key).await {
        Some(bytes) => Ok(File { bytes, _place: place }),
        None => {
            let detail = format!("this node does not have the file {key}; ask another node");
            Err(problem(Stamp::of(state_ndx), &ask.uri, ProblemType::FileNotHere, &detail))
        }
    }
}

fn no_such_zone(ask: &Ask, door: &AppDoor, stamp: Stamp, zone: &ZoneName, state_ndx: StateNdx) -> Refused {
    let detail = format!("application {} has no zone {zone} in state {state_ndx}", door.ndx());
    problem(stamp, &ask.uri, ProblemType::NoSuchZone, &detail)
}
