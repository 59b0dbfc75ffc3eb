//! One busy node, cut at any moment. What must be there is the most that can be asked for:
//!
//! - **The journal's word.** When the last sync of the log that had returned began, all that had been written was under
//!   it; the journal reports it as durable as soon as that sync returns. So every record of that moment must be there, as
//!   if nothing had been lost, or one that took its place. Nothing has to have left the node for that.
//! - **Clients' words.** Each command whose answer had left the node is in a decree; each file of which the node had said
//!   that it holds it is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use synod_types::ContentKey;

use crate::disk::Disk;
use crate::held::{Held, files_must_be_held};
use crate::image::Image;
use crate::loss::Loss;
use crate::operation::Change;
use crate::recording::Recording;
use crate::timeline::{Playback, Timeline};

/// The check of one node.
pub struct Single<'a> {
    recording: &'a Recording,
    /// Syncs of the log: when they had returned, and when they began.
    syncs: Vec<(u64, u64)>,
    /// What the log held when each of them began.
    promised: Mutex<BTreeMap<u64, Arc<Held>>>,
    scratch: PathBuf,
}

/// Who is told of each image.
pub type Each<'a> = &'a mut dyn FnMut(&Image, &Disk, Result<Found>) -> Result<()>;

/// What an image came to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Found {
    /// Decrees that had to be there.
    pub decrees_promised: usize,
    /// Decrees that were there.
    pub decrees: usize,
    /// Commands whose answers had left the node.
    pub commands_told: usize,
    /// Files of which the node had said that it holds them.
    pub files_told: usize,
    /// Whether the journal found something damaged behind what had to be there.
    pub is_damaged: bool,
}

impl<'a> Single<'a> {
    /// Checks images of this recording, which are built below `scratch`.
    pub fn new(recording: &'a Recording, scratch: &Path) -> Single<'a> {
        let log = Path::new(&recording.cluster.data_name(0)).join("log/db");
        let operations = recording.timelines[0].operations().iter();
        let syncs = operations.filter(|operation| operation.change == Change::Sync(log.clone()));
        let syncs = syncs.map(|sync| (sync.end, sync.begin)).collect();
        Single { recording, syncs, promised: Mutex::default(), scratch: scratch.to_owned() }
    }

    /// Builds these images from `timeline`, in the order of their moments, and checks each. `each` is told of the image,
    /// of the disk that it was made of, and of what was found, which is an error if it is a violation.
    ///
    /// # Errors
    /// An image cannot be built, or `each` has enough.
    pub fn check(&self, timeline: &Timeline, mut images: Vec<Image>, each: Each) -> Result<()> {
        images.sort_by_key(|image| image.moment);
        let mut playback = Playback::new(timeline);
        let mut promises = Playback::new(&self.recording.timelines[0]);
        for image in images {
            let disk = playback.disk_at(image.moment)?;
            let promised = self.promised(image.moment, &mut promises)?;
            let target = tempfile::Builder::new().prefix("image").tempdir_in(&self.scratch)?;
            image.write(0, &disk, target.path())?;
            let found = self.check_one(&image, target.path(), &promised);
            each(&image, &disk, found)?;
        }
        Ok(())
    }

    fn check_one(&self, image: &Image, target: &Path, promised: &Held) -> Result<Found> {
        let cluster = &self.recording.cluster;
        let data = target.join(cluster.data_name(0));
        let held = Held::read(&data, cluster.stamp(0)).context("the journal does not open")?;
        held.must_cover(promised)?;
        let mut commands_told = 0;
        for told in self.recording.commands_told_before(image.moment) {
            commands_told += 1;
            let receipt = &told.receipt;
            ensure!(
                held.has(&told.command),
                "the command of stateNdx {} of application {} is lost",
                receipt.state_ndx,
                receipt.app
            );
        }
        let files: Vec<ContentKey> =
            self.recording.files_told_before(image.moment).map(|told| told.content).collect();
        files_must_be_held(&data, &files)?;
        Ok(Found {
            decrees_promised: promised.decrees(),
            decrees: held.decrees(),
            commands_told,
            files_told: files.len(),
            is_damaged: held.is_damaged(),
        })
    }

    /// What the journal had called durable at a moment.
    fn promised(&self, moment: u64, playback: &mut Playback) -> Result<Arc<Held>> {
        let returned = self.syncs.iter().filter(|(end, _)| *end <= moment);
        // Before the first one, what the node was started on.
        let begin = returned.max().map_or(&0, |(_, begin)| begin);
        let known = self.promised.lock().unwrap_or_else(PoisonError::into_inner).get(begin).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let disk: Disk = playback.returned_by(*begin)?.clone();
        let target = tempfile::Builder::new().prefix("promised").tempdir_in(&self.scratch)?;
        let everything = Image { seed: 0, moment: *begin, losses: vec![(Loss::NONE, 0)] };
        everything.write(0, &disk, target.path())?;
        let cluster = &self.recording.cluster;
        let held = Held::read(&target.path().join(cluster.data_name(0)), cluster.stamp(0));
        let held = Arc::new(held.context("the journal does not open where nothing was lost")?);
        self.promised.lock().unwrap_or_else(PoisonError::into_inner).insert(*begin, held.clone());
        Ok(held)
    }
}
