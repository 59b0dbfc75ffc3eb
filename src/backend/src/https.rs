//! The HTTPS side of the port: connections within limits, TLS, and a graceful end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use synod_places::{Place, Places};
use synod_types::limits::{
    BACKEND_HELLO_MS_MAX, BACKEND_HTTP_CONNECTIONS_MAX, BACKEND_HTTP_CONNECTIONS_PER_ADDRESS_MAX,
    BACKEND_HTTP_READ_MS_MAX,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::count;
use crate::routes::routes;
use crate::shared::Shared;

/// HTTP/2 requests in progress on one connection.
const STREAMS_MAX: u32 = 64;
/// Bytes of a request's header.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(10);

/// Serves until `handle` stops it.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: &rustls::ServerConfig,
    handle: Handle<SocketAddr>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let door = Door {
        shared: shared.clone(),
        room: Arc::new(Semaphore::new(BACKEND_HTTP_CONNECTIONS_MAX)),
        places: Places::new(BACKEND_HTTP_CONNECTIONS_PER_ADDRESS_MAX),
    };
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)))
        .handshake_timeout(Duration::from_millis(BACKEND_HELLO_MS_MAX))
        .acceptor(door);
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle);
    // hyper has no clock of its own: without a timer its limits on time do nothing.
    let read_limit = Duration::from_millis(BACKEND_HTTP_READ_MS_MAX);
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(read_limit);
    server
        .http_builder()
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_WAIT);
    server.serve(routes(shared).into_make_service()).await
}

/// Lets so many connections in and no more, and of each client's so many.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    places: Places,
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Admitted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Admitted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admit = || {
            // Who has gone already has no address.
            let place = self.places.take(stream.peer_addr()?.ip());
            let (Some(place), Ok(room)) = (place, self.room.clone().try_acquire_owned()) else {
                count(&self.shared.counters.http_turned_away);
                return Err(io::Error::other("too many connections"));
            };
            stream.set_nodelay(true)?;
            Ok((place, room))
        };
        std::future::ready(admit().map(|place| (Admitted { stream, _place: place }, service)))
    }
}

/// A connection that holds its place until it is closed.
struct Admitted {
    stream: TcpStream,
    _place: (Place, OwnedSemaphorePermit),
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
