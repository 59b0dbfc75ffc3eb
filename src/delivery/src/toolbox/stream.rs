//! The messages of one life of a node, as another node keeps them: as long as somebody may need them, and no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use synod_types::NodeId;
use synod_types::limits::TOOLBOX_LIVES_MAX;

use super::id::{Life, WINDOW, Window};
use super::message::{Message, Seat};

/// A message that is kept.
#[derive(Debug)]
pub(crate) struct Held {
    pub message: Arc<Message>,
    /// Who is known to have it, or to have had it in an earlier life.
    pub holders: BTreeSet<NodeId>,
    /// When it was last sent to whom, and how often.
    pub sent: BTreeMap<NodeId, (u64, u32)>,
}

/// The messages of one source.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The first message that is owed to this node, once there is one.
    pub since: Option<u64>,
    /// What came, or does not have to come any more.
    pub seen: Window,
    /// What was delivered, or is not owed.
    pub delivered: Window,
    /// To whom the last message that was delivered is owed.
    pub audience: Vec<Seat>,
    /// What somebody may still need, this node included.
    pub held: BTreeMap<u64, Held>,
    /// The one with the highest number: by it, who is in the audience.
    newest: Option<Arc<Message>>,
}

impl Held {
    pub(crate) fn new(message: Arc<Message>, holders: impl IntoIterator<Item = NodeId>) -> Held {
        Held { message, holders: holders.into_iter().collect(), sent: BTreeMap::new() }
    }
}

impl Default for Stream {
    fn default() -> Stream {
        let nothing = Window::through(0);
        Stream {
            since: None,
            seen: nothing,
            delivered: nothing,
            audience: Vec::new(),
            held: BTreeMap::new(),
            newest: None,
        }
    }
}

impl Stream {
    /// From this number on messages are owed to this node; whether that can be.
    pub(crate) fn begin(&mut self, since: u64) -> bool {
        if self.since.is_none() {
            self.since = Some(since);
            self.delivered.merge(&Window::through(since.saturating_sub(1)));
        }
        self.since == Some(since)
    }

    /// Whether this message is to be delivered here, and was not yet.
    pub(crate) fn is_due(&self, number: u64) -> bool {
        self.since.is_some() && !self.delivered.contains(number)
    }

    /// Whether there is room for this message. What would come first always has room, so that nothing waits for ever.
    pub(crate) fn has_room(&self, number: u64) -> bool {
        let is_near = number <= self.delivered.watermark().saturating_add(WINDOW);
        self.seen.reaches(number) && (is_near || self.since.is_none())
    }

    /// Notes what a message says of its stream: what does not have to come any more, and who is in the audience by now.
    /// Who was in it, and is not any more; and whom its source gave up before anything of it came here.
    pub(crate) fn learn(&mut self, message: &Arc<Message>) -> Vec<Life> {
        self.seen.merge(&Window::through(message.settled));
        if self.newest.as_ref().is_some_and(|newest| newest.id.number >= message.id.number) {
            return Vec::new();
        }
        let before = self.newest.replace(Arc::clone(message));
        let before = before.iter().flat_map(|newest| &newest.audience).map(|seat| seat.life);
        before.filter(|&life| message.seat(life).is_none()).chain(message.given_up.iter().copied()).collect()
    }

    /// What came and is needed by nobody any more.
    pub(crate) fn settled(&self) -> Window {
        self.seen.without(self.held.keys().copied())
    }

    /// Drops what was delivered here, or is not to be, and is needed by nobody else.
    pub(crate) fn prune(&mut self, is_settled: impl Fn(&Message) -> bool) {
        let mut held = std::mem::take(&mut self.held);
        let settled = self.newest.as_ref().map_or(0, |newest| newest.settled);
        held.retain(|&number, held| self.is_due(number) || (number > settled && !is_settled(&held.message)));
        self.held = held;
    }
}

/// The streams of all lives that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub map: BTreeMap<Life, Stream>,
    /// Lives of a node up to this incarnation are forgotten.
    forgotten: BTreeMap<NodeId, u64>,
    /// Messages that waited for something and were forgotten with their stream.
    pub dropped: u64,
}

impl Streams {
    /// Whether what this life says is not looked at any more.
    pub(crate) fn is_forgotten(&self, life: Life) -> bool {
        self.forgotten.get(&life.node).is_some_and(|&through| life.incarnation <= through)
    }

    /// The stream of a life; of none that is forgotten. Beyond [`TOOLBOX_LIVES_MAX`] the earliest life of that node is
    /// forgotten.
    pub(crate) fn open(&mut self, life: Life) -> Option<&mut Stream> {
        if self.is_forgotten(life) {
            return None;
        }
        self.map.entry(life).or_default();
        let first = Life { incarnation: 0, ..life };
        let last = Life { incarnation: u64::MAX, ..life };
        let lives: Vec<Life> = self.map.range(first..=last).map(|(&life, _)| life).collect();
        if lives.len() > TOOLBOX_LIVES_MAX {
            let gone = self.map.remove(&lives[0]);
            let due = gone.map_or(0, |gone| gone.held.keys().filter(|&&number| gone.is_due(number)).count());
            self.dropped += u64::try_from(due).unwrap_or(u64::MAX);
            self.forgotten.insert(life.node, lives[0].incarnation);
        }
        self.map.get_mut(&life)
    }
}
