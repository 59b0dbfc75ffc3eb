#![no_main]

#[path = "../checks/genesis.rs"]
mod genesis;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| genesis::check(input));
