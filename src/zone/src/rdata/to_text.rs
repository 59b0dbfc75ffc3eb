//! From wire form to text.

use std::fmt::{self, Write};

use crate::name::write_labels;
use crate::rdata::encoding::{write_base32, write_base64, write_hex};
use crate::rdata::{Field, address, bitmap, layout, list, location, svcb, time, validate, wire};
use crate::rtype::Rtype;

/// Writes the data, in the generic form if it has no other.
pub(crate) fn write(rtype: Rtype, rdata: &[u8], f: &mut dyn Write) -> fmt::Result {
    let is_valid = validate(rtype, rdata).is_ok();
    let has_form = is_valid && (rtype != Rtype::LOC || location::has_form(rdata));
    let Some(fields) = layout(rtype).filter(|_| has_form) else {
        return write_generic(rdata, f);
    };
    let (mut at, mut separated) = (0, true);
    for &field in fields {
        let len = wire::field_len(field, rdata, at).map_err(|_| fmt::Error)?;
        let bytes = &rdata[at..at + len];
        at += len;
        // These write nothing if they are empty, and what they write is behind a space.
        match field {
            Field::OptionalString | Field::OptionalBase64 if len == 0 => continue,
            Field::Types | Field::OptionalTypes => {
                bitmap::write(bytes, f)?;
                continue;
            }
            Field::Params => {
                svcb::write(bytes, f)?;
                continue;
            }
            _ => {}
        }
        if !separated {
            f.write_char(' ')?;
        }
        separated = false;
        write_field(field, bytes, rdata, f)?;
    }
    Ok(())
}

fn write_field(field: Field, bytes: &[u8], rdata: &[u8], f: &mut dyn Write) -> fmt::Result {
    match field {
        Field::CompressibleName | Field::Name => write_labels(bytes, true, f),
        Field::U8
        | Field::U16
        | Field::U32
        | Field::Seconds
        | Field::Algorithm
        | Field::CertificateType
        | Field::Scheme => write!(f, "{}", number(bytes)),
        Field::Time => time::write(number(bytes), f),
        Field::Type => write!(f, "{}", Rtype(u16::from_be_bytes([bytes[0], bytes[1]]))),
        Field::String | Field::OptionalString => write_quoted(&bytes[1..], f),
        Field::Strings => write_strings(bytes, f),
        Field::Text | Field::NonEmptyText => write_quoted(bytes, f),
        Field::Tag => bytes[1..].iter().try_for_each(|byte| f.write_char(char::from(*byte))),
        Field::Ipv4 => address::write_ipv4(bytes, f),
        Field::Ipv6 => address::write_ipv6(bytes, f),
        Field::Groups => address::write_four_groups(bytes, f),
        Field::Eui48 | Field::Eui64 => address::write_eui(bytes, f),
        Field::Hex | Field::Digest | Field::Fingerprint | Field::ZoneDigest => write_hex(bytes, f),
        Field::Salt if bytes.len() == 1 => f.write_char('-'),
        Field::Salt => write_hex(&bytes[1..], f),
        Field::HashedName => write_base32(&bytes[1..], f),
        Field::DashBase64 if bytes.is_empty() => f.write_char('-'),
        Field::Base64 | Field::OptionalBase64 | Field::DashBase64 => write_base64(bytes, f),
        Field::Types | Field::OptionalTypes => bitmap::write(bytes, f),
        Field::Params => svcb::write(bytes, f),
        Field::Prefixes => list::write_prefixes(bytes, f),
        Field::Services => list::write_services(bytes, f),
        Field::Location => location::write(bytes, f),
        Field::Nsap => {
            f.write_str("0x")?;
            write_hex(bytes, f)
        }
        Field::Gateway => write_gateway(rdata[1], bytes, f),
        Field::Relay => {
            write!(f, "{} {} ", bytes[0] >> 7, bytes[0] & 0x7f)?;
            write_gateway(bytes[0] & 0x7f, &bytes[1..], f)
        }
        Field::HostIdentity => list::write_host_identity(bytes, f),
    }
}

/// The number in at most four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn write_gateway(kind: u8, bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    match kind {
        1 => address::write_ipv4(bytes, f),
        2 => address::write_ipv6(bytes, f),
        3 => write_labels(bytes, true, f),
        _ => f.write_char('.'),
    }
}

fn write_strings(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first() {
        if rest.len() < bytes.len() {
            f.write_char(' ')?;
        }
        let (string, others) = behind.split_at(usize::from(*len).min(behind.len()));
        write_quoted(string, f)?;
        rest = others;
    }
    Ok(())
}

/// Writes bytes in quotes.
pub(crate) fn write_quoted(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    f.write_char('"')?;
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                f.write_char('\\')?;
                f.write_char(char::from(byte))?;
            }
            b' '..=b'~' => f.write_char(char::from(byte))?,
            _ => write!(f, "\\{byte:03}")?,
        }
    }
    f.write_char('"')
}

fn write_generic(rdata: &[u8], f: &mut dyn Write) -> fmt::Result {
    write!(f, "\\# {}", rdata.len())?;
    if !rdata.is_empty() {
        f.write_char(' ')?;
        write_hex(rdata, f)?;
    }
    Ok(())
}
