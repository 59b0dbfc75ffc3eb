//! What a node knows of the others: which life of each there is, what is owed to it, and what it has.

use std::collections::BTreeMap;

use synod_types::NodeId;

use super::id::{Life, MessageId, Window};
use super::message::{Message, Seat};

/// How it stands with another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It was never heard.
    Unknown,
    /// What this node broadcasts is owed to that life, from a number on.
    Owed { incarnation: u64, since: u64, is_heard: bool },
    /// That life was given up: it missed what is not kept any more.
    GivenUp { incarnation: u64 },
    /// That life said goodbye.
    Left { incarnation: u64 },
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// From a life that is over, or was given up.
    Stale,
    /// The first one of this life.
    New,
    /// One more.
    Known,
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub state: State,
    /// What its present life has of whom, by its own word.
    pub has: BTreeMap<Life, Window>,
}

/// All other members.
#[derive(Debug)]
pub(crate) struct Peers(pub BTreeMap<NodeId, Peer>);

impl Peer {
    /// The incarnation that is known last.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        match self.state {
            State::Unknown => None,
            State::Owed { incarnation, .. }
            | State::GivenUp { incarnation }
            | State::Left { incarnation } => Some(incarnation),
        }
    }

    /// Takes note of a packet of that life. What is broadcast from `next` on is owed to a new one.
    pub(crate) fn admit(&mut self, incarnation: u64, next: u64) -> Admission {
        if self.incarnation().is_none_or(|known| incarnation > known) {
            *self = Peer {
                state: State::Owed { incarnation, since: next, is_heard: true },
                has: BTreeMap::new(),
            };
            return Admission::New;
        }
        match &mut self.state {
            State::Owed { incarnation: known, is_heard, .. } if *known == incarnation => {
                if std::mem::replace(is_heard, true) { Admission::Known } else { Admission::New }
            }
            _ => Admission::Stale,
        }
    }

    /// Whether that life is the present one, and is not given up.
    pub(crate) fn is(&self, incarnation: u64) -> bool {
        matches!(self.state, State::Owed { incarnation: present, .. } if present == incarnation)
    }

    /// Whether its present life has a message of another one.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.has.get(&id.source).is_some_and(|window| window.contains(id.number))
    }
}

impl Peers {
    /// To whom this node owes what it broadcasts.
    pub(crate) fn audience(&self) -> Vec<Seat> {
        let seats = self.0.iter().filter_map(|(&node, peer)| match peer.state {
            State::Owed { incarnation, since, .. } => Some(Seat { life: Life { node, incarnation }, since }),
            _ => None,
        });
        seats.collect()
    }

    /// The lives that were given up.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = Life> {
        self.0.iter().filter_map(|(&node, peer)| match peer.state {
            State::GivenUp { incarnation } => Some(Life { node, incarnation }),
            _ => None,
        })
    }

    /// Whether nobody needs a message any more: all lives that are known have it, those who began later too if they keep
    /// it for the others; and of those to whom it is owed the rest is over, or was given up.
    pub(crate) fn are_served(&self, message: &Message, all_keep: bool) -> bool {
        self.0.iter().all(|(&node, peer)| {
            let owed = message.audience.iter().map(|seat| seat.life).find(|life| life.node == node);
            match peer.state {
                State::Unknown => owed.is_none(),
                State::Owed { incarnation, .. } => {
                    let is_later = owed.is_some_and(|life| life.incarnation > incarnation);
                    let is_for_it = all_keep || owed.is_some_and(|life| life.incarnation == incarnation);
                    let is_its_own = message.id.source.is_from(Life { node, incarnation });
                    !is_later && (peer.has(message.id) || is_its_own || !is_for_it)
                }
                State::GivenUp { incarnation } | State::Left { incarnation } => {
                    owed.is_none_or(|life| life.incarnation <= incarnation)
                }
            }
        })
    }
}
