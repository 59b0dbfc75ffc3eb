//! Changes as a stream of server-sent events (WHATWG HTML, section 9.2).
//!
//! One `change` event is all that one state changed, with that state as its id: a transaction arrives whole, and whoever
//! resumes behind an id misses nothing and gets nothing twice. A `bookmark` says how far the stream is where there is nothing
//! to tell. An `end` says why it is over.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::Uri;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use synod_types::StateNdx;
use synod_types::limits::{
    HTTP_WATCH_BOOKMARK_MS, HTTP_WATCH_BOOKMARK_STATES, HTTP_WATCH_PAGE_BYTES, HTTP_WATCH_SLOW_MS_MAX,
    KV_RANGE_ENTRIES_MAX,
};
use tokio::time::{Instant, sleep};

use super::{Follower, Page, StateChangesView};
use crate::problem::{StreamEnd, end_of_stream};

/// Milliseconds after which a client that reconnects by itself does so.
const RETRY_MS: u64 = 1000;
/// States that are looked at first; then as many as fill a page.
const LIMIT_FIRST: u32 = 64;

/// The stream of what `follower` follows. `first` was looked at already, and begins it.
pub(crate) fn event_stream(follower: Follower, after: StateNdx, first: &Page, uri: Uri) -> Body {
    let mut stream = EventStream {
        follower,
        uri,
        told: after,
        taken: None,
        limit: LIMIT_FIRST,
        begin: None,
        is_over: false,
    };
    let mut begin = format!("retry: {RETRY_MS}\n");
    bookmark(after, &mut begin);
    stream.write(first, &mut begin);
    stream.begin = Some(begin);
    let parts = stream::unfold(stream, async |mut stream| {
        let part = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), stream))
    });
    Body::from_stream(parts)
}

struct EventStream {
    follower: Follower,
    /// What was asked for.
    uri: Uri,
    /// The last id that was given out.
    told: StateNdx,
    /// When the last part was given out.
    taken: Option<Instant>,
    /// States to look at at a time.
    limit: u32,
    /// The stream's first part, until it is given out.
    begin: Option<String>,
    is_over: bool,
}

impl EventStream {
    /// The next part of the stream. Called when the connection has room for it, and not before.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let part = match self.begin.take() {
            Some(begin) => begin,
            None => self.part().await.unwrap_or_else(|end| self.end(end)),
        };
        self.taken = Some(Instant::now());
        Some(part)
    }

    async fn part(&mut self) -> Result<String, StreamEnd> {
        if self.taken.is_some_and(|taken| taken.elapsed() > Duration::from_millis(HTTP_WATCH_SLOW_MS_MAX)) {
            return Err(StreamEnd::Slow);
        }
        let silence = sleep(Duration::from_millis(HTTP_WATCH_BOOKMARK_MS));
        tokio::pin!(silence);
        let mut part = String::new();
        loop {
            tokio::select! {
                biased;
                () = &mut silence => break,
                more = self.follower.more() => more?,
            }
            let page = self.follower.look(self.limit)?;
            self.write(&page, &mut part);
            if !part.is_empty() {
                return Ok(part);
            }
            if page.through.0 - self.told.0 >= HTTP_WATCH_BOOKMARK_STATES {
                break;
            }
        }
        self.told = self.follower.through();
        bookmark(self.told, &mut part);
        Ok(part)
    }

    /// Writes as many events as go out at a time; the follower gives out the others again.
    fn write(&mut self, page: &Page, part: &mut String) {
        let mut written = 0;
        for changes in &page.states {
            if part.len() >= HTTP_WATCH_PAGE_BYTES {
                break;
            }
            event("change", changes.state_ndx, &StateChangesView::of(changes), part);
            self.told = changes.state_ndx;
            written += 1;
        }
        if written < page.states.len() {
            self.follower.go_back(self.told);
            self.limit = u32::try_from(written).unwrap_or(u32::MAX).max(1);
        } else {
            let limit_max = u32::try_from(KV_RANGE_ENTRIES_MAX).expect("a small number");
            self.limit = (self.limit * 2).min(limit_max);
        }
    }

    fn end(&mut self, end: StreamEnd) -> String {
        self.is_over = true;
        let mut part = String::new();
        lines("end", self.follower.through(), &end_of_stream(&self.uri, end), &mut part);
        part
    }
}

fn bookmark(through: StateNdx, part: &mut String) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bookmark {
        /// Everything up to this state was told.
        state_ndx: StateNdx,
    }
    event("bookmark", through, &Bookmark { state_ndx: through }, part);
}

fn event(name: &str, id: StateNdx, data: &impl Serialize, part: &mut String) {
    let data = serde_json::to_string(data).expect("what is answered here has only text for keys");
    lines(name, id, &data, part);
}

/// JSON has its newlines escaped, so that it is one line.
fn lines(name: &str, id: StateNdx, data: &str, part: &mut String) {
    write!(part, "event: {name}\nid: {id}\ndata: {data}\n\n").expect("a String takes everything");
}
