//! The store from outside: files go in by pieces and come out whole, whatever lies on the disk and whoever else writes.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use synod_content::{BeginError, Begun, Limits, OpenError, Progress, PutError, ReadError, Store};
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_DAMAGED_MAX, CONTENT_PIECE_BYTES};
use synod_types::{ContentKey, Digest, Manifest};

const LIMITS: Limits = Limits { files_max: 1000, partials_max: 100, reserve_bytes: 0 };

/// A directory in memory, where there is one: these tests sync often, and do not cut the power.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(dir: &Path) -> Store {
    Store::open_with(dir, LIMITS).unwrap()
}

/// A file of so many bytes, another one for each seed.
fn file(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at + at / 1000 + usize::from(seed) * 17) % 251).unwrap()).collect()
}

fn key_and_manifest(file: &[u8]) -> (ContentKey, Manifest) {
    (ContentKey::of(file), Manifest::of(file).unwrap())
}

fn piece(file: &[u8], number: u32) -> &[u8] {
    file.chunks(CONTENT_PIECE_BYTES).nth(usize::try_from(number).unwrap()).unwrap()
}

fn store(store: &Store, file: &[u8]) -> ContentKey {
    let (key, manifest) = key_and_manifest(file);
    if let Begun::Missing(missing) = store.begin(&key, &manifest).unwrap() {
        for number in missing {
            store.put(&key, &manifest, number, piece(file, number)).unwrap();
        }
    }
    key
}

/// Where the store has the file.
fn path(dir: &Path, key: &ContentKey) -> PathBuf {
    let name = key.to_string();
    dir.join("files").join(&name[..2]).join(name)
}

/// The only file in a directory.
fn only_in(dir: &Path) -> PathBuf {
    let entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

#[test]
fn files_are_added_whole_whoever_else_receives_them() {
    let dir = scratch();
    let content = open(dir.path());
    let lens = [1, 300, CONTENT_PIECE_BYTES, 3 * CONTENT_PIECE_BYTES + 5, 300];
    let files: Vec<Vec<u8>> =
        lens.iter().enumerate().map(|(n, &len)| file(u8::try_from(n).unwrap(), len)).collect();
    // One is here already, one is being received, and one comes twice.
    store(&content, &files[1]);
    let (key, manifest) = key_and_manifest(&files[3]);
    content.begin(&key, &manifest).unwrap();
    content.put(&key, &manifest, 2, piece(&files[3], 2)).unwrap();
    let mut all: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    all.push(&files[2]);
    let keys = content.add(&all).unwrap();
    assert_eq!(keys, all.iter().map(|file| ContentKey::of(file)).collect::<Vec<_>>());
    for (key, file) in keys.iter().zip(&all) {
        assert_eq!(content.read(key).unwrap(), *file);
    }
    assert_eq!(content.count(), files.len());
    assert_eq!(content.put(&key, &manifest, 0, piece(&files[3], 0)).unwrap(), Progress::Stored);
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
    assert!(content.add(&[b""]).unwrap_err().to_string().contains("empty"));
    assert_eq!(content.add(&[]).unwrap(), []);
}

#[test]
fn pieces_in_any_order_make_a_file_that_lasts() {
    let dir = scratch();
    let store = open(dir.path());
    let file = file(1, 3 * CONTENT_PIECE_BYTES + 5);
    let (key, manifest) = key_and_manifest(&file);
    assert_eq!(store.has(&key), None);
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Missing(vec![0, 1, 2, 3]));
    for (number, left) in [(3, 3), (0, 2), (0, 2), (2, 1)] {
        let progress = store.put(&key, &manifest, number, piece(&file, number)).unwrap();
        assert_eq!(progress, Progress::Missing(left));
        assert_eq!(store.has(&key), None);
    }
    assert!(matches!(store.read(&key), Err(ReadError::NotHeld(_))));
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Missing(vec![1]));
    assert_eq!(store.put_any(&key, 1, piece(&file, 1)).unwrap(), Progress::Stored);
    let mut store = Some(store);
    for _ in 0..2 {
        let store = store.take().unwrap_or_else(|| open(dir.path()));
        assert_eq!(store.has(&key), Some(manifest.bytes));
        assert_eq!(store.keys(), [key]);
        assert_eq!(store.read(&key).unwrap(), file);
        assert_eq!(*store.manifest(&key).unwrap(), manifest);
        assert_eq!(store.piece(&key, 3).unwrap(), piece(&file, 3));
        assert!(matches!(store.piece(&key, 4), Err(ReadError::NoPiece { number: 4, .. })));
        assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Stored);
        assert_eq!(store.put(&key, &manifest, 0, piece(&file, 0)).unwrap(), Progress::Stored);
    }
}

#[test]
fn what_was_received_before_a_restart_counts_if_it_is_still_right() {
    let dir = scratch();
    let file = file(2, 4 * CONTENT_PIECE_BYTES);
    let (key, manifest) = key_and_manifest(&file);
    let store = open(dir.path());
    store.begin(&key, &manifest).unwrap();
    for number in [0, 1, 3] {
        store.put(&key, &manifest, number, piece(&file, number)).unwrap();
    }
    drop(store);
    let partial = only_in(&dir.path().join("partial"));
    let mut bytes = fs::read(&partial).unwrap();
    bytes[CONTENT_PIECE_BYTES + 17] ^= 1;
    fs::write(&partial, bytes).unwrap();

    let store = open(dir.path());
    assert!(matches!(store.put(&key, &manifest, 2, piece(&file, 2)), Err(PutError::NotBegun(_))));
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Missing(vec![1, 2]));
    assert_eq!(store.put(&key, &manifest, 1, piece(&file, 1)).unwrap(), Progress::Missing(1));
    assert_eq!(store.put(&key, &manifest, 2, piece(&file, 2)).unwrap(), Progress::Stored);
    assert_eq!(store.read(&key).unwrap(), file);
    assert!(!partial.exists());
}

#[test]
fn a_piece_that_is_none_is_not_written() {
    let dir = scratch();
    let store = open(dir.path());
    let file = file(3, CONTENT_PIECE_BYTES + 10);
    let (key, manifest) = key_and_manifest(&file);
    assert!(matches!(store.put(&key, &manifest, 0, piece(&file, 0)), Err(PutError::NotBegun(_))));
    assert!(matches!(store.put_any(&key, 0, piece(&file, 0)), Err(PutError::NotBegun(_))));
    store.begin(&key, &manifest).unwrap();
    let mut wrong = piece(&file, 0).to_vec();
    wrong[0] ^= 1;
    let long: Vec<u8> = piece(&file, 1).iter().copied().chain([0]).collect();
    let attempts: [(u32, &[u8]); 8] = [
        (0, &wrong),
        (0, piece(&file, 1)),
        (1, piece(&file, 0)),
        (1, &long),
        (1, &long[..9]),
        (1, b""),
        (2, b""),
        (u32::MAX, piece(&file, 0)),
    ];
    for (number, bytes) in attempts {
        for outcome in [store.put(&key, &manifest, number, bytes), store.put_any(&key, number, bytes)] {
            assert!(matches!(outcome, Err(PutError::WrongPiece { .. })), "{number}: {outcome:?}");
        }
    }
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Missing(vec![0, 1]));
    assert_eq!(fs::read(only_in(&dir.path().join("partial"))).unwrap(), b"");
}

/// A manifest may fit its own pieces only: neither the piece's length nor its digest can be trusted alone.
#[test]
fn a_piece_of_another_length_is_none_though_its_digest_fits() {
    let dir = scratch();
    let store = open(dir.path());
    let manifest = Manifest { bytes: 10, pieces: vec![Digest::of(&[&[7; 11]])] };
    let key = ContentKey::of(b"whatever");
    store.begin(&key, &manifest).unwrap();
    assert!(matches!(store.put(&key, &manifest, 0, &[7; 11]), Err(PutError::WrongPiece { .. })));
}

#[test]
fn a_wrong_whole_is_discarded_and_the_right_one_beside_it_is_not() {
    let dir = scratch();
    let store = open(dir.path());
    let file = file(4, 2 * CONTENT_PIECE_BYTES);
    let (key, manifest) = key_and_manifest(&file);
    let mut lie = file.clone();
    lie[CONTENT_PIECE_BYTES] ^= 1;
    let lying = Manifest::of(&lie).unwrap();
    store.begin(&key, &lying).unwrap();
    store.begin(&key, &manifest).unwrap();
    // The first piece is the same in both.
    assert_eq!(store.put_any(&key, 0, piece(&file, 0)).unwrap(), Progress::Missing(1));
    let outcome = store.put_any(&key, 1, piece(&lie, 1));
    let Err(PutError::WrongWhole { found, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(ContentKey(found), ContentKey::of(&lie));
    assert_eq!(store.has(&key), None);
    assert!(matches!(store.put(&key, &lying, 1, piece(&lie, 1)), Err(PutError::NotBegun(_))));
    // Begun once more, it is there when the right one gets whole, and goes with it.
    assert_eq!(store.begin(&key, &lying).unwrap(), Begun::Missing(vec![0, 1]));
    assert_eq!(store.put(&key, &manifest, 1, piece(&file, 1)).unwrap(), Progress::Stored);
    assert_eq!(store.begin(&key, &lying).unwrap(), Begun::Stored);
    assert_eq!(store.read(&key).unwrap(), file);
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
}

#[test]
fn damage_is_found_whenever_a_file_is_read() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap();
    let grow = |path: &Path| {
        let len = fs::metadata(path).unwrap().len();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len + 1).unwrap();
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let replace = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    let damages: [&dyn Fn(&Path); 5] = [&flip, &cut, &grow, &remove, &replace];
    type Read = fn(&Store, &ContentKey) -> Result<(), ReadError>;
    let reads: [Read; 3] = [
        |store, key| store.read(key).map(drop),
        |store, key| store.manifest(key).map(drop),
        |store, key| store.piece(key, 1).map(drop),
    ];
    let file = file(5, CONTENT_PIECE_BYTES + 20);
    let dir = scratch();
    store(&open(dir.path()), &file);
    for (at, damage) in damages.into_iter().enumerate() {
        for read in reads {
            // It was stored in an earlier life, and nothing is known of it but its name.
            let opened = open(dir.path());
            let key = store(&opened, &file);
            drop(opened);
            let opened = open(dir.path());
            damage(&path(dir.path(), &key));
            assert!(opened.has(&key).is_some());
            let found = read(&opened, &key);
            assert!(matches!(found, Err(ReadError::Damaged { .. })), "{at}: {found:?}");
            assert_eq!(opened.has(&key), None);
            let aside = dir.path().join("damaged").join(key.to_string());
            assert_eq!(fs::remove_file(&aside).or_else(|_| fs::remove_dir(&aside)).is_ok(), at != 3, "{at}");
            assert!(matches!(read(&opened, &key), Err(ReadError::NotHeld(_))));
            assert_eq!(store(&opened, &file), key);
            assert_eq!(opened.read(&key).unwrap(), file);
        }
    }
}

#[test]
fn damage_behind_a_remembered_manifest_is_found_too() {
    let dir = scratch();
    let opened = open(dir.path());
    let file = file(6, 3 * CONTENT_PIECE_BYTES);
    let key = store(&opened, &file);
    // Its manifest is remembered, and each piece is hashed all the same.
    opened.piece(&key, 2).unwrap();
    let mut bytes = file.clone();
    bytes[0] ^= 1;
    fs::write(path(dir.path(), &key), &bytes).unwrap();
    opened.piece(&key, 2).unwrap();
    let error = opened.piece(&key, 0).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(matches!(opened.piece(&key, 2), Err(ReadError::NotHeld(_))));
    // One that is gone is not held either.
    let key = store(&opened, &file);
    fs::remove_file(path(dir.path(), &key)).unwrap();
    let error = opened.read(&key).unwrap_err();
    assert!(error.to_string().contains("it is gone"), "{error}");
    assert_eq!(opened.has(&key), None);
}

#[test]
fn few_damaged_files_are_kept() {
    let dir = scratch();
    let opened = open(dir.path());
    for seed in 0..20 {
        let key = store(&opened, &file(seed, 100));
        fs::write(path(dir.path(), &key), b"damage").unwrap();
        opened.read(&key).unwrap_err();
        assert!(dir.path().join("damaged").join(key.to_string()).exists());
    }
    assert_eq!(fs::read_dir(dir.path().join("damaged")).unwrap().count(), CONTENT_DAMAGED_MAX);
}

#[test]
fn sizes_at_their_limits() {
    let dir = scratch();
    let opened = open(dir.path());
    let max = usize::try_from(CONTENT_BYTES_MAX).unwrap();
    for len in [1, CONTENT_PIECE_BYTES - 1, CONTENT_PIECE_BYTES, CONTENT_PIECE_BYTES + 1, max] {
        let file = vec![7; len];
        let key = store(&opened, &file);
        assert_eq!(opened.has(&key), Some(u64::try_from(len).unwrap()));
        assert!(opened.read(&key).unwrap() == file);
    }
    let key = ContentKey::of(b"");
    for bytes in [0, CONTENT_BYTES_MAX + 1, u64::MAX] {
        let count = usize::try_from(bytes.div_ceil(256 << 10).min(257)).unwrap();
        let manifest = Manifest { bytes, pieces: vec![Digest([0; 32]); count] };
        assert!(matches!(opened.begin(&key, &manifest), Err(BeginError::Manifest(_))), "{bytes}");
    }
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
}

#[test]
fn counts_at_their_limits() {
    let dir = scratch();
    let limits = Limits { files_max: 3, partials_max: 2, reserve_bytes: 0 };
    let opened = Store::open_with(dir.path(), limits).unwrap();
    let files: Vec<Vec<u8>> = (0..5).map(|seed| file(seed, 50)).collect();
    let begin = |store: &Store, at: usize| {
        let (key, manifest) = key_and_manifest(&files[at]);
        store.begin(&key, &manifest)
    };
    begin(&opened, 0).unwrap();
    begin(&opened, 1).unwrap();
    assert!(matches!(begin(&opened, 2), Err(BeginError::Partials { max: 2 })));
    begin(&opened, 1).unwrap();
    store(&opened, &files[0]);
    store(&opened, &files[2]);
    // Two files, and one that may become the third.
    assert!(matches!(begin(&opened, 3), Err(BeginError::Files { max: 3 })));
    store(&opened, &files[1]);
    assert!(matches!(begin(&opened, 3), Err(BeginError::Files { max: 3 })));
    assert_eq!(begin(&opened, 2).unwrap(), Begun::Stored);
    opened.remove(&ContentKey::of(&files[0])).unwrap();
    store(&opened, &files[3]);
    assert_eq!(opened.keys().len(), 3);
    // What an earlier process left over gives way.
    opened.remove(&ContentKey::of(&files[3])).unwrap();
    begin(&opened, 4).unwrap();
    drop(opened);
    let opened = Store::open_with(dir.path(), Limits { files_max: 100, partials_max: 1, ..limits }).unwrap();
    begin(&opened, 0).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 1);
    assert!(matches!(begin(&opened, 4), Err(BeginError::Partials { max: 1 })));
}

#[test]
fn room_is_kept_for_others() {
    let dir = scratch();
    let limits = Limits { reserve_bytes: u64::MAX / 2, ..LIMITS };
    let opened = Store::open_with(dir.path(), limits).unwrap();
    let (key, manifest) = key_and_manifest(b"a file");
    let error = opened.begin(&key, &manifest).unwrap_err();
    assert!(matches!(error, BeginError::Full { needed: 6, .. }), "{error}");
    assert!(error.to_string().contains("kept for the log"), "{error}");
}

#[test]
fn many_writers_of_one_file_make_one_file() {
    let dir = scratch();
    let opened = open(dir.path());
    let file = file(7, 12 * CONTENT_PIECE_BYTES + 1);
    let (key, manifest) = key_and_manifest(&file);
    let barrier = Barrier::new(4);
    let stored = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u32)
            .map(|writer| {
                let (opened, file, manifest, barrier) = (&opened, &file, &manifest, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    opened.begin(&key, manifest).unwrap();
                    let mut progress = Progress::Missing(13);
                    for number in (0..13).map(|number| (number + 3 * writer) % 13) {
                        progress = opened.put(&key, manifest, number, piece(file, number)).unwrap();
                    }
                    (progress == Progress::Stored, opened.has(&key).is_some())
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    // Whoever gave all pieces is told that the file is there.
    assert_eq!(stored, [(true, true); 4]);
    assert_eq!(opened.read(&key).unwrap(), file);
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
}

#[test]
fn files_go_when_they_are_old_and_nobody_keeps_them() {
    let dir = scratch();
    let opened = open(dir.path());
    let keys: Vec<ContentKey> = (0..4).map(|seed| store(&opened, &file(seed, 60))).collect();
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let minutes = |count: u64| start + Duration::from_secs(60 * count);
    let keep = |key: &ContentKey| *key == keys[0];
    assert!(opened.collect(minutes(0), hour, keep).files.is_empty());
    assert!(opened.touch(&keys[1]));
    assert!(!opened.touch(&ContentKey::of(b"no such file")));
    assert!(opened.collect(minutes(59), hour, keep).files.is_empty());
    let young = store(&opened, &file(9, 60));
    let mut gone = opened.collect(minutes(60), hour, keep).files;
    let mut expected = vec![keys[2], keys[3]];
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected);
    assert!(!path(dir.path(), &keys[2]).exists());
    assert_eq!(opened.collect(minutes(119), hour, keep).files, [keys[1]]);
    assert_eq!(opened.collect(minutes(120), hour, keep).files, [young]);
    assert_eq!(opened.keys(), [keys[0]]);
    // A start counts as new: what was promised before it is kept.
    drop(opened);
    let opened = open(dir.path());
    assert!(opened.collect(minutes(1000), hour, |_| false).files.is_empty());
    assert_eq!(opened.collect(minutes(1060), hour, |_| false).files, [keys[0]]);
}

#[test]
fn what_is_never_completed_goes_in_time() {
    let dir = scratch();
    let opened = open(dir.path());
    let files = [file(1, 2 * CONTENT_PIECE_BYTES), file(2, 2 * CONTENT_PIECE_BYTES)];
    let begin = |store: &Store, file: &[u8]| {
        let (key, manifest) = key_and_manifest(file);
        store.begin(&key, &manifest).unwrap()
    };
    begin(&opened, &files[0]);
    begin(&opened, &files[1]);
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    assert_eq!(opened.collect(start, hour, |_| true).partials, 0);
    let (key, manifest) = key_and_manifest(&files[0]);
    opened.put(&key, &manifest, 0, piece(&files[0], 0)).unwrap();
    assert_eq!(opened.collect(start + hour, hour, |_| true).partials, 1);
    assert_eq!(begin(&opened, &files[0]), Begun::Missing(vec![1]));
    drop(opened);
    let opened = open(dir.path());
    assert_eq!(opened.collect(start, hour, |_| true).partials, 0);
    assert_eq!(opened.collect(start + hour, hour, |_| true).partials, 1);
    assert_eq!(fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
    assert_eq!(begin(&opened, &files[0]), Begun::Missing(vec![0, 1]));
}

#[test]
fn strange_files_are_named_and_left_alone() {
    let dir = scratch();
    let key = store(&open(dir.path()), b"a file");
    let other = ContentKey::of(b"another");
    let upper = path(dir.path(), &key).with_file_name(key.to_string().to_uppercase());
    let strange = [
        dir.path().join("README"),
        dir.path().join("files/notes"),
        dir.path().join("files/abc"),
        path(dir.path(), &key).with_extension("bak"),
        upper,
        // In the directory of another first byte.
        path(dir.path(), &key).with_file_name(other.to_string()),
        dir.path().join("partial/x"),
    ];
    for path in &strange {
        fs::write(path, b"strange").unwrap();
    }
    let link = path(dir.path(), &other);
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    let opened = open(dir.path());
    let mut found = opened.strangers().to_vec();
    let mut expected = strange.to_vec();
    expected.push(link);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(opened.keys(), [key]);
    assert!(strange.iter().all(|path| path.exists()));
    // Under a good name, and no content file all the same.
    drop(opened);
    let empty = ContentKey::of(b"empty");
    fs::write(path(dir.path(), &empty), b"").unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.has(&empty), None);
    assert!(dir.path().join("damaged").join(empty.to_string()).exists());
}

#[test]
fn a_store_is_private_and_open_once() {
    let dir = scratch();
    let dir = dir.path().join("content");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let opened = open(&dir);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let key = store(&opened, b"a file");
    for private in [dir.clone(), dir.join("files"), dir.join("partial"), dir.join("damaged")] {
        assert_eq!(mode(&private), 0o700, "{}", private.display());
    }
    assert_eq!(mode(&path(&dir, &key)), 0o600);
    assert!(matches!(Store::open(&dir), Err(OpenError::Locked(_))));
    drop(opened);
    open(&dir);
    let file = dir.join("lock");
    let error = Store::open(&file).unwrap_err();
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
}
