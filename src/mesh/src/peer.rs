//! One other node: what waits for it, the sessions with it, and what there is to say about them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use quinn::Connection;
use synod_auth::TlsIdentity;
use synod_types::session::SessionErrorCode;
use synod_types::{NodeId, Program, Versions};
use tokio::sync::{Notify, watch};

use crate::config::PeerConfig;
use crate::identity::peer_chain;
use crate::priority::Priority;
use crate::queue::{Frame, Queue};
use crate::session::{REPLACED, SessionEnd, UNTRUSTED};

/// How one direction to or from a peer stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkState {
    /// No session, and none is being opened.
    Down,
    /// A session is being opened.
    Connecting,
    /// The Hello is acknowledged.
    Up,
}

/// What there is to say about a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Who it is.
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// As configured.
    pub address: String,
    /// The session that this node opened, which carries its messages.
    pub outbound: LinkState,
    /// The session that the peer opened; never `Connecting`.
    pub inbound: LinkState,
    /// The round trip as QUIC estimates it, of the session that this node opened.
    pub rtt: Option<Duration>,
    /// Since when the session that this node opened is up.
    pub connected_since: Option<SystemTime>,
    /// Sessions that this node opened after the first one.
    pub reconnects: u64,
    /// Messages written to the peer's streams.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that came from the peer.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Messages to the peer that were dropped: there was no session, or one that is too old for them, or no room.
    pub dropped: u64,
    /// Why the last session that this node opened ended or did not begin.
    pub last_error: Option<String>,
    /// With which code the peer refused the last session, if it did.
    pub refused: Option<SessionErrorCode>,
    /// What its program is, as it said last; `None`: it has not said since this node started.
    pub program: Option<Program>,
    /// The wire version of the session that this node opened.
    pub wire: Option<u32>,
}

impl PeerStatus {
    /// Whether messages flow in both directions.
    pub fn is_up(&self) -> bool {
        self.outbound == LinkState::Up && self.inbound == LinkState::Up
    }

    /// The levels by which its program can execute, if there is a session with it now: it may come back with another one.
    pub fn levels(&self) -> Option<Versions> {
        let is_there = self.outbound == LinkState::Up || self.inbound == LinkState::Up;
        self.program.as_ref().filter(|_| is_there).map(|program| program.levels)
    }
}

/// A peer, shared by all tasks that deal with it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who it is, as long as it is anybody.
    pub(crate) id: NodeId,
    standing: watch::Sender<Standing>,
    queues: [Queue; 3],
    /// Rung when the peer opens a session: then it can be called as well.
    came_up: Notify,
    outbound: Mutex<Outbound>,
    inbound: Mutex<Option<(Connection, SystemTime)>>,
    program: ArcSwapOption<Program>,
    sent: Traffic,
    received: Traffic,
    dropped: AtomicU64,
    /// Its last Hello was refused.
    is_refused: AtomicBool,
}

/// What was decided about a peer from outside; its tasks look at it, and wait for it to change.
#[derive(Debug)]
struct Standing {
    config: Arc<PeerConfig>,
    /// It is no peer any more, and never will be: one with its id that is added later is another.
    is_removed: bool,
}

#[derive(Debug)]
struct Outbound {
    state: LinkState,
    session: Option<(Connection, SystemTime)>,
    sessions: u64,
    last_error: Option<String>,
    refused: Option<SessionErrorCode>,
    wire: Option<u32>,
}

#[derive(Debug, Default)]
struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    fn add(&self, frames: usize, bytes: usize) {
        self.frames.fetch_add(count(frames), Ordering::Relaxed);
        self.bytes.fetch_add(count(bytes), Ordering::Relaxed);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).expect("usize has at most 64 bits here")
}

impl Peer {
    pub(crate) fn new(config: PeerConfig) -> Peer {
        let outbound = Outbound {
            state: LinkState::Down,
            session: None,
            sessions: 0,
            last_error: None,
            refused: None,
            wire: None,
        };
        Peer {
            id: config.id,
            standing: watch::Sender::new(Standing { config: Arc::new(config), is_removed: false }),
            queues: Default::default(),
            came_up: Notify::new(),
            outbound: Mutex::new(outbound),
            inbound: Mutex::new(None),
            program: ArcSwapOption::empty(),
            sent: Traffic::default(),
            received: Traffic::default(),
            dropped: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
        }
    }

    /// How it is called, and where.
    pub(crate) fn config(&self) -> Arc<PeerConfig> {
        self.standing.borrow().config.clone()
    }

    /// From now on it is called like this.
    pub(crate) fn set_config(&self, config: PeerConfig) {
        assert_eq!(config.id, self.id, "another node is another peer");
        self.standing.send_if_modified(|standing| {
            let is_news = *standing.config != config;
            if is_news {
                standing.config = Arc::new(config);
            }
            is_news
        });
    }

    /// It is no peer any more: its tasks end their sessions, and themselves.
    pub(crate) fn remove(&self) {
        self.standing.send_modify(|standing| standing.is_removed = true);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.standing.borrow().is_removed
    }

    /// Waits until it is no peer any more.
    pub(crate) async fn removed(&self) -> SessionEnd {
        self.stands(|standing| standing.is_removed).await;
        SessionEnd::Removed
    }

    /// Waits until it is no peer any more, or is called otherwise than as `config` says.
    pub(crate) async fn moved(&self, config: &PeerConfig) -> SessionEnd {
        self.stands(|standing| standing.is_removed || !standing.config.is_called_as(config)).await;
        if self.is_removed() { SessionEnd::Removed } else { SessionEnd::Moved }
    }

    async fn stands(&self, as_wanted: impl FnMut(&Standing) -> bool) {
        let mut standing = self.standing.subscribe();
        standing.wait_for(as_wanted).await.expect("what it waits for is this peer's own");
    }

    pub(crate) fn queue(&self, priority: Priority) -> &Queue {
        &self.queues[priority.place()]
    }

    /// Queues a frame, or drops and counts it.
    pub(crate) fn send(&self, frame: Frame) {
        if !self.queue(frame.priority()).push(frame) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_sent(&self, frames: usize, bytes: usize) {
        self.sent.add(frames, bytes);
    }

    pub(crate) fn sent_frames(&self) -> u64 {
        self.sent.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn count_received(&self, frames: usize, bytes: usize) {
        self.received.add(frames, bytes);
    }

    /// This node begins to open a session.
    pub(crate) fn on_connecting(&self) {
        self.outbound().state = LinkState::Connecting;
    }

    /// The peer says what its program is.
    pub(crate) fn set_program(&self, program: &Program) {
        self.program.store(Some(Arc::new(program.clone())));
    }

    /// The session that this node opened has begun, in this wire version.
    pub(crate) fn on_outbound_up(&self, connection: &Connection, program: Program, wire: u32) {
        self.program.store(Some(Arc::new(program)));
        let mut outbound = self.outbound();
        outbound.state = LinkState::Up;
        outbound.session = Some((connection.clone(), SystemTime::now()));
        outbound.sessions += 1;
        outbound.wire = Some(wire);
        self.queues.iter().for_each(|queue| queue.open(wire));
    }

    /// The session that this node opened has ended, or did not begin. Says whether that is news.
    pub(crate) fn on_outbound_down(&self, end: &SessionEnd) -> bool {
        let forgotten = self.queues.iter().map(Queue::shut).sum();
        self.dropped.fetch_add(count(forgotten), Ordering::Relaxed);
        let mut outbound = self.outbound();
        outbound.state = LinkState::Down;
        outbound.wire = None;
        let was_up = outbound.session.take().is_some();
        outbound.refused = match end {
            SessionEnd::Refused { code, .. } => Some(*code),
            _ => None,
        };
        let before = outbound.last_error.replace(end.to_string());
        was_up || before != outbound.last_error
    }

    /// The session that the peer opened is acknowledged. It replaces an older one.
    pub(crate) fn on_inbound_up(&self, connection: &Connection) {
        self.is_refused.store(false, Ordering::Relaxed);
        let older = self.inbound().replace((connection.clone(), SystemTime::now()));
        if let Some((older, _)) = older {
            older.close(REPLACED, b"replaced by a newer connection");
        }
        self.came_up.notify_waiters();
    }

    /// The peer's Hello was refused. Says whether that is news: it calls again and again, and is logged once.
    pub(crate) fn on_refused(&self) -> bool {
        !self.is_refused.swap(true, Ordering::Relaxed)
    }

    /// The session that the peer opened has ended.
    pub(crate) fn on_inbound_down(&self, connection: &Connection) {
        self.inbound().take_if(|(current, _)| current.stable_id() == connection.stable_id());
    }

    /// Closes the sessions in which the peer has shown what no authority vouches for that `identity` trusts now. A
    /// certificate that has expired since it was shown is none of them: the session goes on, and there will be no other.
    pub(crate) fn close_untrusted(&self, identity: &TlsIdentity) {
        if let Some((connection, since)) = &self.outbound().session {
            let name = &self.config().server_name;
            let is_trusted = |chain: Vec<_>| identity.vouches_for_called(&chain, name, *since);
            self.close_unless(peer_chain(connection).is_some_and(is_trusted), connection);
        }
        if let Some((connection, since)) = &*self.inbound() {
            let is_trusted = |chain: Vec<_>| identity.vouches_for_caller(&chain, *since);
            self.close_unless(peer_chain(connection).is_some_and(is_trusted), connection);
        }
    }

    fn close_unless(&self, is_trusted: bool, connection: &Connection) {
        if !is_trusted {
            tracing::warn!(peer = %self.config(), "ended a session: its certificate is of no authority that is trusted");
            connection.close(UNTRUSTED, b"the certificate is of no authority that is trusted");
        }
    }

    /// Waits until the peer opens a session.
    pub(crate) async fn came_up(&self) {
        self.came_up.notified().await;
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let config = self.config();
        let outbound = self.outbound();
        let session = outbound.session.as_ref();
        let inbound = if self.inbound().is_some() { LinkState::Up } else { LinkState::Down };
        PeerStatus {
            id: self.id,
            name: config.name.clone(),
            address: config.address.clone(),
            outbound: outbound.state,
            inbound,
            rtt: session.map(|(connection, _)| connection.rtt()),
            connected_since: session.map(|(_, since)| *since),
            reconnects: outbound.sessions.saturating_sub(1),
            sent_frames: self.sent.frames.load(Ordering::Relaxed),
            sent_bytes: self.sent.bytes.load(Ordering::Relaxed),
            received_frames: self.received.frames.load(Ordering::Relaxed),
            received_bytes: self.received.bytes.load(Ordering::Relaxed),
            queued_bytes: self.queues.iter().map(Queue::bytes).sum(),
            dropped: self.dropped.load(Ordering::Relaxed),
            last_error: outbound.last_error.clone(),
            refused: outbound.refused,
            program: self.program.load_full().map(Arc::unwrap_or_clone),
            wire: outbound.wire,
        }
    }

    fn outbound(&self) -> MutexGuard<'_, Outbound> {
        // Each change is whole before anything can panic.
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbound(&self) -> MutexGuard<'_, Option<(Connection, SystemTime)>> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
