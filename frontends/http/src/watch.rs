//! Following what changes in the key-value application.
//!
//! Nothing is kept for one who follows but how far it is: changes are read from the application's history when a client can
//! take them. So a client that does not read holds one page of changes at most, and one that is so slow that the history has
//! passed it by is told so and starts again. For many who follow the same keys the last changes are kept once, within a limit.

mod feed;
#[cfg(test)]
pub(crate) mod stage;
mod stream;
mod turns;

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use synod_app_kv::{KvKeyChange, KvSelection, KvStateChanges};
use synod_gateway::{AppDoor, Gateway};
use synod_types::limits::HTTP_WATCHERS_MAX;
use synod_types::{AppNdx, StateNdx, TimeMs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use utoipa::ToSchema;

use crate::problem::StreamEnd;
use crate::routes::{EntryView, text_or_base64};

use feed::{Feed, Feeds};
pub(crate) use stream::event_stream;
pub(crate) use turns::{Turn, Turns};

/// Those who follow changes at one front end.
pub(crate) struct Followers {
    places: Arc<Semaphore>,
    turns: Arc<Turns>,
    feeds: Feeds,
}

/// Follows the changes of some keys: what was given out is never given out again, and nothing is left out.
pub(crate) struct Follower {
    gateway: Gateway,
    feed: Arc<Feed>,
    through: StateNdx,
    turns: Arc<Turns>,
    _place: OwnedSemaphorePermit,
}

/// What has changed, so far as it is given out at a time.
pub(crate) struct Page {
    /// In the order of the states; those that changed no such key are left out.
    pub(crate) events: Vec<Arc<Event>>,
    /// Everything up to this state is in here.
    pub(crate) through: StateNdx,
    /// The state that the application was in.
    pub(crate) state_ndx: StateNdx,
}

/// What changed in one state.
pub(crate) struct Event {
    pub(crate) state_ndx: StateNdx,
    /// A [`StateChangesView`].
    pub(crate) data: Box<RawValue>,
}

impl Followers {
    pub(crate) fn new() -> Followers {
        Followers {
            places: Arc::new(Semaphore::new(HTTP_WATCHERS_MAX)),
            turns: Arc::new(Turns::new()),
            feeds: Feeds::default(),
        }
    }

    /// One of [`HTTP_WATCHERS_MAX`] places.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.places).try_acquire_owned()
    }

    /// Follows from behind `after` on.
    pub(crate) fn follow(
        &self,
        place: OwnedSemaphorePermit,
        gateway: Gateway,
        app: AppNdx,
        of: KvSelection,
        after: StateNdx,
    ) -> Follower {
        let (feed, turns) = (self.feeds.of(app, of), Arc::clone(&self.turns));
        Follower { gateway, feed, through: after, turns, _place: place }
    }
}

impl Follower {
    /// Everything up to this state was given out.
    pub(crate) fn through(&self) -> StateNdx {
        self.through
    }

    /// What has changed in the next states, at most `limit` of them and about `bytes_max` bytes, but one at least if there
    /// is one; and goes on behind them.
    ///
    /// # Errors
    /// [`StreamEnd::Compacted`] if that is forgotten.
    pub(crate) fn look(&mut self, limit: u32, bytes_max: usize) -> Result<Page, StreamEnd> {
        let page = self.feed.look(self.door(), self.through, limit, bytes_max)?;
        self.through = page.through;
        Ok(page)
    }

    /// Waits until there may be more, and then for the turn to look and to write, which lasts as long as it is kept. May be
    /// dropped at any time.
    ///
    /// # Errors
    /// [`StreamEnd::Stopping`] when the node stops.
    pub(crate) async fn more(&self) -> Result<Turn, StreamEnd> {
        let turn = async {
            self.door().until_state(self.through.next()).await;
            Arc::clone(&self.turns).take().await
        };
        tokio::select! {
            biased;
            () = self.gateway.until_stopping() => Err(StreamEnd::Stopping),
            turn = turn => Ok(turn),
        }
    }

    fn door(&self) -> &AppDoor {
        self.gateway.app(self.feed.app).expect("it was there when this began, and stays")
    }
}

/// What changed in one state: an event of a stream, and an element of a page.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StateChanges)]
pub(crate) struct StateChangesView<'a> {
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// That state's time, milliseconds since 1970.
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    /// In the order of the keys.
    changes: Vec<KeyChangeView<'a>>,
}

impl StateChangesView<'_> {
    pub(crate) fn of(changes: &KvStateChanges) -> StateChangesView<'_> {
        let KvStateChanges { state_ndx, time, changes } = changes;
        let changes = changes.iter().map(KeyChangeView::of).collect();
        StateChangesView { state_ndx: *state_ndx, time_ms: *time, changes }
    }
}

/// What became of a key: it holds a value, or it was removed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = KeyChange)]
enum KeyChangeView<'a> {
    Written(EntryView<'a>),
    #[serde(rename_all = "camelCase")]
    Removed {
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        key_base64: Option<String>,
        removed: Removal,
    },
}

/// How a key came to its end.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Removal {
    /// A command removed it.
    Deleted,
    /// Its lease ran out.
    Expired,
}

impl KeyChangeView<'_> {
    fn of(change: &KvKeyChange) -> KeyChangeView<'_> {
        let Some(entry) = &change.entry else {
            let (key, key_base64) = text_or_base64(&change.key);
            let removed = if change.expired { Removal::Expired } else { Removal::Deleted };
            return KeyChangeView::Removed { key, key_base64, removed };
        };
        KeyChangeView::Written(EntryView::of(entry))
    }
}
