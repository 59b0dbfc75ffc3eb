//! TCP connections: accepting them within limits, and closing them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use synod_types::limits::DNS_CLOSE_MS_MAX;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Given;
use crate::counters::TrafficCounters;
use crate::places::{Place, Places};
use crate::streams::{Client, Shared, begins};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;
/// How long nothing is accepted when the operating system refuses to give a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener here: the one that is given, or a new one.
pub(crate) fn listen(addr: SocketAddr, given: &Given) -> io::Result<TcpListener> {
    if let Some(listener) = given.listener(addr) {
        let listener = listener?;
        listener.set_nonblocking(true)?;
        return TcpListener::from_std(listener);
    }
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // 0.0.0.0 and [::] can then both be listened at.
        socket.set_only_v6(true)?;
    }
    // Connections of a process before this one, which the kernel still remembers, do not keep the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers over plain TCP until the front end closes.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    counters: Arc<TrafficCounters>,
    closing: watch::Receiver<bool>,
) {
    let connections = Connections::new("TCP", &shared, &counters, &closing);
    let serve = |stream, peer, place| {
        let (shared, counters, mut closing) = (Arc::clone(&shared), Arc::clone(&counters), closing.clone());
        async move {
            let client = Client { peer, shared: &shared, counters: &counters };
            client.serve(stream, &place, &mut closing).await
        }
    };
    connections.accept(listener, serve).await;
}

/// How the connections of one listener are let in.
pub(crate) struct Connections {
    name: &'static str,
    places: Places,
    write_stall: Duration,
    counters: Arc<TrafficCounters>,
    closing: watch::Receiver<bool>,
}

impl Connections {
    pub(crate) fn new(
        name: &'static str,
        shared: &Shared,
        counters: &Arc<TrafficCounters>,
        closing: &watch::Receiver<bool>,
    ) -> Connections {
        Connections {
            name,
            places: shared.places.clone(),
            write_stall: shared.limits.write_stall,
            counters: Arc::clone(counters),
            closing: closing.clone(),
        }
    }

    /// Lets connections in, each with a place and a task of its own, until the front end closes; then waits for those
    /// tasks, [`DNS_CLOSE_MS_MAX`] at the longest.
    pub(crate) async fn accept<S, F>(self, listener: TcpListener, serve: S)
    where
        S: Fn(TcpStream, SocketAddr, Place) -> F,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                () = begins(&mut closing) => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = self.places.admit_counted(peer.ip(), &self.counters) else {
                            continue;
                        };
                        self.set_options(&stream);
                        let (name, served) = (self.name, serve(stream, peer, place));
                        tasks.spawn(async move {
                            if let Err(why) = served.await {
                                tracing::debug!(%peer, %why, "DNS connection over {name} ended early");
                            }
                        });
                    }
                    Err(why) => {
                        // Out of file descriptors, most likely: accepting again at once would only spin.
                        tracing::warn!(%why, "cannot accept a DNS connection over {}", self.name);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let finished = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_millis(DNS_CLOSE_MS_MAX), finished).await.is_err() {
            let connections = tasks.len();
            tracing::warn!(connections, "DNS connections over {} are cut: they took too long", self.name);
            tasks.shutdown().await;
        }
    }

    /// Answers are sent when they are written, and a client that is gone without a word is noticed.
    fn set_options(&self, stream: &TcpStream) {
        if let Err(why) = stream.set_nodelay(true) {
            tracing::debug!(%why, "cannot set TCP_NODELAY");
        }
        #[cfg(target_os = "linux")]
        if let Err(why) = SockRef::from(stream).set_tcp_user_timeout(Some(self.write_stall)) {
            tracing::debug!(%why, "cannot set TCP_USER_TIMEOUT");
        }
    }
}
