//! `/v1/apps/{app}/snapshot` and `/v1/apps/{app}/files`: a whole state, and the files to which it refers, for whoever makes a
//! backup. What is in them is what the other addresses show and what the log has: nothing here is for fewer readers.

use bytes::Bytes;
use serde::Serialize;
use synod_types::{AppNdx, Certificate, Checkpoint, ContentKey, Digest, NodeId, Slot, StateNdx, wire};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::etag::{EntityTag, IfNoneMatch};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// First bytes of a certificate as it is given out: what it is, and in which version.
const DOMAIN: &[u8] = b"synod/certificate/v1\0";

/// A snapshot that a majority has signed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Snapshot)]
pub(super) struct SnapshotView {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    /// The last slot that is in it.
    #[schema(value_type = u64)]
    slot: Slot,
    /// The state that it holds.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The hash chain there.
    chain: String,
    /// The key of the list of its chunks.
    index: String,
    /// The ids of the nodes that have signed it.
    signed_by: Vec<String>,
}

impl SnapshotView {
    fn of(certificate: &Certificate) -> SnapshotView {
        let Checkpoint { app, slot, state_ndx, chain, index } = certificate.checkpoint;
        let signers = certificate.signatures.iter().map(|signed| NodeId(Digest::of(&[&signed.key])));
        SnapshotView {
            app_ndx: app,
            slot,
            state_ndx,
            chain: chain.to_string(),
            index: index.to_string(),
            signed_by: signers.map(|node| node.to_string()).collect(),
        }
    }
}

/// The newest snapshot that a majority has signed: its certificate, or with `Accept: application/json` what that says.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/snapshot",
    operation_id = "getSnapshot",
    tag = "Applications",
    params(AppPath, ReadParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The certificate, or what it says",
            content((Vec<u8> = "application/octet-stream"), (SnapshotView = "application/json")),
            headers(("ETag" = String, description = "The key of the list of its chunks")),
        ),
        (status = 304, description = "The client has this one", headers(("ETag" = String))),
    ),
)]
pub(super) async fn newest(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[BYTES, JSON])?;
    let read = ask.read_of(door)?;
    let view = ask.gateway.view(door.ndx(), read).await;
    let view = view.map_err(|error| ask.refused_by_gateway(door, &error))?;
    let stamp = Stamp::of(view.state_ndx);
    let Some(certificate) = ask.gateway.snapshot(door.ndx()) else {
        let detail = format!("application {} has no snapshot yet; its log has everything", door.ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchSnapshot, &detail));
    };
    let body = if form == JSON {
        serde_json::to_vec(&SnapshotView::of(&certificate))
            .expect("what is answered here has only text for keys")
    } else {
        [DOMAIN, &wire::encode(&certificate)].concat()
    };
    // More may sign one that is there.
    let tag = EntityTag::weak(certificate.checkpoint.index);
    Ok(Reply::bytes(stamp, form, body.into()).tagged(&tag, &ask.headers).varies_by_accept())
}

/// The file in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::content_key` finds")]
struct KeyPath {
    /// SHA3-256 of the file, as 64 hex digits.
    #[param(
        example = "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        pattern = "^[0-9a-f]{64}$"
    )]
    key: String,
}

/// A file of a snapshot: the list of its chunks, or a chunk.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/snapshot/{key}",
    operation_id = "getSnapshotFile",
    tag = "Applications",
    params(AppPath, KeyPath, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The file",
            content((Vec<u8> = "application/octet-stream")),
            headers(("ETag" = String, description = "Its key")),
        ),
        (status = 304, description = "The client has it", headers(("ETag" = String))),
    ),
)]
pub(super) async fn file(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let key = ask.content_key(door)?;
    ask.finish(ask.parameters(), || Stamp::of(door.state_ndx()))?;
    let place = ask.place_for_file(door)?;
    let file = ask.gateway.snapshot_file(key).await;
    let detail = "this node does not have that file of a snapshot (any more); ask for the newest snapshot again, or another node";
    sent(&ask, door.state_ndx(), key, file, place, detail)
}

/// A file to which a state of the application refers: a zone file, say.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/files/{key}",
    operation_id = "getFile",
    tag = "Applications",
    params(AppPath, KeyPath, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The file",
            content((Vec<u8> = "application/octet-stream")),
            headers(("ETag" = String, description = "Its key")),
        ),
        (status = 304, description = "The client has it", headers(("ETag" = String))),
    ),
)]
pub(super) async fn referred(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let key = ask.content_key(door)?;
    ask.finish(ask.parameters(), || Stamp::of(door.state_ndx()))?;
    // What nothing refers to (yet) is its uploader's.
    if !door.peek().app.refers_to(&key) {
        let detail = format!("no state of application {} refers to the file {key}", door.ndx());
        let stamp = Stamp::of(door.state_ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchFile, &detail));
    }
    let place = ask.place_for_file(door)?;
    let file = ask.gateway.file(key).await;
    sent(&ask, door.state_ndx(), key, file, place, "this node does not have the file; ask another node")
}

fn sent(
    ask: &Ask,
    state_ndx: StateNdx,
    key: ContentKey,
    file: Option<Bytes>,
    place: OwnedSemaphorePermit,
    detail: &str,
) -> Outcome {
    let stamp = Stamp::of(state_ndx);
    let file = file.ok_or_else(|| problem(stamp.clone(), &ask.uri, ProblemType::FileNotHere, detail))?;
    // The file holds its place until it is sent.
    let body = Bytes::from_owner(Sent { file, _place: place });
    Ok(Reply::bytes(stamp, BYTES, body).tagged(&EntityTag::strong(key), &ask.headers))
}

struct Sent {
    file: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.file
    }
}
