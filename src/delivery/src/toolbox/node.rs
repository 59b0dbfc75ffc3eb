//! One node: takes each event apart, and puts the parts of the toolbox together.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use synod_types::NodeId;
use synod_types::configuration::is_majority;
use synod_types::limits::{MEMBERS_MAX, TOOLBOX_BURST_MAX, TOOLBOX_LIVES_MAX, TOOLBOX_PAYLOAD_BYTES_MAX};

use super::broken::Fault;
use super::builder::Settings;
use super::clock::{Lamport, VectorClock};
use super::detector::{Detector, Verdict};
use super::event::{BroadcastError, Counters, Delivery, Effect, Event};
use super::guarantee::Guarantee;
use super::id::{Life, MessageId, Window};
use super::message::{Body, Message, Packet, Report, Seen};
use super::order::{self, Order};
use super::peers::{Admission, Peer, Peers, State};
use super::stream::{Held, Stream, Streams};
use super::subscriptions::{SubscriptionId, Subscriptions, TooManySubscriptions, Topic};

/// One node of a group.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    status: Status,
    now: u64,
    detector: Option<Detector>,
    peers: Peers,
    /// Its own messages among them.
    streams: Streams,
    lamport: Lamport,
    subscriptions: Subscriptions,
    counters: Counters,
    /// When everybody was told last what is here, and whether more is by now.
    reported: u64,
    has_news: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Working,
    Leaving { until: u64 },
    Left,
    Expelled,
}

impl Node {
    pub(crate) fn new(settings: Settings) -> Node {
        let me = settings.me;
        let others = || settings.members.iter().copied().filter(|&node| node != me.node);
        let state = match me.incarnation {
            1 => State::Owed { incarnation: 1, since: 1, is_heard: false },
            _ => State::Unknown,
        };
        let peers = others().map(|node| (node, Peer { state, has: BTreeMap::new() })).collect();
        let detector = settings.patience.map(|patience| Detector::new(patience, others(), settings.broken));
        let mut streams = Streams::default();
        if let Some(own) = streams.open(me) {
            own.begin(1);
        }
        Node {
            status: Status::Working,
            now: 0,
            detector,
            peers: Peers(peers),
            streams,
            lamport: Lamport::default(),
            subscriptions: Subscriptions::default(),
            counters: Counters::default(),
            reported: 0,
            has_news: true,
            settings,
        }
    }

    /// This life.
    pub fn life(&self) -> Life {
        self.settings.me
    }

    /// What happened how often.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Messages of this node that are not yet at all to whom they are owed.
    pub fn under_way(&self) -> u64 {
        let own = self.own();
        own.seen.watermark() - own.settled().watermark()
    }

    /// Messages that are kept, of this node and all others: never more than [`synod_types::limits::TOOLBOX_WINDOW_MAX`] of a
    /// life.
    pub fn held(&self) -> usize {
        self.streams.map.values().map(|stream| stream.held.len()).sum()
    }

    /// Whether the detector, if there is one, suspects a node.
    pub fn suspects(&self, node: NodeId) -> bool {
        self.detector.as_ref().is_some_and(|detector| detector.suspects(node))
    }

    /// To whom what is broadcast now is owed.
    pub fn audience(&self) -> Vec<Life> {
        self.peers.audience().into_iter().map(|seat| seat.life).collect()
    }

    /// Subscribes to a topic.
    ///
    /// # Errors
    /// [`TooManySubscriptions`].
    pub fn subscribe(&mut self, topic: Topic) -> Result<SubscriptionId, TooManySubscriptions> {
        self.subscriptions.subscribe(topic)
    }

    /// Ends a subscription; whether there was one.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.subscriptions.unsubscribe(id)
    }

    /// Broadcasts a message, this node included, and appends what is to be done to `effects`.
    ///
    /// # Errors
    /// [`BroadcastError`]; the message is then nowhere.
    pub fn broadcast(
        &mut self,
        topic: Topic,
        payload: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<MessageId, BroadcastError> {
        match self.status {
            Status::Working => {}
            Status::Leaving { .. } | Status::Left => return Err(BroadcastError::Leaving),
            Status::Expelled => return Err(BroadcastError::Expelled),
        }
        if payload.len() > TOOLBOX_PAYLOAD_BYTES_MAX {
            return Err(BroadcastError::TooLarge(payload.len()));
        }
        if self.is_full() {
            self.give_up_the_lagging(effects);
        }
        if self.is_full() && !self.settings.broken.is(Fault::NoWindow) {
            return Err(BroadcastError::Busy(self.under_way()));
        }
        let audience = self.peers.audience();
        let me = self.settings.me;
        let causes = match self.settings.order {
            Order::Causal => order::causes(&self.streams, me, &audience),
            Order::Any | Order::Fifo => Vec::new(),
        };
        let own = self.own();
        let id = MessageId { source: me, number: own.seen.watermark() + 1 };
        let settled = own.settled().watermark();
        let lamport = self.lamport.tick();
        let given_up = self.peers.given_up().collect();
        let message = Message { id, lamport, settled, audience, given_up, causes, topic, payload };
        let message = Arc::new(message);
        let mut held = Held::new(Arc::clone(&message), [me.node]);
        for seat in &message.audience {
            held.sent.insert(seat.life.node, (self.now, 1));
            effects.push(self.packet(seat.life.node, Body::Data(Arc::clone(&message))));
        }
        let own = self.own_mut();
        own.seen.insert(id.number);
        own.held.insert(id.number, held);
        self.deliver(effects);
        Ok(id)
    }

    /// Takes an event, and appends what is to be done to `effects`.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match (event, self.status) {
            // Who has not heard that this node went is told again; but goodbyes are not answered, or there would be no end.
            (Event::Packet { from, packet }, Status::Left) if packet.body != Body::Bye => {
                effects.push(self.packet(from, Body::Bye));
            }
            (_, Status::Left | Status::Expelled) => {}
            (Event::Tick, _) => self.on_tick(effects),
            (Event::Packet { from, packet }, _) => self.on_packet(from, packet, effects),
            (Event::Leave, Status::Leaving { .. }) => {}
            (Event::Leave, Status::Working) => {
                self.status =
                    Status::Leaving { until: self.now.saturating_add(self.settings.pace.leave_ticks) };
            }
        }
    }

    fn on_tick(&mut self, effects: &mut Vec<Effect>) {
        self.now += 1;
        let verdicts = self.detector.as_mut().map(Detector::on_tick).unwrap_or_default();
        effects.extend(verdicts.into_iter().map(effect));
        self.send_what_is_missed(effects);
        if self.has_news || self.now - self.reported >= self.settings.pace.report_ticks {
            (self.reported, self.has_news) = (self.now, false);
            // Its own messages among them: what of them nobody needs any more, those hear who began late.
            let seen = self.streams.map.iter().map(|(&source, stream)| seen(source, stream)).collect();
            self.report(seen, effects);
            let told = self.peers.given_up();
            effects.extend(
                told.map(|Life { node, incarnation }| self.packet(node, Body::Expelled { incarnation })),
            );
        }
        if let Status::Leaving { until } = self.status
            && (self.own().held.is_empty() || self.now >= until)
        {
            self.status = Status::Left;
            effects.extend(self.listening().map(|node| self.packet(node, Body::Bye)));
            effects.push(Effect::Gone);
        }
    }

    fn on_packet(&mut self, from: NodeId, packet: Packet, effects: &mut Vec<Effect>) {
        let next = self.own().seen.watermark() + 1;
        let peer = self.peers.0.get_mut(&from).filter(|_| packet.incarnation > 0);
        let Some(peer) = peer else {
            self.counters.malformed += 1;
            return;
        };
        let life = Life { node: from, incarnation: packet.incarnation };
        // Heard from whomever, also from one that was given up itself.
        if packet.body == (Body::Expelled { incarnation: self.settings.me.incarnation }) {
            return self.stop(from, effects);
        }
        match peer.admit(packet.incarnation, next) {
            Admission::Stale => {
                self.counters.stale += 1;
                return;
            }
            Admission::New => {
                self.has_news = true;
                effects.push(Effect::Up(life));
            }
            Admission::Known => {}
        }
        if let Some(detector) = &mut self.detector {
            detector.watch(from);
            effects.extend(detector.on_heard(from).map(effect));
        }
        match packet.body {
            Body::Data(message) => self.on_data(message, effects),
            Body::Report(report) => self.on_report(life, &report, effects),
            Body::Expelled { .. } => {}
            Body::Bye => {
                self.lose(life, State::Left { incarnation: life.incarnation });
                effects.push(Effect::Left(life));
                self.deliver(effects);
            }
        }
    }

    fn on_data(&mut self, message: Arc<Message>, effects: &mut Vec<Effect>) {
        let (me, MessageId { source, number }) = (self.settings.me, message.id);
        let is_member = self.settings.members.contains(&source.node);
        if !is_member || !message.is_plausible() || source.is_from(me) {
            self.counters.malformed += 1;
            return;
        }
        if message.given_up.contains(&me) {
            return self.stop(source.node, effects);
        }
        let is_old = self.settings.broken.is(Fault::IncarnationIgnored)
            && self.streams.map.iter().any(|(life, stream)| {
                life.node == source.node && *life < source && stream.delivered.contains(number)
            });
        let seat = message.seat(me);
        if seat.is_none() && self.settings.guarantee == Guarantee::BestEffort {
            self.counters.not_owed += 1;
            return;
        }
        let Some(stream) = self.streams.open(source) else {
            self.counters.stale += 1;
            return;
        };
        if !seat.is_none_or(|seat| stream.begin(seat.since)) {
            self.counters.malformed += 1;
            return;
        }
        for life in stream.learn(&message) {
            self.give_up(life, effects);
        }
        let Some(stream) = self.streams.map.get_mut(&source) else { return };
        if !stream.seen.contains(number) && !stream.has_room(number) {
            self.counters.no_room += 1;
            return;
        }
        self.has_news = true;
        if !stream.seen.insert(number) {
            self.counters.duplicates += 1;
            let was_delivered = seat.is_some() && stream.delivered.contains(number);
            if self.settings.broken.is(Fault::DeliveredTwice) && was_delivered {
                self.tell(&message, effects);
            }
            return;
        }
        let others = self.peers.0.iter().filter(|(_, peer)| peer.has(message.id)).map(|(&node, _)| node);
        let held = Held::new(Arc::clone(&message), others.chain([source.node, me.node]));
        if is_old {
            stream.delivered.insert(number);
        }
        stream.held.insert(number, held);
        if self.settings.broken.is(Fault::SubscribersAtReceipt) && seat.is_some() {
            self.tell(&message, effects);
        }
        if self.settings.guarantee == Guarantee::Uniform {
            let seen = seen(source, &self.streams.map[&source]);
            self.report(vec![seen], effects);
        }
        self.deliver(effects);
    }

    /// Somebody says what it has.
    fn on_report(&mut self, life: Life, Report { seen, given_up }: &Report, effects: &mut Vec<Effect>) {
        if seen.len() > MEMBERS_MAX * TOOLBOX_LIVES_MAX || given_up.len() >= MEMBERS_MAX {
            self.counters.malformed += 1;
            return;
        }
        if given_up.contains(&self.settings.me) {
            return self.stop(life.node, effects);
        }
        // What counts as settled because somebody was given up, is not to be heard from here by who was.
        if !self.settings.broken.is(Fault::SettledWithoutGivingUp) {
            given_up.iter().for_each(|&life| self.give_up(life, effects));
        }
        let Some(peer) = self.peers.0.get_mut(&life.node) else { return };
        let mut is_news = false;
        for Seen { source, window, settled } in seen {
            // Who keeps messages for others hears here that there is no need to.
            let keeps = self.settings.guarantee > Guarantee::BestEffort && *settled != Window::through(0);
            let is_other = self.settings.members.contains(&source.node) && !source.is_from(self.settings.me);
            if keeps
                && is_other
                && let Some(stream) = self.streams.open(*source)
            {
                let settled = stream.since.map_or(*settled, |since| settled.below(since));
                is_news |= stream.seen.merge(&settled);
            }
            let Some(stream) = self.streams.map.get_mut(source) else { continue };
            let has = peer.has.entry(*source).or_insert_with(|| Window::through(0));
            if has.merge(window) {
                is_news = true;
                let held = stream.held.iter_mut().filter(|(number, _)| has.contains(**number));
                held.for_each(|(_, held)| {
                    held.holders.insert(life.node);
                });
            }
        }
        if is_news {
            self.deliver(effects);
        }
    }

    /// Delivers what may be delivered and drops what nobody needs, until nothing changes.
    fn deliver(&mut self, effects: &mut Vec<Effect>) {
        while let Some(message) = self.next_delivery() {
            let MessageId { source, number } = message.id;
            let stream = self.streams.map.get_mut(&source).expect("the message came from it");
            stream.delivered.insert(number);
            stream.audience.clone_from(&message.audience);
            if !self.settings.broken.is(Fault::LamportAlone) {
                self.lamport.witness(message.lamport);
            }
            if !self.settings.broken.is(Fault::SubscribersAtReceipt) || source == self.settings.me {
                self.tell(&message, effects);
            }
        }
        let (peers, me) = (&self.peers, self.settings.me);
        let is_sent = self.settings.broken.is(Fault::StableWhenSent);
        let keeps = self.settings.guarantee.relays(self.settings.broken);
        for (source, stream) in &mut self.streams.map {
            stream.prune(|message| (is_sent && *source == me) || peers.are_served(message, keeps));
        }
        let Streams { map, .. } = &self.streams;
        for peer in self.peers.0.values_mut() {
            peer.has.retain(|source, _| map.contains_key(source));
        }
    }

    fn next_delivery(&self) -> Option<Arc<Message>> {
        let Settings { me, members, guarantee, order, broken, .. } = &self.settings;
        let waiting = self.streams.map.values().flat_map(|stream| {
            stream.held.iter().filter(|(number, _)| stream.is_due(**number)).map(|(_, held)| held)
        });
        let all_keep = guarantee.relays(*broken);
        let mut due = waiting.filter(|held| {
            guarantee.is_met(held.holders.len(), members.len(), *broken)
                && order.is_next(&held.message, &self.streams, *me, all_keep, *broken)
        });
        due.next().map(|held| Arc::clone(&held.message))
    }

    fn tell(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        self.counters.delivered += 1;
        let mut clock = VectorClock::default();
        message.causes.iter().for_each(|cause| clock.raise(cause.last.source, cause.last.number));
        clock.raise(message.id.source, message.id.number);
        let delivery = Delivery {
            id: message.id,
            lamport: message.lamport,
            clock,
            topic: message.topic,
            payload: message.payload.clone(),
        };
        let subscribers = self.subscriptions.to(message.topic);
        effects.push(Effect::Deliver { delivery, subscribers });
    }

    /// Whether the source of a message may be unable to send it.
    fn may_be_dead(&self, source: Life) -> bool {
        let known = self.peers.0.get(&source.node).and_then(Peer::incarnation);
        self.suspects(source.node) || known.is_some_and(|known| known > source.incarnation)
    }

    /// Sends messages to those who miss them: its own; those of a source that may be unable to; and, where all or none are to
    /// have them, any to those who began later, to whom their source owes nothing.
    fn send_what_is_missed(&mut self, effects: &mut Vec<Effect>) {
        let Settings { me, guarantee, broken, pace, .. } = self.settings;
        let relays = guarantee.relays(broken);
        let mut bursts: BTreeMap<NodeId, usize> = BTreeMap::new();
        let sources: Vec<(Life, bool)> = self
            .streams
            .map
            .keys()
            .map(|&source| (source, source == me || (relays && self.may_be_dead(source))))
            .collect();
        for (source, is_its_turn) in sources {
            let Some(stream) = self.streams.map.get_mut(&source) else { continue };
            let due: Vec<u64> = stream.held.keys().copied().filter(|&number| stream.is_due(number)).collect();
            for (number, held) in &mut stream.held {
                if source != me && due.contains(number) && broken.is(Fault::OnlyDeliveredRelayed) {
                    continue;
                }
                for (&to, peer) in &self.peers.0 {
                    let State::Owed { incarnation, .. } = peer.state else { continue };
                    let life = Life { node: to, incarnation };
                    let is_owed = held.message.seat(life).is_some();
                    let (at, times) = held.sent.get(&to).copied().unwrap_or((0, 0));
                    let wait = pace.retry_ticks << times.saturating_sub(1).min(3);
                    let is_time = times == 0 || (self.now - at >= wait && !broken.is(Fault::SentOnce));
                    let is_sent = if is_owed { is_its_turn } else { relays && !source.is_from(life) };
                    let burst = bursts.entry(to).or_insert(0);
                    if !is_sent || !is_time || peer.has(held.message.id) || *burst >= TOOLBOX_BURST_MAX {
                        continue;
                    }
                    *burst += 1;
                    held.sent.insert(to, (self.now, times.saturating_add(1)));
                    let mut message = Arc::clone(&held.message);
                    if source == me {
                        self.counters.repeated += 1;
                    } else {
                        self.counters.relayed += 1;
                        if broken.is(Fault::RelayedEmpty) {
                            Arc::make_mut(&mut message).payload = Bytes::new();
                        }
                    }
                    let packet = Packet { incarnation: me.incarnation, body: Body::Data(message) };
                    effects.push(Effect::Send { to, packet });
                }
            }
        }
    }

    // ---- Who is there ----

    /// As many messages as may be are under way.
    fn is_full(&self) -> bool {
        self.under_way() >= self.settings.window
    }

    /// Where the window is full, whoever is suspected and misses its first message is waited for no longer. But not by a node
    /// that sees no majority: it may be the one that is cut off.
    fn give_up_the_lagging(&mut self, effects: &mut Vec<Effect>) {
        let is_there = |node: &NodeId| !self.suspects(*node);
        let others = self.peers.0.iter().filter(|(_, peer)| matches!(peer.state, State::Owed { .. }));
        let there = others.filter(|(node, _)| is_there(node)).count() + 1;
        if !is_majority(there, self.settings.members.len()) {
            return;
        }
        let Some(first) = self.own().held.values().next() else { return };
        let id = first.message.id;
        let lagging = self.peers.audience().into_iter().map(|seat| seat.life).filter(|life| {
            let misses_it = self.peers.0.get(&life.node).is_some_and(|peer| !peer.has(id));
            self.suspects(life.node) && misses_it
        });
        for life in lagging.collect::<Vec<_>>() {
            self.give_up(life, effects);
        }
        self.deliver(effects);
    }

    /// Owes a life nothing any more, and will not when it is heard for the first time: others no longer keep what it missed.
    fn give_up(&mut self, life: Life, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.0.get(&life.node) else { return };
        let is_new = peer.incarnation().is_none_or(|known| known < life.incarnation);
        let is_noted = is_new && !self.settings.broken.is(Fault::GivenUpForgotten);
        if is_noted || peer.is(life.incarnation) {
            self.lose(life, State::GivenUp { incarnation: life.incarnation });
            effects.push(Effect::GaveUp(life));
        }
    }

    /// Was given up.
    fn stop(&mut self, by: NodeId, effects: &mut Vec<Effect>) {
        if !self.settings.broken.is(Fault::ExpelledGoesOn) {
            self.status = Status::Expelled;
            effects.push(Effect::Expelled(by));
        }
    }

    fn lose(&mut self, life: Life, state: State) {
        if let Some(peer) = self.peers.0.get_mut(&life.node) {
            *peer = Peer { state, has: BTreeMap::new() };
        }
        if let Some(detector) = &mut self.detector {
            detector.unwatch(life.node);
        }
    }

    /// The nodes to which anything is sent without having been asked: all that have not left, and were not given up.
    fn listening(&self) -> impl Iterator<Item = NodeId> {
        let is_there = |peer: &Peer| matches!(peer.state, State::Unknown | State::Owed { .. });
        self.peers.0.iter().filter(move |(_, peer)| is_there(peer)).map(|(&node, _)| node)
    }

    fn report(&self, seen: Vec<Seen>, effects: &mut Vec<Effect>) {
        let report = Report { seen, given_up: self.peers.given_up().collect() };
        effects.extend(self.listening().map(|node| self.packet(node, Body::Report(report.clone()))));
    }

    fn packet(&self, to: NodeId, body: Body) -> Effect {
        Effect::Send { to, packet: Packet { incarnation: self.settings.me.incarnation, body } }
    }

    fn own(&self) -> &Stream {
        self.streams
            .map
            .get(&self.settings.me)
            .expect("it is opened at the start, and no later life of this node is known")
    }

    fn own_mut(&mut self) -> &mut Stream {
        self.streams.map.get_mut(&self.settings.me).expect("as above")
    }
}

fn seen(source: Life, stream: &Stream) -> Seen {
    Seen { source, window: stream.seen, settled: stream.settled() }
}

fn effect(verdict: Verdict) -> Effect {
    match verdict {
        Verdict::Suspect(node) => Effect::Suspect(node),
        Verdict::Restore(node) => Effect::Restore(node),
    }
}
