//! What a server says of itself, in class CHAOS (RFC 4892).

use synod_zone::Rtype;

use crate::answer::Source;
use crate::answer::state::Decimal;
use crate::identity::Identity;
use crate::message::Question;

/// Bytes of a character string (RFC 1035 3.3).
const STRING_BYTES_MAX: usize = 255;

/// One character string.
pub(super) enum Text<'a> {
    /// The operator's words.
    Words(&'a [u8]),
    /// A number.
    Number(Decimal),
}

impl Text<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Words(words) => &words[..words.len().min(STRING_BYTES_MAX)],
            Text::Number(number) => number.as_bytes(),
        }
    }
}

/// The text under a name; none for other names, other types, and what the operator keeps to himself.
pub(super) fn text<'a>(
    source: &Source<'_>,
    identity: &'a Identity,
    question: &Question<'_>,
) -> Option<Text<'a>> {
    if !matches!(question.qtype, Rtype::TXT | Rtype::ANY) {
        return None;
    }
    let words = match question.name.as_wire() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &identity.version,
        b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => &identity.hostname,
        b"\x08statendx\x05synod\0" => return Some(Text::Number(Decimal::of(source.state_ndx))),
        _ => return None,
    };
    (!words.is_empty()).then_some(Text::Words(words.as_bytes()))
}
