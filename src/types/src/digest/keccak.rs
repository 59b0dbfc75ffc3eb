//! Keccak-f\[1600\] (FIPS 202, section 3.3) on many states at once, one in each lane of a vector.
//!
//! One hash waits for each of its steps, and a processor can do as many of them in the time of one as its vectors have lanes. The
//! house's SHA3-256 is `sha3`'s, which has batches only on nightly compilers (`keccak_backend`); with that one, keeping a
//! tree up to date cost half as much as executing the commands. Everything here is held against it.

use fearless_simd::{Simd, prelude::*};

/// Words of one state.
pub(super) const WORDS: usize = 25;

const ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808A,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808B,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008A,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000A,
    0x0000_0000_8000_808B,
    0x8000_0000_0000_008B,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800A,
    0x8000_0000_8000_000A,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// Permutes the state in each lane. What comes out is the same with the vectors of every processor.
#[inline(always)]
pub(super) fn permute<S: Simd>(simd: S, mut words: [S::u64s; WORDS]) -> [S::u64s; WORDS] {
    for round in ROUNDS {
        words = rounded(simd, words, round);
    }
    words
}

/// One round: theta, then rho and pi together, then chi and iota. Words are named `5y + x`.
#[inline(always)]
#[rustfmt::skip]
fn rounded<S: Simd>(simd: S, a: [S::u64s; WORDS], round: u64) -> [S::u64s; WORDS] {
    macro_rules! turned {
        ($word:expr, $by:literal) => {{
            let word = $word;
            (word << $by) | (word >> (64 - $by))
        }};
    }
    macro_rules! chi {
        ($b0:expr, $b1:expr, $b2:expr) => { $b0 ^ (!$b1 & $b2) };
    }
    let c0 = a[0] ^ a[5] ^ a[10] ^ a[15] ^ a[20];
    let c1 = a[1] ^ a[6] ^ a[11] ^ a[16] ^ a[21];
    let c2 = a[2] ^ a[7] ^ a[12] ^ a[17] ^ a[22];
    let c3 = a[3] ^ a[8] ^ a[13] ^ a[18] ^ a[23];
    let c4 = a[4] ^ a[9] ^ a[14] ^ a[19] ^ a[24];
    let d0 = c4 ^ turned!(c1, 1);
    let d1 = c0 ^ turned!(c2, 1);
    let d2 = c1 ^ turned!(c3, 1);
    let d3 = c2 ^ turned!(c4, 1);
    let d4 = c3 ^ turned!(c0, 1);

    let (b0, b1, b2, b3, b4) = (
        a[0] ^ d0, turned!(a[6] ^ d1, 44), turned!(a[12] ^ d2, 43), turned!(a[18] ^ d3, 21), turned!(a[24] ^ d4, 14),
    );
    let (b5, b6, b7, b8, b9) = (
        turned!(a[3] ^ d3, 28), turned!(a[9] ^ d4, 20), turned!(a[10] ^ d0, 3), turned!(a[16] ^ d1, 45), turned!(a[22] ^ d2, 61),
    );
    let (b10, b11, b12, b13, b14) = (
        turned!(a[1] ^ d1, 1), turned!(a[7] ^ d2, 6), turned!(a[13] ^ d3, 25), turned!(a[19] ^ d4, 8), turned!(a[20] ^ d0, 18),
    );
    let (b15, b16, b17, b18, b19) = (
        turned!(a[4] ^ d4, 27), turned!(a[5] ^ d0, 36), turned!(a[11] ^ d1, 10), turned!(a[17] ^ d2, 15), turned!(a[23] ^ d3, 56),
    );
    let (b20, b21, b22, b23, b24) = (
        turned!(a[2] ^ d2, 62), turned!(a[8] ^ d3, 55), turned!(a[14] ^ d4, 39), turned!(a[15] ^ d0, 41), turned!(a[21] ^ d1, 2),
    );
    [
        chi!(b0, b1, b2) ^ S::u64s::splat(simd, round), chi!(b1, b2, b3), chi!(b2, b3, b4), chi!(b3, b4, b0), chi!(b4, b0, b1),
        chi!(b5, b6, b7), chi!(b6, b7, b8), chi!(b7, b8, b9), chi!(b8, b9, b5), chi!(b9, b5, b6),
        chi!(b10, b11, b12), chi!(b11, b12, b13), chi!(b12, b13, b14), chi!(b13, b14, b10), chi!(b14, b10, b11),
        chi!(b15, b16, b17), chi!(b16, b17, b18), chi!(b17, b18, b19), chi!(b18, b19, b15), chi!(b19, b15, b16),
        chi!(b20, b21, b22), chi!(b21, b22, b23), chi!(b22, b23, b24), chi!(b23, b24, b20), chi!(b24, b20, b21),
    ]
}
