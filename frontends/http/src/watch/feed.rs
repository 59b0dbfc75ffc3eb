//! Feeds: many who follow the same keys are told the same, and it is read and written down once for all of them.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde_json::value::{RawValue, to_raw_value};
use synod_app_kv::{KvAnswer, KvQuery, KvSelection, KvStateChanges};
use synod_gateway::AppDoor;
use synod_types::limits::{HTTP_WATCH_EVENT_BYTES, HTTP_WATCH_FEED_BYTES};
use synod_types::{AppNdx, StateNdx};

use super::{Event, Page, StateChangesView};
use crate::problem::StreamEnd;

/// The feeds that somebody follows.
#[derive(Default)]
pub(super) struct Feeds {
    open: Mutex<HashMap<(AppNdx, KvSelection), Weak<Feed>>>,
}

/// What changes of some keys, for those who follow them.
pub(super) struct Feed {
    pub(super) app: AppNdx,
    of: KvSelection,
    recent: Mutex<Recent>,
}

/// The last events: all that there are in a stretch of states.
#[derive(Default)]
struct Recent {
    /// The stretch begins behind this state…
    after: StateNdx,
    /// …and ends with this one.
    through: StateNdx,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Feeds {
    /// The feed of these keys, the same for all who ask while one of them follows it.
    pub(super) fn of(&self, app: AppNdx, of: KvSelection) -> Arc<Feed> {
        let mut open = self.open.lock().expect("nothing panics while it holds this lock");
        open.retain(|_, feed| feed.strong_count() > 0);
        let entry = open.entry((app, of));
        if let Entry::Occupied(known) = &entry
            && let Some(feed) = known.get().upgrade()
        {
            return feed;
        }
        let feed = Arc::new(Feed { app, of: entry.key().1.clone(), recent: Mutex::default() });
        entry.insert_entry(Arc::downgrade(&feed));
        feed
    }
}

impl Feed {
    /// What has changed behind `after`, in at most `limit` states and about `bytes_max` bytes.
    ///
    /// # Errors
    /// [`StreamEnd::Compacted`] if that is forgotten.
    pub(super) fn look(
        self: &Arc<Feed>,
        door: &AppDoor,
        after: StateNdx,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Page, StreamEnd> {
        // Who follows alone has nobody to keep anything for.
        if Arc::strong_count(self) == 1 {
            return self.read(door, after, limit, bytes_max);
        }
        let mut recent = self.recent();
        if after < recent.after {
            drop(recent);
            return self.read(door, after, limit, bytes_max);
        }
        if after > recent.through {
            *recent = Recent { after, through: after, ..Recent::default() };
        }
        if recent.is_exhausted(after) && recent.through < door.state_ndx() {
            let more = self.read(door, recent.through, limit, bytes_max)?;
            recent.add(&more);
        }
        let page = recent.page(after, limit, bytes_max, door.state_ndx());
        recent.trim();
        Ok(page)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().expect("nothing panics while it holds this lock")
    }

    /// Reads changes from the application's history.
    fn read(&self, door: &AppDoor, after: StateNdx, limit: u32, bytes_max: usize) -> Result<Page, StreamEnd> {
        let view = door.view();
        let query = KvQuery::Changes { after, of: self.of.clone(), limit };
        let answer =
            view.app.query(view.state_ndx, &query.encode()).expect("it is of the kind that is followed");
        match KvAnswer::decode(&answer).expect("the key-value application in this process encoded it") {
            KvAnswer::Changes { states, through } => {
                let events = states.iter().map(|changes| Arc::new(Event::of(changes)));
                Ok(Page::of(events, limit, bytes_max, through, view.state_ndx))
            }
            KvAnswer::Compacted { oldest } => Err(StreamEnd::Compacted { oldest }),
            other => {
                unreachable!("changes behind a state that is there are answered by changes, not by {other:?}")
            }
        }
    }
}

impl Recent {
    /// Whether nothing here is behind a state.
    fn is_exhausted(&self, after: StateNdx) -> bool {
        self.events.back().is_none_or(|last| last.state_ndx <= after)
    }

    fn add(&mut self, more: &Page) {
        self.bytes += more.events.iter().map(|event| event.bytes()).sum::<usize>();
        self.events.extend(more.events.iter().cloned());
        self.through = more.through;
    }

    fn page(&self, after: StateNdx, limit: u32, bytes_max: usize, state_ndx: StateNdx) -> Page {
        let first = self.events.partition_point(|event| event.state_ndx <= after);
        Page::of(self.events.range(first..).cloned(), limit, bytes_max, self.through, state_ndx)
    }

    /// Drops the oldest events as far as they are too many.
    fn trim(&mut self) {
        while self.bytes > HTTP_WATCH_FEED_BYTES
            && let Some(first) = self.events.pop_front()
        {
            self.after = first.state_ndx;
            self.bytes -= first.bytes();
        }
    }
}

impl Event {
    fn of(changes: &KvStateChanges) -> Event {
        let data = to_raw_value(&StateChangesView::of(changes));
        let data = data.expect("what is answered here has only text for keys");
        Event { state_ndx: changes.state_ndx, data }
    }

    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        HTTP_WATCH_EVENT_BYTES + RawValue::get(&self.data).len()
    }
}

impl Page {
    /// The first of `events` as far as they fit, which is one at least; all of them lead up to `through`.
    fn of(
        events: impl Iterator<Item = Arc<Event>>,
        limit: u32,
        bytes_max: usize,
        through: StateNdx,
        state_ndx: StateNdx,
    ) -> Page {
        let mut page = Page { events: Vec::new(), through, state_ndx };
        let mut bytes = 0;
        for event in events {
            if let Some(last) = page.events.last()
                && (bytes >= bytes_max || page.events.len() >= usize::try_from(limit).unwrap_or(usize::MAX))
            {
                page.through = last.state_ndx;
                break;
            }
            bytes += event.bytes();
            page.events.push(event);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::super::Follower;
    use super::super::stage::Stage;
    use super::*;

    struct Told {
        follower: Follower,
        prefix: &'static str,
        after: StateNdx,
        states: Vec<StateNdx>,
    }

    impl Told {
        fn by(stage: &Stage, prefix: &'static str, after: StateNdx) -> Told {
            Told { follower: stage.follow(prefix, after), prefix, after, states: Vec::new() }
        }

        fn look(&mut self, limit: u32, bytes_max: usize) {
            let page = self.follower.look(limit, bytes_max).expect("nothing is forgotten");
            assert!(page.events.len() <= usize::try_from(limit).unwrap());
            assert!(page.through <= page.state_ndx);
            for event in &page.events {
                let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
                assert_eq!(data["stateNdx"], event.state_ndx.0);
                self.states.push(event.state_ndx);
            }
        }
    }

    /// Numbers that look random, the same each time.
    fn numbers() -> impl FnMut(u64) -> u64 {
        let mut state = 1_u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn each_is_told_everything_once_however_far_behind_the_others_it_is() {
        let mut number = numbers();
        let mut stage = Stage::open();
        let mut keys = Vec::new();
        let mut told: Vec<Told> =
            ["a", "a", "a", "", "", "b"].map(|prefix| Told::by(&stage, prefix, StateNdx(0))).into();
        for _ in 0..4000 {
            match number(10) {
                0..5 => {
                    let key = ["a", "ab", "b"][usize::try_from(number(3)).unwrap()];
                    let bytes = if number(20) == 0 { HTTP_WATCH_FEED_BYTES / 3 } else { 10 };
                    stage.put(key, bytes);
                    keys.push(key);
                }
                5 if number(20) == 0 => {
                    let prefix = ["a", ""][usize::try_from(number(2)).unwrap()];
                    told.push(Told::by(&stage, prefix, stage.state_ndx));
                }
                _ => {
                    // The first ones look most often.
                    let most = number(u64::try_from(told.len()).unwrap()) + 1;
                    let place = usize::try_from(number(most)).unwrap();
                    let limit = u32::try_from(number(20)).unwrap() + 1;
                    told[place].look(limit, usize::try_from(number(100_000)).unwrap());
                }
            }
        }
        for told in &mut told {
            while told.follower.through() < stage.state_ndx {
                told.look(100, usize::MAX);
            }
            let states = (told.after.0 + 1..=stage.state_ndx.0).map(StateNdx);
            let key = |state_ndx: &StateNdx| keys[usize::try_from(state_ndx.0 - 1).unwrap()];
            let changed: Vec<StateNdx> = states.filter(|made| key(made).starts_with(told.prefix)).collect();
            assert_eq!(told.states, changed, "of {:?}", told.prefix);
        }
        assert!(keys.len() > 1000 && told.len() > 6);
    }

    #[test]
    fn what_is_kept_for_those_who_follow_has_a_limit_and_ends_with_them() {
        let mut stage = Stage::open();
        let mut both = [stage.follow("a", StateNdx(0)), stage.follow("a", StateNdx(0))];
        let feed = Arc::downgrade(&both[0].feed);
        for _ in 0..100 {
            stage.put("a", HTTP_WATCH_FEED_BYTES / 10);
            both[0].look(1, usize::MAX).expect("nothing is forgotten");
        }
        let feed = feed.upgrade().expect("it is followed");
        assert!(feed.recent().bytes <= HTTP_WATCH_FEED_BYTES && feed.recent().events.len() >= 8);
        let gone = Arc::downgrade(&feed);
        drop((feed, both));
        assert!(gone.upgrade().is_none());
    }
}
