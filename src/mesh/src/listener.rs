//! Takes the sessions that peers open, and reads their messages.
//!
//! No message is read before the Hello is acknowledged, and only a member's is: any other node that says a genuine one is
//! told what it lacks, and remembered as an applicant. Each data stream is read by a task of its own, at the pace of
//! whoever takes its messages: one that is slow with replication keeps back replication, not heartbeats.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream};
use synod_auth::{PublicKey, Unverified};
use synod_places::{Place, Places};
use synod_types::frame::FrameReader;
use synod_types::host_port::is_host_port;
use synod_types::limits::{
    FRAME_BYTES_MAX, MESH_NODES_MAX, MESH_OPENING_MAX, MESH_OPENING_MS_MAX, MESH_OPENING_PER_ADDRESS_MAX,
};
use synod_types::session::{Control, Hello, SessionErrorCode, Welcome};
use synod_types::{Message, NodeId, Program, wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::applicants::Conflict;
use crate::control::{ControlStream, KeepAlive};
use crate::identity::{check_hello, peer_key, peer_name};
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

/// Who called, as its certificate says.
struct Caller {
    key: PublicKey,
    id: NodeId,
    name: Option<String>,
}

impl Caller {
    fn of(connection: &Connection) -> Option<Caller> {
        let key = peer_key(connection)?;
        Some(Caller { id: NodeId(key.id()), name: peer_name(connection), key })
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
        let mut is_stranger = false;
        let opened = tokio::select! {
            opened = timeout(Duration::from_millis(MESH_OPENING_MS_MAX), self.open(incoming, &mut is_stranger)) => {
                opened.unwrap_or(Err(SessionEnd::Slow))
            }
            () = leaving.begun() => Err(SessionEnd::Leaving),
        };
        drop(permit);
        match opened {
            Ok((peer, connection, control)) => self.keep(&peer, &connection, control).await,
            Err(end) => {
                self.shared.counters.count_end(&end);
                if is_stranger || end.is_tls_failure() {
                    self.shared.counters.count_stranger();
                }
                tracing::debug!(%remote, "no session with who called: {end}");
            }
        }
    }

    /// The handshake, the Hello and its Ack. However it ends, `is_stranger` then says whether who called is no member and
    /// has not said a genuine Hello.
    async fn open(
        &self,
        incoming: Incoming,
        is_stranger: &mut bool,
    ) -> Result<(Arc<Peer>, Connection, ControlStream), SessionEnd> {
        let connection = incoming.await?;
        let caller = Caller::of(&connection);
        *is_stranger = caller.as_ref().is_none_or(|caller| self.shared.peer(caller.id).is_none());
        let Some(caller) = caller.filter(|caller| !*is_stranger || self.may_apply(caller)) else {
            connection.close(CLOSED, b"");
            return Err(SessionEnd::Stranger);
        };
        let (send, recv) = connection.accept_bi().await?;
        let mut control = ControlStream::new(send, recv);
        match self.greet(&caller, &connection, &mut control).await {
            Ok(peer) => Ok((peer, connection, control)),
            Err(end) => {
                match &end {
                    SessionEnd::NoMember(_) => {
                        *is_stranger = false;
                        self.shared.counters.count_applicant();
                    }
                    SessionEnd::Violation(violation) => self.on_refused(&caller, violation),
                    _ => {}
                }
                part(&connection, &mut control, &end).await;
                Err(end)
            }
        }
    }

    /// Whether it can be an applicant: it has a name, and is not this very node, or one with its key.
    fn may_apply(&self, caller: &Caller) -> bool {
        caller.name.is_some() && caller.id != self.shared.identity.node_id()
    }

    /// Reads the Hello, and acknowledges it if it is a member's.
    async fn greet(
        &self,
        caller: &Caller,
        connection: &Connection,
        control: &mut ControlStream,
    ) -> Result<Arc<Peer>, SessionEnd> {
        let first = control.next().await?;
        let msg_n = first.msg_n;
        let Control::Hello(hello) = first.control else {
            let code = SessionErrorCode::MissingHello;
            return Err(Violation::of_frame(code, msg_n, "the first frame is not a Hello").into());
        };
        check_hello(&hello, msg_n, &caller.key, &self.shared.cluster, connection)?;
        // Not before: it may have been accepted, or removed, since it called.
        let peer = self.shared.peer(caller.id);
        if let Some(peer) = &peer {
            peer.set_program(&hello.program);
        }
        let Program { wire, .. } = &self.shared.program;
        wire.common(hello.program.wire)
            .map_err(|why| Violation::of_frame(SessionErrorCode::NoCommonVersion, msg_n, why))?;
        let Some(peer) = peer else {
            return Err(self.apply(caller, &hello, msg_n));
        };
        let directories = Arc::clone(&self.shared.directories);
        let (id, directory) = (caller.id, hello.directory);
        // It may have to write.
        let is_known = tokio::task::spawn_blocking(move || directories.is_known(id, directory)).await;
        if !is_known.is_ok_and(|is_known| is_known) {
            let description = "its data directory is not the one with which it made its promises; it can come back only as a new \
                               node: synod member replace";
            return Err(Violation::of_frame(SessionErrorCode::OtherDirectory, msg_n, description).into());
        }
        let welcome = Welcome { your_msg_n: msg_n, program: self.shared.program.clone() };
        control.say(Control::Welcome(Box::new(welcome))).await?;
        Ok(peer)
    }

    /// Remembers a node that is no member and has said a genuine Hello; what it is told.
    fn apply(&self, caller: &Caller, hello: &Hello, msg_n: u64) -> SessionEnd {
        let Some(name) = caller.name.as_deref() else { return SessionEnd::Stranger };
        let Hello { address, program, .. } = hello;
        if !is_host_port(address) {
            let description = "the address is not of the form host:port";
            return Violation::of_frame(SessionErrorCode::UnexpectedFrame, msg_n, description).into();
        }
        let (applicants, id) = (&self.shared.applicants, caller.id);
        let (code, description) = if applicants.is_rejected(id) {
            (SessionErrorCode::Rejected, "an administrator has rejected this node".to_owned())
        } else {
            let conflict = self.shared.conflict(name);
            let is_news = applicants.on_call(id, name, address, program, conflict, SystemTime::now());
            match conflict {
                Some(Conflict { known }) => {
                    if is_news {
                        tracing::warn!(name, %id, %known, address, "a changed key for a known name");
                    }
                    let description =
                        format!("{name} is known here with the key {known}, and this one is {id}");
                    (SessionErrorCode::NameTaken, description)
                }
                None => {
                    if is_news {
                        tracing::info!(name, %id, address, "a node asks to become a member");
                    }
                    let description =
                        format!("an administrator has to accept this node: synod member accept {name}");
                    (SessionErrorCode::Pending, description)
                }
            }
        };
        SessionEnd::NoMember(Violation::of_frame(code, msg_n, description))
    }

    fn on_refused(&self, caller: &Caller, violation: &Violation) {
        let Some(peer) = self.shared.peer(caller.id) else { return };
        self.shared.counters.count_refused_hello();
        if peer.on_refused() {
            tracing::warn!(peer = %peer.config(), "refused a Hello: {violation}");
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
        self.shared.counters.count_end(&end);
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
