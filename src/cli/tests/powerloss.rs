//! The power goes while nodes are busy. What clients were told before is there when they start again.
//!
//! The long run, and what a disk may do, is `synod-powerloss`; see docs/TESTING.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::path::{Path, PathBuf};

use synod_powerloss::image::Image;
use synod_powerloss::load::Load;
use synod_powerloss::operation::Change;
use synod_powerloss::recorder;
use synod_powerloss::recording::Recording;
use synod_powerloss::run::{Options, run, scratch};
use synod_powerloss::single::Single;
use synod_powerloss::timeline::Timeline;
use tempfile::TempDir;

const SYNOD: &str = env!("CARGO_BIN_EXE_synod");
/// Of every size that the log treats in its own way: in one value, in several, and in bulk.
const LOAD: Load = Load { commands: 40, value_bytes_max: 50_000, zones: 6, zone_bytes_max: 60_000 };
/// Syncs that the disk only pretends, one at a time, and images for each of them.
const LIES: usize = 4;
const IMAGES_A_LIE: u64 = 6;

fn is_skipped() -> bool {
    let skipped = !recorder::is_available();
    if skipped {
        eprintln!("SKIPPED: strace is missing, so no node can be recorded; install the package of that name");
    }
    skipped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_were_told_survives_every_power_loss() {
    if is_skipped() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let options = Options {
        synod: PathBuf::from(SYNOD),
        directory: directory.path().to_owned(),
        images: 240,
        starts: 2,
        again: 1,
        cuts: 2,
        seed: rand::random_range(0..u64::from(u32::MAX)),
        single: LOAD,
        again_load: Load { commands: 10, zones: 2, ..LOAD },
        trio: Load { commands: 15, zones: 3, ..LOAD },
    };
    let report = run(&options, &|line| eprintln!("{line}")).await.unwrap();
    if !report.violations.is_empty() {
        panic!("{:#?}, kept in {}", report.violations, directory.keep().display());
    }
    // That there was something to lose.
    assert_eq!((report.images, report.starts, report.again, report.cuts), (240, 2, 1, 2));
    assert!(report.images_with_promises > 120 && report.images_with_more > 2, "{report:?}");
    assert!(report.commands_told > 60 && report.files_told > 30, "{report:?}");
}

/// The same checks, on a disk that once says that something is durable which is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_once_is_found_out() {
    if is_skipped() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let recording = Recording::make(Path::new(SYNOD), directory.path(), 1, LOAD, 7).await.unwrap();
    let scratch = scratch(directory.path()).unwrap();
    let single = Single::new(&recording, scratch.path());
    let (honest, data) = (&recording.timelines[0], recording.cluster.data_name(0));

    let log = Path::new(&data).join("log/db");
    let shards = Path::new(&data).join("content/files");
    let names = |path: &Path| path == log;
    let found = lies_found(&single, honest, &names);
    eprintln!("syncs of the log that were a lie: {found} images with a violation");
    assert!(found > 0, "the log was not synced, and nobody noticed");
    let bulk = Path::new(&data).join("log/bulk");
    let found = lies_found(&single, honest, &|path: &Path| path.parent() == Some(&bulk));
    eprintln!("syncs of large values that were a lie: {found} images with a violation");
    assert!(found > 0, "large values were not synced, and nobody noticed");
    let names = |path: &Path| path.parent() == Some(&shards);
    let found = lies_found(&single, honest, &names);
    eprintln!("syncs of names that were a lie: {found} images with a violation");
    assert!(found > 0, "the name of a file was not made durable, and nobody noticed");
}

/// Images in which a lie is found, of those cut before the next operation that makes up for it. Without the lie, none of
/// them has a fault.
fn lies_found(single: &Single, honest: &Timeline, is_lied_about: &dyn Fn(&Path) -> bool) -> u64 {
    let syncs: Vec<(usize, u64)> = (0..)
        .zip(honest.operations())
        .filter(|(_, operation)| matches!(&operation.change, Change::Sync(path) if is_lied_about(path)))
        .map(|(at, operation)| (at, operation.end))
        .collect();
    assert!(syncs.len() > 1, "there is nothing to lie about: {syncs:?}");
    let mut found = 0;
    for &(at, end) in syncs.iter().skip(syncs.len() / 3).take(LIES) {
        let next = syncs.iter().find(|sync| sync.1 > end).map_or(u64::MAX, |sync| sync.1);
        let moments: Vec<u64> =
            honest.moments().into_iter().filter(|moment| (end..next).contains(moment)).collect();
        let images: Vec<Image> = (0..IMAGES_A_LIE).map(|seed| Image::draw(seed, &moments, 0, 1)).collect();
        let on_honest = &mut |image: &Image, _: &_, found: anyhow::Result<_>| {
            assert!(found.is_ok(), "without a lie, image {}: {:?}", image.seed, found.err());
            Ok(())
        };
        single.check(honest, images.clone(), on_honest).unwrap();
        let on_lie = &mut |_: &Image, _: &_, result: anyhow::Result<_>| {
            found += u64::from(result.is_err());
            Ok(())
        };
        single.check(&honest.without(at), images, on_lie).unwrap();
    }
    found
}
