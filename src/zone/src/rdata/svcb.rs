//! The parameters of a service's binding (RFC 9460 2.1, 2.2 and A; RFC 9461 5; RFC 9540 4).
//!
//! On the wire: for each parameter its key, the length of its value and the value, in ascending order of keys.

use std::fmt::{self, Write};

use crate::fault::{Fault, excerpt};
use crate::name::unescape;
use crate::number::decimal;
use crate::rdata::encoding::{Base64Reader, write_base64};
use crate::rdata::to_text::write_quoted;
use crate::rdata::{RdataError, address};
use crate::record::RDATA_BYTES_MAX;
use crate::zone_file::{Lexer, Token};

/// How the value of a key is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Other keys, in ascending order.
    Keys,
    /// Protocol ids, each behind its length.
    Ids,
    /// Nothing.
    Nothing,
    /// A port.
    Port,
    /// IPv4 addresses.
    Ipv4s,
    /// IPv6 addresses.
    Ipv6s,
    /// One or more bytes, in base64.
    Base64,
    /// Text in UTF-8.
    Utf8,
    /// Numbers of 16 bits.
    Numbers,
    /// Any bytes.
    Bytes,
}

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;

/// The keys with a name (IANA's registry of service parameter keys), by number.
const KEYS: [(&str, Form); 10] = [
    ("mandatory", Form::Keys),
    ("alpn", Form::Ids),
    ("no-default-alpn", Form::Nothing),
    ("port", Form::Port),
    ("ipv4hint", Form::Ipv4s),
    ("ech", Form::Base64),
    ("ipv6hint", Form::Ipv6s),
    ("dohpath", Form::Utf8),
    ("ohttp", Form::Nothing),
    ("tls-supported-groups", Form::Numbers),
];

fn form(key: u16) -> Form {
    KEYS.get(usize::from(key)).map_or(Form::Bytes, |(_, form)| *form)
}

/// The key with this name, or `key` and its number.
fn key(text: &[u8]) -> Option<u16> {
    let named = (0..).zip(KEYS).find(|(_, (name, _))| name.as_bytes() == text);
    if let Some((key, _)) = named {
        return Some(key);
    }
    let number = text.strip_prefix(b"key")?;
    // Leading zeros would be further names for a key.
    if number.len() > 1 && number[0] == b'0' {
        return None;
    }
    decimal(number).filter(|key| *key != u16::MAX)
}

/// Reads parameters to the end: `alpn=h2,h3 port=8443 key667="hello"`.
pub(crate) fn put(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    // Values in the order of the file, and where each of them is: the wire has them in the order of keys.
    let (mut values, mut params) = (Vec::new(), Vec::new());
    while let Some(token) = lexer.next_pair()? {
        let begin = values.len();
        let written = split(lexer, &token)?;
        put_value(lexer, &token, written.form, written.value, &mut values)?;
        params.push((written.key, begin..values.len(), token));
        if values.len() + params.len() * 4 > RDATA_BYTES_MAX {
            return Err(lexer
                .fault(token.place, format!("the data of one record has at most {RDATA_BYTES_MAX} bytes")));
        }
    }
    params.sort_by_key(|(key, ..)| *key);
    for pair in params.windows(2) {
        if pair[0].0 == pair[1].0 {
            let (_, _, token) = pair[1];
            return Err(lexer.fault(token.place, format!("{} is the second of its key", excerpt(token.raw))));
        }
    }
    for (key, range, _) in params {
        let len = u16::try_from(range.len()).expect("all values together are not longer");
        out.extend(key.to_be_bytes());
        out.extend(len.to_be_bytes());
        out.extend_from_slice(&values[range]);
    }
    Ok(())
}

/// A parameter as it is written.
struct Written<'a> {
    key: u16,
    form: Form,
    /// Without quotes around it.
    value: Option<&'a [u8]>,
}

/// Takes `token` apart.
fn split<'a>(lexer: &Lexer<'_>, token: &Token<'a>) -> Result<Written<'a>, Fault> {
    let expected = "a parameter: a key in lower case, as alpn or key667, perhaps = and its value";
    let sign = token.raw.iter().position(|byte| *byte == b'=');
    let name = &token.raw[..sign.unwrap_or(token.raw.len())];
    let value = sign.map(|sign| &token.raw[sign + 1..]);
    let value = value.map(|value| match value {
        [b'"', inside @ .., b'"'] => inside,
        value => value,
    });
    match key(name) {
        Some(key) if !token.quoted => {
            // A key by its number has its value as on the wire, even if it has a name.
            let form = if name.starts_with(b"key") { Form::Bytes } else { form(key) };
            Ok(Written { key, form, value })
        }
        _ => Err(lexer.unexpected(token, expected)),
    }
}

/// Appends what `text` says to `out` as a value of this form.
fn put_value(
    lexer: &Lexer<'_>,
    token: &Token<'_>,
    form: Form,
    text: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let begin = out.len();
    let (expected, good) = match (form, text) {
        (Form::Nothing, text) => ("a key without a value", text.is_none_or(<[u8]>::is_empty)),
        (Form::Bytes, text) => (
            "a key and bytes, escaped by three digits up to 255",
            put_unescaped(text.unwrap_or_default(), out),
        ),
        (Form::Utf8, text) => {
            let good = put_unescaped(text.unwrap_or_default(), out);
            ("a key and text in UTF-8", good && out.len() > begin && str::from_utf8(&out[begin..]).is_ok())
        }
        (Form::Ids, text) => {
            let mut list = Vec::new();
            let good = put_unescaped(text.unwrap_or_default(), &mut list) && put_ids(&list, out);
            ("a key and protocol ids of 1 to 255 bytes with commas between them", good)
        }
        (Form::Port, text) => {
            let port: Option<u16> = text.and_then(decimal);
            out.extend(port.unwrap_or(0).to_be_bytes());
            ("a key and a port up to 65535", port.is_some())
        }
        (Form::Base64, text) => {
            let mut base64 = Base64Reader::default();
            let good = base64.take(text.unwrap_or_default(), out) && base64.is_whole() && out.len() > begin;
            ("a key and bytes in base64", good)
        }
        (Form::Ipv4s, text) => (
            "a key and IPv4 addresses with commas between them",
            put_each(text, |item| address::parse_ipv4(item).map(|octets| out.extend(octets))),
        ),
        (Form::Ipv6s, text) => (
            "a key and IPv6 addresses with commas between them",
            put_each(text, |item| address::parse_ipv6(item).map(|octets| out.extend(octets))),
        ),
        (Form::Numbers, text) => (
            "a key and numbers up to 65535 with commas between them",
            put_each(text, |item| decimal(item).map(|number: u16| out.extend(number.to_be_bytes()))),
        ),
        (Form::Keys, text) => {
            let mut keys = Vec::new();
            let good = put_each(text, |item| key(item).map(|key| keys.push(key)));
            keys.sort_unstable();
            out.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
            ("a key and other keys, each once, with commas between them", good && is_key_list(&out[begin..]))
        }
    };
    if good { Ok(()) } else { Err(lexer.unexpected(token, expected)) }
}

/// Whether `take` takes each item of a list with commas.
fn put_each(text: Option<&[u8]>, mut take: impl FnMut(&[u8]) -> Option<()>) -> bool {
    text.is_some_and(|text| text.split(|byte| *byte == b',').all(|item| take(item).is_some()))
}

/// Appends a character string's bytes (RFC 9460 A).
fn put_unescaped(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'\\' {
            let Some((octet, taken)) = unescape(&text[at..]) else { return false };
            out.push(octet);
            at += taken;
        } else {
            out.push(byte);
        }
    }
    true
}

/// Appends the items of a list, in which a backslash stands before a comma that is part of an item, and before another
/// backslash (RFC 9460 A.1).
fn put_ids(list: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    loop {
        let begin = out.len();
        out.push(0);
        let more = loop {
            match list.get(at..) {
                Some([b'\\', byte @ (b',' | b'\\'), ..]) => {
                    out.push(*byte);
                    at += 2;
                }
                Some([b'\\', ..]) => return false,
                Some([b',', ..]) => {
                    at += 1;
                    break true;
                }
                Some([byte, ..]) => {
                    out.push(*byte);
                    at += 1;
                }
                _ => break false,
            }
        };
        match u8::try_from(out.len() - begin - 1) {
            Ok(len @ 1..) => out[begin] = len,
            _ => return false,
        }
        if !more {
            return true;
        }
    }
}

/// The parameters of valid data, from the first one at `at`.
fn params(rdata: &[u8], at: usize) -> impl Iterator<Item = Result<(u16, &[u8]), RdataError>> {
    let mut rest = &rdata[at.min(rdata.len())..];
    std::iter::from_fn(move || {
        let (head, behind) = match rest {
            [] => return None,
            [a, b, c, d, behind @ ..] => ([*a, *b, *c, *d], behind),
            _ => {
                rest = &[];
                return Some(Err(RdataError::Truncated));
            }
        };
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = behind.get(..len) else {
            rest = &[];
            return Some(Err(RdataError::Truncated));
        };
        rest = &behind[len..];
        Some(Ok((u16::from_be_bytes([head[0], head[1]]), value)))
    })
}

/// The length of the parameters that begin at `at` in `rdata`, if they agree with each other and are valid each.
pub(crate) fn validate(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let mut last = None;
    let mut mandatory: &[u8] = &[];
    let (mut alpn, mut no_default_alpn) = (false, false);
    for param in params(rdata, at) {
        let (key, value) = param?;
        if last.is_some_and(|last| last >= key) {
            return Err(RdataError::Field("parameters are in ascending order of their keys"));
        }
        last = Some(key);
        if !is_value(key, value) {
            return Err(RdataError::Field("a parameter has a value that its key does not take"));
        }
        match key {
            MANDATORY => mandatory = value,
            ALPN => alpn = true,
            NO_DEFAULT_ALPN => no_default_alpn = true,
            _ => {}
        }
    }
    if no_default_alpn && !alpn {
        return Err(RdataError::Field("no-default-alpn needs alpn beside it"));
    }
    // Both lists ascend, so that one way through the parameters is enough.
    let mut keys = params(rdata, at).flatten().map(|(key, _)| key);
    for pair in mandatory.chunks_exact(2) {
        let wanted = u16::from_be_bytes([pair[0], pair[1]]);
        if !keys.any(|key| key == wanted) {
            return Err(RdataError::Field("each mandatory key needs its parameter"));
        }
    }
    Ok(rdata.len() - at)
}

fn is_value(key: u16, value: &[u8]) -> bool {
    match form(key) {
        Form::Keys => is_key_list(value),
        Form::Ids => !value.is_empty() && ids(value).all(|id| id.is_some()),
        Form::Nothing => value.is_empty(),
        Form::Port => value.len() == 2,
        Form::Ipv4s => !value.is_empty() && value.len().is_multiple_of(4),
        Form::Ipv6s => !value.is_empty() && value.len().is_multiple_of(16),
        Form::Numbers => !value.is_empty() && value.len().is_multiple_of(2),
        Form::Base64 => !value.is_empty(),
        Form::Utf8 => !value.is_empty() && str::from_utf8(value).is_ok(),
        Form::Bytes => key != u16::MAX,
    }
}

/// Whether these are keys in ascending order, without `mandatory` itself.
fn is_key_list(value: &[u8]) -> bool {
    let ascends = value.chunks_exact(2).is_sorted_by(|a, b| a < b);
    !value.is_empty() && value.len().is_multiple_of(2) && ascends && !value.starts_with(&[0, 0])
}

/// The protocol ids in a value; a `None` among them ends what is none.
fn ids(value: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first()?;
        let id = behind.get(..usize::from(*len)).filter(|id| !id.is_empty());
        rest = id.map_or(&[], |id| &behind[id.len()..]);
        Some(id)
    })
}

/// Writes valid parameters, each behind a space.
pub(crate) fn write(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    for (key, value) in params(bytes, 0).flatten() {
        f.write_char(' ')?;
        write_key(key, f)?;
        if !value.is_empty() {
            f.write_char('=')?;
            write_value(key, value, f)?;
        }
    }
    Ok(())
}

fn write_key(key: u16, f: &mut dyn Write) -> fmt::Result {
    match KEYS.get(usize::from(key)) {
        Some((name, _)) => f.write_str(name),
        None => write!(f, "key{key}"),
    }
}

fn write_value(key: u16, value: &[u8], f: &mut dyn Write) -> fmt::Result {
    let write_list = |f: &mut dyn Write, len: usize, write: &dyn Fn(&[u8], &mut dyn Write) -> fmt::Result| {
        for (at, item) in value.chunks_exact(len).enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            write(item, f)?;
        }
        Ok(())
    };
    match form(key) {
        Form::Keys => write_list(f, 2, &|item, f| write_key(u16::from_be_bytes([item[0], item[1]]), f)),
        Form::Port | Form::Numbers => {
            write_list(f, 2, &|item, f| write!(f, "{}", u16::from_be_bytes([item[0], item[1]])))
        }
        Form::Ipv4s => write_list(f, 4, &|item, f| address::write_ipv4(item, f)),
        Form::Ipv6s => write_list(f, 16, &|item, f| address::write_ipv6(item, f)),
        Form::Base64 => write_base64(value, f),
        Form::Ids => {
            let mut list = Vec::new();
            for id in ids(value).flatten() {
                if !list.is_empty() {
                    list.push(b',');
                }
                for byte in id {
                    if matches!(byte, b',' | b'\\') {
                        list.push(b'\\');
                    }
                    list.push(*byte);
                }
            }
            write_quoted(&list, f)
        }
        Form::Nothing | Form::Utf8 | Form::Bytes => write_quoted(value, f),
    }
}
