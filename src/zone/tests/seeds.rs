//! Everything that fuzzing started from or found (fuzz/seeds/zone_file) is read or refused, and what is printed of it
//! says the same.

use std::fs;
use std::path::Path;

use synod_zone::{Name, Zone, check, diff, zone_file};

#[test]
fn seeds_do_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/zone_file");
    let origin: Name = "example.org".parse().unwrap();
    let (mut files, mut good) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        files += 1;
        let Ok(file) = zone_file::parse(&text, &origin) else { continue };
        good += 1;
        let mut printed = String::new();
        zone_file::print(&origin, &file.records, &mut printed).unwrap();
        let again = zone_file::parse(printed.as_bytes(), &Name::root()).unwrap();
        assert_eq!(again.records, file.records, "{}", path.display());
        // Names are equal in any case, and written in their own.
        for (again, record) in again.records.iter().zip(&file.records) {
            assert_eq!(again.owner.as_wire(), record.owner.as_wire(), "{}", path.display());
        }
        let faults = check(&origin, &file.records, &file.lines);
        match Zone::load(&origin, &text) {
            Ok(zone) => assert!(diff(&file.records, &zone.records().collect::<Vec<_>>()).is_empty()),
            Err(why) => assert_eq!(why.all(), faults, "{}", path.display()),
        }
    }
    assert!(files > 0 && good > 0, "{good} of {files} seeds were read");
}
