//! One yard: which queues it takes, what waits in them, and who waits for its answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use synod_types::NodeId;
use synod_types::limits::{YARD_BYTES_MAX, YARD_REQUESTS_MAX, YARD_WAITING_MAX};

use super::event::{Arrival, YardId, YardStanding};
use super::letter::Reason;
use crate::broken::{Broken, Fault};

/// Who sent a message, and what it is called there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Origin {
    pub node: NodeId,
    pub errand: u64,
}

/// An open yard.
#[derive(Debug)]
pub(crate) struct Yard {
    pub id: YardId,
    queues: Option<BTreeSet<String>>,
    /// In the order in which they came.
    waiting: VecDeque<(Origin, Arrival)>,
    bytes: usize,
    last: u64,
    /// Messages that were taken, and are to be answered by that tick.
    requests: BTreeMap<u64, (Origin, u64)>,
    /// When its process looked last.
    looked: u64,
    broken: Broken,
}

impl Yard {
    pub(crate) fn new(id: YardId, queues: Option<BTreeSet<String>>, now: u64, broken: Broken) -> Yard {
        Yard {
            id,
            queues,
            waiting: VecDeque::new(),
            bytes: 0,
            last: 0,
            requests: BTreeMap::new(),
            looked: now,
            broken,
        }
    }

    /// Takes a message in, whose number it gives. What waits for an answer waits until that tick.
    pub(crate) fn place(
        &mut self,
        origin: Origin,
        arrival: Arrival,
        until: u64,
        now: u64,
    ) -> Result<(), Reason> {
        let queue = arrival.queue.as_str();
        if self.queues.as_ref().is_some_and(|queues| !queues.contains(queue)) {
            return Err(Reason::UnknownQueue);
        }
        let before = self.waiting.iter().filter(|(_, other)| other.queue == queue).count();
        let is_full = before >= YARD_WAITING_MAX
            || self.bytes + arrival.body.len() > YARD_BYTES_MAX
            || (arrival.wants_reply && self.requests.len() >= YARD_REQUESTS_MAX);
        if is_full && !self.broken.is(Fault::QueueUnbounded) {
            return Err(Reason::QueueFull);
        }
        if self.waiting.is_empty() {
            // From now on there is something to be taken.
            self.looked = now;
        }
        self.last += 1;
        let number = self.last;
        if arrival.wants_reply {
            self.requests.insert(number, (origin, until));
        }
        self.bytes += arrival.body.len();
        let arrival = Arrival { number, ..arrival };
        if self.broken.is(Fault::LastComesFirst) {
            self.waiting.push_front((origin, arrival));
        } else {
            self.waiting.push_back((origin, arrival));
        }
        Ok(())
    }

    /// The first messages that wait, of one queue or of all.
    pub(crate) fn look(&mut self, queue: Option<&str>, max: usize, now: u64) -> Vec<Arrival> {
        self.looked = now;
        let wanted =
            self.waiting.iter().filter(|(_, arrival)| queue.is_none_or(|queue| arrival.queue == queue));
        wanted.take(max).map(|(_, arrival)| arrival.clone()).collect()
    }

    /// Its process has this message; gives who sent it, and whether an answer will follow.
    pub(crate) fn take(&mut self, number: u64, now: u64) -> Option<(Origin, bool)> {
        let at = self.waiting.iter().position(|(_, arrival)| arrival.number == number)?;
        self.looked = now;
        let (origin, arrival) = self.waiting.remove(at)?;
        self.bytes -= arrival.body.len();
        Some((origin, arrival.wants_reply))
    }

    /// Its process answers this message; gives who waits for that.
    pub(crate) fn reply(&mut self, number: u64) -> Option<Origin> {
        // What was not taken cannot be answered.
        if self.waiting.iter().any(|(_, arrival)| arrival.number == number) {
            return None;
        }
        self.requests.remove(&number).map(|(origin, _)| origin)
    }

    /// Forgets who does not wait any more.
    pub(crate) fn forget_late(&mut self, now: u64) {
        let waiting = &self.waiting;
        self.requests.retain(|number, (_, until)| {
            *until > now || waiting.iter().any(|(_, arrival)| arrival.number == *number)
        });
    }

    /// Whether something waits, and its process has not looked for so many ticks.
    pub(crate) fn is_stuck(&self, now: u64, patience: u64) -> bool {
        !self.waiting.is_empty() && now.saturating_sub(self.looked) > patience
    }

    /// Everybody who waits for it.
    pub(crate) fn into_waiting(self) -> BTreeSet<Origin> {
        let waiting = self.waiting.into_iter().map(|(origin, _)| origin);
        waiting.chain(self.requests.into_values().map(|(origin, _)| origin)).collect()
    }

    pub(crate) fn standing(&self, name: &str) -> YardStanding {
        let queues = self.queues.as_ref().map(|queues| queues.iter().cloned().collect());
        YardStanding { name: name.to_owned(), queues, waiting: self.waiting.len() }
    }
}
