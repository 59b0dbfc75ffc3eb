//! What clusters, nodes, administrators and applications can be called.

use crate::limits::NAME_BYTES_MAX;

/// Whether this is a name: 1 to [`NAME_BYTES_MAX`] of a-z, 0-9, '-', '_' and '.', since a name goes into file names, logs and
/// tables.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}
