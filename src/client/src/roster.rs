//! The nodes that can be asked: one shared session with each, opened when it is first needed, and which one is
//! preferred.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{IdleTimeout, TransportConfig, VarInt};
use synod_types::limits::MEMBERS_MAX;
use tokio::time::{Instant, timeout_at};

use crate::commander::Commander;
use crate::config::{ClientConfig, ConfigError, Endpoint, Timeouts};
use crate::session::Session;

/// The protocol's name in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"synod-commander/1";

/// Bytes of answers that a node may send ahead of what was read, and of commands that may be unacknowledged.
const WINDOW_BYTES: u32 = 4 << 20;

/// Every node that can be asked.
pub(crate) struct Roster {
    seats: Vec<Seat>,
    preferred: AtomicUsize,
    quic: quinn::ClientConfig,
    sockets: Sockets,
    commander: Commander,
    timeouts: Timeouts,
}

/// One node.
struct Seat {
    endpoint: Endpoint,
    current: RwLock<Option<Arc<Session>>>,
    /// Held by who opens the session; the rest wait for what comes of it. Holds the last failure.
    opening: tokio::sync::Mutex<Option<(Instant, Arc<str>)>>,
}

impl Roster {
    pub(crate) fn new(config: ClientConfig) -> Result<Roster, ConfigError> {
        let ClientConfig { endpoints, tls, commander, timeouts } = config;
        match endpoints.len() {
            0 => return Err(ConfigError::NoEndpoint),
            1..=MEMBERS_MAX => {}
            more => return Err(ConfigError::TooManyEndpoints(more)),
        }
        let seats = endpoints.into_iter().map(|endpoint| Seat {
            endpoint,
            current: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
        });
        let seats = seats.collect();
        let quic = quic_config(&tls, timeouts.idle)?;
        let (preferred, sockets) = (AtomicUsize::new(0), Sockets::default());
        Ok(Roster { seats, preferred, quic, sockets, commander, timeouts })
    }

    /// Where to begin.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Whom to ask after `seat`.
    pub(crate) fn after(&self, seat: usize) -> usize {
        (seat + 1) % self.len()
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// This one answered.
    pub(crate) fn prefer(&self, seat: usize) {
        if self.preferred() != seat {
            self.preferred.store(seat, Ordering::Relaxed);
        }
    }

    /// This one does not answer: let everyone begin with the next.
    pub(crate) fn avoid(&self, seat: usize) {
        let next = self.after(seat);
        // Where another one is preferred by now there is nothing to do.
        let _ = self.preferred.compare_exchange(seat, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How to address it.
    pub(crate) fn address(&self, seat: usize) -> &str {
        &self.seats[seat].endpoint.address
    }

    /// The session with a node; opens it if there is none. Of many that ask at a time one opens it.
    pub(crate) async fn session(&self, seat: usize, deadline: Instant) -> Result<Arc<Session>, Arc<str>> {
        let seat = &self.seats[seat];
        if let Some(session) = seat.current() {
            return Ok(session);
        }
        let asked = Instant::now();
        let deadline = deadline.min(asked + self.timeouts.connect);
        let in_time = timeout_at(deadline, async {
            let mut failed = seat.opening.lock().await;
            if let Some(session) = seat.current() {
                return Ok(session);
            }
            if let Some((at, why)) = &*failed
                && *at >= asked
            {
                return Err(why.clone());
            }
            let opened = timeout_at(deadline, self.open(&seat.endpoint)).await;
            let opened = opened.unwrap_or_else(|_| Err("no answer".into()));
            match &opened {
                Ok(session) => {
                    *seat.current.write().expect("nothing panics while it is held") = Some(session.clone());
                }
                Err(why) => *failed = Some((Instant::now(), why.clone())),
            }
            opened
        });
        in_time.await.unwrap_or_else(|_| Err("no answer".into()))
    }

    /// Opens a session; of the addresses of a name the first that works is taken.
    async fn open(&self, endpoint: &Endpoint) -> Result<Arc<Session>, Arc<str>> {
        let addresses = tokio::net::lookup_host(&endpoint.address).await;
        let addresses = addresses.map_err(|error| format!("the name does not resolve: {error}"))?;
        let mut why: Arc<str> = "the name has no address".into();
        for address in addresses {
            match self.open_at(address, &endpoint.server_name).await {
                Ok(session) => return Ok(session),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn open_at(&self, address: SocketAddr, server_name: &str) -> Result<Arc<Session>, Arc<str>> {
        let open = async {
            let socket = self.sockets.towards(address).map_err(|error| error.to_string())?;
            let connecting = socket.connect_with(self.quic.clone(), address, server_name);
            let connection = connecting.map_err(|error| error.to_string())?.await;
            let connection = connection.map_err(|error| error.to_string())?;
            let keep_alive = self.timeouts.idle / 3;
            let session = Session::open(connection, &self.commander, keep_alive).await;
            session.map_err(|error| error.to_string())
        };
        open.await.map_err(|why: String| why.into())
    }

    /// Leaves every node.
    pub(crate) async fn close(&self) {
        let sessions = self.seats.iter().filter_map(Seat::current);
        let leaving: Vec<_> =
            sessions.map(|session| tokio::spawn(async move { session.close().await })).collect();
        for left in leaving {
            // A session that does not close in order is cut when the roster is dropped.
            let _ = left.await;
        }
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.seats.iter().filter_map(Seat::current).for_each(|session| session.cut());
    }
}

impl Seat {
    fn current(&self) -> Option<Arc<Session>> {
        let current = self.current.read().expect("nothing panics while it is held");
        current.as_ref().filter(|session| !session.has_ended()).cloned()
    }
}

/// Our own sockets, one for each family of addresses, bound when they are first needed.
#[derive(Default)]
struct Sockets {
    v4: Mutex<Option<quinn::Endpoint>>,
    v6: Mutex<Option<quinn::Endpoint>>,
}

impl Sockets {
    fn towards(&self, address: SocketAddr) -> std::io::Result<quinn::Endpoint> {
        let (socket, any) = match address {
            SocketAddr::V4(_) => (&self.v4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&self.v6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let mut socket = socket.lock().expect("nothing panics while it is held");
        if let Some(socket) = &*socket {
            return Ok(socket.clone());
        }
        Ok(socket.insert(quinn::Endpoint::client(SocketAddr::new(any, 0))?).clone())
    }
}

fn quic_config(tls: &rustls::ClientConfig, idle: Duration) -> Result<quinn::ClientConfig, ConfigError> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| ConfigError::NoTls13)?;
    let idle = IdleTimeout::try_from(idle).map_err(|_| ConfigError::IdleTooLong(idle))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(u64::from(WINDOW_BYTES))
        .max_idle_timeout(Some(idle));
    let mut quic = quinn::ClientConfig::new(Arc::new(crypto));
    quic.transport_config(Arc::new(transport));
    Ok(quic)
}
