//! A zone file of any bytes is read or refused; what it says is printed so that it says the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synod_zone::{FAULTS_MAX, Name, Zone, check, diff, rdata, zone_file};

fuzz_target!(|text: &[u8]| {
    let origin: Name = "example.org".parse().expect("a name");
    let file = match zone_file::parse(text, &origin) {
        Ok(file) => file,
        Err(faults) => {
            assert!(faults.all().len() <= FAULTS_MAX);
            assert!(faults.all().iter().all(|fault| fault.line > 0 && fault.to_string().len() <= 256));
            return;
        }
    };
    for record in &file.records {
        assert_eq!(rdata::validate(record.rtype, &record.rdata), Ok(()));
        for name in rdata::names(record.rtype, &record.rdata) {
            Name::from_wire(name).expect("valid data has valid names");
        }
    }
    let mut printed = String::new();
    zone_file::print(&origin, &file.records, &mut printed).expect("a string takes every text");
    let again = zone_file::parse(printed.as_bytes(), &Name::root()).expect("what is printed can be read");
    assert_eq!(again.records, file.records);
    // Names are equal in any case; as they are written, too.
    let cased = |records: &[synod_zone::Record]| -> Vec<Vec<u8>> {
        records.iter().map(|record| record.owner.as_wire().to_vec()).collect()
    };
    assert_eq!(cased(&again.records), cased(&file.records));
    assert!(diff(&file.records, &again.records).is_empty());

    let faults = check(&origin, &file.records, &file.lines);
    assert!(faults.is_sorted_by_key(|fault| fault.line) && faults.len() <= FAULTS_MAX);
    match Zone::load(&origin, text) {
        Ok(zone) => {
            let served: Vec<_> = zone.records().collect();
            assert_eq!(zone.record_count(), served.len());
            let changes = diff(&file.records, &served);
            assert!(changes.is_empty(), "{changes}");
        }
        Err(why) => assert_eq!(why.all(), faults),
    }
});
