//! Where a key is in the trie: the SHA3-256 of the key, two bits for each step from the root.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use synod_types::Digest;

/// The way from the root to where a key's leaf is, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Path(pub Digest);

/// For each way the three others.
pub(crate) const OTHERS: [[usize; 3]; 4] = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]];

impl Path {
    /// Steps of a whole path.
    pub(crate) const STEPS: usize = 128;

    /// The path of a key.
    pub fn of(key: &[u8]) -> Path {
        Path(Digest::of(&[key]))
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.0.0.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
    }

    /// Its first 32 steps: what has less of it, has less of the whole path.
    pub(crate) fn first_word(&self) -> u64 {
        self.words().next().expect("it has four")
    }

    /// Which of the four ways it goes in step `step`, of [`Path::STEPS`]; the first ones are the highest bits.
    pub(crate) fn way(&self, step: usize) -> usize {
        usize::from(self.0.0[step / 4] >> (6 - step % 4 * 2) & 3)
    }
}

// The order of the bytes, a word at a time: paths are compared where each costs.
impl Ord for Path {
    fn cmp(&self, other: &Path) -> Ordering {
        self.words().cmp(other.words())
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Path) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bits_a_step_the_highest_first() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[31]) = (0b00_01_10_11, 0b11_00_00_00, 0b00_00_00_10);
        let path = Path(Digest(bytes));
        let ways: Vec<usize> = (0..5).map(|step| path.way(step)).collect();
        assert_eq!(ways, [0, 1, 2, 3, 3]);
        assert_eq!((path.way(Path::STEPS - 1), path.way(Path::STEPS - 2)), (2, 0));
    }

    #[test]
    fn the_order_of_paths_is_that_of_their_ways() {
        let paths: Vec<Path> = (0..200_u8).map(|n| Path::of(&[n])).collect();
        let ways = |path: &Path| (0..Path::STEPS).map(|step| path.way(step)).collect::<Vec<_>>();
        for a in &paths {
            for b in &paths {
                assert_eq!(a.cmp(b), ways(a).cmp(&ways(b)));
                assert_eq!(a.cmp(b), a.0.cmp(&b.0));
            }
        }
    }
}
