//! One node: takes each event apart and hands it to those whom it concerns.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::limits::{
    CONTENT_ANSWERS_MAX, CONTENT_COLLECTED_MAX, CONTENT_FILES_MAX, CONTENT_PIECES_SERVED_MAX,
    CONTENT_UNREFERRED_MS_MAX,
};
use synod_types::{ContentKey, ContentMessage, ContentReceipt, Manifest, NodeId};

use crate::awaiting::Awaiting;
use crate::broken::{Broken, Fault};
use crate::context::Context;
use crate::event::{Effect, Event, Removed};
use crate::fetch::Need;
use crate::fetches::Fetches;
use crate::offering::Offering;
use crate::recent::Recent;

/// Milliseconds from one [`Event::Tick`] to the next.
pub const TICK_MS: u64 = 100;

/// Ticks for which a collected file is remembered: by then, whoever got it along with this node has collected it, too.
const COLLECTED_TICKS: u64 = 2 * CONTENT_UNREFERRED_MS_MAX / TICK_MS;

/// What a node is told at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// All other nodes of the cluster.
    pub others: BTreeSet<NodeId>,
    /// The nodes of which a majority is to hold a file before it is called uniform.
    pub holders: BTreeSet<NodeId>,
    /// Whether files are given to who seeks them, and offered to nobody.
    pub is_quiet: bool,
    /// What is wrong on purpose.
    pub broken: Broken,
}

/// One node.
#[derive(Debug)]
pub struct Core {
    config: Config,
    now: u64,
    up: BTreeSet<NodeId>,
    held: BTreeSet<ContentKey>,
    /// Files that were here and to which nothing referred.
    collected: Recent<ContentKey, ()>,
    offering: Offering,
    awaiting: Awaiting,
    fetches: Fetches,
    load: BTreeMap<NodeId, Load>,
}

/// What a peer has this node do.
#[derive(Debug, Default)]
struct Load {
    /// Pieces that are being read.
    pieces: usize,
    /// Answers since the last tick.
    answers: usize,
}

impl Config {
    /// A node as it should be, of a cluster in which all nodes hold files.
    ///
    /// # Panics
    /// If `node` is among `others`.
    pub fn new(node: NodeId, others: BTreeSet<NodeId>) -> Config {
        assert!(!others.contains(&node), "{node:?} is its own peer");
        let holders = others.iter().copied().chain([node]).collect();
        Config { node, others, holders, is_quiet: false, broken: Broken::NOT }
    }
}

impl Core {
    /// A node that starts with these files on its disk. Every peer counts as down until [`Event::Up`].
    pub fn new(config: Config, held: impl IntoIterator<Item = ContentKey>) -> Core {
        Core {
            now: 0,
            up: BTreeSet::new(),
            held: held.into_iter().collect(),
            collected: Recent::new(CONTENT_COLLECTED_MAX, COLLECTED_TICKS),
            offering: Offering::default(),
            awaiting: Awaiting::new(config.holders.clone()),
            fetches: Fetches::new(),
            load: BTreeMap::new(),
            config,
        }
    }

    /// Whether this node holds the file.
    pub fn holds(&self, key: &ContentKey) -> bool {
        self.held.contains(key)
    }

    /// Pieces that were asked of a peer, and that neither are written nor were given up.
    pub fn asked_of(&self, peer: NodeId) -> usize {
        self.fetches.load_of(peer)
    }

    /// Takes an event, and appends what is to be done to `effects`.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Tick => self.on_tick(effects),
            Event::Up(peer) => self.on_up(peer, effects),
            Event::Down(peer) => {
                if self.up.remove(&peer) {
                    self.offering.on_down(peer);
                    self.with(effects, |core, cx| core.fetches.on_down(peer, cx));
                }
            }
            Event::Nodes { others, holders } => self.on_nodes(others, holders, effects),
            Event::Message { from, message } => self.on_message(from, message, effects),
            Event::Stored(key) => self.on_stored(key, effects),
            Event::Removed { key, why } => self.on_removed(key, why, effects),
            Event::Want(key) if self.held.contains(&key) => effects.push(Effect::Fetched(key)),
            Event::Want(key) => self.with(effects, |core, cx| core.fetches.on_want(key, Need::Asked, cx)),
            Event::Unwant(key) => self.with(effects, |core, cx| core.fetches.on_unwant(&key, cx)),
            Event::Await(key) => {
                let here = self.counts_itself(&key);
                self.with(effects, |core, cx| core.awaiting.on_await(key, here, cx));
            }
            Event::Begun { key, attempt, missing } => {
                self.with(effects, |core, cx| core.fetches.on_begun(key, attempt, missing, cx));
            }
            Event::Written { key, attempt, number } => {
                self.with(effects, |core, cx| core.fetches.on_written(key, attempt, number, cx));
            }
            Event::WrongPiece { key, attempt, number } => {
                self.with(effects, |core, cx| core.fetches.on_wrong_piece(key, attempt, number, cx));
            }
            Event::WrongWhole { key, attempt } => {
                self.with(effects, |core, cx| core.fetches.on_wrong_whole(key, attempt, cx));
            }
            Event::Failed { key, attempt } => {
                self.with(effects, |core, cx| core.fetches.on_failed(key, attempt, cx));
            }
            Event::Served(peer) => {
                if let Some(load) = self.load.get_mut(&peer) {
                    load.pieces = load.pieces.saturating_sub(1);
                }
            }
        }
    }

    /// Gives `f` the core's parts and a context; the set of peers that are up does not change meanwhile.
    fn with(&mut self, effects: &mut Vec<Effect>, f: impl FnOnce(&mut Core, &mut Context<'_>)) {
        let up = std::mem::take(&mut self.up);
        let mut cx = Context { now: self.now, up: &up, effects, broken: self.config.broken };
        f(self, &mut cx);
        self.up = up;
    }

    /// Only what is durable counts.
    fn counts_itself(&self, key: &ContentKey) -> bool {
        let early = self.config.broken.is(Fault::OwnBeforeDurable);
        self.config.holders.contains(&self.config.node) && self.held.contains(key)
            || (early && self.fetches.is_fetching(key))
    }

    fn on_tick(&mut self, effects: &mut Vec<Effect>) {
        self.now += 1;
        self.load.values_mut().for_each(|load| load.answers = 0);
        self.with(effects, |core, cx| {
            core.offering.on_tick(&core.held, cx);
            core.awaiting.on_tick(|key| core.held.contains(key), cx);
            core.fetches.on_tick(cx);
        });
    }

    fn on_nodes(&mut self, others: BTreeSet<NodeId>, holders: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        for gone in self.config.others.difference(&others).copied().collect::<Vec<_>>() {
            self.step(Event::Down(gone), effects);
        }
        self.awaiting.set_holders(holders.clone());
        self.config = Config { others, holders, ..self.config.clone() };
    }

    /// A session begins. One that began without the end of the one before replaces it.
    fn on_up(&mut self, peer: NodeId, effects: &mut Vec<Effect>) {
        if !self.config.others.contains(&peer) {
            return;
        }
        self.up.insert(peer);
        self.with(effects, |core, cx| {
            core.fetches.on_down(peer, cx);
            if !core.config.is_quiet {
                core.offering.on_up(peer, cx);
            }
            core.fetches.on_up(cx);
        });
    }

    fn on_stored(&mut self, key: ContentKey, effects: &mut Vec<Effect>) {
        self.with(effects, |core, cx| {
            let arrived = core.fetches.on_stored(key, cx);
            if core.held.insert(key) && !core.config.is_quiet {
                core.collected.remove(&key);
                for &to in cx.up {
                    cx.effects.push(Effect::SendHeld { to, key });
                }
                let mut holders = arrived.donors;
                holders.extend(core.awaiting.receipts(key, cx.now).map(|receipt| receipt.node));
                core.offering.on_stored(key, !arrived.fetched, &holders, cx);
            }
            if arrived.is_asked_for {
                cx.effects.push(Effect::Fetched(key));
            }
            core.awaiting.check(key, true, cx);
        });
    }

    fn on_removed(&mut self, key: ContentKey, why: Removed, effects: &mut Vec<Effect>) {
        if !self.held.remove(&key) {
            return;
        }
        self.offering.on_removed(&key);
        match why {
            Removed::Collected => self.collected.insert(self.now, key, ()),
            Removed::Lost if self.config.broken.is(Fault::LossIgnored) => {}
            Removed::Lost => self.with(effects, |core, cx| core.fetches.on_want(key, Need::Lost, cx)),
        }
    }

    fn on_message(&mut self, from: NodeId, message: ContentMessage, effects: &mut Vec<Effect>) {
        if !self.config.others.contains(&from) {
            return;
        }
        match message {
            ContentMessage::Offer { content, manifest } => self.on_offer(from, content, manifest, effects),
            ContentMessage::Held(receipt) => self.on_held(from, receipt, effects),
            ContentMessage::Seek { content, held } => self.on_seek(from, content, held, effects),
            ContentMessage::NotHeld { content } => self.on_not_held(from, content, effects),
            ContentMessage::PieceRequest { content, number } => {
                self.on_piece_request(from, content, number, effects);
            }
            ContentMessage::Piece { content, number, bytes } => {
                self.with(effects, |core, cx| core.fetches.on_piece(from, content, number, bytes, cx));
            }
        }
    }

    fn on_offer(&mut self, from: NodeId, key: ContentKey, manifest: Manifest, effects: &mut Vec<Effect>) {
        if self.held.contains(&key) {
            if self.may_answer(from) {
                effects.push(Effect::SendHeld { to: from, key });
            }
            return self.with(effects, |core, cx| core.offering.on_held(from, &key, &core.held, cx));
        }
        let is_wanted = self.fetches.is_wanted(&key);
        let has_room = self.held.len() + self.fetches.len() < CONTENT_FILES_MAX;
        if is_wanted || (has_room && !self.collected.contains(self.now, &key)) {
            self.with(effects, |core, cx| core.fetches.on_offer(from, key, manifest, cx));
        }
    }

    fn on_held(&mut self, from: NodeId, receipt: ContentReceipt, effects: &mut Vec<Effect>) {
        if receipt.node != from {
            return;
        }
        let key = receipt.content;
        let here = self.counts_itself(&key);
        self.with(effects, |core, cx| {
            core.offering.on_held(from, &key, &core.held, cx);
            let concerns = here || core.awaiting.awaits(&key) || core.fetches.is_fetching(&key);
            if concerns || core.fetches.is_wanted(&key) {
                core.awaiting.on_receipt(receipt, here, cx);
            }
            core.fetches.on_holder(from, key, cx);
        });
    }

    fn on_seek(&mut self, from: NodeId, key: ContentKey, held: bool, effects: &mut Vec<Effect>) {
        if held {
            self.with(effects, |core, cx| core.offering.on_held(from, &key, &core.held, cx));
        }
        if !self.may_answer(from) {
            return;
        }
        if !self.held.contains(&key) {
            let message = ContentMessage::NotHeld { content: key };
            return effects.push(Effect::Send { to: from, message });
        }
        effects.push(Effect::SendHeld { to: from, key });
        if !held {
            effects.push(Effect::SendOffer { to: from, key });
        }
    }

    fn on_not_held(&mut self, from: NodeId, key: ContentKey, effects: &mut Vec<Effect>) {
        self.awaiting.on_not_held(from, key);
        if !self.held.contains(&key) {
            self.with(effects, |core, cx| core.fetches.on_not_held(from, key, cx));
        } else if self.may_answer(from) {
            self.with(effects, |core, cx| core.offering.on_not_held(from, key, cx));
        }
    }

    fn on_piece_request(&mut self, from: NodeId, key: ContentKey, number: u32, effects: &mut Vec<Effect>) {
        if !self.held.contains(&key) {
            if self.may_answer(from) {
                let message = ContentMessage::NotHeld { content: key };
                effects.push(Effect::Send { to: from, message });
            }
            return;
        }
        let load = self.load.entry(from).or_default();
        if load.pieces < CONTENT_PIECES_SERVED_MAX {
            load.pieces += 1;
            effects.push(Effect::SendPiece { to: from, key, number });
        }
        self.with(effects, |core, cx| core.offering.on_asked(from, &key, cx));
    }

    /// Whether a peer gets a further answer in this tick. Who asks faster than that repeats what matters.
    fn may_answer(&mut self, peer: NodeId) -> bool {
        let load = self.load.entry(peer).or_default();
        load.answers += 1;
        load.answers <= CONTENT_ANSWERS_MAX
    }
}
