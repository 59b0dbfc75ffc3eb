//! The program: see the library beside it.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// States are made by one thread and given back by others; glibc's allocator has them wait for each other.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    synod::main()
}
