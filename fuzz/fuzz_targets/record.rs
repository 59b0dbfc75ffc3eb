#![no_main]

#[path = "../checks/record.rs"]
mod record;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| record::check(input));
