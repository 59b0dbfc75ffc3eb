#![no_main]

#[path = "../checks/frame.rs"]
mod frame;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| frame::check(input));
