//! Whether an application's state is the newest, found out by asking as a linearizable reader does.
//!
//! The question is noted with its moment. A quorum's word makes the answer a slot up to which everything was chosen by
//! that moment (a read index, OngaroPhD section 6.4); once the state has applied it, the state is known to have been the
//! newest then. A node that is cut off gets no answer, and its last known moment grows old.

use std::time::Duration;

use synod_gateway::AppPublisher;
use synod_types::Slot;
use tokio::time::Instant;

/// How old the last known moment grows before the next question.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// What one application's state is known to be newer than.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    asked: Option<Instant>,
    /// The moment of a question, and the slot that is to be applied before the state is known to be the newest of then.
    /// Kept until it is: a state that is always a little behind is still known to be no older than that.
    granted: Option<(Instant, Slot)>,
}

impl Freshness {
    /// Whether to ask now; if so, the question counts as asked at `now`. `age`: how long ago the last known moment is.
    pub(crate) fn is_due(&mut self, now: Instant, age: Option<Duration>) -> bool {
        let is_due = self.asked.is_none() && self.granted.is_none() && age.is_none_or(|age| age >= ASK_AFTER);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Everything that had been chosen when the question was asked is in the slots up to `index`.
    pub(crate) fn on_granted(&mut self, index: Slot) {
        if let Some(asked) = self.asked.take() {
            self.grant(asked, index);
        }
    }

    /// Everything that had been chosen at `as_of` is in the slots up to `index`.
    pub(crate) fn grant(&mut self, as_of: Instant, index: Slot) {
        self.granted.get_or_insert((as_of, index));
    }

    /// Nobody can tell now.
    pub(crate) fn on_refused(&mut self) {
        self.asked = None;
    }

    /// Readers see a state that has applied everything up to `applied`.
    pub(crate) fn on_applied(&mut self, applied: Slot, publisher: &AppPublisher) {
        if let Some((as_of, _)) = self.granted.take_if(|(_, index)| *index <= applied) {
            publisher.set_fresh(as_of);
        }
    }
}

#[cfg(test)]
mod tests {
    use synod_gateway::AppDoor;
    use synod_machine::View;
    use synod_types::{AppNdx, ClusterId, Digest};

    use super::*;

    fn publisher() -> AppPublisher {
        let application = crate::apps::new("kv").unwrap();
        let view = View::new(ClusterId(Digest([0; 32])), AppNdx(1), application);
        AppDoor::open("kv", view).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_as_fresh_as_the_question_whose_answer_it_has_applied() {
        let publisher = publisher();
        let door = publisher.door();
        let mut freshness = Freshness::default();
        assert!(freshness.is_due(Instant::now(), door.age()));
        assert!(!freshness.is_due(Instant::now(), door.age()), "one question at a time");
        freshness.on_refused();
        assert!(freshness.is_due(Instant::now(), door.age()), "a refused one is asked again");
        tokio::time::advance(Duration::from_millis(30)).await;
        freshness.on_granted(Slot(7));
        freshness.on_applied(Slot(6), &publisher);
        assert_eq!(door.age(), None, "slot 7 was chosen by then, and is not there yet");
        assert!(!freshness.is_due(Instant::now(), door.age()), "the answer is good for when it is");
        tokio::time::advance(Duration::from_millis(50)).await;
        freshness.on_applied(Slot(9), &publisher);
        assert_eq!(door.age(), Some(Duration::from_millis(80)), "counted from the question");
        assert!(!freshness.is_due(Instant::now(), door.age()));
        tokio::time::advance(ASK_AFTER).await;
        assert!(freshness.is_due(Instant::now(), door.age()));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!door.fresh_within(Duration::from_secs(5)), "without an answer it grows old");
    }
}
