//! Every file that is on its way here: looks for those that are needed, takes those that are offered, and asks for
//! pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use synod_types::limits::{
    CONTENT_BLAMED_MAX, CONTENT_FETCHES_MAX, CONTENT_OFFERS_MAX, CONTENT_PIECES_ASKED_MAX,
    CONTENT_SOUGHT_MAX, CONTENT_UNREFERRED_MS_MAX,
};
use synod_types::{ContentKey, ContentMessage, Manifest, NodeId};

use crate::broken::Fault;
use crate::context::Context;
use crate::core::TICK_MS;
use crate::event::{Attempt, Blame, Effect};
use crate::fetch::{Fetch, Need, Past, Receiving, Search, Stage};
use crate::recent::Recent;
use crate::wants::Wants;

/// Ticks without a piece from a donor after which its silence counts, and others are asked.
const SILENCE_TICKS: u64 = 100;
/// Silences in a row after which a donor is forgotten, until it offers the file again.
const SILENCES_FORGOTTEN: u32 = 6;
/// How often everybody is asked for a file before it has to wait for its next turn.
const SEARCH_ROUNDS_MAX: u32 = 4;
/// Ticks for which a node is not asked for a file of which it sent something else.
const BLAMED_TICKS: u64 = CONTENT_UNREFERRED_MS_MAX / TICK_MS;

/// What this node receives and needs.
#[derive(Debug)]
pub(crate) struct Fetches {
    fetches: BTreeMap<ContentKey, Fetch>,
    wants: Wants,
    /// Behind which fetch the next piece is asked for.
    served: Bound<ContentKey>,
    blamed: Recent<(ContentKey, NodeId), ()>,
    last_attempt: Attempt,
}

/// What came of a file that is stored now.
pub(crate) struct Arrived {
    /// It came from other nodes.
    pub fetched: bool,
    /// Who gave it, and so holds it.
    pub donors: BTreeSet<NodeId>,
    /// Somebody here asked for it.
    pub is_asked_for: bool,
}

impl Fetches {
    pub(crate) fn new() -> Fetches {
        Fetches {
            fetches: BTreeMap::new(),
            wants: Wants::new(),
            served: Bound::Unbounded,
            blamed: Recent::new(CONTENT_BLAMED_MAX, BLAMED_TICKS),
            last_attempt: Attempt(0),
        }
    }

    /// Files on their way.
    pub(crate) fn len(&self) -> usize {
        self.fetches.len()
    }

    pub(crate) fn is_fetching(&self, key: &ContentKey) -> bool {
        self.fetches.contains_key(key)
    }

    pub(crate) fn is_wanted(&self, key: &ContentKey) -> bool {
        self.wants.contains(key) || self.fetches.get(key).is_some_and(|fetch| fetch.need > Need::Offered)
    }

    // ---- What is needed ----

    /// This node needs a file that it does not hold.
    pub(crate) fn on_want(&mut self, key: ContentKey, need: Need, cx: &mut Context<'_>) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.need = fetch.need.max(need);
        } else {
            self.wants.insert(key, need, cx.now);
            self.seek_next(cx);
        }
    }

    /// Nobody needs it any more. If it is being offered, it comes all the same.
    pub(crate) fn on_unwant(&mut self, key: &ContentKey, cx: &mut Context<'_>) {
        self.wants.remove(key);
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.need = Need::Offered;
            if fetch.offered_by.is_none() {
                self.fetches.remove(key);
                self.go_on(cx);
            }
        }
    }

    /// Looks for files whose turn it is, within the limits.
    fn seek_next(&mut self, cx: &mut Context<'_>) {
        let mut sought = self.fetches.values().filter(|fetch| fetch.offered_by.is_none()).count();
        while sought < CONTENT_SOUGHT_MAX && self.fetches.len() < CONTENT_FETCHES_MAX {
            let Some((key, need, past)) = self.wants.take_due(cx.now) else { return };
            self.fetches.insert(key, Fetch::new(need, past, None));
            self.search(key, cx);
            sought += 1;
        }
    }

    // ---- Who has it ----

    /// A node offers a file that this node does not hold. It is taken within the limits, or if it is needed; whoever
    /// is not heard now will offer again.
    pub(crate) fn on_offer(
        &mut self,
        from: NodeId,
        key: ContentKey,
        manifest: Manifest,
        cx: &mut Context<'_>,
    ) {
        if self.blamed.contains(cx.now, &(key, from)) {
            return;
        }
        if manifest.check().is_err() {
            self.blamed.insert(cx.now, (key, from), ());
            return cx.blame(from, key, Blame::Manifest);
        }
        if !self.fetches.contains_key(&key) {
            let of_donor = self.fetches.values().filter(|fetch| fetch.offered_by == Some(from)).count();
            if self.fetches.len() >= CONTENT_FETCHES_MAX || of_donor >= CONTENT_OFFERS_MAX {
                return;
            }
            let (need, past) = self.wants.remove(&key).unwrap_or((Need::Offered, Past::default()));
            self.fetches.insert(key, Fetch::new(need, past, Some(from)));
        }
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.add_donor(from, manifest);
        self.settle_manifest(key, cx);
        self.go_on(cx);
    }

    /// A node says that it holds a file. Its offer may be on its way; if nobody gives the file, ask for it.
    pub(crate) fn on_holder(&mut self, from: NodeId, key: ContentKey, cx: &mut Context<'_>) {
        if self.wants.hasten(&key, cx.now) {
            self.seek_next(cx);
        } else if let Some(fetch) = self.fetches.get(&key)
            && fetch.best_manifest(cx.up).is_none()
            && !self.blamed.contains(cx.now, &(key, from))
        {
            cx.seek(from, key, false);
        }
    }

    /// A node says that it does not have a file, or cannot give it.
    pub(crate) fn on_not_held(&mut self, from: NodeId, key: ContentKey, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.search.noes.insert(from);
        if fetch.donors.remove(&from).is_some() {
            if let Stage::Beginning(receiving) | Stage::Getting(receiving) = &mut fetch.stage {
                receiving.take_back(from);
            }
            self.settle_manifest(key, cx);
        }
        self.end_vain_search(key, cx);
        self.go_on(cx);
    }

    /// A session begins: whatever is needed may be found now, and who offered something before can give it.
    pub(crate) fn on_up(&mut self, cx: &mut Context<'_>) {
        for key in self.fetches.keys().copied().collect::<Vec<_>>() {
            self.settle_manifest(key, cx);
        }
        self.go_on(cx);
        self.wants.hasten_all(cx.now);
        self.seek_next(cx);
    }

    /// A session is over: what was asked of the peer is asked of others.
    pub(crate) fn on_down(&mut self, peer: NodeId, cx: &mut Context<'_>) {
        if cx.broken.is(Fault::PiecesOfTheDead) {
            return;
        }
        for key in self.fetches.keys().copied().collect::<Vec<_>>() {
            if let Some(fetch) = self.fetches.get_mut(&key)
                && let Stage::Beginning(receiving) | Stage::Getting(receiving) = &mut fetch.stage
                && receiving.take_back(peer)
            {
                self.settle_manifest(key, cx);
            }
        }
        self.go_on(cx);
    }

    /// Asks everybody who has the file.
    fn search(&mut self, key: ContentKey, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.search.noes.clear();
        fetch.search.rounds += 1;
        fetch.search.due = cx.now + (2 << fetch.search.rounds);
        for &node in cx.up {
            if !self.blamed.contains(cx.now, &(key, node)) {
                cx.seek(node, key, false);
            }
        }
        self.end_vain_search(key, cx);
    }

    /// Where nobody has the file, it waits for its next turn if it is needed.
    fn end_vain_search(&mut self, key: ContentKey, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        let says_no =
            |node: &NodeId| fetch.search.noes.contains(node) || self.blamed.contains(cx.now, &(key, *node));
        if fetch.search.rounds > 0 && fetch.best_manifest(cx.up).is_none() && cx.up.iter().all(says_no) {
            self.give_up(key, cx);
        }
    }

    /// Nobody has it: it waits for its next turn, if it is needed.
    fn give_up(&mut self, key: ContentKey, cx: &Context<'_>) {
        if let Some(Fetch { need, past, .. }) = self.fetches.remove(&key)
            && need > Need::Offered
        {
            let past = Past { vain: past.vain.saturating_add(1), ..past };
            self.wants.put_back(key, need, past, cx.now);
        }
    }

    // ---- Its pieces ----

    /// Begins, or begins anew, if there is a better manifest than that of the moment.
    fn settle_manifest(&mut self, key: ContentKey, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Some(best) = fetch.best_manifest(cx.up) else { return };
        let is_settled = fetch.manifest().is_some_and(|manifest| Arc::ptr_eq(manifest, best));
        if is_settled || (fetch.manifest().is_some() && cx.broken.is(Fault::FaithfulToSilence)) {
            return;
        }
        self.last_attempt.0 += 1;
        let (manifest, attempt) = (Arc::clone(best), self.last_attempt);
        cx.effects.push(Effect::Begin { key, attempt, manifest: Arc::clone(&manifest) });
        fetch.stage = Stage::Beginning(Receiving {
            manifest,
            attempt,
            missing: BTreeSet::new(),
            asked: BTreeMap::new(),
            writing: BTreeMap::new(),
        });
    }

    /// The disk is ready for these pieces.
    pub(crate) fn on_begun(
        &mut self,
        key: ContentKey,
        attempt: Attempt,
        missing: Vec<u32>,
        cx: &mut Context<'_>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        match std::mem::replace(&mut fetch.stage, Stage::Seeking) {
            Stage::Beginning(receiving) if receiving.attempt == attempt => {
                let missing =
                    missing.into_iter().filter(|&number| receiving.manifest.place(number).is_some());
                fetch.stage = Stage::Getting(Receiving { missing: missing.collect(), ..receiving });
            }
            other => fetch.stage = other,
        }
        self.go_on(cx);
    }

    /// A piece arrived.
    pub(crate) fn on_piece(
        &mut self,
        from: NodeId,
        key: ContentKey,
        number: u32,
        bytes: Bytes,
        cx: &mut Context<'_>,
    ) {
        let room = CONTENT_PIECES_ASKED_MAX.saturating_sub(self.load_of(from));
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        if !fetch.gives(from, cx.up) {
            return;
        }
        let Stage::Getting(receiving) = &mut fetch.stage else { return };
        // Asked for, or asked for some time ago, and still missing.
        let is_asked = receiving.asked.get(&number).is_some_and(|(of, _)| *of == from);
        let is_late = receiving.missing.contains(&number) && room > 0;
        if !is_asked && !is_late {
            return;
        }
        receiving.asked.remove(&number);
        receiving.missing.remove(&number);
        for (of, since) in receiving.asked.values_mut() {
            if *of == from {
                *since = cx.now;
            }
        }
        if receiving.manifest.place(number).is_none_or(|(_, len)| len != bytes.len()) {
            receiving.missing.insert(number);
            return self.blame(key, from, Blame::Piece, cx);
        }
        receiving.writing.insert(number, from);
        let (attempt, manifest) = (receiving.attempt, Arc::clone(&receiving.manifest));
        cx.effects.push(Effect::Write { key, attempt, manifest, number, bytes });
        self.go_on(cx);
    }

    /// A piece is what it should be.
    pub(crate) fn on_written(
        &mut self,
        key: ContentKey,
        attempt: Attempt,
        number: u32,
        cx: &mut Context<'_>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Some(receiving) = fetch.receiving(attempt) else { return };
        let from = receiving.writing.remove(&number);
        fetch.search = Search::default();
        if let Some(donor) = from.and_then(|from| fetch.donors.get_mut(&from)) {
            donor.silences_in_a_row = 0;
        }
        self.go_on(cx);
    }

    /// A piece is not what it should be.
    pub(crate) fn on_wrong_piece(
        &mut self,
        key: ContentKey,
        attempt: Attempt,
        number: u32,
        cx: &mut Context<'_>,
    ) {
        let receiving = self.fetches.get_mut(&key).and_then(|fetch| fetch.receiving(attempt));
        let Some(receiving) = receiving else { return };
        let Some(from) = receiving.writing.remove(&number) else { return };
        receiving.missing.insert(number);
        if cx.broken.is(Fault::WrongPieceForgiven) {
            return self.go_on(cx);
        }
        self.blame(key, from, Blame::Piece, cx);
    }

    /// The whole is not what it should be.
    pub(crate) fn on_wrong_whole(&mut self, key: ContentKey, attempt: Attempt, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Some(manifest) = fetch.receiving(attempt).map(|receiving| Arc::clone(&receiving.manifest)) else {
            return;
        };
        fetch.stage = Stage::Seeking;
        let liars = fetch.donors.iter().filter(|(_, donor)| Arc::ptr_eq(&donor.manifest, &manifest));
        for node in liars.map(|(&node, _)| node).collect::<Vec<_>>() {
            if !cx.broken.is(Fault::WrongWholeForgiven) {
                self.blame(key, node, Blame::Whole, cx);
            }
        }
        self.settle_manifest(key, cx);
        self.go_on(cx);
    }

    /// The disk could not. Whoever offers will offer again, and who needs the file will look again.
    pub(crate) fn on_failed(&mut self, key: ContentKey, attempt: Attempt, cx: &mut Context<'_>) {
        if self.fetches.get_mut(&key).is_none_or(|fetch| fetch.receiving(attempt).is_none()) {
            return;
        }
        if let Some(Fetch { need, past, .. }) = self.fetches.remove(&key)
            && need > Need::Offered
        {
            let past = Past { failed: past.failed.saturating_add(1), ..past };
            self.wants.put_back(key, need, past, cx.now);
        }
        self.go_on(cx);
    }

    /// The file is here.
    pub(crate) fn on_stored(&mut self, key: ContentKey, cx: &mut Context<'_>) -> Arrived {
        let need = self.wants.remove(&key).map_or(Need::Offered, |(need, _)| need);
        let Some(fetch) = self.fetches.remove(&key) else {
            return Arrived { fetched: false, donors: BTreeSet::new(), is_asked_for: need == Need::Asked };
        };
        let gave = fetch.donors.keys().filter(|&&node| fetch.gives(node, cx.up));
        let donors = gave.copied().collect();
        self.go_on(cx);
        Arrived { fetched: true, donors, is_asked_for: fetch.need == Need::Asked }
    }

    fn blame(&mut self, key: ContentKey, node: NodeId, why: Blame, cx: &mut Context<'_>) {
        self.blamed.insert(cx.now, (key, node), ());
        cx.blame(node, key, why);
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.donors.remove(&node);
            if let Stage::Beginning(receiving) | Stage::Getting(receiving) = &mut fetch.stage {
                receiving.take_back(node);
            }
        }
        self.settle_manifest(key, cx);
        self.go_on(cx);
    }

    /// Pieces that were asked of a donor, of all files, and are not written yet.
    pub(crate) fn load_of(&self, donor: NodeId) -> usize {
        let loads = self.fetches.values().map(|fetch| match &fetch.stage {
            Stage::Seeking => 0,
            Stage::Beginning(receiving) | Stage::Getting(receiving) => receiving.load_of(donor),
        });
        loads.sum()
    }

    /// Asks for pieces wherever there is room: what is needed first, and one piece of each file after the other.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.fetches.is_empty() {
            return;
        }
        let mut loads: BTreeMap<NodeId, usize> =
            cx.up.iter().map(|&node| (node, self.load_of(node))).collect();
        for is_needed in [true, false] {
            loop {
                let behind = self.fetches.range((self.served, Bound::Unbounded));
                let before = match self.served {
                    Bound::Excluded(key) => self.fetches.range(..=key),
                    _ => self.fetches.range(ContentKey::default()..ContentKey::default()),
                };
                let next = behind
                    .chain(before)
                    .filter(|(_, fetch)| (fetch.need > Need::Offered) == is_needed)
                    .find_map(|(&key, fetch)| {
                        let Stage::Getting(receiving) = &fetch.stage else { return None };
                        let number = *receiving.missing.first()?;
                        let room = |node| {
                            let load = loads.get(&node).copied()?;
                            (load < CONTENT_PIECES_ASKED_MAX || cx.broken.is(Fault::NoWindow)).then_some(load)
                        };
                        Some((key, number, fetch.donor_with_room(cx.up, room)?))
                    });
                let Some((key, number, to)) = next else { break };
                self.served = Bound::Excluded(key);
                if let Some(Fetch { stage: Stage::Getting(receiving), .. }) = self.fetches.get_mut(&key) {
                    receiving.missing.remove(&number);
                    receiving.asked.insert(number, (to, cx.now));
                }
                *loads.entry(to).or_default() += 1;
                let message = ContentMessage::PieceRequest { content: key, number };
                cx.effects.push(Effect::Send { to, message });
            }
        }
    }

    // ---- Time ----

    /// Counts silences, searches where no donor is left, and gives files their turn.
    pub(crate) fn on_tick(&mut self, cx: &mut Context<'_>) {
        for key in self.fetches.keys().copied().collect::<Vec<_>>() {
            self.count_silences(key, cx);
            let Some(fetch) = self.fetches.get(&key) else { continue };
            if fetch.best_manifest(cx.up).is_none() && fetch.search.due <= cx.now {
                match fetch.search.rounds >= SEARCH_ROUNDS_MAX {
                    true => self.give_up(key, cx),
                    false => self.search(key, cx),
                }
            }
        }
        self.seek_next(cx);
        self.go_on(cx);
    }

    fn count_silences(&mut self, key: ContentKey, cx: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Stage::Getting(receiving) = &mut fetch.stage else { return };
        let asked = receiving.asked.values();
        let silent = asked.filter(|(_, since)| cx.now - since >= SILENCE_TICKS).map(|(of, _)| *of);
        for node in silent.collect::<BTreeSet<_>>() {
            if cx.broken.is(Fault::PiecesOfTheDead) && !cx.up.contains(&node) {
                continue;
            }
            receiving.take_back(node);
            if let Some(donor) = fetch.donors.get_mut(&node) {
                donor.silences += 1;
                donor.silences_in_a_row += 1;
                if donor.silences_in_a_row >= SILENCES_FORGOTTEN && !cx.broken.is(Fault::FaithfulToSilence) {
                    fetch.donors.remove(&node);
                }
            }
        }
        self.settle_manifest(key, cx);
    }
}
