use std::sync::Arc;

use synod_types::{Ballot, Batch, Digest, SignedCommand, TimeMs};

use super::*;
use crate::{ArchivedLog, ReadError};

const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));
const APP: AppNdx = AppNdx(1);

fn decree(slot: u64) -> Decree {
    let bytes = |text: &str| format!("{text} of slot {slot}").into_bytes();
    let command = SignedCommand {
        body: bytes("body").into(),
        signature: bytes("signature").into(),
        key: bytes("key").into(),
    };
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(slot), commands: vec![command] }))
}

/// Three decrees at a time, of a log without an end.
fn read(from: Slot) -> Result<Vec<(Slot, Decree)>, &'static str> {
    Ok((from.0..from.0 + 3).map(|slot| (Slot(slot), decree(slot))).collect())
}

fn open(dir: &Path) -> Archive {
    Archive::open_with(dir, CLUSTER, 0).unwrap()
}

/// An archive with these segments.
fn archived(dir: &Path, segments: &[(u64, u64)]) {
    let archive = open(dir);
    for &(first, last) in segments {
        archive.append(APP, Slot(first), Slot(last), read).unwrap();
    }
}

/// Every slot that an archive gives, and how that ends.
fn slots(dir: &Path) -> (Vec<u64>, Result<(), ReadError>) {
    slots_behind(dir, 0)
}

/// The same of those behind one.
fn slots_behind(dir: &Path, last: u64) -> (Vec<u64>, Result<(), ReadError>) {
    let mut log = ArchivedLog::open(dir, APP, Slot(last)).unwrap();
    let mut slots = Vec::new();
    loop {
        match log.next_page() {
            Ok(None) => return (slots, Ok(())),
            Ok(Some(page)) => {
                for (slot, found) in page.decrees {
                    assert_eq!(found, decree(slot.0));
                    slots.push(slot.0);
                }
            }
            Err(why) => return (slots, Err(why)),
        }
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join("1").join(name)
}

#[test]
fn what_is_archived_reads_back_in_order_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 7), (8, 8), (9, 20)]);
    let (slots, end) = slots(dir.path());
    assert_eq!(slots, (1..=20).collect::<Vec<_>>());
    end.unwrap();
    let held = open(dir.path()).held(APP);
    let sizes = ["1-7.gz", "8-8.gz", "9-20.gz"].map(|name| path(dir.path(), name).metadata().unwrap().len());
    assert_eq!(held, Held { last: Slot(20), bytes: sizes.iter().sum() });
    assert_eq!(open(dir.path()).held(AppNdx(2)), Held::default());
}

#[test]
fn a_segment_is_a_gzip_file() {
    use std::io::Read as _;
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 2)]);
    let file = fs::read(path(dir.path(), "1-2.gz")).unwrap();
    let mut inside = Vec::new();
    flate2::read::GzDecoder::new(&file[..]).read_to_end(&mut inside).unwrap();
    let page = synod_types::LogPage::decode(&inside[4..]).unwrap();
    assert_eq!((page.cluster, page.app, page.applied, page.decrees.len()), (CLUSTER, APP, Slot(2), 2));
}

#[test]
fn no_flipped_bit_and_no_missing_byte_passes() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 4), (5, 6)]);
    let path = path(dir.path(), "5-6.gz");
    let whole = fs::read(&path).unwrap();
    let found = |bytes: &[u8], what: &dyn std::fmt::Debug| {
        fs::write(&path, bytes).unwrap();
        let (slots, end) = slots(dir.path());
        assert_eq!(slots, [1, 2, 3, 4], "{what:?}");
        let why = end.unwrap_err();
        assert!(
            matches!(why, ReadError::Segment(SegmentError::Damaged { slot: Slot(5), .. })),
            "{what:?}: {why}"
        );
        assert!(why.to_string().contains("5-6.gz is damaged at slot 5"), "{why}");
    };
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        found(&flipped, &bit);
    }
    for len in 0..whole.len() {
        found(&whole[..len], &len);
    }
    found(&[&whole[..], b"\0"].concat(), &"one more");
    // Under another name it is another segment.
    fs::write(&path, &whole).unwrap();
    fs::rename(&path, path.with_file_name("5-7.gz")).unwrap();
    let (slots, end) = slots(dir.path());
    assert_eq!(slots, (1..=6).collect::<Vec<_>>());
    let said = end.unwrap_err().to_string();
    assert!(said.contains("5-7.gz is damaged at slot 7: it ends here, and not with slot 7"), "{said}");
}

#[test]
fn a_missing_segment_is_a_hole_and_an_overlap_is_none() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 4), (3, 9), (5, 7), (10, 12)]);
    assert_eq!(slots(dir.path()).0, (1..=12).collect::<Vec<_>>());
    fs::remove_file(path(dir.path(), "3-9.gz")).unwrap();
    let (before, end) = slots(dir.path());
    assert_eq!(before, (1..=7).collect::<Vec<_>>());
    let why = end.unwrap_err();
    assert!(matches!(why, ReadError::Hole { from: Slot(8), to: Slot(9), .. }), "{why}");
    fs::remove_file(path(dir.path(), "1-4.gz")).unwrap();
    assert!(matches!(slots(dir.path()).1, Err(ReadError::Hole { from: Slot(1), to: Slot(4), .. })));
}

#[test]
fn what_a_crash_leaves_behind_is_removed_and_is_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 4)]);
    let half = path(dir.path(), "5.new");
    fs::write(&half, "half").unwrap();
    assert_eq!(slots(dir.path()).0, [1, 2, 3, 4]);
    let archive = open(dir.path());
    assert!(!half.exists());
    assert_eq!(archive.held(APP).last, Slot(4));
}

#[test]
fn what_was_read_before_an_error_stays_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(dir.path());
    let until = |end: u64| move |from: Slot| if from.0 <= end { read(from) } else { Err("no more") };
    let said = archive.append(APP, Slot(1), Slot(90), until(5)).unwrap_err();
    assert!(matches!(said, AppendError::Read { slot: Slot(7), why: "no more" }));
    assert_eq!((archive.held(APP).last, slots(dir.path()).0.len()), (Slot(6), 6));
    archive.append(APP, Slot(7), Slot(90), until(0)).unwrap_err();
    assert_eq!(fs::read_dir(dir.path().join("1")).unwrap().count(), 1, "an empty segment is none");
    archive.close();
    assert!(matches!(archive.append(APP, Slot(7), Slot(8), read), Err(AppendError::Closed)));
}

#[test]
fn a_disk_without_room_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open_with(dir.path(), CLUSTER, u64::MAX).unwrap();
    assert!(matches!(archive.append(APP, Slot(1), Slot(4), read), Err(AppendError::Full { .. })));
    assert_eq!((archive.held(APP), slots(dir.path()).0.len()), (Held::default(), 0));
}

#[test]
fn a_damaged_last_segment_goes_aside_and_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 4), (5, 6)]);
    let path = path(dir.path(), "5-6.gz");
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let archive = open(dir.path());
    assert_eq!(archive.held(APP).last, Slot(4));
    assert!(path.with_file_name("5-6.gz.damaged").exists());
    archive.append(APP, Slot(5), Slot(6), read).unwrap();
    assert_eq!(slots(dir.path()).0, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_archive_has_one_writer_of_one_cluster() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(1, 4)]);
    let archive = open(dir.path());
    assert!(matches!(Archive::open(dir.path(), CLUSTER), Err(OpenError::InUse(_))));
    archive.close();
    let other = ClusterId(Digest([2; 32]));
    assert!(matches!(Archive::open(dir.path(), other), Err(OpenError::OtherCluster { .. })));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(ArchivedLog::open(nothing.path(), APP, Slot(0)), Err(ReadError::NotOne(_))));
    assert!(matches!(ArchivedLog::open(&nothing.path().join("x"), APP, Slot(0)), Err(ReadError::Io { .. })));
}

/// The log of a cluster that goes on from another one begins behind a slot.
#[test]
fn an_archive_may_begin_further_on() {
    let dir = tempfile::tempdir().unwrap();
    archived(dir.path(), &[(11, 20), (21, 25)]);
    let (found, end) = slots_behind(dir.path(), 10);
    assert!(end.is_ok() && found == (11..=25).collect::<Vec<_>>(), "{found:?} {end:?}");
    let (found, end) = slots_behind(dir.path(), 17);
    assert!(end.is_ok() && found == (18..=25).collect::<Vec<_>>(), "{found:?} {end:?}");
    assert!(matches!(
        slots_behind(dir.path(), 8).1,
        Err(ReadError::Hole { from: Slot(9), to: Slot(10), .. })
    ));
}

/// What it was compressed to is the library's business, so a segment is only read again; its pages are golden by themselves.
#[test]
fn a_segment_that_was_written_once_is_read() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/1-3.gz");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !Path::new(golden).exists() {
        let dir = tempfile::tempdir().unwrap();
        archived(dir.path(), &[(1, 3)]);
        std::fs::create_dir_all(Path::new(golden).parent().unwrap()).unwrap();
        std::fs::copy(path(dir.path(), "1-3.gz"), golden).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("1")).unwrap();
    std::fs::copy(golden, path(dir.path(), "1-3.gz")).unwrap();
    let (found, end) = slots(dir.path());
    assert_eq!(found, [1, 2, 3]);
    end.unwrap();
}
