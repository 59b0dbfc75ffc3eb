//! A cluster that was recorded under load: what its nodes did, and what its clients were told.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use synod_types::wire;

use crate::cluster::{Cluster, Node};
use crate::disk::Disk;
use crate::image::Image;
use crate::load::{self, Acknowledged, Load, Stored, Told};
use crate::operation::operations;
use crate::restart;
use crate::timeline::Timeline;
use crate::trace;

/// How often a cluster is founded because another process took one of its ports in between.
const TRIES: usize = 5;
const TOLD: &str = "told";
/// What the nodes were started on.
const BASE: &str = "base";

/// A recorded run. All of it is in one directory, so that it can be kept and looked at again.
pub struct Recording {
    /// The cluster, with the data directories that it left.
    pub cluster: Cluster,
    /// What each node did.
    pub timelines: Vec<Timeline>,
    /// What clients were told, and when the word had left the node at the latest.
    pub told: Told,
}

impl Recording {
    /// Founds a cluster in `directory`, records it under load, and stops it.
    ///
    /// # Errors
    /// A node or the recorder fails.
    pub async fn make(
        synod: &Path,
        directory: &Path,
        nodes: usize,
        load: Load,
        seed: u64,
    ) -> Result<Recording> {
        fs::create_dir_all(directory).context("cannot create a directory for a recording")?;
        // The trace has paths without symbolic links.
        let directory = directory.canonicalize()?;
        let mut tries = 1;
        let (cluster, running) = loop {
            let directory = directory.join(format!("cluster{tries}"));
            let cluster = Cluster::found(synod, &directory, nodes)?;
            match start(&cluster) {
                Ok(running) => break (cluster, running),
                Err(error) if tries < TRIES && error.to_string().contains("in use") => tries += 1,
                Err(error) => return Err(error),
            }
        };
        let told = load::run(&cluster, load, seed, &Told::default()).await?;
        Recording::finish(cluster, running, &told)
    }

    /// Starts the cluster of this recording on what a power loss left of it, in `directory`, and records it under load:
    /// for the next power loss.
    ///
    /// # Errors
    /// A node or the recorder fails.
    pub async fn again(&self, image: &Image, directory: &Path, load: Load) -> Result<Recording> {
        fs::create_dir_all(directory).context("cannot create a directory for a recording")?;
        let directory = directory.canonicalize()?;
        let cluster = self.cluster.copy(&directory)?;
        for place in [directory.join(BASE), directory] {
            restart::write(self, image, &place)?;
        }
        let running = start(&cluster)?;
        let mut told = load::run(&cluster, load, image.seed, &self.told).await?;
        // What was told before the loss had left long before this recording began.
        told.commands.extend(
            self.commands_told_before(image.moment).cloned().map(|told| Acknowledged { received: 0, ..told }),
        );
        told.files
            .extend(self.files_told_before(image.moment).cloned().map(|told| Stored { received: 0, ..told }));
        Recording::finish(cluster, running, &told)
    }

    fn finish(cluster: Cluster, running: Vec<Node>, told: &Told) -> Result<Recording> {
        running.into_iter().try_for_each(Node::stop)?;
        fs::write(cluster.directory.join(TOLD), wire::encode(told)).context("cannot keep what was told")?;
        Recording::of(cluster)
    }

    /// Reads the recording of a cluster.
    ///
    /// # Errors
    /// The traces make no sense.
    pub fn of(cluster: Cluster) -> Result<Recording> {
        let mut timelines = Vec::new();
        for n in 0..cluster.nodes() {
            let path = trace_path(&cluster, n);
            let trace = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            let calls = trace::read(BufReader::new(trace))?;
            let operations = operations(&calls, &cluster.directory, &cluster.data_name(n));
            let operations = operations.with_context(|| format!("in {}", path.display()))?;
            ensure!(!operations.is_empty(), "nothing of {} is in the trace", cluster.data_name(n));
            let base = cluster.directory.join(BASE);
            let base = if base.is_dir() { Disk::read(&base)? } else { Disk::default() };
            timelines.push(Timeline::new(base, operations));
        }
        let told = fs::read(cluster.directory.join(TOLD)).context("cannot read what was told")?;
        let told = wire::decode(&told)?;
        let mut recording = Recording { cluster, timelines, told };
        recording.note_when_words_left();
        Ok(recording)
    }

    /// Takes for each word the last moment at which its node sent anything before the client had it: the word itself had
    /// left by then. A cut behind that moment must not take back what was told.
    fn note_when_words_left(&mut self) {
        let left =
            |node: usize, received: u64| self.timelines[node].last_send_before(received).unwrap_or(received);
        for told in &mut self.told.commands {
            told.received = left(told.node, told.received);
        }
        for told in &mut self.told.files {
            told.received = left(told.node, told.received);
        }
    }

    /// Draws so many power losses.
    pub fn draw(&self, seed: u64, count: u64) -> Vec<Image> {
        let mut moments: Vec<u64> = self.timelines.iter().flat_map(Timeline::moments).collect();
        moments.sort_unstable();
        let told = self.told.commands.iter().map(|told| told.received).filter(|received| *received > 0);
        let busy_from = told.min().unwrap_or(0);
        let draw = |n| Image::draw(seed.wrapping_add(n), &moments, busy_from, self.timelines.len());
        (0..count).map(draw).collect()
    }

    /// The commands whose answers had left before a moment.
    pub fn commands_told_before(&self, moment: u64) -> impl Iterator<Item = &Acknowledged> {
        self.told.commands.iter().filter(move |told| told.received < moment)
    }

    /// The words on files that had left before a moment.
    pub fn files_told_before(&self, moment: u64) -> impl Iterator<Item = &Stored> {
        self.told.files.iter().filter(move |told| told.received < moment)
    }
}

fn start(cluster: &Cluster) -> Result<Vec<Node>> {
    let spawn = |n| cluster.spawn(n, Some(&trace_path(cluster, n)));
    let running: Vec<Node> = (0..cluster.nodes()).map(spawn).collect::<Result<_>>()?;
    running.iter().try_for_each(Node::wait_until_ready)?;
    Ok(running)
}

fn trace_path(cluster: &Cluster, n: usize) -> PathBuf {
    cluster.directory.join(format!("{}.trace", cluster.data_name(n)))
}
