//! Starts and stops the port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::NoInitialCipherSuite;
use synod_auth::VerifyPool;
use synod_types::ClusterId;
use synod_types::limits::BACKEND_CLOSE_MS_MAX;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::bind::{Sockets, bind};
use crate::content::ContentDoor;
use crate::counters::CounterValues;
use crate::intake::Intake;
use crate::progress::Progress;
use crate::shared::Shared;
use crate::{https, quic};

/// What a back end needs to start.
#[derive(Clone)]
pub struct BackendConfig {
    /// Where to listen, with TCP and UDP. Port 0 takes any that is free.
    pub addr: SocketAddr,
    /// The node's certificate and key. TLS 1.3 has to be among its versions; its ALPN is replaced by each
    /// transport's own.
    pub tls: Arc<rustls::ServerConfig>,
    /// The cluster to which a commander's Hello is bound.
    pub cluster: ClusterId,
    /// Who verifies commands.
    pub pool: Arc<VerifyPool>,
}

/// Why a back end does not start.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Something else listens there.
    #[error(
        "{addr} is in use for {transport}: stop what listens there (`ss -lntup` shows it), or give `backend` another port"
    )]
    PortInUse {
        /// Where.
        addr: SocketAddr,
        /// "TCP" or "UDP".
        transport: &'static str,
    },
    /// The system does not let us listen there.
    #[error("cannot listen at {addr} for {transport}: {source}; check `backend` in the configuration")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// "TCP" or "UDP".
        transport: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// QUIC needs TLS 1.3.
    #[error("the TLS configuration has no cipher suite for QUIC (TLS 1.3 is needed): {0}")]
    NoTls13(NoInitialCipherSuite),
    /// The QUIC endpoint does not start.
    #[error("the QUIC endpoint does not start: {0}")]
    Endpoint(io::Error),
}

/// The commanders' port, open.
pub struct Backend {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stopping: watch::Sender<bool>,
    handle: axum_server::Handle<SocketAddr>,
    quic: JoinHandle<()>,
    https: JoinHandle<()>,
}

impl Backend {
    /// Opens the port; from now on `intake` gets commands, `door` files, and `progress` questions about both. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// [`BackendError`] says why the port cannot be opened.
    pub fn start(
        config: BackendConfig,
        intake: Arc<dyn Intake>,
        door: Arc<dyn ContentDoor>,
        progress: Arc<dyn Progress>,
    ) -> Result<Backend, BackendError> {
        let BackendConfig { addr, tls, cluster, pool } = config;
        let Sockets { tcp, udp, addr } = bind(addr)?;
        let shared = Arc::new(Shared::new(cluster, pool, intake, door, progress));
        let endpoint = quic::endpoint(udp, &tls)?;
        let (stopping, watch) = watch::channel(false);
        let quic = tokio::spawn(quic::serve(endpoint, shared.clone(), watch));
        let handle = axum_server::Handle::new();
        let https = tokio::spawn({
            let (handle, shared) = (handle.clone(), shared.clone());
            async move {
                if let Err(why) = https::serve(tcp, &tls, handle, shared).await {
                    error!(%why, "the commanders' HTTPS port failed; their QUIC port goes on");
                }
            }
        });
        info!(%addr, "the commanders' port is open");
        Ok(Backend { addr, shared, stopping, handle, quic, https })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has counted.
    pub fn counters(&self) -> CounterValues {
        self.shared.counters.values()
    }

    /// The same, for somebody who outlives this handle.
    pub fn watch_counters(&self) -> impl Fn() -> CounterValues + Send + Sync + 'static {
        // Not all that is shared: that holds what the node gave, and would keep it alive.
        let counters = Arc::clone(&self.shared.counters);
        move || counters.values()
    }

    /// Closes the port: refuses new commands with `Stopping`, waits for the answers to those in flight for at most
    /// [`BACKEND_CLOSE_MS_MAX`], says Bye, and closes every connection. The intake has to go on until then.
    pub async fn close(mut self) {
        self.shared.stop();
        self.stopping.send_replace(true);
        self.handle.graceful_shutdown(Some(Duration::from_millis(BACKEND_CLOSE_MS_MAX)));
        for (task, name) in [(&mut self.quic, "QUIC"), (&mut self.https, "HTTPS")] {
            if let Err(why) = task.await {
                error!(%why, "the task of the commanders' {name} port did not end by itself");
            }
        }
        info!(addr = %self.addr, "the commanders' port is closed");
    }
}

impl Drop for Backend {
    /// Without [`Backend::close`] everything is cut off.
    fn drop(&mut self) {
        self.handle.shutdown();
        self.quic.abort();
        self.https.abort();
    }
}
