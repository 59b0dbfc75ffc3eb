//! A domain name.

use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Octets of a name in wire form, the root label included (RFC 1035 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;
/// Octets of a label (RFC 1035 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Labels of a name without the root label: one octet each, and its length.
pub const LABELS_MAX: usize = 127;

/// A domain name in uncompressed wire form: labels of 1 to 63 octets, each behind its length, and the root label; 255
/// octets at most. Case is kept and does not count: names compare, order and hash as if in lower case. The order is the
/// canonical one (RFC 4034 6.1): by labels, from the right.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// Why something is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all. The root is written `.`.
    #[error("a name is not empty; the root is a single dot")]
    Empty,
    /// Two dots in a row, or one in front.
    #[error("an empty label: two dots in a row, or one in front")]
    EmptyLabel,
    /// A label of more than [`LABEL_BYTES_MAX`] octets.
    #[error("a label has at most 63 octets")]
    LabelTooLong,
    /// More than [`NAME_BYTES_MAX`] octets.
    #[error("a name has at most 255 octets, its labels' lengths included")]
    TooLong,
    /// A backslash with neither three digits up to 255 nor one other character behind it.
    #[error("a backslash is followed by three digits up to 255, or by one character that is no digit")]
    BadEscape,
    /// Wire form that ends inside the name.
    #[error("the bytes end inside the name")]
    Truncated,
    /// Wire form with a compression pointer or an unknown kind of label.
    #[error("a label begins with a length up to 63; compression has no place here")]
    BadLabel,
    /// Wire form with bytes behind the name.
    #[error("bytes behind the name")]
    TrailingBytes,
}

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name(Box::from([0]))
    }

    /// The name that `bytes` are: one name, uncompressed, and nothing behind it.
    ///
    /// # Errors
    /// [`NameError`] if they are anything else.
    pub fn from_wire(bytes: &[u8]) -> Result<Name, NameError> {
        match wire_len(bytes)? {
            len if len == bytes.len() => Ok(Name(bytes.into())),
            _ => Err(NameError::TrailingBytes),
        }
    }

    /// The name that `text` says (RFC 1035 5.1: `\DDD` and `\X` are escapes). It is absolute with or without a dot at
    /// its end.
    ///
    /// # Errors
    /// [`NameError`] if it says none.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        put_text(text.as_bytes(), &[0], &mut wire)?;
        Ok(Name(wire.into()))
    }

    /// The uncompressed wire form, the root label at its end.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name in lower case.
    pub fn to_lowercase(&self) -> Name {
        // A length is at most 63, which is below every letter.
        Name(self.0.to_ascii_lowercase().into())
    }

    /// The labels without the root label, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let (starts, count) = label_starts(&self.0);
        (0..count).map(move |at| label(&self.0, starts[at]))
    }

    /// How many labels there are, without the root label.
    pub fn label_count(&self) -> usize {
        label_starts(&self.0).1
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether the leftmost label is `*` (RFC 4592).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name without its leftmost label; none for the root.
    pub fn parent(&self) -> Option<Name> {
        let skip = usize::from(self.0[0]) + 1;
        (!self.is_root()).then(|| Name(self.0[skip..].into()))
    }

    /// Whether this name is `other` or below it.
    pub fn is_at_or_below(&self, other: &Name) -> bool {
        let Some(skip) = self.0.len().checked_sub(other.0.len()) else { return false };
        self.0[skip..].eq_ignore_ascii_case(&other.0) && is_label_start(&self.0, skip)
    }

    /// The name as a zone file with `origin` writes it: `@`, relative to the origin, or absolute. A name that ends in the
    /// origin in other case is absolute, since it would be read in the origin's.
    pub fn relative_to(&self, origin: &Name) -> impl fmt::Display {
        struct Relative<'a>(&'a [u8], bool);
        impl fmt::Display for Relative<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Relative([], _) => f.write_char('@'),
                    Relative(wire, absolute) => write_labels(wire, *absolute, f),
                }
            }
        }
        let relative = self.0.ends_with(&origin.0) && self.is_at_or_below(origin) && !origin.is_root();
        let end = if relative { self.0.len() - origin.0.len() } else { self.0.len() };
        Relative(&self.0[..end], !relative)
    }

    /// The name of valid wire form.
    pub(crate) fn of_valid(wire: &[u8]) -> Name {
        debug_assert_eq!(wire_len(wire), Ok(wire.len()));
        Name(wire.into())
    }
}

/// Octets of the uncompressed name with which `bytes` begin.
pub(crate) fn wire_len(bytes: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let len = usize::from(*bytes.get(at).ok_or(NameError::Truncated)?);
        if len > LABEL_BYTES_MAX {
            return Err(NameError::BadLabel);
        }
        at += 1 + len;
        if at > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if len == 0 {
            return Ok(at);
        }
    }
}

/// Appends the wire form of a name as a zone file writes it; `origin` is the wire form that completes a relative one.
/// What was appended of a bad name stays.
pub(crate) fn put_text(text: &[u8], origin: &[u8], out: &mut Vec<u8>) -> Result<(), NameError> {
    let begin = out.len();
    match text {
        [] => return Err(NameError::Empty),
        b"." => {
            out.push(0);
            return Ok(());
        }
        b"@" => {
            out.extend_from_slice(origin);
            return Ok(());
        }
        _ => {}
    }
    let mut label = out.len();
    out.push(0);
    let mut at = 0;
    let mut ends_with_dot = false;
    while let Some(&byte) = text.get(at) {
        at += 1;
        ends_with_dot = byte == b'.';
        let octet = match byte {
            b'.' => {
                end_label(out, label)?;
                label = out.len();
                out.push(0);
                continue;
            }
            b'\\' => {
                let (octet, taken) = unescape(&text[at..]).ok_or(NameError::BadEscape)?;
                at += taken;
                octet
            }
            byte => byte,
        };
        out.push(octet);
        // Beyond this the name is too long whatever follows, and `out` stays small.
        if out.len() - begin > NAME_BYTES_MAX {
            let in_label = out.len() - label - 1;
            return Err(if in_label > LABEL_BYTES_MAX {
                NameError::LabelTooLong
            } else {
                NameError::TooLong
            });
        }
    }
    if !ends_with_dot {
        end_label(out, label)?;
        out.extend_from_slice(origin);
    }
    if out.len() - begin > NAME_BYTES_MAX { Err(NameError::TooLong) } else { Ok(()) }
}

fn end_label(out: &mut [u8], label: usize) -> Result<(), NameError> {
    match out.len() - label - 1 {
        0 => Err(NameError::EmptyLabel),
        len if len > LABEL_BYTES_MAX => Err(NameError::LabelTooLong),
        len => {
            out[label] = u8::try_from(len).expect("at most 63");
            Ok(())
        }
    }
}

/// The octet that the characters behind a backslash stand for, and how many characters these are.
pub(crate) fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            Some((u8::try_from(value).ok()?, 3))
        }
        [b'0'..=b'9', ..] | [] => None,
        [other, ..] => Some((*other, 1)),
    }
}

/// Where each label but the root label begins in `wire`, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; LABELS_MAX], usize) {
    let mut starts = [0; LABELS_MAX];
    let (mut at, mut count) = (0, 0);
    while let Some(&len @ 1..) = wire.get(usize::from(at)) {
        starts[count] = at;
        count += 1;
        // At most 254 in a valid name.
        at += len + 1;
    }
    (starts, count)
}

/// The label that begins at `start`.
fn label(wire: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    &wire[start + 1..=start + usize::from(wire[start])]
}

fn is_label_start(wire: &[u8], place: usize) -> bool {
    let mut at = 0;
    while at < place {
        at += usize::from(wire[at]) + 1;
    }
    at == place
}

/// Appends what orders names canonically when compared byte by byte: the labels from the right, in lower case, each
/// with a 0 at its end. In a label a 0 becomes 1 1 and a 1 becomes 1 2, so that nothing in it is below its end.
pub(crate) fn put_sort_key(wire: &[u8], out: &mut Vec<u8>) {
    let (starts, count) = label_starts(wire);
    for &start in starts[..count].iter().rev() {
        for &byte in label(wire, start) {
            match byte {
                0 | 1 => out.extend([1, byte + 1]),
                byte => out.push(byte.to_ascii_lowercase()),
            }
        }
        out.push(0);
    }
}

/// Writes the labels in `wire`, which may be without its root label, with dots between them and one at the end if
/// `absolute`.
pub(crate) fn write_labels(wire: &[u8], absolute: bool, f: &mut dyn Write) -> fmt::Result {
    if wire == [0] {
        return f.write_char('.');
    }
    let (starts, count) = label_starts(wire);
    for (at, &start) in starts[..count].iter().enumerate() {
        if at > 0 {
            f.write_char('.')?;
        }
        for &byte in label(wire, start) {
            match byte {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    f.write_char('\\')?;
                    f.write_char(char::from(byte))?;
                }
                0x21..=0x7e => f.write_char(char::from(byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
    }
    if absolute { f.write_char('.') } else { Ok(()) }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        let ((ours, our_count), (theirs, their_count)) = (label_starts(&self.0), label_starts(&other.0));
        let pairs = ours[..our_count].iter().rev().zip(theirs[..their_count].iter().rev());
        for (&our, &their) in pairs {
            let our = label(&self.0, our).iter().map(u8::to_ascii_lowercase);
            let their = label(&other.0, their).iter().map(u8::to_ascii_lowercase);
            match our.cmp(their) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        our_count.cmp(&their_count)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in &*self.0 {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_labels(&self.0, true, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_wire() {
        for (text, wire, printed) in [
            (".", &b"\0"[..], "."),
            ("a", b"\x01a\0", "a."),
            ("a.", b"\x01a\0", "a."),
            ("Ab.c-d.", b"\x02Ab\x03c-d\0", "Ab.c-d."),
            ("a\\.b.c", b"\x03a.b\x01c\0", "a\\.b.c."),
            ("\\065\\000\\255", b"\x03A\0\xff\0", "A\\000\\255."),
            ("\\@\\$\\;\\(\\)\\\"\\ \\\\", b"\x08@$;()\" \\\0", "\\@\\$\\;\\(\\)\\\"\\032\\\\."),
            ("*._tcp", b"\x01*\x04_tcp\0", "*._tcp."),
            ("\u{e4}", b"\x02\xc3\xa4\0", "\\195\\164."),
        ] {
            let name = name(text);
            assert_eq!((name.as_wire(), &*name.to_string()), (wire, printed), "{text}");
            assert_eq!(Name::from_wire(wire).as_ref(), Ok(&name));
            assert_eq!(name.to_string().parse().as_ref(), Ok(&name));
        }
        assert_eq!(name("@"), Name::root());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        use NameError::*;
        let (label, long) = ("l".repeat(64), "l".repeat(1000));
        let parts = "a.".repeat(127);
        for (text, why) in [
            ("", Empty),
            ("..", EmptyLabel),
            (".a", EmptyLabel),
            ("a..b", EmptyLabel),
            ("a..", EmptyLabel),
            ("\\", BadEscape),
            ("a\\25", BadEscape),
            ("a\\256", BadEscape),
            (&label, LabelTooLong),
            (&long, LabelTooLong),
            (&format!("{parts}b"), TooLong),
            (&format!("{parts}b.c"), TooLong),
        ] {
            assert_eq!(text.parse::<Name>(), Err(why), "{text}");
        }
        assert_eq!((name(&parts).as_wire().len(), name(&parts).label_count()), (NAME_BYTES_MAX, LABELS_MAX));
        for (wire, why) in [
            (&b""[..], Truncated),
            (b"\x01", Truncated),
            (b"\x01a", Truncated),
            (b"\x02a\0", Truncated),
            (b"\0\0", TrailingBytes),
            (b"\xc0\0", BadLabel),
            (b"\x40", BadLabel),
            (&[1; 300], TooLong),
        ] {
            assert_eq!(Name::from_wire(wire), Err(why), "{wire:?}");
        }
    }

    #[test]
    fn labels_and_ancestors() {
        let (www, org, root) = (name("www.Example.org"), name("example.ORG"), Name::root());
        let labels: Vec<&[u8]> = www.labels().collect();
        assert_eq!(labels, [&b"www"[..], b"Example", b"org"]);
        assert_eq!(www.labels().next_back(), Some(&b"org"[..]));
        assert_eq!((www.label_count(), root.label_count(), root.parent()), (3, 0, None));
        assert_eq!(www.parent().as_ref(), Some(&org));
        assert_eq!(name("org").parent(), Some(Name::root()));
        assert_eq!(www.to_lowercase().as_wire(), b"\x03www\x07example\x03org\0");
        for (below, above, is_below) in [
            ("www.example.org", "EXAMPLE.org", true),
            ("example.org", "example.org", true),
            ("example.org", ".", true),
            (".", "org", false),
            ("example.org", "www.example.org", false),
            ("xexample.org", "example.org", false),
            // The end of a label that looks like a name is none.
            ("a\\003org", "org", false),
            ("a\\007example\\003org", "example.org", false),
        ] {
            assert_eq!(name(below).is_at_or_below(&name(above)), is_below, "{below} {above}");
        }
        assert!(name("*.a").is_wildcard() && !name("**.a").is_wildcard() && !name("a.*").is_wildcard());
        let org = name("org");
        assert_eq!(name("a.b.org").relative_to(&org).to_string(), "a.b");
        assert_eq!(name("org").relative_to(&org).to_string(), "@");
        assert_eq!(name("\\@.org").relative_to(&org).to_string(), "\\@");
        assert_eq!(name("a.test").relative_to(&org).to_string(), "a.test.");
        assert_eq!(name("a.ORG").relative_to(&org).to_string(), "a.ORG.");
        assert_eq!(name("a.org").relative_to(&Name::root()).to_string(), "a.org.");
    }

    proptest! {
        #[test]
        fn bytes_are_names_or_not(bytes: Vec<u8>) {
            if let Ok(name) = Name::from_wire(&bytes) {
                let again: Name = name.to_string().parse().unwrap();
                prop_assert_eq!(again.as_wire(), &*bytes);
            }
        }

        #[test]
        fn sort_keys_are_in_the_order_of_names(
            a in proptest::collection::vec("[\\x00-\\x02AaBb]{1,3}", 0..4),
            b in proptest::collection::vec("[\\x00-\\x02AaBb]{1,3}", 0..4),
        ) {
            let of = |labels: &[String]| {
                let mut wire = Vec::new();
                for label in labels {
                    wire.push(u8::try_from(label.len()).unwrap());
                    wire.extend(label.as_bytes());
                }
                wire.push(0);
                Name::from_wire(&wire).unwrap()
            };
            let (a, b) = (of(&a), of(&b));
            let key = |name: &Name| {
                let mut key = Vec::new();
                put_sort_key(name.as_wire(), &mut key);
                key
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(key(&a).starts_with(&key(&b)), a.is_at_or_below(&b));
            prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        }
    }
}
