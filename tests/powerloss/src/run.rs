//! A whole run: one node recorded and cut many times, a few of these recorded and cut again, and three nodes recorded
//! together and cut a few times.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::image::Image;
use crate::load::Load;
use crate::operation::Change;
use crate::recording::Recording;
use crate::restart;
use crate::single::{Found, Single};

/// Where memory serves as a disk: a thousand images need not touch a real one.
const MEMORY: &str = "/dev/shm";
/// Images of each recording that began with an image.
const IMAGES_AGAIN: u64 = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub synod: PathBuf,
    /// Where the recordings go; they stay if there is a violation.
    pub directory: PathBuf,
    /// Images of one node.
    pub images: u64,
    /// So many of them are started as well.
    pub starts: u64,
    /// So many of them are started, recorded again, and cut once more.
    pub again: u64,
    /// Images of three nodes, all of which are started.
    pub cuts: u64,
    /// The seed of the first image; the others follow.
    pub seed: u64,
    /// How busy the one node is.
    pub single: Load,
    /// How busy it is after a power loss.
    pub again_load: Load,
    /// How busy the three are.
    pub trio: Load,
}

/// What a run came to.
#[derive(Default, Debug, Serialize)]
pub struct Report {
    /// Of one node.
    pub single: Recorded,
    /// Of three.
    pub trio: Recorded,
    /// Images of one node.
    pub images: u64,
    /// Images in which records had to be there.
    pub images_with_promises: u64,
    /// Images that held more than they had to.
    pub images_with_more: u64,
    /// Images in which something was damaged behind what had to be there.
    pub images_damaged: u64,
    /// Decrees that had to be there, all images together.
    pub decrees_promised: usize,
    /// Commands whose answers had left, all images together.
    pub commands_told: usize,
    /// Files of which it was said that they are held, all images together.
    pub files_told: usize,
    /// Images of one node that were started.
    pub starts: u64,
    /// Commands that they had to know.
    pub commands_asked_of_one: usize,
    /// Images of one node that were started, recorded and cut again.
    pub again: u64,
    /// Images of one node after a second power loss; they are not among the images above.
    pub images_again: u64,
    /// Images of three nodes, which were all started.
    pub cuts: u64,
    /// Commands that they had to know.
    pub commands_asked_of_three: usize,
    /// Seconds that it took.
    pub seconds: u64,
    /// What was lost.
    pub violations: Vec<Violation>,
}

/// What a recording holds.
#[derive(Default, Debug, Serialize)]
pub struct Recorded {
    /// Calls that change a disk or make it durable.
    pub operations: usize,
    /// Syncs among them.
    pub syncs: usize,
    /// Bytes that were written.
    pub bytes: usize,
    /// Commands that were acknowledged.
    pub commands: usize,
    /// Files that were uploaded.
    pub files: usize,
}

/// Something that must not be.
#[derive(Debug, Serialize)]
pub struct Violation {
    /// The image's seed.
    pub seed: u64,
    /// What is wrong.
    pub why: String,
    /// The recording, with what was left in `image-SEED`.
    pub kept: PathBuf,
    /// What repeats it.
    pub repeat: String,
}

impl Violation {
    fn new(recording: &Recording, image: &Image, why: &anyhow::Error) -> Violation {
        let (seed, kept) = (image.seed, recording.cluster.directory.clone());
        let repeat = format!(
            "cargo run -p synod-powerloss -- --synod {} --repeat {} --seed {seed}",
            recording.cluster.synod.display(),
            kept.display()
        );
        Violation { seed, why: format!("{why:#}"), kept, repeat }
    }
}

impl Recorded {
    fn of(recording: &Recording) -> Recorded {
        let mut recorded = Recorded {
            commands: recording.told.commands.len(),
            files: recording.told.files.len(),
            ..Recorded::default()
        };
        for operation in recording.timelines.iter().flat_map(|timeline| timeline.operations()) {
            recorded.operations += usize::from(operation.change != Change::Send);
            match &operation.change {
                Change::Sync(_) => recorded.syncs += 1,
                Change::Write(_, _, bytes) => recorded.bytes += bytes.len(),
                _ => {}
            }
        }
        recorded
    }
}

/// Where images are built.
///
/// # Errors
/// The file system's.
pub fn scratch(directory: &Path) -> Result<tempfile::TempDir> {
    let place = if Path::new(MEMORY).is_dir() { Path::new(MEMORY) } else { directory };
    tempfile::Builder::new().prefix("powerloss").tempdir_in(place).context("cannot make room for images")
}

/// Runs it all; `progress` is told of each step.
///
/// # Errors
/// A recording cannot be made, or an image not be built. A violation is none: it is in the report.
pub async fn run(options: &Options, progress: &(dyn Fn(String) + Sync)) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report::default();
    let scratch = scratch(&options.directory)?;

    progress("recording one node".to_owned());
    let directory = options.directory.join("single");
    let one = Recording::make(&options.synod, &directory, 1, options.single, options.seed).await?;
    report.single = Recorded::of(&one);
    progress(format!("{:?}", report.single));
    let images = one.draw(options.seed, options.images);
    let started: Vec<Image> = images.iter().take(usize::try_from(options.starts)?).cloned().collect();
    let again: Vec<Image> = images.iter().rev().take(usize::try_from(options.again)?).cloned().collect();
    tokio::task::block_in_place(|| check_images(&one, images, scratch.path(), &mut report, progress))?;
    report.starts = options.starts;
    report.commands_asked_of_one = start(&one, started, scratch.path(), &mut report, progress).await?;

    for image in again {
        let directory = options.directory.join(format!("again-{}", image.seed));
        let second = match one.again(&image, &directory, options.again_load).await {
            Ok(second) => second,
            Err(why) => {
                report.violations.push(Violation::new(&one, &image, &why));
                continue;
            }
        };
        let images = second.draw(options.seed, IMAGES_AGAIN);
        let started: Vec<Image> = images.iter().take(1).cloned().collect();
        let mut of_second = Report::default();
        tokio::task::block_in_place(|| {
            check_images(&second, images, scratch.path(), &mut of_second, progress)
        })?;
        start(&second, started, scratch.path(), &mut of_second, progress).await?;
        report.again += 1;
        report.images_again += of_second.images;
        if of_second.violations.is_empty() {
            // A thousand of them would fill the disk.
            std::fs::remove_dir_all(&directory).context("cannot remove a recording")?;
        }
        report.violations.append(&mut of_second.violations);
        progress(format!("{} of {} cut a second time", report.again, options.again));
    }

    if options.cuts > 0 {
        progress("recording three nodes".to_owned());
        let directory = options.directory.join("trio");
        let three = Recording::make(&options.synod, &directory, 3, options.trio, options.seed).await?;
        report.trio = Recorded::of(&three);
        progress(format!("{:?}", report.trio));
        let cuts = three.draw(options.seed, options.cuts);
        report.cuts = options.cuts;
        report.commands_asked_of_three = start(&three, cuts, scratch.path(), &mut report, progress).await?;
    }
    report.seconds = begun.elapsed().as_secs();
    Ok(report)
}

/// Checks images of one node, on as many threads as there are processors.
fn check_images(
    recording: &Recording,
    images: Vec<Image>,
    scratch: &Path,
    report: &mut Report,
    progress: &(dyn Fn(String) + Sync),
) -> Result<()> {
    let total = images.len();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(total.max(1));
    let mut parts: Vec<Vec<Image>> = (0..threads).map(|_| Vec::new()).collect();
    for (n, image) in images.into_iter().enumerate() {
        parts[n % threads].push(image);
    }
    let single = Single::new(recording, scratch);
    let shared = Mutex::new(report);
    let work = |part: Vec<Image>| {
        single.check(&recording.timelines[0], part, &mut |image, disk, found| {
            let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(found) => report.count(&found),
                Err(why) => {
                    report.images += 1;
                    report.violations.push(Violation::new(recording, image, &why));
                    image.write(
                        0,
                        disk,
                        &recording.cluster.directory.join(format!("image-{}", image.seed)),
                    )?;
                }
            }
            if report.images.is_multiple_of(50) {
                let (done, bad) = (report.images, report.violations.len());
                progress(format!("{done} of {total} images of one node, {bad} violations"));
            }
            Ok(())
        })
    };
    thread::scope(|scope| {
        let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| work(part))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("a check does not panic"))
    })
}

impl Report {
    fn count(&mut self, found: &Found) {
        self.images += 1;
        self.images_with_promises += u64::from(found.decrees_promised > 0);
        self.images_with_more += u64::from(found.decrees > found.decrees_promised);
        self.images_damaged += u64::from(found.is_damaged);
        self.decrees_promised += found.decrees_promised;
        self.commands_told += found.commands_told;
        self.files_told += found.files_told;
    }
}

/// Starts images as whole clusters; says how many commands they had to know.
async fn start(
    recording: &Recording,
    images: Vec<Image>,
    scratch: &Path,
    report: &mut Report,
    progress: &(dyn Fn(String) + Sync),
) -> Result<usize> {
    let (mut asked, total) = (0, images.len());
    for (n, image) in images.into_iter().enumerate() {
        let target = tempfile::Builder::new().prefix("start").tempdir_in(scratch)?;
        match restart::check(recording, &image, target.path()).await? {
            Ok(told) => asked += told,
            Err(why) => {
                report.violations.push(Violation::new(recording, &image, &why));
                restart::write(
                    recording,
                    &image,
                    &recording.cluster.directory.join(format!("image-{}", image.seed)),
                )?;
            }
        }
        let nodes = recording.cluster.nodes();
        progress(format!("{} of {total} started, nodes: {nodes}, commands asked: {asked}", n + 1));
    }
    Ok(asked)
}

/// Repeats one image of a recording that was kept; what is left is in `image-SEED` there.
///
/// # Errors
/// The violation, if it is there again.
pub async fn repeat(synod: &Path, kept: &Path, seed: u64) -> Result<()> {
    let recording = Recording::of(crate::cluster::Cluster::open(synod, kept)?)?;
    let images = recording.draw(seed, 1);
    let scratch = scratch(kept)?;
    for image in &images {
        restart::write(&recording, image, &recording.cluster.directory.join(format!("image-{seed}")))?;
    }
    if recording.timelines.len() == 1 {
        let single = Single::new(&recording, scratch.path());
        tokio::task::block_in_place(|| {
            single.check(&recording.timelines[0], images.clone(), &mut |_, _, found| found.map(|_| ()))
        })?;
    }
    for image in &images {
        let target = tempfile::tempdir_in(scratch.path())?;
        restart::check(&recording, image, target.path()).await??;
    }
    Ok(())
}
