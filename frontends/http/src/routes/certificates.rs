//! `/v1/apps/{app}/certificates`: what members have signed of states, for whoever believes the genesis document and no node.

use std::sync::Arc;

use serde::Serialize;
use synod_gateway::BundleForm;
use synod_types::limits::HTTP_CERTIFICATES_MAX;
use synod_types::{AppNdx, Epoch, Slot, StateCertificate, StateNdx, Statement};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::etag::{EntityTag, IfNoneMatch};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Certificates in a page whose length the client does not say.
const LIMIT_DEFAULT: usize = 100;
/// In place of a stateNdx: the newest one.
const LATEST: &[u8] = b"latest";

/// Which certificates.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `list` takes")]
struct ListParameters {
    /// Only those of states before this stateNdx: the last one of the page before.
    #[param(nullable = false)]
    after: Option<u64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// One page of certificates.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CertificatesPage)]
pub(super) struct Page {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// Newest first.
    certificates: Vec<Entry>,
    /// Where the list goes on; `null` where it ends.
    next: Option<String>,
}

/// What a certificate is of, and who signed it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CertificatesEntry)]
struct Entry {
    /// The state.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// Whose votes decide behind it.
    #[schema(value_type = u64)]
    epoch: Epoch,
    /// The slot whose decree made it, or began the epoch in it.
    #[schema(value_type = u64)]
    slot: Slot,
    /// The hash chain there.
    chain: String,
    /// The application's commitment to what it holds.
    root: String,
    /// The ids of the members who signed.
    signers: Vec<String>,
}

impl Entry {
    fn of(certificate: &Arc<StateCertificate>) -> Entry {
        let Statement { state_ndx, epoch, slot, chain, root, .. } = certificate.statement;
        Entry {
            state_ndx,
            epoch,
            slot,
            chain: chain.to_string(),
            root: root.to_string(),
            signers: certificate.signers().iter().map(ToString::to_string).collect(),
        }
    }
}

/// The certificates that this node keeps, newest first.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/certificates",
    operation_id = "listCertificates",
    tag = "Applications",
    params(AppPath, ListParameters, ReadParameters),
    responses((status = 200, description = "One page", body = Page)),
)]
pub(super) async fn list(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let after = parameters.state_ndx("after");
    let limit = parameters.limit(HTTP_CERTIFICATES_MAX).and_then(|limit| usize::try_from(limit).ok());
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    let view = ask.gateway.view(door.ndx(), read).await;
    let view = view.map_err(|error| ask.refused_by_gateway(door, &error))?;

    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let mut found = ask.gateway.certificates(door.ndx(), after, limit + 1).await;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more).map(|last| last.statement.state_ndx);
    let page = Page {
        app_ndx: door.ndx(),
        state_ndx: view.state_ndx,
        certificates: found.iter().map(Entry::of).collect(),
        next: last.map(|last| format!("{}?after={last}&limit={limit}", ask.uri.path())),
    };
    Ok(Reply::json(Stamp::of(view.state_ndx), &page))
}

/// The state in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `one` finds")]
struct StatePath {
    /// A stateNdx, or `latest`.
    #[param(example = "latest", pattern = "^(latest|[0-9]{1,19})$")]
    state: String,
}

/// The certificate of a state, with those that prove from genesis on who signed it: what `synod certificate verify` takes. With
/// `Accept: application/octet-stream` the same in bytes.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/certificates/{state}",
    operation_id = "getCertificate",
    tag = "Applications",
    params(AppPath, StatePath, ReadParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The certificate and its proof",
            content((BundleForm = "application/json"), (Vec<u8> = "application/octet-stream")),
            headers(("ETag" = String, description = "Of which state and epoch it is")),
        ),
        (status = 304, description = "The client has this one", headers(("ETag" = String))),
    ),
)]
pub(super) async fn one(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[JSON, BYTES])?;
    let read = ask.read_of(door)?;
    let is_latest = *ask.rest(door)? == *LATEST;
    let at = if is_latest { None } else { Some(ask.state_ndx_at(5, door)?) };
    let view = ask.gateway.view(door.ndx(), read).await;
    let view = view.map_err(|error| ask.refused_by_gateway(door, &error))?;

    let stamp = Stamp::of(view.state_ndx);
    let Some(bundle) = ask.gateway.certificate_bundle(door.ndx(), at).await else {
        let of = at.map_or_else(|| "yet".to_owned(), |at| format!("of state {at} (any more)"));
        let detail = format!(
            "this node has no certificate {of} in application {}; /v1/apps/{}/certificates lists those that it has",
            door.ndx(),
            door.ndx()
        );
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchCertificate, &detail));
    };
    let body = if form == JSON {
        serde_json::to_vec(&BundleForm::of(&bundle)).expect("what is answered here has only text for keys")
    } else {
        bundle.encode()
    };
    // Other members may have signed it at another node.
    let key = bundle.certificate.key();
    let tag = EntityTag::weak(format_args!("{}-{}", key.state_ndx, key.epoch));
    Ok(Reply::bytes(stamp, form, body.into()).tagged(&tag, &ask.headers).varies_by_accept())
}
