//! The operating system's randomness, the only one that keys, salts and nonces are made of.

use getrandom::SysRng;
use getrandom::rand_core::{Rng, UnwrapErr};

/// The generator. It panics if the operating system has no randomness: going on without is never safe.
pub(crate) fn generator() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    generator().fill_bytes(&mut bytes);
    bytes
}
