//! A name on the stack.

use synod_zone::name::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// A name in uncompressed wire form, without an allocation.
#[derive(Clone, Copy)]
pub struct QueryName {
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

impl QueryName {
    /// The root.
    pub const ROOT: QueryName = QueryName { bytes: [0; NAME_BYTES_MAX], len: 1 };

    /// The name with which `bytes` begin. None if they begin with no uncompressed name.
    pub fn read(bytes: &[u8]) -> Option<QueryName> {
        QueryName::concat(bytes.get(..name_len(bytes)?)?, &[])
    }

    /// The same in lower case: what look-ups take.
    pub fn read_lowercase(bytes: &[u8]) -> Option<QueryName> {
        let len = name_len(bytes)?;
        let mut name = QueryName { bytes: [0; NAME_BYTES_MAX], len: u8::try_from(len).ok()? };
        // A length is at most 63, which is below every letter.
        for (lower, byte) in name.bytes.iter_mut().zip(bytes.get(..len)?) {
            *lower = byte.to_ascii_lowercase();
        }
        Some(name)
    }

    /// Labels, then a name that ends them: both valid. None if the result is too long for a name.
    pub fn concat(labels: &[u8], end: &[u8]) -> Option<QueryName> {
        let len = labels.len() + end.len();
        let mut name = QueryName { bytes: [0; NAME_BYTES_MAX], len: u8::try_from(len).ok()? };
        let bytes = name.bytes.get_mut(..len)?;
        bytes[..labels.len()].copy_from_slice(labels);
        bytes[labels.len()..].copy_from_slice(end);
        Some(name)
    }

    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// This name, then its ancestors up to the root, each in wire form.
    pub fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Some(self.as_wire());
        std::iter::from_fn(move || {
            let this = rest?;
            rest = match usize::from(this[0]) {
                0 => None,
                len => Some(&this[1 + len..]),
            };
            Some(this)
        })
    }
}

/// Bytes of the uncompressed name with which `bytes` begin.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*bytes.get(at)?);
        at += 1 + len;
        if len > LABEL_BYTES_MAX || at > NAME_BYTES_MAX {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}
