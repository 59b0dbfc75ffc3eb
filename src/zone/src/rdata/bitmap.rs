//! Sets of types as bitmaps (RFC 4034 4.1.2): for each block of 256 types of which one is in the set, the block's
//! number, the number of its octets, and the octets up to the last that is not zero.

use std::fmt::{self, Write};

use crate::rdata::RdataError;
use crate::rtype::Rtype;

/// Octets of a block.
const BLOCK_BYTES_MAX: usize = 32;

/// Appends the bitmap of `types`, which get sorted.
pub(crate) fn put(types: &mut [Rtype], out: &mut Vec<u8>) {
    types.sort_unstable();
    for block in types.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        let [number, _] = block[0].0.to_be_bytes();
        let mut octets = [0; BLOCK_BYTES_MAX];
        let mut len = 0;
        for rtype in block {
            let [_, low] = rtype.0.to_be_bytes();
            octets[usize::from(low / 8)] |= 0x80 >> (low % 8);
            len = low / 8 + 1;
        }
        out.extend([number, len]);
        out.extend_from_slice(&octets[..usize::from(len)]);
    }
}

/// The length of all of it, if it is as it should be.
pub(crate) fn validate(bytes: &[u8]) -> Result<usize, RdataError> {
    let mut rest = bytes;
    let mut last = None;
    while let [number, len, behind @ ..] = rest {
        let octets = behind.get(..usize::from(*len)).ok_or(RdataError::Truncated)?;
        if octets.len() > BLOCK_BYTES_MAX || octets.last().is_none_or(|octet| *octet == 0) {
            return Err(RdataError::Field(
                "a block of a type bitmap has 1 to 32 octets, and the last is not 0",
            ));
        }
        if last.is_some_and(|last| last >= *number) {
            return Err(RdataError::Field("the blocks of a type bitmap are in ascending order"));
        }
        last = Some(*number);
        rest = &behind[octets.len()..];
    }
    if rest.is_empty() { Ok(bytes.len()) } else { Err(RdataError::Truncated) }
}

/// Writes the types of a valid bitmap, each behind a space.
pub(crate) fn write(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let mut rest = bytes;
    while let [number, len, behind @ ..] = rest {
        let (octets, others) = behind.split_at(usize::from(*len).min(behind.len()));
        for (low, octet) in (0_u16..).step_by(8).zip(octets) {
            for bit in 0..8 {
                if octet & 0x80 >> bit != 0 {
                    write!(f, " {}", Rtype(u16::from(*number) << 8 | low | bit))?;
                }
            }
        }
        rest = others;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_4034() {
        let mut types = [Rtype::A, Rtype(1234), Rtype::NSEC, Rtype::MX, Rtype::RRSIG, Rtype::A];
        let mut out = Vec::new();
        put(&mut types, &mut out);
        let mut expected = vec![0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_no_bitmap_is_refused() {
        for bytes in
            [&[0][..], &[0, 1], &[0, 0], &[0, 1, 0], &[0, 2, 1, 0], &[1, 1, 1, 0, 1, 1], &[0, 1, 1, 0, 1, 1]]
        {
            assert!(validate(bytes).is_err(), "{bytes:?}");
        }
        let mut long = vec![0, 33];
        long.extend([1; 33]);
        assert!(validate(&long).is_err());
    }

    proptest! {
        #[test]
        fn sets_read_back(types: BTreeSet<u16>) {
            let mut list: Vec<Rtype> = types.iter().map(|rtype| Rtype(*rtype)).collect();
            list.reverse();
            let (mut bytes, mut text) = (Vec::new(), String::new());
            put(&mut list, &mut bytes);
            prop_assert_eq!(validate(&bytes), Ok(bytes.len()));
            write(&bytes, &mut text).unwrap();
            let read: BTreeSet<u16> = text.split_whitespace().map(|rtype| rtype.parse::<Rtype>().unwrap().0).collect();
            prop_assert_eq!(read, types);
        }
    }
}
