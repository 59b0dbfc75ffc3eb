#![no_main]

#[path = "../checks/snapshot.rs"]
mod snapshot;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| snapshot::check(input));
