//! What the nodes tell each other of how far they are: when it changes, at most once a tick, and each second.

use std::collections::BTreeMap;

use synod_gateway::NodeStates;
use synod_mesh::PeerStatus;
use synod_types::{AppNdx, Digest, Message, NodeId, StateNdx};

/// Ticks after which it is told again though nothing changed: a message may have been lost.
const AGAIN_TICKS: u32 = 50;

/// What this node told the others last, and in which sessions it heard from them.
#[derive(Debug, Default)]
pub(crate) struct States {
    told: Vec<(AppNdx, StateNdx, Digest)>,
    ticks: u32,
    /// How often each peer's session was opened again, when it was last looked at.
    sessions: BTreeMap<NodeId, u64>,
}

impl States {
    /// The message to send to every other node, if it is time.
    pub(crate) fn on_tick(
        &mut self,
        states: impl Iterator<Item = (AppNdx, StateNdx, Digest)>,
    ) -> Option<Message> {
        let states: Vec<_> = states.collect();
        self.ticks += 1;
        if states == self.told && self.ticks < AGAIN_TICKS {
            return None;
        }
        self.ticks = 0;
        self.told.clone_from(&states);
        Some(Message::States(states))
    }

    /// Forgets what peers said whose session is over: they may come back with less.
    pub(crate) fn forget_the_lost(&mut self, peers: &[PeerStatus], states: &NodeStates) {
        for peer in peers {
            let before = self.sessions.insert(peer.id, peer.reconnects);
            if !peer.is_up() || before.is_some_and(|before| before != peer.reconnects) {
                states.forget(peer.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_everything_each_second() {
        let mut states = States::default();
        let mut tick =
            |n| states.on_tick([(AppNdx(1), StateNdx(n), Digest::default())].into_iter()).is_some();
        assert!(tick(5));
        assert!(!tick(5));
        assert!(tick(6));
        let quiet = (0..AGAIN_TICKS).filter(|_| tick(6)).count();
        assert_eq!(quiet, 1);
    }
}
