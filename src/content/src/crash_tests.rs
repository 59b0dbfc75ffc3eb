//! The disk, looked at between any two steps, as a crash of the process or a power cut would leave it; and every step
//! failing once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use synod_types::limits::CONTENT_PIECE_BYTES;
use synod_types::{ContentKey, Manifest};

use crate::disk::{Disk, Step};
use crate::{Begun, Limits, Progress, Store};

const LIMITS: Limits = Limits { files_max: 100, partials_max: 10, reserve_bytes: 0 };

/// A directory in memory, where there is one: hundreds of syncs would take long elsewhere, and prove nothing here.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn file(seed: u8, pieces: usize) -> Vec<u8> {
    let len = (pieces - 1) * CONTENT_PIECE_BYTES + 100 + usize::from(seed);
    (0..len).map(|at| u8::try_from((at / 7 + at / 1000 + usize::from(seed)) % 251).unwrap()).collect()
}

fn pieces(file: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0..).zip(file.chunks(CONTENT_PIECE_BYTES))
}

/// Begins and puts every missing piece.
fn store(store: &Store, file: &[u8]) -> Result<(), String> {
    let (key, manifest) = (ContentKey::of(file), Manifest::of(file).unwrap());
    let Begun::Missing(missing) = store.begin(&key, &manifest).map_err(|error| error.to_string())? else {
        return Ok(());
    };
    for (number, piece) in pieces(file).filter(|(number, _)| missing.contains(number)) {
        store.put(&key, &manifest, number, piece).map_err(|error| error.to_string())?;
    }
    assert!(store.has(&key).is_some());
    Ok(())
}

/// The same with all of its bytes at once.
fn add(store: &Store, file: &[u8]) -> Result<(), String> {
    let keys = store.add(&[file]).map_err(|error| error.to_string())?;
    assert_eq!(keys, [ContentKey::of(file)]);
    assert!(store.has(&keys[0]).is_some());
    Ok(())
}

/// A way to store a file.
type Storing = fn(&Store, &[u8]) -> Result<(), String>;

/// What is not durable yet.
#[derive(Default)]
struct Volatile {
    /// Files with bytes that were not synced.
    bytes: BTreeSet<PathBuf>,
    /// Names that were given and whose directory was not synced: from, to.
    names: Vec<(PathBuf, PathBuf)>,
}

impl Volatile {
    fn after(&mut self, step: Step<'_>) {
        match step {
            Step::Write(path, _) => {
                self.bytes.insert(path.to_owned());
            }
            Step::SyncFile(path) => {
                self.bytes.remove(path);
            }
            Step::Rename(from, to) => {
                if self.bytes.remove(from) {
                    self.bytes.insert(to.to_owned());
                }
                self.names.push((from.to_owned(), to.to_owned()));
            }
            Step::SyncDir(dir) => self.names.retain(|(_, to)| to.parent() != Some(dir)),
            Step::Remove(path) => {
                self.bytes.remove(path);
            }
            Step::CreateDir(_) | Step::Create(_) => {}
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            // Most of the 256 directories are empty, and open makes them again.
            if fs::read_dir(entry.path()).unwrap().next().is_some() {
                copy(&entry.path(), &target);
            }
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A store in `dir` whose disk calls `before` with each step and what was not durable before it.
fn tapped(
    dir: &Path,
    mut before: impl FnMut(Step<'_>, &mut Volatile) -> io::Result<()> + Send + 'static,
) -> Store {
    let store = Store::open_with(dir, LIMITS).unwrap();
    let mut volatile = Volatile::default();
    *store.inner.disk.tap.lock().unwrap() = Some(Box::new(move |step| {
        before(step, &mut volatile)?;
        volatile.after(step);
        Ok(())
    }));
    store
}

/// Opens what a crash left, and checks that every file is whole or absent, that those in `acknowledged` are there, and
/// that what is absent can be stored.
fn check_image(image: &Path, acknowledged: &[ContentKey], files: &[Vec<u8>], what: &str) {
    let store = Store::open_with(image, LIMITS).unwrap();
    for key in store.keys() {
        store.read(&key).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    for key in acknowledged {
        assert!(store.has(key).is_some(), "{what}: {key} was acknowledged and is not there");
    }
    assert!(store.strangers().is_empty(), "{what}");
    for file in files {
        self::store(&store, file).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(store.read(&ContentKey::of(file)).unwrap(), file);
    }
    assert_eq!(store.inner.index().partials.len(), 0, "{what}");
}

#[test]
fn a_crash_at_any_step_leaves_each_file_whole_or_absent() {
    crash_at_any_step(store);
}

#[test]
fn a_crash_at_any_step_of_adding_leaves_each_file_whole_or_absent() {
    crash_at_any_step(add);
}

fn crash_at_any_step(storing: Storing) {
    let dir = scratch();
    let (live, images) = (dir.path().join("live"), dir.path().join("images"));
    let files = [file(1, 1), file(2, 3)];
    let acknowledged: Arc<Mutex<Vec<ContentKey>>> = Arc::default();
    let count = Arc::new(Mutex::new(0));

    let (live_again, images_again) = (live.clone(), images.clone());
    let (acknowledged_again, count_again) = (Arc::clone(&acknowledged), Arc::clone(&count));
    let all = files.clone();
    let take_images = move |what: &str, volatile: &Volatile| {
        let acknowledged = acknowledged_again.lock().unwrap().clone();
        *count_again.lock().unwrap() += 1;
        let image = |variant: &str| {
            let image = images_again.join(variant);
            let _ = fs::remove_dir_all(&image);
            copy(&live_again, &image);
            image
        };
        let at = |image: &Path, path: &Path| image.join(path.strip_prefix(&live_again).unwrap());
        let process = image("process");
        check_image(&process, &acknowledged, &all, &format!("the process crashed before {what}"));
        let power = image("power");
        for path in &volatile.bytes {
            let path = at(&power, path);
            let len = fs::metadata(&path).unwrap().len();
            fs::write(&path, vec![0; usize::try_from(len).unwrap()]).unwrap();
        }
        check_image(&power, &acknowledged, &all, &format!("power was cut before {what}, bytes lost"));
        let names = image("names");
        for (from, to) in volatile.names.iter().rev() {
            fs::create_dir_all(at(&names, from).parent().unwrap()).unwrap();
            fs::rename(at(&names, to), at(&names, from)).unwrap();
        }
        check_image(&names, &acknowledged, &all, &format!("power was cut before {what}, names lost"));
    };
    let take_images = Arc::new(take_images);
    let volatile_now = Arc::new(Mutex::new(Volatile::default()));

    let (take, seen) = (Arc::clone(&take_images), Arc::clone(&volatile_now));
    let store = tapped(&live, move |step, volatile| {
        take(&format!("{step:?}"), volatile);
        let mut seen = seen.lock().unwrap();
        seen.bytes.clone_from(&volatile.bytes);
        seen.names.clone_from(&volatile.names);
        seen.after(step);
        Ok(())
    });
    for file in &files {
        storing(&store, file).unwrap();
        acknowledged.lock().unwrap().push(ContentKey::of(file));
        take_images("the answer", &volatile_now.lock().unwrap());
    }
    acknowledged.lock().unwrap().clear();
    let old = Duration::from_secs(1);
    let now = Instant::now();
    assert!(store.collect(now, old, |_| false).files.is_empty());
    assert_eq!(store.collect(now + old, old, |_| false).files.len(), 2);
    assert!(*count.lock().unwrap() > 12);
}

#[test]
fn a_step_that_fails_takes_nothing_with_it() {
    fail_at_any_step(store, 3);
}

#[test]
fn a_step_of_adding_that_fails_takes_nothing_with_it() {
    fail_at_any_step(add, 1);
}

/// With so many writes for a file of three pieces.
fn fail_at_any_step(storing: Storing, writes: usize) {
    let kept = file(9, 1);
    for failing in 0.. {
        let dir = scratch();
        let steps = Arc::new(Mutex::new((0, Vec::<String>::new())));
        let counted = Arc::clone(&steps);
        let tapped = tapped(dir.path(), move |step, _| {
            let mut counted = counted.lock().unwrap();
            let kind = format!("{step:?}");
            counted.1.push(kind.split('(').next().unwrap().to_owned());
            counted.0 += 1;
            // Behind those of the file that is kept: create, write, sync, rename, sync.
            if counted.0 == 6 + failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        store(&tapped, &kept).unwrap();
        assert_eq!(steps.lock().unwrap().1, ["Create", "Write", "SyncFile", "Rename", "SyncDir"]);
        let file = file(1, 3);
        let (key, outcome) = (ContentKey::of(&file), storing(&tapped, &file));
        let (count, names) = steps.lock().unwrap().clone();
        let held = tapped.has(&key).is_some();
        assert_eq!(held, outcome.is_ok(), "{names:?}");
        if outcome.is_err() {
            let tried = names.iter().skip(5).filter(|step| *step == "SyncFile").count();
            assert!(tried <= 1, "a sync was tried again: {names:?}");
            assert!(tapped.inner.index().partials.is_empty(), "{names:?}");
            assert!(!tapped.inner.layout.file(&key).exists(), "{names:?}");
        }
        // The next attempt begins from nothing, and gets there.
        store(&tapped, &file).unwrap();
        assert_eq!(tapped.read(&key).unwrap(), file);
        assert_eq!(tapped.read(&ContentKey::of(&kept)).unwrap(), kept);
        if count < 6 + failing {
            assert_eq!(failing, 4 + writes, "create, the writes, sync, rename, sync: {names:?}");
            return;
        }
        assert!(outcome.unwrap_err().contains("cannot"), "{names:?}");
    }
}

#[test]
fn what_is_whole_but_for_its_name_is_completed_when_it_is_begun_again() {
    let dir = scratch();
    let file = file(3, 2);
    let (key, manifest) = (ContentKey::of(&file), Manifest::of(&file).unwrap());
    let store = Store::open_on(Disk::default(), dir.path(), LIMITS).unwrap();
    store.begin(&key, &manifest).unwrap();
    store.put(&key, &manifest, 0, &file[..CONTENT_PIECE_BYTES]).unwrap();
    let partial = store.inner.layout.partial(&key, crate::layout::ManifestId::of(&manifest));
    drop(store);
    fs::write(partial, &file).unwrap();
    let store = Store::open_with(dir.path(), LIMITS).unwrap();
    assert_eq!(store.has(&key), None);
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Stored);
    assert_eq!(store.read(&key).unwrap(), file);
    assert_eq!(store.put(&key, &manifest, 0, &file[..CONTENT_PIECE_BYTES]).unwrap(), Progress::Stored);
}

#[test]
fn a_name_that_the_last_process_did_not_sync_is_synced_before_it_is_held() {
    let dir = scratch();
    let file = file(4, 1);
    store(&Store::open_with(dir.path(), LIMITS).unwrap(), &file).unwrap();
    let (disk, synced) = (Disk::default(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&synced);
    *disk.tap.lock().unwrap() = Some(Box::new(move |step| {
        if let Step::SyncDir(dir) = step {
            seen.lock().unwrap().push(dir.to_owned());
        }
        Ok(())
    }));
    let store = Store::open_on(disk, dir.path(), LIMITS).unwrap();
    let key = ContentKey::of(&file);
    assert!(store.has(&key).is_some());
    assert!(synced.lock().unwrap().contains(&store.inner.layout.shard_of(&key)));
}
