//! Following what changes in the key-value application.
//!
//! Nothing is kept for those who follow but how far each of them is: changes are read from the application's history when
//! a client can take them. So a client that does not read holds one page of changes at most, and one that is so slow that the
//! history has passed it by is told so and starts again.

mod stream;
mod turns;

use std::sync::Arc;

use serde::Serialize;
use synod_app_kv::{KvAnswer, KvKeyChange, KvQuery, KvSelection, KvStateChanges};
use synod_gateway::{AppDoor, Gateway};
use synod_types::{AppNdx, StateNdx, TimeMs};
use tokio::sync::OwnedSemaphorePermit;

use crate::problem::StreamEnd;
use crate::routes::{EntryView, text_or_base64};

pub(crate) use stream::event_stream;
pub(crate) use turns::{Turn, Turns};

/// Follows the changes of some keys: what was given out is never given out again, and nothing is left out.
pub(crate) struct Follower {
    gateway: Gateway,
    app: AppNdx,
    of: KvSelection,
    through: StateNdx,
    turns: Arc<Turns>,
    _place: OwnedSemaphorePermit,
}

/// What has changed, so far as it is given out at a time.
pub(crate) struct Page {
    /// In the order of the states; those that changed no such key are left out.
    pub(crate) states: Vec<KvStateChanges>,
    /// Everything up to this state is in here.
    pub(crate) through: StateNdx,
    /// The state that the application was in.
    pub(crate) state_ndx: StateNdx,
}

impl Follower {
    /// Follows from behind `after` on; `place` is one of those that there are for followers.
    pub(crate) fn new(
        gateway: Gateway,
        app: AppNdx,
        of: KvSelection,
        after: StateNdx,
        turns: Arc<Turns>,
        place: OwnedSemaphorePermit,
    ) -> Follower {
        Follower { gateway, app, of, through: after, turns, _place: place }
    }

    /// Everything up to this state was given out.
    pub(crate) fn through(&self) -> StateNdx {
        self.through
    }

    /// What has changed in the next states, `limit` of them at most, and goes on behind them.
    ///
    /// # Errors
    /// [`StreamEnd::Compacted`] if that is forgotten.
    pub(crate) fn look(&mut self, limit: u32) -> Result<Page, StreamEnd> {
        let query = KvQuery::Changes { after: self.through, of: self.of.clone(), limit };
        let view = self.door().view();
        let answer =
            view.app.query(view.state_ndx, &query.encode()).expect("it is of the kind that is followed");
        match KvAnswer::decode(&answer).expect("the key-value application in this process encoded it") {
            KvAnswer::Changes { states, through } => {
                self.through = through;
                Ok(Page { states, through, state_ndx: view.state_ndx })
            }
            KvAnswer::Compacted { oldest } => Err(StreamEnd::Compacted { oldest }),
            other => {
                unreachable!("changes behind a state that is there are answered by changes, not by {other:?}")
            }
        }
    }

    /// Gives the last states of a page back: what is behind `through` is given out again.
    pub(crate) fn go_back(&mut self, through: StateNdx) {
        self.through = self.through.min(through);
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
        self.gateway.app(self.app).expect("it was there when this began, and stays")
    }
}

/// What changed in one state: an event of a stream, and an element of a page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateChangesView<'a> {
    state_ndx: StateNdx,
    /// That state's time, milliseconds since 1970.
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
#[derive(Serialize)]
#[serde(untagged)]
enum KeyChangeView<'a> {
    Written(EntryView<'a>),
    #[serde(rename_all = "camelCase")]
    Removed {
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_base64: Option<String>,
        removed: Removal,
    },
}

/// How a key came to its end.
#[derive(Serialize)]
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
