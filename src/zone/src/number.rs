//! Numbers and times as zone files write them.

/// The number that `digits` are, if they are digits only and it fits.
pub(crate) fn decimal<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    // Nineteen digits always fit into 64 bits.
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        value = value * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    T::try_from(value).ok()
}

/// Seconds: a number, or numbers with units as in `1w2d3h4m5s`, in either case.
pub(crate) fn seconds(text: &[u8]) -> Option<u32> {
    if let Some(seconds) = decimal(text) {
        return Some(seconds);
    }
    let (mut total, mut begin) = (0_u32, 0);
    for (at, byte) in text.iter().enumerate() {
        let unit = match byte.to_ascii_lowercase() {
            b'0'..=b'9' => continue,
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        let count: u32 = decimal(&text[begin..at])?;
        total = total.checked_add(count.checked_mul(unit)?)?;
        begin = at + 1;
    }
    // Digits without a unit behind others with one say nothing certain.
    (begin == text.len() && begin > 0).then_some(total)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for (text, value) in [("0", Some(0)), ("65535", Some(u16::MAX)), ("0000000000000000001", Some(1))] {
            assert_eq!(decimal::<u16>(text.as_bytes()), value, "{text}");
        }
        for text in ["", "65536", "-1", "+1", "1 ", "0x1", "99999999999999999999", "\u{661}"] {
            assert_eq!(decimal::<u16>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decimal::<u64>(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
    }

    #[test]
    fn times() {
        for (text, value) in [
            ("0", 0),
            ("4294967295", u32::MAX),
            ("1h30m", 5_400),
            ("1W2D3H4M5S", 788_645),
            ("30m1h", 5_400),
            ("4294967295s", u32::MAX),
        ] {
            assert_eq!(seconds(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "h", "1h30", "1x", "1hh", "4294967296", "7102w", "4294967295s1s", "-1", "1 h"] {
            assert_eq!(seconds(text.as_bytes()), None, "{text}");
        }
    }
}
