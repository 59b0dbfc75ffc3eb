#![no_main]

#[path = "../checks/body.rs"]
mod body;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| body::check(input));
