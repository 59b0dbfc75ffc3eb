//! Removing what nobody needs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use synod_types::ContentKey;

use crate::error::DiskError;
use crate::store::{Inner, Store};

/// What [`Store::collect`] removed.
#[derive(Debug, Default)]
pub struct Collected {
    /// Files.
    pub files: Vec<ContentKey>,
    /// Files that were begun and never completed.
    pub partials: usize,
    /// Where it ended before its time: the rest is for the next time.
    pub failed: Option<DiskError>,
}

impl Store {
    /// Removes every file that `keep` does not keep and that is older than `older_than`, and every partial one that got
    /// no piece for as long.
    ///
    /// Age counts from the first call that saw the file after it was stored, touched or found at the start, so that no
    /// clock has to be trusted that may jump or that was another one before a crash: what a receipt promised is kept for
    /// at least that long, whatever happens.
    pub fn collect(
        &self,
        now: Instant,
        older_than: Duration,
        mut keep: impl FnMut(&ContentKey) -> bool,
    ) -> Collected {
        let inner = &*self.inner;
        let mut collected = Collected::default();
        // Without the lock, since `keep` may take its time; then each is looked at once more.
        let old: Vec<ContentKey> = inner.old_files(now, older_than);
        for key in old.into_iter().filter(|key| !keep(key)) {
            let mut index = inner.index();
            let is_old = index.files.get(&key).is_some_and(|entry| is_older(entry.seen, now, older_than));
            if !is_old {
                continue;
            }
            index.files.remove(&key);
            inner.forget(&key);
            collected.files.push(key);
            if let Err(error) = inner.disk.remove(&inner.layout.file(&key)) {
                collected.failed = Some(error);
                return collected;
            }
        }
        inner.collect_partials(now, older_than, &mut collected);
        collected
    }
}

impl Inner {
    fn old_files(&self, now: Instant, older_than: Duration) -> Vec<ContentKey> {
        let mut index = self.index();
        let mut old = Vec::new();
        for (key, entry) in &mut index.files {
            if is_older(Some(*entry.seen.get_or_insert(now)), now, older_than) {
                old.push(*key);
            }
        }
        old
    }

    fn collect_partials(&self, now: Instant, older_than: Duration, collected: &mut Collected) {
        let mut index = self.index();
        let mut idle = Vec::new();
        for (&which, slot) in &mut index.partials {
            let was_used =
                slot.partial.as_ref().is_some_and(|partial| partial.is_in_use.swap(false, Ordering::Relaxed));
            if was_used {
                slot.idle = None;
            }
            if is_older(Some(*slot.idle.get_or_insert(now)), now, older_than) {
                idle.push((which, slot.partial.clone()));
            }
        }
        // What an earlier process left.
        for ((key, id), _) in idle.iter().filter(|(_, partial)| partial.is_none()) {
            index.partials.remove(&(*key, *id));
            collected.partials += 1;
            if let Err(error) = self.disk.remove(&self.layout.partial(key, *id)) {
                collected.failed = Some(error);
                return;
            }
        }
        drop(index);
        for (_, partial) in idle {
            // Whoever works on it needs it.
            if let Some(partial) = partial
                && let Some(mut state) = partial.try_lock()
                && !partial.is_in_use.load(Ordering::Relaxed)
            {
                self.discard(&partial, &mut state);
                collected.partials += 1;
            }
        }
    }
}

fn is_older(since: Option<Instant>, now: Instant, than: Duration) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) >= than)
}
