//! The QUIC side of the port: lets connections in, within limits, and owns their sessions.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use synod_places::{Place, Places};
use synod_types::limits::{
    BACKEND_CLOSE_MS_MAX, BACKEND_HANDSHAKES_MAX, BACKEND_HANDSHAKES_PER_ADDRESS_MAX, BACKEND_HELLO_MS_MAX,
    BACKEND_IDLE_MS_MAX, BACKEND_SESSIONS_MAX, BACKEND_SESSIONS_PER_ADDRESS_MAX,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::backend::BackendError;
use crate::counters::count;
use crate::session;
use crate::shared::Shared;

/// The protocol's name in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"synod-commander/1";

/// Bytes that a commander may send ahead of what was read.
const RECEIVE_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes of answers that may be unacknowledged.
const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// Bytes of early packets kept for one handshake, and for all of them.
const HANDSHAKE_BUFFER_BYTES: u64 = 16 << 10;
const HANDSHAKE_BUFFERS_BYTES: u64 = 4 << 20;
/// How long the last packets of closed connections are waited for.
const PARTING: Duration = Duration::from_secs(1);

/// The endpoint on `socket`.
pub(crate) fn endpoint(
    socket: std::net::UdpSocket,
    tls: &rustls::ServerConfig,
) -> Result<Endpoint, BackendError> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(BackendError::NoTls13)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport()))
        .max_incoming(BACKEND_HANDSHAKES_MAX)
        .incoming_buffer_size(HANDSHAKE_BUFFER_BYTES)
        .incoming_buffer_size_total(HANDSHAKE_BUFFERS_BYTES);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
        .map_err(BackendError::Endpoint)
}

/// One stream, opened by the commander, and nothing else. The defaults are for the open Internet and for many
/// streams, and each limit here is of our own choosing.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(VarInt::from_u32(BACKEND_IDLE_MS_MAX).into()));
    transport
}

/// Accepts until `stopping`; returns when every session has ended.
pub(crate) async fn serve(endpoint: Endpoint, shared: Arc<Shared>, stopping: watch::Receiver<bool>) {
    let mut sessions = JoinSet::new();
    let door = Door::new();
    let mut stop = stopping.clone();
    let stop = stop.wait_for(|stopping| *stopping);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                // A connection may outlive its session while it is closed, and holds memory until then.
                Some(incoming) if sessions.len().max(endpoint.open_connections()) >= BACKEND_SESSIONS_MAX => {
                    count(&shared.counters.sessions_turned_away);
                    incoming.refuse();
                }
                Some(incoming) => {
                    if let Some((incoming, admitted)) = door.admit(incoming, &shared) {
                        sessions.spawn(keep(incoming, admitted, shared.clone(), stopping.clone()));
                    }
                }
                None => break,
            },
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => note_end(ended),
            _ = &mut stop => break,
        }
    }
    // Sessions see `stopping` themselves; their own limit comes first. Who comes now is told to go elsewhere.
    let limit = Duration::from_millis(BACKEND_CLOSE_MS_MAX) + Duration::from_secs(2);
    let ended = timeout(limit, async {
        loop {
            tokio::select! {
                ended = sessions.join_next() => match ended {
                    Some(ended) => note_end(ended),
                    None => break,
                },
                Some(incoming) = endpoint.accept() => incoming.refuse(),
            }
        }
    });
    if ended.await.is_err() {
        warn!(sessions = sessions.len(), "sessions of commanders did not end in time and are cut off");
    }
    endpoint.close(VarInt::from_u32(0), b"the node stops");
    // Those who are there get to know. A connection that was given up while it was opened stays until it is idle for
    // too long, which nobody waits for.
    let _ = timeout(PARTING, endpoint.wait_idle()).await;
}

/// Who may begin a session.
struct Door {
    with_anybody: Arc<Semaphore>,
    /// With commanders that have proved their address, and how many of these each address has.
    with_proved: Arc<Semaphore>,
    proved: Places,
    sessions: Places,
}

/// What a connection holds.
struct Admitted {
    session: Place,
    /// Until the handshake is done.
    handshake: (OwnedSemaphorePermit, Option<Place>),
}

impl Door {
    fn new() -> Door {
        let room = || Arc::new(Semaphore::new(BACKEND_HANDSHAKES_MAX));
        Door {
            with_anybody: room(),
            with_proved: room(),
            proved: Places::new(BACKEND_HANDSHAKES_PER_ADDRESS_MAX),
            sessions: Places::new(BACKEND_SESSIONS_PER_ADDRESS_MAX),
        }
    }

    /// Lets a connection in, or not yet, or not at all.
    fn admit(&self, incoming: Incoming, shared: &Shared) -> Option<(Incoming, Admitted)> {
        let from = incoming.remote_address().ip();
        let is_proved = incoming.remote_address_validated();
        let room = if is_proved { &self.with_proved } else { &self.with_anybody };
        let handshake = room.clone().try_acquire_owned().ok();
        // An address that is not proved may be anybody's: nothing is held against it.
        let own = if is_proved { self.proved.take(from).map(Some) } else { Some(None) };
        if let (Some(handshake), Some(own), Some(session)) = (handshake, own, self.sessions.take(from)) {
            return Some((incoming, Admitted { session, handshake: (handshake, own) }));
        }
        // Half-open handshakes cost the sender nothing, if its address is not its own: let it prove the address.
        if incoming.may_retry() && !is_proved {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
        } else {
            count(&shared.counters.sessions_turned_away);
            incoming.refuse();
        }
        None
    }
}

/// The handshake, and the session behind it.
async fn keep(incoming: Incoming, admitted: Admitted, shared: Arc<Shared>, stopping: watch::Receiver<bool>) {
    let Admitted { session: _place, handshake } = admitted;
    let peer = incoming.remote_address();
    let handshaken = async { incoming.accept()?.await };
    let connection = timeout(Duration::from_millis(BACKEND_HELLO_MS_MAX), handshaken).await;
    drop(handshake);
    match connection {
        Ok(Ok(connection)) => session::serve(connection, shared, stopping).await,
        Ok(Err(error)) => debug!(%peer, %error, "a commander's handshake failed"),
        Err(_) => debug!(%peer, "a commander's handshake took too long"),
    }
}

fn note_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // A panic is a bug of ours; it took one session with it.
        tracing::error!(%error, "a commander's session ended by a panic");
    }
}
