//! Takes the sessions that peers open, and reads their messages.
//!
//! Nothing is read before the Hello is acknowledged. Each data stream is read by a task of its own, at the pace of
//! whoever takes its messages: one that is slow with replication keeps back replication, not heartbeats.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream};
use synod_auth::Unverified;
use synod_places::{Place, Places};
use synod_types::frame::FrameReader;
use synod_types::limits::{
    FRAME_BYTES_MAX, MESH_NODES_MAX, MESH_OPENING_MAX, MESH_OPENING_MS_MAX, MESH_OPENING_PER_ADDRESS_MAX,
};
use synod_types::session::{Control, SessionErrorCode};
use synod_types::{Message, NodeId, wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::control::{ControlStream, KeepAlive};
use crate::identity::{check_hello, peer_key};
use crate::leaving::Leaving;
use crate::mesh::Shared;
use crate::peer::Peer;
use crate::priority::Priority;
use crate::session::{CLOSED, SessionEnd, Violation, part};

/// Pieces of a stream that are taken at a time.
const CHUNKS: usize = 32;

/// What it takes to be called.
pub(crate) struct Listener<I> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    pub(crate) inbox: Arc<I>,
    pub(crate) leaving: Leaving,
}

impl<I, F> Listener<I>
where
    I: Fn(NodeId, Priority, Unverified<Message>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// Takes session after session until the mesh closes, and then waits for their ends.
    pub(crate) async fn run(mut self) {
        let opening = Arc::new(Semaphore::new(MESH_OPENING_MAX));
        let proved = Places::new(MESH_OPENING_PER_ADDRESS_MAX);
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    let Ok(permit) = opening.clone().try_acquire_owned() else {
                        self.shared.counters.count_ignored();
                        incoming.ignore();
                        continue;
                    };
                    // More than all peers can need: who opens so much must at least show its address.
                    let busy = opening.available_permits() + MESH_NODES_MAX < MESH_OPENING_MAX;
                    let is_proved = incoming.remote_address_validated();
                    if busy && !is_proved {
                        // It can be retried because its address is not validated.
                        let _ = incoming.retry();
                        continue;
                    }
                    // An address that is not proved may be anybody's: nothing is held against it.
                    let place = proved.take(incoming.remote_address().ip()).filter(|_| is_proved);
                    if is_proved && place.is_none() {
                        self.shared.counters.count_ignored();
                        incoming.ignore();
                        continue;
                    }
                    let session = Session {
                        shared: self.shared.clone(),
                        inbox: self.inbox.clone(),
                        leaving: self.leaving.clone(),
                    };
                    sessions.spawn(session.run(incoming, (permit, place)));
                }
                Some(ended) = sessions.join_next() => report_panic(ended),
                () = self.leaving.begun() => break,
            }
        }
        while let Some(ended) = sessions.join_next().await {
            report_panic(ended);
        }
    }
}

fn report_panic<T>(ended: Result<T, JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a session of the mesh broke an invariant: {error}");
    }
}

/// A session that a peer opens.
struct Session<I> {
    shared: Arc<Shared>,
    inbox: Arc<I>,
    leaving: Leaving,
}

impl<I, F> Session<I>
where
    I: Fn(NodeId, Priority, Unverified<Message>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn run(mut self, incoming: Incoming, permit: (OwnedSemaphorePermit, Option<Place>)) {
        let remote = incoming.remote_address();
        let mut leaving = self.leaving.clone();
        let opened = tokio::select! {
            opened = timeout(Duration::from_millis(MESH_OPENING_MS_MAX), self.open(incoming)) => {
                opened.unwrap_or(Err(SessionEnd::Slow))
            }
            () = leaving.begun() => Err(SessionEnd::Leaving),
        };
        drop(permit);
        match opened {
            Ok((peer, connection, control)) => self.keep(&peer, &connection, control).await,
            Err(end) => {
                if matches!(end, SessionEnd::Stranger) || end.is_tls_failure() {
                    self.shared.counters.count_stranger();
                }
                tracing::debug!(%remote, "no session with who called: {end}");
            }
        }
    }

    /// The handshake, the Hello and its Ack.
    async fn open(&self, incoming: Incoming) -> Result<(Arc<Peer>, Connection, ControlStream), SessionEnd> {
        let connection = incoming.await?;
        let key = peer_key(&connection).ok_or(SessionEnd::Stranger);
        let known = key.and_then(|key| {
            let peer = self.shared.peer(NodeId(key.id())).ok_or(SessionEnd::Stranger)?;
            Ok((key, peer))
        });
        let (key, peer) = known.inspect_err(|_| connection.close(CLOSED, b""))?;
        let (send, recv) = connection.accept_bi().await?;
        let mut control = ControlStream::new(send, recv);
        let greeted = async {
            let first = control.next().await?;
            let msg_n = first.msg_n;
            let Control::Hello(hello) = first.control else {
                let code = SessionErrorCode::MissingHello;
                return Err(Violation::of_frame(code, msg_n, "the first frame is not a Hello").into());
            };
            check_hello(&hello, msg_n, &key, &self.shared.cluster, &connection)?;
            control.say(Control::Ack { your_msg_n: msg_n }).await?;
            Ok(())
        };
        match greeted.await {
            Ok(()) => Ok((peer, connection, control)),
            Err(end) => {
                if let SessionEnd::Violation(violation) = &end {
                    self.shared.counters.count_refused_hello();
                    if peer.on_refused() {
                        tracing::warn!(peer = %peer.config(), "refused a Hello: {violation}");
                    }
                }
                part(&connection, &mut control, &end).await;
                Err(end)
            }
        }
    }

    async fn keep(&mut self, peer: &Arc<Peer>, connection: &Connection, mut control: ControlStream) {
        peer.on_inbound_up(connection);
        // Trust may have changed since the handshake, when nobody knew yet of this connection.
        peer.close_untrusted(&self.shared.identity);
        let leaving = self.leaving.clone();
        let Err(end) = tokio::select! {
            biased;
            end = peer.removed() => Err(end),
            end = control.run(KeepAlive::<fn() -> bool>::Never, leaving) => end,
            end = self.read(peer, connection) => end,
        };
        peer.on_inbound_down(connection);
        if let SessionEnd::Violation(violation) = &end {
            self.shared.counters.count_violation();
            tracing::warn!(peer = %peer.config(), "ended its session: {violation}");
        } else {
            tracing::debug!(peer = %peer.config(), "its session ended: {end}");
        }
        part(connection, &mut control, &end).await;
    }

    /// Reads the data streams until one of them fails. All of them end with this.
    async fn read(&self, peer: &Arc<Peer>, connection: &Connection) -> Result<Infallible, SessionEnd> {
        let named = Arc::new([const { AtomicBool::new(false) }; Priority::ALL.len()]);
        let mut readers = JoinSet::new();
        loop {
            tokio::select! {
                // QUIC lets a peer open as many streams as there are priorities.
                stream = connection.accept_uni() => {
                    let (peer, inbox, named) = (peer.clone(), self.inbox.clone(), named.clone());
                    let mut stream = stream?;
                    readers.spawn(async move {
                        let priority = stream_priority(&mut stream, &named).await?;
                        read_frames(stream, priority, &peer, &*inbox).await
                    });
                }
                Some(ended) = readers.join_next() => match ended {
                    Ok(end) => return end,
                    Err(error) => {
                        report_panic::<()>(Err(error));
                        return Err(SessionEnd::StreamEnded);
                    }
                },
            }
        }
    }
}

/// Reads what priority a stream is for; none may come twice.
async fn stream_priority(stream: &mut RecvStream, named: &[AtomicBool; 3]) -> Result<Priority, SessionEnd> {
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    let [byte] = byte;
    let Some(priority) = Priority::of_stream_byte(byte) else {
        return Err(
            Violation::unexpected(format!("a stream begins with {byte}, which names no priority")).into()
        );
    };
    if named[priority.place()].swap(true, Ordering::Relaxed) {
        return Err(Violation::unexpected(format!("a second stream for {priority:?}")).into());
    }
    Ok(priority)
}

async fn read_frames<I, F>(
    mut stream: RecvStream,
    priority: Priority,
    peer: &Peer,
    inbox: &I,
) -> Result<Infallible, SessionEnd>
where
    I: Fn(NodeId, Priority, Unverified<Message>) -> F,
    F: Future<Output = ()>,
{
    let mut frames = FrameReader::new(FRAME_BYTES_MAX);
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    while let Some(filled) = stream.read_chunks(&mut chunks).await? {
        for chunk in &mut chunks[..filled] {
            frames.push(&std::mem::take(chunk));
        }
        while let Some(frame) = frames.next_frame().map_err(Violation::unexpected)? {
            let message: Message = wire::decode(&frame).map_err(Violation::unexpected)?;
            peer.count_received(1, frame.len());
            // The message holds copies of its own: the frame's bytes can be used again while it is taken.
            drop(frame);
            // The session may be about to end, and this task with it.
            if peer.is_removed() {
                return Err(SessionEnd::Removed);
            }
            inbox(peer.id, priority, Unverified(message)).await;
        }
    }
    Err(Violation::unexpected("a stream for messages ended").into())
}
