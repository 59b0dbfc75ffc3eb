//! Brings every file that this node holds to every other node.
//!
//! Nothing is kept about a file that all have. With each peer a few files are *open*: the peer is asked for its receipt,
//! or is offered the file, with growing pauses, until its word comes that it holds it. A file that this node stored is
//! opened with every peer at once. When a session begins, this node *walks* through all that it holds and opens one after
//! the other, a few in a tick: so a peer that was away, or lost files, gets what it lacks, and a million files cost little
//! at a time. What does not come to an end is put off until *later*, and where too much is put off, the walk begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use synod_types::limits::{CONTENT_OFFERS_LATER_MAX, CONTENT_OFFERS_MAX};
use synod_types::{ContentKey, NodeId};

use crate::broken::Fault;
use crate::context::Context;
use crate::event::Effect;

/// Files that a walk opens in a tick. A receipt takes a signature and its verification.
const WALK_PER_TICK: usize = 8;
/// Ticks in which a node that fetched a file along with others expects to hear of them.
const SETTLE_TICKS: u64 = 5;
/// How often a file is offered before it is put off.
const TRIES_MAX: u32 = 5;
/// Ticks for which a file is put off.
const LATER_TICKS: u64 = 600;
/// Ticks without a further question to a peer that was seen fetching.
const PATIENCE_TICKS: u64 = 50;

/// What is going on with every peer that is up.
#[derive(Debug, Default)]
pub(crate) struct Offering {
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    open: BTreeMap<ContentKey, Open>,
    /// When to open which.
    later: BTreeSet<(u64, ContentKey)>,
    walk: Walk,
}

#[derive(Debug)]
struct Open {
    /// The peer said that it does not have the file, or cannot have it yet.
    lacks: bool,
    tries: u32,
    due: u64,
}

/// How far the files are gone through.
#[derive(Debug, Default, PartialEq, Eq)]
enum Walk {
    #[default]
    Over,
    /// The next one is behind this bound.
    Behind(Bound<ContentKey>),
    /// As above; and then once more.
    Twice(Bound<ContentKey>),
}

impl Offering {
    /// A session begins.
    pub(crate) fn on_up(&mut self, peer: NodeId, cx: &Context<'_>) {
        let walk = if cx.broken.is(Fault::OffersOnce) { Walk::Over } else { Walk::Behind(Bound::Unbounded) };
        self.peers.insert(peer, Peer { walk, ..Peer::default() });
    }

    /// A session is over.
    pub(crate) fn on_down(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// This node has a file now. Who is in `holders` has it; who is not may be fetching it, too, if this node did not
    /// get it by an upload.
    pub(crate) fn on_stored(
        &mut self,
        key: ContentKey,
        uploaded: bool,
        holders: &BTreeSet<NodeId>,
        cx: &mut Context<'_>,
    ) {
        for (&node, peer) in &mut self.peers {
            if !holders.contains(&node) {
                let due = if uploaded { cx.now } else { cx.now + SETTLE_TICKS };
                peer.open(node, key, Open { lacks: uploaded, tries: 0, due }, cx);
            }
        }
    }

    /// This node has the file no more.
    pub(crate) fn on_removed(&mut self, key: &ContentKey) {
        for peer in self.peers.values_mut() {
            peer.open.remove(key);
        }
    }

    /// The peer has the file.
    pub(crate) fn on_held(
        &mut self,
        node: NodeId,
        key: &ContentKey,
        held: &BTreeSet<ContentKey>,
        cx: &mut Context<'_>,
    ) {
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.open.remove(key).is_some()
        {
            peer.open_what_is_due(node, held, cx);
        }
    }

    /// The peer does not have a file that this node holds.
    pub(crate) fn on_not_held(&mut self, node: NodeId, key: ContentKey, cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        match peer.open.get_mut(&key) {
            // It says so about an earlier question: the offer is on its way.
            Some(open) if open.lacks => {}
            Some(open) => {
                open.lacks = true;
                cx.effects.push(Effect::SendOffer { to: node, key });
            }
            None => peer.open(node, key, Open { lacks: true, tries: 0, due: cx.now }, cx),
        }
    }

    /// The peer is fetching the file from this node.
    pub(crate) fn on_asked(&mut self, node: NodeId, key: &ContentKey, cx: &Context<'_>) {
        if let Some(open) = self.peers.get_mut(&node).and_then(|peer| peer.open.get_mut(key)) {
            *open = Open { lacks: true, tries: 1, due: cx.now + PATIENCE_TICKS };
        }
    }

    /// Repeats what got no answer, and walks on.
    pub(crate) fn on_tick(&mut self, held: &BTreeSet<ContentKey>, cx: &mut Context<'_>) {
        for (&node, peer) in &mut self.peers {
            peer.repeat(node, cx);
            peer.open_what_is_due(node, held, cx);
            peer.walk_on(node, held, cx);
        }
    }
}

impl Peer {
    fn open(&mut self, node: NodeId, key: ContentKey, mut open: Open, cx: &mut Context<'_>) {
        if self.open.contains_key(&key) {
            return;
        }
        if self.open.len() >= CONTENT_OFFERS_MAX {
            return self.put_off(key, cx.now);
        }
        if open.due <= cx.now {
            open.try_once(node, key, cx);
        }
        self.open.insert(key, open);
    }

    fn put_off(&mut self, key: ContentKey, due: u64) {
        if self.later.len() < CONTENT_OFFERS_LATER_MAX {
            self.later.insert((due, key));
            return;
        }
        self.walk = match std::mem::take(&mut self.walk) {
            Walk::Over => Walk::Behind(Bound::Unbounded),
            Walk::Behind(bound) | Walk::Twice(bound) => Walk::Twice(bound),
        };
    }

    fn repeat(&mut self, node: NodeId, cx: &mut Context<'_>) {
        let now = cx.now;
        let mut over = Vec::new();
        for (&key, open) in self.open.iter_mut().filter(|(_, open)| open.due <= now) {
            if open.tries >= TRIES_MAX || cx.broken.is(Fault::OffersOnce) {
                over.push(key);
            } else {
                open.try_once(node, key, cx);
            }
        }
        for key in over {
            self.open.remove(&key);
            if !cx.broken.is(Fault::OffersOnce) {
                self.put_off(key, cx.now + LATER_TICKS);
            }
        }
    }

    fn open_what_is_due(&mut self, node: NodeId, held: &BTreeSet<ContentKey>, cx: &mut Context<'_>) {
        while self.open.len() < CONTENT_OFFERS_MAX {
            let Some(&(due, key)) = self.later.first().filter(|&&(due, _)| due <= cx.now) else { return };
            self.later.remove(&(due, key));
            if held.contains(&key) {
                self.open(node, key, Open { lacks: false, tries: 0, due: cx.now }, cx);
            }
        }
    }

    fn walk_on(&mut self, node: NodeId, held: &BTreeSet<ContentKey>, cx: &mut Context<'_>) {
        for _ in 0..WALK_PER_TICK {
            let (Walk::Behind(bound) | Walk::Twice(bound)) = self.walk else { return };
            if self.open.len() >= CONTENT_OFFERS_MAX {
                return;
            }
            let twice = matches!(self.walk, Walk::Twice(_)) || cx.broken.is(Fault::NeverQuiet);
            match held.range((bound, Bound::Unbounded)).next() {
                Some(&key) => {
                    self.walk = if twice {
                        Walk::Twice(Bound::Excluded(key))
                    } else {
                        Walk::Behind(Bound::Excluded(key))
                    };
                    self.open(node, key, Open { lacks: false, tries: 0, due: cx.now }, cx);
                }
                None if twice => self.walk = Walk::Behind(Bound::Unbounded),
                None => self.walk = Walk::Over,
            }
        }
    }
}

impl Open {
    fn try_once(&mut self, to: NodeId, key: ContentKey, cx: &mut Context<'_>) {
        match self.lacks {
            true => cx.effects.push(Effect::SendOffer { to, key }),
            false => cx.seek(to, key, true),
        }
        self.tries += 1;
        self.due = cx.now + (2 << self.tries);
    }
}
