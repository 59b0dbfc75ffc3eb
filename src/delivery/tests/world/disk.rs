//! A disk: whole files are durable, partial ones may lose pieces in a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use synod_delivery::Attempt;
use synod_types::{ContentKey, Digest, Manifest};

use super::random::Random;

/// What a disk does, one after the other.
#[derive(Debug)]
pub enum Job {
    Held { to: usize, key: ContentKey },
    Offer { to: usize, key: ContentKey },
    Read { to: usize, key: ContentKey, number: u32 },
    Begin { key: ContentKey, attempt: Attempt, manifest: Arc<Manifest> },
    Write { key: ContentKey, attempt: Attempt, manifest: Arc<Manifest>, number: u32, bytes: Bytes },
}

#[derive(Default)]
pub struct Disk {
    pub files: BTreeSet<ContentKey>,
    /// The pieces that are there, by file and manifest.
    partials: BTreeMap<(ContentKey, Vec<Digest>), BTreeSet<u32>>,
}

impl Disk {
    pub fn begin(&mut self, key: ContentKey, manifest: &Manifest) -> Vec<u32> {
        let there = self.partials.entry((key, manifest.pieces.clone())).or_default();
        // The last one completes the file, or shows that it is none: it is never there.
        let count = u32::try_from(manifest.pieces.len()).unwrap();
        if there.len() == manifest.pieces.len() {
            there.clear();
        }
        (0..count).filter(|number| !there.contains(number)).collect()
    }

    /// `false` if the file is not begun.
    pub fn write(&mut self, key: ContentKey, manifest: &Manifest, number: u32) -> bool {
        let partial = self.partials.get_mut(&(key, manifest.pieces.clone()));
        partial.map(|there| there.insert(number)).is_some()
    }

    pub fn is_whole(&self, key: ContentKey, manifest: &Manifest) -> bool {
        let partial = self.partials.get(&(key, manifest.pieces.clone()));
        partial.is_some_and(|there| there.len() == manifest.pieces.len())
    }

    pub fn discard(&mut self, key: ContentKey, manifest: &Manifest) {
        self.partials.remove(&(key, manifest.pieces.clone()));
    }

    pub fn crash(&mut self, random: &mut Random) {
        for there in self.partials.values_mut() {
            there.retain(|_| !random.chance(20));
        }
    }
}
