//! A disk that is really full: a file system of two megabytes in memory, mounted in a namespace of its own, which needs a
//! kernel that lets this user make one. Where it does not, this says so and tests nothing.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use synod_content::{BeginError, Begun, Limits, Progress, PutError, Store};
use synod_types::limits::CONTENT_PIECE_BYTES;
use synod_types::{ContentKey, Manifest};

/// Says to the test that runs in the namespace where the small disk is.
const DISK: &str = "SYNOD_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_an_error_and_gives_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=2m,mode=0700 none \"$0\" && exec \"$1\" --exact inside --ignored --nocapture";
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([dir.path(), &env::current_exe().unwrap()])
        .env(DISK, dir.path())
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: no small disk here: unshare: {error}"),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if out.is_empty() {
        return eprintln!("SKIPPED: no small disk here: {err}");
    }
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[test]
#[ignore = "needs a small disk: run by the test above"]
fn inside() {
    let disk = env::var_os(DISK).unwrap();
    let disk = Path::new(&disk);
    let store = Store::open_with(disk, Limits { reserve_bytes: 0, ..Limits::default() }).unwrap();
    let bytes: Vec<u8> = (0..6 * CONTENT_PIECE_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (key, manifest) = (ContentKey::of(&bytes), Manifest::of(&bytes).unwrap());
    let pieces = || (0..).zip(bytes.chunks(CONTENT_PIECE_BYTES));
    let put_all =
        || pieces().map(|(number, piece)| store.put(&key, &manifest, number, piece)).collect::<Vec<_>>();

    // It is seen at once that there is no room.
    let large = Manifest { bytes: 8 << 20, pieces: vec![manifest.pieces[0]; 32] };
    let refused = store.begin(&key, &large);
    assert!(matches!(refused, Err(BeginError::Full { needed: 8_388_608, .. })), "{refused:?}");
    // What is promised to one is not promised to another.
    assert_eq!(store.begin(&key, &manifest).unwrap(), Begun::Missing((0..6).collect()));
    let other = Manifest { bytes: 1 << 20, pieces: manifest.pieces[1..5].to_vec() };
    assert!(matches!(store.begin(&key, &other), Err(BeginError::Full { .. })));

    // Somebody else fills the disk meanwhile.
    fs::write(disk.join("ballast"), vec![1; 1 << 20]).unwrap();
    let outcomes = put_all();
    let full =
        outcomes.iter().position(|outcome| matches!(outcome, Err(PutError::Disk(error)) if error.is_full()));
    let full = full.expect("two megabytes hold no two and a half");
    assert!(full > 0 && outcomes[..full].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(outcomes[full + 1..].iter().all(|outcome| matches!(outcome, Err(PutError::NotBegun(_)))));
    assert_eq!(fs::read_dir(disk.join("partial")).unwrap().count(), 0);
    assert_eq!(store.has(&key), None);

    // And goes.
    fs::remove_file(disk.join("ballast")).unwrap();
    store.begin(&key, &manifest).unwrap();
    assert_eq!(put_all().pop().unwrap().unwrap(), Progress::Stored);
    assert_eq!(store.read(&key).unwrap(), bytes);
}
