//! Removes files to which nothing refers, when they had their time.
//!
//! A node that is behind does not know what the newest state refers to, so it removes nothing. A receipt is a promise to
//! keep the file for a while, and makes it new ([`Store::touch`]); so does obtaining it. Whoever refers to a file in a
//! command has the word of a majority that is minutes old, at the node where the command enters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synod_content::Store;
use synod_gateway::AppDoor;
use synod_types::ContentKey;
use synod_types::limits::CONTENT_UNREFERRED_MS_MAX;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::Content;

/// How often.
const EVERY: Duration = Duration::from_secs(60);
/// How lately each application's state must have been known to be the newest.
const FRESH_WITHIN: Duration = Duration::from_secs(10);
/// How long a file stays to which nothing refers.
const UNREFERRED: Duration = Duration::from_millis(CONTENT_UNREFERRED_MS_MAX);

/// Collects until it is dropped.
pub(crate) async fn run(content: Content, doors: Vec<Arc<AppDoor>>) {
    let mut ticker = tokio::time::interval(EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        let doors = doors.clone();
        let collected = content.on_disk(move |store| collect(store, &doors, Instant::now())).await;
        let keys = collected.unwrap_or_default();
        if !keys.is_empty() {
            info!(files = keys.len(), "removed files to which nothing refers");
            content.are_collected(keys);
        }
    }
}

/// Removes what had its time; nothing, where this node may be behind.
fn collect(store: &Store, doors: &[Arc<AppDoor>], now: Instant) -> Vec<ContentKey> {
    if !doors.iter().all(|door| door.fresh_within(FRESH_WITHIN)) {
        return Vec::new();
    }
    // Each file is looked up in the state of that moment, not of when this began.
    let is_referred_to = |key: &ContentKey| doors.iter().any(|door| door.peek().app.refers_to(key));
    let collected = store.collect(now, UNREFERRED, is_referred_to);
    if let Some(why) = collected.failed {
        error!(%why, "some files to which nothing refers cannot be removed now");
    }
    collected.files
}

#[cfg(test)]
mod tests {
    use synod_gateway::AppPublisher;
    use synod_machine::View;
    use synod_types::Manifest;

    use super::*;
    use crate::shelf::{APP, CLUSTER, Shelf};

    fn publisher(files: &[ContentKey]) -> AppPublisher {
        let shelf = Shelf { others: files.iter().copied().collect(), ..Shelf::default() };
        AppDoor::open("shelf", View::new(CLUSTER, APP, Box::new(shelf))).1
    }

    fn store(store: &Store, file: &[u8]) -> ContentKey {
        let (key, manifest) = (ContentKey::of(file), Manifest::of(file).unwrap());
        store.begin(&key, &manifest).unwrap();
        store.put(&key, &manifest, 0, file).unwrap();
        key
    }

    #[tokio::test]
    async fn what_nothing_refers_to_goes_when_it_had_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let files = Store::open(directory.path()).unwrap();
        let [used, unused, promised] = [b"one", b"two", b"six"].map(|file| store(&files, file));
        let publishers = [publisher(&[]), publisher(&[used])];
        let doors: Vec<_> = publishers.iter().map(|publisher| Arc::clone(publisher.door())).collect();
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let collect = |after: Duration| collect(&files, &doors, begin + after);

        assert!(collect(Duration::ZERO).is_empty(), "nobody knows whether this node is behind");
        publishers[0].set_fresh(tokio::time::Instant::now());
        assert!(collect(UNREFERRED + second).is_empty(), "one application may be behind");
        publishers[1].set_fresh(tokio::time::Instant::now());
        assert!(collect(UNREFERRED + 2 * second).is_empty(), "the first look at a file");
        assert!(collect(2 * UNREFERRED + second).is_empty(), "not yet");
        assert!(files.touch(&promised));
        assert_eq!(collect(2 * UNREFERRED + 3 * second), [unused]);
        assert_eq!(collect(9 * UNREFERRED), [promised], "a promise ends");
        assert_eq!(files.keys(), [used]);
    }
}
