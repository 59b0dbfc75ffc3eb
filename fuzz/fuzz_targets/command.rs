#![no_main]

#[path = "../checks/command.rs"]
mod command;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| command::check(input));
