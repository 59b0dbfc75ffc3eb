//! `?proof=1`: what is proved of a key or a zone, against the newest state of which there is a certificate. Whoever checks it
//! needs to trust nobody but the genesis document: neither this node nor what is between.

use serde::Serialize;
use synod_app_kv::{KvAnswer, KvQuery};
use synod_app_zones::{ZoneName, ZonesAnswer, ZonesQuery};
use synod_gateway::{AppDoor, BundleForm, Certified, ProofForm};
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use super::kv::EntryView;
use super::zones::VersionView;
use crate::ask::Ask;
use crate::parameters::Parameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

/// Whether to prove.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `asked` takes")]
pub(crate) struct ProofParameters {
    /// `1`: the answer is JSON with a proof and a certificate, from the newest state that has one; also where there is no such
    /// key or zone, which is proved then. Of the other parameters only `min` goes with it.
    #[param(minimum = 1, maximum = 1, nullable = false)]
    proof: Option<u64>,
}

/// A key, proved.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProvedEntry<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    /// The state of which it is proved.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// What the key holds; null: there is no such key.
    #[schema(required = true)]
    entry: Option<EntryView<'a>>,
    proof: ProofForm,
    certificate: BundleForm,
}

/// A zone, proved.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProvedZone {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    /// The state of which it is proved.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    zone: String,
    /// What the zone holds; null: there is no such zone.
    #[schema(required = true)]
    version: Option<VersionView>,
    proof: ProofForm,
    certificate: BundleForm,
}

/// Takes `proof` and, where it is there, `min`: the least state to prove of. What does not go with it is a mistake.
pub(super) fn asked(parameters: &mut Parameters<'_>) -> Option<Option<StateNdx>> {
    parameters.number("proof", 1..=1)?;
    for other in ["at", "consistency", "wait"] {
        parameters.value(other, |_| Err::<(), _>("a proof is of the newest state that has a certificate"));
    }
    Some(parameters.state_ndx("min"))
}

/// The newest state of an application of which there is a certificate, and that with its own proof.
async fn certified(
    ask: &Ask,
    door: &AppDoor,
    min: Option<StateNdx>,
) -> Result<(Certified, BundleForm), Refused> {
    let found = match ask.gateway.certified(door.ndx()) {
        Some(certified) => {
            let state_ndx = certified.certificate.statement.state_ndx;
            let bundle = ask.gateway.certificate_bundle(door.ndx(), Some(state_ndx)).await;
            bundle.map(|bundle| (certified, BundleForm::of(&bundle)))
        }
        None => None,
    };
    let newest = found.as_ref().map(|(certified, _)| certified.certificate.statement.state_ndx);
    match (found, min) {
        (Some(found), min) if newest >= min => Ok(found),
        _ => {
            let detail = match (newest, min) {
                (Some(newest), Some(min)) => format!(
                    "the newest state with a certificate is {newest}, and {min} was asked for; there is a new one now and then"
                ),
                _ => "this node has no state with a certificate yet; enough nodes have to sign one first"
                    .to_owned(),
            };
            Err(problem(Stamp::of(door.state_ndx()), &ask.uri, ProblemType::NoSuchCertificate, &detail))
        }
    }
}

/// What a key holds, proved.
pub(super) async fn key(ask: &Ask, door: &AppDoor, key: &[u8], min: Option<StateNdx>) -> Outcome {
    let (Certified { view, .. }, certificate) = certified(ask, door, min).await?;
    let query = KvQuery::Prove { key: key.to_vec().into() };
    let answer = view.app.query(view.state_ndx, &query.encode()).expect("it is a query of this application");
    let answer = KvAnswer::decode(&answer).expect("the key-value application in this process encoded it");
    let KvAnswer::Proved { entry, proof } = answer else {
        unreachable!("a proof is answered by a proof, not by {answer:?}");
    };
    let proved = ProvedEntry {
        app_ndx: door.ndx(),
        state_ndx: view.state_ndx,
        entry: entry.as_ref().map(EntryView::of),
        proof: ProofForm::of(&proof),
        certificate,
    };
    Ok(Reply::json(Stamp::of(view.state_ndx), &proved))
}

/// What a zone holds, proved.
pub(super) async fn zone(ask: &Ask, door: &AppDoor, zone: &ZoneName, min: Option<StateNdx>) -> Outcome {
    let (Certified { view, .. }, certificate) = certified(ask, door, min).await?;
    let query = ZonesQuery::Prove { zone: zone.clone() };
    let answer = view.app.query(view.state_ndx, &query.encode()).expect("it is a query of this application");
    let answer = ZonesAnswer::decode(&answer).expect("the zones application in this process encoded it");
    let ZonesAnswer::Proved { version, proof } = answer else {
        unreachable!("a proof is answered by a proof, not by {answer:?}");
    };
    let proved = ProvedZone {
        app_ndx: door.ndx(),
        state_ndx: view.state_ndx,
        zone: zone.to_string(),
        version: version.as_ref().map(VersionView::of),
        proof: ProofForm::of(&proof),
        certificate,
    };
    Ok(Reply::json(Stamp::of(view.state_ndx), &proved))
}
