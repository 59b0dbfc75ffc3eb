//! What must never happen, and what must be true at the end.

use std::collections::{BTreeMap, BTreeSet};

use synod_delivery::{Effect, Event};
use synod_types::limits::CONTENT_PIECES_ASKED_MAX;
use synod_types::{ContentKey, ContentMessage};

pub struct Checks {
    nodes: usize,
    /// The first thing that went wrong.
    pub violation: Option<String>,
    /// Which node ever had which file durably.
    stored: BTreeSet<(usize, ContentKey)>,
    /// Wrong pieces, by who got them in which life, of which file, of which liar.
    wrong: BTreeMap<(usize, u64, ContentKey, u8), usize>,
    /// The last effect of an honest node, and what it was.
    last: (u64, String),
}

impl Checks {
    pub fn new(nodes: usize) -> Checks {
        Checks {
            nodes,
            violation: None,
            stored: BTreeSet::new(),
            wrong: BTreeMap::new(),
            last: (0, String::new()),
        }
    }

    pub fn fail(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    pub fn on_stored(&mut self, node: usize, key: ContentKey) {
        self.stored.insert((node, key));
    }

    /// The promise of the crate.
    pub fn on_uniform(&mut self, node: usize, key: ContentKey, holders: &[usize]) {
        let distinct: BTreeSet<usize> = holders.iter().copied().collect();
        if distinct.len() != holders.len() || distinct.len() <= self.nodes / 2 {
            self.fail(format!("node {node} takes {holders:?} of {} nodes for a majority", self.nodes));
        }
        if let Some(holder) = distinct.iter().find(|&&holder| !self.stored.contains(&(holder, key))) {
            self.fail(format!("node {node} says that {holder} holds {key:?}, which never stored it"));
        }
    }

    /// Whoever sends a wrong piece is not asked again; what was on its way then may still come.
    pub fn on_wrong_piece(&mut self, which: (usize, u64, ContentKey, u8)) {
        let count = self.wrong.entry(which).or_default();
        *count += 1;
        if *count > CONTENT_PIECES_ASKED_MAX {
            self.fail(format!("node {} asks a liar again and again for {:?}", which.0, which.2));
        }
    }

    pub fn on_loads(&mut self, loads: impl Iterator<Item = usize>) {
        let most = loads.max().unwrap_or(0);
        if most > CONTENT_PIECES_ASKED_MAX {
            self.fail(format!("{most} pieces are asked of one node"));
        }
    }

    pub fn on_effect(&mut self, now: u64, node: usize, effect: &Effect, counts: bool) {
        if counts {
            self.last = (now, format!("node {node}: {}", name(effect)));
        }
    }

    pub fn check_quiet(&self, from: u64) -> Result<(), String> {
        let (at, what) = &self.last;
        if *at < from { Ok(()) } else { Err(format!("not quiet: at {at} ms, {what}")) }
    }
}

/// Without the bytes.
pub fn name(effect: &Effect) -> String {
    match effect {
        Effect::Write { key, number, .. } => format!("Write {number} of {key:?}"),
        Effect::Begin { key, attempt, .. } => format!("Begin {key:?} {attempt:?}"),
        other => format!("{other:?}"),
    }
}

/// Without the bytes.
pub fn name_of_event(event: &Event) -> String {
    match event {
        Event::Message { from, message: ContentMessage::Piece { content, number, .. } } => {
            format!("Piece {number} of {content:?} from {from:?}")
        }
        Event::Message { from, message: ContentMessage::Offer { content, .. } } => {
            format!("Offer of {content:?} from {from:?}")
        }
        other => format!("{other:?}"),
    }
}
