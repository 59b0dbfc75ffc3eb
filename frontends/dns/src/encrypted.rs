//! The encrypted transports: one certificate, and up to three ports. DNS over TLS is here; over HTTPS and over QUIC,
//! see `https` and `quic`.
//!
//! TLS 1.3 only, with ring's cryptography, and no early data: a query is never one that somebody replays. All of them
//! answer with the engine's own bytes and share the places of TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use synod_types::limits::DNS_HANDSHAKE_MS_MAX;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Encrypted, Given};
use crate::counters::{Carrier, Counters, TrafficCounters};
use crate::places::Place;
use crate::server::{DnsError, LocalAddrs};
use crate::streams::{Client, Shared, begins};
use crate::tcp::{self, Connections};
use crate::{https, quic};

/// Sockets that are bound and not served yet.
#[derive(Default)]
pub(crate) struct EncryptedSockets {
    tls: Option<(TcpListener, TlsAcceptor)>,
    https: Option<(TcpListener, TlsAcceptor)>,
    quic: Option<quinn::Endpoint>,
}

impl EncryptedSockets {
    /// Binds what the configuration has an address for.
    pub(crate) fn bind(
        config: &Encrypted,
        shared: &Shared,
        given: &Given,
    ) -> Result<EncryptedSockets, DnsError> {
        let tls = server_config(&config.certificate);
        let over_tcp = |addr: Option<SocketAddr>, carrier, alpn| {
            addr.map(|addr| {
                let listener =
                    tcp::listen(addr, given).map_err(|why| DnsError::binding(carrier, addr, why))?;
                Ok::<_, DnsError>((listener, TlsAcceptor::from(Arc::new(with_alpn(&tls, alpn)))))
            })
            .transpose()
        };
        let over_quic = |addr| {
            quic::bind(addr, with_alpn(&tls, quic::ALPN), &shared.limits, given)
                .map_err(|why| DnsError::binding("QUIC", addr, why))
        };
        Ok(EncryptedSockets {
            tls: over_tcp(config.tls, "TLS", b"dot")?,
            https: over_tcp(config.https, "HTTPS", b"h2")?,
            quic: config.quic.map(over_quic).transpose()?,
        })
    }

    /// Where they are bound.
    pub(crate) fn local_addrs(&self) -> io::Result<LocalAddrs> {
        let of_listener = |socket: &Option<(TcpListener, _)>| {
            socket.as_ref().map(|(listener, _)| listener.local_addr()).transpose()
        };
        Ok(LocalAddrs {
            plain: Vec::new(),
            tls: of_listener(&self.tls)?,
            https: of_listener(&self.https)?,
            quic: self.quic.as_ref().map(quinn::Endpoint::local_addr).transpose()?,
        })
    }

    /// Serves on all of them, each in a task that ends when everything there has ended.
    pub(crate) fn serve(
        self,
        shared: &Arc<Shared>,
        counters: &mut Counters,
        closing: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        if let Some((listener, tls)) = self.tls {
            let counters = counters.open(Carrier::Tls);
            tasks.spawn(serve_tls(listener, tls, Arc::clone(shared), counters, closing.clone()));
        }
        if let Some((listener, tls)) = self.https {
            let counters = counters.open(Carrier::Https);
            tasks.spawn(https::serve(listener, tls, Arc::clone(shared), counters, closing.clone()));
        }
        if let Some(endpoint) = self.quic {
            let counters = counters.open(Carrier::Quic);
            tasks.spawn(quic::serve(endpoint, Arc::clone(shared), counters, closing.clone()));
        }
    }
}

/// DNS over TLS (RFC 7858): as TCP, behind a handshake.
async fn serve_tls(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    counters: Arc<TrafficCounters>,
    closing: watch::Receiver<bool>,
) {
    let connections = Connections::new("TLS", &shared, &counters, &closing);
    let serve = |stream, peer, place| {
        let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
        let (tls, mut closing) = (tls.clone(), closing.clone());
        async move {
            let stream = handshake(&tls, stream, &place, &mut closing).await?;
            let client = Client { peer, shared: &shared, counters: &counters };
            client.serve(stream, &place, &mut closing).await
        }
    };
    connections.accept(listener, serve).await;
}

/// The handshake, within [`DNS_HANDSHAKE_MS_MAX`], unless the client has to make place or the front end closes.
pub(crate) async fn handshake(
    tls: &TlsAcceptor,
    stream: TcpStream,
    place: &Place,
    closing: &mut watch::Receiver<bool>,
) -> io::Result<TlsStream<TcpStream>> {
    let ended = |kind, why| Err(io::Error::new(kind, why));
    tokio::select! {
        handshaken = tls.accept(stream) => handshaken,
        () = sleep(Duration::from_millis(DNS_HANDSHAKE_MS_MAX)) => {
            ended(io::ErrorKind::TimedOut, "the TLS handshake took too long")
        }
        () = place.given_away() => ended(io::ErrorKind::ConnectionAborted, "too many connections"),
        () = begins(closing) => ended(io::ErrorKind::ConnectionAborted, "the server stops"),
    }
}

fn with_alpn(tls: &ServerConfig, alpn: &[u8]) -> ServerConfig {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls
}

fn server_config(certificate: &Arc<dyn ResolvesServerCert>) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has cipher suites for TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(certificate))
}
