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

use super::{Follower, Page};
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
            let _turn = tokio::select! {
                biased;
                () = &mut silence => break,
                more = self.follower.more() => more?,
            };
            let page = self.follower.look(self.limit, HTTP_WATCH_PAGE_BYTES)?;
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

    fn write(&mut self, page: &Page, part: &mut String) {
        for event in &page.events {
            lines("change", event.state_ndx, event.data.get(), part);
            self.told = event.state_ndx;
        }
        let limit_max = u32::try_from(KV_RANGE_ENTRIES_MAX).expect("a small number");
        self.limit = match u32::try_from(page.events.len()) {
            // No more are looked at than go out at a time.
            Ok(written) if part.len() >= HTTP_WATCH_PAGE_BYTES => written.max(1),
            _ => (self.limit * 2).min(limit_max),
        };
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
    let data = serde_json::to_string(&Bookmark { state_ndx: through }).expect("it is a number");
    lines("bookmark", through, &data, part);
}

/// JSON has its newlines escaped, so that it is one line.
fn lines(name: &str, id: StateNdx, data: &str, part: &mut String) {
    write!(part, "event: {name}\nid: {id}\ndata: {data}\n\n").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use axum::body::BodyDataStream;
    use futures_util::StreamExt as _;
    use tokio::time::advance;

    use super::super::stage::Stage;
    use super::*;

    fn open() -> (Stage, BodyDataStream) {
        let stage = Stage::open();
        let mut follower = stage.follow("", StateNdx(0));
        let first = follower.look(1, 1).expect("nothing is forgotten");
        let body = event_stream(follower, StateNdx(0), &first, Uri::from_static("/"));
        (stage, body.into_data_stream())
    }

    /// The names and ids of the events in the next part; none: the stream is over.
    async fn next(stream: &mut BodyDataStream) -> Vec<(String, u64)> {
        let Some(part) = stream.next().await else { return Vec::new() };
        let part = String::from_utf8(part.expect("it cannot fail").into()).expect("events are text");
        let events = part.split_terminator("\n\n").map(|event| {
            let field = |name| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            (field("event: ").to_owned(), field("id: ").parse().expect("it has an id"))
        });
        events.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_what_there_is_in_time_is_told_so() {
        let (mut stage, mut stream) = open();
        assert_eq!(next(&mut stream).await, [("bookmark".to_owned(), 0)]);
        for taken_after_ms in [0, HTTP_WATCH_SLOW_MS_MAX] {
            stage.put("k", 1);
            advance(Duration::from_millis(taken_after_ms)).await;
            assert_eq!(next(&mut stream).await, [("change".to_owned(), stage.state_ndx.0)]);
        }
        stage.put("k", 1);
        advance(Duration::from_millis(HTTP_WATCH_SLOW_MS_MAX + 1)).await;
        assert_eq!(next(&mut stream).await, [("end".to_owned(), 2)], "with what it has");
        assert_eq!(next(&mut stream).await, []);
    }

    #[tokio::test]
    async fn a_part_is_a_page_or_one_state() {
        let (mut stage, mut stream) = open();
        assert_eq!(next(&mut stream).await, [("bookmark".to_owned(), 0)]);
        let sizes = [1, HTTP_WATCH_PAGE_BYTES / 2, 1, HTTP_WATCH_PAGE_BYTES * 3, HTTP_WATCH_PAGE_BYTES, 1, 1];
        for bytes in sizes {
            stage.put("k", bytes);
        }
        let mut parts = Vec::new();
        while parts.iter().sum::<usize>() < sizes.len() {
            let events = next(&mut stream).await;
            let told: usize = parts.iter().sum();
            for (n, (name, id)) in events.iter().enumerate() {
                assert_eq!((&name[..], *id), ("change", u64::try_from(told + n + 1).expect("few")));
            }
            parts.push(events.len());
        }
        // None is longer than a page and what its last state adds; behind a long one, fewer states are looked at.
        assert_eq!(parts, [4, 1, 1, 1]);
    }
}
