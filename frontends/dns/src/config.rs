//! What the front end is told: where to serve, whom zones are transferred to, and what it may take on.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::identity::Identity;

/// Streams (TCP, TLS, HTTPS, QUIC together) that are open at a time.
pub const DNS_CONNECTIONS_MAX: usize = 1024;
/// Of them, those of one client address (of one /64, for IPv6).
pub const DNS_CONNECTIONS_PER_CLIENT_MAX: usize = 128;
/// Milliseconds from one answer to the end of the next query; an idle stream is closed then (RFC 7766 section 6.2.3).
pub const DNS_IDLE_MS_MAX: u64 = 10_000;
/// Milliseconds that a client may take to receive what is written at once, 128 KiB at most.
pub const DNS_WRITE_STALL_MS_MAX: u64 = 10_000;
/// Zones that are transferred at a time; further transfers wait.
pub const DNS_TRANSFERS_MAX: usize = 16;
/// Milliseconds that a transfer waits for its turn before it is told to come back later.
pub const DNS_TRANSFER_WAIT_MS_MAX: u64 = 10_000;
/// Milliseconds that a TLS or QUIC handshake may take.
pub const DNS_HANDSHAKE_MS_MAX: u64 = 5_000;
/// QUIC handshakes at a time with clients that may be anywhere, and again with those that have proved their address.
/// Where the former are many, a client is asked for that proof; where the latter are, it is turned away.
pub const DNS_HANDSHAKES_MAX: usize = 256;
/// Queries in progress on one connection over HTTPS or QUIC.
pub const DNS_STREAMS_MAX: u32 = 32;
/// Bytes of the header of a request over HTTPS, the address with the query in it included.
pub const DNS_HTTP_HEAD_BYTES_MAX: u32 = 16 << 10;
/// Milliseconds that answers in progress get when the front end closes.
pub const DNS_CLOSE_MS_MAX: u64 = 5_000;
/// Bytes of a datagram that comes in; a query has no use for more.
pub const DNS_DATAGRAM_BYTES_MAX: usize = 4096;
/// Datagrams that one UDP thread takes, and answers from one state, at a time.
pub const DNS_DATAGRAMS_AT_ONCE: usize = 64;
/// Bytes of answers that are gathered before they are written to a stream.
pub const DNS_WRITE_BYTES: usize = 64 << 10;
/// Bytes at which a message of a zone transfer is sent and the next one begun; one record may be longer by itself.
pub const DNS_TRANSFER_MESSAGE_BYTES: usize = 16 << 10;
/// Bytes of a file with certificates or a key.
pub const DNS_PEM_BYTES_MAX: u64 = 64 << 10;

/// How the front end serves. Every address in it is bound at the start and stays so.
#[derive(Clone, PartialEq, Eq, Debug)]
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
}

impl DnsConfig {
    /// Serves here and nothing else: one UDP thread, no transfers, nothing encrypted, the default limits.
    pub fn at(listen: SocketAddr) -> DnsConfig {
        DnsConfig {
            listen: vec![listen],
            udp_threads: NonZero::<usize>::MIN,
            transfer_to: Vec::new(),
            identity: Identity::default(),
            encrypted: None,
            streams: StreamLimits::default(),
        }
    }
}

/// The encrypted transports. Each is off without an address; the usual ports are 853 (TLS, QUIC) and 443 (HTTPS).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Encrypted {
    /// The certificate that clients see, with its chain (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Where to serve DNS over TLS (TCP).
    pub tls: Option<SocketAddr>,
    /// Where to serve DNS over HTTPS (TCP), at the path `/dns-query`.
    pub https: Option<SocketAddr>,
    /// Where to serve DNS over QUIC (UDP).
    pub quic: Option<SocketAddr>,
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
