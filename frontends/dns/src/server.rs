//! Starting and closing: sockets first, then threads and tasks, and no address is left half served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::answers::Answers;
use crate::config::DnsConfig;
use crate::cookie_jar::{CookieJar, random};
use crate::counters::{Carrier, Counters, Counts};
use crate::datagrams::{Closed, Closer, closer};
use crate::encrypted::EncryptedSockets;
use crate::places::Places;
use crate::streams::Shared;
use crate::tcp;
use crate::udp::{Guard, UdpSockets};

/// Ports that are tried where the configuration leaves the choice: one may be free for TCP and taken for UDP.
const PORT_TRIES_MAX: usize = 32;

/// Why the front end cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// Another process listens there.
    #[error(
        "cannot serve DNS over {carrier} at {addr}: the port is in use; stop the process that listens there, or give \
         `dns` another address in the configuration"
    )]
    PortInUse {
        /// `UDP`, `TCP` or one of the encrypted transports.
        carrier: &'static str,
        /// The address of the configuration.
        addr: SocketAddr,
    },
    /// The port is one of those that only a privileged process may use.
    #[error(
        "cannot serve DNS over {carrier} at {addr}: this process may not use the port; give it the capability \
         CAP_NET_BIND_SERVICE, or give `dns` a port from 1024 on in the configuration"
    )]
    NotAllowed {
        /// `UDP`, `TCP` or one of the encrypted transports.
        carrier: &'static str,
        /// The address of the configuration.
        addr: SocketAddr,
    },
    /// The operating system refuses the address.
    #[error(
        "cannot serve DNS over {carrier} at {addr}: {source}; correct the address of `dns` in the configuration"
    )]
    Listen {
        /// `UDP`, `TCP` or one of the encrypted transports.
        carrier: &'static str,
        /// The address of the configuration.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system gives no thread, pipe or socket.
    #[error("cannot start the DNS front end: {0}")]
    System(#[from] io::Error),
}

impl DnsError {
    /// What went wrong when an address was bound.
    pub(crate) fn binding(carrier: &'static str, addr: SocketAddr, source: io::Error) -> DnsError {
        match source.kind() {
            io::ErrorKind::AddrInUse => DnsError::PortInUse { carrier, addr },
            io::ErrorKind::PermissionDenied => DnsError::NotAllowed { carrier, addr },
            _ => DnsError::Listen { carrier, addr, source },
        }
    }
}

/// A running front end. Dropped, it stops without waiting for anyone; [`DnsServer::close`] lets answers in progress
/// finish.
pub struct DnsServer {
    local_addrs: LocalAddrs,
    counters: Counters,
    closing: watch::Sender<bool>,
    closer: Option<Closer>,
    threads: Vec<std::thread::JoinHandle<()>>,
    streams: JoinHandle<()>,
}

/// Where a front end listens, with the real ports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalAddrs {
    /// UDP and TCP, in the order of the configuration.
    pub plain: Vec<SocketAddr>,
    /// DNS over TLS.
    pub tls: Option<SocketAddr>,
    /// DNS over HTTPS.
    pub https: Option<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Option<SocketAddr>,
}

impl DnsServer {
    /// Listens, and answers from `answers`. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`DnsError`] names the address that cannot be used. Nothing is served then.
    pub async fn start(config: DnsConfig, answers: Arc<dyn Answers>) -> Result<DnsServer, DnsError> {
        let (closer, closed) = closer()?;
        let plain = config
            .listen
            .iter()
            .map(|&addr| bind(addr, &config, &closed))
            .collect::<Result<Vec<_>, DnsError>>()?;
        let identity = Arc::new(config.identity);
        let guard = Guard { cookies: CookieJar::new()?, key: random()?, rate_limit: config.rate_limit };
        let shared = Arc::new(Shared {
            answers: Arc::clone(&answers),
            identity: Arc::clone(&identity),
            cookies: guard.cookies,
            transfer_to: config.transfer_to,
            limits: config.streams,
            places: Places::new(config.streams.connections, config.streams.connections_per_client),
            transfers: Semaphore::new(config.streams.transfers),
        });
        let encrypted = match &config.encrypted {
            Some(encrypted) => EncryptedSockets::bind(encrypted, &shared, &config.given)?,
            None => EncryptedSockets::default(),
        };
        let mut local_addrs = encrypted.local_addrs()?;
        for (listener, _) in &plain {
            local_addrs.plain.push(listener.local_addr()?);
        }

        let mut counters = Counters::default();
        let (closing, closed_soon) = watch::channel(false);
        let mut streams = JoinSet::new();
        let mut threads = Vec::new();
        let tcp_counters = counters.open(Carrier::Tcp);
        for (listener, sockets) in plain {
            let (shared, tcp_counters) = (Arc::clone(&shared), Arc::clone(&tcp_counters));
            streams.spawn(tcp::serve(listener, shared, tcp_counters, closed_soon.clone()));
            threads.extend(sockets.serve(&answers, &identity, &guard, || counters.open(Carrier::Udp))?);
        }
        encrypted.serve(&shared, &mut counters, &closed_soon, &mut streams);
        tracing::info!(
            plain = ?local_addrs.plain,
            tls = ?local_addrs.tls,
            https = ?local_addrs.https,
            quic = ?local_addrs.quic,
            "DNS front end listens"
        );
        let streams = tokio::spawn(async move {
            while let Some(ended) = streams.join_next().await {
                if let Err(failure) = ended {
                    tracing::error!(%failure, "a DNS listener did not close in order");
                }
            }
        });
        Ok(DnsServer { local_addrs, counters, closing, closer: Some(closer), threads, streams })
    }

    /// Where it listens first, for UDP and TCP.
    ///
    /// # Panics
    /// If the configuration named no address for them.
    pub fn addr(&self) -> SocketAddr {
        *self.local_addrs.plain.first().expect("the configuration names an address for UDP and TCP")
    }

    /// Everywhere it listens.
    pub fn local_addrs(&self) -> &LocalAddrs {
        &self.local_addrs
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// The same, for somebody who outlives this handle.
    pub fn watch_counts(&self) -> impl Fn() -> Counts + Send + Sync + 'static {
        let counters = self.counters.clone();
        move || counters.snapshot()
    }

    /// Takes no more queries and connections, and returns when the answers in progress are sent, after
    /// [`DNS_CLOSE_MS_MAX`](synod_types::limits::DNS_CLOSE_MS_MAX) at the latest.
    pub async fn close(mut self) {
        self.begin_closing();
        if let Err(failure) = (&mut self.streams).await {
            tracing::error!(%failure, "the DNS front end did not close in order");
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            let failed = threads.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_err);
            failed.count()
        });
        match joined.await {
            Ok(0) => {}
            Ok(threads) => tracing::error!(threads, "threads that answer DNS over UDP have failed"),
            Err(failure) => tracing::error!(%failure, "the DNS front end did not close in order"),
        }
    }

    fn begin_closing(&mut self) {
        self.closing.send_replace(true);
        drop(self.closer.take());
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.begin_closing();
        self.streams.abort();
    }
}

/// A TCP listener, and UDP sockets with the same port.
fn bind(
    addr: SocketAddr,
    config: &DnsConfig,
    closed: &Closed,
) -> Result<(TcpListener, UdpSockets), DnsError> {
    let mut tries_left = if addr.port() == 0 { PORT_TRIES_MAX } else { 1 };
    loop {
        tries_left -= 1;
        let listener = tcp::listen(addr, &config.given).map_err(|why| DnsError::binding("TCP", addr, why))?;
        let same = SocketAddr::new(addr.ip(), listener.local_addr()?.port());
        match UdpSockets::bind(same, config.udp_threads, &config.given, closed) {
            Ok(sockets) => return Ok((listener, sockets)),
            Err(why) if why.kind() == io::ErrorKind::AddrInUse && tries_left > 0 => {}
            Err(why) => return Err(DnsError::binding("UDP", addr, why)),
        }
    }
}
