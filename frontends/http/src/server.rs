//! Connections: accepting, limits, and closing in good order.
//!
//! hyper serves each connection by itself instead of through `axum::serve`, which offers neither a limit on
//! connections nor one on the time that a request's header may take. HTTP/1.1 only, over TCP, in TLS where a certificate
//! is given.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use synod_gateway::Gateway;
use synod_places::Places;
use synod_types::limits::{
    HTTP_CLOSE_MS_MAX, HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_PER_ADDRESS_MAX, HTTP_HANDSHAKE_MS_MAX,
    HTTP_HEAD_BYTES_MAX, HTTP_HEAD_WAIT_MS_MAX,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::cors::CorsOrigins;
use crate::exchange::Exchange;
use crate::routes::router;
use crate::stall::Stalling;

/// The protocol that is spoken in TLS (RFC 7301).
pub const ALPN: &[u8] = b"http/1.1";

/// Where to serve, and for whom.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address to listen at; port 0 takes any free one.
    pub addr: SocketAddr,
    /// What is shown in TLS, which has to offer [`ALPN`]; `None`: HTTP without TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whose pages may read in a browser.
    pub cors: CorsOrigins,
    /// Connections of one client address (of one /64, for IPv6); more are closed at once.
    pub connections_per_address: usize,
    /// The listener, if whoever started this process has opened one for it.
    pub given: Option<Arc<std::net::TcpListener>>,
}

impl HttpConfig {
    /// Plain HTTP at this address, for no page of another origin, within [`HTTP_CONNECTIONS_PER_ADDRESS_MAX`].
    pub fn at(addr: SocketAddr) -> HttpConfig {
        HttpConfig {
            addr,
            tls: None,
            cors: CorsOrigins::default(),
            connections_per_address: HTTP_CONNECTIONS_PER_ADDRESS_MAX,
            given: None,
        }
    }
}

/// Why the front end cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Another process listens there.
    #[error(
        "cannot serve HTTP at {addr}: the port is in use; stop the process that listens there, or give `http` another \
         address in the configuration"
    )]
    PortInUse {
        /// The address of the configuration.
        addr: SocketAddr,
    },
    /// The operating system refuses the address.
    #[error("cannot serve HTTP at {addr}: {source}; correct the address of `http` in the configuration")]
    Listen {
        /// The address of the configuration.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

/// A running front end. Dropped, it stops at once; [`HttpServer::close`] lets answers in progress finish.
pub struct HttpServer {
    local_addr: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Listens, and answers from `gateway`.
    ///
    /// # Errors
    /// [`HttpError`] names the address that cannot be listened at.
    pub async fn start(config: HttpConfig, gateway: Gateway) -> Result<HttpServer, HttpError> {
        let addr = config.addr;
        let listen = async {
            let listener = match &config.given {
                Some(given) => {
                    given.set_nonblocking(true)?;
                    TcpListener::from_std(given.try_clone()?)?
                }
                None => TcpListener::bind(addr).await?,
            };
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        };
        let (listener, local_addr) = listen.await.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::PortInUse { addr },
            _ => HttpError::Listen { addr, source },
        })?;
        let (closing, closed) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, config, gateway, closed));
        tracing::info!(%local_addr, "HTTP front end listens");
        Ok(HttpServer { local_addr, closing, accepting })
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections and requests, and returns when the answers in progress are sent, after
    /// [`HTTP_CLOSE_MS_MAX`] at the latest. Call [`Gateway::stop`] first, so that no answer waits for a state.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        if let Err(failure) = (&mut self.accepting).await {
            tracing::error!(%failure, "the HTTP front end did not close in order");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns every connection.
async fn accept(
    listener: TcpListener,
    config: HttpConfig,
    gateway: Gateway,
    mut closing: watch::Receiver<bool>,
) {
    let exchange = Arc::new(Exchange::new(router(gateway.clone()), gateway, config.cors));
    let tls = config.tls.map(TlsAcceptor::from);
    let places = Places::new(config.connections_per_address);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = begins(&mut closing) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < HTTP_CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = places.take(peer.ip()) else {
                        tracing::debug!(%peer, "HTTP connection closed: its address has as many as it may");
                        continue;
                    };
                    let (exchange, tls, closing) = (Arc::clone(&exchange), tls.clone(), closing.clone());
                    connections.spawn(async move {
                        let _place = place;
                        if let Err(why) = serve(stream, peer, tls, exchange, closing).await {
                            tracing::debug!(%peer, %why, "HTTP connection ended early");
                        }
                    });
                    if connections.len() == HTTP_CONNECTIONS_MAX {
                        tracing::warn!(
                            connections = HTTP_CONNECTIONS_MAX,
                            "HTTP connections are at their limit; further clients wait"
                        );
                    }
                }
                Err(why) => {
                    // Out of file descriptors, most likely: accepting again at once would only spin.
                    tracing::warn!(%why, "cannot accept an HTTP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(HTTP_CLOSE_MS_MAX), finished).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "HTTP connections are cut: their answers took too long"
        );
        connections.shutdown().await;
    }
}

/// One connection, from its first byte to its last.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    exchange: Arc<Exchange>,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    set_options(&stream);
    let stream = Stalling::new(stream, peer);
    let Some(tls) = tls else { return speak(stream, exchange, closing).await };
    let ended = |kind, why| Err(io::Error::new(kind, why));
    let stream = tokio::select! {
        handshaken = tls.accept(stream) => handshaken?,
        () = tokio::time::sleep(Duration::from_millis(HTTP_HANDSHAKE_MS_MAX)) => {
            return ended(io::ErrorKind::TimedOut, "the TLS handshake took too long");
        }
        () = begins(&mut closing) => return ended(io::ErrorKind::ConnectionAborted, "the server stops"),
    };
    speak(stream, exchange, closing).await
}

/// HTTP/1.1, until the client or the front end closes.
async fn speak<S>(stream: S, exchange: Arc<Exchange>, mut closing: watch::Receiver<bool>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Not `pipeline_flush`: in hyper 1.12 it keeps back the last answer of a connection that closes while bytes of
    // another request are there, and takes answers to pipelined requests without a limit.
    let service = service_fn(|request| {
        let exchange = Arc::clone(&exchange);
        async move { Ok::<_, Infallible>(exchange.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_WAIT_MS_MAX))
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = begins(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    result.map_err(io::Error::other)
}

/// Returns when closing begins; a server that was dropped closes, too.
async fn begins(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// An answer is sent when it is written, and a client that does not take it loses the connection.
fn set_options(stream: &TcpStream) {
    if let Err(why) = stream.set_nodelay(true) {
        tracing::debug!(%why, "cannot set TCP_NODELAY");
    }
    #[cfg(target_os = "linux")]
    {
        use synod_types::limits::{HTTP_UNSENT_BYTES_MAX, HTTP_WRITE_STALL_MS_MAX};
        let stall = Duration::from_millis(HTTP_WRITE_STALL_MS_MAX);
        if let Err(why) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(stall)) {
            tracing::debug!(%why, "cannot set TCP_USER_TIMEOUT");
        }
        // Without it the kernel takes megabytes for a client that does not read.
        if let Err(why) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(HTTP_UNSENT_BYTES_MAX) {
            tracing::debug!(%why, "cannot set TCP_NOTSENT_LOWAT");
        }
    }
}
