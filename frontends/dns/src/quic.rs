//! DNS over QUIC (RFC 9250): a stream for each query, which is all that it carries.
//!
//! Handshakes run beside each other and are bounded in number: when many are open, who comes next has to prove its
//! address first, and is then not held up by those who cannot. A connection takes a place, like one over TCP, once its
//! handshake is done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use synod_types::limits::{DNS_CLOSE_MS_MAX, DNS_HANDSHAKE_MS_MAX, DNS_HANDSHAKES_MAX, DNS_STREAMS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::Reply;
use crate::config::{Given, StreamLimits};
use crate::counters::TrafficCounters;
use crate::datagrams;
use crate::message::STREAM_BYTES_MAX;
use crate::places::Place;
use crate::streams::{Client, Shared, begins, push};

/// The protocol's name in the TLS handshake (RFC 9250 section 4.1.1).
pub(crate) const ALPN: &[u8] = b"doq";

/// Error codes (RFC 9250 section 8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0x0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x4);
/// What goes with the last one, for people.
const TOO_MANY: &[u8] = b"too many connections";

/// Bytes of a query with its length.
const QUERY_BYTES_MAX: usize = 2 + STREAM_BYTES_MAX;
/// Bytes that a client may send ahead of what was read, and may leave unacknowledged.
const RECEIVE_WINDOW_BYTES: u32 = 256 << 10;
const SEND_WINDOW_BYTES: u64 = 256 << 10;
/// Bytes of early packets kept for one handshake, and for all of them.
const HANDSHAKE_BUFFER_BYTES: u64 = 8 << 10;
const HANDSHAKE_BUFFERS_BYTES: u64 = 1 << 20;
/// How long the last packets of closed connections are waited for.
const PARTING: Duration = Duration::from_secs(1);

/// An endpoint here.
pub(crate) fn bind(
    addr: SocketAddr,
    tls: rustls::ServerConfig,
    limits: &StreamLimits,
    given: &Given,
) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(DNS_STREAMS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        // Its own limit comes first, unless packets alone keep the connection alive.
        .max_idle_timeout(IdleTimeout::try_from(limits.idle + limits.write_stall).ok());
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(DNS_HANDSHAKES_MAX)
        .incoming_buffer_size(HANDSHAKE_BUFFER_BYTES)
        .incoming_buffer_size_total(HANDSHAKE_BUFFERS_BYTES);
    let socket = match given.socket(addr) {
        Some(socket) => socket?,
        None => datagrams::bind(addr, false)?,
    };
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Answers over QUIC until the front end closes.
pub(crate) async fn serve(
    endpoint: Endpoint,
    shared: Arc<Shared>,
    counters: Arc<TrafficCounters>,
    mut closing: watch::Receiver<bool>,
) {
    let handshakes = Handshakes::new();
    let mut connections = JoinSet::new();
    let closed = closing.clone();
    loop {
        tokio::select! {
            () = begins(&mut closing) => break,
            Some(_) = connections.join_next() => {}
            incoming = endpoint.accept() => match incoming {
                // A connection may outlive its task while it is closed, and holds memory until then.
                Some(incoming) if endpoint.open_connections() > 2 * shared.limits.connections => {
                    counters.connections_refused.one();
                    incoming.refuse();
                }
                Some(incoming) => {
                    let Some((incoming, handshake)) = handshakes.admit(incoming, &counters) else {
                        continue;
                    };
                    let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
                    let mut closing = closed.clone();
                    connections.spawn(async move {
                        let peer = incoming.remote_address();
                        let handshaken = async { incoming.accept()?.await };
                        let wait = Duration::from_millis(DNS_HANDSHAKE_MS_MAX);
                        let connection = tokio::select! {
                            connection = timeout(wait, handshaken) => connection,
                            () = begins(&mut closing) => return,
                        };
                        drop(handshake);
                        match connection {
                            Ok(Ok(connection)) => serve_one(&connection, &shared, &counters, &mut closing).await,
                            Ok(Err(why)) => tracing::debug!(%peer, %why, "DNS over QUIC: the handshake failed"),
                            Err(_) => tracing::debug!(%peer, "DNS over QUIC: the handshake took too long"),
                        }
                    });
                }
                None => break,
            },
        }
    }
    endpoint.set_server_config(None);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(Duration::from_millis(DNS_CLOSE_MS_MAX), finished).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "DNS connections over QUIC are cut: they took too long"
        );
        connections.shutdown().await;
    }
    endpoint.close(NO_ERROR, b"the server stops");
    let _ = timeout(PARTING, endpoint.wait_idle()).await;
}

/// How many handshakes may be under way.
struct Handshakes {
    with_anybody: Arc<Semaphore>,
    /// With clients that have proved their address.
    with_proved: Arc<Semaphore>,
}

impl Handshakes {
    fn new() -> Handshakes {
        let room = || Arc::new(Semaphore::new(DNS_HANDSHAKES_MAX));
        Handshakes { with_anybody: room(), with_proved: room() }
    }

    /// Lets a handshake begin, or not yet, or not at all.
    fn admit(
        &self,
        incoming: Incoming,
        counters: &TrafficCounters,
    ) -> Option<(Incoming, OwnedSemaphorePermit)> {
        let is_proved = incoming.remote_address_validated();
        let room = if is_proved { &self.with_proved } else { &self.with_anybody };
        if let Ok(handshake) = Arc::clone(room).try_acquire_owned() {
            return Some((incoming, handshake));
        }
        // Half-open handshakes cost the sender nothing, if its address is not its own: let it prove the address.
        if incoming.may_retry() && !is_proved {
            if let Err(why) = incoming.retry() {
                why.into_incoming().refuse();
            }
        } else {
            counters.connections_refused.one();
            incoming.refuse();
        }
        None
    }
}

/// One connection, as long as it has a place.
async fn serve_one(
    connection: &Connection,
    shared: &Arc<Shared>,
    counters: &Arc<TrafficCounters>,
    closing: &mut watch::Receiver<bool>,
) {
    let peer = connection.remote_address();
    let Some(place) = shared.places.admit_counted(peer.ip(), counters).map(Arc::new) else {
        connection.close(EXCESSIVE_LOAD, TOO_MANY);
        return;
    };
    let mut streams = JoinSet::new();
    let mut deadline = Instant::now() + shared.limits.idle;
    let why = loop {
        tokio::select! {
            () = begins(closing) => break &b"the server stops"[..],
            () = place.given_away() => {
                // At once: as long as it is open, there is one connection too many.
                connection.close(EXCESSIVE_LOAD, TOO_MANY);
                return;
            }
            () = sleep_until(deadline), if streams.is_empty() => break b"idle",
            Some(ended) = streams.join_next() => {
                deadline = Instant::now() + shared.limits.idle;
                place.idle();
                if let Ok(Err(BadQuery)) = ended {
                    connection.close(PROTOCOL_ERROR, b"a stream carries one query, and its message ID is 0");
                    return;
                }
            }
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    let (shared, counters, place) = (Arc::clone(shared), Arc::clone(counters), Arc::clone(&place));
                    streams.spawn(async move {
                        let client = Client { peer, shared: &shared, counters: &counters };
                        answer_one(client, &place, send, receive).await
                    });
                }
                Err(why) => {
                    tracing::debug!(%peer, %why, "DNS connection over QUIC ended");
                    return;
                }
            },
        }
    };
    // Answers that are under way are still sent; each has its own limit in time.
    while streams.join_next().await.is_some() {}
    connection.close(NO_ERROR, why);
}

/// The client does not keep to the protocol.
struct BadQuery;

/// One stream: a query, its answer, and the end.
async fn answer_one(
    client: Client<'_>,
    place: &Place,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), BadQuery> {
    let limits = &client.shared.limits;
    let Ok(Ok(received)) = timeout(limits.idle, receive.read_to_end(QUERY_BYTES_MAX)).await else {
        // It gave up, or did not send it in time or within the limit.
        client.counters.malformed.one();
        let _ = send.reset(PROTOCOL_ERROR);
        return Ok(());
    };
    let query = match received.split_first_chunk() {
        Some((length, query)) if usize::from(u16::from_be_bytes(*length)) == query.len() => query,
        _ => {
            client.counters.malformed.one();
            return Err(BadQuery);
        }
    };
    if !query.starts_with(&[0, 0]) {
        client.counters.malformed.one();
        return Err(BadQuery);
    }
    let (mut message, mut output) = (Vec::new(), Vec::new());
    let answered = match client.answer(query, &mut message) {
        Reply::Send => {
            push(&mut output, &message);
            Ok(())
        }
        Reply::Transfer(origin) => {
            place.busy();
            client.transfer(&mut send, &origin, query, &mut message, &mut output).await
        }
        Reply::Silence => return Err(BadQuery),
    };
    let sent = async {
        answered?;
        client.write(&mut send, &mut output).await?;
        send.finish()?;
        Ok::<_, io::Error>(())
    };
    match sent.await {
        // The last bytes may still be lost and sent again: the connection is not closed before they arrive.
        Ok(()) => drop(timeout(limits.write_stall, send.stopped()).await),
        Err(why) => tracing::debug!(peer = %client.peer, %why, "an answer over QUIC was not sent"),
    }
    Ok(())
}
