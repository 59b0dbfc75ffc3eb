//! One power loss: when it comes, and what the disks keep. All of it follows from a seed.

use std::path::Path;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::disk::Disk;
use crate::loss::Loss;

/// How many of the moments come when clients have been told something.
const BUSY: f64 = 0.8;

/// A power loss.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it was drawn from.
    pub seed: u64,
    /// When the power went.
    pub moment: u64,
    /// What each disk keeps: the nodes' disks in their order.
    pub losses: Vec<(Loss, u64)>,
}

impl Image {
    /// Draws one of these moments, which rise, and a loss for each of so many disks. Most moments come after `busy_from`:
    /// to start takes many calls, and when nothing has been promised nothing can be broken.
    pub fn draw(seed: u64, moments: &[u64], busy_from: u64, disks: usize) -> Image {
        let mut random = StdRng::seed_from_u64(seed);
        let idle = moments.partition_point(|moment| *moment < busy_from);
        let first = if idle < moments.len() && random.random_bool(BUSY) { idle } else { 0 };
        let moment = moments[random.random_range(first..moments.len())];
        let losses = (0..disks).map(|_| (Loss::random(&mut random), random.next_u64())).collect();
        Image { seed, moment, losses }
    }

    /// Builds what is left of the `n`th disk in `target`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, n: usize, disk: &Disk, target: &Path) -> Result<()> {
        let (loss, seed) = &self.losses[n];
        disk.write_after(loss, &mut StdRng::seed_from_u64(*seed), target)
    }
}
