//! Serial numbers.

/// Whether the serial `new` comes after `old` (RFC 1982 3.2): it is ahead by less than 2^31, counted around the end of 32
/// bits. At exactly 2^31 neither comes after the other.
pub fn serial_is_newer(new: u32, old: u32) -> bool {
    new != old && new.wrapping_sub(old) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_the_end() {
        for (new, old, is_newer) in [
            (1, 0, true),
            (0, 0, false),
            (0, 1, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            ((1 << 31) - 1, 0, true),
            (1 << 31, 0, false),
            (0, 1 << 31, false),
            (44, 2_147_483_700, true),
            (2_026_010_100, 2_025_123_199, true),
        ] {
            assert_eq!(serial_is_newer(new, old), is_newer, "{new} after {old}");
        }
    }
}
