//! The name of a zone, as commands and the state hold it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use synod_zone::name::LABELS_MAX;
use synod_zone::{Name, NameError};

/// Characters of a name that a refusal shows. Its whole text has to fit into
/// [`synod_types::limits::REFUSAL_TEXT_BYTES_MAX`].
const SHOWN_CHARS_MAX: usize = 64;

/// The name of a zone in uncompressed wire form, in lower case; the root is one, too. Cheap to clone. The order is the
/// canonical one (RFC 4034 6.1), by labels from the right, so that a zone stands just before those below it.
#[derive(Clone, PartialEq, Eq)]
pub struct ZoneName(Arc<[u8]>);

impl ZoneName {
    /// The root, which every zone is at or below.
    pub fn root() -> ZoneName {
        ZoneName(Arc::from([0]))
    }

    /// The name that `text` says, with or without a dot at its end, in any case.
    ///
    /// # Errors
    /// [`NameError`] if it says none.
    pub fn parse(text: &str) -> Result<ZoneName, NameError> {
        Name::parse(text).map(|name| ZoneName::of(&name))
    }

    /// The name of the zone with this origin, in any case.
    pub fn of(origin: &Name) -> ZoneName {
        ZoneName(origin.as_wire().to_ascii_lowercase().into())
    }

    /// Reads exactly one name in uncompressed wire form, which must be in lower case already: a name that can be
    /// written in two ways would make two commands of one.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    fn from_wire(wire: &[u8]) -> Result<ZoneName, &'static str> {
        if wire.iter().any(u8::is_ascii_uppercase) {
            return Err("a zone's name in upper case");
        }
        match Name::from_wire(wire) {
            Ok(_) => Ok(ZoneName(wire.into())),
            Err(_) => Err("a zone's name that is none"),
        }
    }

    /// The uncompressed wire form, in lower case.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The name for DNS.
    pub fn to_name(&self) -> Name {
        Name::from_wire(&self.0).expect("it was one when this was made")
    }

    /// Whether this name is `other` or below it.
    pub fn is_at_or_below(&self, other: &ZoneName) -> bool {
        let (starts, count) = label_starts(&self.0);
        let Some(skip) = self.0.len().checked_sub(other.0.len()) else { return false };
        let is_label = skip + 1 == self.0.len() || starts[..count].iter().any(|&at| usize::from(at) == skip);
        is_label && self.0[skip..] == *other.0
    }

    /// The name for a refusal: its beginning, where it is long.
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// Where each label but the root label begins, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; LABELS_MAX], usize) {
    let mut starts = [0; LABELS_MAX];
    let (mut at, mut count) = (0_u8, 0);
    // A valid name has at most 127 labels, and the last one begins before octet 254.
    while let Some(&len @ 1..) = wire.get(usize::from(at)) {
        starts[count] = at;
        count += 1;
        at += len + 1;
    }
    (starts, count)
}

impl Ord for ZoneName {
    fn cmp(&self, other: &ZoneName) -> Ordering {
        let label = |wire: &[u8], start: u8| -> std::ops::Range<usize> {
            let start = usize::from(start);
            start + 1..start + 1 + usize::from(wire[start])
        };
        let ((ours, our_count), (theirs, their_count)) = (label_starts(&self.0), label_starts(&other.0));
        let pairs = ours[..our_count].iter().rev().zip(theirs[..their_count].iter().rev());
        for (&our, &their) in pairs {
            match self.0[label(&self.0, our)].cmp(&other.0[label(&other.0, their)]) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        our_count.cmp(&their_count)
    }
}

impl PartialOrd for ZoneName {
    fn partial_cmp(&self, other: &ZoneName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_name().fmt(f)
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ZoneName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ZoneName, NameError> {
        ZoneName::parse(text)
    }
}

// On the wire a name is a byte string.
impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ZoneName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ZoneName, D::Error> {
        ZoneName::from_wire(&Bytes::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// See [`ZoneName::shown`].
pub(crate) struct Shown<'a>(&'a ZoneName);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            None => f.write_str(&text),
            Some((end, _)) => write!(f, "{}…", &text[..end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use synod_types::wire;

    use super::*;

    fn zone(text: &str) -> ZoneName {
        ZoneName::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_in_lower_case_and_one_only() {
        assert_eq!(zone("ExAmPle.ORG"), zone("example.org."));
        assert_eq!(zone("Example.org").to_string(), "example.org.");
        assert_eq!(wire::encode(&zone("a.b")), b"\x05\x01a\x01b\x00");
        assert_eq!(wire::decode(b"\x05\x01a\x01b\x00"), Ok(zone("a.b")));
        assert_eq!(wire::decode(b"\x01\x00"), Ok(zone(".")));
        for bytes in
            [&b"\x05\x01A\x01b\x00"[..], b"\x04\x01a\x01b", b"\x00", b"\x02\xc0\x0c", b"\x02\x00\x00"]
        {
            assert!(wire::decode::<ZoneName>(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn names_are_in_canonical_order() {
        let names = [".", "com", "a.com", "example", "a.example", "x.a.example", "z.example", "*.z.example"];
        for (n, a) in names.iter().enumerate() {
            for (m, b) in names.iter().enumerate() {
                assert_eq!(zone(a).cmp(&zone(b)), n.cmp(&m), "{a} {b}");
                assert_eq!(zone(a).cmp(&zone(b)), zone(a).to_name().cmp(&zone(b).to_name()), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_name_is_below_another_by_whole_labels() {
        for (name, other, is) in [
            ("a.example", "example", true),
            ("example", "example", true),
            ("example", ".", true),
            (".", ".", true),
            (".", "example", false),
            ("anexample", "example", false),
            ("example", "a.example", false),
            ("a.example.org", "example", false),
            // The length of a label looks like part of a name.
            ("\\007example.org", "example.org", false),
        ] {
            assert_eq!(zone(name).is_at_or_below(&zone(other)), is, "{name} {other}");
        }
    }

    #[test]
    fn a_refusal_shows_the_beginning_of_a_long_name() {
        assert_eq!(zone("example.org").shown().to_string(), "example.org.");
        let long = zone(
            &["\\000\\255"; 60]
                .concat()
                .as_bytes()
                .chunks(80)
                .map(|part| std::str::from_utf8(part).unwrap())
                .collect::<Vec<_>>()
                .join("."),
        );
        assert!(long.to_string().len() > 256);
        assert!(long.shown().to_string().chars().count() == SHOWN_CHARS_MAX + 1);
    }
}
