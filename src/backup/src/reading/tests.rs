//! A small backup, and everything that can be wrong with it.

use std::io::Cursor;

use synod_auth::{Algorithm, SigningKey};
use synod_types::{AppNdx, ClusterId, Slot, StateNdx, TimeMs};

use super::*;
use crate::manifest::{BackedUp, Begins, Files};
use crate::writing::{WriteError, Writing};

const GENESIS: &[u8] = b"a genesis document";
const STATES: [&[u8]; 2] = [b"the state of the first application", b"that of the second one"];

fn files() -> Vec<&'static [u8]> {
    let mut files: Vec<&[u8]> = vec![b"a file", b"another file", b"a third one"];
    files.sort_by_key(|file| ContentKey::of(file));
    files
}

fn manifest(states: &[Section]) -> Manifest {
    let cluster = ClusterId(Digest::of(&[GENESIS]));
    let mut manifest = Manifest::new("synod 0".to_owned(), "a test".to_owned(), cluster, "test".to_owned());
    manifest.made_ms = TimeMs(1_700_000_000_000);
    let app = |(ndx, state): (u32, &Section)| BackedUp {
        app_ndx: AppNdx(ndx),
        name: format!("app{ndx}"),
        kind: "kv".to_owned(),
        slot: Slot(9),
        state_ndx: StateNdx(7),
        chain: Digest([3; 32]),
        time_ms: TimeMs(1),
        state: *state,
        begins: Begins {
            with: "genesis".to_owned(),
            slot: Slot(0),
            state_ndx: StateNdx(0),
            signed_by: Vec::new(),
        },
        files: 3,
        file_bytes: 29,
    };
    manifest.apps = (1..).zip(states).map(app).collect();
    manifest
}

fn written(path: &Path, key: &SigningKey) -> Manifest {
    let mut writing = Writing::begin(path, GENESIS).unwrap();
    let states = STATES.map(|state| writing.state(state).unwrap());
    files().into_iter().for_each(|file| writing.file(file).unwrap());
    writing.finish(manifest(&states), key).unwrap()
}

fn backup() -> (Vec<u8>, SigningKey) {
    let (dir, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(Algorithm::Ed25519));
    let path = dir.path().join("backup");
    written(&path, &key);
    (std::fs::read(path).unwrap(), key)
}

fn read(bytes: &[u8]) -> Result<Backup<Cursor<&[u8]>>, ReadError> {
    let mut backup = Backup::read(Path::new("backup"), Cursor::new(bytes))?;
    backup.verify()?;
    Ok(backup)
}

#[test]
fn a_manifest_is_golden() {
    let section = |n: u8| Section { bytes: u64::from(n), digest: Digest([n; 32]) };
    let mut manifest = manifest(&[section(1), section(2)]);
    manifest.genesis = section(3);
    manifest.files = Files { count: 3, bytes: 29, digest: Digest([4; 32]) };
    manifest.apps[1].begins.signed_by = vec!["node1".to_owned(), "node3".to_owned()];
    manifest.warnings = vec!["what whoever restores it should know".to_owned()];
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/manifest-v1.json");
    synod_golden::holds_file(golden, &serde_json::to_vec_pretty(&manifest).unwrap());
    let kept: Manifest = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    assert_eq!(kept, manifest);
}

#[test]
fn what_was_written_is_read() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let (dir, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(algorithm));
        let path = dir.path().join("backup");
        let manifest = written(&path, &key);
        let mut backup = Backup::open(&path).unwrap();
        backup.verify().unwrap();
        assert_eq!((backup.manifest(), backup.signer()), (&manifest, CommanderId(key.id())));
        assert_eq!(backup.genesis(), GENESIS);
        for (nth, state) in STATES.iter().enumerate() {
            assert_eq!(backup.state(nth).unwrap(), *state);
        }
        let mut found = Vec::new();
        let listed = backup.files::<ReadError>(|_, file| {
            found.push(file);
            Ok(())
        });
        listed.unwrap();
        assert_eq!(found, files());
        // Nothing beside it is left.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_of_what_was_not_finished() {
    let (dir, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(Algorithm::Ed25519));
    let path = dir.path().join("backup");
    let mut writing = Writing::begin(&path, GENESIS).unwrap();
    let states = STATES.map(|state| writing.state(state).unwrap());
    // Somebody else is faster.
    std::fs::write(&path, "precious").unwrap();
    let refused = writing.finish(manifest(&states), &key).unwrap_err();
    assert!(matches!(refused, WriteError::Exists(_)), "{refused}");
    assert!(matches!(Writing::begin(&path, GENESIS), Err(WriteError::Exists(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let mut out_of_order = Writing::begin(&dir.path().join("other"), GENESIS).unwrap();
    out_of_order.file(files()[1]).unwrap();
    assert!(matches!(out_of_order.file(files()[0]), Err(WriteError::Parts(_))));
    assert!(matches!(out_of_order.state(b"late"), Err(WriteError::Parts(_))));
    drop(out_of_order);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn any_flipped_bit_is_found() {
    let (good, _) = backup();
    read(&good).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(read(&bytes).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn whatever_is_cut_off_or_put_in_is_found() {
    let (good, _) = backup();
    for len in 0..good.len() {
        assert!(read(&good[..len]).is_err(), "{len} bytes");
    }
    for at in 0..=good.len() {
        let mut bytes = good.clone();
        bytes.insert(at, 0);
        assert!(read(&bytes).is_err(), "a byte at {at}");
    }
}

/// Who signs can say what they like, and still no byte is given out that is not what the manifest says.
#[test]
fn a_manifest_that_lies_is_found() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let lie = |change: &dyn Fn(&mut Manifest)| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let mut writing = Writing::begin(&path, GENESIS).unwrap();
        let states = STATES.map(|state| writing.state(state).unwrap());
        let mut manifest = manifest(&states);
        change(&mut manifest);
        writing.finish(manifest, &key).unwrap();
        read(&std::fs::read(&path).unwrap()).map(drop).unwrap_err().to_string()
    };
    let other = ClusterId(Digest([1; 32]));
    type Change<'a> = &'a dyn Fn(&mut Manifest);
    let cases: [(&str, Change<'_>); 6] = [
        ("founds another cluster", &|manifest| manifest.cluster = other),
        ("the state of application 2 is not", &|manifest| manifest.apps[1].state.digest = Digest([1; 32])),
        ("more or fewer bytes", &|manifest| manifest.apps[1].state.bytes += 1),
        ("more or fewer bytes", &|manifest| manifest.apps[1].state.bytes = u64::MAX),
        ("more or fewer bytes", &|manifest| drop(manifest.apps.pop())),
        ("is of format \"synod/backup/v9\"", &|manifest| manifest.format = "synod/backup/v9".to_owned()),
    ];
    for (said, change) in cases {
        let text = lie(change);
        assert!(text.contains(said), "{said:?} is not in {text:?}");
    }
}
