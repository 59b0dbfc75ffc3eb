//! From text to wire form.

use crate::fault::{Fault, excerpt};
use crate::name::{self, unescape};
use crate::number::{decimal, seconds};
use crate::rdata::encoding::{Base64Reader, HexReader, put_base32};
use crate::rdata::{Field, address, bitmap, layout, list, location, svcb, time, validate, wire};
use crate::record::RDATA_BYTES_MAX;
use crate::rtype::Rtype;
use crate::zone_file::{Lexer, Token};

/// The mnemonics of DNSSEC algorithms (IANA's registry, RFC 4034 A.1, and the names that BIND writes).
const ALGORITHMS: &[(&str, u8)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3DSA", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECCGOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// The mnemonics of certificate types (RFC 4398 2.1).
const CERTIFICATE_TYPES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// The mnemonics of notification schemes (RFC 9859 2.1).
const SCHEMES: &[(&str, u8)] = &[("NOTIFY", 1)];

/// Reads the data of one record, to the end of the entry, into `out`, which is empty.
pub(crate) fn put(
    rtype: Rtype,
    lexer: &mut Lexer<'_>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    debug_assert!(out.is_empty());
    if let Some(token) = lexer.take_generic()? {
        put_generic(rtype, lexer, &token, out)?;
    } else {
        let Some(fields) = layout(rtype) else {
            let expected = format!("the generic form, as in \\# 2 abcd, which is the only one of {rtype}");
            return Err(match lexer.next()? {
                Some(token) => lexer.unexpected(&token, &expected),
                None => lexer.missing(&expected),
            });
        };
        for &field in fields {
            put_field(field, lexer, origin, out)?;
        }
    }
    if let Some(token) = lexer.next()? {
        return Err(lexer.surplus(&token));
    }
    if out.len() > RDATA_BYTES_MAX { Err(too_long(lexer)) } else { Ok(()) }
}

fn too_long(lexer: &Lexer<'_>) -> Fault {
    lexer.fault(lexer.here(), format!("the data of one record has at most {RDATA_BYTES_MAX} bytes"))
}

/// Reads the generic form (RFC 3597 5) behind its `\#`, which is `sign`.
fn put_generic(
    rtype: Rtype,
    lexer: &mut Lexer<'_>,
    sign: &Token<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let expected = "the number of bytes of the data, up to 65535";
    let token = lexer.word(expected)?;
    let len: u16 = decimal(token.raw).ok_or_else(|| lexer.unexpected(&token, expected))?;
    if len > 0 {
        put_hex(lexer, "bytes of the data in hexadecimal digits", out)?;
    }
    if out.len() != usize::from(len) {
        let text = format!("the data has {} bytes, not {len}", out.len());
        return Err(lexer.fault(token.place, text));
    }
    validate(rtype, out).map_err(|why| lexer.fault(sign.place, format!("this is no data of {rtype}: {why}")))
}

fn put_field(field: Field, lexer: &mut Lexer<'_>, origin: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let place = lexer.here();
    let begin = out.len();
    match field {
        Field::CompressibleName | Field::Name => {
            let token = lexer.word("a name")?;
            return put_name(lexer, &token, origin, out);
        }
        Field::Ipv4 => return put_word(lexer, "an IPv4 address, as in 192.0.2.1", address::parse_ipv4, out),
        Field::Ipv6 => {
            return put_word(lexer, "an IPv6 address, as in 2001:db8::1", address::parse_ipv6, out);
        }
        Field::U8 => {
            let parse = |text: &[u8]| decimal(text).map(u8::to_be_bytes);
            return put_word(lexer, "a number up to 255", parse, out);
        }
        Field::U16 => {
            let parse = |text: &[u8]| decimal(text).map(u16::to_be_bytes);
            return put_word(lexer, "a number up to 65535", parse, out);
        }
        Field::U32 => {
            let parse = |text: &[u8]| decimal(text).map(u32::to_be_bytes);
            return put_word(lexer, "a number up to 4294967295", parse, out);
        }
        Field::Seconds => {
            let parse = |text: &[u8]| seconds(text).map(u32::to_be_bytes);
            return put_word(lexer, "a number of seconds, perhaps with units as in 1h30m", parse, out);
        }
        Field::Time => {
            let parse = |text: &[u8]| time::parse(text).map(u32::to_be_bytes);
            return put_word(
                lexer,
                "a moment from 1970 to 2106, as YYYYMMDDHHmmSS or in seconds",
                parse,
                out,
            );
        }
        Field::Type => {
            let parse = |text: &[u8]| Rtype::from_text(text).map(|rtype| rtype.0.to_be_bytes());
            return put_word(lexer, "a record type", parse, out);
        }
        Field::Algorithm => {
            let parse = |text: &[u8]| number_or(ALGORITHMS, text).map(u8::to_be_bytes);
            return put_word(lexer, "a DNSSEC algorithm: its number or mnemonic", parse, out);
        }
        Field::CertificateType => {
            let parse = |text: &[u8]| number_or(CERTIFICATE_TYPES, text).map(u16::to_be_bytes);
            return put_word(lexer, "a certificate type: its number or mnemonic", parse, out);
        }
        Field::Scheme => {
            let parse = |text: &[u8]| number_or(SCHEMES, text).map(u8::to_be_bytes);
            return put_word(lexer, "a scheme: its number or NOTIFY", parse, out);
        }
        Field::Eui48 => return put_word(lexer, "as in 00-00-5e-00-53-2a", address::parse_eui::<6>, out),
        Field::Eui64 => {
            return put_word(lexer, "as in 00-00-5e-ef-10-00-00-2a", address::parse_eui::<8>, out);
        }
        Field::Groups => {
            let expected = "four groups of hexadecimal digits, as in 2001:db8:1140:1000";
            return put_word(lexer, expected, address::parse_four_groups, out);
        }
        Field::String | Field::Tag => {
            let token = lexer.next()?.ok_or_else(|| lexer.missing("a string"))?;
            put_string(lexer, &token, out)?;
        }
        Field::OptionalString => {
            if let Some(token) = lexer.next()? {
                put_string(lexer, &token, out)?;
            }
        }
        Field::Strings => {
            let mut token = lexer.next()?.ok_or_else(|| lexer.missing("a string"))?;
            loop {
                put_string(lexer, &token, out)?;
                token = match lexer.next()? {
                    Some(token) => token,
                    None => return Ok(()),
                };
            }
        }
        Field::Text | Field::NonEmptyText => {
            let token = lexer.next()?.ok_or_else(|| lexer.missing("a string"))?;
            put_unescaped(lexer, &token, out)?;
        }
        Field::Hex | Field::Digest | Field::Fingerprint | Field::ZoneDigest => {
            put_hex(lexer, "bytes in hexadecimal digits", out)?
        }
        Field::Salt => {
            let expected = "up to 255 bytes in hexadecimal digits, or - for none";
            let token = lexer.word(expected)?;
            out.push(0);
            let mut hex = HexReader::default();
            let good = token.raw == b"-" || (hex.take(token.raw, out) && hex.is_whole());
            end_counted(lexer, &token, expected, begin, good, out)?;
        }
        Field::HashedName => {
            let expected = "a hashed name: 1 to 255 bytes in base32hex without padding";
            let token = lexer.word(expected)?;
            out.push(0);
            let good = put_base32(token.raw, out);
            end_counted(lexer, &token, expected, begin, good, out)?;
        }
        Field::Base64 => put_base64(lexer, false, out)?,
        Field::OptionalBase64 => put_base64(lexer, true, out)?,
        Field::DashBase64 => match lexer.next_if(b"-")? {
            true => {}
            false => put_base64(lexer, false, out)?,
        },
        Field::Types | Field::OptionalTypes => {
            let mut types = Vec::new();
            while let Some(token) = lexer.next()? {
                let rtype = Rtype::from_text(token.raw).filter(|_| !token.quoted);
                types.push(rtype.ok_or_else(|| lexer.unexpected(&token, "a record type"))?);
            }
            if types.is_empty() && field == Field::Types {
                return Err(lexer.missing("a record type"));
            }
            bitmap::put(&mut types, out);
        }
        Field::Prefixes => list::put_prefixes(lexer, out)?,
        Field::Services => list::put_services(lexer, out)?,
        Field::Location => location::put(lexer, out)?,
        Field::Nsap => list::put_nsap(lexer, out)?,
        Field::Params => svcb::put(lexer, out)?,
        Field::Gateway => put_gateway(lexer, out[1], origin, out)?,
        Field::Relay => put_relay(lexer, origin, out)?,
        Field::HostIdentity => list::put_host_identity(lexer, origin, out)?,
    }
    // What the wire form asks for beyond its parts is asked for in one place.
    match wire::field_len(field, out, begin) {
        Ok(_) => Ok(()),
        Err(why) => {
            Err(lexer
                .fault(lexer.first_behind(place), format!("the data that begins here is not valid: {why}")))
        }
    }
}

/// Appends the bytes that a word stands for.
fn put_word<const LEN: usize>(
    lexer: &mut Lexer<'_>,
    expected: &str,
    parse: impl Fn(&[u8]) -> Option<[u8; LEN]>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let token = lexer.word(expected)?;
    let bytes = parse(token.raw).ok_or_else(|| lexer.unexpected(&token, expected))?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Appends the name that `token` is.
pub(crate) fn put_name(
    lexer: &Lexer<'_>,
    token: &Token<'_>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    if token.quoted {
        return Err(lexer.unexpected(token, "a name"));
    }
    // A short word may be a long name, if the origin is.
    if out.len() > RDATA_BYTES_MAX {
        return Err(too_long(lexer));
    }
    name::put_text(token.raw, origin, out)
        .map_err(|why| lexer.fault(token.place, format!("{} is not a name: {why}", excerpt(token.raw))))
}

/// Appends a character string.
fn put_string(lexer: &Lexer<'_>, token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let begin = out.len();
    out.push(0);
    put_unescaped(lexer, token, out)?;
    end_counted(lexer, token, "a string of at most 255 bytes; make it several strings", begin, true, out)
}

/// Writes the number of the bytes behind `begin` there, if all is good.
fn end_counted(
    lexer: &Lexer<'_>,
    token: &Token<'_>,
    expected: &str,
    begin: usize,
    good: bool,
    out: &mut [u8],
) -> Result<(), Fault> {
    match u8::try_from(out.len() - begin - 1) {
        Ok(len) if good => {
            out[begin] = len;
            Ok(())
        }
        _ => Err(lexer.unexpected(token, expected)),
    }
}

/// Appends the bytes of a string, escapes resolved.
fn put_unescaped(lexer: &Lexer<'_>, token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut rest = token.raw;
    while let Some(plain) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..plain]);
        let behind = &rest[plain + 1..];
        let Some((octet, taken)) = unescape(behind) else {
            let escape = excerpt(&rest[plain..rest.len().min(plain + 4)]);
            let text =
                format!("{escape} is no escape: expected three digits up to 255, or one other character");
            return Err(lexer.fault(token.place, text));
        };
        out.push(octet);
        rest = &behind[taken..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends hexadecimal digits to the end of the entry.
fn put_hex(lexer: &mut Lexer<'_>, expected: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut hex = HexReader::default();
    let mut last = lexer.word(expected)?;
    loop {
        if last.quoted || !hex.take(last.raw, out) {
            return Err(lexer.unexpected(&last, expected));
        }
        match lexer.next()? {
            Some(token) => last = token,
            None if hex.is_whole() => return Ok(()),
            None => {
                return Err(
                    lexer.fault(last.place, "a hexadecimal digit is missing: they come in pairs".to_owned())
                );
            }
        }
    }
}

/// Appends base64 to the end of the entry.
fn put_base64(lexer: &mut Lexer<'_>, may_be_empty: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    let expected = "bytes in base64";
    let mut base64 = Base64Reader::default();
    let mut last = None;
    while let Some(token) = lexer.next()? {
        if token.quoted || !base64.take(token.raw, out) {
            return Err(lexer.unexpected(&token, expected));
        }
        last = Some(token);
    }
    match last {
        None if may_be_empty => Ok(()),
        None => Err(lexer.missing(expected)),
        Some(_) if base64.is_whole() => Ok(()),
        Some(token) => Err(lexer.fault(
            token.place,
            "the base64 is cut off: its characters come in fours, padded with =".to_owned(),
        )),
    }
}

fn put_gateway(lexer: &mut Lexer<'_>, kind: u8, origin: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        1 => put_word(lexer, "an IPv4 address, which type 1 asks for", address::parse_ipv4, out),
        2 => put_word(lexer, "an IPv6 address, which type 2 asks for", address::parse_ipv6, out),
        3 => {
            let token = lexer.word("a name, which type 3 asks for")?;
            put_name(lexer, &token, origin, out)
        }
        _ => {
            let expected = "a dot, which stands for no gateway; its type is 0, 1, 2 or 3";
            let token = lexer.word(expected)?;
            if token.raw == b"." && kind == 0 { Ok(()) } else { Err(lexer.unexpected(&token, expected)) }
        }
    }
}

fn put_relay(lexer: &mut Lexer<'_>, origin: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let expected = "0, or 1 if discovery is optional";
    let token = lexer.word(expected)?;
    let optional: u8 =
        decimal(token.raw).filter(|bit| *bit <= 1).ok_or_else(|| lexer.unexpected(&token, expected))?;
    let expected = "a relay's type: 0, 1, 2 or 3";
    let token = lexer.word(expected)?;
    let kind: u8 =
        decimal(token.raw).filter(|kind| *kind <= 3).ok_or_else(|| lexer.unexpected(&token, expected))?;
    out.push(optional << 7 | kind);
    put_gateway(lexer, kind, origin, out)
}

/// A number, or what stands for it in the table, in either case.
fn number_or<T: Copy + TryFrom<u64>>(table: &[(&str, T)], text: &[u8]) -> Option<T> {
    let named = table.iter().find(|(name, _)| text.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, number)| *number).or_else(|| decimal(text))
}
