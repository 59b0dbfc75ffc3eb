//! Any bytes, asked over datagrams or a stream, are answered with a message within its limits, or met with silence.

#![no_main]

#[path = "../../frontends/dns/tests/any_bytes/mod.rs"]
mod any_bytes;
#[path = "../../frontends/dns/tests/dig/mod.rs"]
mod dig;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| any_bytes::check(input));
