//! Who wants to hear of which topic. Subscribers are told what was delivered, never what was merely received.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use synod_types::limits::TOOLBOX_SUBSCRIPTIONS_MAX;

/// What a message is about; what the number means is up to whoever uses the toolbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Topic(pub u32);

/// One subscription at one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(u64);

/// There are [`TOOLBOX_SUBSCRIPTIONS_MAX`] subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are {TOOLBOX_SUBSCRIPTIONS_MAX} subscriptions, and one of them has to end first")]
pub struct TooManySubscriptions;

/// The subscriptions at one node.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    last: u64,
    topics: BTreeMap<SubscriptionId, Topic>,
}

impl Subscriptions {
    /// Subscribes to a topic.
    ///
    /// # Errors
    /// [`TooManySubscriptions`].
    pub fn subscribe(&mut self, topic: Topic) -> Result<SubscriptionId, TooManySubscriptions> {
        if self.topics.len() >= TOOLBOX_SUBSCRIPTIONS_MAX {
            return Err(TooManySubscriptions);
        }
        self.last += 1;
        self.topics.insert(SubscriptionId(self.last), topic);
        Ok(SubscriptionId(self.last))
    }

    /// Ends a subscription; whether there was one.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.topics.remove(&id).is_some()
    }

    /// Who subscribed to the topic, in the order of subscribing.
    pub fn to(&self, topic: Topic) -> Vec<SubscriptionId> {
        self.topics.iter().filter(|(_, wanted)| **wanted == topic).map(|(&id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_come_in_order_and_go() {
        let mut subscriptions = Subscriptions::default();
        let ids: Vec<_> = [1, 2, 1].map(|topic| subscriptions.subscribe(Topic(topic)).unwrap()).into();
        assert_eq!(subscriptions.to(Topic(1)), [ids[0], ids[2]]);
        assert!(subscriptions.unsubscribe(ids[0]) && !subscriptions.unsubscribe(ids[0]));
        assert_eq!(subscriptions.to(Topic(1)), [ids[2]]);
        assert!(subscriptions.to(Topic(3)).is_empty());
    }

    #[test]
    fn there_is_a_limit() {
        let mut subscriptions = Subscriptions::default();
        let ids: Vec<_> = std::iter::from_fn(|| subscriptions.subscribe(Topic(0)).ok()).collect();
        assert_eq!(ids.len(), TOOLBOX_SUBSCRIPTIONS_MAX);
        subscriptions.unsubscribe(ids[0]);
        let again = subscriptions.subscribe(Topic(0)).unwrap();
        assert!(!ids.contains(&again), "an id is given once");
    }
}
