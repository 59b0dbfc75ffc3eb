//! The task that drives the delivery of files: it steps the pure core and performs its effects, as the driver does for
//! Paxos. It is the only one that knows which files the others have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_content::{BeginError, Begun, Progress, PutError, ReadError, Store};
use synod_delivery::{Attempt, Config, Core, Effect, Event, Removed, TICK_MS};
use synod_mesh::Mesh;
use synod_types::{ContentKey, ContentMessage, Manifest, Message, NodeId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, warn};

use super::lanes::Lanes;
use super::{Ask, Content, Majority};
use crate::roster::{Known, Roster};

/// Messages that are taken before anything else gets a turn.
const MESSAGES_MAX: usize = 64;
/// Things to do with the disk beyond which no further message is taken.
const DISK_JOBS_MAX: usize = 1024;

/// Which of the mesh's messages carries those of one store.
pub(crate) type Wrap = fn(ContentMessage) -> Message;

pub(crate) struct Task {
    core: Core,
    content: Content,
    mesh: Arc<Mesh>,
    wrap: Wrap,
    roster: Arc<Roster>,
    /// What the core knows of it.
    known: Arc<Known>,
    lanes: Lanes,
    /// Who waits for a file.
    wants: BTreeMap<ContentKey, Vec<oneshot::Sender<()>>>,
    /// Who waits for the word of a majority.
    awaits: BTreeMap<ContentKey, Vec<oneshot::Sender<Majority>>>,
    /// The sessions with the others: whether there is one, and how many there were before.
    sessions: BTreeMap<NodeId, (bool, u64)>,
    /// Events that effects brought about.
    events: VecDeque<Event>,
    effects: Vec<Effect>,
}

impl Task {
    /// A task that goes on from what the store holds.
    pub(crate) fn new(
        is_quiet: bool,
        content: Content,
        mesh: Arc<Mesh>,
        roster: Arc<Roster>,
        wrap: Wrap,
    ) -> Task {
        let known = roster.load_full();
        let config = Config { is_quiet, ..Config::new(known.node, known.others().collect()) };
        let config = Config { holders: known.holders().collect(), ..config };
        Task {
            core: Core::new(config, content.0.store.keys()),
            lanes: Lanes::new(&content),
            content,
            mesh,
            wrap,
            roster,
            known,
            wants: BTreeMap::new(),
            awaits: BTreeMap::new(),
            sessions: BTreeMap::new(),
            events: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Runs until `stop` is set.
    pub(crate) async fn run(
        mut self,
        mut asks: mpsc::UnboundedReceiver<Ask>,
        mut messages: mpsc::Receiver<(NodeId, ContentMessage)>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticker = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut received = Vec::new();
        loop {
            let has_room = self.lanes.waiting() < DISK_JOBS_MAX;
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => return,
                _ = ticker.tick() => self.on_tick(),
                events = self.lanes.next() => self.events.extend(events),
                Some(ask) = asks.recv() => self.on_ask(ask),
                _ = messages.recv_many(&mut received, MESSAGES_MAX), if has_room => {
                    let received = received.drain(..);
                    self.events.extend(received.map(|(from, message)| Event::Message { from, message }));
                }
            }
            while let Some(event) = self.events.pop_front() {
                self.step(event);
            }
        }
    }

    fn on_tick(&mut self) {
        self.look_who_is_there();
        for peer in self.mesh.peers() {
            // Of whom the core does not know yet it is told a little later.
            if !self.known.others().any(|known| known == peer.id) {
                continue;
            }
            let now = (peer.is_up(), peer.reconnects);
            let before = self.sessions.insert(peer.id, now).unwrap_or_default();
            if before.0 && (!now.0 || before.1 != now.1) {
                self.events.push_back(Event::Down(peer.id));
            }
            if now.0 && before != now {
                self.events.push_back(Event::Up(peer.id));
            }
        }
        let events = &mut self.events;
        self.wants.retain(|&key, waiting| {
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.is_empty() {
                events.push_back(Event::Unwant(key));
            }
            !waiting.is_empty()
        });
        self.events.push_back(Event::Tick);
    }

    fn look_who_is_there(&mut self) {
        let known = self.roster.load_full();
        if Arc::ptr_eq(&known, &self.known) {
            return;
        }
        let others: BTreeSet<NodeId> = known.others().collect();
        self.sessions.retain(|node, _| others.contains(node));
        self.events.push_back(Event::Nodes { others, holders: known.holders().collect() });
        self.known = known;
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Want(key, waiting) => {
                self.wants.entry(key).or_default().push(waiting);
                self.events.push_back(Event::Want(key));
            }
            Ask::Await(key, waiting) => {
                self.awaits.entry(key).or_default().push(waiting);
                self.events.push_back(Event::Await(key));
            }
            Ask::Stored(key) => self.events.push_back(Event::Stored(key)),
            Ask::Lost(key) => {
                // What is still there may be read the next time.
                if self.content.0.store.has(&key).is_none() {
                    self.events.push_back(Event::Removed { key, why: Removed::Lost });
                }
            }
            Ask::Collected(keys) => {
                let removed = keys.into_iter().map(|key| Event::Removed { key, why: Removed::Collected });
                self.events.extend(removed);
            }
        }
    }

    fn step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(event, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.mesh.send(to, &(self.wrap)(message)),
            Effect::SendHeld { to, key } => match self.content.receipt(key) {
                Some(receipt) => self.mesh.send(to, &(self.wrap)(ContentMessage::Held(receipt))),
                None => self.events.push_back(Event::Removed { key, why: Removed::Lost }),
            },
            Effect::SendOffer { to, key } => {
                let (mesh, wrap) = (Arc::clone(&self.mesh), self.wrap);
                let send = move |message| mesh.send(to, &wrap(message));
                self.lanes.submit(&key, move |store| send_offer(store, send, key));
            }
            Effect::SendPiece { to, key, number } => {
                let (mesh, wrap) = (Arc::clone(&self.mesh), self.wrap);
                let send = move |message| mesh.send(to, &wrap(message));
                self.lanes.submit(&key, move |store| send_piece(store, send, to, key, number));
            }
            Effect::Begin { key, attempt, manifest } => {
                self.lanes.submit(&key, move |store| begin(store, key, attempt, &manifest));
            }
            Effect::Write { key, attempt, manifest, number, bytes } => {
                self.lanes.submit(&key, move |store| write(store, key, attempt, &manifest, number, &bytes));
            }
            Effect::Fetched(key) => {
                for waiting in self.wants.remove(&key).unwrap_or_default() {
                    // Who has left needs it no more.
                    let _ = waiting.send(());
                }
            }
            Effect::Uniform { key, mut receipts, here } => {
                if here {
                    match self.content.receipt(key) {
                        Some(own) => receipts.push(own),
                        None => {
                            // It went away meanwhile: then the majority has to do without this node.
                            self.events.push_back(Event::Removed { key, why: Removed::Lost });
                            self.events.push_back(Event::Await(key));
                            return;
                        }
                    }
                }
                self.answer(key, &Ok(receipts));
            }
            Effect::NotUniform { key, why } => self.answer(key, &Err(why)),
            Effect::Blame { node, key, why } => {
                warn!(
                    node = node.short(),
                    file = key.short(),
                    ?why,
                    "a node sent what is not part of the file"
                );
            }
        }
    }

    fn answer(&mut self, key: ContentKey, majority: &Majority) {
        for waiting in self.awaits.remove(&key).unwrap_or_default() {
            // Who has left needs it no more.
            let _ = waiting.send(majority.clone());
        }
    }
}

// What the disk does; each gives the events that answer the effect.

fn send_offer(store: &Store, send: impl Fn(ContentMessage), key: ContentKey) -> Vec<Event> {
    match store.manifest(&key) {
        Ok(manifest) => {
            let manifest = Manifest::clone(&manifest);
            send(ContentMessage::Offer { content: key, manifest });
            Vec::new()
        }
        Err(why) => lost(key, &why),
    }
}

fn send_piece(
    store: &Store,
    send: impl Fn(ContentMessage),
    to: NodeId,
    key: ContentKey,
    number: u32,
) -> Vec<Event> {
    // Whoever is given one piece is going to ask for the next.
    store.touch(&key);
    let mut events = match store.piece(&key, number) {
        Ok(bytes) => {
            send(ContentMessage::Piece { content: key, number, bytes });
            Vec::new()
        }
        Err(ReadError::NoPiece { .. }) => Vec::new(),
        Err(why) => {
            send(ContentMessage::NotHeld { content: key });
            lost(key, &why)
        }
    };
    events.push(Event::Served(to));
    events
}

/// What a file that cannot be read means for the protocol: one that the disk does not give now is still there.
fn lost(key: ContentKey, why: &ReadError) -> Vec<Event> {
    match why {
        ReadError::NotHeld(_) | ReadError::NoPiece { .. } => {
            debug!(%why, "a file that was to be sent is gone")
        }
        ReadError::Damaged { .. } => error!(%why, "the other nodes are asked for a file"),
        ReadError::Disk(_) => {
            error!(%why, "a file that was to be sent cannot be read");
            return Vec::new();
        }
    }
    vec![Event::Removed { key, why: Removed::Lost }]
}

fn begin(store: &Store, key: ContentKey, attempt: Attempt, manifest: &Manifest) -> Vec<Event> {
    vec![match store.begin(&key, manifest) {
        Ok(Begun::Stored) => Event::Stored(key),
        Ok(Begun::Missing(missing)) => Event::Begun { key, attempt, missing },
        Err(why) => {
            match why {
                BeginError::Partials { .. } => debug!(file = key.short(), %why, "a file is not received now"),
                BeginError::Manifest(_)
                | BeginError::Files { .. }
                | BeginError::Full { .. }
                | BeginError::Disk(_) => {
                    error!(file = key.short(), %why, "a file cannot be received");
                }
            }
            Event::Failed { key, attempt }
        }
    }]
}

fn write(
    store: &Store,
    key: ContentKey,
    attempt: Attempt,
    manifest: &Manifest,
    number: u32,
    bytes: &Bytes,
) -> Vec<Event> {
    let written = Event::Written { key, attempt, number };
    match store.put(&key, manifest, number, bytes) {
        Ok(Progress::Missing(_)) => vec![written],
        Ok(Progress::Stored) => vec![written, Event::Stored(key)],
        Err(PutError::WrongPiece { .. }) => vec![Event::WrongPiece { key, attempt, number }],
        Err(PutError::WrongWhole { .. }) => vec![written, Event::WrongWhole { key, attempt }],
        Err(why @ (PutError::NotBegun(_) | PutError::Disk(_))) => {
            error!(file = key.short(), %why, "a piece of a file cannot be written");
            vec![Event::Failed { key, attempt }]
        }
    }
}
