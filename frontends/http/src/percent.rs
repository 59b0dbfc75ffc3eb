//! Percent-encoding (RFC 3986, section 2.1) over arbitrary bytes: a key need not be UTF-8.

use std::borrow::Cow;

/// A `%` that is not followed by two hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every % must be followed by two hex digits; a % itself is written %25")]
pub(crate) struct BadEscape;

/// The bytes of a piece of a path.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, [u8]>, BadEscape> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some((&[high, low], tail)) = rest.split_first_chunk::<2>() else { return Err(BadEscape) };
        out.push(hex_digit(high)? << 4 | hex_digit(low)?);
        rest = tail;
    }
    Ok(Cow::Owned(out))
}

/// The bytes of a name or value in a query, where `+` is a space, as HTML forms and every client's encoder have it.
pub(crate) fn decode_query(text: &str) -> Result<Cow<'_, [u8]>, BadEscape> {
    if !text.contains('+') {
        return decode(text);
    }
    decode(&text.replace('+', "%20")).map(|bytes| Cow::Owned(bytes.into_owned()))
}

/// Appends `bytes`, everything but unreserved characters escaped: fits in a path and in a query.
pub(crate) fn encode_into(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

fn hex_digit(byte: u8) -> Result<u8, BadEscape> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(BadEscape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        encode_into(&all, &mut text);
        assert_eq!(decode(&text).unwrap(), all);
        assert_eq!(decode_query(&text).unwrap(), all);
    }

    #[test]
    fn a_plus_is_a_space_in_a_query_only() {
        assert_eq!(decode("a+b%2Bc").unwrap(), &b"a+b+c"[..]);
        assert_eq!(decode_query("a+b%2Bc").unwrap(), &b"a b+c"[..]);
    }

    #[test]
    fn half_an_escape_is_refused() {
        for text in ["%", "a%2", "%zz", "%%20", "%-1", "%+1"] {
            assert_eq!(decode(text), Err(BadEscape), "{text}");
            assert_eq!(decode_query(text), Err(BadEscape), "{text}");
        }
    }
}
