//! Connections: accepting, limits, and closing in good order.
//!
//! hyper serves each connection by itself instead of through `axum::serve`, which offers neither a limit on
//! connections nor one on the time that a request's header may take. HTTP/1.1 only, over TCP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Method, Request};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use synod_gateway::Gateway;
use synod_types::limits::{
    HTTP_CLOSE_MS_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_WAIT_MS_MAX, HTTP_URI_BYTES_MAX,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::problem::{ProblemType, problem};
use crate::reply::Stamp;
use crate::routes::router;
use crate::stall::Stalling;

/// Where to serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpConfig {
    /// The address to listen at; port 0 takes any free one.
    pub addr: SocketAddr,
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
            let listener = TcpListener::bind(addr).await?;
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        };
        let (listener, local_addr) = listen.await.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::PortInUse { addr },
            _ => HttpError::Listen { addr, source },
        })?;
        let (closing, closed) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, gateway, closed));
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
async fn accept(listener: TcpListener, gateway: Gateway, mut closing: watch::Receiver<bool>) {
    let router = TowerToHyperService::new(router(gateway.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = begins(&mut closing) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < HTTP_CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let (router, gateway, closing) = (router.clone(), gateway.clone(), closing.clone());
                    connections.spawn(async move {
                        if let Err(why) = serve(stream, peer, router, gateway, closing).await {
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
    router: TowerToHyperService<Router>,
    gateway: Gateway,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    set_options(&stream);
    // Not `pipeline_flush`: in hyper 1.12 it keeps back the last answer of a connection that closes while bytes of
    // another request are there, and takes answers to pipelined requests without a limit.
    let service = service_fn(move |request| answer(request, router.clone(), gateway.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_WAIT_MS_MAX))
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Stalling::new(stream, peer)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = begins(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
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

/// One request. Its body is not read, whatever it is.
async fn answer(
    request: Request<Incoming>,
    router: TowerToHyperService<Router>,
    gateway: Gateway,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    let mut response =
        if parts.uri.path_and_query().is_some_and(|uri| uri.as_str().len() > HTTP_URI_BYTES_MAX) {
            let detail = format!("an address has at most {HTTP_URI_BYTES_MAX} bytes");
            problem(Stamp::of_all(&gateway), &parts.uri, ProblemType::UriTooLong, &detail).into_response()
        } else if has_body && is_read {
            let detail = "send the request without a body";
            problem(Stamp::of_all(&gateway), &parts.uri, ProblemType::BodyNotAllowed, detail).into_response()
        } else {
            router.call(Request::from_parts(parts, Body::empty())).await?
        };
    if has_body {
        // What was not read cannot be told from the next request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
