//! What every part of the core is handed along with an event.

use std::collections::BTreeSet;

use synod_types::{ContentKey, ContentMessage, NodeId};

use crate::broken::Broken;
use crate::event::{Blame, Effect};

/// The time, who is there, and the way out.
pub(crate) struct Context<'a> {
    /// Ticks since the start.
    pub now: u64,
    /// The other nodes with which there is a session.
    pub up: &'a BTreeSet<NodeId>,
    /// Where effects go.
    pub effects: &'a mut Vec<Effect>,
    /// What is wrong on purpose.
    pub broken: Broken,
}

impl Context<'_> {
    pub(crate) fn seek(&mut self, to: NodeId, content: ContentKey, held: bool) {
        self.effects.push(Effect::Send { to, message: ContentMessage::Seek { content, held } });
    }

    pub(crate) fn blame(&mut self, node: NodeId, key: ContentKey, why: Blame) {
        self.effects.push(Effect::Blame { node, key, why });
    }
}
