//! Three nodes, cut at the same moment. Started again on what their disks kept, they must know all that clients had been
//! told, go on, and come to equal chains.

use std::path::Path;

use anyhow::Result;

use crate::image::Image;
use crate::load::Acknowledged;
use crate::recording::Recording;
use crate::restart;
use crate::timeline::Playback;

/// The moments at which something can have changed on any of the disks.
pub fn moments(recording: &Recording) -> Vec<u64> {
    let mut moments: Vec<u64> =
        recording.timelines.iter().flat_map(|timeline| timeline.moments()).collect();
    moments.sort_unstable();
    moments
}

/// Builds what is left of the whole cluster in `target`, starts it, and checks it. Says how many commands had been told.
/// The inner error is a violation.
///
/// # Errors
/// The image cannot be built.
pub async fn check(recording: &Recording, image: &Image, target: &Path) -> Result<Result<usize>> {
    let cluster = recording.cluster.copy(target)?;
    for (n, timeline) in recording.timelines.iter().enumerate() {
        image.write(n, &Playback::new(timeline).disk_at(image.moment)?, target)?;
    }
    let told = recording.told.commands.iter().filter(|told| told.received < image.moment);
    let told: Vec<&Acknowledged> = told.collect();
    Ok(restart::must_know(&cluster, &told).await.map(|()| told.len()))
}
