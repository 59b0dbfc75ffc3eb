//! DNS over HTTPS (RFC 8484): GET and POST at `/dns-query`, over HTTP/2.
//!
//! HTTP/2 is the least that the RFC recommends, and what its clients speak. An answer may be kept by HTTP caches for as
//! long as its records may (section 5.1).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use synod_types::limits::{DNS_HTTP_HEAD_BYTES_MAX, DNS_STREAMS_MAX};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::answer::Reply;
use crate::counters::TrafficCounters;
use crate::encrypted::handshake;
use crate::message::{HEADER_BYTES, Rcode, STREAM_BYTES_MAX};
use crate::places::Place;
use crate::streams::{Client, Shared, begins};
use crate::tcp::Connections;

/// Where queries go (RFC 8484 section 4.1 leaves the choice; this is the usual one).
const PATH: &str = "/dns-query";
/// What queries and answers are.
const DNS_MESSAGE: &str = "application/dns-message";
/// Bytes of a connection's windows; a query and an answer fit each stream's.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// base64url; the RFC leaves the padding out, and some clients put it in.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Answers over HTTPS until the front end closes.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    counters: Arc<TrafficCounters>,
    closing: watch::Receiver<bool>,
) {
    let connections = Connections::new("HTTPS", &shared, &counters, &closing);
    let serve = |stream, peer, place| {
        let connection = Connection {
            peer,
            shared: Arc::clone(&shared),
            counters: Arc::clone(&counters),
            place,
            requests: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
        };
        let (tls, mut closing) = (tls.clone(), closing.clone());
        async move {
            let stream = handshake(&tls, stream, &connection.place, &mut closing).await?;
            serve_one(TokioIo::new(stream), Arc::new(connection), closing).await
        }
    };
    connections.accept(listener, serve).await;
}

/// One connection.
struct Connection {
    peer: SocketAddr,
    shared: Arc<Shared>,
    counters: Arc<TrafficCounters>,
    place: Place,
    /// Requests in progress.
    requests: AtomicUsize,
    /// When the last request ended.
    idle_since: Mutex<Instant>,
}

async fn serve_one<S>(
    stream: S,
    connection: Arc<Connection>,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let limits = connection.shared.limits;
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.respond(request).await) }
        })
    };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(DNS_STREAMS_MAX)
        .max_header_list_size(DNS_HTTP_HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(stream, service);
    let mut served = pin!(served);
    loop {
        let deadline = connection.idle_since() + limits.idle;
        tokio::select! {
            result = served.as_mut() => return result.map_err(io::Error::other),
            () = begins(&mut closing) => break,
            // At once: as long as it is open, there is one connection too many.
            () = connection.place.given_away() => return Ok(()),
            () = sleep_until(deadline) => {
                let idle = connection.requests.load(Ordering::Relaxed) == 0;
                if idle && connection.idle_since() + limits.idle <= Instant::now() {
                    break;
                }
                if !idle {
                    // A request has a limit of its own.
                    connection.touch();
                }
            }
        }
    }
    served.as_mut().graceful_shutdown();
    match timeout(limits.write_stall, served).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not let the connection end")),
    }
}

impl Connection {
    fn idle_since(&self) -> Instant {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.place.idle();
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = match self.query(request).await {
            Ok(query) => self.answer(&query),
            Err(problem) => problem.response(),
        };
        self.touch();
        self.requests.fetch_sub(1, Ordering::Relaxed);
        response
    }

    /// The query that a request carries.
    async fn query(&self, request: Request<Incoming>) -> Result<Bytes, Problem> {
        if request.uri().path() != PATH {
            return Err(Problem::NotFound);
        }
        match *request.method() {
            Method::GET => {
                let mut parameters = request.uri().query().unwrap_or_default().split('&');
                let query = parameters.find_map(|parameter| parameter.strip_prefix("dns="));
                let query = query.ok_or(Problem::BadRequest)?;
                Ok(BASE64URL.decode(query).map_err(|_| Problem::BadRequest)?.into())
            }
            Method::POST => {
                let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
                if !content_type.is_some_and(|of| of.eq_ignore_ascii_case(DNS_MESSAGE.as_bytes())) {
                    return Err(Problem::UnsupportedMediaType);
                }
                let body = Limited::new(request.into_body(), STREAM_BYTES_MAX);
                match timeout(self.shared.limits.idle, body.collect()).await {
                    Ok(Ok(body)) => Ok(body.to_bytes()),
                    Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => Err(Problem::TooLarge),
                    Ok(Err(_)) => Err(Problem::BadRequest),
                    Err(_) => Err(Problem::Timeout),
                }
            }
            _ => Err(Problem::MethodNotAllowed),
        }
    }

    fn answer(&self, query: &[u8]) -> Response<Full<Bytes>> {
        let client = Client { peer: self.peer, shared: &self.shared, counters: &self.counters };
        let mut message = Vec::new();
        match client.answer(query, &mut message) {
            Reply::Send => {}
            // One request has one message for an answer.
            Reply::Transfer(_) => client.refuse_transfer(query, Rcode::REFUSED, &mut message),
            Reply::Silence => return Problem::BadRequest.response(),
        }
        let max_age = format!("max-age={}", fresh_seconds(&message).unwrap_or(0));
        Response::builder()
            .header(CONTENT_TYPE, DNS_MESSAGE)
            .header(CACHE_CONTROL, max_age)
            .body(Full::from(message))
            .expect("these headers are valid")
    }
}

/// How long an answer may be kept: as long as its answer section, and without one as long as what says that there is
/// nothing (RFC 8484 section 5.1). None if it has no records there.
fn fresh_seconds(message: &[u8]) -> Option<u32> {
    let count = |at: usize| message.get(at..)?.first_chunk().map(|count| u16::from_be_bytes(*count));
    let (questions, answers, authorities) = (count(4)?, count(6)?, count(8)?);
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = name_end(message, at)? + 4;
    }
    let records = if answers > 0 { answers } else { authorities };
    let mut least = None;
    for _ in 0..records {
        at = name_end(message, at)?;
        let fixed: &[u8; 10] = message.get(at..)?.first_chunk()?;
        let [_, _, _, _, ttl @ .., high, low] = *fixed;
        let ttl = u32::from_be_bytes(ttl);
        least = Some(least.map_or(ttl, |least: u32| least.min(ttl)));
        at += fixed.len() + usize::from(u16::from_be_bytes([high, low]));
    }
    least
}

/// Where the name that begins at `at` ends.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            label => at += 1 + usize::from(label),
        }
    }
}

/// Why a request carries no query.
#[derive(Clone, Copy)]
enum Problem {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Timeout,
    TooLarge,
    UnsupportedMediaType,
}

impl Problem {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Problem::BadRequest => {
                (StatusCode::BAD_REQUEST, "send one DNS query, in base64url as `dns` or as the body\n")
            }
            Problem::NotFound => (StatusCode::NOT_FOUND, "DNS queries go to /dns-query\n"),
            Problem::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "use GET or POST\n"),
            Problem::Timeout => (StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
            Problem::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "a DNS query has at most 65535 bytes\n"),
            Problem::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/dns-message\n")
            }
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if matches!(self, Problem::MethodNotAllowed) {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}
