//! Calls one peer, for as long as it is one and the mesh exists, and writes to it what is queued.
//!
//! One task does all of it: it waits for the control stream and the three queues at once, so nothing is handed from
//! task to task between a queue and its stream, and all of it ends together.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{ClientConfig, Connection, Endpoint, SendStream};
use synod_types::limits::{MESH_ADDRESSES_MAX, MESH_ADMISSION_WAIT_MS_MAX, MESH_OPENING_MS_MAX};
use synod_types::session::{Control, SessionErrorCode};
use synod_types::{NodeId, Program};
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::config::PeerConfig;
use crate::control::{ControlStream, KeepAlive};
use crate::identity::{check_program, own_hello, peer_key};
use crate::leaving::Leaving;
use crate::mesh::Shared;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::priority::Priority;
use crate::queue::Batch;
use crate::session::{CLOSED, SessionEnd, Violation, part};

/// What it takes to call a peer.
pub(crate) struct Dialer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientConfig,
    pub(crate) leaving: Leaving,
}

/// A session whose Hello is acknowledged.
struct Session {
    connection: Connection,
    control: ControlStream,
    /// The peer's program, and the wire version that it and this one have in common.
    program: Program,
    wire: u32,
    /// In the order of [`Priority::ALL`].
    data: [SendStream; 3],
}

impl Dialer {
    /// Opens session after session, until the mesh closes or the peer is removed.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.shared.retry_delay);
        while !self.peer.is_removed() {
            let config = self.peer.config();
            self.peer.on_connecting();
            let end = match self.open(&config).await {
                Ok(session) => {
                    backoff.reset();
                    self.keep(session, &config).await
                }
                Err(end) => end,
            };
            self.report(&config, &end);
            let wait = match end {
                SessionEnd::Leaving | SessionEnd::Removed => return,
                SessionEnd::Outdated => Duration::ZERO,
                SessionEnd::Moved => {
                    backoff.reset();
                    Duration::ZERO
                }
                _ if end.is_no_member() => {
                    // Once somebody has decided otherwise, nobody is to wait for this node.
                    backoff.next_wait().min(Duration::from_millis(MESH_ADMISSION_WAIT_MS_MAX))
                }
                _ => backoff.next_wait(),
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.peer.came_up() => {}
                _ = self.peer.moved(&config) => backoff.reset(),
                () = self.leaving.begun() => return,
            }
        }
    }

    fn report(&self, peer: &PeerConfig, end: &SessionEnd) {
        self.shared.counters.count_end(end);
        if matches!(end, SessionEnd::OtherNode(_) | SessionEnd::Stranger) || end.is_tls_failure() {
            self.shared.counters.count_stranger();
        }
        let is_news = self.peer.on_outbound_down(end);
        match end {
            SessionEnd::Leaving | SessionEnd::Bye | SessionEnd::Removed => {
                tracing::info!(%peer, "session closed: {end}");
            }
            SessionEnd::Outdated | SessionEnd::Moved => tracing::debug!(%peer, "calling again: {end}"),
            _ if is_news => tracing::warn!(%peer, "no session: {end}"),
            _ => tracing::debug!(%peer, "no session: {end}"),
        }
    }

    async fn open(&self, config: &PeerConfig) -> Result<Session, SessionEnd> {
        let mut leaving = self.leaving.clone();
        tokio::select! {
            opened = timeout(Duration::from_millis(MESH_OPENING_MS_MAX), self.connect(config)) => {
                opened.unwrap_or(Err(SessionEnd::Slow))
            }
            () = self.outdated() => Err(SessionEnd::Outdated),
            end = self.peer.moved(config) => Err(end),
            () = leaving.begun() => Err(SessionEnd::Leaving),
        }
    }

    /// Waits until the peer comes up while the current attempt is already old. QUIC repeats the first packet less and
    /// less often: a peer that has just started would otherwise see it late.
    async fn outdated(&self) {
        let begin = Instant::now();
        loop {
            self.peer.came_up().await;
            if begin.elapsed() >= self.shared.retry_delay {
                return;
            }
        }
    }

    async fn connect(&self, config: &PeerConfig) -> Result<Session, SessionEnd> {
        let address = &config.address;
        let unresolved = |source| SessionEnd::Unresolved { address: address.clone(), source };
        let mut end = SessionEnd::NoAddress(address.clone());
        for address in lookup_host(address).await.map_err(unresolved)?.take(MESH_ADDRESSES_MAX) {
            match self.connect_to(address, &config.server_name).await {
                Ok(session) => return Ok(session),
                Err(why) => end = why,
            }
        }
        Err(end)
    }

    async fn connect_to(&self, address: SocketAddr, server_name: &str) -> Result<Session, SessionEnd> {
        let connection = self.endpoint.connect_with(self.client.clone(), address, server_name)?.await?;
        let key = peer_key(&connection).ok_or(SessionEnd::Stranger)?;
        let id = NodeId(key.id());
        if id != self.peer.id {
            connection.close(CLOSED, b"");
            return Err(SessionEnd::OtherNode(id));
        }
        let (send, recv) = connection.open_bi().await?;
        let mut control = ControlStream::new(send, recv);
        match self.greet(&connection, &mut control).await {
            Ok((program, wire, data)) => Ok(Session { connection, control, program, wire, data }),
            Err(end) => {
                part(&connection, &mut control, &end).await;
                Err(end)
            }
        }
    }

    /// Says Hello, waits to be welcome, and opens the streams for data.
    async fn greet(
        &self,
        connection: &Connection,
        control: &mut ControlStream,
    ) -> Result<(Program, u32, [SendStream; 3]), SessionEnd> {
        let Shared { identity, cluster, program, address, directory, .. } = &*self.shared;
        let hello = own_hello(identity, cluster, program, address, *directory, connection);
        let number = control.say(Control::Hello(Box::new(hello))).await?;
        let answer = control.next().await?;
        let theirs = match answer.control {
            Control::Welcome(welcome) if welcome.your_msg_n == number => welcome.program,
            Control::Error { code, description, .. } => {
                return Err(SessionEnd::Refused { code, description });
            }
            _ => {
                let code = SessionErrorCode::UnexpectedFrame;
                return Err(Violation::of_frame(code, answer.msg_n, "the Hello was not answered").into());
            }
        };
        check_program(&theirs)?;
        // Who is called has found it, too, or would not have said Welcome.
        let wire = program
            .wire
            .common(theirs.wire)
            .map_err(|why| Violation::of_frame(SessionErrorCode::NoCommonVersion, answer.msg_n, why))?;
        let [first, second, third] = Priority::ALL.map(|priority| open_data(connection, priority));
        Ok((theirs, wire, [first.await?, second.await?, third.await?]))
    }

    /// Writes what is queued until the session ends.
    async fn keep(&self, session: Session, config: &PeerConfig) -> SessionEnd {
        let Session { connection, mut control, program, wire, data: [mut first, mut second, mut third] } =
            session;
        let peer = &self.peer;
        tracing::info!(peer = %config, wire, program = program.version, levels = %program.levels, "session opened");
        peer.on_outbound_up(&connection, program, wire);
        // Trust may have changed since the handshake, when nobody knew yet of this connection.
        peer.close_untrusted(&self.shared.identity);
        let mut sent = peer.sent_frames();
        let idle = || {
            let now = peer.sent_frames();
            std::mem::replace(&mut sent, now) == now
        };
        let [urgent, usual, bulk] = Priority::ALL;
        let Err(end) = tokio::select! {
            biased;
            end = peer.moved(config) => Err(end),
            end = control.run(KeepAlive::WhenIdle(idle), self.leaving.clone()) => end,
            end = write_frames(peer, urgent, &mut first, None) => end,
            end = write_frames(peer, usual, &mut second, None) => end,
            end = write_frames(peer, bulk, &mut third, Some(&self.shared.pace)) => end,
        };
        part(&connection, &mut control, &end).await;
        end
    }
}

async fn open_data(connection: &Connection, priority: Priority) -> Result<SendStream, SessionEnd> {
    let mut stream = connection.open_uni().await?;
    // A stream that is gone says so when it is used.
    let _ = stream.set_priority(priority.stream_rank());
    stream.write_all(&[priority.stream_byte()]).await?;
    Ok(stream)
}

async fn write_frames(
    peer: &Peer,
    priority: Priority,
    stream: &mut SendStream,
    pace: Option<&Pace>,
) -> Result<Infallible, SessionEnd> {
    let queue = peer.queue(priority);
    let mut batch = Batch::default();
    loop {
        queue.take(&mut batch).await;
        if let Some(pace) = pace {
            pace.wait_for(batch.bytes).await;
        }
        stream.write_all_chunks(&mut batch.pieces).await?;
        peer.count_sent(batch.frames, batch.bytes);
        batch.pieces.clear();
    }
}
