//! What the front end is told: where to serve, whom zones are transferred to, and what it may take on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::server::ResolvesServerCert;
use synod_types::limits::{
    DNS_CONNECTIONS_MAX, DNS_CONNECTIONS_PER_CLIENT_MAX, DNS_IDLE_MS_MAX, DNS_TRANSFERS_MAX,
    DNS_WRITE_STALL_MS_MAX,
};

use crate::identity::Identity;

/// How the front end serves. Every address in it is bound at the start and stays so.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Where to answer over UDP and TCP, with the same port number; port 0 takes one that is free for both. An
    /// unspecified address (`0.0.0.0`, `[::]`) stands for all of its family, at some cost per datagram.
    pub listen: Vec<SocketAddr>,
    /// Threads that answer datagrams, for each address. One answers more than most networks bring.
    pub udp_threads: NonZero<usize>,
    /// Who may have whole zones (AXFR, IXFR). Empty: nobody.
    pub transfer_to: Vec<IpNet>,
    /// What the node says of itself.
    pub identity: Identity,
    /// DNS over TLS, HTTPS and QUIC; absent: not served.
    pub encrypted: Option<Encrypted>,
    /// What streams may take up.
    pub streams: StreamLimits,
    /// Answers over UDP to one network; absent: as many as are asked for.
    pub rate_limit: Option<RateLimitConfig>,
    /// Sockets that are open already.
    pub given: Given,
}

/// Sockets that whoever started this process has opened for it. One whose address is in the configuration is used instead of a new one,
/// so that what comes while no process is there waits for the next one.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// TCP.
    pub listeners: Vec<Arc<TcpListener>>,
    /// UDP. The threads of one address share its socket.
    pub sockets: Vec<Arc<UdpSocket>>,
}

impl Given {
    /// The listener at this address, if there is one.
    pub(crate) fn listener(&self, addr: SocketAddr) -> Option<io::Result<TcpListener>> {
        let is_it = |one: &&Arc<TcpListener>| one.local_addr().is_ok_and(|at| at == addr);
        self.listeners.iter().find(is_it).map(|one| one.try_clone())
    }

    /// The UDP socket at this address, if there is one.
    pub(crate) fn socket(&self, addr: SocketAddr) -> Option<io::Result<UdpSocket>> {
        let is_it = |one: &&Arc<UdpSocket>| one.local_addr().is_ok_and(|at| at == addr);
        self.sockets.iter().find(is_it).map(|one| one.try_clone())
    }
}

/// Response rate limiting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimitConfig {
    /// Answers a second to one network: an IPv4 /24 or an IPv6 /56. At most
    /// [`DNS_RATE_MAX`](synod_types::limits::DNS_RATE_MAX).
    pub per_second: NonZero<u32>,
    /// Networks without a limit.
    pub exempt: Vec<IpNet>,
}

impl DnsConfig {
    /// Serves here and nothing else: one UDP thread, no transfers, nothing encrypted, the default limits, no rate limit.
    pub fn at(listen: SocketAddr) -> DnsConfig {
        DnsConfig {
            listen: vec![listen],
            udp_threads: NonZero::<usize>::MIN,
            transfer_to: Vec::new(),
            identity: Identity::default(),
            encrypted: None,
            streams: StreamLimits::default(),
            rate_limit: None,
            given: Given::default(),
        }
    }
}

/// The encrypted transports. Each is off without an address; the usual ports are 853 (TLS, QUIC) and 443 (HTTPS).
#[derive(Clone)]
pub struct Encrypted {
    /// The certificate that clients see, with its chain; asked for at each handshake, so that it can change.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Where to serve DNS over TLS (TCP).
    pub tls: Option<SocketAddr>,
    /// Where to serve DNS over HTTPS (TCP), at the path `/dns-query`.
    pub https: Option<SocketAddr>,
    /// Where to serve DNS over QUIC (UDP).
    pub quic: Option<SocketAddr>,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Encrypted { certificate: _, tls, https, quic } = self;
        write!(f, "Encrypted {{ tls: {tls:?}, https: {https:?}, quic: {quic:?} }}")
    }
}

/// What streams may take up. The default is meant for a name server on the open Internet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamLimits {
    /// Streams at a time, of all transports together. A new client takes the place of who has been idle longest.
    pub connections: usize,
    /// Streams of one client address (of one /64, for IPv6) at a time.
    pub connections_per_client: usize,
    /// The longest that a stream may stay without a whole query.
    pub idle: Duration,
    /// The longest that a client may take to receive what was written at once.
    pub write_stall: Duration,
    /// Zone transfers at a time.
    pub transfers: usize,
}

impl Default for StreamLimits {
    fn default() -> StreamLimits {
        StreamLimits {
            connections: DNS_CONNECTIONS_MAX,
            connections_per_client: DNS_CONNECTIONS_PER_CLIENT_MAX,
            idle: Duration::from_millis(DNS_IDLE_MS_MAX),
            write_stall: Duration::from_millis(DNS_WRITE_STALL_MS_MAX),
            transfers: DNS_TRANSFERS_MAX,
        }
    }
}
