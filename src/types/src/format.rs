//! What a file or a page begins with: its name, its version, and a zero byte, as in `synod/log/v2`. So a program can say of what
//! version something is that it does not read.

/// Digits of a version, of which nobody will ever need so many.
const DIGITS_MAX: usize = 4;

/// The version and the rest of bytes that begin with `name`, a version in decimal digits and a zero byte; `None`: they are
/// something else. `name` ends with the "v" before the digits.
///
/// ```
/// assert_eq!(synod_types::format::split("synod/log/v", b"synod/log/v2\0page"), Some(("2", &b"page"[..])));
/// ```
pub fn split<'a>(name: &str, bytes: &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let rest = bytes.strip_prefix(name.as_bytes())?;
    let digits = rest.iter().take(DIGITS_MAX + 1).position(|byte| *byte == 0)?;
    let (version, rest) = rest.split_at(digits);
    let is_number = !version.is_empty() && version.iter().all(u8::is_ascii_digit);
    let version = std::str::from_utf8(version).ok().filter(|_| is_number)?;
    Some((version, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_version_is_one() {
        assert_eq!(split("a/v", b"a/v12\0"), Some(("12", &b""[..])));
        assert_eq!(split("a/v", b"a/v9999\0x"), Some(("9999", &b"x"[..])));
        for none in [&b""[..], b"a/v", b"a/v1", b"a/v\0", b"a/vx\0", b"a/v12345\0", b"b/v1\0", b"a/v-1\0"] {
            assert_eq!(split("a/v", none), None, "{none:?}");
        }
    }
}
