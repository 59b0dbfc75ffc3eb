//! Files over HTTPS: whole, for whoever has `curl`, or piece by piece, to go on where it stopped.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use synod_types::limits::{BACKEND_HTTP_READ_MS_MAX, CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};
use synod_types::{AppNdx, ContentKey, ContentTicket, Digest, Manifest, Refusal, RefusalCode, wire};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::forms::{HeldForm, ManifestForm, WantedForm};
use crate::problem::Problem;
use crate::routes::{JSON, json};
use crate::shared::Shared;
use crate::ticket::{VerifiedTicket, check_place};

/// The ticket: base64 of the wire encoding.
const SYNOD_TICKET: HeaderName = HeaderName::from_static("synod-ticket");
/// Whole files that one back end takes at a time over HTTPS: each is in memory until it is known to be the right one.
const UPLOADS_MAX: usize = 2;
/// Bytes that have to arrive in a second, on average, behind what every body may take.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// Bytes of a manifest as JSON: 256 digests in hex take 17 KiB.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// What the routes work with.
#[derive(Clone)]
struct Uploads {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

/// An application and a content key, as the address has them.
type Place = Path<(String, String)>;

/// The routes of files.
pub(crate) fn routes<S>(shared: Arc<Shared>) -> Router<S> {
    let uploads = Uploads { shared, room: Arc::new(Semaphore::new(UPLOADS_MAX)) };
    Router::new()
        .route("/v1/content/{app_ndx}/{key}", put(put_file).post(post_manifest).get(get_receipts))
        .route("/v1/content/{app_ndx}/{key}/pieces/{number}", put(put_piece))
        .with_state(uploads)
}

/// `PUT /v1/content/{appNdx}/{key}`: a whole file; answered when a majority has it.
async fn put_file(State(uploads): State<Uploads>, Path(place): Place, request: Request) -> Response {
    uploads.answer(uploads.file(place, request).await)
}

/// `POST /v1/content/{appNdx}/{key}`: which pieces of a file are wanted?
async fn post_manifest(State(uploads): State<Uploads>, Path(place): Place, request: Request) -> Response {
    uploads.answer(uploads.manifest(place, request).await)
}

/// `PUT /v1/content/{appNdx}/{key}/pieces/{number}`: one piece.
async fn put_piece(
    State(uploads): State<Uploads>,
    Path((app, key, number)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    uploads.answer(uploads.piece((app, key), number, request).await)
}

/// `GET /v1/content/{appNdx}/{key}`: who has the file, as soon as a majority does.
async fn get_receipts(State(uploads): State<Uploads>, Path(place): Place, headers: HeaderMap) -> Response {
    uploads.answer(uploads.receipts(place, headers).await)
}

impl Uploads {
    async fn file(&self, place: (String, String), request: Request) -> Result<Response, Failure> {
        let shared = &self.shared;
        let declared = content_length(request.headers())?;
        let ticket = verify(shared, request.headers(), &place)?;
        let file = ticket.ticket;
        if declared.unwrap_or(0).max(file.bytes) > CONTENT_BYTES_MAX {
            return Err(too_large(CONTENT_BYTES_MAX).into());
        }
        if let Some(bytes) = declared.filter(|&bytes| bytes != file.bytes) {
            return Err(wrong_size(&file, &format!("{bytes} bytes")).into());
        }
        shared.door.admit(&ticket.command).await?;
        let turn = self.room.try_acquire().map_err(|_| {
            let text = format!("{UPLOADS_MAX} files come to this node already; try again later or elsewhere");
            Refusal::new(RefusalCode::Busy, text)
        })?;
        let file_bytes = usize::try_from(file.bytes).expect("checked to be at most 64 MiB");
        let room = shared.file_room(file_bytes)?;
        let pieces = read_body(request.into_body(), file.bytes).await;
        let pieces = pieces.map_err(|error| error.or_too_long(|| wrong_size(&file, "more")))?;
        let found: usize = pieces.iter().map(Bytes::len).sum();
        if found != file_bytes {
            return Err(wrong_size(&file, &format!("{found} bytes")).into());
        }
        // Milliseconds for each MiB: not on the threads that carry the traffic.
        let hashed = tokio::task::spawn_blocking(move || {
            let parts: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
            let found = ContentKey(Digest::of(&parts));
            let digests = parts.iter().map(|piece| Digest::of(&[piece])).collect();
            (found, Manifest { bytes: file.bytes, pieces: digests }, pieces)
        });
        let (found, manifest, pieces) = hashed.await.expect("hashing does not panic, and is not aborted");
        if found != file.content {
            let text =
                format!("the body is not the file: the ticket is for {}, and this is {found}", file.content);
            return Err(Refusal::new(RefusalCode::Malformed, text).into());
        }
        for number in shared.offer(ticket, manifest).await? {
            let piece = usize::try_from(number).ok().and_then(|at| pieces.get(at));
            let piece = piece.expect("a node wants pieces of the manifest").clone();
            shared.piece(file.content, number, piece).await?;
        }
        drop((pieces, room, turn));
        self.held(file).await
    }

    async fn manifest(&self, place: (String, String), request: Request) -> Result<Response, Failure> {
        let ticket = verify(&self.shared, request.headers(), &place)?;
        let body = read_body(request.into_body(), MANIFEST_BYTES_MAX).await;
        let body = body.map_err(|error| error.or_too_long(|| too_large(MANIFEST_BYTES_MAX)))?;
        let form: ManifestForm = serde_json::from_slice(&body.concat()).map_err(malformed)?;
        let wanted = self.shared.offer(ticket, form.decode().map_err(malformed)?).await?;
        Ok(ok(&WantedForm { wanted }))
    }

    async fn piece(
        &self,
        place: (String, String),
        number: String,
        request: Request,
    ) -> Result<Response, Failure> {
        let shared = &self.shared;
        let ticket = verify(shared, request.headers(), &place)?;
        let file = ticket.ticket;
        let number = number.parse();
        let number: u32 = number.map_err(|error| malformed(format!("the number of the piece: {error}")))?;
        shared.door.admit(&ticket.command).await?;
        let _room = shared.file_room(CONTENT_PIECE_BYTES)?;
        let longest = u64::try_from(CONTENT_PIECE_BYTES).expect("far below 2^64");
        let body = read_body(request.into_body(), longest).await;
        let body = body.map_err(|error| error.or_too_long(|| too_large(longest)))?;
        let bytes = body.into_iter().next().unwrap_or_default();
        check_place(file.bytes, number, &bytes)?;
        shared.piece(file.content, number, bytes).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn receipts(&self, place: (String, String), headers: HeaderMap) -> Result<Response, Failure> {
        let ticket = verify(&self.shared, &headers, &place)?;
        self.shared.door.admit(&ticket.command).await?;
        self.held(ticket.ticket).await
    }

    async fn held(&self, file: ContentTicket) -> Result<Response, Failure> {
        let receipts = self.shared.held(file.content).await?;
        Ok(ok(&HeldForm::new(file, &receipts)))
    }

    /// The answer, counted if it is a refusal.
    fn answer(&self, answered: Result<Response, Failure>) -> Response {
        answered.unwrap_or_else(|failure| match failure {
            Failure::Refused(refusal) => {
                self.shared.counters.refuse(refusal.code);
                Problem::from(refusal).into_response()
            }
            Failure::Slow(limit) => {
                let detail = format!("the body did not arrive within {} s", limit.as_secs());
                Problem::http(StatusCode::REQUEST_TIMEOUT, "slow-request", detail).into_response()
            }
        })
    }
}

fn ok<T: serde::Serialize>(form: &T) -> Response {
    ([(header::CONTENT_TYPE, JSON)], json(form)).into_response()
}

/// Reads the ticket in the header, verifies it, and checks that it is for the file in the address.
fn verify(
    shared: &Shared,
    headers: &HeaderMap,
    (app, key): &(String, String),
) -> Result<VerifiedTicket, Refusal> {
    let app: AppNdx = app.parse().map_err(|error| malformed(format!("{app:?} is not an appNdx: {error}")))?;
    let key: ContentKey = key.parse().map_err(malformed)?;
    let ticket = headers.get(SYNOD_TICKET).ok_or_else(|| {
        malformed("a file comes with a ticket in the header Synod-Ticket: a signed command, in base64")
    })?;
    let ticket =
        BASE64.decode(ticket).map_err(|why| malformed(format!("Synod-Ticket is not base64: {why}")))?;
    let ticket = wire::decode(&ticket).map_err(|why| malformed(format!("Synod-Ticket: {why}")))?;
    let ticket = shared.verify_ticket(ticket)?;
    let signed_for = (ticket.command.body().app, ticket.ticket.content);
    if signed_for != (app, key) {
        let text = format!("the ticket is for application {} and file {}", signed_for.0, signed_for.1);
        return Err(malformed(text));
    }
    Ok(ticket)
}

/// The bytes that a request declares.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(declared) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let declared = declared.to_str().ok().and_then(|text| text.parse().ok());
    declared.map(Some).ok_or_else(|| malformed("Content-Length is not a number"))
}

fn malformed(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Malformed, why)
}

fn too_large(max: u64) -> Refusal {
    Refusal::new(RefusalCode::TooLarge, format!("the body has more than the {max} bytes that are allowed"))
}

fn wrong_size(file: &ContentTicket, found: &str) -> Refusal {
    malformed(format!("the ticket is for a file of {} bytes, and the body has {found}", file.bytes))
}

/// Why a request is not done.
enum Failure {
    Refused(Refusal),
    /// The body did not arrive within this time.
    Slow(Duration),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

/// Why a body is not read.
enum BodyError {
    /// There is more than was allowed.
    TooLong,
    /// It did not arrive within this time.
    Slow(Duration),
    /// It broke off.
    Broken(axum::Error),
}

impl BodyError {
    fn or_too_long(self, too_long: impl FnOnce() -> Refusal) -> Failure {
        match self {
            BodyError::TooLong => Failure::Refused(too_long()),
            BodyError::Slow(limit) => Failure::Slow(limit),
            BodyError::Broken(why) => Failure::Refused(malformed(format!("the body breaks off: {why}"))),
        }
    }
}

/// Reads a body of at most `max` bytes in pieces of [`CONTENT_PIECE_BYTES`], the last one of the rest.
async fn read_body(mut body: Body, max: u64) -> Result<Vec<Bytes>, BodyError> {
    let limit = Duration::from_millis(BACKEND_HTTP_READ_MS_MAX)
        + Duration::from_secs(max / UPLOAD_BYTES_PER_SECOND_MIN);
    let reading = async {
        let (mut pieces, mut piece) = (Vec::new(), BytesMut::new());
        let mut left = usize::try_from(max).unwrap_or(usize::MAX);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            // Trailers say nothing to us.
            let Ok(mut data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            left = left.checked_sub(data.len()).ok_or(BodyError::TooLong)?;
            while !data.is_empty() {
                let fitting = data.len().min(CONTENT_PIECE_BYTES - piece.len());
                piece.extend_from_slice(&data.split_to(fitting));
                if piece.len() == CONTENT_PIECE_BYTES {
                    pieces.push(std::mem::take(&mut piece).freeze());
                }
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.freeze());
        }
        Ok(pieces)
    };
    timeout(limit, reading).await.unwrap_or(Err(BodyError::Slow(limit)))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body that comes so much at a time, and then ends, or does not.
    struct Drip {
        left: usize,
        at_a_time: usize,
        is_endless: bool,
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let bytes = self.left.min(self.at_a_time);
            self.left -= bytes;
            match bytes {
                0 if self.is_endless => Poll::Pending,
                0 => Poll::Ready(None),
                _ => Poll::Ready(Some(Ok(Frame::data(vec![7; bytes].into())))),
            }
        }
    }

    async fn read(left: usize, at_a_time: usize, max: usize) -> Result<Vec<usize>, BodyError> {
        let body = Body::new(Drip { left, at_a_time, is_endless: false });
        let pieces = read_body(body, max.try_into().unwrap()).await?;
        Ok(pieces.iter().map(Bytes::len).collect())
    }

    #[tokio::test]
    async fn a_body_falls_into_pieces_however_it_comes() {
        let bytes = 2 * CONTENT_PIECE_BYTES + 3;
        for at_a_time in [bytes, CONTENT_PIECE_BYTES, CONTENT_PIECE_BYTES + 1, 100_003] {
            let pieces = read(bytes, at_a_time, bytes).await.ok().unwrap();
            assert_eq!(pieces, [CONTENT_PIECE_BYTES, CONTENT_PIECE_BYTES, 3], "{at_a_time} at a time");
        }
        assert_eq!(read(CONTENT_PIECE_BYTES, 7777, bytes).await.ok().unwrap(), [CONTENT_PIECE_BYTES]);
        assert_eq!(read(0, 1, bytes).await.ok().unwrap(), [0; 0]);
    }

    #[tokio::test]
    async fn the_limit_of_a_body_is_exact() {
        for (bytes, fits) in [(99, true), (100, true), (101, false)] {
            let read = read(bytes, 7, 100).await;
            assert!(if fits { read.is_ok() } else { matches!(read, Err(BodyError::TooLong)) });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up_the_later_the_longer_it_is() {
        for (max, seconds) in [(100, 10), (CONTENT_BYTES_MAX, 10 + 256)] {
            let body = Body::new(Drip { left: 50, at_a_time: 1, is_endless: true });
            let Err(BodyError::Slow(limit)) = read_body(body, max).await else { panic!("it never ends") };
            assert_eq!(limit, Duration::from_secs(seconds));
        }
    }
}
