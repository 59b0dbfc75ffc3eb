//! The bytes of one file: what is durable, what was written since, and what of both a power loss may leave.
//!
//! A disk writes sectors, in any order and at any time. So each sector that was written since the last sync holds, after
//! the loss, what it held at some moment since: nothing new, the newest, or something between. The length is one of those
//! that the file had since, apart from its bytes: it may have grown over bytes that never arrived, which read as zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::loss::{Keeping, Loss};

/// A file.
#[derive(Clone, Default, Debug)]
pub struct File {
    durable: Arc<Vec<u8>>,
    /// In the order in which they returned.
    pending: Vec<Pending>,
    /// Its length as processes see it.
    len: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    end: u64,
    len_before: u64,
    len_after: u64,
    write: Write,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Arc<[u8]>),
    Len,
}

impl File {
    /// A file of which all is durable.
    pub fn durable(bytes: Vec<u8>) -> File {
        let len = length(&bytes);
        File { durable: Arc::new(bytes), pending: Vec::new(), len }
    }

    /// Bytes, written at `at`; the call returned at `end`.
    pub fn write(&mut self, at: u64, bytes: Arc<[u8]>, end: u64) {
        let len = self.len.max(at + length(&bytes));
        self.push(Write::Bytes(at, bytes), len, end);
    }

    /// A new length.
    pub fn set_len(&mut self, len: u64, end: u64) {
        self.push(Write::Len, len, end);
    }

    /// At least this length.
    pub fn extend(&mut self, len: u64, end: u64) {
        self.set_len(self.len.max(len), end);
    }

    fn push(&mut self, write: Write, len: u64, end: u64) {
        self.pending.push(Pending { end, len_before: self.len, len_after: len, write });
        self.len = len;
    }

    /// What had returned when a sync began, is durable.
    pub fn sync(&mut self, begin: u64) {
        let synced = self.pending.iter().take_while(|pending| pending.end <= begin).count();
        if synced > 0 {
            let durable = Arc::make_mut(&mut self.durable);
            for pending in self.pending.drain(..synced) {
                durable.resize(index(pending.len_after), 0);
                if let Write::Bytes(at, bytes) = pending.write {
                    let at = index(at);
                    durable[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
    }

    /// What may be left.
    pub fn after(&self, loss: &Loss, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = (*self.durable).clone();
        let count = self.pending.len();
        if count == 0 {
            return bytes;
        }
        let whole = match loss.keeping {
            Keeping::Nothing => return bytes,
            Keeping::Everything => count,
            Keeping::Beginning => random.random_range(0..=count),
            Keeping::Each(_) => 0,
        };
        let torn = match loss.keeping {
            // The one behind what is whole is torn.
            Keeping::Beginning => (whole + 1).min(count),
            _ => count,
        };
        let versions = self.versions(loss, whole, torn, random);
        for (number, pending) in self.pending[..torn].iter().enumerate() {
            let (from, to) = pending.touched();
            if index(to) > bytes.len() {
                bytes.resize(index(to), 0);
            }
            for sector in from / loss.sector..to.div_ceil(loss.sector) {
                if versions.get(&sector).is_some_and(|kept| number < *kept) {
                    let start = from.max(sector * loss.sector);
                    let end = to.min((sector + 1) * loss.sector);
                    let target = &mut bytes[index(start)..index(end)];
                    match &pending.write {
                        Write::Bytes(at, bytes) => {
                            target.copy_from_slice(&bytes[index(start - at)..index(end - at)]);
                        }
                        Write::Len => target.fill(0),
                    }
                }
            }
        }
        let len = match loss.keeping {
            Keeping::Each(newest) if !random.random_bool(newest) => {
                let before = random.random_range(0..=count);
                self.pending.get(before).map_or(self.len, |pending| pending.len_before)
            }
            Keeping::Beginning => self.pending.get(whole).map_or(self.len, |pending| {
                if random.random_bool(0.5) { pending.len_before } else { pending.len_after }
            }),
            _ => self.len,
        };
        bytes.resize(index(len), 0);
        bytes
    }

    /// How many of the changes are in each sector: all before this number, and none of the others.
    fn versions(&self, loss: &Loss, whole: usize, torn: usize, random: &mut StdRng) -> BTreeMap<u64, usize> {
        let mut changes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (number, pending) in self.pending[..torn].iter().enumerate() {
            let (from, to) = pending.touched();
            for sector in from / loss.sector..to.div_ceil(loss.sector) {
                changes.entry(sector).or_default().push(number);
            }
        }
        let choose = |(sector, numbers): (u64, Vec<usize>)| {
            let kept = match loss.keeping {
                Keeping::Nothing => 0,
                Keeping::Everything => whole,
                Keeping::Beginning => {
                    if random.random_bool(0.5) {
                        whole
                    } else {
                        torn
                    }
                }
                Keeping::Each(newest) if random.random_bool(newest) => torn,
                Keeping::Each(_) => numbers[random.random_range(0..numbers.len())],
            };
            (sector, kept)
        };
        changes.into_iter().map(choose).collect()
    }
}

impl Pending {
    /// The bytes that it changes: those that a shorter length cuts off are zero if the file grows again.
    fn touched(&self) -> (u64, u64) {
        match &self.write {
            Write::Bytes(at, bytes) => (*at, at + length(bytes)),
            Write::Len => (self.len_after.min(self.len_before), self.len_before),
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits 64 bits")
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("the file fits into memory")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn filled(byte: u8, len: usize) -> Arc<[u8]> {
        vec![byte; len].into()
    }

    fn images(file: &File, keeping: Keeping) -> BTreeSet<Vec<u8>> {
        let image = |seed| file.after(&Loss { sector: 512, keeping }, &mut StdRng::seed_from_u64(seed));
        (0..500).map(image).collect()
    }

    #[test]
    fn what_a_sync_covers_is_there_and_what_returned_after_it_began_may_not_be() {
        let mut file = File::default();
        file.write(0, filled(1, 512), 10);
        file.write(512, filled(2, 512), 30);
        file.sync(20);
        let images = images(&file, Keeping::Each(0.5));
        let one = vec![1; 512];
        let expected = [one.clone(), [&one[..], &[0; 512]].concat(), [&one[..], &[2; 512]].concat()];
        assert_eq!(images, BTreeSet::from(expected));
    }

    #[test]
    fn each_sector_holds_one_of_its_versions_whatever_the_others_hold() {
        let mut file = File::default();
        file.write(0, filled(1, 1024), 1);
        file.sync(1);
        file.write(0, filled(2, 1024), 2);
        file.write(256, filled(3, 256), 3);
        let images = images(&file, Keeping::Each(0.5));
        let firsts: BTreeSet<_> = images.iter().map(|image| (image[0], image[256])).collect();
        assert_eq!(firsts, BTreeSet::from([(1, 1), (2, 2), (2, 3)]));
        assert_eq!(images.len(), 6, "the second sector has two versions, and does not follow the first");
        for image in images {
            assert!(image[512..].iter().all(|byte| *byte == image[512]));
        }
    }

    #[test]
    fn the_ends_of_the_scale_are_what_was_synced_and_what_was_written() {
        let mut file = File::default();
        file.write(0, filled(1, 700), 1);
        file.sync(1);
        file.set_len(100, 2);
        file.write(600, filled(2, 100), 3);
        assert_eq!(images(&file, Keeping::Nothing), BTreeSet::from([vec![1; 700]]));
        let seen = [vec![1; 100], vec![0; 500], vec![2; 100]].concat();
        assert_eq!(images(&file, Keeping::Everything), BTreeSet::from([seen]));
    }
}
