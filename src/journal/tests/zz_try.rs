#![allow(clippy::all, missing_docs)]
use std::fs;
use std::path::Path;
use synod_journal::record::{self, Entry};
use synod_journal::sled_store::SledStore;
use synod_journal::store::Store as _;
use synod_types::{AppNdx, Slot};
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &target); } else { fs::copy(entry.path(), target).unwrap(); }
    }
}
#[test]
fn try_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = SledStore::open(dir.path()).unwrap();
    let n = 3000u64;
    for slot in 1..=n {
        let key = record::accepted_key(AppNdx(1), Slot(slot), 0);
        s.append(vec![Entry { key, value: vec![(slot % 250) as u8 + 1; 1000] }]).unwrap();
        if slot % 50 == 0 { s.make_durable().unwrap(); }
    }
    s.make_durable().unwrap();
    drop(s);
    for _ in 0..2 { drop(SledStore::open(dir.path()).unwrap()); }
    for f in fs::read_dir(dir.path()).unwrap() { let f=f.unwrap(); println!("{:?} {}", f.file_name(), f.metadata().unwrap().len()); }
    let len = fs::metadata(dir.path().join("db")).unwrap().len();
    for at in (1000..len).step_by((len/40) as usize) {
        let to = tempfile::tempdir().unwrap();
        copy(dir.path(), to.path());
        let mut bytes = fs::read(to.path().join("db")).unwrap();
        bytes[at as usize] ^= 1;
        fs::write(to.path().join("db"), &bytes).unwrap();
        match SledStore::open(to.path()) {
            Err(e) => println!("{at}: open: {e}"),
            Ok(mut s) => {
                let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let (mut bad, mut none, mut first) = (vec![], 0, String::new());
                for slot in 1..=n {
                    match s.read(&record::accepted_key(AppNdx(1), Slot(slot), 0)) {
                        Err(e) => { bad.push(slot); first = e.to_string(); }
                        Ok(None) => none += 1,
                        Ok(Some(_)) => {}
                    }
                }
                println!("{at}: bad {} {:?}..{:?} none {none} {first}", bad.len(), bad.first(), bad.last());
                // can others be written
                let w = s.append(vec![Entry{key: record::accepted_key(AppNdx(1), Slot(n+1), 0), value: vec![1;100]}]).map_err(|e| e.to_string());
                let d = s.make_durable().map_err(|e| e.to_string());
                let mut c = 0;
                let sc = s.scan_keys(&record::accepted_key(AppNdx(1), Slot(0), 0), &record::accepted_end(AppNdx(1)), &mut |_| { c += 1; std::ops::ControlFlow::Continue(()) }).map_err(|e| e.to_string());
                println!("      write {w:?} durable {d:?} scan {c} {sc:?}");
                }));
                if r.is_err() { println!("{at}: PANIC"); }
            }
        }
    }
}
