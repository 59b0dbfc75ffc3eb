//! What a store knows by heart: which files are whole, and which are being received.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use synod_types::ContentKey;

use crate::layout::ManifestId;
use crate::partial::Partial;

/// The files of a store.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub files: BTreeMap<ContentKey, Entry>,
    pub partials: BTreeMap<(ContentKey, ManifestId), Slot>,
    last_generation: u64,
}

/// A whole file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub bytes: u64,
    /// Which of several files that had this key one after the other.
    pub generation: u64,
    /// When a collection first saw it, since it was stored or touched.
    pub seen: Option<Instant>,
}

/// A file that is not whole.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None`: an earlier process began it, and it may be gone on with.
    pub partial: Option<Arc<Partial>>,
    /// When a collection first saw it unused.
    pub idle: Option<Instant>,
}

impl Index {
    pub(crate) fn insert(&mut self, key: ContentKey, bytes: u64) {
        self.last_generation += 1;
        self.files.insert(key, Entry { bytes, generation: self.last_generation, seen: None });
    }

    /// The files that are being received for this key.
    pub(crate) fn partials_of(&self, key: &ContentKey) -> Vec<Arc<Partial>> {
        let first = (*key, ManifestId(synod_types::Digest([0; 32])));
        let slots = self.partials.range(first..).take_while(|((of, _), _)| of == key);
        slots.filter_map(|(_, slot)| slot.partial.clone()).collect()
    }

    /// Bytes for which there must be room, since they were promised to be taken.
    pub(crate) fn bytes_to_come(&self) -> u64 {
        let partials = self.partials.values().filter_map(|slot| slot.partial.as_ref());
        partials.map(|partial| partial.bytes_to_come.load(Ordering::Relaxed)).sum()
    }

    /// One that an earlier process began and nobody goes on with.
    pub(crate) fn any_left_over(&self) -> Option<(ContentKey, ManifestId)> {
        self.partials.iter().find(|(_, slot)| slot.partial.is_none()).map(|(&which, _)| which)
    }
}
