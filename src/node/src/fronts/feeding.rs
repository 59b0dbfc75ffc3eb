//! What a front end is told that has states of its own: whole states and what is chosen behind them, and everything beside that it
//! cannot know by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_gateway::{AppDoor, GatewayError, LogUnread, Read};
use synod_lane::front::{AppPicture, FrontAnswer, FrontQuestion, NodePicture, PictureTold};
use synod_lane::message::Blob;
use synod_machine::View;
use synod_types::limits::{CERTIFICATES_KEPT_MAX, LANE_PIECE_BYTES, LOG_PAGE_DECREES_MAX};
use synod_types::{AppNdx, ContentKey, LogPage, Slot, StateNdx, wire};
use tracing::info;

use super::{Host, Teller, ndx_of, problem};

/// How long a page of the log is left alone after others were reading theirs.
const READ_AGAIN: Duration = Duration::from_millis(10);
/// Bytes of certificates in one answer, beyond which no further one joins it.
const CERTIFICATES_BYTES: usize = 1 << 20;

/// Answers one of these questions.
pub(super) async fn answer(host: &Host, ask: FrontQuestion, teller: &Teller) -> FrontAnswer {
    let answered = match ask {
        FrontQuestion::Picture => Ok(FrontAnswer::Picture(picture(host))),
        FrontQuestion::Index { app } => index(host, &app).await,
        FrontQuestion::Whole { app, certified } => whole(host, &app, certified, teller).await,
        FrontQuestion::Decrees { app, after } => decrees(host, &app, Slot(after), teller).await,
        FrontQuestion::Log { app, after, limit } => log(host, &app, Slot(after), limit).await,
        FrontQuestion::File { key, snapshot } => file(host, &key, snapshot, teller).await,
        FrontQuestion::Certificates { app, before, limit } => certificates(host, &app, before, limit).await,
        FrontQuestion::Certificate { app, state_ndx } => certificate(host, &app, state_ndx, teller).await,
        FrontQuestion::Apps
        | FrontQuestion::Query { .. }
        | FrontQuestion::Wait { .. }
        | FrontQuestion::Follow { .. }
        | FrontQuestion::At { .. }
        | FrontQuestion::Yard(_)
        | FrontQuestion::Stop => unreachable!("these are answered without a state"),
    };
    answered.unwrap_or_else(|problem| problem)
}

/// What there is to tell, or a problem.
type Answered = Result<FrontAnswer, FrontAnswer>;

fn picture(host: &Host) -> PictureTold {
    let gateway = &host.gateway;
    let app = |door: &Arc<AppDoor>| {
        // First of all: what is known of the state of now holds for every later one.
        let age_ms =
            door.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
        let certificate = gateway.certificate(door.ndx());
        AppPicture {
            app: door.ndx().0,
            name: door.name().to_owned(),
            kind: door.kind().to_owned(),
            is_elsewhere: door.is_elsewhere(),
            is_ready: door.is_ready(),
            applied: door.applied().0,
            age_ms,
            certificate: certificate.map(|certificate| blob(&*certificate)),
            snapshot: gateway.snapshot(door.ndx()).map(|certificate| blob(&certificate)),
        }
    };
    let apps = gateway.apps().iter().map(app).collect();
    let node = |(node, states): (synod_types::NodeId, Vec<(AppNdx, StateNdx)>)| NodePicture {
        node: node.to_string(),
        states: states.into_iter().map(|(app, at)| (app.0, at.0)).collect(),
    };
    let nodes = gateway.node_states().all().into_iter().map(node).collect();
    let status = serde_json::to_vec(&gateway.status()).expect("it has text for keys");
    PictureTold { status: Blob(status.into()), sign_every: host.sign_every, apps, nodes }
}

async fn index(host: &Host, app: &str) -> Answered {
    let index = host.gateway.read_index(ndx_of(&host.gateway, app)?).await;
    index.map(|slot| FrontAnswer::Index { slot: slot.0 }).map_err(problem)
}

async fn whole(host: &Host, app: &str, certified: bool, teller: &Teller) -> Answered {
    let ndx = ndx_of(&host.gateway, app)?;
    let view = host.gateway.view(ndx, Read::default()).await.map_err(problem)?;
    if view.app.apart().is_some() {
        let text = format!("application {ndx} is in a process of its own, which alone has its state");
        return Err(named("application-away", text, Some(view.state_ndx)));
    }
    let certified = host.gateway.certified(ndx).filter(|_| certified);
    let view = certified.map_or(view, |certified| certified.view);
    let _turn = host.wholes.acquire().await.expect("nobody closes it");
    let (state_ndx, slot) = (view.state_ndx, view.applied);
    let made = tokio::task::spawn_blocking(move || view.snapshot()).await;
    let snapshot = match made.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(snapshot) => snapshot,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => return Err(problem(GatewayError::Stopping { app: ndx, state_ndx })),
    };
    info!(app = %ndx, %state_ndx, %slot, bytes = snapshot.len(), "a front end takes the whole state");
    Ok(pieces(snapshot.into(), teller).await)
}

/// Tells what is chosen until there is a reason to end, which it gives.
async fn decrees(host: &Host, app: &str, mut after: Slot, teller: &Teller) -> Answered {
    let ndx = ndx_of(&host.gateway, app)?;
    let door = host.gateway.app(ndx).map_err(problem)?;
    loop {
        let (view, page) = next_page(host, ndx, after).await?;
        let last = page.decrees.last().map_or(after, |(slot, _)| *slot);
        if !teller.tell(told(&view, &page)).await {
            return Ok(FrontAnswer::Stopped);
        }
        after = last;
        tokio::select! {
            () = door.until_applied(after.next()) => {}
            () = host.gateway.until_stopping() => {
                return Err(problem(GatewayError::Stopping { app: ndx, state_ndx: door.state_ndx() }));
            }
        }
    }
}

/// What is applied behind a slot, as much as goes into a page.
async fn next_page(host: &Host, app: AppNdx, after: Slot) -> Result<(Arc<View>, LogPage), FrontAnswer> {
    loop {
        let view = host.gateway.view(app, Read::default()).await.map_err(problem)?;
        let mut page = LogPage { cluster: view.cluster, app, applied: view.applied, decrees: Vec::new() };
        if after >= view.applied {
            return Ok((view, page));
        }
        match host.log.read(app, after.next(), view.applied).await {
            Ok(decrees) => {
                page.decrees = decrees;
                return Ok((view, page));
            }
            Err(LogUnread::Busy) => tokio::time::sleep(READ_AGAIN).await,
            Err(LogUnread::Cut(cut)) => return Err(FrontAnswer::Cut { behind: cut.0 }),
            Err(LogUnread::NotHere) => {
                let (state_ndx, slot) = (view.state_ndx, after.next());
                return Err(problem(GatewayError::LogNotHere { app, state_ndx, slot }));
            }
        }
    }
}

async fn log(host: &Host, app: &str, after: Slot, limit: u64) -> Answered {
    let ndx = ndx_of(&host.gateway, app)?;
    let limit = limit.min(LOG_PAGE_DECREES_MAX);
    match host.gateway.log(ndx, Read::default(), after, limit).await {
        Ok((view, page)) => Ok(told(&view, &page)),
        Err(GatewayError::LogCut { cut, .. }) => Err(FrontAnswer::Cut { behind: cut.0 }),
        Err(why) => Err(problem(why)),
    }
}

fn told(view: &View, page: &LogPage) -> FrontAnswer {
    let (state_ndx, chain) = (view.state_ndx.0, view.chain.to_string());
    FrontAnswer::Decrees { page: Blob(page.encode().into()), state_ndx, chain }
}

async fn file(host: &Host, key: &str, snapshot: bool, teller: &Teller) -> Answered {
    let key: Option<ContentKey> = key.parse().ok();
    let gateway = &host.gateway;
    let file = match key {
        Some(key) if snapshot => gateway.snapshot_file(key).await,
        Some(key) => gateway.file(key).await,
        None => None,
    };
    let none = || named("no-such-file", "this node does not have the file".to_owned(), None);
    Ok(pieces(file.ok_or_else(none)?, teller).await)
}

async fn certificates(host: &Host, app: &str, before: Option<u64>, limit: u64) -> Answered {
    let ndx = ndx_of(&host.gateway, app)?;
    let limit = usize::try_from(limit.min(CERTIFICATES_KEPT_MAX)).expect("a small number");
    let found = host.gateway.certificates(ndx, before.map(StateNdx), limit).await;
    let mut bytes = 0;
    let fits = |one: &Blob| {
        let is_first = bytes == 0;
        bytes += one.0.len();
        is_first || bytes <= CERTIFICATES_BYTES
    };
    let all = found.iter().map(|certificate| blob(&**certificate)).take_while(fits);
    Ok(FrontAnswer::Certificates(all.collect()))
}

async fn certificate(host: &Host, app: &str, state_ndx: Option<u64>, teller: &Teller) -> Answered {
    let ndx = ndx_of(&host.gateway, app)?;
    let bundle = host.gateway.certificate_bundle(ndx, state_ndx.map(StateNdx)).await;
    let none = || named("no-such-certificate", "this node does not have the certificate".to_owned(), None);
    Ok(pieces(bundle.ok_or_else(none)?.encode().into(), teller).await)
}

/// Tells all but the last piece, which is the answer.
async fn pieces(mut bytes: Bytes, teller: &Teller) -> FrontAnswer {
    while bytes.len() > LANE_PIECE_BYTES {
        let piece = Blob(bytes.split_to(LANE_PIECE_BYTES));
        if !teller.tell(FrontAnswer::Piece { bytes: piece, last: false }).await {
            return FrontAnswer::Stopped;
        }
    }
    FrontAnswer::Piece { bytes: Blob(bytes), last: true }
}

fn blob(value: &impl serde::Serialize) -> Blob {
    Blob(wire::encode(value).into())
}

fn named(code: &str, text: String, state_ndx: Option<StateNdx>) -> FrontAnswer {
    FrontAnswer::Problem { code: code.to_owned(), text, state_ndx: state_ndx.map(|state_ndx| state_ndx.0) }
}
